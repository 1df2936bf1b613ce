//! Every random draw comes from the run's seed through here.

use std::fmt::Debug;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A generator for one purpose: the same seed and purpose give the same draws, whatever else was drawn, and
/// different purposes give independent ones.
pub fn rng(seed: u64, purpose: &impl Debug) -> ChaCha8Rng {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    hash.update(format!("{purpose:?}").as_bytes());
    ChaCha8Rng::from_seed(*hash.finalize().as_bytes())
}
