//! How the image is represented while it is optimized.

use std::f32::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::network::pointwise;

/// The square root of the covariance of ImageNet's colours (from lucid), scaled so that its longest column is 1.
const COLOUR: [[f32; 3]; 3] = [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]];

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

/// Turns values that an optimizer moves freely into RGB images in 0..1.
pub struct Canvas {
    height: usize,
    width: usize,
    device: Device,
    /// How much of each decorrelated colour is in red, in green and in blue.
    colour: [f32; 9],
    spectrum: Option<Spectrum>,
}

/// The constants of a two-dimensional inverse real Fourier transform, as matrices.
struct Spectrum {
    /// 1/(4f), `[1, 1, 2H, F]`, for the real and under them the imaginary parts.
    scale: Tensor<4>,
    /// The complex inverse transform along columns, `[1, 1, 2H, 2H]`.
    columns: Tensor<4>,
    /// Its continuation along rows to real values, `[1, 1, F, W]`, for real and imaginary parts.
    rows: [Tensor<4>; 2],
}

impl Canvas {
    /// A canvas for images of this size. All tensors live on `device`.
    pub fn new(kind: Parameterization, height: usize, width: usize, device: &Device) -> Self {
        let longest =
            (0..3).map(|c| COLOUR.iter().map(|row| row[c] * row[c]).sum::<f32>().sqrt()).fold(0.0, f32::max);
        Self {
            height,
            width,
            device: device.clone(),
            colour: std::array::from_fn(|i| COLOUR[i / 3][i % 3] / longest),
            spectrum: match kind {
                Parameterization::Fourier => Some(Spectrum::new(height, width, device)),
                Parameterization::Pixel => None,
            },
        }
    }

    /// The shape of the values of one image.
    fn shape(&self) -> [usize; 3] {
        match self.spectrum {
            Some(_) => [3, 2 * self.height, self.width / 2 + 1],
            None => [3, self.height, self.width],
        }
    }

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
        Tensor::from_data(TensorData::new(values, [n, c, h, w]), &self.device)
    }

    /// The images `[N, 3, H, W]` in 0..1 that the values stand for.
    pub fn image(&self, values: Tensor<4>) -> Tensor<4> {
        let pixels = match &self.spectrum {
            Some(spectrum) => spectrum.inverse(values),
            None => values,
        };
        let colour = TensorData::new(self.colour.to_vec(), [3, 3, 1, 1]);
        let coloured = pointwise(pixels, colour, TensorData::zeros::<f32, _>([3]));
        #[cfg(feature = "flex")]
        if trompe_kernels::holds(&coloured) {
            return trompe_kernels::sigmoid(coloured);
        }
        activation::sigmoid(coloured)
    }

    /// The values that stand for images `[N, 3, H, W]` in 0..1, `[N, …]`: what [`Canvas::image`] makes of them again. Darkest and
    /// brightest pixels, which no finite value stands for, are taken a little from the ends. The canvas's device must have
    /// gradients.
    pub(crate) fn values(&self, images: Tensor<4>) -> Tensor<4> {
        const END: f32 = 0.01;
        let images = images.to_device(&self.device).clamp(END, 1.0 - END);
        let coloured = (images.clone() / (images * -1.0 + 1.0)).log();
        let colour = TensorData::new(inverse(self.colour).to_vec(), [3, 3, 1, 1]);
        let pixels = pointwise(coloured, colour, TensorData::zeros::<f32, _>([3]));
        let Some(spectrum) = &self.spectrum else { return pixels };
        // The transform is linear. But for the scale, and for frequencies that count twice, its transpose, which is its gradient,
        // is its inverse.
        let [c, h, w] = self.shape();
        let [n, ..] = pixels.dims();
        let at = Tensor::zeros([n, c, h, w], &self.device).require_grad();
        let gradients = (spectrum.inverse(at.clone()) * pixels).sum().backward();
        let transposed = at.grad(&gradients).expect("the image depends on its values");
        let twice = (0..w).map(|k| if k == 0 || 2 * k == self.width { 1.0 } else { 2.0 }).collect();
        let twice = matrix(twice, 1, w, &transposed.device());
        let scale = spectrum.scale.clone().to_device(&transposed.device());
        transposed / (scale.clone() * scale * twice)
    }
}

/// The inverse of a matrix of three rows.
fn inverse(m: [f32; 9]) -> [f32; 9] {
    let minor = |i: usize, j: usize| {
        let at = |di: usize, dj: usize| m[(i + di) % 3 * 3 + (j + dj) % 3];
        at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
    };
    let determinant: f32 = (0..3).map(|j| m[j] * minor(0, j)).sum();
    std::array::from_fn(|i| minor(i % 3, i / 3) / determinant)
}

fn matrix(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [1, 1, rows, columns]), device)
}

