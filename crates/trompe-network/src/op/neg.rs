//! The negative.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// −x.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neg;

impl Elementwise for Neg {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Neg", |import, call| read::elementwise(import, call, Neg))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        -x
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Neg", vec![]);
    }
}
