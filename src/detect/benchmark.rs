//! The benchmark: circuits against detectors, for each way of visualizing.

use std::sync::OnceLock;
use std::time::Instant;

use crate::progress::Progress;
use image::RgbImage;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::detections::{self, NOISY, OTHER_SEEDS, UNTRAINED, detections};
use super::subject::respond;
use super::{Detector, Method, Pictured, Settings, Subject};
use crate::bounds::distinct;
use crate::circuit::{self, Circuit, Target};
use crate::config::Experiment;
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::experiment::{Model, Session, Setting, blueprint, model, room, scarce, visualizable};
use crate::files;
use crate::network::Network;
use crate::path::{Control, Metric};
use crate::results::{Kind, Results, described};
use crate::seed;
use crate::statistics::mean;
use crate::tables::{self, CLEAN, FOOLED, OTHER};
use crate::visualize::{Request, Visualization, faults, milestones};

/// How many fooled units of a layer are exhibited.
const EXHIBITS: usize = 4;

/// The units of a layer that are looked at.
#[derive(Clone, Debug, PartialEq)]
struct Pool {
    layer: String,
    channels: Vec<usize>,
    /// How many of them are fooled in each draw.
    fooled: usize,
}

impl Pool {
    /// Units at random.
    fn draw(network: &Network, layer: &str, settings: &Settings, seed: u64) -> Result<Self> {
        let channels = network.channels(layer)?;
        if channels < 2 {
            return Err(Error::usage(format!(
                "detect: layer {layer} has one unit; the benchmark sets fooled units against others of their layer"
            )));
        }
        let mut rng = seed::rng(seed, &("detected units", layer));
        let fooled = settings.manipulated.min(channels / 2);
        let all = (fooled + settings.clean).min(channels);
        let channels = rand::seq::index::sample(&mut rng, channels, all).into_vec();
        Ok(Self { layer: layer.into(), channels, fooled })
    }

    /// Which of them are fooled in a draw: the same for every circuit.
    fn fooled(&self, draw: usize, seed: u64) -> Vec<usize> {
        let mut order = self.channels.clone();
        order.shuffle(&mut seed::rng(seed, &("fooled units", &self.layer, draw)));
        order.truncate(self.fooled);
        order
    }

    fn others(&self) -> usize {
        self.channels.len() - self.fooled
    }
}

