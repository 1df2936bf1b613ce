//! Maps of another shape.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Flatten, Operator, Reads, of_values, one, only, values};
use crate::Node;
use crate::onnx::{
    Axis, Call, Done, IMAGES, Import, MAP, Map, Number, Reader, Value, View, Writer, read, unsupported, wrong,
};
use crate::parameters::Parameters;

/// The input's values in a map of another shape `[C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    /// Channels, rows and columns.
    pub shape: [usize; 3],
}

impl Operator for Reshape {
    const READERS: &'static [(&'static str, Reader)] = &[("Reshape", reshape)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs).map(|_| self.shape[0])
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        of_values(inputs, values(self.shape).ok_or("is too large")?)?;
        let [_, h, w] = self.shape;
        Ok([h, w])
    }

    fn has_fixed_size(&self) -> bool {
        true
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        let (read, own) = (inputs[0], self.shape[0]);
        if own > 0 && read.is_multiple_of(own) {
            let each = read / own;
            return Reads::Channels((channel * each..(channel + 1) * each).map(|c| (0, c)).collect());
        }
        if read > 0 && own.is_multiple_of(read) {
            return Reads::Channels(vec![(0, channel / (own / read))]);
        }
        Reads::All
    }

    fn narrowed(&self, channels: &[usize], inputs: &[usize]) -> Option<Self> {
        let [c, h, w] = self.shape;
        (inputs == [c]).then_some(Self { shape: [channels.len(), h, w] })
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let n = x.dims()[0];
        let [c, h, w] = self.shape;
        x.reshape([n, c, h, w])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let [c, h, w] = self.shape.map(|n| n as i64);
        let shape = writer.numbers(node.part("shape"), &[0, c, h, w]);
        writer.push(&node.name, "Reshape", &[node.input(), &shape], &node.name, vec![]);
    }
}

fn reshape(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let target: Vec<Number> = match call.ints("shape") {
        Some(ints) => ints.iter().map(|&i| Number::Known(i)).collect(),
        None => match import.numbers(call, 1)? {
            // A layer that they matter to refuses maps of another size.
            Some(array) => {
                let own = |&n: &Number| if let Number::Image(n) = n { Number::Known(n) } else { n };
                array.values.iter().map(own).collect()
            }
            None => return wrong("has no shape"),
        },
    };
    let input = import.value(call, 0)?.clone();
    let (layer, sizes): (usize, Vec<Number>) = match &input {
        Value::Map(map) => (map.layer, map.axes.iter().map(|&a| import.extent(map.layer, a)).collect()),
        Value::View(view) => (view.layer, view.sizes(import)),
        _ => return unsupported("of a constant"),
    };
    let [c, h, w] = import.shape(layer);
    let all = c * h * w;
    let copied: Vec<Number> = target
        .iter()
        .enumerate()
        .map(|(i, &t)| match t {
            Number::Known(0) if !call.flag("allowzero")? => {
                sizes.get(i).copied().map_or_else(|| wrong("copies a size that is not there"), Ok)
            }
            t => Ok(t),
        })
        .collect::<Result<_, _>>()?;
    let input = match input {
        Value::View(view) => return of_view(import, call, &view, &copied),
        Value::Map(map) => map,
        _ => return unsupported("of a constant"),
    };
    let leads = |n: &Number| match n {
        Number::Batch | Number::Known(-1) => true,
        Number::Known(n) | Number::Image(n) => Some(*n) == import.batch,
        Number::Times(_) => false,
    };
    let first = match (copied.first(), sizes.first()) {
        (Some(first), Some(Number::Batch)) if leads(first) => first,
        _ => return of_view(import, call, &View::of(import, &input), &copied),
    };
    let mut rest = vec![];
    let mut open = None;
    for (i, n) in copied[1..].iter().enumerate() {
        rest.push(match n {
            Number::Known(-1) if open.is_none() && *first != Number::Known(-1) => {
                open = Some(i);
                1
            }
            Number::Known(n) if *n >= 1 => *n as usize,
            _ => return unsupported(format!("to {}", described(&target))),
        });
    }
    let fixed =
        rest.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= all && all.is_multiple_of(n));
    if let (Some(open), Some(fixed)) = (open, fixed) {
        rest[open] = all / fixed;
    }
    if fixed.is_none_or(|n| open.is_none() && n != all) {
        if import.batch == Some(1) {
            return of_view(import, call, &View::of(import, &input), &copied);
        }
        // The first size is that of one image, or a wrong one.
        return unsupported(format!("of [{c}, {h}, {w}] for each image to {}", described(&target)));
    }
    into_shape(import, call, input, &rest)
}

