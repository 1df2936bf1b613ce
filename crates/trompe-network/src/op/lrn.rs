//! Local response normalization.

use burn::tensor::Tensor;
use burn::tensor::ops::PadMode;
use serde::{Deserialize, Serialize};

use super::{MOST, Operator, Reads, one, only, same_size, within};
use crate::onnx::{Call, Done, Import, MAP, Reader, Writer, float, int, read, wrong};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// Local response normalization over `size` neighbouring channels (Krizhevsky et al., 2012):
/// x / (`bias` + `alpha` / `size` · Σ x²)^`beta`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lrn {
    /// How many neighbouring channels are added up, the channel itself among them.
    pub size: usize,
    /// The weight of their squares.
    pub alpha: f64,
    /// The exponent.
    pub beta: f64,
    /// What is added to the sum.
    pub bias: f64,
}

impl Operator for Lrn {
    const READERS: &'static [(&'static str, Reader)] = &[("LRN", from_onnx)];

    fn check(&self) -> Result<(), String> {
        within("size", self.size as f64, 1.0, MOST)?;
        within("alpha", self.alpha, 0.0, MOST)?;
        // x^-100 is beyond 32 bits for most x; a greater exponent is no network's.
        within("beta", self.beta, 0.0, 100.0)?;
        within("bias", self.bias, 0.0, MOST)
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        let before = (self.size - 1) / 2;
        let end = inputs[0].min(channel + self.size - before);
        Reads::Channels((channel.saturating_sub(before)..end).map(|c| (0, c)).collect())
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        None
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let channels = x.dims()[1];
        let squares = x.clone().powi_scalar(2);
        let sum = if self.size >= 2 * channels - 1 {
            // All are every channel's neighbours, however many more there could be.
            squares.sum_dim(1)
        } else {
            // Each channel's neighbours are slices of the squares with empty channels on both sides.
            let before = (self.size - 1) / 2;
            let sides = [(before, self.size - 1 - before), (0, 0), (0, 0)];
            let padded = squares.pad(sides, PadMode::Constant(0.0));
            (1..self.size).fold(padded.clone().narrow(1, 0, channels), |sum, i| {
                sum + padded.clone().narrow(1, i, channels)
            })
        };
        x / (sum * (self.alpha / self.size as f64) + self.bias).powf_scalar(self.beta)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let numbers = [("alpha", self.alpha), ("beta", self.beta), ("bias", self.bias)];
        let mut attributes = vec![int("size", self.size)];
        attributes.extend(numbers.map(|(name, value)| float(name, value)));
        writer.plain(node, "LRN", attributes);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.image(call, 0)?;
    let size = call.int("size")?.and_then(|s| usize::try_from(s).ok()).filter(|&s| s > 0);
    let Some(size) = size else { return wrong("has no size of at least 1") };
    let op = Lrn {
        size,
        alpha: call.float("alpha", 1e-4)?,
        beta: call.float("beta", 0.75)?,
        bias: call.float("bias", 1.0)?,
    };
    let layer = import.push(call, None, op, &[x], vec![])?;
    read::give(import, call, layer, MAP.into())
}
