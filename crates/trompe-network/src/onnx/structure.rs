//! Nodes that move or rename axes, or do nothing: they leave no layer.

use super::array::{Array, Constant, Number};
use super::call::Call;
use super::import::{Axis, Import, MAP, Value};
use super::proto::elements;
use super::read::{Done, Reader, axis, give, listed, order, unsupported, wrong};

/// By operator, how it is read.
pub const READERS: &[(&str, Reader)] = &[
    ("Cast", same),
    ("Dropout", same),
    ("Identity", same),
    ("Shape", shape),
    ("Squeeze", squeeze),
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

fn shape(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let Value::Map(map) = import.value(call, 0)? else { return unsupported("of a value of five dimensions") };
    let size = |&axis: &Axis| match import.extent(map.layer, axis) {
        Number::Known(n) if import.varies(map.layer, axis) => Number::Image(n),
        n => n,
    };
    let all: Vec<Number> = map.axes.iter().map(size).collect();
    let n = all.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(0, n) as usize;
    let start = place(call.int("start")?.unwrap_or(0));
    let end = place(call.int("end")?.unwrap_or(n)).max(start);
    let values = Array::row(all[start..end].to_vec());
    import.set(call, 0, Value::Constant(Constant::Numbers(values)));
    Ok(())
}

fn squeeze(import: &mut Import<'_>, call: &Call<'_>) -> Done {
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
    let map = import.map(call, 0)?;
    let Some(numbers) = listed(import, call, "axes", 1)? else { return wrong("has no axes") };
    let count = map.axes.len() + numbers.len();
    let numbers = numbers.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?;
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
    let value = import.value(call, 0)?.clone();
    let count = match &value {
        Value::Map(map) => map.axes.len(),
        _ => 5,
    };
    let order = order(call, count)?;
    match value {
        Value::Map(map) => {
            let axes = order.iter().map(|&d| map.axes[d]).collect();
            give(import, call, map.layer, axes)
        }
        Value::Groups { layer, groups, shuffled: false } if order == [0, 2, 1, 3, 4] => {
            import.set(call, 0, Value::Groups { layer, groups, shuffled: true });
            Ok(())
        }
        _ => unsupported(format!("of five dimensions to {order:?}")),
    }
}
