//! The channel shuffle.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, one, only, same_size};
use crate::onnx::{Reader, Writer, int, ints};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// Channels in `groups`, one of each group in turn (ShuffleNet's channel shuffle; Zhang et al., 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleChannels {
    /// How many groups.
    pub groups: usize,
}

impl Operator for ShuffleChannels {
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match only(inputs)? {
            channels if self.groups > 0 && channels.is_multiple_of(self.groups) => Ok(channels),
            channels => Err(format!("cannot shuffle {channels} channels in {} groups", self.groups)),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::Channels(vec![(0, channel % self.groups * (inputs[0] / self.groups) + channel / self.groups)])
    }

    /// Some of the channels are in another order than what they read.
    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        None
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let [n, c, h, w] = x.dims();
        x.reshape([n, self.groups, c / self.groups, h * w]).swap_dims(1, 2).reshape([n, c, h, w])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // In five dimensions: [N, groups, C / groups, H, W] with two axes exchanged.
        let x = node.input();
        let dims = writer.leading(&node.name, x, [2, 4]);
        let first = writer.numbers(node.part("groups"), &[0, self.groups as i64, -1]);
        let target = writer.aside(node.part("target"), "Concat", &[&first, &dims], vec![int("axis", 0)]);
        let grouped = writer.aside(node.part("grouped"), "Reshape", &[x, &target], vec![]);
        let perm = vec![ints("perm", &[0, 2, 1, 3, 4])];
        let shuffled = writer.aside(node.part("shuffled"), "Transpose", &[&grouped], perm);
        let whole = writer.aside(node.part("whole"), "Shape", &[x], vec![]);
        writer.push(&node.name, "Reshape", &[&shuffled, &whole], &node.name, vec![]);
    }
}
