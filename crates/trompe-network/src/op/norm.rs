//! What normalizations have in common: a scale and a shift for each channel.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::Parameter;
use crate::onnx::{Call, IMAGES, Import, Refusal, View, read, unsupported, wrong};
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

/// The value that a node normalizes, with all axes that it normalizes together as channels: `axis` and those after it.
pub fn axes_as_channels(import: &mut Import<'_>, call: &Call<'_>) -> Result<View, Refusal> {
    let view = import.view(call, 0)?;
    let count = view.axes.len();
    let first = read::axis(call.int("axis")?.unwrap_or(-1), count)?;
    if (first..count).any(|d| view.axes[d].contains(&IMAGES)) {
        return unsupported("over the images");
    }
    match first + 1 == count {
        true => import.with_channels(call, 0, first),
        false => {
            let layout = [view.parts(first..count), view.parts(0..first), vec![]];
            import.arranged(call, 0, &view, layout)
        }
    }
}

/// A parameter with a value for each of these channels, of whatever axes they are made; none, where it is left out.
pub fn of_channels(
    import: &Import<'_>,
    call: &Call<'_>,
    at: usize,
    channels: usize,
) -> Result<Option<TensorData>, Refusal> {
    match import.floats(call, at)? {
        Some(array) if array.values.len() == channels => {
            Ok(Some(TensorData::new(array.values.clone(), [channels])))
        }
        Some(array) => wrong(format!("has a parameter of shape {:?} for {channels} values", array.dims)),
        None => Ok(None),
    }
}
