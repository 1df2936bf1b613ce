//! The error function.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// The error function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erf;

impl Elementwise for Erf {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Erf", |import, call| read::elementwise(import, call, Erf))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.erf()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Erf", vec![]);
    }
}
