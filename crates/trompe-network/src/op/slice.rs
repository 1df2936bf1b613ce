//! Parts of maps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Along, Op, Operator, Reads, Subsample, one, only};
use crate::onnx::{
    Array, Axis, Call, Done, IMAGES, Import, Map, Number, Reader, Refusal, Value, View, Writer, read,
    unsupported, wrong,
};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// From `start` to before `end` in steps, by channels, rows and columns. Negative numbers count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// The first channel, row and column.
    pub start: [i64; 3],
    /// The first that is left out after them.
    pub end: [i64; 3],
    /// From one to the next.
    pub step: [usize; 3],
}

impl Operator for Slice {
    const READERS: &'static [(&'static str, Reader)] =
        &[("Slice", slice), ("Split", split), ("Gather", gather)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        self.count(0, only(inputs)?)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        Ok([self.count(1, h)?, self.count(2, w)?])
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        let (first, _) = bounds(inputs[0], self.start[0], self.end[0]);
        Reads::Channels(vec![(0, first + channel * self.step[0])])
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        match self.step[1] {
            1 => Rows::kept(inputs).sliced(self.start[1], self.end[1]),
            _ => Rows::made(inputs),
        }
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        let with = |mut numbers: [i64; 3], first: i64| {
            numbers[0] = first;
            numbers
        };
        let [_, rows, columns] = self.step;
        Some(Self { start: with(self.start, 0), end: with(self.end, i64::MAX), step: [1, rows, columns] })
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let [_, c, h, w] = x.dims();
        let range = |d: usize, n: usize| {
            let (from, to) = bounds(n, self.start[d], self.end[d]);
            burn::tensor::Slice::new(from as isize, Some(to as isize), self.step[d].min(n) as isize)
        };
        x.slice([burn::tensor::Slice::full(), range(0, c), range(1, h), range(2, w)])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.slice(node, &[1, 2, 3], [&self.start, &self.end, &self.step.map(|s| s as i64)]);
    }
}

impl Slice {
    /// How many of `n` are left along an axis.
    fn count(&self, axis: usize, n: usize) -> Result<usize, String> {
        match self.step[axis] {
            0 => Err("its step is 0".into()),
            step => {
                let (start, end) = bounds(n, self.start[axis], self.end[axis]);
                Ok(end.saturating_sub(start).div_ceil(step))
            }
        }
    }
}

/// The first and the last position plus one of a slice along an axis of `n`.
fn bounds(n: usize, start: i64, end: i64) -> (usize, usize) {
    let n = n as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(0, n) as usize;
    (place(start), place(end))
}

/// A piece of an axis of a value whose axes are split.
fn of_view(
    import: &mut Import<'_>,
    call: &Call<'_>,
    part: Option<&str>,
    mut view: View,
    at: usize,
    [from, to]: [usize; 2],
) -> Result<View, Refusal> {
    let slowest = |import: &Import<'_>, view: &View| match view.axes[at][..] {
        [own] if own != IMAGES => Along::of(own.axis)
            .filter(|along| own.stride * own.size == import.shape(view.layer)[along.dim() - 1]),
        _ => None,
    };
    if slowest(import, &view).is_none() {
        view = import.turned(call, 0, view, at)?;
    }
    let Some(along) = slowest(import, &view) else { return unsupported("along the images") };
    let own = &mut view.axes[at];
    // A part of what another image has more of.
    if import.varies(view.layer, own[0].axis) {
        import.settle(call);
    }
    let stride = own[0].stride;
    own[0].size = to - from;
    own.retain(|part| part.size > 1);
    let (mut start, mut end) = ([0; 3], [i64::MAX; 3]);
    (start[along.dim() - 1], end[along.dim() - 1]) = ((from * stride) as i64, (to * stride) as i64);
    let layer = import.push(call, part, Slice { start, end, step: [1; 3] }, &[view.layer], vec![])?;
    Ok(View { layer, ..view })
}

/// The size of an axis of a value whose axes are split; none, where the value is a map.
fn split_axis(import: &Import<'_>, call: &Call<'_>, number: i64) -> Result<Option<(usize, i64)>, Refusal> {
    let Value::View(view) = import.value(call, 0)? else { return Ok(None) };
    let at = read::axis(number, view.axes.len())?;
    match view.sizes(import)[at] {
        Number::Known(size) => Ok(Some((at, size))),
        _ => unsupported("of the images"),
    }
}

