//! Nodes that move or rename axes, or do nothing: they leave no layer.

use super::array::{Array, Constant, Number};
use super::call::Call;
use super::import::{Axis, Import, MAP, Refusal, Value};
use super::proto::elements;
use super::read::{Done, Reader, axis, give, listed, once, order, unsupported, wrong};
use super::view::{IMAGES, View, whole};
use crate::op::{Add, LARGEST_MAP};

/// By operator, how it is read.
pub const READERS: &[(&str, Reader)] = &[
    ("Cast", same),
    ("DepthToSpace", depth_to_space),
    ("Dropout", same),
    ("Expand", expand),
    ("Identity", same),
    ("Shape", shape),
    ("SpaceToDepth", space_to_depth),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

fn same(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if call.operator() == "Cast" {
        let to = call.int("to")?.unwrap_or(0);
        if !elements::FRACTIONS.iter().any(|&kind| i64::from(kind) == to) {
            return unsupported(format!("of a map to elements that are no fractions (type {to})"));
        }
    }
    let value = import.value(call, 0)?.clone();
    import.set(call, 0, value);
    import.set(call, 1, Value::Absent("the mask of a Dropout"));
    Ok(())
}

/// A map in a larger shape, by adding zeros of that shape; joins broadcast by themselves.
fn expand(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let view = import.view(call, 0)?;
    let sizes = view.sizes(import);
    let Some(target) = import.numbers(call, 1)? else { return wrong("has no shape") };
    let mut target = target.values.clone();
    while target.len() < sizes.len() {
        target.insert(0, Number::Known(1));
    }
    if target.len() > sizes.len() {
        return unsupported("to more axes");
    }
    // 1 and what is there already change nothing.
    let batch = import.batch;
    let images = |n: &Number| *n == Number::Batch || batch.is_some_and(|b| *n == Number::Known(b));
    let same = |(d, (own, wanted)): (usize, (&Number, &Number))| {
        own == wanted || *wanted == Number::Known(1) || (view.axes[d][..] == [IMAGES] && images(wanted))
    };
    if sizes.iter().zip(&target).enumerate().all(same) {
        let value = import.value(call, 0)?.clone();
        import.set(call, 0, value);
        return Ok(());
    }
    // Of the images there are as many as there are.
    let own = |(d, n): (usize, &Number)| if view.axes[d].contains(&IMAGES) { Number::Known(1) } else { *n };
    let once: Vec<Number> = target.iter().enumerate().map(own).collect();
    let Some(wanted) = import.settled(call, &once) else { return unsupported("with the number of images") };
    let mut view = view;
    let mut shape = import.shape(view.layer);
    for (d, n) in wanted.into_iter().enumerate() {
        if n <= 1 || !view.axes[d].is_empty() {
            continue;
        }
        // Along an axis that the map does not use.
        let Some(free) = shape.iter().position(|&own| own == 1) else {
            return unsupported("of a value whose map has no axis to spare");
        };
        shape[free] = usize::try_from(n).unwrap_or(usize::MAX);
        view.axes[d] = whole(MAP[free + 1], shape[free]);
    }
    let values = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= LARGEST_MAP);
    let Some(values) = values else { return wrong(format!("asks for maps of the shape {shape:?}")) };
    import.spend(values)?;
    let zeros = import.fixed(call, 1, shape, vec![0.0; values])?;
    let layer = import.push(call, None, Add, &[view.layer, zeros], vec![])?;
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}

/// A value that is repeated once along every axis.
fn tile(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let Some(times) = import.numbers(call, 1)? else { return wrong("has no repeats") };
    if times.values.iter().any(|n| *n != Number::Known(1)) {
        return unsupported("of values that depend on the image");
    }
    let value = import.value(call, 0)?.clone();
    import.set(call, 0, value);
    Ok(())
}

fn shape(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let all: Vec<Number> = match import.value(call, 0)? {
        Value::Map(map) => {
            let size = |&axis: &Axis| match import.extent(map.layer, axis) {
                Number::Known(n) if import.varies(map.layer, axis) => Number::Image(n),
                n => n,
            };
            map.axes.iter().map(size).collect()
        }
        Value::View(view) => {
            let varies = |d: usize| view.axes[d].iter().any(|part| import.varies(view.layer, part.axis));
            let size = |(d, n): (usize, Number)| match n {
                Number::Known(n) if varies(d) => Number::Image(n),
                n => n,
            };
            view.sizes(import).into_iter().enumerate().map(size).collect()
        }
        _ => return unsupported("of a constant"),
    };
    let n = all.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(0, n) as usize;
    let start = place(call.int("start")?.unwrap_or(0));
    let end = place(call.int("end")?.unwrap_or(n)).max(start);
    let values = Array::row(all[start..end].to_vec());
    import.set(call, 0, Value::Constant(Constant::Numbers(values)));
    Ok(())
}

fn squeeze(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if let Value::View(mut view) = import.value(call, 0)?.clone() {
        let count = view.axes.len();
        let numbers = match listed(import, call, "axes", 1)? {
            Some(axes) => axes.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?,
            None => (0..count).filter(|&d| view.axes[d].is_empty()).collect(),
        };
        if let Some(d) = numbers.iter().find(|&&d| !view.axes[d].is_empty()) {
            return wrong(format!("takes away axis {d}, whose size is not 1"));
        }
        let mut at = 0..count;
        view.axes.retain(|_| !numbers.contains(&at.next().expect("one for each axis")));
        import.set_view(call, 0, view);
        return Ok(());
    }
    let map = import.map(call, 0)?;
    let single = |d: usize| import.extent(map.layer, map.axes[d]) == Number::Known(1);
    let numbers = match listed(import, call, "axes", 1)? {
        Some(axes) => axes.iter().map(|&a| axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..map.axes.len()).filter(|&d| single(d)).collect(),
    };
    if let Some(&d) = numbers.iter().find(|&&d| !single(d)) {
        return match map.axes[d] {
            Axis::Batch => unsupported("of the images' axis"),
            _ => wrong(format!("takes away axis {d}, whose size is not 1")),
        };
    }
    let left = map.axes.iter().enumerate().filter(|(d, _)| !numbers.contains(d));
    let axes = left.map(|(_, &a)| a).collect();
    give(import, call, map.layer, axes)
}

