//! Powers and roots.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Elementwise, number};
use crate::Node;
use crate::onnx::{Call, Done, Import, Reader, Writer, read, unsupported};

/// x to a power: a half for the square root, -1 for the reciprocal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// The exponent.
    pub exponent: f64,
}

impl Elementwise for Power {
    const READERS: &'static [(&'static str, Reader)] = &[
        ("Pow", from_onnx),
        ("Reciprocal", |import, call| read::elementwise(import, call, Power { exponent: -1.0 })),
        ("Sqrt", |import, call| read::elementwise(import, call, Power { exponent: 0.5 })),
    ];

    fn check(&self) -> Result<(), String> {
        number("exponent", self.exponent)
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        match self.exponent {
            0.5 => x.sqrt(),
            -1.0 => x.recip(),
            2.0 => x.clone() * x,
            3.0 => x.clone() * x.clone() * x,
            exponent => x.powf_scalar(exponent),
        }
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let exponent = writer.floats(node.part("exponent"), &[], &[self.exponent as f32]);
        writer.push(&node.name, "Pow", &[node.input(), &exponent], &node.name, vec![]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let exponent = match import.floats(call, 1)?.map(|array| &array.values[..]) {
        Some(&[one]) => f64::from(one),
        _ => return unsupported("to other than one exponent"),
    };
    read::elementwise(import, call, Power { exponent })
}
