//! How kernels run.

use crate::simd::InstructionSet;

/// With which instructions kernels run, and how their work is divided. Results of the same instruction set are the same with
/// any division, but for the order of sums in gradients of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The processor's vectors.
    pub set: InstructionSet,
    /// How work is divided.
    pub tiling: Tiling,
}

impl Default for Execution {
    /// The instruction set that [`InstructionSet::chosen`] names, and the default tiling.
    ///
    /// # Panics
    /// If the environment names an instruction set that the processor hasn't.
    fn default() -> Self {
        let set = InstructionSet::chosen().unwrap_or_else(|why| panic!("{why}"));
        Self { set, tiling: Tiling::DEFAULT }
    }
}

/// How work is divided, so that what is read again is still in a cache, and each core has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Values of the planes of a band of a convolution: they are to stay in a core's cache until they have been read.
    pub band: usize,
    /// The same of a band that goes by Winograd's tiles, together with the transformed tiles.
    pub winograd_band: usize,
    /// A band for another core that does not go by tiles has about this many multiplications at least.
    pub task: usize,
    /// Winograd's tiles pay from this many channels on either side,
    pub winograd_channels: usize,
    /// and this many outputs of a channel.
    pub winograd_outputs: usize,
    /// A value that more windows of a maximum pooling cover is not summed over these: the gradients of the maxima are added
    /// where these are.
    pub pooled_windows: usize,
}

impl Tiling {
    /// What was fastest on processors with 1 to 2 MiB of second-level cache.
    pub const DEFAULT: Self = Self {
        band: 1 << 18,
        winograd_band: 1 << 19,
        task: 1 << 20,
        winograd_channels: 16,
        winograd_outputs: 49,
        pooled_windows: 32,
    };

    /// So small that little work is divided as much work is.
    #[cfg(test)]
    pub const SMALL: Self = Self {
        band: 1 << 8,
        winograd_band: 1 << 8,
        task: 1 << 8,
        winograd_channels: 2,
        winograd_outputs: 1,
        pooled_windows: 8,
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Every instruction set of this processor with either tiling.
    pub fn executions() -> impl Strategy<Value = Execution> {
        let of = |set| [Tiling::SMALL, Tiling::DEFAULT].map(|tiling| Execution { set, tiling });
        prop::sample::select(InstructionSet::available().into_iter().flat_map(of).collect::<Vec<_>>())
    }

    pub fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }
}
