//! What a picture tells an observer: two psychophysical tasks, made from any network and data set, for models and
//! people alike.
//!
//! *Matching* (Klein, Brendel and Wichmann, VSS 2023): which images are about the same unit? *Causal occlusion*
//! (Zimmermann et al., NeurIPS 2021): which of two occlusions lowers a unit's activation more?

mod assemble;
mod figures;
mod make;
mod matching;
mod observers;
mod occlusion;
mod pictures;
pub mod plan;
pub mod references;
pub mod report;
pub mod responses;
pub mod score;
pub mod settings;
pub mod stimuli;
pub mod study;
pub mod tables;
mod units;
mod work;

pub use make::make;
pub use plan::Plan;
pub use settings::Study;
