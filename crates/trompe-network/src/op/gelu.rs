//! The Gaussian error linear unit.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Elementwise;
use crate::Node;
use crate::onnx::{Reader, Writer, read};

/// x times the normal distribution's cumulative function of it; `approximate` by a hyperbolic tangent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gelu {
    /// Whether by a hyperbolic tangent.
    pub approximate: bool,
}

impl Elementwise for Gelu {
    const READERS: &'static [(&'static str, Reader)] = &[("Gelu", |import, call| {
        let approximate = call.text("approximate")?.is_some_and(|a| a == "tanh");
        read::elementwise(import, call, Gelu { approximate })
    })];

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        if self.approximate {
            return activation::gelu_approximate(x);
        }
        #[cfg(feature = "flex")]
        if trompe_kernels::holds(&x) {
            return trompe_kernels::gelu(x);
        }
        activation::gelu(x)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // ½·x·(1 + f(x)), which has an operator of its own only in later versions.
        let x = node.input();
        let mut number = |what: &str, value: f32| writer.floats(node.part(what), &[], &[value]);
        let (half, one) = (number("half", 0.5), number("one", 1.0));
        let curve = if self.approximate {
            let (cubic, scale) =
                (number("cubic", 0.044_715), number("scale", (2.0 / std::f32::consts::PI).sqrt()));
            let square = writer.aside(node.part("square"), "Mul", &[x, x], vec![]);
            let cube = writer.aside(node.part("cube"), "Mul", &[&square, x], vec![]);
            let small = writer.aside(node.part("small"), "Mul", &[&cube, &cubic], vec![]);
            let sum = writer.aside(node.part("sum"), "Add", &[x, &small], vec![]);
            let scaled = writer.aside(node.part("scaled"), "Mul", &[&sum, &scale], vec![]);
            writer.aside(node.part("curve"), "Tanh", &[&scaled], vec![])
        } else {
            let scale = number("scale", std::f32::consts::FRAC_1_SQRT_2);
            let scaled = writer.aside(node.part("scaled"), "Mul", &[x, &scale], vec![]);
            writer.aside(node.part("curve"), "Erf", &[&scaled], vec![])
        };
        let raised = writer.aside(node.part("raised"), "Add", &[&curve, &one], vec![]);
        let halved = writer.aside(node.part("halved"), "Mul", &[x, &half], vec![]);
        writer.push(&node.name, "Mul", &[&halved, &raised], &node.name, vec![]);
    }
}
