//! The larger of several values.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, join};
use crate::onnx::{Reader, Writer};
use crate::{Node, Rows};

/// The largest of the inputs, value by value; those of size 1 in channels, rows or columns are broadcast over the others'.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maximum;

impl Channelwise for Maximum {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Max", |import, call| join::from_onnx(import, call, Maximum))];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        join::channels(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        join::size(inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let larger = |a: Tensor<4>, b: Tensor<4>| {
            let dims: [usize; 4] = std::array::from_fn(|d| a.dims()[d].max(b.dims()[d]));
            a.expand(dims).max_pair(b.expand(dims))
        };
        inputs.into_iter().reduce(larger).expect("a checked graph has something to compare")
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Max", vec![]);
    }
}
