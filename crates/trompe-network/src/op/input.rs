//! The image.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads};
use crate::Node;
use crate::onnx::{Reader, Writer, described};
use crate::parameters::Parameters;

/// The preprocessed image, `channels` deep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// How many channels images have.
    pub channels: usize,
}

impl Operator for Input {
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match inputs {
            [] => Ok(self.channels),
            _ => Err("is the image and reads another layer".into()),
        }
    }

    fn size(&self, _: &[[usize; 3]]) -> Result<[usize; 2], String> {
        Err("is a second image".into())
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, _: usize, _: &[usize]) -> Reads {
        Reads::Channels(vec![])
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        None
    }

    fn forward(&self, _: &Parameters, _: Vec<Tensor<4>>) -> Tensor<4> {
        unreachable!("the image is given and not computed")
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let [h, w] = match writer.size {
            Some(size) => size.map(Ok),
            None => [Err("height"), Err("width")],
        };
        let dims = [Err("batch"), Ok(self.channels), h, w];
        writer.graph.input.push(described(&node.name, &dims));
    }
}
