//! Processing paths (Geirhos et al., 2024, section 3): are visualizations processed along the same path through a
//! network as natural images of the class they stand for?

mod activations;
pub mod controls;
mod curve;
pub mod similarity;

pub use activations::{Reduction, capture};
pub use controls::Control;
pub use curve::{Estimate, Interval, PathSimilarity, Settings, Third, measure, thirds};
pub use similarity::Metric;
