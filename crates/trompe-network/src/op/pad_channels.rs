//! More channels.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, one, only, same_size};
use crate::onnx::{Reader, Writer};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// Zero channels before and after the input's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadChannels {
    /// How many before.
    pub before: usize,
    /// How many after.
    pub after: usize,
}

impl Operator for PadChannels {
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        Ok(self.before.saturating_add(only(inputs)?).saturating_add(self.after))
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        padded(self.before, channel, inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, channels: &[usize], inputs: &[usize]) -> Option<Self> {
        let [before, after] = beside(self.before, channels, inputs)?;
        Some(Self { before, after })
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let [n, _, h, w] = x.dims();
        let zeros = |c| Tensor::zeros([n, c, h, w], &x.device());
        let mut parts = vec![x.clone()];
        if self.before > 0 {
            parts.insert(0, zeros(self.before));
        }
        if self.after > 0 {
            parts.push(zeros(self.after));
        }
        Tensor::cat(parts, 1)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.pad(node, [self.before, 0, 0], [self.after, 0, 0], 0.0);
    }
}

/// What a channel reads, `before` of which stand before the input's.
pub(super) fn padded(before: usize, channel: usize, inputs: &[usize]) -> Reads {
    let read = channel.checked_sub(before).filter(|&c| c < inputs[0]);
    Reads::Channels(read.into_iter().map(|c| (0, c)).collect())
}

/// How many of these channels stand before and after the input's, of which there must be some.
pub(super) fn beside(before: usize, channels: &[usize], inputs: &[usize]) -> Option<[usize; 2]> {
    let first = channels.iter().filter(|&&c| c < before).count();
    let last = channels.iter().filter(|&&c| c >= before + inputs[0]).count();
    (first + last < channels.len()).then_some([first, last])
}
