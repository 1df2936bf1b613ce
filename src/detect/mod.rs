//! Detectors: scores that should be high for manipulated units, computed from a network and natural images without
//! knowing of any circuit.

mod audit;
mod benchmark;
mod detections;
mod gap;
mod judge;
mod path;
mod prediction;
mod silence;
mod subject;
mod switch;
mod twins;

pub use audit::{Plan, audit};
pub use benchmark::run;
pub use detections::{CHANCE, CLEAN_AGAINST_CLEAN, NOISY, OTHER_SEEDS, PERMUTATIONS, UNTRAINED};
pub use subject::{Pictured, Subject};

pub use crate::config::detect::{Case, Method, Settings};
use crate::error::{Error, Result};

/// A way to tell manipulated units from others.
pub trait Detector: Sync {
    /// What tables and experiment files call it.
    fn name(&self) -> &'static str;

    /// What it looks at, and what it can and can't see, in a few plain sentences.
    fn sees(&self) -> &'static str;

    /// Whether a unit's score follows from what the unit answers and from its own pictures alone, whatever the other units of
    /// the subject are.
    fn looks_at_each_unit_alone(&self) -> bool {
        false
    }

    /// A score for each unit of the subject, higher for more suspicious ones; `None` where it is undefined.
    ///
    /// # Errors
    /// An interruption.
    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>>;
}

/// Every detector there is.
pub fn all() -> [&'static dyn Detector; 6] {
    [&path::Path, &gap::Gap, &switch::Switch, &twins::Twins, &silence::Silence, &prediction::Prediction]
}

/// The detector of a name.
///
/// # Errors
/// Usage, naming those there are.
pub fn named(name: &str) -> Result<&'static dyn Detector> {
    all().into_iter().find(|d| d.name() == name).ok_or_else(|| {
        let known: Vec<&str> = all().iter().map(|d| d.name()).collect();
        Error::usage(format!("detect.detectors: no detector \"{name}\"; there are {}", known.join(", ")))
    })
}

/// The detectors that settings name; all, where they name none.
///
/// # Errors
/// Usage, with the key, if there is none of a name.
pub fn chosen(settings: &Settings) -> Result<Vec<&'static dyn Detector>> {
    match settings.detectors.is_empty() {
        true => Ok(all().to_vec()),
        false => settings.detectors.iter().map(|name| named(name)).collect(),
    }
}
