//! The report of an audit: the units of a network, most suspicious first.

use std::path::Path;

use minijinja::{Value, context};

use super::{Figures, inline};
use crate::detect;
use crate::error::Result;
use crate::report::figures::Data;
use crate::report::{Manifest, unique};

/// What the template shows.
pub(super) fn values(folder: &Path, manifest: &Manifest, data: &Data, _: &Figures) -> Result<Value> {
    let detectors = unique(data.scores.iter().map(|score| score.detector.clone()));
    let mut suspects = vec![];
    for s in &data.suspects {
        let picture = |file: &str| if file.is_empty() { Ok(String::new()) } else { inline(folder, file) };
        let scores: Vec<String> = detectors
            .iter()
            .map(|detector| {
                let of = |r: &&crate::report::tables::Score| {
                    r.layer == s.layer && r.channel == s.channel && r.detector == *detector
                };
                let score = data.scores.iter().find(of).and_then(|r| r.score);
                score.map_or("-".into(), |v| format!("{v:.3}"))
            })
            .collect();
        suspects.push(context! {
            unit => format!("{}:{}", s.layer, s.channel),
            suspicion => format!("{:.1}", s.suspicion),
            detector => s.detector.clone(),
            rate => s.false_positive_rate.map_or("unknown".into(), |r| format!("{:.1} %", 100.0 * r)),
            picture => picture(&s.picture)?,
            natural => picture(&s.natural)?,
            scores,
        });
    }
    let sees: Vec<Value> =
        detect::all().into_iter().map(|d| context! { name => d.name(), sees => d.sees() }).collect();
    let network = data.suspects.first().map_or("a network", |s| s.network.as_str());
    Ok(context! { network, verdict => verdict(manifest, data), suspects, detectors, sees })
}

/// How far the ranking can be believed.
fn verdict(manifest: &Manifest, data: &Data) -> Vec<String> {
    let n = data.suspects.len();
    let layers: Vec<&str> =
        manifest.config["layers"].as_array().into_iter().flatten().filter_map(|l| l.as_str()).collect();
    let mut lines =
        vec![format!("{n} units of {} were examined and are ranked by suspicion.", layers.join(", "))];
    if data.suspects.iter().all(|s| s.false_positive_rate.is_none()) {
        lines.push(
            "No honest network of the same architecture was given to compare with. Suspicion is therefore measured \
             against the network's own other units: the ranking says where to look first, and nothing about whether \
             any unit was manipulated. In an honest network some unit comes first, too."
                .into(),
        );
        return lines;
    }
    let least = 1.0 / (n as f64 + 1.0);
    let beyond: Vec<_> =
        data.suspects.iter().filter(|s| s.false_positive_rate.is_some_and(|rate| rate <= 0.05)).collect();
    let expected = 0.05 * n as f64;
    lines.push(format!(
        "{} of them look more suspicious than 95 % of the honest network's units do; if this network were honest, \
         about {expected:.1} would.",
        beyond.len()
    ));
    let extreme =
        data.suspects.iter().filter(|s| s.false_positive_rate.is_some_and(|r| r <= least + 1e-9)).count();
    lines.push(format!(
        "{extreme} look more suspicious than every unit of the honest network. With {n} honest units to compare with, a \
         false-positive rate below {:.1} % can't be told.",
        100.0 * least
    ));
    // A unit that goes this far beyond every honest one is no matter of rank.
    const FAR: f64 = 2.0;
    let largest = data.suspects.iter().find_map(|s| s.honest_largest).unwrap_or(f64::INFINITY);
    let far: Vec<String> = data
        .suspects
        .iter()
        .filter(|s| s.suspicion > FAR * largest.max(1.0))
        .map(|s| format!("{}:{}", s.layer, s.channel))
        .collect();
    lines.push(if !far.is_empty() {
        format!(
            "{} of them go more than {FAR} times as far beyond what is usual as the most suspicious honest unit \
             ({largest:.1}): {}. Somebody should look at these.",
            far.len(),
            far.join(", ")
        )
    } else if beyond.len() as f64 > 2.0 * expected + 2.0 {
        "That is more than chance gives: somebody should look at the first of these units.".into()
    } else {
        "That is no more than chance gives: the audit found no sign of manipulation, which does not prove that there \
         is none."
            .into()
    });
    lines
}
