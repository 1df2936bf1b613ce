//! The natural logarithm.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// ln(x); of what is below 0, no number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log;

impl Elementwise for Log {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Log", |import, call| read::elementwise(import, call, Log))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.log()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Log", vec![]);
    }
}
