//! The exponential linear unit.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::{Elementwise, number};
use crate::Node;
use crate::onnx::{Reader, Writer, float, read};

/// x where it is positive, `alpha`·(exp(x) - 1) elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elu {
    /// How far it goes below 0.
    pub alpha: f64,
}

impl Elementwise for Elu {
    const READERS: &'static [(&'static str, Reader)] = &[("Elu", |import, call| {
        let alpha = call.float("alpha", 1.0)?;
        read::elementwise(import, call, Elu { alpha })
    })];

    fn check(&self) -> Result<(), String> {
        number("alpha", self.alpha)
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        activation::elu(x, self.alpha)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Elu", vec![float("alpha", self.alpha)]);
    }
}
