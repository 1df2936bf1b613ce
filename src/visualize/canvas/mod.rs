//! How the image is represented while it is optimized.

mod colour;
mod fourier;
mod pixel;

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::data::ChannelOrder;
use crate::network::pointwise;
use fourier::Fourier;
use pixel::Pixel;

/// The standard deviation of the noise that every image starts from.
pub(crate) const NOISE: f32 = 0.01;

/// The representations there are. Both are colour-decorrelated and squashed into 0..1 by a sigmoid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parameterization {
    /// The image's spectrum, each frequency scaled by 1/f, so that a step changes all scales alike.
    #[default]
    Fourier,
    /// The pixels themselves.
    Pixel,
}

impl fmt::Display for Parameterization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fourier => "fourier",
            Self::Pixel => "pixel",
        })
    }
}

impl Parameterization {
    /// Canvases for images of this height and width, which are grey where a network takes them so. All their tensors live on
    /// `device`.
    pub fn canvas(self, size: [usize; 2], colours: ChannelOrder, device: &Device) -> Box<dyn Canvas> {
        let canvas: Box<dyn Canvas> = match self {
            Self::Fourier => Box::new(Fourier::new(size, device)),
            Self::Pixel => Box::new(Pixel::new(size, device)),
        };
        if colours == ChannelOrder::Grey { Box::new(Grey(canvas)) } else { canvas }
    }
}

/// Turns values that an optimizer moves freely into RGB images in 0..1. A representation is a file beside this one, with what
/// implements this, and a variant of [`Parameterization`].
pub trait Canvas: Send + Sync {
    /// The shape of the values of one image.
    fn shape(&self) -> [usize; 3];

    /// Where the values live.
    fn device(&self) -> &Device;

    /// The images `[N, 3, H, W]` in 0..1 that the values `[N, …]` stand for.
    fn image(&self, values: Tensor<4>) -> Tensor<4>;

    /// The values that stand for images `[N, 3, H, W]` in 0..1, `[N, …]`: what [`image`](Self::image) makes of them again. Darkest
    /// and brightest pixels, which no finite value stands for, are taken a little from the ends. The device must have gradients.
    fn values(&self, images: Tensor<4>) -> Tensor<4>;
}

/// A canvas of grey images: how light each pixel of another is.
struct Grey(Box<dyn Canvas>);

impl Canvas for Grey {
    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn device(&self) -> &Device {
        self.0.device()
    }

    fn image(&self, values: Tensor<4>) -> Tensor<4> {
        let mix = ChannelOrder::Grey.mix()[0];
        let weight = TensorData::new([mix; 3].concat(), [3, 3, 1, 1]);
        pointwise(self.0.image(values), weight, TensorData::new(vec![0f32; 3], [3]))
    }

    fn values(&self, images: Tensor<4>) -> Tensor<4> {
        self.0.values(images)
    }
}

impl dyn Canvas + '_ {
    /// The values of nearly grey images, one drawn from each generator, `[N, …]`.
    pub fn noise<R: Rng>(&self, rngs: &mut [R]) -> Tensor<4> {
        let [c, h, w] = self.shape();
        let n = rngs.len();
        let values: Vec<f32> = rngs
            .iter_mut()
            .flat_map(|rng| {
                let draw = || -> f32 { StandardNormal.sample(rng) };
                std::iter::repeat_with(draw).take(c * h * w).collect::<Vec<_>>()
            })
            .map(|x| x * NOISE)
            .collect();
        Tensor::from_data(TensorData::new(values, [n, c, h, w]), self.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_comes_back_from_its_values() {
        let device = Device::default().autodiff();
        for kind in [Parameterization::Fourier, Parameterization::Pixel] {
            for (h, w) in [(8, 8), (7, 10), (9, 5)] {
                let canvas = kind.canvas([h, w], ChannelOrder::Rgb, &device);
                let uniform = burn::tensor::Distribution::Uniform(0.02, 0.98);
                let image = Tensor::<4>::random([2, 3, h, w], uniform, &device);
                let back = canvas.image(canvas.values(image.clone()).to_device(&device));
                let error = (back - image).abs().max().into_scalar::<f32>();
                assert!(error < 1e-4, "{kind:?} {h}x{w}: off by {error}");
            }
        }
    }

    #[test]
    fn an_image_starts_nearly_grey() {
        for kind in [Parameterization::Fourier, Parameterization::Pixel] {
            let canvas = kind.canvas([16, 24], ChannelOrder::Rgb, &Device::default());
            let values = canvas.noise(&mut [crate::seed::rng(0, &1), crate::seed::rng(0, &2)]);
            let image = canvas.image(values);
            assert_eq!(image.dims(), [2, 3, 16, 24]);
            let values = image.into_data().try_to_vec::<f32>().unwrap();
            assert!(values.iter().all(|v| (v - 0.5).abs() < 0.1));
            assert_ne!(values[..100], values[3 * 16 * 24..][..100]);
        }
    }
}