fn unsqueeze(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let Some(numbers) = listed(import, call, "axes", 1)? else { return wrong("has no axes") };
    let value = import.value(call, 0)?.clone();
    let count = numbers.len()
        + match &value {
            Value::Map(map) => map.axes.len(),
            Value::View(view) => view.axes.len(),
            _ => 0,
        };
    let numbers = numbers.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?;
    once(&numbers)?;
    let map = match value {
        Value::Map(map) => map,
        Value::View(mut view) => {
            let mut places = numbers.clone();
            places.sort_unstable();
            places.into_iter().for_each(|d| view.axes.insert(d, vec![]));
            import.set_view(call, 0, view);
            return Ok(());
        }
        _ => return unsupported("of a constant"),
    };
    let mut spare: Vec<Axis> = MAP[1..].iter().copied().filter(|a| !map.axes.contains(a)).collect();
    let mut old = map.axes.iter().copied();
    let mut axes = vec![];
    for d in 0..count {
        axes.push(if numbers.contains(&d) {
            if spare.is_empty() { Axis::One } else { spare.remove(0) }
        } else {
            match old.next() {
                Some(axis) => axis,
                None => return wrong("names an axis twice"),
            }
        });
    }
    if old.next().is_some() {
        return wrong("names an axis twice");
    }
    give(import, call, map.layer, axes)
}

fn transpose(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    match import.value(call, 0)?.clone() {
        Value::Map(map) => {
            let axes = order(call, map.axes.len())?.iter().map(|&d| map.axes[d]).collect();
            give(import, call, map.layer, axes)
        }
        Value::View(view) => {
            let view = view.transposed(&order(call, view.axes.len())?);
            import.set_view(call, 0, view);
            Ok(())
        }
        _ => unsupported("of a constant"),
    }
}

/// Channels that become places: every place, a block of them.
fn depth_to_space(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let (view, block) = blocks(import, call)?;
    let [batch, channels, rows, columns] = &view.sizes(import)[..] else {
        return unsupported("of other than maps");
    };
    let (&b, of) = (&block, |n: &Number| *n);
    let inner = settled(import, call, *channels)? / (block * block);
    let known = Number::Known;
    // The channels are [block, block, inner] or, with the mode CRD, [inner, block, block].
    let (split, order) = match call.text("mode")?.as_deref() {
        None | Some("DCR") => ([known(b), known(b), known(inner)], [0, 3, 4, 1, 5, 2]),
        Some("CRD") => ([known(inner), known(b), known(b)], [0, 1, 4, 2, 5, 3]),
        Some(other) => return wrong(format!("has the mode \"{other}\"")),
    };
    let [rows, columns] = [rows, columns].map(of);
    let apart = [&[*batch][..], &split, &[rows, columns]].concat();
    let [h, w] = [settled(import, call, rows)?, settled(import, call, columns)?];
    let together = [*batch, known(inner), known(h.saturating_mul(b)), known(w.saturating_mul(b))];
    moved(import, call, &view, &apart, &order, &together)
}

/// Places that become channels: a block of them, one place.
fn space_to_depth(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let (view, b) = blocks(import, call)?;
    let [batch, channels, rows, columns] = view.sizes(import)[..] else {
        return unsupported("of other than maps");
    };
    let [c, h, w] = [channels, rows, columns].map(|n| settled(import, call, n));
    let (c, h, w) = (c?, h?, w?);
    if h % b != 0 || w % b != 0 {
        return wrong(format!("divides {h}x{w} places into blocks of {b}x{b}"));
    }
    let known = Number::Known;
    let apart = [batch, known(c), known(h / b), known(b), known(w / b), known(b)];
    let together = [batch, known(c.saturating_mul(b * b)), known(h / b), known(w / b)];
    moved(import, call, &view, &apart, &[0, 3, 5, 1, 2, 4], &together)
}

/// What is moved in blocks, and their side.
fn blocks(import: &mut Import<'_>, call: &Call<'_>) -> Result<(View, i64), Refusal> {
    match call.int("blocksize")? {
        Some(b @ 1..=1024) => Ok((import.view(call, 0)?, b)),
        Some(b) => wrong(format!("has the blocksize {b}; it must be between 1 and 1024")),
        None => wrong("has no blocksize"),
    }
}

fn settled(import: &Import<'_>, call: &Call<'_>, n: Number) -> Result<i64, Refusal> {
    match import.settled(call, &[n]).as_deref() {
        Some(&[n]) => Ok(n),
        _ => unsupported("with the number of images"),
    }
}

/// A value with its axes split, put in another order, and joined.
fn moved(
    import: &mut Import<'_>,
    call: &Call<'_>,
    view: &View,
    apart: &[Number],
    order: &[usize],
    together: &[Number],
) -> Done {
    let batch = import.batch;
    let moved = view.reshaped(apart, batch).and_then(|v| v.transposed(order).reshaped(together, batch));
    let Some(moved) = moved else { return unsupported("of a value whose axes can't be split like that") };
    import.set_view(call, 0, moved);
    Ok(())
}
