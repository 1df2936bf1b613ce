//! The benchmark: circuits against detectors, for each way of visualizing.

use std::sync::OnceLock;
use std::time::Instant;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::roc::{self, Stratum};
use super::{Detector, Method, Pictured, Settings, Subject, mean};
use crate::bounds::distinct;
use crate::circuit::Circuit;
use crate::circuit::gate::Target;
use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::files;
use crate::network::Network;
use crate::path::Metric;
use crate::report::tables::{self, CLEAN, FOOLED, OTHER};
use crate::report::{Manifest, Results, described, unique};
use crate::sanity_check::{Model, Run, Setting, blueprint, model, room, scarce, visualizable};
use crate::seed;
use crate::visualize::{Request, Visualization, faults, milestones};

/// What the controls are called in tables.
pub const CLEAN_AGAINST_CLEAN: &str = "clean against clean";
pub const PERMUTED_LABELS: &str = "labels permuted";
pub const ANOTHER_SEED: &str = "another seed";

/// The share of false positives at which finds are counted.
const RATE: f64 = 0.05;

/// How often labels are permuted.
pub const PERMUTATIONS: usize = 200;

/// How many fooled units of a layer are exhibited.
const EXHIBITS: usize = 4;

/// The units of a layer that are looked at.
#[derive(Clone, Debug, PartialEq)]
struct Drawn {
    layer: String,
    manipulated: Vec<usize>,
    clean: Vec<usize>,
}

impl Drawn {
    /// At random: those that circuits fool, and others.
    fn draw(network: &Network, layer: &str, settings: &Settings, seed: u64) -> Result<Self> {
        let channels = network.channels(layer)?;
        if channels < 2 {
            return Err(Error::usage(format!(
                "detect: layer {layer} has one unit; the benchmark sets fooled units against others of their layer"
            )));
        }
        let mut rng = seed::rng(seed, &("detected units", layer));
        let order = rand::seq::index::sample(&mut rng, channels, channels).into_vec();
        let fooled = settings.manipulated.min(channels / 2);
        let manipulated = order[..fooled].to_vec();
        let clean = order[fooled..].iter().copied().take(settings.clean).collect();
        Ok(Self { layer: layer.into(), manipulated, clean })
    }

    fn all(&self) -> Vec<usize> {
        self.manipulated.iter().chain(&self.clean).copied().collect()
    }
}

/// A circuit in a layer.
struct Placed {
    /// The circuit's own name; `circuit` is named after the layer, too.
    name: String,
    units: Drawn,
    circuit: Circuit,
}

/// What all detectors make of some units of a layer.
#[derive(Serialize, Deserialize)]
pub(super) struct Scored {
    /// Detector by detector, in the order of the units.
    pub scores: Vec<(String, Vec<Option<f64>>)>,
    /// For each unit the natural image that drives it most, by position.
    pub driving: Vec<usize>,
    /// What each part of the work took.
    seconds: Vec<(String, f64)>,
}

