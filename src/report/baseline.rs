//! A committed baseline of metrics, and what moved against it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use statrs::statistics::Statistics;

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
    /// How many runs with different seeds the tolerance is from; empty where it was set by hand.
    #[serde(default)]
    pub runs: Option<usize>,
}

/// A number of a results folder that a baseline can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub metric: String,
    pub value: f64,
    pub direction: Direction,
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

fn find(metrics: &[Measured], name: &str) -> Option<f64> {
    metrics.iter().find(|m| m.metric == name).map(|m| m.value)
}

/// Compares metrics with a baseline, in the baseline's order.
pub fn compare(baseline: &[Expected], metrics: &[Measured]) -> Vec<Outcome> {
    baseline
        .iter()
        .map(|expected| Outcome { expected: expected.clone(), found: find(metrics, &expected.metric) })
        .collect()
}

/// The new content of the baseline at `path`: the values found, with the metrics and directions of the old one, or every metric where there is none.
/// `repeats` are the metrics of the same experiment with other seeds; a metric may then move by three standard deviations
/// over all these runs, and a little where they don't differ at all. Without them tolerances stay.
///
/// # Errors
/// Usage, if there is neither an old baseline nor a repeat; failure, if a metric is not there any more.
pub fn renew(
    path: &Path,
    old: Option<&[Expected]>,
    metrics: &[Measured],
    repeats: &[Vec<Measured>],
) -> Result<Vec<Expected>> {
    /// A metric that is the same in all runs may still move by so much.
    const LEAST: f64 = 0.02;
    let kept: Vec<Expected> = match old {
        Some(old) => old.to_vec(),
        None if repeats.is_empty() => {
            return Err(Error::usage(format!(
                "no baseline {}: make one with --repeats, the results of the same experiment with other seeds",
                path.display()
            )));
        }
        None => metrics
            .iter()
            .map(|m| Expected {
                metric: m.metric.clone(),
                direction: m.direction,
                value: m.value,
                tolerance: LEAST,
                runs: None,
            })
            .collect(),
    };
    let round = |v: f64| (v * 1e4).round() / 1e4;
    kept.into_iter()
        .map(|expected| {
            let name = &expected.metric;
            let gone = || {
                let path = path.display();
                Error::failure(format!("the results have no metric \"{name}\"; take its row out of {path}"))
            };
            let value = find(metrics, name).ok_or_else(gone)?;
            let mut renewed = Expected { value: round(value), ..expected.clone() };
            if !repeats.is_empty() {
                let others =
                    repeats.iter().map(|run| find(run, name).ok_or_else(gone)).collect::<Result<Vec<_>>>()?;
                let all: Vec<f64> = std::iter::once(value).chain(others).collect();
                renewed.tolerance = round((3.0 * (&all).std_dev()).max(LEAST));
                renewed.runs = Some(all.len());
            }
            Ok(renewed)
        })
        .collect()
}

/// Writes a baseline.
///
/// # Errors
/// Failure, if the file can't be written.
pub fn write(path: &Path, baseline: &[Expected]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(vec![]);
    for expected in baseline {
        writer.serialize(expected).on("write", path)?;
    }
    write_whole(path, &writer.into_inner().on("write", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(direction: Direction, found: Option<f64>) -> bool {
        let expected = Expected { metric: "m".into(), direction, value: 0.9, tolerance: 0.05, runs: None };
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

    fn measured(value: f64) -> Vec<Measured> {
        vec![Measured { metric: "m".into(), value, direction: Direction::Higher }]
    }

    #[test]
    fn tolerances_are_three_standard_deviations_over_runs() {
        let path = Path::new("baseline.csv");
        let renewed = renew(path, None, &measured(0.8), &[measured(0.9), measured(0.7)]).unwrap();
        assert_eq!((renewed[0].value, renewed[0].tolerance, renewed[0].runs), (0.8, 0.3, Some(3)));
        assert_eq!(renewed[0].direction, Direction::Higher);
        // Without repeats what was there stays, but for the value.
        let again = renew(path, Some(&renewed), &measured(0.75), &[]).unwrap();
        assert_eq!((again[0].value, again[0].tolerance, again[0].runs), (0.75, 0.3, Some(3)));
        assert!(renew(path, None, &measured(0.8), &[]).is_err());
        assert!(renew(path, Some(&renewed), &[], &[]).is_err());
        let same = renew(path, None, &measured(1.0), &[measured(1.0)]).unwrap();
        assert_eq!(same[0].tolerance, 0.02);
    }
}