/// The same values with these sizes.
fn of_view(import: &mut Import<'_>, call: &Call<'_>, view: &View, target: &[Number]) -> Done {
    if let Some(view) = view.reshaped(target, import.batch) {
        return import.reshaped(call, view);
    }
    // What cuts across parts of axes does not once all values are one axis, in the order that they have.
    let sizes = view.sizes(import);
    let images = view.axes.concat().iter().position(|part| *part == IMAGES);
    if images != Some(0) && import.batch != Some(1) {
        return unsupported(format!("of {} to {}: it mixes images", described(&sizes), described(target)));
    }
    let parts = view.parts(0..view.axes.len());
    let flat = View { layer: view.layer, axes: vec![vec![IMAGES], parts.clone()] };
    let flat = import.arranged(call, 0, &flat, [parts, vec![], vec![]])?;
    match flat.reshaped(target, import.batch) {
        Some(view) => import.reshaped(call, view),
        None => unsupported(format!("of {} to {}", described(&sizes), described(target))),
    }
}

fn described(shape: &[Number]) -> String {
    let word = |n: &Number| match n {
        Number::Batch => "N".to_string(),
        Number::Times(times) => format!("{times}·N"),
        Number::Known(n) | Number::Image(n) => n.to_string(),
    };
    format!("[{}]", shape.iter().map(word).collect::<Vec<_>>().join(", "))
}

/// The same values with these sizes for each image.
pub(super) fn into_shape(import: &mut Import<'_>, call: &Call<'_>, map: Map, rest: &[usize]) -> Done {
    let target: Vec<Number> =
        [Number::Batch].into_iter().chain(rest.iter().map(|&n| Number::Known(n as i64))).collect();
    if map.axes.first() != Some(&Axis::Batch) {
        return unsupported("of a value whose first axis is not the images'");
    }
    let size = |import: &Import<'_>, axis: Axis| match import.extent(map.layer, axis) {
        Number::Known(n) | Number::Image(n) => n as usize,
        Number::Batch | Number::Times(_) => 0,
    };
    // Where only axes of size 1 come or go, the others keep their places.
    let long: Vec<Axis> = map.axes[1..].iter().copied().filter(|&a| size(import, a) != 1).collect();
    let sizes: Vec<usize> = long.iter().map(|&a| size(import, a)).collect();
    if sizes.iter().eq(rest.iter().filter(|&&n| n != 1)) {
        let mut spare: Vec<Axis> = MAP[1..].iter().copied().filter(|&a| size(import, a) == 1).collect();
        let mut next = long.into_iter();
        let mut axes = vec![Axis::Batch];
        for &n in rest {
            axes.push(match n {
                1 if spare.is_empty() => Axis::One,
                1 => spare.remove(0),
                _ => next.next().expect("as many as there are sizes"),
            });
        }
        return read::give(import, call, map.layer, axes);
    }
    let view = View::of(import, &map);
    match *rest {
        _ if !long.is_sorted() => of_view(import, call, &view, &target),
        [features] => {
            let layer = import.push(call, None, Flatten { features }, &[map.layer], vec![])?;
            read::give(import, call, layer, MAP[..2].into())
        }
        _ if rest.len() <= 3 => {
            let shape = std::array::from_fn(|d| rest.get(d).copied().unwrap_or(1));
            let layer = import.push(call, None, Reshape { shape }, &[map.layer], vec![])?;
            read::give(import, call, layer, MAP[..=rest.len()].into())
        }
        _ => of_view(import, call, &view, &target),
    }
}
