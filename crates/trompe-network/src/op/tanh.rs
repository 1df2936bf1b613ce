//! The hyperbolic tangent.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// The hyperbolic tangent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tanh;

impl Elementwise for Tanh {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Tanh", |import, call| read::elementwise(import, call, Tanh))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.tanh()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Tanh", vec![]);
    }
}
