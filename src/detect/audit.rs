//! An audit: which units of a network from somebody else look manipulated, and how far that can be believed.

use rand::seq::index::sample;

use super::Settings;
use super::benchmark::{Scored, natural, scored, visualizations};
use crate::config::{Experiment, Network};
use crate::error::{Error, Result};
use crate::files;
use crate::network;
use crate::report::tables;
use crate::report::{Manifest, Results, described};
use crate::sanity_check::{
    Model, Run, Setting, blueprint, fits, folded, model, room, scarce, untrained, visualizable,
};
use crate::seed;
use crate::statistics;
use crate::visualize::faults;

/// What is audited, beside what the experiment file says.
pub struct Plan {
    /// The layers whose units are looked at; where there are none, those that the experiment's `detect.cases` name, if the
    /// network has them.
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
    let all = untrained(experiment, setting)?;
    let layers = layers(&all, plan, settings)?;
    let experiment = &Experiment { named: layers.clone(), ..experiment.clone() };
    let network = folded(&all, experiment);
    fits(experiment, &network, &layers)?;
    let optimization = settings.methods()[0].settings(&experiment.visualization.optimization);
    for layer in &layers {
        visualizable(&optimization, &network, layer)?;
    }
    let honest =
        plan.reference.as_ref().map(|network| Experiment { network: network.clone(), ..experiment.clone() });
    let mut itself = false;
    if let Some(honest) = &honest {
        let reference = blueprint(honest, setting)?;
        for layer in &layers {
            let [audited, honest] = [network.channels(layer)?, reference.channels(layer)?];
            if audited != honest {
                return Err(Error::usage(format!(
                    "layer {layer} has {audited} channels in the audited network and {honest} in --reference: they are of \
                     different architectures"
                )));
            }
        }
        fits(honest, &reference, &layers)?;
        for layer in &layers {
            visualizable(&optimization, &reference, layer)?;
        }
        itself = reference.digest() == network.digest();
    }
    let run = Run::with_images(experiment, &network, setting)?;
    let config = serde_json::json!({
        "experiment": described(experiment), "layers": layers, "units": plan.units,
        "reference": described(&plan.reference),
    });
    let units = layers.iter().map(|layer| Ok(network.channels(layer)?.min(plan.units)));
    let units = units.sum::<Result<usize>>()?;
    room(setting, 2 * units * settings.pictures, &experiment.visualization.optimization)?;
    let mut results = Results::open(&setting.out, &config, experiment.seed, run.device())?;
    run.note_data(&mut results);
    if let [first, _, ..] = &settings.methods()[..] {
        results.warn(format!("an audit visualizes by one method, here the first: \"{}\"", first.name));
    }
    let there = run.validation().samples.len();
    if let Some(words) = scarce("detect.natural_images", settings.natural_images, there) {
        results.warn(words);
    }
    let audited = results.stage("network", || model(experiment, setting))?;
    audited.noted("unknown", &mut results);
    if itself {
        results
            .warn("--reference is the audited network itself: its units are set against themselves".into());
    }
    let examined = examine(&run, &audited, &layers, plan.units, settings, &mut results)?;
    let reference = match &honest {
        None => None,
        Some(honest) => {
            let honest = results.stage("the honest network", || model(honest, setting))?;
            honest.noted(tables::CLEAN, &mut results);
            Some(examine(&run, &honest, &layers, plan.units, settings, &mut results)?)
        }
    };
    let usual = Usual::of(reference.as_deref().unwrap_or(&examined).iter());
    let honest: Option<Vec<f64>> = reference.as_deref().map(among_themselves);
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
                honest_units: honest.as_ref().map(Vec::len),
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
        let name = format!("{}/{:04}", files::name(&unit.layer), unit.channel);
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
            group: String::new(),
            method: settings.methods()[0].name.clone(),
            detector: detector.clone(),
            score: *score,
            draw: None,
            honest: None,
        })
        .collect();
    let suspects: Vec<tables::Suspect> = suspects.into_iter().map(|(row, _)| row).collect();
    results.table(&suspects)?;
    results.table(&scores)?;
    results.complete(crate::report::draw)
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
        if let Some(words) = faults(&pictures) {
            results.warn(format!("{}: {words}", model.network.name()));
        }
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

/// The layers to audit: those that were asked for, or that the experiment names and the network has.
fn layers(network: &network::Network, plan: &Plan, settings: &Settings) -> Result<Vec<String>> {
    let all = if plan.layers.is_empty() { settings.layers() } else { plan.layers.clone() };
    let unknown = all.iter().find_map(|layer| network.channels(layer).err());
    match unknown {
        Some(error) if !plan.layers.is_empty() => Err(error),
        Some(error) => Err(Error::usage(format!(
            "name the layers to audit with --layers, since those of the experiment's detect.cases are not this network's: \
             {error}"
        ))),
        None if all.is_empty() => Err(Error::usage(format!(
            "no layers to audit: name some with --layers; `trompe layers` lists the {} of network {}",
            network.graph().layers().count(),
            network.name()
        ))),
        None => Ok(all),
    }
}

