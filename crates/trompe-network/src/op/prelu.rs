//! The leaky rectified linear unit whose slopes are learned.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Operator, Parameter, Reads, of_channels, one, same_size};
use crate::onnx::{Call, Done, Import, Reader, View, Writer, unsupported, wrong};
use crate::parameters::{Parameters, filled};
use crate::{Node, Rows};

/// x where it is positive, elsewhere a slope of each channel's own times x (He et al., 2015).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PRelu {
    /// How many channels there are.
    pub channels: usize,
}

impl Operator for PRelu {
    const READERS: &'static [(&'static str, Reader)] = &[("PRelu", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        of_channels(inputs, self.channels)?;
        Ok(self.channels)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::same(channel, inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        Some(Self { channels: channels.len() })
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("weight", [self.channels])]
    }

    fn draw(&self, _: &mut impl Rng) -> Vec<TensorData> {
        vec![filled(0.25, &[self.channels])]
    }

    fn with(&self, mut values: Vec<TensorData>, device: &Device) -> Parameters {
        Parameters::of_channels(values.remove(0), device)
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        x.clone().clamp_min(0.0) + x.clamp_max(0.0) * parameters.values().value.val()
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let slopes = node.parameters.values().value.val().reshape([self.channels, 1, 1]);
        let slopes = writer.parameter(node.part("weight"), slopes);
        writer.push(&node.name, "PRelu", &[node.input(), &slopes], &node.name, vec![]);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let count = import.view(call, 0)?.axes.len();
    let Some(slopes) = import.floats(call, 1)? else { return wrong("has no slopes") };
    let slopes = slopes.clone();
    let Some(missing) = count.checked_sub(slopes.dims.len()) else {
        return unsupported(format!(
            "of a value of {count} axes, with slopes of the shape {:?}",
            slopes.dims
        ));
    };
    // Which axis has slopes of its own; one for all is one for each channel, too.
    let own: Vec<usize> = (0..slopes.dims.len()).filter(|&d| slopes.dims[d] != 1).collect();
    let axis = match own[..] {
        [] => 1.min(count - 1),
        [axis] => axis + missing,
        _ => return unsupported(format!("with slopes of the shape {:?}", slopes.dims)),
    };
    let view = import.with_channels(call, 0, axis)?;
    let channels = import.shape(view.layer)[0];
    let slopes = match slopes.values[..] {
        [one] => vec![one; channels],
        _ if slopes.values.len() == channels => slopes.values,
        _ => return wrong(format!("has {} slopes for {channels} channels", slopes.values.len())),
    };
    let slopes = TensorData::new(slopes, [channels]);
    let layer = import.push(call, None, PRelu { channels }, &[view.layer], vec![slopes])?;
    import.set_view(call, 0, View { layer, ..view });
    Ok(())
}