/// The pieces that a Split makes of an axis of `size`.
fn pieces(import: &Import<'_>, call: &Call<'_>, size: i64) -> Result<Vec<i64>, Refusal> {
    let count = call.node.output.len() as i64;
    let parts = match read::listed(import, call, "split", 1)? {
        Some(parts) => parts,
        None => {
            let each = (size + count - 1) / count.max(1);
            (0..count).map(|i| each.min(size - i * each)).collect()
        }
    };
    let sum = parts.iter().try_fold(0i64, |n, &p| n.checked_add(p));
    match parts.len() as i64 != count || parts.iter().any(|&p| p < 1) || sum != Some(size) {
        true => wrong(format!("splits {size} into {parts:?}")),
        false => Ok(parts),
    }
}

fn slice(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let count = import.view(call, 0)?.axes.len();
    let (Some(starts), Some(ends)) =
        (read::listed(import, call, "starts", 1)?, read::listed(import, call, "ends", 2)?)
    else {
        return wrong("has no starts or no ends");
    };
    let axes = match read::listed(import, call, "axes", 3)? {
        Some(axes) => axes.iter().map(|&a| read::axis(a, count)).collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len().min(count)).collect(),
    };
    let steps = read::listed(import, call, "", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), steps.len(), axes.len()].iter().any(|&n| n != starts.len()) {
        return wrong("has starts, ends, axes and steps of different numbers");
    }
    if steps.iter().any(|&s| s < 1) {
        return unsupported(format!("with the steps {steps:?}"));
    }
    if let Value::View(view) = import.value(call, 0)?.clone()
        && steps.iter().all(|&step| step == 1)
    {
        read::once(&axes)?;
        return slices(import, call, view, &axes, [&starts, &ends]);
    }
    let map = import.map(call, 0)?;
    // All images, said in whatever way.
    let whole = |d: usize, k: usize| {
        let end = ends[k] >= import.batch.unwrap_or(i64::from(i32::MAX));
        map.axes[d] == Axis::Batch && starts[k] == 0 && end && steps[k] == 1
    };
    let kept: Vec<usize> = (0..axes.len()).filter(|&k| !whole(axes[k], k)).collect();
    let some = |list: &[i64]| -> Vec<i64> { kept.iter().map(|&k| list[k]).collect() };
    let axes: Vec<usize> = kept.iter().map(|&k| axes[k]).collect();
    let start = read::placed(&map, &axes, &some(&starts), 0)?;
    let end = read::placed(&map, &axes, &some(&ends), i64::MAX)?;
    let step = read::placed(&map, &axes, &some(&steps), 1)?.map(|s| s as usize);
    let op: Op = match (start, end, step) {
        ([0, 0, 0], [i64::MAX, i64::MAX, i64::MAX], [1, y, x]) if y == x => Subsample { stride: y }.into(),
        _ => Slice { start, end, step }.into(),
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    read::give(import, call, layer, map.axes)
}

/// Pieces of several axes of a value whose axes are split.
fn slices(
    import: &mut Import<'_>,
    call: &Call<'_>,
    mut view: View,
    axes: &[usize],
    [starts, ends]: [&[i64]; 2],
) -> Done {
    let sizes = view.sizes(import);
    let mut changed: Vec<(usize, [usize; 2])> = vec![];
    for (k, &at) in axes.iter().enumerate() {
        let Number::Known(size) = sizes[at] else { return unsupported("of the images") };
        let (from, to) = bounds(size as usize, starts[k], ends[k]);
        match (from, to) {
            (0, to) if to as i64 == size => {}
            (from, to) if from < to => changed.push((at, [from, to])),
            _ => return wrong("leaves nothing"),
        }
    }
    let Some((&(last, range), others)) = changed.split_last() else {
        import.set_view(call, 0, view);
        return Ok(());
    };
    for (i, &(at, range)) in others.iter().enumerate() {
        view = of_view(import, call, Some(&format!("axis{i}")), view, at, range)?;
    }
    let view = of_view(import, call, None, view, last, range)?;
    import.set_view(call, 0, view);
    Ok(())
}