/// The suspicion of each honest unit, measured against the others of its layer: a unit that is among what is called usual
/// looks more usual than the next one would. Units that are alone in their layer are left out.
fn among_themselves(units: &[Examined]) -> Vec<f64> {
    units
        .iter()
        .enumerate()
        .filter_map(|(i, unit)| {
            let others = units.iter().enumerate().filter(|(j, other)| *j != i && other.layer == unit.layer);
            let mut others = others.map(|(_, other)| other).peekable();
            others.peek()?;
            Some(Usual::of(others).suspicion(unit).map_or(0.0, |(s, _)| s))
        })
        .collect()
}

/// What is usual in each layer, by detector: the median of the scores, and how far they are spread above it.
struct Usual(Vec<(String, String, f64, f64)>);

impl Usual {
    fn of<'u>(units: impl Iterator<Item = &'u Examined>) -> Self {
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
                    let median = |values: &[f64]| statistics::median(values).expect("there is a score");
                    let middle = median(&scores);
                    let deviations: Vec<f64> = scores.iter().map(|s| (s - middle).abs()).collect();
                    let spread = 1.4826 * median(&deviations);
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

#[cfg(test)]
mod tests {
    use rand::RngExt;

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
        let usual = Usual::of(units.iter());
        let of = |scores| usual.suspicion(&unit(0, scores)).unwrap();
        let (suspicion, detector) = of([Some(3.0 + 1.4826 * 2.0), Some(7.0)]);
        assert!((suspicion - 2.0).abs() < 1e-9 && detector == "a");
        assert_eq!(of([None, Some(7.0)]), (0.0, "b".into()));
        assert!(of([Some(3.0), Some(8.0)]).0 > 100.0);
        assert!(usual.suspicion(&unit(0, [None, None])).is_none());
    }

    /// By hand, and against what a rate has to mean: the next honest unit is as often the most suspicious as any other.
    #[test]
    fn honest_units_are_measured_against_the_others() {
        let four: Vec<Examined> = [1.0, 2.0, 3.0, 10.0].map(|s| unit(0, [Some(s), None])).into();
        // The last against 1, 2, 3: median 2, absolute deviations 1, 0, 1. The first against 2, 3, 10: median 3, absolute
        // deviations 1, 0, 7 of median 1 and mean 8/3.
        let all = among_themselves(&four);
        assert!((all[3] - 8.0 / 1.4826).abs() < 1e-9, "{all:?}");
        assert!((all[0] - -2.0 / (8.0 / 3.0)).abs() < 1e-9, "{all:?}");
        // A unit that is alone in its layer says nothing.
        let alone = Examined { layer: "other".into(), ..unit(0, [Some(1.0), None]) };
        assert!(among_themselves(&[alone]).is_empty());

        let mut rng = seed::rng(1, &"honest units");
        let mut draw = || {
            let sum: f64 = (0..12).map(|_| rng.random::<f64>()).sum();
            unit(0, [Some(sum - 6.0), Some(rng.random())])
        };
        let (runs, n) = (1000, 19);
        let mut least = 0;
        for _ in 0..runs {
            let honest: Vec<Examined> = (0..n).map(|_| draw()).collect();
            let next = Usual::of(honest.iter()).suspicion(&draw()).unwrap().0;
            least += usize::from(among_themselves(&honest).iter().all(|s| *s < next));
        }
        // Once in 20 times.
        let share = least as f64 / runs as f64;
        assert!((share - 0.05).abs() < 0.035, "{share}");
    }

    #[test]
    fn layers_are_asked_for_or_those_of_the_experiment() {
        let mut graph = network::Graph::new("foreign", 3);
        graph.then("first", network::Op::conv(3, 2, 1, 1, 0));
        let network =
            network::Network::new(graph, &mut seed::rng(0, &0), &burn::tensor::Device::default()).unwrap();
        let plan = |named: &[&str]| Plan {
            layers: named.iter().map(|l| l.to_string()).collect(),
            units: 1,
            reference: None,
        };
        let case = |layer: &str| Settings {
            cases: vec![crate::detect::Case {
                circuit: "c.toml".into(),
                layers: vec![layer.into()],
                draws: None,
            }],
            ..Settings::default()
        };
        assert_eq!(layers(&network, &plan(&["first"]), &case("bn4")).unwrap(), ["first"]);
        assert_eq!(layers(&network, &plan(&[]), &case("first")).unwrap(), ["first"]);
        for (named, settings, word) in [
            (vec!["second"], case("first"), "second"),
            (vec![], case("bn4"), "bn4"),
            (vec![], Settings::default(), "no layers"),
        ] {
            let error = layers(&network, &plan(&named), &settings).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("trompe layers"), "{error}");
            assert_eq!(error.contains("--layers"), named.is_empty(), "{error}");
        }
    }
}
