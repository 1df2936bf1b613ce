use rand::{Rng, RngExt};

/// Random fields that are functions of the place, so that a surface can be sampled anywhere.
#[derive(Clone, Copy)]
pub struct Noise {
    seed: u32,
}

impl Noise {
    pub fn new(rng: &mut impl Rng) -> Self {
        Self { seed: rng.random() }
    }

    /// A value in -1..1 for a lattice point.
    fn lattice(self, x: i32, y: i32) -> f32 {
        let mut h = self.seed ^ (x as u32).wrapping_mul(0x8da6_b343) ^ (y as u32).wrapping_mul(0xd816_3841);
        // The finalizer of MurmurHash3.
        h ^= h >> 16;
        h = h.wrapping_mul(0x85eb_ca6b);
        h ^= h >> 13;
        h = h.wrapping_mul(0xc2b2_ae35);
        h ^= h >> 16;
        h as f32 / (u32::MAX as f32 / 2.0) - 1.0
    }

    /// Smooth noise with about one bump a unit, in -1..1.
    pub fn smooth(self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (ix, iy) = (fx as i32, fy as i32);
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (tx, ty) = (ease(x - fx), ease(y - fy));
        let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
        mix(
            mix(self.lattice(ix, iy), self.lattice(ix + 1, iy), tx),
            mix(self.lattice(ix, iy + 1), self.lattice(ix + 1, iy + 1), tx),
            ty,
        )
    }

    /// Octaves of smooth noise whose sum has an amplitude spectrum that falls about as 1/f. In two dimensions that
    /// is nearly the same contrast in every octave.
    pub fn pink(self, x: f32, y: f32) -> f32 {
        /// The contrast of octave i: 2^(-0.4 i), over the sum's spread.
        const CONTRAST: [f32; 6] = [0.4545, 0.3445, 0.2611, 0.1979, 0.1500, 0.1137];
        let mut sum = 0.0;
        let mut f = 1.0;
        for (octave, contrast) in (0u32..).zip(CONTRAST) {
            let shifted = Self { seed: self.seed.wrapping_add(octave.wrapping_mul(0x9e37_79b9)) };
            sum += contrast * shifted.smooth(x * f, y * f);
            f *= 2.0;
        }
        sum
    }

    /// Independent noise for a pixel and channel, -1..1.
    pub fn white(self, x: usize, y: usize, channel: usize) -> f32 {
        self.lattice(x as i32 * 3 + channel as i32, y as i32)
    }
}
