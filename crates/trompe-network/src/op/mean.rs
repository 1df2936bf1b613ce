//! Means along axes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Along, GlobalAvgPool, Op, Operator, Reads, one, reduce};
use crate::onnx::{Axis, Call, Done, Import, Reader, Value, Writer, ints, read, unsupported};
use crate::parameters::Parameters;
use crate::{Node, Rows};

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

impl Mean {
    /// The axes that are averaged, in order.
    fn over(&self) -> Vec<Along> {
        let all =
            [(self.channels, Along::Channels), (self.rows, Along::Rows), (self.columns, Along::Columns)];
        all.into_iter().filter(|(averaged, _)| *averaged).map(|(_, along)| along).collect()
    }
}

impl Operator for Mean {
    const READERS: &'static [(&'static str, Reader)] = &[("ReduceMean", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        reduce::channels(&self.over(), inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        reduce::size(&self.over(), inputs)
    }

    fn has_fixed_size(&self) -> bool {
        reduce::has_fixed_size(&self.over())
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        reduce::reads(&self.over(), channel, inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        reduce::rows(&self.over(), inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        (!self.channels).then_some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.over().iter().fold(one(inputs), |x, along| x.mean_dim(along.dim()))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let dims: Vec<usize> = self.over().iter().map(|along| along.dim()).collect();
        match dims.is_empty() {
            true => writer.plain(node, "Identity", vec![]),
            false => writer.plain(node, "ReduceMean", vec![ints("axes", &dims)]),
        }
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if let Value::View(_) = import.value(call, 0)? {
        return reduce::from_onnx(import, call, |over| {
            let has = |along| over.contains(&along);
            let (channels, rows, columns) = (has(Along::Channels), has(Along::Rows), has(Along::Columns));
            Mean { channels, rows, columns }.into()
        });
    }
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
    let op: Op = match (channels, rows, columns) {
        (false, true, true) => GlobalAvgPool.into(),
        _ => Mean { channels, rows, columns }.into(),
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    let keep = call.int("keepdims")?.unwrap_or(1) != 0;
    let left = map.axes.iter().enumerate().filter(|(d, _)| keep || !numbers.contains(d));
    let axes = left.map(|(_, &axis)| axis).collect();
    read::give(import, call, layer, axes)
}
