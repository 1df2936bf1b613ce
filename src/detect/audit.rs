//! An audit: which units of a network from somebody else look manipulated, and how far that can be believed.

use rand::seq::index::sample;

use super::Settings;
use super::benchmark::{Scored, natural, scored, visualizations};
use crate::config::{Experiment, Network};
use crate::error::{Error, Result};
use crate::report::tables;
use crate::report::{Manifest, Results};
use crate::sanity_check::{Model, Run, Setting, model, untrained};
use crate::seed;

/// What is audited, beside what the experiment file says.
pub struct Plan {
    /// The layers whose units are looked at; where there are none, those that the experiment's `detect.cases` name.
    pub layers: Vec<String>,
    /// How many units of each, drawn at random; all, if there are fewer.
    pub units: usize,
    /// An honest network that says what is usual.
    pub reference: Option<Network>,
}

/// So many units are shown with pictures.
const SHOWN: usize = 24;

/// A unit and what each detector makes of it.
struct Examined {
    layer: String,
    channel: usize,
    scores: Vec<(String, Option<f64>)>,
    picture: image::RgbImage,
    driving: usize,
}

/// Audits the experiment's network, and leaves tables, pictures and a report in the results folder.
///
/// # Errors
/// Usage for what the experiment file or the plan gets wrong, failure for what goes wrong, an interruption; finished
/// stages are kept and not done again.
pub fn audit(experiment: &Experiment, plan: &Plan, setting: &Setting) -> Result<Manifest> {
    let default = Settings::default();
    let settings = experiment.detect.as_ref().unwrap_or(&default);
    let layers = if plan.layers.is_empty() { settings.layers() } else { plan.layers.clone() };
    if layers.is_empty() {
        return Err(Error::usage("no layers to audit: name some with --layers"));
    }
    let network = untrained(experiment, setting)?.fold_batch_norm();
    for layer in &layers {
        network.channels(layer)?;
    }
    let run = Run::prepare(experiment, &[], setting)?;
    let config = serde_json::json!({
        "experiment": experiment, "layers": layers, "units": plan.units, "reference": plan.reference,
    });
    let mut results = Results::open(&setting.out, config, experiment.seed, run.device())?;
    let audited = results.stage("network", || model(experiment, setting))?;
    let examined = examine(&run, &audited, &layers, plan.units, settings, &mut results)?;
    let reference = match &plan.reference {
        None => None,
        Some(network) => {
            let honest = Experiment { network: network.clone(), ..experiment.clone() };
            let honest = results.stage("the honest network", || model(&honest, setting))?;
            Some(examine(&run, &honest, &layers, plan.units, settings, &mut results)?)
        }
    };
    let usual = Usual::of(reference.as_deref().unwrap_or(&examined));
    let honest: Option<Vec<f64>> = reference
        .map(|units| units.iter().map(|unit| usual.suspicion(unit).map_or(0.0, |(s, _)| s)).collect());
    let mut suspects: Vec<(tables::Suspect, &Examined)> = examined
        .iter()
        .map(|unit| {
            let (suspicion, detector) = usual.suspicion(unit).unwrap_or((0.0, String::new()));
            let row = tables::Suspect {
                network: run.network.clone(),
                layer: unit.layer.clone(),
                channel: unit.channel,
                suspicion,
                detector,
                // The unit itself might be the next honest one: with n of them, none can be rarer than 1 in n + 1.
                false_positive_rate: honest.as_ref().map(|honest| {
                    let as_much = honest.iter().filter(|s| **s >= suspicion).count();
                    (as_much + 1) as f64 / (honest.len() + 1) as f64
                }),
                honest_largest: honest.as_ref().and_then(|h| h.iter().copied().max_by(f64::total_cmp)),
                picture: String::new(),
                natural: String::new(),
            };
            (row, unit)
        })
        .collect();
    suspects.sort_by(|a, b| b.0.suspicion.total_cmp(&a.0.suspicion));
    let images = natural(&run, settings);
    for (row, unit) in suspects.iter_mut().take(SHOWN) {
        let name = format!("{}/{:04}", unit.layer.replace('/', "_"), unit.channel);
        row.picture = results.picture(&name, &unit.picture)?;
        row.natural = results.picture(&format!("{name}_natural"), images[unit.driving])?;
    }
    let scores: Vec<tables::Score> = suspects
        .iter()
        .flat_map(|(_, unit)| unit.scores.iter().map(move |(detector, score)| (unit, detector, score)))
        .map(|(unit, detector, score)| tables::Score {
            network: run.network.clone(),
            circuit: "unknown".into(),
            layer: unit.layer.clone(),
            channel: unit.channel,
            manipulated: false,
            method: settings.methods()[0].name.clone(),
            detector: detector.clone(),
            score: *score,
        })
        .collect();
    let suspects: Vec<tables::Suspect> = suspects.into_iter().map(|(row, _)| row).collect();
    tables::write(results.folder(), &suspects)?;
    tables::write(results.folder(), &scores)?;
    let folder = results.folder().to_path_buf();
    let manifest = results.complete()?;
    crate::report::draw(&folder)?;
    Ok(manifest)
}

