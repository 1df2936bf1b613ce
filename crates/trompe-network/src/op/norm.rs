//! What normalizations have in common: a scale and a shift for each channel.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::Parameter;
use crate::parameters::{ChannelNorm, Parameters, filled};

/// The scale and the shift.
pub fn parameters(channels: usize) -> Vec<Parameter> {
    ["weight", "bias"].map(|part| Parameter::new(part, [channels])).into()
}

/// Values to start with: those that change nothing.
pub fn draw(channels: usize) -> Vec<TensorData> {
    [1.0, 0.0].map(|v| filled(v, &[channels])).into()
}

/// Parameters with these values.
pub fn with(values: Vec<TensorData>, device: &Device) -> Parameters {
    let values: [TensorData; 2] = values.try_into().expect("scale and shift");
    let [weight, bias] = values.map(|values| Param::from_data(values, device));
    Parameters::ChannelNorm(ChannelNorm { weight, bias })
}

/// A normalized map `[N, C, H, W]`, scaled and shifted.
pub fn scaled(parameters: &Parameters, normal: Tensor<4>) -> Tensor<4> {
    let norm = parameters.channel_norm();
    let [_, c, ..] = normal.dims();
    let [scale, shift] = [&norm.weight, &norm.bias].map(|p| p.val().reshape([1, c, 1, 1]));
    normal * scale + shift
}
