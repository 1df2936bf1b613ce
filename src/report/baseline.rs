//! A committed baseline of metrics, and what moved against it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::statistics::Statistics;

use crate::error::{Context, Error, Result};
use crate::files;

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
    /// The metric's name, with what it is of in brackets.
    pub metric: String,
    /// Which way it may move.
    pub direction: Direction,
    /// The value that is expected.
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
    /// The metric's name, with what it is of in brackets.
    pub metric: String,
    /// The value that was found.
    pub value: f64,
    /// Which way it may move.
    pub direction: Direction,
}

/// What became of an expected value.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the baseline says of the metric.
    pub expected: Expected,
    /// `None` where the results no longer have the metric, which is a regression.
    pub found: Option<f64>,
}

impl Expected {
    /// Whether the tolerance is so wide that no value of the metric is a regression.
    pub fn gates_nothing(&self) -> bool {
        let Some((least, most)) = range(&self.metric) else { return false };
        let falls = self.value - self.tolerance > least + 1e-9;
        let rises = self.value + self.tolerance < most - 1e-9;
        match self.direction {
            Direction::Higher => !falls,
            Direction::Lower => !rises,
            Direction::Same => !falls && !rises,
        }
    }

    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<String> {
        let Self { value, tolerance, .. } = self;
        if !value.is_finite() {
            return Some(format!("its value is {value}; it must be a number"));
        }
        let plain = tolerance.is_finite() && *tolerance >= 0.0;
        (!plain).then(|| format!("its tolerance is {tolerance}; it must be a number, 0 or more"))
    }
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
/// Usage, naming the file and the row, if a value or tolerance is no number, or if there is no row: nothing would regress.
pub fn read(path: &Path) -> Result<Vec<Expected>> {
    if path.is_dir() {
        return Err(Error::usage(format!("{} is a folder: name the baseline's file", path.display())));
    }
    let usage = |e: csv::Error| Error::usage(format!("{}: {e}", path.display()));
    let mut reader = csv::Reader::from_path(path).map_err(usage)?;
    let all: Vec<Expected> = reader.deserialize().map(|row| row.map_err(usage)).collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(Error::usage(format!(
            "{} has no rows, so nothing would be compared: write one with --update, or give another",
            path.display()
        )));
    }
    for (row, expected) in all.iter().enumerate() {
        if let Some(fault) = expected.fault() {
            let metric = &expected.metric;
            return Err(Error::usage(format!("{}, row {} (\"{metric}\"): {fault}", path.display(), row + 1)));
        }
    }
    Ok(all)
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

/// The new content of the baseline at `path`: the values found, with the metrics and directions of the old one, and after
/// them every metric that it lacks. `repeats` are the metrics of the same experiment with other seeds; a metric's value is then the
/// mean of all these runs, and it may move as far as one more run would, by a prediction interval of Student's t, and a little
/// where runs don't differ at all. Of a thousand runs that differ in nothing but their seed, or in how a processor rounds, a metric
/// is beyond its tolerance in one; of a baseline of a hundred metrics, some metric at most in every tenth. Without repeats tolerances stay, and metrics that have none are not added: they are
/// [`lacking`].
///
/// # Errors
/// Usage, if there is neither an old baseline nor a repeat, or no metric; failure, if a metric is not there any more.
pub fn renew(
    path: &Path,
    old: Option<&[Expected]>,
    metrics: &[Measured],
    repeats: &[Vec<Measured>],
) -> Result<Vec<Expected>> {
    /// A metric that is the same in all runs may still move by so much: most are shares of a few units, of which one may change.
    const LEAST: f64 = 0.05;
    /// The probability that a metric of one more run is beyond its tolerance.
    const ERROR: f64 = 0.001;
    if old.is_none() && repeats.is_empty() {
        return Err(Error::usage(format!(
            "no baseline {}: make one with --repeats, the results of the same experiment with other seeds",
            path.display()
        )));
    }
    let mut kept = old.unwrap_or_default().to_vec();
    if !repeats.is_empty() {
        // What not every run has, has no tolerance.
        let everywhere = |m: &&Measured| repeats.iter().all(|run| find(run, &m.metric).is_some());
        let new: Vec<Expected> = lacking(&kept, metrics)
            .into_iter()
            .filter(everywhere)
            .map(|m| Expected {
                metric: m.metric.clone(),
                direction: m.direction,
                value: m.value,
                tolerance: LEAST,
                runs: None,
            })
            .collect();
        kept.extend(new);
    }
    if kept.is_empty() {
        return Err(Error::usage("the results have no metric for a baseline to hold"));
    }
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
                renewed.value = round((&all).mean());
                // A metric that may move one way has all of the error on the other.
                let above = if expected.direction == Direction::Same { ERROR / 2.0 } else { ERROR };
                renewed.tolerance = round((one_more(all.len(), above)? * (&all).std_dev()).max(LEAST));
                renewed.runs = Some(all.len());
            }
            Ok(renewed)
        })
        .collect()
}

