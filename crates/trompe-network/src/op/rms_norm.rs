//! Normalization over channels by their root mean square.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Operator, Parameter, Reads, epsilon_or_more, norm, of_channels, one, same_size};
use crate::onnx::{Call, Done, Import, Reader, View, Writer, ints, wrong};
use crate::parameters::{Parameters, filled};
use crate::{Node, Rows};

/// x / √(mean of x² over the channels + ε) at each place, then a scale for each channel (Zhang and Sennrich, 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RmsNorm {
    /// How many channels there are.
    pub channels: usize,
    /// What is added to the mean square.
    pub epsilon: f64,
}

impl Operator for RmsNorm {
    const READERS: &'static [(&'static str, Reader)] = &[("RMSNormalization", from_onnx)];

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
        vec![Parameter::new("weight", [self.channels])]
    }

    fn draw(&self, _: &mut impl Rng) -> Vec<TensorData> {
        vec![filled(1.0, &[self.channels])]
    }

    fn with(&self, mut values: Vec<TensorData>, device: &Device) -> Parameters {
        Parameters::of_channels(values.remove(0), device)
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let square = (x.clone() * x.clone()).mean_dim(1);
        x / (square + self.epsilon).sqrt() * parameters.values().value.val()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // In pieces: the version of the operators that is written has none.
        let x = node.input();
        let scales = writer.parameter(
            node.part("weight"),
            node.parameters.values().value.val().reshape([self.channels, 1, 1]),
        );
        let epsilon = writer.floats(node.part("epsilon"), &[], &[self.epsilon as f32]);
        let square = writer.aside(node.part("square"), "Mul", &[x, x], vec![]);
        let mean = writer.aside(node.part("mean"), "ReduceMean", &[&square], vec![ints("axes", &[1])]);
        let more = writer.aside(node.part("more"), "Add", &[&mean, &epsilon], vec![]);
        let root = writer.aside(node.part("root"), "Sqrt", &[&more], vec![]);
        let normal = writer.aside(node.part("normal"), "Div", &[x, &root], vec![]);
        writer.push(&node.name, "Mul", &[&normal, &scales], &node.name, vec![]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let view = norm::axes_as_channels(import, call)?;
    let channels = import.shape(view.layer)[0];
    let Some(scales) = norm::of_channels(import, call, 1, channels)? else { return wrong("has no scales") };
    let op = RmsNorm { channels, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[view.layer], vec![scales])?;
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}
