//! Maps at another resolution, as two matrix products: one over the rows, one over the columns.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{Channelwise, LARGEST_MAP, one, only, values};
use crate::Node;
use crate::onnx::{
    Call, Done, Import, MAP, Map, Number, Reader, Writer, float, int, read, text, unsupported, wrong,
};

/// How a map is resampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// How large the result is.
    pub target: Target,
    /// Which input values make up an output value.
    pub interpolation: Interpolation,
    /// Where in the input a position of the output lies.
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
    /// The first.
    Floor,
    /// The second.
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

impl Channelwise for Resize {
    const READERS: &'static [(&'static str, Reader)] = &[("Resize", resize), ("Upsample", resize)];

    fn check(&self) -> Result<(), String> {
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

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [c, h, w] = only(inputs)?;
        let size = self.result([h, w]);
        // Rows and then columns are resampled, by a matrix each.
        let steps = [[h, size[0], 1], [w, size[1], 1], [c, size[0], w]];
        if steps.into_iter().any(|step| values(step).is_none()) {
            return Err(format!(
                "cannot resample {c} channels of {h}x{w} to {}x{}: more than {LARGEST_MAP} values on the way",
                size[0], size[1]
            ));
        }
        Ok(size)
    }

    fn has_fixed_size(&self) -> bool {
        matches!(self.target, Target::Size(_))
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.resample(one(inputs))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let x = node.input();
        let coordinates = match self.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
        };
        let mut attributes = vec![text("coordinate_transformation_mode", coordinates)];
        match self.interpolation {
            Interpolation::Nearest(rounding) => {
                attributes.push(text("mode", "nearest"));
                let rounding = match rounding {
                    Rounding::PreferFloor => "round_prefer_floor",
                    Rounding::PreferCeil => "round_prefer_ceil",
                    Rounding::Floor => "floor",
                    Rounding::Ceil => "ceil",
                };
                attributes.push(text("nearest_mode", rounding));
            }
            Interpolation::Linear => attributes.push(text("mode", "linear")),
            Interpolation::Cubic(a) => {
                attributes.push(text("mode", "cubic"));
                attributes.push(float("cubic_coeff_a", a.into()));
            }
        }
        match self.target {
            Target::Scale([rows, columns]) => {
                let scales = writer.floats(node.part("scales"), &[4], &[1.0, 1.0, rows, columns]);
                writer.push(&node.name, "Resize", &[x, "", &scales], &node.name, attributes);
            }
            Target::Size([h, w]) => {
                let own = writer.leading(&node.name, x, [0, 2]);
                let size = writer.numbers(node.part("size"), &[h as i64, w as i64]);
                let sizes = writer.aside(node.part("sizes"), "Concat", &[&own, &size], vec![int("axis", 0)]);
                writer.push(&node.name, "Resize", &[x, "", "", &sizes], &node.name, attributes);
            }
        }
    }
}

impl Resize {
    /// The size of the result.
    fn result(&self, input: [usize; 2]) -> [usize; 2] {
        match self.target {
            Target::Size(size) => size,
            Target::Scale(scale) => std::array::from_fn(|d| (input[d] as f32 * scale[d]).floor() as usize),
        }
    }

