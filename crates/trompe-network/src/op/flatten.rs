//! Maps as lists of values.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::reshape::into_shape;
use super::{Operator, Reads, of_values, one, only};
use crate::onnx::{Call, Done, Import, Reader, View, Writer, int, read};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// The input as `[N, features, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flatten {
    /// How many values a map has.
    pub features: usize,
}

impl Operator for Flatten {
    const READERS: &'static [(&'static str, Reader)] = &[("Flatten", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs).map(|_| self.features)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        of_values(inputs, self.features)?;
        Ok([1, 1])
    }

    fn has_fixed_size(&self) -> bool {
        true
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        let places = self.features / inputs[0].max(1);
        Reads::Channels(vec![(0, channel / places.max(1))])
    }

    fn rows(&self, _: &[Rows]) -> Rows {
        Rows::Tokens(1)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        None
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let n = x.dims()[0];
        x.reshape([n, self.features, 1, 1])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let flat = writer.free(&node.part("flat"));
        writer.push(&node.name, "Flatten", &[node.input()], &flat, vec![int("axis", 1)]);
        writer.map(&node.name, &flat);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let number = call.int("axis")?.unwrap_or(1);
    let view = import.view(call, 0)?;
    let at = read::axis(number, view.axes.len() + 1)?;
    if at != 1 {
        // Before and after, each as one.
        let axes = [&view.axes[..at], &view.axes[at..]].map(<[_]>::concat).into();
        return import.reshaped(call, View { axes, ..view });
    }
    let map = import.map(call, 0)?;
    let [c, h, w] = import.shape(map.layer);
    into_shape(import, call, map, &[c * h * w])
}
