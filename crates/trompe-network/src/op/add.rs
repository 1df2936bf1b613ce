//! Sums.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Channelwise, join};
use crate::onnx::{Reader, Writer};
use crate::{Node, Rows};

/// The sum of the inputs; those of size 1 in channels, rows or columns are broadcast over the others'.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add;

impl Channelwise for Add {
    const READERS: &'static [(&'static str, Reader)] = &[
        ("Add", |import, call| join::from_onnx(import, call, Add)),
        ("Sum", |import, call| join::from_onnx(import, call, Add)),
    ];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        join::channels(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        join::size(inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        inputs.into_iter().reduce(|sum, x| sum + x).expect("a checked graph has something to add")
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        match node.inputs.len() {
            // One node, so that it is one layer when it is read again.
            3.. => writer.plain(node, "Sum", vec![]),
            _ => join::write(writer, node, "Add"),
        }
    }
}
