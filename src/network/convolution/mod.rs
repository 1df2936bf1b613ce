//! Convolutions, with the ReLU after them where there is one.
//!
//! On the CPU they run on kernels of their own, as an extension of Burn's flex backend. Grouped convolutions and other
//! devices take Burn's.

#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod kernel;
#[cfg(feature = "flex")]
mod shape;

use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, activation};

/// The convolution of images `[N, C, H, W]`, and max(x, 0) of each value if it is to be rectified.
pub(super) fn convolve(conv: &Conv2d, x: Tensor<4>, rectify: bool) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if conv.groups == 1 && crate::flex::holds(&x) {
        return flex::convolve(conv, x, rectify);
    }
    let y = conv.forward(x);
    if rectify { activation::relu(y) } else { y }
}
