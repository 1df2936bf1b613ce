//! Products.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, join};
use crate::onnx::{Reader, Writer};
use crate::{Node, Rows};

/// The product of the inputs, broadcast as in a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mul;

impl Channelwise for Mul {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Mul", |import, call| join::from_onnx(import, call, Mul))];

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
        inputs
            .into_iter()
            .reduce(|product, x| product * x)
            .expect("a checked graph has something to multiply")
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        join::write(writer, node, "Mul");
    }
}
