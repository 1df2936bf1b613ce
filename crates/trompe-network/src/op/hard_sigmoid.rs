//! The sigmoid as a line between 0 and 1.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Elementwise, number};
use crate::Node;
use crate::onnx::{Reader, Writer, float, read};

/// `slope`·x + `offset`, but at least 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardSigmoid {
    /// The slope of the line.
    pub slope: f64,
    /// Its value at 0.
    pub offset: f64,
}

impl Elementwise for HardSigmoid {
    const READERS: &'static [(&'static str, Reader)] = &[("HardSigmoid", |import, call| {
        let (slope, offset) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
        read::elementwise(import, call, HardSigmoid { slope, offset })
    })];

    fn check(&self) -> Result<(), String> {
        number("slope (alpha)", self.slope)?;
        number("offset (beta)", self.offset)
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        (x * self.slope + self.offset).clamp(0.0, 1.0)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let attributes = vec![float("alpha", self.slope), float("beta", self.offset)];
        writer.plain(node, "HardSigmoid", attributes);
    }
}