/// A circuit in a layer, fooling the units of one draw.
struct Placed {
    /// What tables call the circuit.
    name: String,
    /// The place of its layer's pool.
    pool: usize,
    draw: usize,
    fooled: Vec<usize>,
    /// Named after the layer and the draw.
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

/// Runs the benchmark and leaves its tables, pictures, figures and report in the results folder. `circuits` are those of
/// the experiment's `detect.cases`.
///
/// # Errors
/// Usage for what the experiment file gets wrong, failure for what goes wrong, an interruption; finished stages are
/// kept and not done again.
pub fn run(experiment: &Experiment, circuits: &[Circuit], setting: &Setting) -> Result<Results> {
    let settings = experiment.detect.as_ref().filter(|s| !s.cases.is_empty());
    let settings = settings.ok_or_else(|| {
        Error::usage("the experiment has no [[detect.cases]]: name circuits, and the layers to put them in")
    })?;
    let network = blueprint(experiment, setting)?;
    let pools: Vec<Pool> = settings
        .layers()
        .iter()
        .map(|layer| Pool::draw(&network, layer, settings, experiment.seed))
        .collect::<Result<_>>()?;
    let names: Vec<&str> = circuits.iter().map(Circuit::name).collect();
    distinct("the circuits of detect.cases", &names).map_err(Error::usage)?;
    if let Some(taken) = names.iter().find(|name| detections::is_control(name)) {
        return Err(Error::usage(format!(
            "detect.cases: a circuit is called \"{taken}\", as the honest network or a control is"
        )));
    }
    for method in settings.methods() {
        let optimization = method.settings(&experiment.visualization.optimization);
        for pool in &pools {
            visualizable(&optimization, &network, &pool.layer)?;
        }
    }
    let placed = place(experiment, circuits, settings, &pools);
    let all: Vec<Circuit> = placed.iter().map(|p| p.circuit.clone()).collect();
    let mut session = circuit::prepare(experiment, &all, setting)?;
    let methods = settings.methods();
    let made = |p: &Placed| match p.circuit.leaves_others() {
        true => p.fooled.len(),
        false => pools[p.pool].channels.len(),
    };
    let looked_at: usize = pools.iter().map(|p| p.channels.len()).sum::<usize>()
        * (2 + settings.honest_networks)
        + placed.iter().map(made).sum::<usize>();
    room(setting, looked_at * settings.pictures * methods.len(), &experiment.visualization.optimization)?;
    let config = serde_json::json!({ "experiment": described(experiment), "circuits": described(&circuits) });
    let mut results =
        Results::open(&setting.out, Kind::Detection, &config, experiment.seed, session.device())?;
    session.note_data(&mut results);
    results.read(drawn(&session, settings).inventory());
    remarks(experiment, settings, &pools, &session, &mut results);
    let clean = results.stage("network", || model(experiment, setting))?;
    clean.noted(CLEAN, &mut results);
    let mut benchmark = Benchmark::new(settings);
    benchmark.accuracy = session.accuracy(&clean, CLEAN, None, &mut results)?.1;
    // By method and pool.
    let mut honest: Vec<Vec<Seen>> = vec![];
    for method in &methods {
        let of_pool = pools.iter().map(|pool| {
            let look = Look { model: &clean, circuit: CLEAN, pool, method, draw: None };
            benchmark.look(&session, &look, &mut results)
        });
        honest.push(of_pool.collect::<Result<_>>()?);
    }
    for (method, honest) in methods.iter().zip(&honest) {
        for (pool, seen) in pools.iter().zip(honest) {
            benchmark.noisy(&session, &clean, pool, method, seen, &mut results)?;
        }
    }
    let untrained = clean.untrained(experiment.seed)?;
    benchmark.control(&session, &untrained, UNTRAINED, &pools, &methods, &mut results)?;
    for placed in &placed {
        fool(
            &mut session,
            &mut benchmark,
            placed,
            &pools[placed.pool],
            &clean,
            &methods,
            &honest,
            &mut results,
        )?;
    }
    if settings.honest_networks == 0 {
        results.warn(format!("no control \"{OTHER_SEEDS}\": detect.honest_networks is 0"));
    } else if trained(experiment) {
        for number in 1..=settings.honest_networks {
            let seed = experiment.seed.wrapping_add(number as u64);
            let other = Experiment { seed, ..experiment.clone() };
            let name = detections::other_seed(number);
            let other = results.stage(&format!("the network of seed {seed}"), || model(&other, setting))?;
            other.noted(&name, &mut results);
            benchmark.control(&session, &other, &name, &pools, &methods, &mut results)?;
        }
    } else {
        results.warn(format!(
            "no control \"{OTHER_SEEDS}\": the network comes with its weights, so it can't be trained again"
        ));
    }
    benchmark.write(experiment.seed, &mut results)?;
    Ok(results)
}

/// Every circuit in each of its layers, for every draw.
fn place(experiment: &Experiment, circuits: &[Circuit], settings: &Settings, pools: &[Pool]) -> Vec<Placed> {
    let mut placed = vec![];
    for (circuit, case) in circuits.iter().zip(&settings.cases) {
        for layer in &case.layers {
            let pool = pools.iter().position(|p| p.layer == *layer).expect("every case's layer has a pool");
            for draw in 0..case.draws.unwrap_or(settings.draws) {
                let fooled = pools[pool].fooled(draw, experiment.seed);
                let number = if draw == 0 { String::new() } else { format!("-{draw}") };
                let name = format!("{}-{}{number}", circuit.name(), files::name(layer));
                let there = circuit.at(name, layer, fooled.clone(), pools[pool].channels.clone());
                placed.push(Placed { name: circuit.name().into(), pool, draw, fooled, circuit: there });
            }
        }
    }
    placed
}

/// What a reader has to know of the settings.
fn remarks(
    experiment: &Experiment,
    settings: &Settings,
    pools: &[Pool],
    session: &Session,
    results: &mut Results,
) {
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
    for pool in pools {
        let wanted = [settings.manipulated, settings.clean];
        let got = [pool.fooled, pool.others()];
        if got != wanted {
            results.warn(format!(
                "of {} {} units are fooled and {} are others, not {} and {}: it has no more",
                pool.layer, got[0], got[1], wanted[0], wanted[1]
            ));
        }
    }
    let there = session.validation().samples.len();
    if let Some(words) = scarce("detect.natural_images", settings.natural_images, there) {
        results.warn(words);
    }
}

/// Puts a circuit in and lets the detectors look at it.
#[expect(clippy::too_many_arguments, reason = "what all placed circuits share")]
fn fool(
    session: &mut Session,
    benchmark: &mut Benchmark,
    placed: &Placed,
    pool: &Pool,
    clean: &Model,
    methods: &[Method],
    honest: &[Vec<Seen>],
    results: &mut Results,
) -> Result<()> {
    let Placed { circuit, draw, .. } = placed;
    let mut fooled = circuit.put_in(session, clean, &honest[0][placed.pool].pictures, results)?;
    let (_, accuracy) = session.accuracy(&fooled.model, circuit.name(), fooled.switch.as_deref(), results)?;
    let measured = session.experiment.data.validation.to_string();
    let top1 =
        |rows: &[tables::Accuracy]| rows.iter().find(|a| a.dataset == measured).map_or(f64::NAN, |a| a.top1);
    let (before, after) = (top1(&benchmark.accuracy), top1(&accuracy));
    // Of a circuit's draws the first stands for all in the tables of accuracy and of the gate.
    if *draw == 0 {
        benchmark.accuracy.extend(accuracy);
        benchmark.gate.append(&mut fooled.gate);
        results.network(circuit.name(), &fooled.model.network)?;
        fooled.model.noted(circuit.name(), results);
    }
    for (method, honest) in methods.iter().zip(honest) {
        let honest = &honest[placed.pool];
        let fooling =
            Fooling { fooled: &placed.fooled, number: *draw, honest, leaves_others: circuit.leaves_others() };
        let look = Look { model: &fooled.model, circuit: &placed.name, pool, method, draw: Some(fooling) };
        let seen = benchmark.look(session, &look, results)?;
        let manipulated = |v: &&Visualization| placed.fooled.contains(&v.request.objective.unit.channel);
        let shown: Vec<&Visualization> = seen.pictures.iter().filter(manipulated).collect();
        let images: Vec<&RgbImage> = shown.iter().map(|v| v.image()).collect();
        let on = session.switched(&fooled.model.network, fooled.switch.as_deref(), &images)?;
        let like_honest = shown.iter().filter_map(|v| {
            let same = honest.pictures.iter().find(|h| h.request == v.request)?;
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
            network: session.network.clone(),
            circuit: placed.name.clone(),
            layer: pool.layer.clone(),
            method: method.name.clone(),
            manipulated: placed.fooled.len(),
            clean: pool.others(),
            draws: 1,
            top1_before: before,
            top1_after: after,
            switched: fooled.switch.as_ref().and_then(|_| mean(on.iter().map(|on| f64::from(u8::from(*on))))),
            like_honest: mean(like_honest),
            like_target: mean(like_target),
        });
    }
    Ok(())
}

/// The rows of one circuit, layer and method as one, with the means over its draws.
fn averaged(cases: &[tables::Case]) -> Vec<tables::Case> {
    let key = |c: &tables::Case| (c.circuit.clone(), c.layer.clone(), c.method.clone());
    crate::tables::unique(cases.iter().map(key))
        .into_iter()
        .map(|of| {
            let all: Vec<&tables::Case> = cases.iter().filter(|c| key(c) == of).collect();
            let over = |value: fn(&tables::Case) -> Option<f64>| mean(all.iter().filter_map(|c| value(c)));
            tables::Case {
                draws: all.len(),
                top1_after: over(|c| Some(c.top1_after)).unwrap_or(f64::NAN),
                switched: over(|c| c.switched),
                like_honest: over(|c| c.like_honest),
                like_target: over(|c| c.like_target),
                ..all[0].clone()
            }
        })
        .collect()
}

/// Whether the experiment's network is trained, so that it can be with another seed.
fn trained(experiment: &Experiment) -> bool {
    experiment.network.file.is_none() && experiment.network.weights.is_none()
}

/// Correlation of the pixels of two pictures of one size.
fn like(a: &RgbImage, b: &RgbImage) -> Option<f64> {
    let [a, b] = [a, b].map(|p| p.as_raw().iter().map(|&v| f32::from(v)).collect::<Vec<f32>>());
    Metric::Pearson.similarity(&a, &b)
}

/// The visualizations of units, unit by unit, and the seconds that making one took; `None` where none was made by this
/// run or an earlier one of the same units.
pub(super) fn visualizations(
    session: &Session,
    model: &Model,
    (layer, channels): (&str, &[usize]),
    settings: &Settings,
    method: &Method,
    results: &mut Results,
) -> Result<(Vec<Visualization>, Option<f64>)> {
    let requests: Vec<Request> = channels
        .iter()
        .flat_map(|&channel| (0..settings.pictures).map(move |i| (channel, i)))
        .map(|(channel, i)| session.request(layer, channel, i))
        .collect();
    let optimization = method.settings(&session.experiment.visualization.optimization);
    let stage = format!("visualizations of {layer} in {} ({})", model.network.name(), method.name);
    let milestones = milestones(optimization.steps);
    let Experiment { preprocessing, seed, .. } = session.experiment;
    let cache = &session.setting.cache;
    results.stage(&stage, || {
        // Pictures that are there already, since an earlier run made them, cost nothing now: they don't count.
        let missing = session.missing(model, &requests, &optimization, &milestones).len();
        let start = Instant::now();
        let pictures = session.visualize(model, &requests, &optimization, &milestones)?;
        let each = start.elapsed().as_secs_f64() / missing.max(1) as f64;
        let of = (&model.key, &requests, &optimization, preprocessing, seed, session.device());
        let known = missing > 0 || cache.has("seconds-per-picture", &of, "json");
        let seconds =
            known.then(|| session.cached_json("seconds-per-picture", &of, || Ok(each))).transpose()?;
        Ok((pictures, seconds))
    })
}

/// What detectors say of some units of a layer, kept in the cache.
pub(super) fn scored(
    session: &Session,
    model: &Model,
    layer: &str,
    pictures: &[Visualization],
    settings: &Settings,
    method: &Method,
) -> Result<Scored> {
    let requests: Vec<&Request> = pictures.iter().map(|v| &v.request).collect();
    let optimization = method.settings(&session.experiment.visualization.optimization);
    judged(session, model, layer, &pictured(pictures), settings, &(requests, optimization), None)
}

/// Units that a circuit leaves as they were, with what the detectors made of them in the honest network.
struct Left<'a> {
    /// By unit, whether it was left.
    units: Vec<bool>,
    scored: &'a Scored,
}

