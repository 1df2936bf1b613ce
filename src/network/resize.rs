//! Maps at another resolution, as two matrix products: one over the rows, one over the columns.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// How a map is resampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    pub target: Target,
    pub interpolation: Interpolation,
    pub coordinates: Coordinates,
}

/// How large the result is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Rows and columns.
    Size([usize; 2]),
    /// The input's rows and columns times this, rounded down.
    Scale([f32; 2]),
}

/// Which input values make up an output value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearest one.
    Nearest(Rounding),
    /// The two around it.
    Linear,
    /// The four around it, with the cubic's coefficient (Keys, 1981).
    Cubic(f32),
}

/// Which of two neighbours is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// The closer, or the first.
    PreferFloor,
    /// The closer, or the second.
    PreferCeil,
    Floor,
    Ceil,
}

/// Where in the input a position of the output lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// Pixels are areas.
    HalfPixel,
    /// The same, but a single output value lies at the first input value.
    PytorchHalfPixel,
    /// The outermost pixels' centres coincide.
    AlignCorners,
    /// The first pixels' centres coincide.
    Asymmetric,
}

impl Resize {
    /// Refuses scales and coefficients that it can't compute with.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if let Target::Scale(scales) = self.target
            && let Some(scale) = scales.iter().find(|scale| !(**scale > 0.0 && **scale < 1e6))
        {
            return Err(format!("has the scale {scale}; it must be above 0 and below 1e6"));
        }
        match self.interpolation {
            Interpolation::Cubic(a) if a.is_nan() || a.abs() > 100.0 => {
                Err(format!("has the cubic coefficient {a}; it must be between -100 and 100"))
            }
            _ => Ok(()),
        }
    }

    /// The size of the result.
    pub fn size(&self, input: [usize; 2]) -> [usize; 2] {
        match self.target {
            Target::Size(size) => size,
            Target::Scale(scale) => std::array::from_fn(|d| (input[d] as f32 * scale[d]).floor() as usize),
        }
    }

    /// Applies it to `[N, C, H, W]`.
    pub(super) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let device = x.device();
        let output = self.size([h, w]);
        let scale = match self.target {
            Target::Scale(scale) => scale,
            Target::Size(size) => [size[0] as f32 / h as f32, size[1] as f32 / w as f32],
        };
        let rows = self.matrix(h, output[0], scale[0], &device);
        let columns = self.matrix(w, output[1], scale[1], &device);
        rows.matmul(x).matmul(columns.swap_dims(2, 3))
    }

    /// `[1, 1, output, input]`.
    fn matrix(&self, input: usize, output: usize, scale: f32, device: &Device) -> Tensor<4> {
        let mut values = vec![0f32; input * output];
        for (o, row) in values.chunks_mut(input).enumerate() {
            for (i, weight) in self.weights(o, input, output, scale) {
                row[i.clamp(0, input as i64 - 1) as usize] += weight;
            }
        }
        Tensor::from_data(TensorData::new(values, [1, 1, output, input]), device)
    }

    /// The input positions, also beyond its ends, that output position `o` is made of.
    fn weights(&self, o: usize, input: usize, output: usize, scale: f32) -> Vec<(i64, f32)> {
        let o = o as f32;
        let x = match self.coordinates {
            Coordinates::PytorchHalfPixel if output == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (o + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if output == 1 => 0.0,
            // As PyTorch and ONNX Runtime have it: between whole pixels, whatever the scale.
            Coordinates::AlignCorners => o * (input - 1) as f32 / (output - 1) as f32,
            Coordinates::Asymmetric => o / scale,
        };
        let (low, t) = (x.floor() as i64, x - x.floor());
        match self.interpolation {
            Interpolation::Nearest(rounding) => {
                let up = match rounding {
                    Rounding::PreferFloor => t > 0.5,
                    Rounding::PreferCeil => t >= 0.5,
                    Rounding::Floor => false,
                    Rounding::Ceil => t > 0.0,
                };
                vec![(low + i64::from(up), 1.0)]
            }
            Interpolation::Linear => vec![(low, 1.0 - t), (low + 1, t)],
            Interpolation::Cubic(a) => {
                let near = |d: f32| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
                let far = |d: f32| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
                vec![
                    (low - 1, far(1.0 + t)),
                    (low, near(t)),
                    (low + 1, near(1.0 - t)),
                    (low + 2, far(2.0 - t)),
                ]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enlarged(interpolation: Interpolation, coordinates: Coordinates) -> Vec<f32> {
        let resize = Resize { target: Target::Scale([1.0, 2.0]), interpolation, coordinates };
        let x = Tensor::from_data(TensorData::new(vec![1f32, 3.0], [1, 1, 1, 2]), &Device::default());
        resize.apply(x).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn two_pixels_become_four_by_hand() {
        use Coordinates::*;
        assert_eq!(enlarged(Interpolation::Linear, HalfPixel), [1.0, 1.5, 2.5, 3.0]);
        assert_eq!(enlarged(Interpolation::Linear, Asymmetric), [1.0, 2.0, 3.0, 3.0]);
        let aligned = enlarged(Interpolation::Linear, AlignCorners);
        let want = [1.0, 1.0 + 2.0 / 3.0, 1.0 + 4.0 / 3.0, 3.0];
        assert!(aligned.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{aligned:?}");
        let nearest = Interpolation::Nearest(Rounding::PreferFloor);
        assert_eq!(enlarged(nearest, HalfPixel), [1.0, 1.0, 3.0, 3.0]);
        // PyTorch's Upsample(scale_factor=1.5, align_corners=True) on 0, 7, 14 gives 4 values, the last of them the last.
        let resize = Resize {
            target: Target::Scale([1.0, 1.5]),
            interpolation: Interpolation::Linear,
            coordinates: AlignCorners,
        };
        let x = Tensor::from_data(TensorData::new(vec![0f32, 7.0, 14.0], [1, 1, 1, 3]), &Device::default());
        let four: Vec<f32> = resize.apply(x).into_data().try_to_vec().unwrap();
        assert!(
            four.iter().zip([0.0, 14.0 / 3.0, 28.0 / 3.0, 14.0]).all(|(a, b)| (a - b).abs() < 1e-5),
            "{four:?}"
        );
        // Weights at a quarter with a = -0.75 (Keys): -0.1055, 0.8789, 0.2617, -0.0352; the ends are repeated.
        let cubic = enlarged(Interpolation::Cubic(-0.75), HalfPixel);
        assert!((cubic[1] - (0.7734 + 3.0 * 0.2266)).abs() < 1e-3, "{cubic:?}");
    }
}
