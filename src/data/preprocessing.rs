//! What is done to an image before a network sees it.

use burn::tensor::{Device, Tensor, TensorData};
use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{RgbImage, imageops};
use serde::{Deserialize, Deserializer, Serialize};

use crate::network::pointwise;

use super::Size;

/// The colour channels that a network takes, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel: how light a pixel is, as Pillow's `L` and torchvision's `Grayscale` have it (ITU-R 601).
    Grey,
}

impl ChannelOrder {
    /// How many channels the network takes.
    pub fn channels(self) -> usize {
        if self == Self::Grey { 1 } else { 3 }
    }

    /// How much of red, green and blue each of the network's channels is.
    pub fn mix(self) -> Vec<[f32; 3]> {
        match self {
            Self::Rgb => vec![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            Self::Bgr => vec![[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
            Self::Grey => vec![[0.299, 0.587, 0.114]],
        }
    }
}

/// What images are resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of pixels, or { width = NUMBER, height = NUMBER }")]
pub enum Resize {
    /// The shorter side has so many pixels, and the longer one keeps the proportion.
    Shorter(u32),
    /// Both sides, whatever the proportion was.
    Sides {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
}

/// The `[preprocessing]` block: geometry first, then `(pixel · scale − mean) / std`, pixels being in 0..1 and mean
/// and std in the network's channel order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Resize the shorter side to this many pixels, or both sides.
    pub resize: Option<Resize>,
    /// Then cut an image of this size out of the centre.
    pub crop: Option<Size>,
    /// The colour channels that the network takes; by default RGB.
    #[serde(default = "rgb")]
    pub channel_order: ChannelOrder,
    /// What pixels in 0..1 are multiplied by; by default 1.
    #[serde(default = "one")]
    pub scale: f32,
    /// What is then subtracted from each channel; by default 0. One number stands for all channels.
    #[serde(default, deserialize_with = "each")]
    pub mean: [f32; 3],
    /// What each channel is then divided by; by default 1. One number stands for all channels.
    #[serde(default = "ones", deserialize_with = "each")]
    pub std: [f32; 3],
}

/// An image at another size, to within one grey level as Pillow has it, and with it torchvision.
fn resized(image: RgbImage, w: u32, h: u32) -> Result<RgbImage, String> {
    let (from_w, from_h) = image.dimensions();
    let from =
        Image::from_vec_u8(from_w, from_h, image.into_raw(), PixelType::U8x3).map_err(|e| e.to_string())?;
    let mut to = Image::new(w, h, PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&from, &mut to, &bilinear).map_err(|e| e.to_string())?;
    RgbImage::from_raw(w, h, to.into_vec()).ok_or_else(|| "it can't be resized".into())
}

/// The largest side that images are resized or cropped to.
const LARGEST: u32 = 8192;

/// A number for each channel, or one for all.
fn each<'de, D: Deserializer<'de>>(from: D) -> Result<[f32; 3], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number for each of three channels, or one for all")]
    enum Numbers {
        One(f32),
        Listed([f32; 1]),
        Three([f32; 3]),
    }
    Ok(match Numbers::deserialize(from)? {
        Numbers::One(number) | Numbers::Listed([number]) => [number; 3],
        Numbers::Three(numbers) => numbers,
    })
}

fn rgb() -> ChannelOrder {
    ChannelOrder::Rgb
}

fn one() -> f32 {
    1.0
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

/// Pixels as they are, in 0..1.
impl Default for Preprocessing {
    fn default() -> Self {
        Self { resize: None, crop: None, channel_order: rgb(), scale: one(), mean: [0.0; 3], std: ones() }
    }
}

impl Preprocessing {
    /// Refuses what no image can be turned into, or by.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        let resize = match self.resize {
            Some(Resize::Shorter(side)) => Some([side; 2]),
            Some(Resize::Sides { width, height }) => Some([width, height]),
            None => None,
        };
        let crop = self.crop.map(|size| size.pixels().into());
        for (key, sides) in [("resize", resize), ("crop", crop)] {
            if let Some(side) = sides.into_iter().flatten().find(|side| !(1..=LARGEST).contains(side)) {
                return Err(format!("{key} is {side}; it must be between 1 and {LARGEST} pixels"));
            }
        }
        if self.channel_order == ChannelOrder::Grey {
            for (key, numbers) in [("mean", self.mean), ("std", self.std)] {
                if numbers != [numbers[0]; 3] {
                    return Err(format!("{key} has three numbers, and channel_order = \"grey\" takes one"));
                }
            }
        }
        if !(self.scale.is_finite() && self.scale != 0.0) {
            return Err(format!("scale is {}; it must be a number other than 0", self.scale));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("mean has the value {mean}; all must be numbers"));
        }
        match self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            Some(std) => Err(format!("std has the value {std}; all must be above 0")),
            None => Ok(()),
        }
    }

    /// Resizes and crops, as torchvision's `Resize` and `CenterCrop` do: a longer side is rounded down, and the middle of
    /// an odd margin to the even pixel. An image that has the size already is left as it is, and one that is smaller than the
    /// crop stays smaller (torchvision would surround it with black).
    ///
    /// # Errors
    /// What is wrong, if the image would be far larger than any that networks are shown.
    pub fn fit(&self, image: RgbImage) -> Result<RgbImage, String> {
        const MOST: u64 = 1 << 28;
        let (w, h) = image.dimensions();
        let mut image = image;
        match self.resize {
            Some(Resize::Shorter(side)) if side != w.min(h) => {
                let long = u64::from(side) * u64::from(w.max(h)) / u64::from(w.min(h).max(1));
                if long * u64::from(side) > MOST {
                    return Err(format!("{w}x{h} pixels would be {side}x{long} once resized"));
                }
                let (w, h) = if w <= h { (side, long as u32) } else { (long as u32, side) };
                image = resized(image, w, h)?;
            }
            Some(Resize::Sides { width, height }) if (width, height) != (w, h) => {
                image = resized(image, width, height)?;
            }
            _ => (),
        }
        if let Some(size) = self.crop {
            let (w, h) = image.dimensions();
            let (cw, ch) = (size.pixels().0.min(w), size.pixels().1.min(h));
            let middle = |margin: u32| (f64::from(margin) / 2.0).round_ties_even() as u32;
            image = imageops::crop_imm(&image, middle(w - cw), middle(h - ch), cw, ch).to_image();
        }
        Ok(image)
    }

    /// Images as an RGB tensor `[N, 3, H, W]` in 0..1. All must have the same size.
    pub fn tensor<'a>(images: impl IntoIterator<Item = &'a RgbImage>, device: &Device) -> Tensor<4> {
        let mut values = vec![];
        let (mut n, mut size) = (0, (0, 0));
        for image in images {
            n += 1;
            size = image.dimensions();
            for channel in 0..3 {
                values.extend(image.pixels().map(|p| f32::from(p.0[channel]) / 255.0));
            }
        }
        let shape = [n, 3, size.1 as usize, size.0 as usize];
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// What the network takes, `[N, C, H, W]`, from an RGB tensor in 0..1. Differentiable.
    pub fn apply(&self, rgb: Tensor<4>) -> Tensor<4> {
        // One convolution, each of whose filters mixes and scales the colours.
        let mix = self.channel_order.mix();
        let channels = mix.len();
        let scaled = |(c, mix): (usize, &[f32; 3])| mix.map(|share| share * (self.scale / self.std[c]));
        let weight: Vec<f32> = mix.iter().enumerate().flat_map(scaled).collect();
        let bias: Vec<f32> = (0..channels).map(|c| -self.mean[c] / self.std[c]).collect();
        pointwise(rgb, TensorData::new(weight, [channels, 3, 1, 1]), TensorData::new(bias, [channels]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Preprocessing {
        toml::from_str("resize = 256\ncrop = 224").unwrap()
    }

    /// `torchvision.transforms.v2.functional`: 500 x 334 becomes 383 x 256, of which columns 80 to 303 and rows 16 to 239
    /// are cut out; 334 x 501 becomes 256 x 384.
    #[test]
    fn sizes_and_places_are_torchvisions() {
        let size = |w, h| {
            let only = Preprocessing { crop: None, ..plain() };
            only.fit(RgbImage::new(w, h)).unwrap().dimensions()
        };
        assert_eq!((size(500, 334), size(334, 501), size(256, 900)), ((383, 256), (256, 384), (256, 900)));
        let marked = |w, h| RgbImage::from_fn(w, h, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let corner = |w, h| {
            let only = Preprocessing { resize: None, ..plain() };
            let cut = only.fit(marked(w, h)).unwrap();
            assert_eq!(cut.dimensions(), (224, 224));
            (cut.get_pixel(0, 0)[0], cut.get_pixel(0, 0)[1])
        };
        // Half of 1, 3 and 5 is rounded to 0, 2 and 2, as Python does.
        assert_eq!((corner(383, 256), corner(225, 227), corner(229, 224)), ((80, 16), (0, 2), (2, 0)));
    }

    /// `torchvision.transforms.Resize(4)` of a PIL image made by the same formula: the red values of all pixels.
    #[test]
    fn pixels_are_torchvisions_to_a_grey_level() {
        let image = RgbImage::from_fn(7, 5, |x, y| {
            image::Rgb([0, 1, 2].map(|c| ((x * 37 + y * 61 + c * 101 + x * y * 13) % 256) as u8))
        });
        let small =
            Preprocessing { resize: Some(Resize::Shorter(4)), crop: None, ..plain() }.fit(image).unwrap();
        let want = [
            [29, 78, 124, 130, 180],
            [105, 173, 138, 77, 144],
            [131, 118, 133, 149, 152],
            [172, 106, 195, 134, 75],
        ];
        assert_eq!(small.dimensions(), (5, 4));
        for (x, y, pixel) in small.enumerate_pixels() {
            let (got, want) = (i32::from(pixel[0]), want[y as usize][x as usize]);
            assert!((got - want).abs() <= 1, "{got} at {x}, {y}, not {want}");
        }
    }

    /// `PIL.Image.convert("L")` of (250, 30, 90) is 102.63, before it is rounded.
    #[test]
    fn grey_is_how_light_a_pixel_is() {
        let grey: Preprocessing =
            toml::from_str("channel_order = \"grey\"\nscale = 255.0\nmean = 100.0\nstd = [2.0]").unwrap();
        assert!(grey.check().is_ok());
        let image = RgbImage::from_pixel(2, 3, image::Rgb([250, 30, 90]));
        let made = grey.apply(Preprocessing::tensor([&image], &Device::default()));
        assert_eq!(made.dims(), [1, 1, 3, 2]);
        let error = (made - (102.62 - 100.0) / 2.0).abs().max().into_scalar::<f32>();
        assert!(error < 1e-3, "{error}");
    }

    #[test]
    fn sides_that_differ() {
        let both: Preprocessing =
            toml::from_str("resize = { width = 30, height = 50 }\ncrop = { width = 20, height = 50 }")
                .unwrap();
        assert_eq!(both.fit(RgbImage::new(90, 40)).unwrap().dimensions(), (20, 50));
    }

    #[test]
    fn what_cannot_be_computed_with_is_refused() {
        for (key, text) in [
            ("std", "std = [0.2, 0.0, 0.2]"),
            ("std", "std = [0.2, nan, 0.2]"),
            ("mean", "mean = [inf, 0.0, 0.0]"),
            ("scale", "scale = 0.0"),
            ("resize", "resize = 100000"),
            ("crop", "crop = 0"),
            ("crop", "crop = { width = 64, height = 0 }"),
            ("resize", "resize = { width = 100000, height = 64 }"),
            ("mean", "channel_order = \"grey\"\nmean = [0.1, 0.2, 0.3]"),
        ] {
            let message = toml::from_str::<Preprocessing>(text).unwrap().check().unwrap_err();
            assert!(message.starts_with(key), "{message}");
        }
        assert!(plain().check().is_ok());
        let sliver = Preprocessing { resize: Some(Resize::Shorter(8192)), ..plain() };
        assert!(sliver.fit(RgbImage::new(1, 60_000)).is_err());
    }
}
