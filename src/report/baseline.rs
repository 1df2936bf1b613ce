//! A committed baseline of metrics, and what moved against it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::write_whole;
use crate::error::{Context, Error, Result};

/// Which way a metric may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A fall is a regression.
    Higher,
    /// A rise is a regression.
    Lower,
    /// Either is.
    Same,
}

/// A metric's expected value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    pub metric: String,
    pub direction: Direction,
    pub value: f64,
    /// How far it may move the wrong way.
    pub tolerance: f64,
}

/// What became of an expected value.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub expected: Expected,
    /// `None` where the results no longer have the metric, which is a regression.
    pub found: Option<f64>,
}

impl Outcome {
    /// Whether the metric is worse than its tolerance allows.
    pub fn regressed(&self) -> bool {
        let Some(found) = self.found else { return true };
        let rise = found - self.expected.value;
        let worse = match self.expected.direction {
            Direction::Higher => -rise,
            Direction::Lower => rise,
            Direction::Same => rise.abs(),
        };
        // A difference of rounding is none.
        worse.is_nan() || worse > self.expected.tolerance + 1e-9
    }
}

/// Reads a baseline.
///
/// # Errors
/// Usage, naming the file and line.
pub fn read(path: &Path) -> Result<Vec<Expected>> {
    let usage = |e: csv::Error| Error::usage(format!("{}: {e}", path.display()));
    csv::Reader::from_path(path).map_err(usage)?.deserialize().map(|row| row.map_err(usage)).collect()
}

/// Compares metrics with a baseline, in the baseline's order.
pub fn compare(baseline: &[Expected], metrics: &[(String, f64)]) -> Vec<Outcome> {
    baseline
        .iter()
        .map(|expected| Outcome {
            expected: expected.clone(),
            found: metrics.iter().find(|(name, _)| *name == expected.metric).map(|(_, v)| *v),
        })
        .collect()
}

/// Writes a baseline with the values found; directions and tolerances stay.
///
/// # Errors
/// Failure, if a metric is not there any more or the file can't be written.
pub fn update(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(vec![]);
    for outcome in outcomes {
        let value = outcome.found.ok_or_else(|| {
            Error::failure(format!(
                "the results have no metric \"{}\"; take its row out of {}",
                outcome.expected.metric,
                path.display()
            ))
        })?;
        let value = (value * 1e4).round() / 1e4;
        writer.serialize(Expected { value, ..outcome.expected.clone() }).on("write", path)?;
    }
    write_whole(path, &writer.into_inner().on("write", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(direction: Direction, found: Option<f64>) -> bool {
        let expected = Expected { metric: "m".into(), direction, value: 0.9, tolerance: 0.05 };
        Outcome { expected, found }.regressed()
    }

    #[test]
    fn only_the_wrong_way_and_past_the_tolerance_is_a_regression() {
        use Direction::*;
        for (direction, found, regressed) in [
            (Higher, 0.86, false),
            (Higher, 0.84, true),
            (Higher, 1.0, false),
            (Lower, 0.84, false),
            (Lower, 0.96, true),
            (Same, 0.94, false),
            (Same, 0.96, true),
            (Same, 0.84, true),
            (Higher, f64::NAN, true),
        ] {
            assert_eq!(outcome(direction, Some(found)), regressed, "{direction:?} {found}");
        }
        assert!(outcome(Lower, None));
    }
}
