//! Convolutions, with the ReLU after them where there is one.
//!
//! On the CPU they run on kernels of their own, as an extension of Burn's flex backend. Grouped convolutions and other
//! devices take Burn's.

#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod kernel;
#[cfg(feature = "flex")]
mod memory;
#[cfg(feature = "flex")]
mod prepared;
#[cfg(feature = "flex")]
mod shape;
#[cfg(feature = "flex")]
mod winograd;

use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, TensorData};

use super::rectify::relu;

/// The convolution of images `[N, C, H, W]`, and max(x, 0) of each value if it is to be rectified, with this share of the
/// gradient where it is 0.
pub(super) fn convolve(conv: &Conv2d, x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if conv.groups == 1 && crate::flex::holds(&x) {
        return flex::convolve(conv, x, rectify);
    }
    let y = conv.forward(x);
    match rectify {
        Some(leak) => relu(y, leak),
        None => y,
    }
}

/// Two convolutions of the same images `[N, C, H, W]`, one's channels after the other's, and max(x, 0) of each value if they
/// are to be rectified. Without strides, and where nothing is learned by them, they are computed together.
pub(super) fn convolve_pair(convs: [&Conv2d; 2], x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if crate::flex::holds(&x) && convs.iter().all(|conv| can_be_joined(conv)) {
        return flex::convolve_pair(convs, x, rectify);
    }
    Tensor::cat(convs.map(|conv| convolve(conv, x.clone(), rectify)).to_vec(), 1)
}

#[cfg(feature = "flex")]
fn can_be_joined(conv: &Conv2d) -> bool {
    let learned =
        conv.weight.val().is_tracked() || conv.bias.as_ref().is_some_and(|bias| bias.val().is_tracked());
    conv.groups == 1 && conv.stride == [1, 1] && !learned
}

/// The convolution of images `[N, C, H, W]` with a 1x1 kernel, weights `[out, C, 1, 1]` and biases `[out]`, that nothing
/// is learned by.
pub(crate) fn pointwise(x: Tensor<4>, weight: TensorData, bias: TensorData) -> Tensor<4> {
    let device = x.device().without_autodiff();
    let conv = Conv2d {
        weight: Param::from_data(weight, &device),
        bias: Some(Param::from_data(bias, &device)),
        stride: [1, 1],
        kernel_size: [1, 1],
        dilation: [1, 1],
        groups: 1,
        padding: PaddingConfig2d::Valid,
    };
    let conv = if x.device() == device { conv } else { conv.train().freeze() };
    convolve(&conv, x, None)
}
