//! The middle.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::AffineTransform;
use crate::visualize::Warp;

/// The middle, as large as the image was before all transforms; what is missing is black.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop;

impl AffineTransform for Crop {
    fn reached(&self, [least, _]: [usize; 2], size: usize) -> [usize; 2] {
        [if least == 0 { 0 } else { size }, size]
    }

    fn draw(&self, warp: &mut Warp, size: [usize; 2], _: &mut impl Rng, _: &mut impl Rng) {
        warp.frame();
        let [y, x] = [0, 1].map(|axis| ((warp.size[axis] as f32 - size[axis] as f32) / 2.0).floor());
        warp.before([[1.0, 0.0, y], [0.0, 1.0, x]]);
        warp.size = size;
    }
}
