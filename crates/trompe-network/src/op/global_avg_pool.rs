//! Mean of each channel.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, one, only};
use crate::onnx::{Reader, Writer, read};
use crate::{Node, Rows};

/// Mean of each channel, to `[N, C, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalAvgPool;

impl Channelwise for GlobalAvgPool {
    const READERS: &'static [(&'static str, Reader)] =
        &[("GlobalAveragePool", |import, call| read::global(import, call, GlobalAvgPool))];

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
        one(inputs).mean_dims(&[2, 3])
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "GlobalAveragePool", vec![]);
    }
}
