//! Convolutions, with the ReLU after them where there is one, as operations of Burn's flex backend.

mod depthwise;
mod memory;
mod operation;
mod prepared;
mod shape;
mod sums;
mod winograd;

pub use depthwise::{convolve_depthwise, is_depthwise};
pub use operation::{can_be_joined, convolve, convolve_pair};
pub use prepared::Prepared;
