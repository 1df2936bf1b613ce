//! A smaller crop at a random place.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::AffineTransform;
use crate::bounds::within;
use crate::visualize::Warp;

/// A crop that is smaller by `pixels`, at a random place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// By how much it is smaller.
    pub pixels: usize,
}

impl AffineTransform for Jitter {
    fn check(&self) -> Result<(), String> {
        within("pixels", self.pixels, 0..=4096)
    }

    fn reached(&self, sides: [usize; 2], _: usize) -> [usize; 2] {
        sides.map(|side| side.saturating_sub(self.pixels))
    }

    fn draw(&self, warp: &mut Warp, _: [usize; 2], _: &mut impl Rng, own: &mut impl Rng) {
        let pixels = self.pixels.min(warp.size[0] - 1).min(warp.size[1] - 1);
        let [y, x] = [(); 2].map(|()| own.random_range(0..=pixels) as f32);
        warp.before([[1.0, 0.0, y], [0.0, 1.0, x]]);
        warp.size = warp.size.map(|side| side - pixels);
    }
}
