//! What operators share in reading nodes.

use burn::tensor::TensorData;

use super::array::{Array, Number};
use super::call::Call;
use super::import::{Axis, Import, MAP, Map, Refusal, Value};
use super::view::View;
use super::{constants, structure};
use crate::op::Op;
use crate::padding::{Padding, Same};

/// That a node has become layers, or why not.
pub type Done = Result<(), Refusal>;

/// How a node becomes layers.
pub type Reader = fn(&mut Import<'_>, &Call<'_>) -> Done;

/// Operators that are computed on constants alone.
const ON_CONSTANTS: [&str; 21] = [
    "Abs",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "Cos",
    "CumSum",
    "Equal",
    "Exp",
    "Expand",
    "Floor",
    "GatherND",
    "Max",
    "Min",
    "Mod",
    "Neg",
    "Not",
    "Range",
    "ScatterND",
    "Sin",
    "Tile",
    "Where",
];

/// Turns a node into layers, or into a constant.
pub fn apply(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if call.operator() == "Dropout"
        && let Some(Array { values, .. }) = import.numbers(call, 2)?
        && values.iter().any(|v| *v != Number::Known(0))
    {
        return unsupported("in training mode");
    }
    let structure = structure::READERS.iter().find(|(name, _)| *name == call.operator());
    let reader = structure.map(|(_, reader)| *reader).or_else(|| Op::reader(call.operator()));
    if !call.is_standard() || (reader.is_none() && !ON_CONSTANTS.contains(&call.operator())) {
        return unsupported("");
    }
    if constants::apply(import, call)? {
        return Ok(());
    }
    match reader {
        Some(read) => read(import, call),
        None => unsupported("on other than constants"),
    }
}

/// Refuses what Trompe can't do.
pub fn unsupported<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(what.into()))
}

/// Refuses what is wrong.
pub fn wrong<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Wrong(what.into()))
}

/// Keeps the layer as what the node gives, with axes as its input's.
pub fn give(import: &mut Import<'_>, call: &Call<'_>, layer: usize, axes: Vec<Axis>) -> Done {
    import.set(call, 0, Value::Map(Map { layer, axes }));
    Ok(())
}

/// Appends the layer of a node of one input, whose axes it keeps.
pub fn elementwise(import: &mut Import<'_>, call: &Call<'_>, op: impl Into<Op>) -> Done {
    if let Value::View(view) = import.value(call, 0)?.clone() {
        let layer = import.push(call, None, op, &[view.layer], vec![])?;
        import.set_view(call, 0, View { layer, ..view });
        return Ok(());
    }
    let map = import.map(call, 0)?;
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    give(import, call, layer, map.axes)
}

/// The margin that a window operator asks for.
pub fn padding(call: &Call<'_>) -> Result<Padding, Refusal> {
    match call.text("auto_pad")?.as_deref() {
        Some("SAME_UPPER") => Ok(Padding::Same(Same::SameUpper)),
        Some("SAME_LOWER") => Ok(Padding::Same(Same::SameLower)),
        Some("VALID") => Ok(Padding::Symmetric([0, 0])),
        None | Some("NOTSET" | "") => match call.ints("pads") {
            None => Ok(Padding::Symmetric([0, 0])),
            Some(pads @ &[top, left, bottom, right]) => {
                if pads.iter().any(|p| !(0..1 << 28).contains(p)) {
                    return wrong(format!("has the padding {pads:?}"));
                }
                Ok(Padding::Sides([top, left, bottom, right].map(|p| p as usize)).plain())
            }
            Some(pads) => unsupported(format!("over {} dimensions instead of 2", pads.len() / 2)),
        },
        Some(other) => wrong(format!("has the auto_pad \"{other}\"")),
    }
}

/// A file's parameters.
pub fn data(array: &Array<f32>) -> TensorData {
    TensorData::new(array.values.clone(), array.dims.clone())
}

/// Parameters of which there is one a channel.
pub fn channelwise(
    import: &Import<'_>,
    call: &Call<'_>,
    inputs: std::ops::Range<usize>,
    channels: usize,
) -> Result<Vec<TensorData>, Refusal> {
    inputs
        .map(|at| match import.floats(call, at)? {
            Some(array) if array.dims == [channels] => Ok(data(array)),
            Some(array) => {
                wrong(format!("has a parameter of shape {:?} for {channels} channels", array.dims))
            }
            None => wrong(format!("has no input {}", at + 1)),
        })
        .collect()
}

/// Appends the layer of a node that takes a whole map together.
pub fn global(import: &mut Import<'_>, call: &Call<'_>, op: impl Into<Op>) -> Done {
    let x = import.image(call, 0)?;
    let layer = import.push(call, None, op, &[x], vec![])?;
    give(import, call, layer, MAP.into())
}

/// An axis by its number, which may count from the end.
pub fn axis(number: i64, axes: usize) -> Result<usize, Refusal> {
    let n = axes as i64;
    match number {
        a if (0..n).contains(&a) => Ok(a as usize),
        a if (-n..0).contains(&a) => Ok((a + n) as usize),
        a => wrong(format!("names the axis {a} of a value that has {n}")),
    }
}

/// Refuses axes of which one is named twice.
pub fn once(axes: &[usize]) -> Done {
    match axes.iter().enumerate().any(|(i, a)| axes[..i].contains(a)) {
        true => wrong(format!("names an axis twice ({axes:?}); each may be named once")),
        false => Ok(()),
    }
}

/// The most numbers that say how axes are changed, or split.
const MOST_NUMBERS: usize = 1024;

/// The whole numbers that are an attribute in old versions and an input in new ones.
pub fn listed(
    import: &Import<'_>,
    call: &Call<'_>,
    name: &str,
    at: usize,
) -> Result<Option<Vec<i64>>, Refusal> {
    if let Some(ints) = call.ints(name).filter(|ints| ints.len() <= MOST_NUMBERS) {
        return Ok(Some(ints.to_vec()));
    }
    let Some(array) = import.numbers(call, at)? else { return Ok(None) };
    if array.values.len() > MOST_NUMBERS {
        return wrong(format!("has {} numbers as its input {}", array.values.len(), at + 1));
    }
    match import.settled(call, &array.values) {
        Some(numbers) => Ok(Some(numbers)),
        None => unsupported("with numbers that depend on how many images there are"),
    }
}

/// The new order of `count` axes.
pub fn order(call: &Call<'_>, count: usize) -> Result<Vec<usize>, Refusal> {
    let Some(perm) = call.ints("perm") else { return Ok((0..count).rev().collect()) };
    let order = perm.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..count) {
        true => Ok(order),
        false => wrong(format!("puts {count} axes in the order {perm:?}")),
    }
}

/// Numbers for channels, rows and columns, from numbers for some axes; `rest` for the others.
pub fn placed<T: Copy + PartialEq>(
    map: &Map,
    axes: &[usize],
    values: &[T],
    rest: T,
) -> Result<[T; 3], Refusal> {
    once(axes)?;
    let mut placed = [rest; 3];
    for (&d, &value) in axes.iter().zip(values) {
        match map.axes[d] {
            Axis::Channels => placed[0] = value,
            Axis::Rows => placed[1] = value,
            Axis::Columns => placed[2] = value,
            _ if value == rest => {}
            _ => return unsupported("along the images"),
        }
    }
    Ok(placed)
}
