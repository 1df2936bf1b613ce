//! The report of an audit: the units of a network, most suspicious first.

use std::path::Path;

use minijinja::{Value, context};

use super::{Figures, inline};
use crate::detect;
use crate::error::Result;
use crate::report::figures::Data;
use crate::report::summary::audit_words;
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
            rate => percent(s.p_value),
            over_layer => percent(s.q_value),
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
    let mut verdict = vec![format!(
        "{} units of {} were examined and are ranked by suspicion.",
        suspects.len(),
        layers.join(", ")
    )];
    verdict.extend(audit_words(data));
    let judgements: Vec<Value> = data
        .judgements
        .iter()
        .map(|j| {
            context! {
                layer => if j.layer.is_empty() { "the network".to_string() } else { j.layer.clone() },
                units => j.units,
                honest => j.honest_networks,
                statistic => j.statistic.map_or("-".into(), |v| format!("{v:.1}")),
                p => percent(j.p_value),
                q => if j.layer.is_empty() { String::new() } else { percent(j.q_value) },
                left_out => j.left_out.clone(),
            }
        })
        .collect();
    let calibration: Vec<Value> = data
        .calibration
        .iter()
        .filter(|c| c.layer.is_empty())
        .map(|c| context! { network => c.network.clone(), statistic => c.statistic.map_or("-".into(), |v| format!("{v:.1}")), p => percent(c.p_value) })
        .collect();
    Ok(context! { network, verdict, suspects, detectors, sees, judgements, calibration })
}

fn percent(value: Option<f64>) -> String {
    value.map_or("unknown".into(), |v| format!("{:.1} %", 100.0 * v))
}

#[cfg(test)]
mod tests {
    use crate::report::figures::Data;
    use crate::report::summary::audit_words;
    use crate::report::tables::{self, Judgement};

    fn words(honest_networks: usize, p_value: f64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let whole = Judgement {
            network: "n".into(),
            layer: String::new(),
            units: 16,
            honest_networks,
            statistic: Some(3.0),
            p_value: Some(p_value),
            q_value: None,
            left_out: String::new(),
        };
        tables::write(folder.path(), &[whole]).unwrap();
        audit_words(&Data::read(folder.path()).unwrap()).join(" ")
    }

    #[test]
    fn too_few_honest_networks_acquit_nobody() {
        let few = words(5, 1.0 / 6.0);
        assert!(few.contains("no rate below 16.7 %") && few.contains("takes 19"), "{few}");
        assert!(!few.contains("no sign of manipulation"));
        assert!(words(19, 0.05).contains("somebody should look"));
        assert!(words(19, 0.1).contains("no sign of manipulation"));
        let folder = tempfile::tempdir().unwrap();
        assert!(audit_words(&Data::read(folder.path()).unwrap())[0].contains("nothing about whether"));
    }
}
