//! Joining maps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Along, Operator, Reads};
use crate::onnx::{
    Axis, Call, Done, Import, Map, Part, Reader, Value, View, Writer, int, read, unsupported, wrong,
};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// The inputs one after another along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    /// Along which.
    #[serde(default, skip_serializing_if = "Along::is_default")]
    pub along: Along,
}

impl Operator for Concat {
    const READERS: &'static [(&'static str, Reader)] = &[("Concat", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match inputs {
            [] => Err("joins nothing".into()),
            _ if self.along == Along::Channels => Ok(inputs.iter().fold(0, |sum, c| c.saturating_add(sum))),
            [first, others @ ..] if others.iter().all(|c| c == first) => Ok(*first),
            _ => Err(format!("joins maps of different channel counts {inputs:?}")),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = *inputs.first().ok_or("joins nothing")?;
        let all = |d: usize, n: usize| inputs.iter().all(|shape| shape[d] == n);
        let sum = |d: usize| inputs.iter().fold(0usize, |sum, shape| sum.saturating_add(shape[d]));
        match self.along {
            Along::Channels if all(1, h) && all(2, w) => Ok([h, w]),
            Along::Rows if all(2, w) => Ok([sum(1), w]),
            Along::Columns if all(1, h) => Ok([h, sum(2)]),
            _ => Err(format!("joins maps of different sizes {inputs:?}")),
        }
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        if self.along != Along::Channels {
            return Reads::same(channel, inputs);
        }
        let mut before = 0;
        for (i, &n) in inputs.iter().enumerate() {
            if channel < before + n {
                return Reads::Channels(vec![(i, channel - before)]);
            }
            before += n;
        }
        unreachable!("a channel of {before}")
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        if self.along == Along::Rows { Rows::joined(inputs) } else { Rows::kept(inputs) }
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        // A constant is there once for all images.
        let n = inputs.iter().map(|x| x.dims()[0]).max().unwrap_or(1);
        let each = inputs.into_iter().map(|x| {
            let [own, c, h, w] = x.dims();
            if own == n { x } else { x.expand([n, c, h, w]) }
        });
        Tensor::cat(each.collect(), self.along.dim())
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let axis = vec![int("axis", self.along.dim())];
        let varying = node.inputs.iter().find(|input| !writer.is_fixed(input));
        let Some(varying) = varying.filter(|_| node.inputs.iter().any(|input| writer.is_fixed(input))) else {
            return writer.plain(node, "Concat", axis);
        };
        // ONNX joins as many of each as there are images.
        let shape = writer.aside(node.part("shape"), "Shape", &[varying], vec![]);
        let first = writer.numbers(node.part("first"), &[0]);
        let images = writer.aside(node.part("images"), "Gather", &[&shape, &first], vec![int("axis", 0)]);
        let ones = writer.numbers(node.part("ones"), &[1, 1, 1]);
        let each = writer.aside(node.part("each"), "Concat", &[&images, &ones], vec![int("axis", 0)]);
        let mut inputs = vec![];
        for (i, input) in node.inputs.iter().enumerate() {
            inputs.push(match writer.is_fixed(input) {
                true => writer.aside(node.part(&format!("input{i}")), "Expand", &[input, &each], vec![]),
                false => input.clone(),
            });
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        writer.push(&node.name, "Concat", &inputs, &node.name, axis);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let mut maps = vec![];
    for at in 0..call.node.input.len() {
        maps.push(match import.value(call, at)? {
            Value::Constant(_) => None,
            _ => Some(import.map(call, at)?),
        });
    }
    let Some(axes) = maps.iter().flatten().next().map(|map| map.axes.clone()) else {
        return wrong("joins nothing");
    };
    if maps.iter().flatten().any(|map| map.axes != axes) {
        return unsupported("of values whose axes differ");
    }
    // Version 3 and earlier joined channels unless told otherwise.
    let number = call.int("axis")?.unwrap_or(1);
    let at = read::axis(number, axes.len())?;
    let Some(along) = Along::of(axes[at]) else {
        return match axes[at] {
            Axis::One => stack(import, call, &maps, at),
            _ => unsupported("along the images"),
        };
    };
    let mut inputs = vec![];
    for (at, map) in maps.iter().enumerate() {
        inputs.push(match map {
            Some(map) => map.layer,
            None => import.constant(call, at, &axes)?,
        });
    }
    if along != Along::Channels && inputs.iter().any(|&layer| import.varies(layer, Axis::Rows)) {
        import.settle(call);
    }
    let layer = import.push(call, None, Concat { along }, &inputs, vec![])?;
    read::give(import, call, layer, axes)
}

/// Values one after another along an axis that they don't have: their channels, with that axis as the slowest part.
fn stack(import: &mut Import<'_>, call: &Call<'_>, maps: &[Option<Map>], at: usize) -> Done {
    let all: Option<Vec<&Map>> = maps.iter().map(Option::as_ref).collect();
    let Some(all) = all else { return unsupported("of constants along a new axis") };
    let inputs: Vec<usize> = all.iter().map(|map| map.layer).collect();
    let [channels, ..] = import.shape(inputs[0]);
    let layer = import.push(call, None, Concat { along: Along::Channels }, &inputs, vec![])?;
    let mut view = View { layer, ..View::of(import, all[0]) };
    view.axes[at] = vec![Part { axis: Axis::Channels, stride: channels, size: inputs.len() }];
    import.set_view(call, 0, view);
    Ok(())
}
