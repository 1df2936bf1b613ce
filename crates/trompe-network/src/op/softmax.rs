//! The softmax.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, one, only, same_size};
use crate::Node;
use crate::onnx::{Axis, Call, Done, Import, Number, Reader, Writer, int, read, unsupported};
use crate::parameters::Parameters;

/// exp(x) divided by its sum over the channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax;

impl Operator for Softmax {
    const READERS: &'static [(&'static str, Reader)] = &[("Softmax", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs)
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

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        None
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        activation::softmax(one(inputs), 1)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Softmax", vec![int("axis", 1)]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let number = call.int("axis")?.unwrap_or(if import.opset < 13 { 1 } else { -1 });
    let at = read::axis(number, map.axes.len())?;
    // Before version 13, over all axes from this one on.
    let over: Vec<Axis> = if import.opset < 13 { map.axes[at..].to_vec() } else { vec![map.axes[at]] };
    let others = over.iter().filter(|&&a| a != Axis::Channels);
    if !over.contains(&Axis::Channels)
        || others.clone().any(|&a| import.extent(map.layer, a) != Number::Known(1))
    {
        return unsupported("over other than the channels");
    }
    read::elementwise(import, call, Softmax)
}
