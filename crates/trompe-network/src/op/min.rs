//! Minima along axes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Along, Operator, Reads, one, reduce};
use crate::onnx::{Call, Done, Import, Reader, Writer, ints};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// The minimum over channels, rows or columns, whichever are named; they have size 1 then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Min {
    /// Over which.
    pub over: Vec<Along>,
}

impl Operator for Min {
    const READERS: &'static [(&'static str, Reader)] = &[("ReduceMin", from_onnx)];

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
        self.over.iter().fold(one(inputs), |x, along| x.min_dim(along.dim()))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // As an attribute, in the version of the operators that is written.
        let axes: Vec<usize> = self.over.iter().map(|along| along.dim()).collect();
        writer.plain(node, "ReduceMin", vec![ints("axes", &axes)]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    reduce::from_onnx(import, call, |mut over| {
        over.sort_by_key(|along| along.dim());
        Min { over }.into()
    })
}
