//! The logistic function.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// 1 / (1 + exp(-x)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sigmoid;

impl Elementwise for Sigmoid {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Sigmoid", |import, call| read::elementwise(import, call, Sigmoid))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if trompe_kernels::holds(&x) {
            return trompe_kernels::sigmoid(x);
        }
        activation::sigmoid(x)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Sigmoid", vec![]);
    }
}
