//! Values between bounds.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Elementwise, number};
use crate::Node;
use crate::onnx::{Array, Call, Done, Import, Reader, Refusal, Writer, read, wrong};

/// x, but at least `min` and at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// The least value, if there is one.
    pub min: Option<f32>,
    /// The largest value, if there is one.
    pub max: Option<f32>,
}

impl Elementwise for Clip {
    const READERS: &'static [(&'static str, Reader)] = &[("Clip", from_onnx)];

    fn check(&self) -> Result<(), String> {
        self.min.map_or(Ok(()), |v| number("min", v.into()))?;
        self.max.map_or(Ok(()), |v| number("max", v.into()))
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let x = if let Some(min) = self.min { x.clamp_min(min) } else { x };
        if let Some(max) = self.max { x.clamp_max(max) } else { x }
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let [low, high] = [("min", self.min), ("max", self.max)].map(|(what, bound)| match bound {
            Some(bound) => writer.floats(node.part(what), &[], &[bound]),
            None => String::new(),
        });
        let all = [node.input(), &low, &high];
        let given = if high.is_empty() { &all[..2] } else { &all[..] };
        writer.push(&node.name, "Clip", given, &node.name, vec![]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let bound = |name: &str, at: usize| -> Result<Option<f32>, Refusal> {
        if import.opset < 11 {
            let value = call.has(name).then(|| call.float(name, 0.0)).transpose()?;
            return Ok(value.map(|v| v as f32));
        }
        match import.floats(call, at)? {
            None => Ok(None),
            Some(Array { values, .. }) if values.len() == 1 => Ok(Some(values[0])),
            Some(array) => wrong(format!("has a bound of shape {:?}", array.dims)),
        }
    };
    let (min, max) = (bound("min", 1)?, bound("max", 2)?);
    if [min, max].into_iter().flatten().any(f32::is_nan) {
        return wrong("has a bound that is no number");
    }
    let finite = |v: &f32| v.abs() < f32::MAX;
    let (min, max) = (min.filter(finite), max.filter(finite));
    read::elementwise(import, call, Clip { min, max })
}