/// Runs the benchmark and leaves its tables, pictures, figures and report in the results folder. `circuits` come with
/// the layers that each is put in.
///
/// # Errors
/// Usage for what the experiment file gets wrong, failure for what goes wrong, an interruption; finished stages are
/// kept and not done again.
pub fn run(
    experiment: &Experiment,
    circuits: &[(Circuit, Vec<String>)],
    setting: &Setting,
) -> Result<Manifest> {
    let settings = experiment.detect.as_ref().filter(|s| !s.cases.is_empty());
    let settings = settings.ok_or_else(|| {
        Error::usage("the experiment has no [[detect.cases]]: name circuits, and the layers to put them in")
    })?;
    let network = blueprint(experiment, setting)?;
    let drawn: Vec<Drawn> = settings
        .layers()
        .iter()
        .map(|layer| Drawn::draw(&network, layer, settings, experiment.seed))
        .collect::<Result<_>>()?;
    let names: Vec<&str> = circuits.iter().map(|(circuit, _)| circuit.name()).collect();
    distinct("the circuits of detect.cases", &names).map_err(Error::usage)?;
    if let Some(taken) = names.iter().find(|name| **name == CLEAN) {
        return Err(Error::usage(format!(
            "detect.cases: a circuit is called \"{taken}\", as the honest network is"
        )));
    }
    for method in settings.methods() {
        let optimization = method.settings(&experiment.visualization.optimization);
        for drawn in &drawn {
            visualizable(&optimization, &network, &drawn.layer)?;
        }
    }
    let mut placed = vec![];
    for (circuit, layers) in circuits {
        for layer in layers {
            let units =
                drawn.iter().find(|d| d.layer == *layer).expect("every case's layer was drawn for").clone();
            let name = format!("{}-{}", circuit.name(), files::name(layer));
            let there = circuit.at(name, layer, units.manipulated.clone(), units.all());
            placed.push(Placed { name: circuit.name().into(), units, circuit: there });
        }
    }
    let all: Vec<Circuit> = placed.iter().map(|p| p.circuit.clone()).collect();
    let mut run = Run::prepare(experiment, &all, setting)?;
    let units: usize = drawn.iter().map(|d| d.manipulated.len() + d.clean.len()).sum();
    let pictures = units * settings.pictures * settings.methods().len() * (2 + circuits.len());
    room(setting, pictures, &experiment.visualization.optimization)?;
    let config = serde_json::json!({ "experiment": described(experiment), "circuits": described(&circuits) });
    let mut results = Results::open(&setting.out, &config, experiment.seed, run.device())?;
    run.note_data(&mut results);
    let mut benchmark = Benchmark::new(settings);

    for (there, key) in [
        (!experiment.circuits.is_empty(), "circuits"),
        (!experiment.hidden.is_empty(), "[[hidden]]"),
        (experiment.audit.is_some(), "[audit]"),
    ] {
        if there {
            results.warn(format!(
                "{key} of the experiment is for `sanity-check`: `detect` does nothing with it"
            ));
        }
    }
    for drawn in &drawn {
        let wanted = [settings.manipulated, settings.clean];
        let got = [drawn.manipulated.len(), drawn.clean.len()];
        if got != wanted {
            results.warn(format!(
                "of {} {} units are fooled and {} are others, not {} and {}: it has no more",
                drawn.layer, got[0], got[1], wanted[0], wanted[1]
            ));
        }
    }
    let there = run.validation().samples.len();
    if let Some(words) = scarce("detect.natural_images", settings.natural_images, there) {
        results.warn(words);
    }
    let clean = results.stage("network", || model(experiment, setting))?;
    clean.noted(CLEAN, &mut results);
    run.accuracy(&clean, CLEAN, None, &mut results)?;
    let measured = experiment.data.validation.to_string();
    let top1 =
        |run: &Run| run.accuracy.iter().rev().find(|a| a.dataset == measured).map_or(f64::NAN, |a| a.top1);
    let before = top1(&run);
    let methods = settings.methods();
    let mut honest: Vec<Vec<Vec<Visualization>>> = vec![];
    for method in &methods {
        let mut of_method = vec![];
        for units in &drawn {
            let look = Look { model: &clean, circuit: CLEAN, units, method };
            of_method.push(benchmark.look(&run, &look, &mut results)?);
        }
        honest.push(of_method);
    }
    for placed in &placed {
        let at = drawn.iter().position(|d| *d == placed.units).expect("it is one of them");
        let fooled = run.manipulate(&clean, &placed.circuit, &honest[0][at], &mut results)?;
        results.network(placed.circuit.name(), &fooled.model.network)?;
        fooled.model.noted(placed.circuit.name(), &mut results);
        run.accuracy(&fooled.model, placed.circuit.name(), fooled.switch.as_deref(), &mut results)?;
        let after = top1(&run);
        for (method, honest) in methods.iter().zip(&honest) {
            let look = Look { model: &fooled.model, circuit: &placed.name, units: &placed.units, method };
            let pictures = benchmark.look(&run, &look, &mut results)?;
            let manipulated =
                |v: &&Visualization| placed.units.manipulated.contains(&v.request.objective.unit.channel);
            let shown: Vec<&Visualization> = pictures.iter().filter(manipulated).collect();
            let images: Vec<&RgbImage> = shown.iter().map(|v| v.image()).collect();
            let on = run.switched(&fooled.model.network, fooled.switch.as_deref(), &images)?;
            let like_honest = shown.iter().filter_map(|v| {
                let same = honest[at].iter().find(|h| h.request == v.request)?;
                like(v.image(), same.image())
            });
            let like_target =
                shown.iter().filter_map(|v| match fooled.target(v.request.objective.unit.channel) {
                    Target::Picture(p) => {
                        let (w, h) = v.image().dimensions();
                        let filter = image::imageops::FilterType::Triangle;
                        like(v.image(), &image::imageops::resize(&fooled.pictures[p].1, w, h, filter))
                    }
                    Target::Unit(_) => None,
                });
            benchmark.cases.push(tables::Case {
                network: run.network.clone(),
                circuit: placed.name.clone(),
                layer: placed.units.layer.clone(),
                method: method.name.clone(),
                manipulated: placed.units.manipulated.len(),
                clean: placed.units.clean.len(),
                top1_before: before,
                top1_after: after,
                switched: fooled
                    .switch
                    .as_ref()
                    .and_then(|_| mean(on.iter().map(|on| f64::from(u8::from(*on))))),
                like_honest: mean(like_honest),
                like_target: mean(like_target),
            });
        }
    }
    if !settings.another_seed {
        results.warn(format!("no control \"{ANOTHER_SEED}\": detect.another_seed is off"));
    } else if let Some(other) = other_seed(experiment) {
        let other = results.stage("the network of another seed", || model(&other, setting))?;
        other.noted(ANOTHER_SEED, &mut results);
        for method in &methods {
            for units in &drawn {
                let look = Look { model: &other, circuit: ANOTHER_SEED, units, method };
                benchmark.look(&run, &look, &mut results)?;
            }
        }
    } else {
        results.warn(format!(
            "no control \"{ANOTHER_SEED}\": the network comes with its weights, so it can't be trained again"
        ));
    }
    benchmark.write(&run, experiment.seed, &mut results)?;
    results.complete(crate::report::draw)
}

