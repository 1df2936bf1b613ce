//! The absolute value.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// |x|.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abs;

impl Elementwise for Abs {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Abs", |import, call| read::elementwise(import, call, Abs))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.abs()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Abs", vec![]);
    }
}