/// How far above the mean of so many runs, in their standard deviations, one more is with a probability of `above`.
fn one_more(runs: usize, above: f64) -> Result<f64> {
    let freedom = runs as f64 - 1.0;
    let t = StudentsT::new(0.0, 1.0, freedom).map_err(|e| Error::usage(format!("{runs} runs: {e}")))?;
    Ok(t.inverse_cdf(1.0 - above) * (1.0 + 1.0 / runs as f64).sqrt())
}

/// The metrics that a baseline says nothing of.
pub fn lacking<'m>(baseline: &[Expected], metrics: &'m [Measured]) -> Vec<&'m Measured> {
    metrics.iter().filter(|m| baseline.iter().all(|row| row.metric != m.metric)).collect()
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
    files::write(path, &writer.into_inner().on("write", path)?)
}

/// What a metric can be, by its name; `None` where there are no bounds.
fn range(metric: &str) -> Option<(f64, f64)> {
    let named = |names: &[&str]| names.iter().any(|name| metric.starts_with(&format!("{name} [")));
    let shares = ["top1", "recognized", "seen as target", "closer to target", "auc", "found at 5 %"];
    if named(&shares) { Some((0.0, 1.0)) } else { named(&["resemblance"]).then_some((-1.0, 1.0)) }
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
    fn tolerances_are_what_one_more_run_may_differ_by() {
        let path = Path::new("baseline.csv");
        let renewed = renew(path, None, &measured(0.7), &[measured(0.9), measured(0.8)]).unwrap();
        // Their standard deviation is 0.1, and t with two degrees of freedom exceeds 22.3271 once in 1000.
        assert_eq!((renewed[0].value, renewed[0].tolerance, renewed[0].runs), (0.8, 2.5781, Some(3)));
        // And 31.5991 once in 2000.
        let two = |a: f64| {
            let other = Measured { metric: "n".into(), value: a, direction: Direction::Same };
            measured(a).into_iter().chain([other]).collect::<Vec<_>>()
        };
        let renewed_two = renew(path, None, &two(0.7), &[two(0.9), two(0.8)]).unwrap();
        assert!((renewed_two[1].tolerance - 3.6487).abs() < 1e-3);
        assert_eq!(renewed[0].direction, Direction::Higher);
        // Without repeats what was there stays, but for the value.
        let again = renew(path, Some(&renewed), &measured(0.75), &[]).unwrap();
        assert_eq!((again[0].value, again[0].tolerance, again[0].runs), (0.75, 2.5781, Some(3)));
        assert!(renew(path, None, &measured(0.8), &[]).is_err());
        assert!(renew(path, Some(&renewed), &[], &[]).is_err());
        let same = renew(path, None, &measured(1.0), &[measured(1.0)]).unwrap();
        assert_eq!(same[0].tolerance, 0.05);
        assert!(renew(path, None, &[], &[measured(1.0)]).is_err());
    }

    #[test]
    fn a_metric_that_the_old_baseline_lacks_is_added_where_its_tolerance_is_known() {
        let path = Path::new("baseline.csv");
        let old = renew(path, None, &measured(0.8), &[measured(0.9)]).unwrap();
        let named = |name: &str, value| Measured { metric: name.into(), value, direction: Direction::Same };
        let now: Vec<Measured> =
            measured(0.7).into_iter().chain([named("n", 1.0), named("o", 2.0)]).collect();
        let alone = renew(path, Some(&old), &now, &[]).unwrap();
        assert_eq!(alone.len(), 1);
        let names = |of: Vec<&Measured>| of.into_iter().map(|m| m.metric.clone()).collect::<Vec<_>>();
        assert_eq!(names(lacking(&alone, &now)), ["n", "o"]);
        // The other run has no value of "o".
        let repeat: Vec<Measured> = measured(0.7).into_iter().chain([named("n", 3.0)]).collect();
        let all = renew(path, Some(&old), &now, &[repeat]).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].metric.as_str(), all[0].value, all[0].tolerance), ("m", 0.7, 0.05));
        // The deviation of 1 and 3 is the root of 2, and t with one degree of freedom exceeds 636.6192 once in 2000.
        assert_eq!((all[1].metric.as_str(), all[1].direction), ("n", Direction::Same));
        assert_eq!((all[1].value, all[1].runs), (2.0, Some(2)));
        assert!((all[1].tolerance - 1102.657).abs() < 0.01);
    }

    #[test]
    fn a_baseline_that_could_not_fail_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.csv");
        let read_of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map_err(|e| (e.exit_code(), e.to_string()))
        };
        let header = "metric,direction,value,tolerance,runs\n";
        for text in ["", header] {
            let (code, message) = read_of(text).unwrap_err();
            assert!(code == 2 && message.contains("baseline.csv has no rows"), "{message}");
        }
        for (row, word) in [
            ("auc,higher,0.9,NaN,3", "tolerance is NaN"),
            ("auc,higher,0.9,inf,", "tolerance is inf"),
            ("auc,higher,0.9,-0.1,3", "tolerance is -0.1"),
            ("auc,higher,NaN,0.1,3", "value is NaN"),
        ] {
            let (code, message) = read_of(&format!("{header}top1,higher,0.9,0.1,3\n{row}\n")).unwrap_err();
            assert!(code == 2 && message.contains(word), "{message}");
            assert!(message.contains("baseline.csv, row 2 (\"auc\")"), "{message}");
        }
        assert_eq!(read_of(&format!("{header}top1,higher,0.9,0.1,\n")).unwrap().len(), 1);
    }

    #[test]
    fn a_tolerance_beyond_what_a_metric_can_be_gates_nothing() {
        use Direction::*;
        for (metric, direction, value, tolerance, nothing) in [
            ("found at 5 % [s, gap, standard]", Higher, 0.125, 1.0825, true),
            ("found at 5 % [s, gap, standard]", Higher, 0.125, 0.125, true),
            ("found at 5 % [s, gap, standard]", Higher, 0.125, 0.12, false),
            ("auc [clean against clean, gap, standard]", Same, 0.5, 0.5, true),
            ("auc [clean against clean, gap, standard]", Same, 0.6, 0.5, false),
            ("auc [s, gap, standard]", Lower, 0.6, 0.5, true),
            ("resemblance [s]", Higher, 0.6, 1.0, false),
            ("normalized similarity [none, early]", Same, 0.5, 9.0, false),
        ] {
            let expected = Expected { metric: metric.into(), direction, value, tolerance, runs: None };
            assert_eq!(expected.gates_nothing(), nothing, "{metric} {value} {tolerance}");
        }
    }
}