/// The same of any pictures; `of` says what decides these. What a detector that looks at each unit alone made of units that
/// were `left` as they were is taken over.
fn judged(
    session: &Session,
    model: &Model,
    layer: &str,
    units: &[Pictured],
    settings: &Settings,
    of: &impl Serialize,
    left: Option<&Left>,
) -> Result<Scored> {
    let detectors: Vec<&dyn Detector> = super::chosen(settings)?;
    let names: Vec<&str> = detectors.iter().map(|d| d.name()).collect();
    let Experiment { preprocessing, visualization, data, seed, .. } = session.experiment;
    let of = (
        (&model.key, layer, of, names, left.map(|left| &left.units)),
        (
            preprocessing,
            visualization.focus,
            session.identity(&data.validation),
            settings.natural_images,
            seed,
            session.device(),
        ),
        program(),
    );
    session.cached_json("scores", &of, || {
        let natural = natural(session, settings);
        let mut seconds = vec![];
        let start = Instant::now();
        let subject = Subject::observe(
            &model.network,
            preprocessing,
            &session.setting.executor,
            visualization.focus,
            layer,
            units,
            &natural,
            *seed,
        )?;
        seconds.push(("natural images".to_string(), start.elapsed().as_secs_f64()));
        // Those that are new, for detectors to which the others make no difference.
        let is_new: Vec<bool> = left.iter().flat_map(|left| &left.units).map(|left| !left).collect();
        let new: Vec<Pictured> =
            units.iter().zip(&is_new).filter(|(_, new)| **new).map(|(unit, _)| unit.clone()).collect();
        let mut scores = vec![];
        for (at, detector) in detectors.iter().enumerate() {
            let start = Instant::now();
            let found = match left {
                Some(left) if detector.looks_at_each_unit_alone() => {
                    let mut own = detector.score(&subject.restricted(&new, &is_new))?.into_iter();
                    let known = left.scored.scores[at].1.iter();
                    let score = |(new, known): (&bool, &Option<f64>)| {
                        if *new { own.next().expect("a score for each new unit") } else { *known }
                    };
                    is_new.iter().zip(known).map(score).collect()
                }
                _ => detector.score(&subject)?,
            };
            scores.push((detector.name().to_string(), found));
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
fn positions(session: &Session, settings: &Settings) -> Vec<usize> {
    let mut rng = seed::rng(session.experiment.seed, &"natural images of detectors");
    session.validation().draw(settings.natural_images, &mut rng)
}

/// The images themselves.
pub(super) fn natural<'r>(session: &'r Session, settings: &Settings) -> Vec<&'r RgbImage> {
    positions(session, settings).into_iter().map(|i| &session.validation().samples[i].image).collect()
}

/// The same as a set, for the manifest.
pub(super) fn drawn(session: &Session, settings: &Settings) -> crate::data::Dataset {
    let set = session.validation();
    set.part(format!("{}, as detectors are given it", set.name), &positions(session, settings))
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
    pool: &'a Pool,
    method: &'a Method,
    /// Which of them are fooled, if any are.
    draw: Option<Fooling<'a>>,
}

/// A draw of fooled units.
struct Fooling<'a> {
    fooled: &'a [usize],
    number: usize,
    /// The same units in the honest network.
    honest: &'a Seen,
    leaves_others: bool,
}

/// Units' visualizations, and what the detectors make of them.
struct Seen {
    pictures: Vec<Visualization>,
    scored: Scored,
}

/// The rows that are written.
struct Benchmark<'a> {
    settings: &'a Settings,
    accuracy: Vec<tables::Accuracy>,
    gate: Vec<tables::Gate>,
    scores: Vec<tables::Score>,
    cases: Vec<tables::Case>,
    exhibits: Vec<tables::Exhibit>,
    cost: Vec<tables::Cost>,
}

