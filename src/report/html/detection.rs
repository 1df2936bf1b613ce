//! The report of a benchmark: circuits against detectors.

use minijinja::{Value, context};

use super::{Content, Report};
use crate::config::Experiment;
use crate::detect;
use crate::error::Result;
use crate::report::figures::{Data, Topic};
use crate::results::Kind;
use crate::tables::Detection;
use crate::tables::unique;

fn two(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.2}"))
}

fn interval(d: &Detection) -> String {
    format!("{} to {}", two(d.lower), two(d.upper))
}

/// The false-positive rate at which units are counted as found, in words.
fn at_rate(d: &Detection) -> String {
    match d.too_few() {
        None => "at 5 % false positives".into(),
        Some(n) => format!(
            "at the smallest false-positive rate that {n} clean units of a layer allow ({} expected)",
            d.rate()
        ),
    }
}

fn between(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(_), Some(_)) => format!("{} to {}", two(low), two(high)),
        _ => String::new(),
    }
}

/// The page.
pub(super) struct Page;

impl Report for Page {
    fn kind(&self) -> Kind {
        Kind::Detection
    }

    fn template(&self) -> &'static str {
        include_str!("detection.html")
    }

    fn values(&self, content: &Content<'_>) -> Result<Value> {
        let Content { manifest, data, figures, .. } = content;
        let cases: Vec<Value> = data
            .cases
            .iter()
            .map(|c| {
                context! {
                    circuit => c.circuit.clone(),
                    layer => c.layer.clone(),
                    method => c.method.clone(),
                    manipulated => c.manipulated,
                    clean => c.clean,
                    draws => c.draws,
                    before => super::percent(c.top1_before),
                    after => super::percent(c.top1_after),
                    switched => c.switched.map_or("no switch".into(), |s| format!("{:.0} %", 100.0 * s)),
                    like_honest => two(c.like_honest),
                    like_target => two(c.like_target),
                }
            })
            .collect();
        let detection: Vec<Value> = data
            .detection
            .iter()
            .map(|d| {
                context! {
                    circuit => d.circuit.clone(),
                    layer => if d.pooled() { "all".to_string() } else { d.layer.clone() },
                    control => d.control && d.circuit != detect::CHANCE,
                    honest => d.honest.map_or(String::new(), |v| two(Some(v))),
                    paired => d.paired.map_or(String::new(), |v| two(Some(v))),
                    paired_interval => between(d.paired_lower, d.paired_upper),
                    spread => d.between.map_or(String::new(), |v| two(Some(v))),
                    detector => d.detector.clone(),
                    method => d.method.clone(),
                    manipulated => d.manipulated,
                    clean => d.clean,
                    auc => two(d.auc),
                    interval => interval(d),
                    found => d.true_positives.map_or("-".into(), |v| format!("{:.0} %", 100.0 * v)),
                    rate => d.rate(),
                }
            })
            .collect();
        let detectors: Vec<Value> = detect::all()
            .into_iter()
            .filter(|d| data.detection.iter().any(|row| row.detector == d.name()))
            .map(|d| context! { name => d.name(), sees => d.sees(), found => found(data, d.name()) })
            .collect();
        let mut cost: Vec<(String, f64, usize)> = vec![];
        for c in &data.cost {
            let (seconds, units) = c.seconds_per_unit.map_or((0.0, 0), |s| (s * c.units as f64, c.units));
            match cost.iter_mut().find(|(what, ..)| *what == c.what) {
                Some((_, sum, all)) => (*sum, *all) = (*sum + seconds, *all + units),
                None => cost.push((c.what.clone(), seconds, units)),
            }
        }
        let cost: Vec<Value> = cost
            .into_iter()
            .map(|(what, sum, units)| {
                let seconds = match sum / units as f64 {
                    _ if units == 0 => "-".into(),
                    seconds if seconds < 0.01 => "< 0.01".into(),
                    seconds => format!("{seconds:.2}"),
                };
                context! { what, seconds }
            })
            .collect();
        Ok(context! {
            verdict => verdict(data),
            done => done(&manifest.part("experiment")?, data),
            cases,
            detection,
            few => data.detection.iter().any(|d| d.too_few().is_some()),
            permutations => detect::PERMUTATIONS,
            detectors,
            cost,
            exhibits => figures.of(Topic::Exhibits),
            areas => figures.of(Topic::Areas),
            curves => figures.of(Topic::Roc),
            scores => figures.of(Topic::Scores),
        })
    }
}

/// What a detector found in this run, layer by layer, in a sentence.
fn found(data: &Data, detector: &str) -> String {
    let cells: Vec<&Detection> =
        data.detection.iter().filter(|d| d.detector == detector && !d.control && !d.pooled()).collect();
    let named = |wanted: &dyn Fn(&Detection) -> bool| -> Vec<String> {
        let several = cells.iter().any(|d| d.method != cells[0].method);
        let name = |d: &&Detection| {
            let method = if several { format!(", {}", d.method) } else { String::new() };
            format!("{} in {} ({}{method})", d.circuit, d.layer, two(d.auc))
        };
        cells.iter().copied().filter(|d| wanted(d)).map(|d| name(&d)).collect()
    };
    let above = named(&|d| d.lower.is_some_and(|l| l > 0.5));
    let chance = named(&|d| d.lower.is_some_and(|l| l <= 0.5) && d.upper.is_some_and(|u| u >= 0.5));
    let below = named(&|d| d.upper.is_some_and(|u| u < 0.5));
    let mut parts = vec![];
    for (names, words) in [
        (above, "it told fooled units from others better than chance for"),
        (chance, "it could not be told from chance for"),
        (below, "it was worse than chance, taking honest units for fooled ones, for"),
    ] {
        if !names.is_empty() {
            parts.push(format!("{words} {}", names.join(", ")));
        }
    }
    format!("Here {}.", parts.join("; "))
}

