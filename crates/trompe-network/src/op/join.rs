//! What sums, products, differences and quotients of maps have in common: the broadcasting.

use std::collections::BTreeSet;

use super::Op;
use crate::Node;
use crate::onnx::{Axis, Call, Done, Import, Refusal, Value, View, Writer, read, unsupported};

/// Refuses other than two inputs.
pub fn two<T>(inputs: &[T]) -> Result<(), String> {
    match inputs.len() {
        2 => Ok(()),
        n => Err(format!("takes two inputs, has {n}")),
    }
}

/// The channels: those of all inputs but such as have one.
pub fn channels(inputs: &[usize]) -> Result<usize, String> {
    let wide: BTreeSet<usize> = inputs.iter().copied().filter(|&c| c != 1).collect();
    match (inputs.len(), wide.len()) {
        (0, _) => Err("has no input".into()),
        (_, 0) => Ok(1),
        (_, 1) => Ok(*wide.first().expect("there is one")),
        _ => Err(format!("joins different channel counts {inputs:?}")),
    }
}

/// Rows and columns: those of all inputs but such as have one.
pub fn size(inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
    let [_, h, w] = *inputs.first().ok_or("has no input")?;
    let mut joint = [h, w];
    for shape in inputs {
        for d in 0..2 {
            joint[d] = match (joint[d], shape[d + 1]) {
                (x, y) if x == y => x,
                (1, y) => y,
                (x, 1) => x,
                _ => return Err(format!("joins maps of shapes {inputs:?}")),
            };
        }
    }
    Ok(joint)
}

/// Writes nodes of two inputs each.
pub fn write(writer: &mut Writer, node: &Node, operator: &str) {
    let [first, middle @ .., last] = &node.inputs[..] else { return writer.plain(node, "Identity", vec![]) };
    let mut sum = first.clone();
    for (i, input) in middle.iter().enumerate() {
        sum = writer.aside(node.part(&format!("part{i}")), operator, &[&sum, input], vec![]);
    }
    writer.push(&node.name, operator, &[&sum, last], &node.name, vec![]);
}

/// Reads one of values whose axes are split or in different orders: all are put in the order of one of them.
fn of_views(import: &mut Import<'_>, call: &Call<'_>, op: impl Into<Op>, model: Option<View>) -> Done {
    let count = call.node.input.len();
    let mut widest: Option<View> = model;
    for at in 0..count {
        if let Value::Constant(_) = import.value(call, at)? {
            continue;
        }
        let view = import.view(call, at)?;
        let long = |view: &View| view.axes.iter().filter(|axis| !axis.is_empty()).count();
        if widest.as_ref().is_none_or(|widest| long(&view) > long(widest)) {
            widest = Some(view);
        }
    }
    let Some(mut model) = widest else { return unsupported("of constants alone") };
    let inputs = match all_alike(import, call, &model) {
        Ok(inputs) => inputs,
        Err(Refusal::Unsupported(_)) => {
            // One whose axes are whole: everything can be put in its order.
            for at in 0..count {
                if let Value::View(view) = import.value(call, at)?
                    && *view == model
                {
                    let map = import.map(call, at)?;
                    model = View::of(import, &map);
                    break;
                }
            }
            all_alike(import, call, &model)?
        }
        Err(refusal) => return Err(refusal),
    };
    let layer = import.push(call, None, op, &inputs, vec![])?;
    import.set_view(call, 0, View { layer, ..model });
    Ok(())
}

/// The layers of all inputs, in the order of one of them.
fn all_alike(import: &mut Import<'_>, call: &Call<'_>, model: &View) -> Result<Vec<usize>, Refusal> {
    let count = call.node.input.len();
    let layer = |at: usize| match import.value(call, at)? {
        Value::View(view) if view == model => Ok(model.layer),
        _ => import.alike(call, at, model),
    };
    (0..count).map(layer).collect()
}

/// Reads one of maps and constants.
pub fn from_onnx(import: &mut Import<'_>, call: &Call<'_>, op: impl Into<Op>) -> Done {
    if call.int("broadcast")?.unwrap_or(0) != 0 && call.int("axis")?.is_some() {
        return unsupported("with the broadcasting of opset 6 and earlier");
    }
    let count = call.node.input.len();
    let mut model = None;
    let mut differ = false;
    let mut axes: Option<Vec<Axis>> = None;
    for at in 0..count {
        match import.value(call, at)? {
            Value::View(view) if model.is_none() => model = Some(view.clone()),
            Value::Map(map) => differ |= *axes.get_or_insert_with(|| map.axes.clone()) != map.axes,
            _ => {}
        }
    }
    if model.is_some() || differ {
        return of_views(import, call, op, model);
    }
    let Some(axes) = axes else { return unsupported("of constants alone") };
    let mut inputs = vec![];
    for at in 0..count {
        inputs.push(match import.value(call, at)? {
            Value::Map(map) => map.layer,
            Value::Constant(_) => import.constant(call, at, &axes)?,
            _ => return unsupported("of values that can't be put in order"),
        });
    }
    let layer = import.push(call, None, op, &inputs, vec![])?;
    read::give(import, call, layer, axes)
}
