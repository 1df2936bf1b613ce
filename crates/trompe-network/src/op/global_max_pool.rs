//! Maximum of each channel.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, one, only};
use crate::onnx::{Reader, Writer, ints, read};
use crate::{Node, Rows};

/// Maximum of each channel, to `[N, C, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalMaxPool;

impl Channelwise for GlobalMaxPool {
    const READERS: &'static [(&'static str, Reader)] =
        &[("GlobalMaxPool", |import, call| read::global(import, call, GlobalMaxPool))];

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        only(inputs).map(|_| [1, 1])
    }

    fn has_fixed_size(&self) -> bool {
        true
    }

    fn rows(&self, _: &[Rows]) -> Rows {
        Rows::Tokens(1)
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let [n, c, h, w] = x.dims();
        x.reshape([n, c, h * w]).max_dim(2).reshape([n, c, 1, 1])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        // The same as GlobalMaxPool, which fewer tools read.
        writer.plain(node, "ReduceMax", vec![ints("axes", &[2, 3])]);
    }
}
