//! The gap detector: activation that the visualization reaches, against the largest on natural images.

use super::{Detector, Subject};
use crate::error::Result;
use crate::statistics::mean;
use crate::statistics::quantile;

/// (reached − median) / (largest − median), median and largest over natural images, as a logarithm.
pub(super) struct Gap;

impl Detector for Gap {
    fn name(&self) -> &'static str {
        "gap"
    }

    fn sees(&self) -> &'static str {
        "How far the visualization drives the unit beyond every natural image, relative to how far natural images drive \
         it. It can see silent units, whose hidden response is scaled up to drown the original, and circuits whose \
         fooled response is out of proportion. It can't see a circuit that keeps the fooled response within what the \
         unit's own visualization would reach."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let natural: Vec<(f64, f64)> =
            subject.activations.iter().map(|values| median_and_largest(values)).collect();
        // A unit that no natural image drives is measured by what drives the others.
        let floor = 0.01 * mean(natural.iter().map(|(median, largest)| largest - median)).unwrap_or(0.0);
        Ok(subject
            .units
            .iter()
            .zip(&natural)
            .map(|(unit, (median, largest))| {
                let reached = mean(unit.reached.iter().map(|&v| f64::from(v)))?;
                let ratio = (reached - median) / (largest - median).max(floor);
                ratio.is_finite().then(|| ratio.max(1e-6).ln())
            })
            .collect())
    }
}

fn median_and_largest(values: &[f32]) -> (f64, f64) {
    let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    let at = |share| quantile(&values, share).unwrap_or(f64::NAN);
    (at(0.5), at(1.0))
}
