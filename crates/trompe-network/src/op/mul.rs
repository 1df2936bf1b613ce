//! Products.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, join};
use crate::Node;
use crate::onnx::{Reader, Writer};
use crate::parameters::Parameters;

/// The product of the inputs, broadcast as in a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mul;

impl Operator for Mul {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Mul", |import, call| join::from_onnx(import, call, Mul))];

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
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
        inputs
            .into_iter()
            .reduce(|product, x| product * x)
            .expect("a checked graph has something to multiply")
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        join::write(writer, node, "Mul");
    }
}
