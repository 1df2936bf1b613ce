//! What the weights of a convolution are multiplied as, made when it is first needed.

use std::sync::{Arc, OnceLock};

use super::winograd::Factors;

/// What is made of the weights of one convolution once, by whoever keeps it as long as these weights stay as they are: a clone
/// is of the same weights.
#[derive(Clone, Debug, Default)]
pub struct Prepared(Arc<Pair>);

#[derive(Debug, Default)]
struct Pair {
    forward: OnceLock<Factors>,
    backward: OnceLock<Factors>,
}

impl Prepared {
    /// The factors of the forward pass.
    pub(super) fn forward(&self, make: impl FnOnce() -> Factors) -> &Factors {
        self.0.forward.get_or_init(make)
    }

    /// The factors of the gradient.
    pub(super) fn backward(&self, make: impl FnOnce() -> Factors) -> &Factors {
        self.0.backward.get_or_init(make)
    }
}
