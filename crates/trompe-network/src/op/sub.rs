//! Differences.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, join, one};
use crate::onnx::{Reader, Writer};
use crate::{Node, Rows};

/// The first input minus the second, broadcast as in a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sub;

impl Channelwise for Sub {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Sub", |import, call| join::from_onnx(import, call, Sub))];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        join::two(inputs)?;
        join::channels(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        join::size(inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let mut inputs = inputs;
        let first = inputs.remove(0);
        first - one(inputs)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Sub", vec![]);
    }
}