/// The experiment with another seed, where its network is trained.
fn other_seed(experiment: &Experiment) -> Option<Experiment> {
    let trained = experiment.network.file.is_none() && experiment.network.weights.is_none();
    trained.then(|| Experiment { seed: experiment.seed.wrapping_add(1), ..experiment.clone() })
}

/// Correlation of the pixels of two pictures of one size.
fn like(a: &RgbImage, b: &RgbImage) -> Option<f64> {
    let [a, b] = [a, b].map(|p| p.as_raw().iter().map(|&v| f32::from(v)).collect::<Vec<f32>>());
    Metric::Pearson.similarity(&a, &b)
}

/// The visualizations of units, unit by unit, and the seconds that making one took; `None` where none was made by this
/// run or an earlier one of the same units.
pub(super) fn visualizations(
    run: &Run,
    model: &Model,
    (layer, channels): (&str, &[usize]),
    settings: &Settings,
    method: &Method,
    results: &mut Results,
) -> Result<(Vec<Visualization>, Option<f64>)> {
    let requests: Vec<Request> = channels
        .iter()
        .flat_map(|&channel| (0..settings.pictures).map(move |i| (channel, i)))
        .map(|(channel, i)| run.request(layer, channel, i))
        .collect();
    let optimization = method.settings(&run.experiment.visualization.optimization);
    let stage = format!("visualizations of {layer} in {} ({})", model.network.name(), method.name);
    let milestones = milestones(optimization.steps);
    let Experiment { preprocessing, seed, .. } = run.experiment;
    let cache = &run.setting.cache;
    results.stage(&stage, || {
        // Pictures that are there already, since an earlier run made them, cost nothing now: they don't count.
        let missing = run.missing(model, &requests, &optimization, &milestones).len();
        let start = Instant::now();
        let pictures = run.visualize(model, &requests, &optimization, &milestones)?;
        let each = start.elapsed().as_secs_f64() / missing.max(1) as f64;
        let of = (&model.key, &requests, &optimization, preprocessing, seed, run.device());
        let known = missing > 0 || cache.has("seconds-per-picture", &of, "json");
        let seconds = known.then(|| run.cached_json("seconds-per-picture", &of, || Ok(each))).transpose()?;
        Ok((pictures, seconds))
    })
}

/// What detectors say of some units of a layer, kept in the cache.
pub(super) fn scored(
    run: &Run,
    model: &Model,
    layer: &str,
    pictures: &[Visualization],
    settings: &Settings,
    method: &Method,
) -> Result<Scored> {
    let detectors: Vec<&dyn Detector> = settings.detectors()?;
    let names: Vec<&str> = detectors.iter().map(|d| d.name()).collect();
    let requests: Vec<&Request> = pictures.iter().map(|v| &v.request).collect();
    let Experiment { preprocessing, visualization, data, seed, .. } = run.experiment;
    let of = (
        (&model.key, layer, requests, names, method.settings(&visualization.optimization)),
        (
            preprocessing,
            visualization.focus,
            run.identity(&data.validation),
            settings.natural_images,
            seed,
            run.device(),
        ),
        program(),
    );
    run.cached_json("scores", &of, || {
        let units = pictured(pictures);
        let natural = natural(run, settings);
        let mut seconds = vec![];
        let start = Instant::now();
        let subject = Subject::observe(
            &model.network,
            preprocessing,
            &run.setting.executor,
            visualization.focus,
            layer,
            &units,
            &natural,
        )?;
        seconds.push(("natural images".to_string(), start.elapsed().as_secs_f64()));
        let mut scores = vec![];
        for detector in &detectors {
            let start = Instant::now();
            scores.push((detector.name().to_string(), detector.score(&subject)?));
            seconds.push((detector.name().to_string(), start.elapsed().as_secs_f64()));
        }
        let driving = (0..units.len()).map(|unit| subject.most_driving(unit, 1)[0]).collect();
        Ok(Scored { scores, driving, seconds })
    })
}

