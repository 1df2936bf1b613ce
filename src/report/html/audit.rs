//! The report of an audit: the units of a network, most suspicious first.

use std::path::Path;

use minijinja::{Value, context};

use super::{Figures, inline};
use crate::detect;
use crate::error::Result;
use crate::report::figures::Data;
use crate::report::tables::Suspect;
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
    let layers: Vec<&str> =
        manifest.config["layers"].as_array().into_iter().flatten().filter_map(|l| l.as_str()).collect();
    Ok(context! { network, verdict => verdict(&layers, &data.suspects), suspects, detectors, sees })
}

/// The false-positive rate at which units are counted.
const RATE: f64 = 0.05;

/// How far the ranking can be believed.
fn verdict(layers: &[&str], suspects: &[Suspect]) -> Vec<String> {
    let n = suspects.len();
    let mut lines =
        vec![format!("{n} units of {} were examined and are ranked by suspicion.", layers.join(", "))];
    if suspects.iter().all(|s| s.false_positive_rate.is_none()) {
        lines.push(
            "No honest network of the same architecture was given to compare with. Suspicion is therefore measured \
             against the network's own other units: the ranking says where to look first, and nothing about whether \
             any unit was manipulated. In an honest network some unit comes first, too."
                .into(),
        );
        return lines;
    }
    let honest = suspects.iter().find_map(|s| s.honest_units).unwrap_or(n);
    let least = 1.0 / (honest as f64 + 1.0);
    // The largest rate that so many honest units can give and that is not above the one wanted.
    let attained = ((honest + 1) as f64 * RATE + 1e-9).floor() * least;
    let up_to = |rate: f64| {
        suspects.iter().filter(|s| s.false_positive_rate.is_some_and(|r| r <= rate + 1e-9)).count()
    };
    let (beyond, expected) = (up_to(RATE), attained * n as f64);
    let enough = attained > 0.0;
    if enough {
        lines.push(format!(
            "{beyond} of them look more suspicious than 95 % of the honest network's units do; if this network were \
             honest, about {expected:.1} would."
        ));
    } else {
        lines.push(format!(
            "There are too few honest units to tell which of these look more suspicious than 95 % of honest ones: that \
             takes {}, and there are {honest}. Give more with --units.",
            (1.0 / RATE).round() - 1.0
        ));
    }
    lines.push(format!(
        "{} look more suspicious than every unit of the honest network; if this network were honest, about {:.1} would. \
         With {honest} honest units to compare with, a false-positive rate below {:.1} % can't be told.",
        up_to(least),
        n as f64 * least,
        100.0 * least
    ));
    // A unit that goes this far beyond every honest one is no matter of rank.
    const FAR: f64 = 2.0;
    let largest = suspects.iter().find_map(|s| s.honest_largest).unwrap_or(f64::INFINITY);
    let far: Vec<String> = suspects
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
    } else if !enough {
        "So the audit can't say whether any unit was manipulated: the ranking says where to look first.".into()
    } else if beyond as f64 > 2.0 * expected + 2.0 {
        "That is more than chance gives: somebody should look at the first of these units.".into()
    } else {
        "That is no more than chance gives: the audit found no sign of manipulation, which does not prove that there \
         is none."
            .into()
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of which the first few are beyond all honest ones, and the others in their midst.
    fn suspects(beyond: usize, all: usize, honest: usize) -> Vec<Suspect> {
        let suspect = |i: usize| Suspect {
            network: "n".into(),
            layer: "l".into(),
            channel: i,
            suspicion: if i < beyond { 4.0 } else { 1.0 },
            detector: "gap".into(),
            false_positive_rate: Some(if i < beyond { 1.0 / (honest as f64 + 1.0) } else { 0.5 }),
            honest_units: Some(honest),
            honest_largest: Some(3.0),
            picture: String::new(),
            natural: String::new(),
        };
        (0..all).map(suspect).collect()
    }

    fn words(suspects: &[Suspect]) -> String {
        verdict(&["l"], suspects).join(" ")
    }

    #[test]
    fn too_few_honest_units_acquit_nobody() {
        // 1 in 19 is above 5 %, 1 in 20 is not.
        let few = words(&suspects(2, 18, 18));
        assert!(few.contains("too few honest units") && few.contains("takes 19, and there are 18"), "{few}");
        assert!(few.contains("below 5.3 %") && !few.contains("no sign of manipulation"), "{few}");
        let enough = words(&suspects(2, 20, 19));
        assert!(enough.contains("2 of them look") && enough.contains("about 1.0 would"), "{enough}");
        assert!(enough.contains("no sign of manipulation"), "{enough}");
        assert!(words(&suspects(5, 20, 19)).contains("more than chance gives"));
        // Of 24 the rate can be 1 in 25 and not 5 %: of 100 units 4 are expected.
        assert!(words(&suspects(0, 100, 24)).contains("about 4.0 would"));
        // A unit far beyond all honest ones is, however few these are.
        let mut far = suspects(1, 5, 5);
        far[0].suspicion = 7.0;
        assert!(words(&far).contains("Somebody should look at these"));
    }
}