impl Spectrum {
    fn new(height: usize, width: usize, device: &Device) -> Self {
        let half = width / 2 + 1;
        // Frequencies in cycles per pixel; those of rows past the middle are negative.
        let frequency = |y: usize, x: usize| {
            let fy = y.min(height - y) as f32 / height as f32;
            let fx = x as f32 / width as f32;
            fy.hypot(fx)
        };
        let lowest = 1.0 / height.max(width) as f32;
        let scale = (0..2 * height)
            .flat_map(|y| (0..half).map(move |x| (y % height, x)))
            .map(|(y, x)| 0.25 / frequency(y, x).max(lowest))
            .collect();
        let angle = |a: usize, b: usize, n: usize| TAU * ((a * b) % n) as f32 / n as f32;
        // [cos, -sin; sin, cos] on the stacked real and imaginary parts.
        let norm = (height as f32).sqrt();
        let columns = (0..2 * height)
            .flat_map(|i| (0..2 * height).map(move |j| (i, j)))
            .map(|(i, j)| {
                let a = angle(i % height, j % height, height);
                let value = match (i < height, j < height) {
                    (true, true) | (false, false) => a.cos(),
                    (true, false) => -a.sin(),
                    (false, true) => a.sin(),
                };
                value / norm
            })
            .collect();
        // A real signal's negative frequencies mirror the positive ones, so those count twice.
        let norm = (width as f32).sqrt();
        let row = |wave: fn(f32) -> f32| {
            let values = (0..half)
                .flat_map(|k| (0..width).map(move |x| (k, x)))
                .map(|(k, x)| {
                    let twice = if k == 0 || 2 * k == width { 1.0 } else { 2.0 };
                    twice * wave(angle(k, x, width)) / norm
                })
                .collect();
            matrix(values, half, width, device)
        };
        Self {
            scale: matrix(scale, 2 * height, half, device),
            columns: matrix(columns, 2 * height, 2 * height, device),
            rows: [row(f32::cos), row(|a| -a.sin())],
        }
    }

    /// The real images `[N, C, H, W]` of spectra `[N, C, 2H, F]` before they are scaled.
    fn inverse(&self, values: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if trompe_kernels::holds(&values) {
            let [_, _, _, width] = self.rows[0].dims();
            return trompe_kernels::inverse_fourier(values, self.scale.clone(), width);
        }
        self.multiply(values)
    }

    /// The inverse transform by matrices, for devices without one of their own.
    fn multiply(&self, values: Tensor<4>) -> Tensor<4> {
        let scaled = values * self.scale.clone();
        let [n, c, h2, _] = scaled.dims();
        let columns = self.columns.clone().expand([n, c, h2, h2]);
        let parts = columns.matmul(scaled);
        let [re, im] = [0, h2 / 2].map(|from| parts.clone().narrow(2, from, h2 / 2));
        let [cos, sin] = self.rows.clone().map(|row| {
            let [_, _, f, w] = row.dims();
            row.expand([n, c, f, w])
        });
        re.matmul(cos) + im.matmul(sin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single frequency gives the cosine that the definition of the transform says it does.
    #[test]
    fn one_coefficient_is_one_wave() {
        let (h, w) = (6, 8);
        let device = Device::default();
        let spectrum = Spectrum::new(h, w, &device);
        for (ky, kx) in [(0, 0), (2, 3), (5, 1), (3, 4), (1, 0)] {
            for imaginary in [false, true] {
                let mut values = vec![0f32; 2 * h * (w / 2 + 1)];
                let y = if imaginary { ky + h } else { ky };
                values[y * (w / 2 + 1) + kx] = 1.0;
                let image = spectrum.inverse(matrix(values, 2 * h, w / 2 + 1, &device));
                let got = image.into_data().try_to_vec::<f32>().unwrap();
                let fy = if ky > h / 2 { h - ky } else { ky } as f32 / h as f32;
                let f = fy.hypot(kx as f32 / w as f32).max(1.0 / 8.0);
                let twice = if kx == 0 || 2 * kx == w { 1.0 } else { 2.0 };
                for py in 0..h {
                    for px in 0..w {
                        let phase = TAU * (ky * py) as f32 / h as f32 + TAU * (kx * px) as f32 / w as f32;
                        let wave = if imaginary { -phase.sin() } else { phase.cos() };
                        let want = twice * wave / (4.0 * f) / ((h * w) as f32).sqrt();
                        let error = (got[py * w + px] - want).abs();
                        assert!(error < 1e-5, "({ky}, {kx}) at ({py}, {px}): off by {error}");
                    }
                }
            }
        }
    }

    /// The flex backend's transform and the matrices give the same images and gradients.
    #[test]
    #[cfg(feature = "flex")]
    fn the_transform_agrees_with_its_matrices() {
        let device = Device::flex().autodiff();
        for (h, w) in [(6, 8), (7, 9), (5, 4), (28, 33), (1, 2)] {
            let spectrum = Spectrum::new(h, w, &device);
            let random = burn::tensor::Distribution::Normal(0.0, 1.0);
            let values = Tensor::<4>::random([2, 3, 2 * h, w / 2 + 1], random, &device);
            let [ours, matrices] = [true, false].map(|ours| {
                let values = values.clone().require_grad();
                let images = if ours {
                    trompe_kernels::inverse_fourier(values.clone(), spectrum.scale.clone(), w)
                } else {
                    spectrum.multiply(values.clone())
                };
                let gradients = (images.clone() * images.clone().cos()).sum().backward();
                (images.without_autodiff(), values.grad(&gradients).unwrap())
            });
            for (a, b) in [(ours.0, matrices.0), (ours.1, matrices.1)] {
                assert_eq!(a.dims(), b.dims());
                assert!((a - b).abs().max().into_scalar::<f32>() < 1e-4);
            }
        }
    }

    #[test]
    fn an_image_comes_back_from_its_values() {
        let device = Device::default().autodiff();
        for kind in [Parameterization::Fourier, Parameterization::Pixel] {
            for (h, w) in [(8, 8), (7, 10), (9, 5)] {
                let canvas = Canvas::new(kind, h, w, &device);
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
            let canvas = Canvas::new(kind, 16, 24, &Device::default());
            let values = canvas.noise(&mut [crate::seed::rng(0, &1), crate::seed::rng(0, &2)]);
            let image = canvas.image(values);
            assert_eq!(image.dims(), [2, 3, 16, 24]);
            let values = image.into_data().try_to_vec::<f32>().unwrap();
            assert!(values.iter().all(|v| (v - 0.5).abs() < 0.1));
            assert_ne!(values[..100], values[3 * 16 * 24..][..100]);
        }
    }
}