/// The hash of this program: a detector that was changed scores anew.
fn program() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let bytes = std::env::current_exe().and_then(std::fs::read).unwrap_or_default();
        blake3::hash(&bytes).to_hex().to_string()
    })
}

/// The natural images that detectors are given: so many of the validation set, drawn from each class alike.
pub(super) fn natural<'r>(run: &'r Run, settings: &Settings) -> Vec<&'r RgbImage> {
    let set = run.validation();
    let mut rng = seed::rng(run.experiment.seed, &"natural images of detectors");
    set.draw(settings.natural_images, &mut rng).into_iter().map(|i| &set.samples[i].image).collect()
}

fn pictured(pictures: &[Visualization]) -> Vec<Pictured> {
    pictures
        .chunk_by(|a, b| a.request.objective.unit == b.request.objective.unit)
        .map(|of_unit| Pictured {
            channel: of_unit[0].request.objective.unit.channel,
            pictures: of_unit.iter().map(|v| v.image().clone()).collect(),
            reached: of_unit.iter().map(|v| v.last().activation).collect(),
        })
        .collect()
}

/// Units of a layer of a network, for the detectors to look at.
struct Look<'a> {
    model: &'a Model,
    circuit: &'a str,
    units: &'a Drawn,
    method: &'a Method,
}

/// The rows that are written.
struct Benchmark<'a> {
    settings: &'a Settings,
    scores: Vec<tables::Score>,
    cases: Vec<tables::Case>,
    exhibits: Vec<tables::Exhibit>,
    cost: Vec<tables::Cost>,
}

impl<'a> Benchmark<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self { settings, scores: vec![], cases: vec![], exhibits: vec![], cost: vec![] }
    }

    /// Visualizes the units and lets the detectors look at them; gives the visualizations.
    fn look(&mut self, run: &Run, look: &Look, results: &mut Results) -> Result<Vec<Visualization>> {
        let &Look { model, circuit, units, method } = look;
        let channels = units.all();
        let of = (units.layer.as_str(), channels.as_slice());
        let (pictures, seconds) = visualizations(run, model, of, self.settings, method, results)?;
        let stage = format!("detectors on {} of {circuit} ({})", units.layer, method.name);
        let scored =
            results.stage(&stage, || scored(run, model, &units.layer, &pictures, self.settings, method))?;
        for (detector, scores) in scored.scores {
            for (&channel, score) in channels.iter().zip(scores) {
                self.scores.push(tables::Score {
                    network: run.network.clone(),
                    circuit: circuit.into(),
                    layer: units.layer.clone(),
                    channel,
                    manipulated: units.manipulated.contains(&channel)
                        && ![CLEAN, ANOTHER_SEED].contains(&circuit),
                    group: if units.manipulated.contains(&channel) { FOOLED } else { OTHER }.into(),
                    method: method.name.clone(),
                    detector: detector.clone(),
                    score,
                });
            }
        }
        let each = seconds.map(|seconds| seconds * self.settings.pictures as f64);
        let scored_each = scored.seconds.into_iter().map(|(what, s)| (what, Some(s / channels.len() as f64)));
        for (what, seconds_per_unit) in
            std::iter::once(("visualizations".to_string(), each)).chain(scored_each)
        {
            self.cost.push(tables::Cost {
                network: run.network.clone(),
                circuit: circuit.into(),
                layer: units.layer.clone(),
                method: method.name.clone(),
                what,
                units: channels.len(),
                seconds_per_unit,
            });
        }
        if let Some(words) = faults(&pictures) {
            results.warn(format!("{circuit}, method {}: {words}", method.name));
        }
        for picture in pictures.iter().filter(|v| v.request.index == 0) {
            let channel = picture.request.objective.unit.channel;
            if circuit != ANOTHER_SEED && units.manipulated.iter().take(EXHIBITS).any(|c| *c == channel) {
                let name = format!("{circuit}/{}/{}/{channel:04}", files::name(&units.layer), method.name);
                self.exhibits.push(tables::Exhibit {
                    circuit: circuit.into(),
                    layer: units.layer.clone(),
                    channel,
                    manipulated: circuit != CLEAN,
                    method: method.name.clone(),
                    picture: results.picture(&name, picture.image())?,
                });
            }
        }
        Ok(pictures)
    }

    fn write(&self, run: &Run, seed: u64, results: &mut Results) -> Result<()> {
        results.table(&run.accuracy)?;
        results.table(&run.gate)?;
        results.table(&self.scores)?;
        results.table(&detections(&self.scores, self.settings.bootstrap, seed))?;
        results.table(&self.cases)?;
        results.table(&self.exhibits)?;
        results.table(&self.cost)
    }
}

