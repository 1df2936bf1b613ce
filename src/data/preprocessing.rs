//! What is done to an image before a network sees it.

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::network::pointwise;

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
        // One convolution, each of whose filters scales one colour.
        let from = |c: usize| match self.channel_order {
            ChannelOrder::Rgb => c,
            ChannelOrder::Bgr => 2 - c,
        };
        let mut weight = vec![0.0; 9];
        (0..3).for_each(|c| weight[3 * c + from(c)] = self.scale / self.std[c]);
        let bias = (0..3).map(|c| -self.mean[c] / self.std[c]).collect();
        pointwise(rgb, TensorData::new(weight, [3, 3, 1, 1]), TensorData::new::<f32, _>(bias, [3]))
    }
}
