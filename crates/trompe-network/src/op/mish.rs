//! A smooth rectifier that dips below 0.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// x · tanh(ln(1 + exp(x))) (Misra, 2020).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mish;

impl Elementwise for Mish {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Mish", |import, call| read::elementwise(import, call, Mish))];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        x.clone() * activation::softplus(x, 1.0).tanh()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // In pieces: the version of the operators that is written has no Mish.
        let softplus = writer.aside(node.part("softplus"), "Softplus", &[node.input()], vec![]);
        let tanh = writer.aside(node.part("tanh"), "Tanh", &[&softplus], vec![]);
        writer.push(&node.name, "Mul", &[node.input(), &tanh], &node.name, vec![]);
    }
}
