//! Means along axes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Along, GlobalAvgPool, Op, Operator, Reads, one, only};
use crate::Node;
use crate::onnx::{Axis, Call, Done, IMAGES, Import, Reader, Value, View, Writer, ints, read, unsupported};
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
    const READERS: &'static [(&'static str, Reader)] = &[("ReduceMean", from_onnx)];

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

/// Reads a reduction of a value along some of its axes; `op` makes it for axes of a map.
pub(super) fn reduced(import: &mut Import<'_>, call: &Call<'_>, op: impl Fn(Vec<Along>) -> Op) -> Done {
    let view = import.view(call, 0)?;
    reduced_of(import, call, view, None, op)
}

/// The same of another value than the node reads.
pub(super) fn reduced_of(
    import: &mut Import<'_>,
    call: &Call<'_>,
    mut view: View,
    part: Option<&str>,
    op: impl Fn(Vec<Along>) -> Op,
) -> Done {
    let axes = read::listed(import, call, "axes", 1)?.filter(|axes| !axes.is_empty());
    let Some(axes) = axes else { return unsupported("over all axes, the images among them") };
    let axes = axes.iter().map(|&a| read::axis(a, view.axes.len())).collect::<Result<Vec<_>, _>>()?;
    read::once(&axes)?;
    if axes.iter().any(|&d| view.axes[d].contains(&IMAGES)) {
        return unsupported("over the images");
    }
    let shape = import.shape(view.layer);
    let along = |view: &View, d: usize| match view.axes[d][..] {
        [own] => {
            let along = Along::of(own.axis)?;
            (own.stride == 1 && own.size == shape[along.dim() - 1]).then_some(along)
        }
        _ => None,
    };
    let long: Vec<usize> = axes.iter().copied().filter(|&d| !view.axes[d].is_empty()).collect();
    let whole: Option<Vec<Along>> = long.iter().map(|&d| along(&view, d)).collect();
    let mut over = match whole {
        Some(over) => over,
        None => {
            // What is reduced as columns.
            let left: Vec<usize> = (0..view.axes.len()).filter(|d| !long.contains(d)).collect();
            let units = view.units(&left);
            let rows: Vec<usize> = left.iter().copied().filter(|d| Some(*d) != units).collect();
            let layout = [view.parts(units), view.parts(rows), view.parts(long.iter().copied())];
            view = import.arranged(call, 0, &view, layout)?;
            vec![Along::Columns]
        }
    };
    over.sort_by_key(|along| along.dim());
    let layer = match over.is_empty() {
        true => view.layer,
        false => import.push(call, part, op(over), &[view.layer], vec![])?,
    };
    axes.iter().for_each(|&d| view.axes[d].clear());
    if call.int("keepdims")?.unwrap_or(1) == 0 {
        let mut at = 0..view.axes.len();
        view.axes.retain(|_| !axes.contains(&at.next().expect("one for each axis")));
    }
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if let Value::View(_) = import.value(call, 0)? {
        return reduced(import, call, |over| {
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
