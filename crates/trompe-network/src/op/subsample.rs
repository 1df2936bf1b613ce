//! Fewer rows and columns.

use burn::tensor::{Tensor, s};
use serde::{Deserialize, Serialize};

use super::{Channelwise, one, only, rows_and_columns};
use crate::Node;
use crate::onnx::{Reader, Writer};

/// Every `stride`-th row and column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subsample {
    /// From one to the next that stays.
    pub stride: usize,
}

impl Channelwise for Subsample {
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        match only(inputs)? {
            _ if self.stride == 0 => Err("its stride is 0".into()),
            [_, h, w] => Ok([h, w].map(|n| n.div_ceil(self.stride))),
        }
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let [rows, columns] = rows_and_columns(&x).map(|n| self.stride.min(n) as isize);
        x.slice(s![.., .., ..;rows, ..;columns])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let stride = self.stride as i64;
        writer.slice(node, &[2, 3], [&[0; 2], &[i64::MAX; 2], &[stride; 2]]);
    }
}
