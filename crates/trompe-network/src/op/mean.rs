//! Means along axes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{GlobalAvgPool, GlobalMaxPool, Op, Operator, Reads, one, only};
use crate::Node;
use crate::onnx::{Axis, Call, Done, Import, Reader, Writer, ints, read, unsupported};
use crate::parameters::Parameters;

/// Mean over channels, rows or columns, whichever are named; what is averaged has size 1 then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    /// Whether over channels.
    pub channels: bool,
    /// Whether over rows.
    pub rows: bool,
    /// Whether over columns.
    pub columns: bool,
}

impl Operator for Mean {
    const READERS: &'static [(&'static str, Reader)] = &[("ReduceMean", from_onnx), ("ReduceMax", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs).map(|channels| if self.channels { 1 } else { channels })
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        let kept = |averaged: bool, n: usize| if averaged { 1 } else { n };
        Ok([kept(self.rows, h), kept(self.columns, w)])
    }

    fn has_fixed_size(&self) -> bool {
        self.rows && self.columns
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        if self.channels { Reads::All } else { Reads::same(channel, inputs) }
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        (!self.channels).then_some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let dims = [(self.channels, 1), (self.rows, 2), (self.columns, 3)];
        dims.iter().filter(|(averaged, _)| *averaged).fold(one(inputs), |x, (_, d)| x.mean_dim(*d))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let dims = [(self.channels, 1), (self.rows, 2), (self.columns, 3)];
        let dims: Vec<usize> = dims.iter().filter(|(averaged, _)| *averaged).map(|(_, d)| *d).collect();
        match dims.is_empty() {
            true => writer.plain(node, "Identity", vec![]),
            false => writer.plain(node, "ReduceMean", vec![ints("axes", &dims)]),
        }
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let axes = read::listed(import, call, "axes", 1)?.filter(|axes| !axes.is_empty());
    if axes.is_none() && call.flag("noop_with_empty_axes")? {
        return read::give(import, call, map.layer, map.axes);
    }
    let Some(axes) = axes else { return unsupported("over all axes, the images among them") };
    let numbers = axes.iter().map(|&a| read::axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?;
    let has = |axis| numbers.iter().any(|&d| map.axes[d] == axis);
    if has(Axis::Batch) {
        return unsupported("over the images");
    }
    let (channels, rows, columns) = (has(Axis::Channels), has(Axis::Rows), has(Axis::Columns));
    let op: Op = match (call.operator(), channels, rows, columns) {
        ("ReduceMax", false, true, true) => GlobalMaxPool.into(),
        ("ReduceMax", ..) => return unsupported("over other than the whole map"),
        (_, false, true, true) => GlobalAvgPool.into(),
        _ => Mean { channels, rows, columns }.into(),
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    let keep = call.int("keepdims")?.unwrap_or(1) != 0;
    let left = map.axes.iter().enumerate().filter(|(d, _)| keep || !numbers.contains(d));
    let axes = left.map(|(_, &axis)| axis).collect();
    read::give(import, call, layer, axes)
}
