//! A smooth rectifier.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// ln(1 + exp(x)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softplus;

impl Elementwise for Softplus {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Softplus", |import, call| read::elementwise(import, call, Softplus))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        activation::softplus(x, 1.0)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Softplus", vec![]);
    }
}
