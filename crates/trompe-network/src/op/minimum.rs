//! The smaller of several values.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, join};
use crate::onnx::{Reader, Writer};
use crate::{Node, Rows};

/// The smallest of the inputs, value by value; those of size 1 in channels, rows or columns are broadcast over the others'.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minimum;

impl Channelwise for Minimum {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Min", |import, call| join::from_onnx(import, call, Minimum))];

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
        let smaller = |a: Tensor<4>, b: Tensor<4>| {
            let dims: [usize; 4] = std::array::from_fn(|d| a.dims()[d].max(b.dims()[d]));
            a.expand(dims).min_pair(b.expand(dims))
        };
        inputs.into_iter().reduce(smaller).expect("a checked graph has something to compare")
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Min", vec![]);
    }
}