/// One piece of an axis of a map.
fn piece(
    import: &mut Import<'_>,
    call: &Call<'_>,
    part: Option<&str>,
    map: &Map,
    axis: usize,
    [from, to]: [i64; 2],
) -> Result<usize, Refusal> {
    let start = read::placed(map, &[axis], &[from], 0)?;
    let end = read::placed(map, &[axis], &[to], i64::MAX)?;
    import.push(call, part, Slice { start, end, step: [1; 3] }, &[map.layer], vec![])
}

fn split(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let number = call.int("axis")?.unwrap_or(0);
    if let Some((at, size)) = split_axis(import, call, number)? {
        let mut from = 0;
        for (i, part) in pieces(import, call, size)?.into_iter().enumerate() {
            let view = import.view(call, 0)?;
            let view = of_view(import, call, Some(&i.to_string()), view, at, [from, from + part as usize])?;
            from += part as usize;
            import.set_view(call, i, view);
        }
        return Ok(());
    }
    let map = import.map(call, 0)?;
    let at = read::axis(number, map.axes.len())?;
    let Number::Known(size) = import.extent(map.layer, map.axes[at]) else {
        return unsupported("of the images");
    };
    if import.varies(map.layer, map.axes[at]) {
        import.settle(call);
    }
    let mut from = 0;
    for (i, part) in pieces(import, call, size)?.into_iter().enumerate() {
        let name = format!("{i}");
        let layer = piece(import, call, Some(&name), &map, at, [from, from + part])?;
        from += part;
        import.set(call, i, Value::Map(Map { layer, axes: map.axes.clone() }));
    }
    Ok(())
}

/// One position of an axis, as for single colour channels.
fn gather(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let number = call.int("axis")?.unwrap_or(0);
    let Some(Array { dims, values }) = import.numbers(call, 1)? else { return wrong("has no indices") };
    let dims = dims.clone();
    let (single, index) = match import.settled(call, values).as_deref() {
        Some(&[index]) if dims.len() <= 1 => (dims.is_empty(), index),
        Some(list)
            if list.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(1)) && !list.is_empty() =>
        {
            let ends = [list[0], list[list.len() - 1]];
            return gather_range(import, call, number, &dims, ends);
        }
        _ => return unsupported("of positions that do not follow on one another"),
    };
    if let Some((at, size)) = split_axis(import, call, number)? {
        if !(-size..size).contains(&index) {
            return wrong(format!("takes position {index} of {size}"));
        }
        let index = index.rem_euclid(size) as usize;
        let view = import.view(call, 0)?;
        let mut view = of_view(import, call, None, view, at, [index, index + 1])?;
        if single {
            view.axes.remove(at);
        }
        import.set_view(call, 0, view);
        return Ok(());
    }
    let map = import.map(call, 0)?;
    let at = read::axis(number, map.axes.len())?;
    let Number::Known(size) = import.extent(map.layer, map.axes[at]) else {
        return unsupported("of single images");
    };
    if !(-size..size).contains(&index) {
        return wrong(format!("takes position {index} of {size}"));
    }
    if index < 0 && import.varies(map.layer, map.axes[at]) {
        import.settle(call);
    }
    let index = index.rem_euclid(size);
    let layer = piece(import, call, None, &map, at, [index, index + 1])?;
    let mut axes = map.axes;
    if single {
        axes.remove(at);
    }
    read::give(import, call, layer, axes)
}

/// Positions that follow on one another, from the first to the last, in the shape of the list that names them.
fn gather_range(
    import: &mut Import<'_>,
    call: &Call<'_>,
    number: i64,
    dims: &[usize],
    [first, last]: [i64; 2],
) -> Done {
    let mut view = import.view(call, 0)?;
    let at = read::axis(number, view.axes.len())?;
    let Number::Known(size) = view.sizes(import)[at] else { return unsupported("of single images") };
    if first < 0 || last >= size {
        return wrong(format!("takes positions {first} to {last} of {size}"));
    }
    if [first, last] != [0, size - 1] {
        view = of_view(import, call, None, view, at, [first as usize, last as usize + 1])?;
    }
    let sizes: Vec<Number> = dims.iter().map(|&n| Number::Known(n as i64)).collect();
    let own = View { layer: view.layer, axes: vec![view.axes[at].clone()] };
    let Some(parts) = own.reshaped(&sizes, import.batch) else {
        return unsupported(format!("in the shape {dims:?}"));
    };
    view.axes.splice(at..=at, parts.axes);
    import.set_view(call, 0, view);
    Ok(())
}
