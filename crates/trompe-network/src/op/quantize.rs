//! Values rounded to those that eight bits hold.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Elementwise, number};
use crate::onnx::{Call, Done, Import, Map, Reader, Value, View, Writer, read, unsupported, wrong};
use crate::{Node, Op};

/// The nearest of the 256 values (n − zero) · scale, n being a whole number of eight bits: what QuantizeLinear and the
/// DequantizeLinear behind it make of a value. Its gradient is that of the bounds, as if nothing were rounded between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    /// From one value to the next.
    pub scale: f64,
    /// The number that stands for 0.
    pub zero: i64,
    /// Whether numbers go from −128 to 127, or from 0 to 255.
    pub signed: bool,
}

impl Quantize {
    fn numbers(self) -> [i64; 2] {
        if self.signed { [-128, 127] } else { [0, 255] }
    }
}

impl Elementwise for Quantize {
    const READERS: &'static [(&'static str, Reader)] =
        &[("QuantizeLinear", from_onnx), ("DequantizeLinear", back)];

    fn check(&self) -> Result<(), String> {
        number("scale", self.scale)?;
        let [least, most] = self.numbers();
        if self.scale <= 0.0 || !(least..=most).contains(&self.zero) {
            return Err(format!(
                "has the scale {} and the zero point {}; these must be above 0, and from {least} to {most}",
                self.scale, self.zero
            ));
        }
        Ok(())
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [least, most] = self.numbers().map(|n| (n - self.zero) as f64);
        let steps = (x / self.scale).clamp(least, most);
        let rounded = steps.clone() + (steps.clone().round() - steps).detach();
        rounded * self.scale
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let scale = writer.floats(node.part("scale"), &[], &[self.scale as f32]);
        let zero = writer.byte(node.part("zero"), self.zero as i32, self.signed);
        let quantized = node.part("quantized");
        writer.push(&node.name, "QuantizeLinear", &[node.input(), &scale, &zero], &quantized, vec![]);
        let name = writer.free(&node.part("dequantized"));
        writer.push(&name, "DequantizeLinear", &[&quantized, &scale, &zero], &node.name, vec![]);
    }
}

/// The scale and the zero point that a node has.
fn settings(import: &Import<'_>, call: &Call<'_>) -> Result<Quantize, crate::onnx::Refusal> {
    let scale = match import.floats(call, 1)?.map(|array| &array.values[..]) {
        Some(&[one]) => f64::from(one),
        Some(_) => return unsupported("of a value that depends on the image, with several scales"),
        None => return wrong("has no scale"),
    };
    let zero = match import.numbers(call, 2)? {
        None => 0,
        Some(array) => match import.settled(call, &array.values).as_deref() {
            Some(&[zero]) => zero,
            _ => return unsupported("with several zero points"),
        },
    };
    Ok(Quantize { scale, zero, signed: import.is_signed(call, 2) })
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let op = settings(import, call)?;
    read::elementwise(import, call, op)
}

/// What a QuantizeLinear gives has been turned back already.
fn back(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let own = settings(import, call)?;
    let value = import.value(call, 0)?.clone();
    match &value {
        Value::Map(Map { layer, .. }) | Value::View(View { layer, .. })
            if *import.op(*layer) == Op::from(own) =>
        {
            import.set(call, 0, value);
            Ok(())
        }
        _ => unsupported("of other than what a QuantizeLinear with the same scale gives"),
    }
}
