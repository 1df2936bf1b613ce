//! Kernels for convolutional networks that extend Burn's flex backend, the one for CPUs: each is an operation with its gradient,
//! on the vectors of the processor at hand.
//!
//! Tensors are on flex (`holds` tells), with gradients or without. All results are those of Burn's own operations but for
//! rounding.

#[cfg(feature = "flex")]
mod attention;
#[cfg(feature = "flex")]
mod convolution;
#[cfg(feature = "flex")]
mod execution;
#[cfg(feature = "flex")]
mod fourier;
#[cfg(feature = "flex")]
mod gelu;
#[cfg(feature = "flex")]
mod layer_norm;
#[cfg(feature = "flex")]
mod max_pool;
#[cfg(feature = "flex")]
mod rectify;
#[cfg(feature = "flex")]
mod resample;
mod sample;
#[cfg(feature = "flex")]
mod sigmoid;
pub mod simd;
#[cfg(feature = "flex")]
mod tensor;

#[cfg(feature = "flex")]
pub use attention::{Attention, Matrices, attend_between, attend_within};
#[cfg(feature = "flex")]
pub use convolution::{Prepared, can_be_joined, convolve, convolve_depthwise, convolve_pair, is_depthwise};
#[cfg(feature = "flex")]
pub use fourier::inverse as inverse_fourier;
#[cfg(feature = "flex")]
pub use gelu::gelu;
#[cfg(feature = "flex")]
pub use layer_norm::layer_norm;
#[cfg(feature = "flex")]
pub use max_pool::{Windows, max_pool};
#[cfg(feature = "flex")]
pub use rectify::relu;
#[cfg(feature = "flex")]
pub use resample::resample;
pub use sample::{BLACK, GREY, MARGIN, Sample, Samples, surrounded};
#[cfg(feature = "flex")]
pub use sigmoid::{sigmoid, silu};
pub use simd::InstructionSet;
#[cfg(feature = "flex")]
pub use tensor::holds;
