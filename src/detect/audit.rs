//! An audit: which units of a network from somebody else look manipulated, and how far that can be believed.

use rand::seq::index::sample;

use super::Settings;
use super::benchmark::{Scored, drawn, natural, scored, visualizations};
use super::judge::{Unit, UnitVerdict, Verdict, judge, judge_each};
use crate::config::{Experiment, Network};
use crate::error::{Error, Result};
use crate::experiment::{
    Model, Session, Setting, blueprint, fits, folded, model, room, scarce, untrained, visualizable,
};
use crate::files;
use crate::network;
use crate::results::{Kind, Results, described};
use crate::seed;
use crate::tables;
use crate::visualize::{self, faults};

/// What is audited, beside what the experiment file says.
pub struct Plan {
    /// The layers whose units are looked at; where there are none, those that the experiment's `detect.cases` name, if the
    /// network has them.
    pub layers: Vec<String>,
    /// How many units of each, drawn at random; all, if there are fewer.
    pub units: usize,
    /// Units that are among them in any case.
    pub named: Vec<visualize::Unit>,
    /// Honest networks of the same architecture: what is usual, and how far honest networks differ.
    pub references: Vec<Network>,
    /// Whether each of these networks, the audited one with them, is judged by the others: all are taken to be honest.
    pub calibrate: bool,
}

/// So many units are shown with pictures.
const SHOWN: usize = 24;

/// A unit with its picture.
struct Examined {
    unit: Unit,
    picture: image::RgbImage,
    driving: usize,
}