/// Lets the detectors look at units of some layers.
fn examine(
    run: &Run,
    model: &Model,
    layers: &[String],
    units: usize,
    settings: &Settings,
    results: &mut Results,
) -> Result<Vec<Examined>> {
    let method = &settings.methods()[0];
    let mut all = vec![];
    for layer in layers {
        let channels = model.network.channels(layer)?;
        let mut rng = seed::rng(run.experiment.seed, &("audited", layer));
        let mut drawn = sample(&mut rng, channels, units.min(channels)).into_vec();
        drawn.sort_unstable();
        let (pictures, _) = visualizations(run, model, (layer, &drawn), settings, method, results)?;
        let stage = format!("detectors on {layer} in {}", model.network.name());
        let Scored { scores, driving, .. } =
            results.stage(&stage, || scored(run, model, layer, &pictures, settings, method))?;
        for (unit, &channel) in drawn.iter().enumerate() {
            all.push(Examined {
                layer: layer.clone(),
                channel,
                scores: scores.iter().map(|(name, scores)| (name.clone(), scores[unit])).collect(),
                picture: pictures[unit * settings.pictures].image().clone(),
                driving: driving[unit],
            });
        }
    }
    Ok(all)
}

/// What is usual in each layer, by detector: the median of the scores, and how far they are spread above it.
struct Usual(Vec<(String, String, f64, f64)>);

impl Usual {
    fn of(units: &[Examined]) -> Self {
        let mut all: Vec<(String, String, Vec<f64>)> = vec![];
        for unit in units {
            for (detector, score) in &unit.scores {
                let Some(score) = score else { continue };
                match all.iter_mut().find(|(layer, name, _)| *layer == unit.layer && name == detector) {
                    Some((.., scores)) => scores.push(*score),
                    None => all.push((unit.layer.clone(), detector.clone(), vec![*score])),
                }
            }
        }
        Self(
            all.into_iter()
                .map(|(layer, detector, scores)| {
                    let middle = median(scores.clone());
                    let spread = 1.4826 * median(scores.iter().map(|s| (s - middle).abs()).collect());
                    // Where most units score the same, deviations are measured by their mean.
                    let mean = scores.iter().map(|s| (s - middle).abs()).sum::<f64>() / scores.len() as f64;
                    (layer, detector, middle, spread.max(mean).max(1e-3))
                })
                .collect(),
        )
    }

    /// The largest deviation of a unit's scores upwards, and the detector it is from.
    fn suspicion(&self, unit: &Examined) -> Option<(f64, String)> {
        unit.scores
            .iter()
            .filter_map(|(detector, score)| {
                let (.., middle, spread) =
                    self.0.iter().find(|(layer, name, ..)| *layer == unit.layer && name == detector)?;
                Some((((*score)? - middle) / spread, detector.clone()))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(channel: usize, scores: [Option<f64>; 2]) -> Examined {
        Examined {
            layer: "conv".into(),
            channel,
            scores: [("a".to_string(), scores[0]), ("b".to_string(), scores[1])].into(),
            picture: image::RgbImage::new(1, 1),
            driving: 0,
        }
    }

    #[test]
    fn suspicion_is_the_largest_deviation_from_what_is_usual() {
        // Detector a: median 3, absolute deviations 2, 1, 0, 1, 2, of median 1. Detector b is the same for all.
        let units: Vec<Examined> = (1..=5).map(|i| unit(i, [Some(i as f64), Some(7.0)])).collect();
        let usual = Usual::of(&units);
        let of = |scores| usual.suspicion(&unit(0, scores)).unwrap();
        let (suspicion, detector) = of([Some(3.0 + 1.4826 * 2.0), Some(7.0)]);
        assert!((suspicion - 2.0).abs() < 1e-9 && detector == "a");
        assert_eq!(of([None, Some(7.0)]), (0.0, "b".into()));
        assert!(of([Some(3.0), Some(8.0)]).0 > 100.0);
        assert!(usual.suspicion(&unit(0, [None, None])).is_none());
    }
}