fn verdict(data: &Data) -> Vec<String> {
    let mut lines = vec![];
    let pooled = || data.detection.iter().filter(|d| d.pooled());
    for circuit in unique(pooled().filter(|d| !d.control).map(|d| d.circuit.as_str())) {
        let of: Vec<&Detection> = pooled().filter(|d| d.circuit == circuit).collect();
        let best = of.iter().max_by(|a, b| a.auc.unwrap_or(0.0).total_cmp(&b.auc.unwrap_or(0.0)));
        if let Some(best) = best {
            let chosen = match best.simultaneous_lower.is_some() {
                true => format!(
                    "95 % interval {}, wide enough for the best of {}",
                    between(best.simultaneous_lower, best.simultaneous_upper),
                    of.len()
                ),
                false => format!("95 % interval {}", interval(best)),
            };
            lines.push(format!(
                "The circuit \"{circuit}\" is found best by the detector {} (AUC {}; {chosen}), which finds {} of its units {}.",
                best.detector,
                two(best.auc),
                best.true_positives.map_or("-".into(), |v| format!("{:.0} %", 100.0 * v)),
                at_rate(best),
            ));
        }
    }
    let named = |control: &'static str| pooled().filter(move |d| d.circuit == control);
    let off = |control: &'static str| -> (usize, Vec<String>) {
        let all: Vec<&Detection> = named(control).collect();
        let covers = |d: &Detection| d.lower.is_some_and(|l| l <= 0.5) && d.upper.is_some_and(|u| u >= 0.5);
        let words =
            |d: &&Detection| format!("{}, {} ({}, {})", d.detector, d.method, two(d.auc), interval(d));
        (all.len(), all.iter().filter(|d| !covers(d)).map(words).collect())
    };
    let (cells, of_clean) = off(detect::CLEAN_AGAINST_CLEAN);
    lines.push(match of_clean.len() {
        0 => format!("Clean against clean, the interval covers 0.5 in all {cells} cells, as it should."),
        n => format!(
            "Clean against clean, the 95 % interval does not cover 0.5 in {n} of {cells} cells ({:.1} are to be expected by \
             chance): {}.",
            0.05 * cells as f64,
            of_clean.join("; ")
        ),
    });
    let (cells, of_seeds) = off(detect::OTHER_SEEDS);
    if cells > 0 {
        let most = named(detect::OTHER_SEEDS).filter_map(|d| d.between).fold(0.0, f64::max);
        let networks = named(detect::OTHER_SEEDS).map(|d| d.draws).max().unwrap_or(0);
        let words = match of_seeds.is_empty() {
            true => "no interval excludes 0.5".to_string(),
            false => format!("the interval excludes 0.5 for {}", of_seeds.join("; ")),
        };
        lines.push(format!(
            "Units of {networks} honest networks trained from other seeds against those of this one: {words}. Between networks the \
             area varies with a standard deviation of up to {most:.2}: a detector with a large one can't be used to compare \
             scores of different networks."
        ));
    }
    for (control, words) in [
        (detect::UNTRAINED, "Units of an untrained network score against those of this one with AUCs of"),
        (
            detect::NOISY,
            "With noisy natural images in the place of pictures, honest units score against themselves with AUCs of",
        ),
    ] {
        let areas: Vec<String> =
            named(control).map(|d| format!("{} ({}, {})", two(d.auc), d.detector, d.method)).collect();
        if !areas.is_empty() {
            lines.push(format!("{words} {}.", areas.join(", ")));
        }
    }
    lines
}

fn done(experiment: &Experiment, data: &Data) -> String {
    let settings = experiment.detect.clone().unwrap_or_default();
    let optimization = &experiment.visualization.optimization;
    let layers = unique(data.cases.iter().map(|case| case.layer.as_str()));
    format!(
        "Each circuit was put into units of {} drawn at random (at most {}, and at most half of the layer), and {} others \
         of the same layer of the same network, or as many as there are, are what the fooled ones are told from; which of \
         these units are fooled was drawn {} times (less often where a case says so). A unit has {} visualizations ({} steps at {} px where the method does not say otherwise); detectors are given {} natural \
         images that no circuit was made with, and know of no circuit.",
        layers.join(", "),
        settings.manipulated,
        settings.clean,
        settings.draws,
        settings.pictures,
        optimization.steps,
        optimization.size,
        settings.natural_images,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_takes_nineteen_clean_units() {
        let with = |fewest_clean| Detection { fewest_clean, ..Detection::default() };
        // One more unit is above n others once in n + 1 times.
        for (fewest, want) in [(Some(19), "5 %"), (Some(9), "10 %"), (Some(3), "25 %"), (None, "5 %")] {
            assert_eq!(with(fewest).rate(), want);
            assert!(at_rate(&with(fewest)).contains(want));
        }
        assert!(at_rate(&with(Some(9))).contains("9 clean units"));
    }
}
