//! Constants.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Operator, Parameter, Reads};
use crate::onnx::{Reader, Writer};
use crate::parameters::{Parameters, Values, filled};
use crate::{Node, Rows};

/// Values `[C, H, W]` that are the same for every image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// Channels, rows and columns.
    pub shape: [usize; 3],
}

impl Operator for Constant {
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match inputs {
            [] => Ok(self.shape[0]),
            _ => Err("is a constant and reads another layer".into()),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = self.shape;
        match inputs {
            [] => Ok([h, w]),
            _ => Err("is a constant and reads another layer".into()),
        }
    }

    fn has_fixed_size(&self) -> bool {
        true
    }

    fn reads(&self, _: usize, _: &[usize]) -> Reads {
        Reads::Channels(vec![])
    }

    fn rows(&self, _: &[Rows]) -> Rows {
        Rows::Tokens(self.shape[1])
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        let [_, h, w] = self.shape;
        Some(Self { shape: [channels.len(), h, w] })
    }

    fn parameters(&self) -> Vec<Parameter> {
        let [c, h, w] = self.shape;
        vec![Parameter::new("value", [1, c, h, w])]
    }

    fn draw(&self, _: &mut impl Rng) -> Vec<TensorData> {
        let [c, h, w] = self.shape;
        vec![filled(0.0, &[1, c, h, w])]
    }

    fn with(&self, mut values: Vec<TensorData>, device: &Device) -> Parameters {
        Parameters::Values(Values { value: Param::from_data(values.remove(0), device) })
    }

    fn forward(&self, parameters: &Parameters, _: Vec<Tensor<4>>) -> Tensor<4> {
        parameters.values().value.val()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let [c, h, w] = self.shape;
        let values = node.parameters.values().value.val().into_data().try_to_vec();
        let values: Vec<f32> = values.expect("weights are 32-bit floats");
        writer.stored(&node.name, &[1, c, h, w], &values);
    }
}
