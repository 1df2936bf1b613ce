//! The rectified linear unit.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};
use crate::rectify::relu;

/// max(x, 0).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relu;

impl Elementwise for Relu {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Relu", |import, call| read::elementwise(import, call, Relu))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        relu(x, 0.0)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Relu", vec![]);
    }
}
