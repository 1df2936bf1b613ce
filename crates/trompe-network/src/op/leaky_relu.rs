//! The leaky rectified linear unit.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::{Elementwise, number};
use crate::Node;
use crate::onnx::{Reader, Writer, float, read};

/// x where it is positive, `slope`·x elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakyRelu {
    /// The slope where x is negative.
    pub slope: f64,
}

impl Elementwise for LeakyRelu {
    const READERS: &'static [(&'static str, Reader)] = &[("LeakyRelu", |import, call| {
        let slope = call.float("alpha", 0.01)?;
        read::elementwise(import, call, LeakyRelu { slope })
    })];

    fn check(&self) -> Result<(), String> {
        number("slope (alpha)", self.slope)
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        activation::leaky_relu(x, self.slope)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "LeakyRelu", vec![float("alpha", self.slope)]);
    }
}
