//! Joining maps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads};
use crate::Node;
use crate::onnx::{Axis, Call, Done, Import, Reader, Writer, int, read, unsupported, wrong};
use crate::parameters::Parameters;

/// The inputs one after another along the channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat;

impl Operator for Concat {
    const READERS: &'static [(&'static str, Reader)] = &[("Concat", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match inputs {
            [] => Err("joins nothing".into()),
            _ => Ok(inputs.iter().fold(0, |sum, c| c.saturating_add(sum))),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = *inputs.first().ok_or("joins nothing")?;
        match inputs.iter().all(|shape| shape[1..] == [h, w]) {
            true => Ok([h, w]),
            false => Err(format!("joins maps of different sizes {inputs:?}")),
        }
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        let mut before = 0;
        for (i, &n) in inputs.iter().enumerate() {
            if channel < before + n {
                return Reads::Channels(vec![(i, channel - before)]);
            }
            before += n;
        }
        unreachable!("a channel of {before}")
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        Tensor::cat(inputs, 1)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Concat", vec![int("axis", 1)]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let maps = (0..call.node.input.len()).map(|at| import.map(call, at)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = maps.first() else { return wrong("joins nothing") };
    let axes = first.axes.clone();
    if maps.iter().any(|m| m.axes != axes) {
        return unsupported("of values whose axes differ");
    }
    // Version 3 and earlier joined channels unless told otherwise.
    let number = call.int("axis")?.unwrap_or(1);
    if axes[read::axis(number, axes.len())?] != Axis::Channels {
        return unsupported("along other than the channels");
    }
    let inputs: Vec<usize> = maps.iter().map(|m| m.layer).collect();
    let layer = import.push(call, None, Concat, &inputs, vec![])?;
    read::give(import, call, layer, axes)
}
