//! What is done to an image before a network sees it.

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

/// The order in which a network takes the colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// The `[preprocessing]` block: geometry first, then `(pixel · scale − mean) / std`, pixels being in 0..1 and mean
/// and std in the network's channel order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Resize the shorter side to this many pixels.
    pub resize: Option<u32>,
    /// Then cut this square out of the centre.
    pub crop: Option<u32>,
    #[serde(default = "rgb")]
    pub channel_order: ChannelOrder,
    #[serde(default = "one")]
    pub scale: f32,
    #[serde(default)]
    pub mean: [f32; 3],
    #[serde(default = "ones")]
    pub std: [f32; 3],
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

impl Preprocessing {
    /// Resizes and crops. An image that has the size already is left as it is.
    pub fn fit(&self, image: RgbImage) -> RgbImage {
        let (w, h) = image.dimensions();
        let mut image = image;
        if let Some(side) = self.resize.filter(|&side| side != w.min(h)) {
            let scale = f64::from(side) / f64::from(w.min(h));
            let size = |x: u32| (f64::from(x) * scale).round().max(1.0) as u32;
            image = imageops::resize(&image, size(w), size(h), imageops::FilterType::Triangle);
        }
        if let Some(side) = self.crop {
            let (w, h) = image.dimensions();
            let (cw, ch) = (side.min(w), side.min(h));
            image = imageops::crop_imm(&image, (w - cw) / 2, (h - ch) / 2, cw, ch).to_image();
        }
        image
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

    /// What the network takes, `[N, 3, H, W]`, from an RGB tensor in 0..1. Differentiable.
    pub fn apply(&self, rgb: Tensor<4>) -> Tensor<4> {
        let device = rgb.device();
        let row = |f: &dyn Fn(usize) -> f32| {
            let values: Vec<f32> = (0..3).map(f).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 3, 1, 1]), &device)
        };
        let ordered = match self.channel_order {
            ChannelOrder::Rgb => rgb,
            ChannelOrder::Bgr => rgb.flip([1]),
        };
        ordered * row(&|c| self.scale / self.std[c]) - row(&|c| self.mean[c] / self.std[c])
    }
}
