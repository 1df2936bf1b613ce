//! A grey margin.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::AffineTransform;
use crate::bounds::within;
use crate::visualize::Warp;

/// A grey margin. What is beyond it is black.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// How wide it is on each side.
    pub pixels: usize,
}

impl AffineTransform for Pad {
    fn check(&self) -> Result<(), String> {
        within("pixels", self.pixels, 0..=4096)
    }

    fn reached(&self, sides: [usize; 2], _: usize) -> [usize; 2] {
        sides.map(|side| side + 2 * self.pixels)
    }

    fn draw(&self, warp: &mut Warp, _: [usize; 2], _: &mut impl Rng, _: &mut impl Rng) {
        let margin = self.pixels as f32;
        warp.before([[1.0, 0.0, -margin], [0.0, 1.0, -margin]]);
        warp.size = warp.size.map(|side| side + 2 * self.pixels);
    }
}
