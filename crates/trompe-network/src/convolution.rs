//! Convolutions, with the ReLU after them where there is one.
//!
//! On the CPU those of one group, and those of as many as channels, run on `trompe-kernels`. Others, and other devices, take Burn's.

use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, TensorData};
#[cfg(feature = "flex")]
pub(super) use trompe_kernels::Prepared;

use super::rectify::relu;

/// What kernels make of a convolution's weights once: nothing, without them.
#[cfg(not(feature = "flex"))]
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared;

/// The convolution of images `[N, C, H, W]`, and max(x, 0) of each value if it is to be rectified, with this share of the
/// gradient where it is 0. What is prepared is of the same weights.
pub(super) fn convolve(conv: &Conv2d, prepared: &Prepared, x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if conv.groups == 1 && trompe_kernels::holds(&x) {
        if let [n, c, h, 1] = x.dims()
            && h > 1
            && is_pointwise(conv)
        {
            // Kernels go along rows, and tokens are one below another. Where weights are learned, one row of the tokens of all
            // images makes sums over many places.
            let joined = n > 1 && conv.weight.is_require_grad();
            let row =
                if joined { x.swap_dims(0, 1).reshape([1, c, 1, n * h]) } else { x.reshape([n, c, 1, h]) };
            let y = trompe_kernels::convolve(conv, prepared, row, rectify);
            let o = y.dims()[1];
            return if joined { y.reshape([o, n, h, 1]).swap_dims(0, 1) } else { y.reshape([n, o, h, 1]) };
        }
        return trompe_kernels::convolve(conv, prepared, x, rectify);
    }
    #[cfg(feature = "flex")]
    if trompe_kernels::holds(&x) && trompe_kernels::is_depthwise(conv) {
        return trompe_kernels::convolve_depthwise(conv, x, rectify);
    }
    let _ = prepared;
    let y = conv.forward(x);
    match rectify {
        Some(leak) => relu(y, leak),
        None => y,
    }
}

/// Whether each place is computed from itself alone.
#[cfg(feature = "flex")]
fn is_pointwise(conv: &Conv2d) -> bool {
    let unpadded = match conv.padding {
        PaddingConfig2d::Valid => true,
        PaddingConfig2d::Explicit(top, left, bottom, right) => [top, left, bottom, right] == [0; 4],
        _ => false,
    };
    conv.kernel_size == [1, 1] && conv.stride == [1, 1] && unpadded
}

/// Two convolutions of the same images `[N, C, H, W]`, one's channels after the other's, and max(x, 0) of each value if they
/// are to be rectified. Without strides, and where nothing is learned by them, they are computed together. Their margins are
/// the same for maps of any size.
pub(super) fn convolve_pair(
    convs: [(&Conv2d, &Prepared); 2],
    x: Tensor<4>,
    rectify: Option<f32>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if trompe_kernels::holds(&x) && convs.iter().all(|(conv, _)| trompe_kernels::can_be_joined(conv)) {
        return trompe_kernels::convolve_pair(convs, x, rectify);
    }
    let one = |(conv, prepared)| convolve(conv, prepared, x.clone(), rectify);
    Tensor::cat(convs.map(one).to_vec(), 1)
}

/// The convolution of images `[N, C, H, W]` with a 1x1 kernel, weights `[out, C, 1, 1]` and biases `[out]`, that nothing
/// is learned by.
pub fn pointwise(x: Tensor<4>, weight: TensorData, bias: TensorData) -> Tensor<4> {
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
    convolve(&conv, &Prepared::default(), x, None)
}
