//! Maxima along axes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Along, GlobalMaxPool, Neg, Op, Operator, Reads, one, reduce};
use crate::onnx::{Call, Done, Import, Reader, View, Writer, ints};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// The maximum over channels, rows or columns, whichever are named; they have size 1 then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Max {
    /// Over which.
    pub over: Vec<Along>,
}

impl Operator for Max {
    const READERS: &'static [(&'static str, Reader)] = &[("ReduceMax", from_onnx), ("ReduceMin", minimum)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        reduce::channels(&self.over, inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        reduce::size(&self.over, inputs)
    }

    fn has_fixed_size(&self) -> bool {
        reduce::has_fixed_size(&self.over)
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        reduce::reads(&self.over, channel, inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        reduce::rows(&self.over, inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        (!self.over.contains(&Along::Channels)).then(|| self.clone())
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.over.iter().fold(one(inputs), |x, along| x.max_dim(along.dim()))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // As an attribute, in the version of the operators that is written.
        let axes: Vec<usize> = self.over.iter().map(|along| along.dim()).collect();
        writer.plain(node, "ReduceMax", vec![ints("axes", &axes)]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    reduce::from_onnx(import, call, over)
}

/// The maximum over these axes.
fn over(mut axes: Vec<Along>) -> Op {
    axes.sort_by_key(|along| along.dim());
    match axes[..] {
        [Along::Rows, Along::Columns] => GlobalMaxPool.into(),
        _ => Max { over: axes }.into(),
    }
}

/// A minimum, which is the maximum of the negatives, negated.
fn minimum(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let view = import.view(call, 0)?;
    let negative = import.push(call, Some("negative"), Neg, &[view.layer], vec![])?;
    let largest = reduce::of_view(import, call, View { layer: negative, ..view }, Some("largest"), over)?;
    let layer = import.push(call, None, Neg, &[largest.layer], vec![])?;
    import.set_view(call, 0, View { layer, ..largest });
    Ok(())
}
