//! A turn.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{AffineTransform, each};
use crate::visualize::Warp;

/// A turn about the centre; what it turns in from outside is black.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// By which angles; one is drawn.
    pub degrees: Vec<f32>,
}

impl AffineTransform for Rotate {
    fn check(&self) -> Result<(), String> {
        each("degrees", &self.degrees, |d| (-360.0..=360.0).contains(&d), "-360 and 360")
    }

    fn reached(&self, sides: [usize; 2], _: usize) -> [usize; 2] {
        sides
    }

    fn draw(&self, warp: &mut Warp, _: [usize; 2], _: &mut impl Rng, own: &mut impl Rng) {
        let angle = self.degrees[own.random_range(0..self.degrees.len())].to_radians();
        let (sin, cos) = angle.sin_cos();
        let [cy, cx] = warp.size.map(|side| (side as f32 - 1.0) / 2.0);
        warp.frame();
        warp.before([[cos, sin, cy - cos * cy - sin * cx], [-sin, cos, cx + sin * cy - cos * cx]]);
    }
}
