//! The exponential function.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// exp(x).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exp;

impl Elementwise for Exp {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Exp", |import, call| read::elementwise(import, call, Exp))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.exp()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Exp", vec![]);
    }
}
