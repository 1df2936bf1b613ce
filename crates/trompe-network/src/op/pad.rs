//! Margins.

use burn::tensor::Tensor;
use burn::tensor::ops::PadMode;
use serde::{Deserialize, Serialize};

use super::pad_channels::{beside, padded};
use super::{Op, Operator, PadChannels, Reads, one, only};
use crate::Node;
use crate::onnx::{Array, Call, Done, Import, Reader, Writer, read, unsupported, wrong};
use crate::parameters::Parameters;

/// A margin of `value`, by channels, rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// How many before, by channels, rows and columns.
    pub before: [usize; 3],
    /// How many after.
    pub after: [usize; 3],
    /// What they are.
    pub value: f32,
}

impl Operator for Pad {
    const READERS: &'static [(&'static str, Reader)] = &[("Pad", pad)];

    fn check(&self) -> Result<(), String> {
        // Before a maximum, a margin may be infinitely small.
        match self.value.is_nan() {
            true => Err("has a value that is no number; it must be one, or infinite".into()),
            false => Ok(()),
        }
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        Ok(self.before[0].saturating_add(only(inputs)?).saturating_add(self.after[0]))
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let shape = only(inputs)?;
        Ok([1, 2].map(|d| shape[d].saturating_add(self.before[d]).saturating_add(self.after[d])))
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        padded(self.before[0], channel, inputs)
    }

    fn narrowed(&self, channels: &[usize], inputs: &[usize]) -> Option<Self> {
        let [first, last] = beside(self.before[0], channels, inputs)?;
        let mut narrowed = *self;
        (narrowed.before[0], narrowed.after[0]) = (first, last);
        Some(narrowed)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let sides: [(usize, usize); 3] = std::array::from_fn(|d| (self.before[d], self.after[d]));
        one(inputs).pad(sides, PadMode::Constant(self.value))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.pad(node, self.before, self.after, self.value);
    }
}

fn pad(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    match call.text("mode")?.as_deref() {
        None | Some("constant") => {}
        Some(mode) => return unsupported(format!("in mode {mode}")),
    }
    let old = if call.ints("paddings").is_some() { "paddings" } else { "pads" };
    let Some(pads) = read::listed(import, call, old, 1)? else { return wrong("has no pads") };
    let value = match import.floats(call, 2)? {
        Some(Array { values, .. }) if values.len() == 1 => values[0],
        Some(array) => return wrong(format!("has a value of shape {:?}", array.dims)),
        None => call.float("value", 0.0)? as f32,
    };
    let axes = match read::listed(import, call, "", 3)? {
        Some(axes) => axes.iter().map(|&a| read::axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..map.axes.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return wrong(format!("has {} pads for {} axes", pads.len(), axes.len()));
    }
    if pads.iter().any(|&p| p < 0) {
        return unsupported(format!("by the negative pads {pads:?}"));
    }
    let pads: Vec<usize> = pads.iter().map(|&p| p as usize).collect();
    let (before, after) = pads.split_at(axes.len());
    let (before, after) = (read::placed(&map, &axes, before, 0)?, read::placed(&map, &axes, after, 0)?);
    let op: Op = match (before, after) {
        ([c, 0, 0], [d, 0, 0]) if value == 0.0 => PadChannels { before: c, after: d }.into(),
        _ => Pad { before, after, value }.into(),
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    read::give(import, call, layer, map.axes)
}