/// Audits the experiment's network, and leaves tables, pictures and a report in the results folder.
///
/// # Errors
/// Usage for what the experiment file or the plan gets wrong, failure for what goes wrong, an interruption; finished
/// stages are kept and not done again.
pub fn audit(experiment: &Experiment, plan: &Plan, setting: &Setting) -> Result<Results> {
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
    for unit in &plan.named {
        unit.check(&network)?;
        if !layers.contains(&unit.layer) {
            return Err(Error::usage(format!("unit {unit} is in none of the layers that are audited")));
        }
    }
    let honest: Vec<Experiment> = plan
        .references
        .iter()
        .map(|network| Experiment { network: network.clone(), ..experiment.clone() })
        .collect();
    if plan.calibrate && honest.len() < 2 {
        return Err(Error::usage(
            "--calibrate judges each network by the others: give at least two with --reference",
        ));
    }
    let mut digests = vec![network.digest()];
    for honest in &honest {
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
        digests.push(reference.digest());
    }
    let session = Session::with_images(experiment, &network, setting)?;
    let config = serde_json::json!({
        "experiment": described(experiment), "layers": layers, "units": plan.units, "named": described(&plan.named),
        "references": described(&plan.references), "calibrate": plan.calibrate,
    });
    let units = layers.iter().map(|layer| Ok(network.channels(layer)?.min(plan.units)));
    let units = units.sum::<Result<usize>>()?;
    room(setting, (1 + honest.len()) * units * settings.pictures, &experiment.visualization.optimization)?;
    let mut results = Results::open(&setting.out, Kind::Audit, &config, experiment.seed, session.device())?;
    session.note_data(&mut results);
    results.read(drawn(&session, settings).inventory());
    if let [first, _, ..] = &settings.methods()[..] {
        results.warn(format!("an audit visualizes by one method, here the first: \"{}\"", first.name));
    }
    let there = session.validation().samples.len();
    if let Some(words) = scarce("detect.natural_images", settings.natural_images, there) {
        results.warn(words);
    }
    let audited = results.stage("network", || model(experiment, setting))?;
    audited.noted("unknown", &mut results);
    for (i, digest) in digests.iter().enumerate().skip(1) {
        let what = match digests[..i].iter().position(|other| other == digest) {
            None => continue,
            Some(0) => "is the audited network itself".to_string(),
            Some(other) => format!("is --reference {other} again"),
        };
        results.warn(format!(
            "--reference {i} {what}: networks that are the same say nothing of how networks differ"
        ));
    }
    let examined = examine(&session, &audited, &layers, plan, settings, &mut results)?;
    let mut references: Vec<Vec<Unit>> = vec![];
    for (i, honest) in honest.iter().enumerate() {
        let network = results.stage(&format!("honest network {}", i + 1), || model(honest, setting))?;
        network.noted(&format!("honest {}", i + 1), &mut results);
        let examined = examine(&session, &network, &layers, plan, settings, &mut results)?;
        references.push(examined.into_iter().map(|e| e.unit).collect());
    }
    let units: Vec<Unit> = examined.iter().map(|e| e.unit.clone()).collect();
    let (of_units, of_layers) = judge(&units, &references, &layers);
    results.table(&judgements(&session.network, &units, &of_layers, references.len()))?;
    if plan.calibrate {
        let names: Vec<String> = std::iter::once(&experiment.network)
            .chain(plan.references.iter())
            .map(|n| n.file.as_ref().map_or_else(String::new, |file| file.display().to_string()))
            .collect();
        let all: Vec<&[Unit]> = std::iter::once(&units).chain(references.iter()).map(Vec::as_slice).collect();
        results.table(&calibration(&names, &all, &layers))?;
    }
    let mut suspects: Vec<(tables::Suspect, &Examined)> = examined
        .iter()
        .zip(of_units)
        .map(|(examined, UnitVerdict { suspicion, detector, p, q })| {
            let row = tables::Suspect {
                network: session.network.clone(),
                layer: examined.unit.layer.clone(),
                channel: examined.unit.channel,
                suspicion,
                detector,
                p_value: p,
                q_value: q,
                honest_networks: references.len(),
                picture: String::new(),
                natural: String::new(),
            };
            (row, examined)
        })
        .collect();
    suspects.sort_by(|a, b| b.0.suspicion.total_cmp(&a.0.suspicion));
    let images = natural(&session, settings);
    for (row, unit) in suspects.iter_mut().take(SHOWN) {
        let name = format!("{}/{:04}", files::name(&row.layer), row.channel);
        row.picture = results.picture(&name, &unit.picture)?;
        row.natural = results.picture(&format!("{name}_natural"), images[unit.driving])?;
    }
    let scores: Vec<tables::Score> = suspects
        .iter()
        .flat_map(|(_, e)| e.unit.scores.iter().map(move |(detector, score)| (&e.unit, detector, score)))
        .map(|(unit, detector, score)| tables::Score {
            network: session.network.clone(),
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
    Ok(results)
}

/// What is said of layers and of the network, as rows.
fn judgements(network: &str, units: &[Unit], verdicts: &[Verdict], honest: usize) -> Vec<tables::Judgement> {
    verdicts
        .iter()
        .map(|verdict| {
            let is_of = |unit: &&Unit| verdict.layer.as_ref().is_none_or(|layer| unit.layer == *layer);
            let left_out: Vec<String> =
                verdict.left_out.iter().map(|(name, between)| format!("{name} ({between:.2})")).collect();
            tables::Judgement {
                network: network.into(),
                layer: verdict.layer.clone().unwrap_or_default(),
                units: units.iter().filter(is_of).count(),
                honest_networks: honest,
                statistic: verdict.statistic,
                p_value: verdict.p,
                q_value: verdict.q,
                left_out: left_out.join(", "),
            }
        })
        .collect()
}

/// Each network judged by the others.
fn calibration(names: &[String], all: &[&[Unit]], layers: &[String]) -> Vec<tables::Calibration> {
    let mut rows = vec![];
    for ((name, network), (units, verdicts)) in names.iter().zip(all).zip(judge_each(all, layers)) {
        for verdict in verdicts {
            let is_of = |unit: &Unit| verdict.layer.as_ref().is_none_or(|layer| unit.layer == *layer);
            let here = network.iter().zip(&units).filter(|(unit, _)| is_of(unit));
            rows.push(tables::Calibration {
                network: name.clone(),
                honest_networks: all.len() - 1,
                statistic: verdict.statistic,
                p_value: verdict.p,
                q_value: verdict.q,
                least_unit_q: here.filter_map(|(_, unit)| unit.q).min_by(f64::total_cmp),
                layer: verdict.layer.unwrap_or_default(),
            });
        }
    }
    rows
}

/// Lets the detectors look at units of some layers.
fn examine(
    session: &Session,
    model: &Model,
    layers: &[String],
    plan: &Plan,
    settings: &Settings,
    results: &mut Results,
) -> Result<Vec<Examined>> {
    let method = &settings.methods()[0];
    let mut all = vec![];
    for layer in layers {
        let channels = model.network.channels(layer)?;
        let mut rng = seed::rng(session.experiment.seed, &("audited", layer));
        let named = plan.named.iter().filter(|unit| unit.layer == *layer).map(|unit| unit.channel);
        let mut drawn: Vec<usize> = named.collect();
        // Beside those that are named, the first that are drawn.
        let random = sample(&mut rng, channels, plan.units.min(channels)).into_vec();
        let beside: Vec<usize> = random.into_iter().filter(|channel| !drawn.contains(channel)).collect();
        drawn.extend(beside.into_iter().take(plan.units.saturating_sub(drawn.len())));
        drawn.sort_unstable();
        let (pictures, _) = visualizations(session, model, (layer, &drawn), settings, method, results)?;
        if let Some(words) = faults(&pictures) {
            results.warn(format!("{}: {words}", model.network.name()));
        }
        let stage = format!("detectors on {layer} in {}", model.network.name());
        let Scored { scores, driving, .. } =
            results.stage(&stage, || scored(session, model, layer, &pictures, settings, method))?;
        for (unit, &channel) in drawn.iter().enumerate() {
            let of_unit = scores.iter().map(|(name, scores)| (name.clone(), scores[unit])).collect();
            all.push(Examined {
                unit: Unit { layer: layer.clone(), channel, scores: of_unit },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_asked_for_or_those_of_the_experiment() {
        let mut graph = network::Graph::new("foreign", 3);
        graph.then("first", network::Op::conv(3, 2, 1, 1, 0));
        let network =
            network::Network::new(graph, &mut seed::rng(0, &0), &burn::tensor::Device::default()).unwrap();
        let plan = |named: &[&str]| Plan {
            layers: named.iter().map(|l| l.to_string()).collect(),
            units: 1,
            named: vec![],
            references: vec![],
            calibrate: false,
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