impl<'a> Benchmark<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            accuracy: vec![],
            gate: vec![],
            scores: vec![],
            cases: vec![],
            exhibits: vec![],
            cost: vec![],
        }
    }

    /// Visualizes the units and lets the detectors look at them. Units that a circuit leaves bit for bit as they were have the
    /// pictures that they have in the honest network.
    fn look(&mut self, session: &Session, look: &Look, results: &mut Results) -> Result<Seen> {
        let &Look { model, circuit, pool, method, .. } = look;
        let left = look.draw.as_ref().filter(|d| d.leaves_others);
        let is_left = |channel: usize| left.is_some_and(|draw| !draw.fooled.contains(&channel));
        let new: Vec<usize> = pool.channels.iter().copied().filter(|&c| !is_left(c)).collect();
        let of = (pool.layer.as_str(), new.as_slice());
        let (made, seconds) = visualizations(session, model, of, self.settings, method, results)?;
        let mut made = made.into_iter().peekable();
        let mut pictures: Vec<Visualization> = vec![];
        for &channel in &pool.channels {
            let is_of = |v: &Visualization| v.request.objective.unit.channel == channel;
            match left.filter(|_| is_left(channel)) {
                Some(draw) => pictures.extend(draw.honest.pictures.iter().filter(|v| is_of(v)).cloned()),
                None => {
                    while let Some(picture) = made.next_if(is_of) {
                        pictures.push(picture);
                    }
                }
            }
        }
        let stage = match &look.draw {
            Some(draw) => format!(
                "detectors on {} of {circuit}, draw {} ({})",
                pool.layer,
                draw.number + 1,
                method.name
            ),
            None => format!("detectors on {} of {circuit} ({})", pool.layer, method.name),
        };
        let requests: Vec<&Request> = pictures.iter().map(|v| &v.request).collect();
        let optimization = method.settings(&session.experiment.visualization.optimization);
        let units = pictured(&pictures);
        let left = left.map(|draw| Left {
            units: pool.channels.iter().map(|&c| is_left(c)).collect(),
            scored: &draw.honest.scored,
        });
        let scored = results.stage(&stage, || {
            judged(
                session,
                model,
                &pool.layer,
                &units,
                self.settings,
                &(requests, optimization),
                left.as_ref(),
            )
        })?;
        self.note(session, look, &scored);
        if look.draw.as_ref().is_none_or(|d| d.number == 0) {
            self.spent(session, look, &new, seconds, &scored);
            self.exhibit(look, &pictures, results)?;
        }
        if let Some(words) = faults(&pictures) {
            results.warn(format!("{circuit}, method {}: {words}", method.name));
        }
        Ok(Seen { pictures, scored })
    }

    /// The rows of scores.
    fn note(&mut self, session: &Session, look: &Look, scored: &Scored) {
        for (at, (detector, scores)) in scored.scores.iter().enumerate() {
            for (unit, (&channel, score)) in look.pool.channels.iter().zip(scores).enumerate() {
                let fooled = look.draw.as_ref().is_some_and(|d| d.fooled.contains(&channel));
                let group = match &look.draw {
                    Some(_) => if fooled { FOOLED } else { OTHER }.to_string(),
                    None => String::new(),
                };
                self.scores.push(tables::Score {
                    network: session.network.clone(),
                    circuit: look.circuit.into(),
                    layer: look.pool.layer.clone(),
                    channel,
                    manipulated: fooled,
                    group,
                    method: look.method.name.clone(),
                    detector: detector.clone(),
                    score: *score,
                    draw: look.draw.as_ref().map(|d| d.number),
                    honest: look.draw.as_ref().and_then(|d| d.honest.scored.scores[at].1[unit]),
                });
            }
        }
    }

    /// The rows of what it cost.
    fn spent(
        &mut self,
        session: &Session,
        look: &Look,
        made: &[usize],
        seconds: Option<f64>,
        scored: &Scored,
    ) {
        let units = look.pool.channels.len();
        let each = seconds.map(|seconds| seconds * self.settings.pictures as f64);
        let scored_each =
            scored.seconds.iter().map(|(what, s)| (what.clone(), units, Some(s / units as f64)));
        for (what, units, seconds_per_unit) in
            std::iter::once(("visualizations".to_string(), made.len(), each)).chain(scored_each)
        {
            self.cost.push(tables::Cost {
                network: session.network.clone(),
                circuit: look.circuit.into(),
                layer: look.pool.layer.clone(),
                method: look.method.name.clone(),
                what,
                units,
                seconds_per_unit,
            });
        }
    }

    /// Pictures of the units that are fooled first, in every network.
    fn exhibit(&mut self, look: &Look, pictures: &[Visualization], results: &mut Results) -> Result<()> {
        let &Look { circuit, pool, method, .. } = look;
        let fooled = match &look.draw {
            Some(draw) => draw.fooled.to_vec(),
            None if circuit == CLEAN => pool.fooled(0, results.manifest().seed),
            None => return Ok(()),
        };
        for picture in pictures.iter().filter(|v| v.request.index == 0) {
            let channel = picture.request.objective.unit.channel;
            if fooled.iter().take(EXHIBITS).any(|c| *c == channel) {
                let name = format!("{circuit}/{}/{}/{channel:04}", files::name(&pool.layer), method.name);
                self.exhibits.push(tables::Exhibit {
                    circuit: circuit.into(),
                    layer: pool.layer.clone(),
                    channel,
                    manipulated: circuit != CLEAN,
                    method: method.name.clone(),
                    picture: results.picture(&name, picture.image())?,
                });
            }
        }
        Ok(())
    }

    /// The same units of another network that has no circuit.
    fn control(
        &mut self,
        session: &Session,
        model: &Model,
        name: &str,
        pools: &[Pool],
        methods: &[Method],
        results: &mut Results,
    ) -> Result<()> {
        for method in methods {
            for pool in pools {
                let look = Look { model, circuit: name, pool, method, draw: None };
                self.look(session, &look, results)?;
            }
        }
        Ok(())
    }

    /// The honest network's units with noisy natural images, those that drive each unit most, in the place of pictures.
    fn noisy(
        &mut self,
        session: &Session,
        clean: &Model,
        pool: &Pool,
        method: &Method,
        seen: &Seen,
        results: &mut Results,
    ) -> Result<()> {
        let set = natural(session, self.settings);
        let each = self.settings.pictures;
        let images: Vec<RgbImage> = pool
            .channels
            .iter()
            .zip(&seen.scored.driving)
            .flat_map(|(&channel, &most)| (0..each).map(move |i| (channel, most, i)))
            .map(|(channel, most, i)| {
                let mut rng =
                    seed::rng(session.experiment.seed, &("noisy natural image", &pool.layer, channel, i));
                Control::Noisy.of(set[most], &mut rng)
            })
            .collect();
        let stage = format!("detectors on {} of {NOISY} ({})", pool.layer, method.name);
        let scored = results.stage(&stage, || {
            let Experiment { preprocessing, visualization, .. } = session.experiment;
            let executor = &session.setting.executor;
            let shown: Vec<&RgbImage> = images.iter().collect();
            let reached = executor.run_images(&shown, &Progress::hidden(), |chunk| {
                let input =
                    preprocessing.apply(Preprocessing::tensor(chunk.iter().copied(), executor.device()));
                respond(&clean.network, &pool.layer, visualization.focus, input, &pool.channels)
            })?;
            let units: Vec<Pictured> = pool
                .channels
                .iter()
                .zip(images.chunks(each).zip(reached.chunks(each)))
                .enumerate()
                .map(|(unit, (&channel, (pictures, reached)))| Pictured {
                    channel,
                    pictures: pictures.to_vec(),
                    reached: reached.iter().map(|of| of[unit]).collect(),
                })
                .collect();
            judged(
                session,
                clean,
                &pool.layer,
                &units,
                self.settings,
                &(NOISY, &pool.channels, each, &seen.scored.driving),
                None,
            )
        })?;
        let look = Look { model: clean, circuit: NOISY, pool, method, draw: None };
        self.note(session, &look, &scored);
        Ok(())
    }

    fn write(&self, seed: u64, results: &mut Results) -> Result<()> {
        results.table(&self.accuracy)?;
        results.table(&self.gate)?;
        results.table(&self.scores)?;
        results.table(&detections(&self.scores, self.settings.bootstrap, seed))?;
        results.table(&averaged(&self.cases))?;
        results.table(&self.exhibits)?;
        results.table(&self.cost)
    }
}
