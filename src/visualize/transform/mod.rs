//! What is done to the image at each step, so that only what survives it drives the unit.

mod crop;
mod jitter;
mod pad;
mod rotate;
mod scale;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Warp;
use crate::data::Size;
pub use crop::Crop;
pub use jitter::Jitter;
pub use pad::Pad;
pub use rotate::Rotate;
pub use scale::Scale;

/// What there is to say of a kind of transform. A kind is a file beside this one, with a struct that implements this, its `mod` and
/// `use` lines here, and its name in the list of [`Transform`].
pub trait AffineTransform {
    /// Refuses what no image can be turned by.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The smallest and the largest side that it may make of sides from `least` to `most`; 0, where it may leave nothing. `size` is
    /// the image's before all transforms.
    fn reached(&self, sides: [usize; 2], size: usize) -> [usize; 2];

    /// Draws one and adds it to those drawn so far. Sizes come from `common`, which all images of a step share, everything else from
    /// the image's `own` generator; `size` is the image's before all transforms.
    fn draw(&self, warp: &mut Warp, size: [usize; 2], common: &mut impl Rng, own: &mut impl Rng);
}

/// Makes the enumeration of all transforms, which does what each of them does.
macro_rules! transforms {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One transform.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "lowercase")]
        pub enum Transform {
            $($(#[$doc])* $name($name),)*
        }

        $(impl From<$name> for Transform {
            fn from(transform: $name) -> Self {
                Self::$name(transform)
            }
        })*

        impl AffineTransform for Transform {
            fn check(&self) -> Result<(), String> {
                match self { $(Self::$name(transform) => transform.check(),)* }
            }

            fn reached(&self, sides: [usize; 2], size: usize) -> [usize; 2] {
                match self { $(Self::$name(transform) => transform.reached(sides, size),)* }
            }

            fn draw(&self, warp: &mut Warp, size: [usize; 2], common: &mut impl Rng, own: &mut impl Rng) {
                match self { $(Self::$name(transform) => transform.draw(warp, size, common, own),)* }
            }
        }
    };
}

transforms! {
    /// A grey margin.
    Pad,
    /// A smaller crop at a random place.
    Jitter,
    /// Another size.
    Scale,
    /// A turn about the centre.
    Rotate,
    /// The middle, in the image's size.
    Crop,
}

/// lucid's standard schedule: pad 12, jitter 8, scale 0.9 to 1.1, rotate ±10° (0° more often), jitter 4, and then the middle,
/// in the image's own size.
pub fn standard() -> Vec<Transform> {
    vec![
        Pad { pixels: 12 }.into(),
        Jitter { pixels: 8 }.into(),
        Scale { factors: (0..11).map(|i| 1.0 + (i as f32 - 5.0) / 50.0).collect() }.into(),
        Rotate { degrees: (-10..=10).chain([0; 5]).map(|d| d as f32).collect() }.into(),
        Jitter { pixels: 4 }.into(),
        Crop.into(),
    ]
}

/// The smallest and the largest length that transforms may make of a side of this length; 0, where they may leave nothing.
pub fn reached(transforms: &[Transform], side: usize) -> [usize; 2] {
    transforms.iter().fold([side; 2], |sides, transform| transform.reached(sides, side))
}

/// The smallest side that transforms may leave of an image of this size.
pub fn smallest(transforms: &[Transform], size: Size) -> usize {
    reached(transforms, size.shorter())[0].max(1)
}

/// Refuses a list without a value, or with one that is not good.
fn each(what: &str, list: &[f32], good: impl Fn(f32) -> bool, words: &str) -> Result<(), String> {
    match list {
        [] => Err(format!("{what} is empty; it needs at least one value")),
        list => match list.iter().find(|v| !good(**v)) {
            Some(bad) => Err(format!("{what} has the value {bad}; all must be between {words}")),
            None => Ok(()),
        },
    }
}
