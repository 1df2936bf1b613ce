//! Another size.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{AffineTransform, each};
use crate::visualize::Warp;

/// One of these sizes, the same for all images of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Relative to the image's; one is drawn.
    pub factors: Vec<f32>,
}

impl AffineTransform for Scale {
    fn check(&self) -> Result<(), String> {
        each("factors", &self.factors, |f| (0.1..=10.0).contains(&f), "0.1 and 10")
    }

    fn reached(&self, [least, most]: [usize; 2], _: usize) -> [usize; 2] {
        let of = |side: usize, factor: f32| ((side as f32 * factor).round() as usize).max(side.min(1));
        let ends = self.factors.iter().fold([f32::INFINITY, 0.0], |[a, b], &f| [f.min(a), f.max(b)]);
        [of(least, ends[0]), of(most, ends[1])]
    }

    fn draw(&self, warp: &mut Warp, _: [usize; 2], common: &mut impl Rng, _: &mut impl Rng) {
        let factor = self.factors[common.random_range(0..self.factors.len())];
        // Pixel centres are half a pixel from the border at any scale.
        let shift = 0.5 / factor - 0.5;
        warp.before([[1.0 / factor, 0.0, shift], [0.0, 1.0 / factor, shift]]);
        warp.size = warp.size.map(|side| ((side as f32 * factor).round() as usize).max(1));
    }
}
