//! Controls of the path-similarity statistic: images of the right class that nobody would call a visualization, set in the place
//! of visualizations. What the statistic says of them is what it can say at all.

use image::{Rgb, RgbImage, imageops};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

use crate::bounds::{PICTURES, distinct, within};

/// Which controls are set beside visualizations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// By default all there are.
    #[serde(default = "all")]
    pub kinds: Vec<Control>,
    /// Pictures of each class; by default as many as visualizations.
    pub pictures: Option<usize>,
}

fn all() -> Vec<Control> {
    Control::ALL.to_vec()
}

impl Settings {
    /// Refuses what can't be made, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        if self.kinds.is_empty() {
            return Err("kinds is empty; name some, or leave it out for all".into());
        }
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        distinct("kinds", &names)?;
        within("pictures", self.pictures.unwrap_or(1), 1..=PICTURES)
    }
}

/// What stands in the place of visualizations. All but the last two are made of natural images of the unit's class that are
/// not among those compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// As they are: class-specific 1, generic 0.
    Natural,
    /// With a Gaussian of a standard deviation of 1/32 of their side.
    Blurred,
    /// With two and a half times the contrast.
    Contrast,
    /// In shades of grey.
    Grey,
    /// Cut into 4 x 4 patches that change places.
    Shuffled,
    /// One patch of them, a quarter of their side, 4 x 4 times.
    Tiled,
    /// With Gaussian noise of a standard deviation of a tenth of the range of values.
    Noisy,
    /// Nothing but noise, each value drawn alike.
    Noise,
    /// Visualizations of the same units in a network of the same architecture with random weights.
    UntrainedPictures,
    /// The same, and natural images, all in that network.
    UntrainedNetwork,
}

impl Control {
    /// Every control there is.
    pub const ALL: [Self; 10] = [
        Self::Natural,
        Self::Blurred,
        Self::Contrast,
        Self::Grey,
        Self::Shuffled,
        Self::Tiled,
        Self::Noisy,
        Self::Noise,
        Self::UntrainedPictures,
        Self::UntrainedNetwork,
    ];

    /// Its name in tables and experiment files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Natural => "natural",
            Self::Blurred => "blurred",
            Self::Contrast => "contrast",
            Self::Grey => "grey",
            Self::Shuffled => "shuffled",
            Self::Tiled => "tiled",
            Self::Noisy => "noisy",
            Self::Noise => "noise",
            Self::UntrainedPictures => "untrained-pictures",
            Self::UntrainedNetwork => "untrained-network",
        }
    }

    /// Whether it takes a network that has learned nothing.
    pub fn is_untrained(self) -> bool {
        matches!(self, Self::UntrainedPictures | Self::UntrainedNetwork)
    }

    /// What it makes of a natural image, of the same size; of the last two nothing.
    pub fn of(self, image: &RgbImage, rng: &mut impl Rng) -> RgbImage {
        let (w, h) = image.dimensions();
        let each = |f: &mut dyn FnMut(f32) -> f32| {
            let mut changed = image.clone();
            changed.iter_mut().for_each(|v| *v = f(f32::from(*v)).round().clamp(0.0, 255.0) as u8);
            changed
        };
        match self {
            Self::Natural | Self::UntrainedPictures | Self::UntrainedNetwork => image.clone(),
            Self::Blurred => imageops::blur(image, w as f32 / 32.0),
            Self::Contrast => each(&mut |v| 127.5 + 2.5 * (v - 127.5)),
            Self::Grey => {
                let grey = imageops::grayscale(image);
                RgbImage::from_fn(w, h, |x, y| Rgb([grey.get_pixel(x, y).0[0]; 3]))
            }
            Self::Shuffled => {
                let (side_x, side_y) = (w / 4, h / 4);
                let mut places: Vec<(u32, u32)> = (0..16).map(|i| (i % 4 * side_x, i / 4 * side_y)).collect();
                let from = places.clone();
                places.shuffle(rng);
                let mut shuffled = image.clone();
                for ((x, y), (to_x, to_y)) in from.into_iter().zip(places) {
                    let patch = imageops::crop_imm(image, x, y, side_x, side_y).to_image();
                    imageops::replace(&mut shuffled, &patch, to_x.into(), to_y.into());
                }
                shuffled
            }
            Self::Tiled => {
                let (side_x, side_y) = (w.div_ceil(4), h.div_ceil(4));
                let x = rng.random_range(0..=w - side_x);
                let y = rng.random_range(0..=h - side_y);
                RgbImage::from_fn(w, h, |i, j| *image.get_pixel(x + i % side_x, y + j % side_y))
            }
            Self::Noisy => {
                let normal = Normal::new(0.0, 25.5).expect("a deviation above 0");
                each(&mut |v| v + normal.sample(rng))
            }
            Self::Noise => each(&mut |_| rng.random_range(0.0..=255.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    fn image() -> RgbImage {
        RgbImage::from_fn(16, 16, |x, y| Rgb([16 * x as u8, 16 * y as u8, (x * y) as u8]))
    }

    fn of(control: Control) -> RgbImage {
        control.of(&image(), &mut seed::rng(1, &"control"))
    }

    #[test]
    fn controls_are_what_they_are_called() {
        assert_eq!(of(Control::Natural), image());
        assert!(of(Control::Grey).pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]));
        // The same pixels in other places, patch by patch.
        let sorted = |image: &RgbImage| {
            let mut all: Vec<[u8; 3]> = image.pixels().map(|p| p.0).collect();
            all.sort_unstable();
            all
        };
        let shuffled = of(Control::Shuffled);
        assert!(shuffled != image() && sorted(&shuffled) == sorted(&image()));
        let tiled = of(Control::Tiled);
        assert!((0..12).all(|x| (0..16).all(|y| tiled.get_pixel(x, y) == tiled.get_pixel(x + 4, y))));
        let contrast = of(Control::Contrast);
        assert_eq!((contrast.get_pixel(0, 0).0[0], contrast.get_pixel(15, 0).0[0]), (0, 255));
        // 16·9 = 144, by hand 127.5 + 2.5·16.5 = 168.75.
        assert_eq!(contrast.get_pixel(9, 0).0[0], 169);
        let roughness = |image: &RgbImage| -> f64 {
            let step =
                |x: u32| f64::from(image.get_pixel(x + 1, 8).0[0]) - f64::from(image.get_pixel(x, 8).0[0]);
            (0..15).map(|x| (step(x) - 16.0).abs()).sum()
        };
        assert!(roughness(&of(Control::Noisy)) > 100.0);
        assert_ne!(of(Control::Noise), of(Control::Noisy));
        assert!(of(Control::Blurred).get_pixel(0, 8).0[0] < of(Control::Blurred).get_pixel(15, 8).0[0]);
    }
}
