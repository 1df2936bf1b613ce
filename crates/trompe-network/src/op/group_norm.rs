//! Normalization over groups of channels.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Operator, Parameter, Reads, epsilon_or_more, norm, of_channels, one, same_size};
use crate::onnx::{Axis, Call, Done, IMAGES, Import, Reader, View, Writer, float, read, unsupported, wrong};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// Normalization of each group of channels, with all their places, to mean 0 and variance 1, then a scale and a shift for each
/// channel (Wu and He, 2018); with one channel a group, instance normalization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// How many channels there are.
    pub channels: usize,
    /// How many groups they are in.
    pub groups: usize,
    /// What is added to the variance.
    pub epsilon: f64,
}

impl Operator for GroupNorm {
    const READERS: &'static [(&'static str, Reader)] =
        &[("InstanceNormalization", from_onnx), ("GroupNormalization", of_groups)];

    fn check(&self) -> Result<(), String> {
        if self.groups == 0 || !self.channels.is_multiple_of(self.groups) {
            return Err(format!("has {} groups of {} channels", self.groups, self.channels));
        }
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

    fn reads(&self, channel: usize, _: &[usize]) -> Reads {
        let each = self.channels / self.groups;
        let first = channel / each * each;
        Reads::Channels((first..first + each).map(|c| (0, c)).collect())
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        (self.groups == self.channels).then_some(Self {
            channels: channels.len(),
            groups: channels.len(),
            ..*self
        })
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
        let [n, c, h, w] = x.dims();
        let flat: Tensor<3> = x.reshape([n, self.groups, c / self.groups * h * w]);
        let centred = flat.clone() - flat.mean_dim(2);
        let variance = centred.clone().powi_scalar(2).mean_dim(2);
        let normal = (centred / (variance + self.epsilon).sqrt()).reshape([n, c, h, w]);
        norm::scaled(parameters, normal)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let norm = node.parameters.channel_norm();
        // The groups as channels of an instance normalization.
        let shape = writer.numbers(node.part("groups"), &[0, self.groups as i64, -1]);
        let grouped = writer.aside(node.part("grouped"), "Reshape", &[node.input(), &shape], vec![]);
        let ones = writer.floats(node.part("ones"), &[self.groups], &vec![1.0; self.groups]);
        let zeros = writer.floats(node.part("zeros"), &[self.groups], &vec![0.0; self.groups]);
        let attributes = vec![float("epsilon", self.epsilon)];
        let normal = writer.aside(
            node.part("normal"),
            "InstanceNormalization",
            &[&grouped, &ones, &zeros],
            attributes,
        );
        let whole = writer.aside(node.part("whole"), "Shape", &[node.input()], vec![]);
        let back = writer.aside(node.part("map"), "Reshape", &[&normal, &whole], vec![]);
        let [c, one] = [self.channels, 1];
        let weight = writer.parameter(node.part("weight"), norm.weight.val().reshape([c, one, one]));
        let bias = writer.parameter(node.part("bias"), norm.bias.val().reshape([c, one, one]));
        let scaled = writer.aside(node.part("scaled"), "Mul", &[&back, &weight], vec![]);
        writer.push(&node.name, "Add", &[&scaled, &bias], &node.name, vec![]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let mut view = import.view(call, 0)?;
    let [channels, rows, columns] = import.shape(view.layer);
    let [first, own, rest @ ..] = &view.axes[..] else { return unsupported("of a value of one axis") };
    if first[..] != [IMAGES] {
        return unsupported("of other than [N, channels, …]");
    }
    let groups: usize = own.iter().map(|part| part.size).product();
    // Groups of a map's channels, with everything in each; or else the axis as channels.
    let slowest = own.len() < 2
        && own.iter().all(|part| part.axis == Axis::Channels && part.stride * part.size == channels);
    let inside: usize = rest.iter().flatten().map(|part| part.size).product();
    if !slowest || groups * inside != channels * rows * columns {
        view = import.with_channels(call, 0, 1)?;
    }
    let [channels, ..] = import.shape(view.layer);
    let mut parameters = read::channelwise(import, call, 1..3, groups)?;
    parameters.iter_mut().for_each(|values| *values = spread(values, channels));
    let op = GroupNorm { channels, groups, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[view.layer], parameters)?;
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}

/// ONNX's own, of version 18 with parameters for groups, of 21 for channels.
fn of_groups(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let view = import.with_channels(call, 0, 1)?;
    let [channels, ..] = import.shape(view.layer);
    let groups = call.int("num_groups")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let Some(groups) = groups.filter(|&n| channels.is_multiple_of(n)) else {
        return wrong(format!("has {:?} groups of {channels} channels", call.int("num_groups")?));
    };
    let of = if import.opset < 21 { groups } else { channels };
    let mut parameters = read::channelwise(import, call, 1..3, of)?;
    parameters.iter_mut().for_each(|values| *values = spread(values, channels));
    let op = GroupNorm { channels, groups, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[view.layer], parameters)?;
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}

/// Parameters of groups, for each channel of theirs.
fn spread(values: &TensorData, channels: usize) -> TensorData {
    let each = channels / values.num_elements();
    let spread: Vec<f32> = values.iter::<f32>().flat_map(|v| std::iter::repeat_n(v, each)).collect();
    TensorData::new(spread, [channels])
}
