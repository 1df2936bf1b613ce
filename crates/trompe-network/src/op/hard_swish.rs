//! x times a hard sigmoid of it.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// x times a hard sigmoid of it, with slope 1/6 and offset 1/2 (Howard et al., 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardSwish;

impl Elementwise for HardSwish {
    const READERS: &'static [(&'static str, Reader)] =
        &[("HardSwish", |import, call| read::elementwise(import, call, HardSwish))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.clone() * (x / 6.0 + 0.5).clamp(0.0, 1.0)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "HardSwish", vec![]);
    }
}
