//! The report of an audit: the units of a network, most suspicious first.

use minijinja::{Value, context};

use super::{Content, Report, inline};
use crate::detect;
use crate::error::Result;
use crate::report::summary::audit_words;
use crate::results::Kind;
use crate::tables::unique;

/// The page.
pub(super) struct Page;

impl Report for Page {
    fn kind(&self) -> Kind {
        Kind::Audit
    }

    fn template(&self) -> &'static str {
        include_str!("audit.html")
    }

    fn values(&self, content: &Content<'_>) -> Result<Value> {
        let Content { folder, manifest, data, .. } = content;
        let detectors = unique(data.scores.iter().map(|score| score.detector.clone()));
        let mut suspects = vec![];
        for s in &data.suspects {
            let picture = |file: &str| if file.is_empty() { Ok(String::new()) } else { inline(folder, file) };
            let scores: Vec<String> = detectors
                .iter()
                .map(|detector| {
                    let of = |r: &&crate::tables::Score| {
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
        let layers: Vec<String> = manifest.part("layers")?;
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
}

fn percent(value: Option<f64>) -> String {
    value.map_or("unknown".into(), |v| format!("{:.1} %", 100.0 * v))
}

#[cfg(test)]
mod tests {
    use crate::report::figures::Data;
    use crate::report::summary::audit_words;
    use crate::tables::{self, Calibration, Judgement};

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

    #[test]
    fn what_a_rate_rests_on_is_said() {
        let enough = words(19, 0.05);
        assert!(enough.contains("another seed") && enough.contains("if they are trained as"), "{enough}");
    }

    /// Of four units at 19 networks all have to stand out, of four at 79 one; with fewer than 19 networks nothing is named.
    #[test]
    fn how_many_units_have_to_stand_out_together_is_said() {
        let of = |honest_networks: usize| {
            let folder = tempfile::tempdir().unwrap();
            let row = |layer: &str| Judgement {
                network: "n".into(),
                layer: layer.into(),
                units: 4,
                honest_networks,
                statistic: Some(3.0),
                p_value: Some(0.5),
                q_value: (!layer.is_empty()).then_some(0.5),
                left_out: String::new(),
            };
            tables::write(folder.path(), &[row("conv"), row("")]).unwrap();
            audit_words(&Data::read(folder.path()).unwrap()).join(" ")
        };
        assert!(of(19).contains("at least 4 of a layer's 4"), "{}", of(19));
        assert!(of(39).contains("at least 2 of a layer's 4"), "{}", of(39));
        for networks in [5, 79] {
            assert!(!of(networks).contains("of a layer's"), "{}", of(networks));
        }
    }

    /// Twenty networks, ranked: of that one is the first nothing is made; that a layer of it is named is counted.
    #[test]
    fn ranks_of_networks_judged_by_one_another_are_no_rate() {
        let folder = tempfile::tempdir().unwrap();
        let row = |rank: usize, layer: &str| Calibration {
            network: format!("network {rank}"),
            layer: layer.into(),
            honest_networks: 19,
            statistic: Some(3.0),
            p_value: Some(rank as f64 / 20.0),
            q_value: (!layer.is_empty()).then_some(rank as f64 / 20.0),
            least_unit_q: Some(0.8),
        };
        let rows: Vec<Calibration> = (1..=20).flat_map(|rank| [row(rank, "conv"), row(rank, "")]).collect();
        let judgement = Judgement {
            network: "n".into(),
            layer: String::new(),
            units: 8,
            honest_networks: 19,
            statistic: Some(3.0),
            p_value: Some(0.5),
            q_value: None,
            left_out: String::new(),
        };
        tables::write(folder.path(), &[judgement]).unwrap();
        tables::write(folder.path(), &rows).unwrap();
        let words = audit_words(&Data::read(folder.path()).unwrap()).join(" ");
        assert!(words.contains("1 found suspicious at 5.0 %, first network 1."), "{words}");
        assert!(words.contains("no evidence for the promise"), "{words}");
        // Wilson's interval of 1 of 20 is 0.9 to 23.6 %, of 0 of 20 up to 16.1 %.
        assert!(words.contains("in 1 (1 to 24 %), a unit in 0 (0 to 16 %)"), "{words}");
    }
}
