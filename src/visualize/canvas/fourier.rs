//! The image's spectrum, each frequency scaled by 1/f, so that a step changes all scales alike (Olah et al., 2017).

use std::f32::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Canvas, colour};

/// Images by their spectra, each frequency scaled by 1/f: the constants of a two-dimensional inverse real Fourier transform, as
/// matrices.
pub struct Fourier {
    size: [usize; 2],
    device: Device,
    /// 1/(4f), `[1, 1, 2H, F]`, for the real and under them the imaginary parts.
    scale: Tensor<4>,
    /// The complex inverse transform along columns, `[1, 1, 2H, 2H]`.
    columns: Tensor<4>,
    /// Its continuation along rows to real values, `[1, 1, F, W]`, for real and imaginary parts.
    rows: [Tensor<4>; 2],
}

impl Canvas for Fourier {
    fn shape(&self) -> [usize; 3] {
        let [height, width] = self.size;
        [3, 2 * height, width / 2 + 1]
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn image(&self, values: Tensor<4>) -> Tensor<4> {
        colour::image(self.inverse(values))
    }

    fn values(&self, images: Tensor<4>) -> Tensor<4> {
        let pixels = colour::pixels(images.to_device(&self.device));
        // The transform is linear. But for the scale, and for frequencies that count twice, its transpose, which is its gradient,
        // is its inverse.
        let [c, h, w] = self.shape();
        let [n, ..] = pixels.dims();
        let at = Tensor::zeros([n, c, h, w], &self.device).require_grad();
        let gradients = (self.inverse(at.clone()) * pixels).sum().backward();
        let transposed = at.grad(&gradients).expect("the image depends on its values");
        let [_, width] = self.size;
        let twice = (0..w).map(|k| if k == 0 || 2 * k == width { 1.0 } else { 2.0 }).collect();
        let twice = matrix(twice, 1, w, &transposed.device());
        let scale = self.scale.clone().to_device(&transposed.device());
        transposed / (scale.clone() * scale * twice)
    }
}

impl Fourier {
    /// A canvas for images of this size.
    pub fn new([height, width]: [usize; 2], device: &Device) -> Self {
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
            size: [height, width],
            device: device.clone(),
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

fn matrix(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [1, 1, rows, columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single frequency gives the cosine that the definition of the transform says it does.
    #[test]
    fn one_coefficient_is_one_wave() {
        let (h, w) = (6, 8);
        let device = Device::default();
        let spectrum = Fourier::new([h, w], &device);
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
            let spectrum = Fourier::new([h, w], &device);
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
}
