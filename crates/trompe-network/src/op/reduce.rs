//! What sums, means and maxima along axes have in common: an axis that is reduced has size 1 afterwards.

use super::{Along, Op, Reads, only};
use crate::Rows;
use crate::onnx::{Call, Done, IMAGES, Import, Refusal, View, read, unsupported};

/// The channels.
pub fn channels(over: &[Along], inputs: &[usize]) -> Result<usize, String> {
    only(inputs).map(|channels| if over.contains(&Along::Channels) { 1 } else { channels })
}

/// Rows and columns.
pub fn size(over: &[Along], inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
    let [_, h, w] = only(inputs)?;
    let kept = |along: Along, n: usize| if over.contains(&along) { 1 } else { n };
    Ok([kept(Along::Rows, h), kept(Along::Columns, w)])
}

/// Whether rows and columns are both reduced.
pub fn has_fixed_size(over: &[Along]) -> bool {
    over.contains(&Along::Rows) && over.contains(&Along::Columns)
}

/// What a channel is computed from.
pub fn reads(over: &[Along], channel: usize, inputs: &[usize]) -> Reads {
    if over.contains(&Along::Channels) { Reads::All } else { Reads::same(channel, inputs) }
}

/// What rows stand for.
pub fn rows(over: &[Along], inputs: &[Rows]) -> Rows {
    if over.contains(&Along::Rows) { Rows::Tokens(1) } else { Rows::kept(inputs) }
}

/// Reads one of a value along some of its axes; `op` makes it for axes of a map.
pub fn from_onnx(import: &mut Import<'_>, call: &Call<'_>, op: impl Fn(Vec<Along>) -> Op) -> Done {
    let view = import.view(call, 0)?;
    let view = of_view(import, call, view, None, op)?;
    import.set_view(call, 0, view);
    Ok(())
}

/// What comes out of a value that need not be the one that the node reads.
pub fn of_view(
    import: &mut Import<'_>,
    call: &Call<'_>,
    mut view: View,
    part: Option<&str>,
    op: impl Fn(Vec<Along>) -> Op,
) -> Result<View, Refusal> {
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
    Ok(View { layer, ..view })
}
