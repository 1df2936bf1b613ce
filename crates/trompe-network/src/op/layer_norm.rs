//! Layer normalization.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Operator, Parameter, Reads, epsilon_or_more, norm, of_channels, one, same_size};
use crate::onnx::{Call, Done, Import, Reader, Value, View, Writer, float, ints, whole, wrong};
use crate::parameters::{Parameters, filled};
use crate::{Node, Rows};

/// Normalization of each place's channels to mean 0 and variance 1, then a scale and a shift for each channel (Ba et al., 2016).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    /// How many channels are normalized.
    pub channels: usize,
    /// What is added to the variance.
    pub epsilon: f64,
}

impl Operator for LayerNorm {
    const READERS: &'static [(&'static str, Reader)] = &[("LayerNormalization", from_onnx)];

    fn check(&self) -> Result<(), String> {
        epsilon_or_more(self.epsilon)
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        of_channels(inputs, self.channels)?;
        Ok(self.channels)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, _: usize, _: &[usize]) -> Reads {
        Reads::All
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        None
    }

    fn parameters(&self) -> Vec<Parameter> {
        norm::parameters(self.channels)
    }

    fn draw(&self, _: &mut impl Rng) -> Vec<TensorData> {
        norm::draw(self.channels)
    }

    fn with(&self, values: Vec<TensorData>, device: &Device) -> Parameters {
        norm::with(values, device)
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        #[cfg(feature = "flex")]
        if trompe_kernels::holds(&x) {
            let norm = parameters.channel_norm();
            if ![&norm.weight, &norm.bias].iter().any(|p| p.is_require_grad()) {
                let [scale, shift] = [&norm.weight, &norm.bias].map(|p| p.val());
                return trompe_kernels::layer_norm(x, scale, shift, self.epsilon as f32);
            }
        }
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().powi_scalar(2).mean_dim(1);
        norm::scaled(parameters, centred / (variance + self.epsilon).sqrt())
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let norm = node.parameters.channel_norm();
        let weight = writer.parameter(node.part("weight"), norm.weight.val());
        let bias = writer.parameter(node.part("bias"), norm.bias.val());
        let last =
            writer.aside(node.part("last"), "Transpose", &[node.input()], vec![ints("perm", &[0, 2, 3, 1])]);
        let normal = writer.free(&node.part("normal"));
        let attributes = vec![whole("axis", -1), float("epsilon", self.epsilon)];
        writer.push(&node.name, "LayerNormalization", &[&last, &weight, &bias], &normal, attributes);
        let back = writer.free(&node.part("map"));
        writer.push(&back, "Transpose", &[&normal], &node.name, vec![ints("perm", &[0, 3, 1, 2])]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let view = norm::axes_as_channels(import, call)?;
    let channels = import.shape(view.layer)[0];
    let Some(scales) = norm::of_channels(import, call, 1, channels)? else { return wrong("has no scales") };
    let shifts = norm::of_channels(import, call, 2, channels)?;
    let shifts = shifts.unwrap_or_else(|| filled(0.0, &[channels]));
    let op = LayerNorm { channels, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[view.layer], vec![scales, shifts])?;
    for at in 1..call.node.output.len() {
        import.set(call, at, Value::Absent("the statistics of a LayerNormalization"));
    }
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}
