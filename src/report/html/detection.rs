//! The report of a benchmark: circuits against detectors.

use minijinja::{Value, context};

use super::Figures;
use crate::detect;
use crate::report::figures::{Data, Topic};
use crate::report::tables::Detection;
use crate::report::{Manifest, unique};

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

/// What the template shows.
pub(super) fn values(manifest: &Manifest, data: &Data, figures: &Figures) -> Value {
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
                control => d.control,
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
    context! {
        verdict => verdict(data),
        done => done(manifest, data),
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
    }
}

/// What a detector found in this run, in a sentence.
fn found(data: &Data, detector: &str) -> String {
    let cells: Vec<&Detection> =
        data.detection.iter().filter(|d| d.detector == detector && !d.control).collect();
    let named = |wanted: &dyn Fn(&Detection) -> bool| -> Vec<String> {
        let several = cells.iter().any(|d| d.method != cells[0].method);
        let name = |d: &&Detection| {
            let method = if several { format!(", {}", d.method) } else { String::new() };
            format!("{} ({}{method})", d.circuit, two(d.auc))
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
    for circuit in unique(data.detection.iter().filter(|d| !d.control).map(|d| d.circuit.as_str())) {
        let best = data
            .detection
            .iter()
            .filter(|d| d.circuit == circuit)
            .max_by(|a, b| a.auc.unwrap_or(0.0).total_cmp(&b.auc.unwrap_or(0.0)));
        if let Some(best) = best {
            lines.push(format!(
                "The circuit \"{circuit}\" is found best by the detector {} (AUC {}, 95 % interval {}), which finds \
                 {} of its units {}.",
                best.detector,
                two(best.auc),
                interval(best),
                best.true_positives.map_or("-".into(), |v| format!("{:.0} %", 100.0 * v)),
                at_rate(best),
            ));
        }
    }
    let named = |control: &'static str| data.detection.iter().filter(move |d| d.circuit == control);
    let controls: Vec<&Detection> = named(detect::CLEAN_AGAINST_CLEAN).collect();
    let off: Vec<String> = controls
        .iter()
        .filter(|d| !(d.lower.is_some_and(|l| l <= 0.5) && d.upper.is_some_and(|u| u >= 0.5)))
        .map(|d| format!("{}, {} ({}, {})", d.detector, d.method, two(d.auc), interval(d)))
        .collect();
    lines.push(match off.len() {
        0 => format!("Clean against clean, the interval covers 0.5 in all {} cells, as it should.", controls.len()),
        n => format!(
            "Clean against clean, the 95 % interval does not cover 0.5 in {n} of {} cells ({:.1} are to be expected by \
             chance): {}.",
            controls.len(),
            0.05 * controls.len() as f64,
            off.join("; ")
        ),
    });
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let low = ends(&mut named(detect::PERMUTED_LABELS).filter_map(|d| d.lower)).0;
    let high = ends(&mut named(detect::PERMUTED_LABELS).filter_map(|d| d.upper)).1;
    if low <= high {
        lines.push(format!(
            "With labels permuted {} times within layers, 95 % of the AUCs over all circuits lie between {low:.2} and \
             {high:.2}, whatever the detector.",
            detect::PERMUTATIONS
        ));
    }
    let (low, high) = ends(&mut named(detect::ANOTHER_SEED).filter_map(|d| d.auc));
    if low <= high {
        lines.push(format!(
            "Units of a network trained from another seed score against those of this one with AUCs from {low:.2} to \
             {high:.2}. Both networks are honest, but they are not the same: where this is far from 0.5, the detector's \
             scores can't be compared between networks."
        ));
    }
    lines
}

fn done(manifest: &Manifest, data: &Data) -> String {
    let settings = &manifest.config["experiment"]["detect"];
    let optimization = &manifest.config["experiment"]["visualization"]["optimization"];
    let layers = unique(data.cases.iter().map(|case| case.layer.as_str()));
    format!(
        "Each circuit was put into units of {} drawn at random (at most {}, and at most half of the layer), and {} others \
         of the same layer of the same network, or as many as there are, are what the fooled ones are told from. A unit \
         has {} visualizations ({} steps at {} px where the method does not say otherwise); detectors are given {} natural \
         images that no circuit was made with, and know of no circuit.",
        layers.join(", "),
        settings["manipulated"],
        settings["clean"],
        settings["pictures"],
        optimization["steps"],
        optimization["size"],
        settings["natural_images"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_takes_twenty_clean_units() {
        let with = |fewest_clean| Detection {
            network: "n".into(),
            circuit: "c".into(),
            control: false,
            method: "m".into(),
            detector: "d".into(),
            manipulated: 8,
            clean: 40,
            fewest_clean,
            auc: Some(0.9),
            lower: Some(0.8),
            upper: Some(1.0),
            true_positives: Some(0.5),
        };
        // One more unit is above n others once in n + 1 times.
        for (fewest, want) in [(Some(20), "5 %"), (Some(9), "10 %"), (Some(3), "25 %"), (None, "5 %")] {
            assert_eq!(with(fewest).rate(), want);
            assert!(at_rate(&with(fewest)).contains(want));
        }
        assert!(at_rate(&with(Some(9))).contains("9 clean units"));
    }
}