/// How well each detector tells each circuit's units from others, and how well it does where there is nothing to tell.
fn detections(scores: &[tables::Score], bootstrap: usize, seed: u64) -> Vec<tables::Detection> {
    let mut rows = vec![];
    let circuits =
        unique(scores.iter().map(|s| s.circuit.as_str()).filter(|c| ![CLEAN, ANOTHER_SEED].contains(c)));
    let Some(network) = scores.first().map(|s| s.network.clone()) else {
        return rows;
    };
    for method in unique(scores.iter().map(|s| s.method.as_str())) {
        for detector in unique(scores.iter().map(|s| s.detector.as_str())) {
            let here: Vec<&tables::Score> =
                scores.iter().filter(|s| s.method == method && s.detector == detector).collect();
            let layers = unique(here.iter().map(|s| s.layer.as_str()));
            let stratum = |circuit: &str, layer: &str| -> Stratum {
                let of = |group: &str| {
                    let wanted =
                        |s: &&&tables::Score| s.circuit == circuit && s.layer == layer && s.group == group;
                    here.iter().filter(wanted).map(|s| s.score).collect()
                };
                Stratum { manipulated: of(FOOLED), clean: of(OTHER) }
            };
            let strata =
                |circuit: &str| layers.iter().map(|layer| stratum(circuit, layer)).collect::<Vec<_>>();
            let mut cells: Vec<(&str, bool, Vec<Stratum>)> =
                circuits.iter().map(|&circuit| (circuit, false, strata(circuit))).collect();
            cells.push((CLEAN_AGAINST_CLEAN, true, strata(CLEAN)));
            cells.push((PERMUTED_LABELS, true, circuits.iter().flat_map(|&c| strata(c)).collect()));
            let other: Vec<Stratum> = layers
                .iter()
                .map(|layer| {
                    let [other, clean] = [ANOTHER_SEED, CLEAN].map(|c| stratum(c, layer));
                    let all = |s: Stratum| s.manipulated.into_iter().chain(s.clean).collect();
                    Stratum { manipulated: all(other), clean: all(clean) }
                })
                .collect();
            cells.push((ANOTHER_SEED, true, other));
            for (circuit, control, strata) in cells {
                let (auc, interval, true_positives) = if circuit == PERMUTED_LABELS {
                    let mut rng = seed::rng(seed, &("permuted labels", method, detector));
                    let Some(null) = roc::null(&strata, PERMUTATIONS, RATE, &mut rng) else { continue };
                    (null.auc, Some(null.interval), Some(null.true_positives))
                } else {
                    let mut rng = seed::rng(seed, &("bootstrap", circuit, method, detector));
                    let Some(auc) = roc::auc(&strata) else { continue };
                    let interval = roc::interval(&strata, bootstrap, &mut rng);
                    (auc, interval, roc::true_positives_at(&strata, RATE))
                };
                let compared = || strata.iter().filter(|s| !s.manipulated.is_empty()).map(|s| s.clean.len());
                rows.push(tables::Detection {
                    network: network.clone(),
                    circuit: circuit.into(),
                    control,
                    method: method.into(),
                    detector: detector.into(),
                    manipulated: strata.iter().map(|s| s.manipulated.len()).sum(),
                    clean: compared().sum(),
                    fewest_clean: compared().min(),
                    auc: Some(auc),
                    lower: interval.map(|(low, _)| low),
                    upper: interval.map(|(_, high)| high),
                    true_positives,
                });
            }
        }
    }
    rows
}
