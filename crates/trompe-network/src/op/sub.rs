//! Differences.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, join, one};
use crate::Node;
use crate::onnx::{Reader, Writer};
use crate::parameters::Parameters;

/// The first input minus the second, broadcast as in a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sub;

impl Operator for Sub {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Sub", |import, call| join::from_onnx(import, call, Sub))];

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        join::two(inputs)?;
        join::channels(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        join::size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::same(channel, inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let mut inputs = inputs;
        let first = inputs.remove(0);
        first - one(inputs)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Sub", vec![]);
    }
}
