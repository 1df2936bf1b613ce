//! The softmax.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::{Along, Operator, Reads, one, only, same_size};
use crate::onnx::{
    Axis, Call, Done, Import, Number, Reader, Value, View, Writer, int, read, unsupported, whole_axis,
};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// exp(x) divided by its sum over an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// Over which.
    #[serde(default, skip_serializing_if = "Along::is_default")]
    pub over: Along,
}

impl Operator for Softmax {
    const READERS: &'static [(&'static str, Reader)] = &[("Softmax", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        if self.over == Along::Channels { Reads::All } else { Reads::same(channel, inputs) }
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        (self.over != Along::Channels).then_some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        activation::softmax(one(inputs), self.over.dim())
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "Softmax", vec![int("axis", self.over.dim())]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if let Value::View(view) = import.value(call, 0)? {
        let count = view.axes.len();
        let at = read::axis(call.int("axis")?.unwrap_or(if import.opset < 13 { 1 } else { -1 }), count)?;
        if import.opset < 13 && at + 1 < count {
            return unsupported("over more than one axis");
        }
        let [_, rows, columns] = import.shape(view.layer);
        let own = &view.axes[at];
        let over = match () {
            () if *own == whole_axis(Axis::Rows, rows) => Along::Rows,
            () if *own == whole_axis(Axis::Columns, columns) => Along::Columns,
            () => Along::Channels,
        };
        let view = match over {
            Along::Channels => import.with_channels(call, 0, at)?,
            _ => view.clone(),
        };
        let layer = import.push(call, None, Softmax { over }, &[view.layer], vec![])?;
        import.set_view(call, 0, View { layer, ..view });
        return Ok(());
    }
    let map = import.map(call, 0)?;
    let number = call.int("axis")?.unwrap_or(if import.opset < 13 { 1 } else { -1 });
    let at = read::axis(number, map.axes.len())?;
    // Before version 13, over all axes from this one on.
    let over: Vec<Axis> = if import.opset < 13 { map.axes[at..].to_vec() } else { vec![map.axes[at]] };
    let long = |&&a: &&Axis| import.extent(map.layer, a) != Number::Known(1);
    let over: Vec<Axis> = match over.iter().filter(long).copied().collect::<Vec<_>>() {
        // Of one value: it does not matter which axis is named.
        none if none.is_empty() => over,
        long => long,
    };
    let along = match over[..] {
        [axis] => Along::of(axis),
        _ => over
            .contains(&Axis::Channels)
            .then_some(Along::Channels)
            .filter(|_| over.iter().filter(long).count() < 2),
    };
    match along {
        Some(over) => read::elementwise(import, call, Softmax { over }),
        None => unsupported("over more than one axis, or over the images"),
    }
}