    /// Applies it to `[N, C, H, W]`.
    fn resample(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let device = x.device();
        let output = self.result([h, w]);
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

fn resize(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.image(call, 0)?;
    let old = call.operator() == "Upsample" || import.opset < 11;
    // Upsample and Resize 10 take the scales second, Resize 11 a region of interest before them.
    let at = if old { 1 } else { 2 };
    let axes = match call.ints("axes") {
        Some(axes) => axes.iter().map(|&a| read::axis(a, 4)).collect::<Result<Vec<_>, _>>()?,
        None => vec![0, 1, 2, 3],
    };
    if axes.len() > 4 {
        return wrong(format!("names {} axes", axes.len()));
    }
    let scales = match call.floats("scales") {
        Some(scales) => Some(scales.to_vec()),
        None => import.floats(call, at)?.map(|a| a.values.clone()).filter(|s| !s.is_empty()),
    };
    let map = Map { layer: x, axes: MAP.into() };
    let [c, h, w] = import.shape(x);
    // How many images there are is not asked.
    let sizes: Option<Vec<i64>> = match if old { None } else { import.numbers(call, 3)? } {
        Some(array) if array.values.len() <= 4 => {
            let some = |n: &Number| if *n == Number::Batch { Number::Known(-1) } else { *n };
            import.settled(call, &array.values.iter().map(some).collect::<Vec<_>>())
        }
        Some(array) => return wrong(format!("has {} sizes", array.values.len())),
        None => None,
    };
    let target = match (scales, sizes.filter(|sizes| !sizes.is_empty())) {
        (Some(scales), None) if scales.len() == axes.len() => {
            match read::placed(&map, &axes, &scales, 1.0)? {
                [1.0, y, x] if y > 0.0 && x > 0.0 && y.max(x) < 1e6 => Target::Scale([y, x]),
                scales => return unsupported(format!("by the scales {scales:?}")),
            }
        }
        (None, Some(sizes)) if sizes.len() == axes.len() => {
            let kept = |k: &usize| axes[*k] != 0;
            let axes_left: Vec<usize> = (0..axes.len()).filter(kept).map(|k| axes[k]).collect();
            let sizes: Vec<i64> = (0..axes.len()).filter(kept).map(|k| sizes[k]).collect();
            let [sc, sh, sw] = read::placed(&map, &axes_left, &sizes, -1)?;
            let or = |size: i64, own: usize| if size == -1 { own as i64 } else { size };
            match [or(sc, c), or(sh, h), or(sw, w)] {
                [k, y, x] if k == c as i64 && y > 0 && x > 0 && y.max(x) < 1 << 20 => {
                    Target::Size([y as usize, x as usize])
                }
                sizes => return unsupported(format!("to the sizes {sizes:?}")),
            }
        }
        _ => return wrong("has neither scales nor sizes, both, or not as many as axes"),
    };
    if call.flag("antialias")? {
        return unsupported("with antialiasing");
    }
    if call.text("keep_aspect_ratio_policy")?.is_some_and(|p| p != "stretch") {
        return unsupported("that keeps the aspect ratio");
    }
    if call.flag("exclude_outside")? {
        return unsupported("that leaves out what lies outside");
    }
    let coordinates = match call.text("coordinate_transformation_mode")?.as_deref() {
        _ if old => Coordinates::Asymmetric,
        None | Some("half_pixel") => Coordinates::HalfPixel,
        Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
        Some("align_corners") => Coordinates::AlignCorners,
        Some("asymmetric") => Coordinates::Asymmetric,
        Some(other) => return unsupported(format!("with coordinates {other}")),
    };
    let rounding = match call.text("nearest_mode")?.as_deref() {
        _ if old => Rounding::Floor,
        None | Some("round_prefer_floor") => Rounding::PreferFloor,
        Some("round_prefer_ceil") => Rounding::PreferCeil,
        Some("floor") => Rounding::Floor,
        Some("ceil") => Rounding::Ceil,
        Some(other) => return wrong(format!("has the nearest_mode \"{other}\"")),
    };
    let interpolation = match call.text("mode")?.as_deref() {
        None | Some("nearest") => Interpolation::Nearest(rounding),
        Some("linear" | "bilinear") => Interpolation::Linear,
        Some("cubic") => Interpolation::Cubic(call.float("cubic_coeff_a", -0.75)? as f32),
        Some(other) => return unsupported(format!("in mode {other}")),
    };
    let op = Resize { target, interpolation, coordinates };
    let layer = import.push(call, None, op, &[x], vec![])?;
    read::give(import, call, layer, MAP.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enlarged(interpolation: Interpolation, coordinates: Coordinates) -> Vec<f32> {
        let resize = Resize { target: Target::Scale([1.0, 2.0]), interpolation, coordinates };
        let x = Tensor::from_data(TensorData::new(vec![1f32, 3.0], [1, 1, 1, 2]), &Device::default());
        resize.resample(x).into_data().try_to_vec().unwrap()
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
        let four: Vec<f32> = resize.resample(x).into_data().try_to_vec().unwrap();
        assert!(
            four.iter().zip([0.0, 14.0 / 3.0, 28.0 / 3.0, 14.0]).all(|(a, b)| (a - b).abs() < 1e-5),
            "{four:?}"
        );
        // Weights at a quarter with a = -0.75 (Keys): -0.1055, 0.8789, 0.2617, -0.0352; the ends are repeated.
        let cubic = enlarged(Interpolation::Cubic(-0.75), HalfPixel);
        assert!((cubic[1] - (0.7734 + 3.0 * 0.2266)).abs() < 1e-3, "{cubic:?}");
    }
}
