//! Batch normalization.

use burn::module::{Param, RunningState};
use burn::nn;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Operator, Parameter, Reads, epsilon_or_more, of_channels, one, same_size};
use crate::onnx::{Call, Done, Import, Reader, Value, View, Writer, float, read, unsupported, wrong};
use crate::parameters::{Parameters, filled};
use crate::{Node, Rows};

/// Batch normalization over `channels` (Ioffe & Szegedy, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// How many channels are normalized.
    pub channels: usize,
    /// What is added to the variance.
    #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
    pub epsilon: f64,
}

fn epsilon() -> f64 {
    1e-5
}

fn is_epsilon(value: &f64) -> bool {
    *value == epsilon()
}

impl BatchNorm {
    /// With the usual eps, 1e-5.
    pub fn new(channels: usize) -> Self {
        Self { channels, epsilon: epsilon() }
    }
}

impl Operator for BatchNorm {
    const READERS: &'static [(&'static str, Reader)] = &[("BatchNormalization", from_onnx)];

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

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::same(channel, inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        Some(Self { channels: channels.len(), ..*self })
    }

    fn parameters(&self) -> Vec<Parameter> {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|part| Parameter::new(part, [self.channels]))
            .into()
    }

    fn draw(&self, _: &mut impl Rng) -> Vec<TensorData> {
        [1.0, 0.0, 0.0, 1.0].map(|v| filled(v, &[self.channels])).into()
    }

    fn with(&self, values: Vec<TensorData>, device: &Device) -> Parameters {
        let values: [TensorData; 4] = values.try_into().expect("scale, shift, mean and variance");
        let [gamma, beta, mean, variance] = values;
        Parameters::BatchNorm(nn::BatchNorm {
            gamma: Param::from_data(gamma, device),
            beta: Param::from_data(beta, device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::from_data(mean, device)),
            running_var: RunningState::new(Tensor::from_data(variance, device)),
            momentum: 0.1,
            epsilon: self.epsilon,
        })
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        parameters.batch_norm().forward(one(inputs))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let norm = node.parameters.batch_norm();
        let parameters = [
            ("weight", norm.gamma.val()),
            ("bias", norm.beta.val()),
            ("running_mean", norm.running_mean.value_sync()),
            ("running_var", norm.running_var.value_sync()),
        ]
        .map(|(what, values)| writer.parameter(node.part(what), values));
        let mut inputs = vec![node.input()];
        inputs.extend(parameters.iter().map(String::as_str));
        let attributes = vec![float("epsilon", self.epsilon)];
        writer.push(&node.name, "BatchNormalization", &inputs, &node.name, attributes);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if call.flag("training_mode")? {
        return unsupported("in training mode");
    }
    let given = call.node.output.iter().filter(|name| !name.is_empty()).count();
    if import.opset < 14 && given > 1 {
        return unsupported(format!("in training mode (it gives {given} values, not one)"));
    }
    if call.int("spatial")?.unwrap_or(1) == 0 {
        return unsupported("of every place for itself (spatial = 0)");
    }
    if import.view(call, 0)?.axes.len() < 2 {
        return unsupported("of a value of one axis");
    }
    let view = import.with_channels(call, 0, 1)?;
    let channels = import.shape(view.layer)[0];
    let parameters = read::channelwise(import, call, 1..5, channels)?;
    if let Some(value) = parameters[3].iter::<f32>().find(|&value| value < 0.0) {
        return wrong(format!("has the variance {value}, and none is below 0"));
    }
    let op = BatchNorm { channels, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[view.layer], parameters)?;
    for at in 1..call.node.output.len() {
        import.set(call, at, Value::Absent("the statistics of a BatchNormalization"));
    }
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}
