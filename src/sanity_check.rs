//! The experiment: a network, its circuits, their visualizations, and the paths of natural and synthetic images.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Serialize;

use crate::cache::{self, Cache};
use crate::circuit::{Circuit, classifier, gate};
use crate::config::Experiment;
use crate::data::{Class, Dataset, Preprocessing, Sample, Source};
use crate::error::{Context, Error, Result};
use crate::executor::Executor;
use crate::network::{INPUT, Network, zoo};
use crate::path::{self, Metric, PathSimilarity};
use crate::progress;
use crate::report::{Manifest, Results, tables};
use crate::seed;
use crate::training;
use crate::visualize::{Objective, Request, Unit, Visualization, half_octaves, milestones, visualize};

/// Where an experiment runs, beside what its file says.
pub struct Setting {
    /// The folder that data and weights are relative to.
    pub data: PathBuf,
    /// The results folder.
    pub out: PathBuf,
    pub cache: Cache,
    pub executor: Executor,
}

/// Runs an experiment and leaves its tables, pictures, figures and report in the results folder.
///
/// # Errors
/// Usage for what the experiment file gets wrong, failure for what goes wrong, an interruption; finished stages are
/// kept and not done again.
pub fn run(experiment: &Experiment, circuits: &[Circuit], setting: &Setting) -> Result<Manifest> {
    // Mistakes are found before anything is written or takes long.
    let mut run = Run::prepare(experiment, setting)?;
    run.check(&untrained(experiment, setting)?.fold_batch_norm(), circuits)?;
    let config = serde_json::json!({ "experiment": experiment, "circuits": circuits });
    let mut results = Results::open(&setting.out, config, experiment.seed, run.device())?;
    results.skipped(&run.validation.skipped);
    let clean = results.stage("network", || model(experiment, setting))?;
    let clean_logits = run.accuracy(&clean, tables::CLEAN, &mut results)?;
    let honest = run.visualizations(&clean, &mut results)?;
    run.describe(&clean, &honest, &honest, tables::CLEAN, None, &mut results)?;
    run.paths(&clean, &honest, tables::CLEAN, &mut results)?;
    for circuit in circuits {
        let Circuit::Gate(settings) = circuit;
        let gated = run.gate(&clean, settings, &honest, &mut results)?;
        let logits = run.accuracy(&gated.model, circuit.name(), &mut results)?;
        run.behaviour(&gated, circuit.name(), &clean_logits, &logits)?;
        let fooled = run.visualizations(&gated.model, &mut results)?;
        run.describe(&clean, &honest, &fooled, circuit.name(), Some(&gated), &mut results)?;
        run.paths(&gated.model, &fooled, circuit.name(), &mut results)?;
    }
    run.write(results.folder())?;
    let folder = results.folder().to_path_buf();
    let manifest = results.complete()?;
    crate::report::draw(&folder)?;
    Ok(manifest)
}

/// The experiment's network with random weights.
fn untrained(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    let graph = zoo::builder(&experiment.network.builder, experiment.network.classes)?;
    Network::new(graph, &mut seed::rng(experiment.seed, &"weights"), setting.executor.device())
}

/// The experiment's network as it comes, with its weights file or trained, batch norms folded.
fn model(experiment: &Experiment, setting: &Setting) -> Result<Model> {
    let Experiment { network: config, seed, preprocessing, .. } = experiment;
    let device = setting.executor.device();
    let fresh = untrained(experiment, setting)?;
    if let Some(weights) = &config.weights {
        let path = setting.data.join(weights);
        if !path.is_file() {
            return Err(Error::usage(format!(
                "no file {}: set the data root with --data or TROMPE_DATA, or correct network.weights",
                path.display()
            )));
        }
        let hash = blake3::hash(&std::fs::read(&path).on("read", &path)?).to_hex().to_string();
        let network = fresh.load(&path)?.fold_batch_norm();
        return Ok(Model { network, key: cache::key(&(config, hash)) });
    }
    let (Some(settings), Some(source)) = (&experiment.training, &experiment.data.train) else {
        return Err(Error::usage("a network without `weights` needs [training] and [data.train]"));
    };
    let of = (config, settings, source, preprocessing, seed, setting.executor.kind().name());
    let network = setting.cache.get_or(
        "networks",
        &of,
        "safetensors",
        |path| Network::open(path, device),
        |path| {
            let data = load(experiment, setting, source)?;
            let network = training::train(fresh, &data, preprocessing, settings, *seed)?;
            network.save(path)?;
            Ok(network)
        },
    )?;
    Ok(Model { network, key: cache::key(&of) })
}

/// The experiment's network: its weights loaded, or trained.
///
/// # Errors
/// As [`run`]'s.
pub fn network(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    Ok(model(experiment, setting)?.network)
}

/// Reads a data set whose classes the network has.
fn load(experiment: &Experiment, setting: &Setting, source: &Source) -> Result<Dataset> {
    let set = Dataset::load(source, &experiment.preprocessing, &setting.data, experiment.seed)?;
    set.check_classes(experiment.network.classes)?;
    Ok(set)
}

/// A network with the hash of what made it.
struct Model {
    network: Network,
    key: String,
}

/// A network with a gate in it.
struct Gated {
    model: Model,
    classifier: Network,
    /// The unit that each unit shows.
    targets: Vec<usize>,
}

/// What all stages share, and the rows they write.
struct Run<'a> {
    experiment: &'a Experiment,
    setting: &'a Setting,
    validation: Dataset,
    /// The layer whose units are visualized.
    layer: String,
    classes: Vec<Class>,
    accuracy: Vec<tables::Accuracy>,
    behaviour: Vec<tables::Behaviour>,
    gate: Vec<tables::Gate>,
    trajectories: Vec<tables::Trajectory>,
    visualizations: Vec<tables::Visualization>,
    paths: Vec<tables::PathSimilarity>,
}

impl<'a> Run<'a> {
    fn prepare(experiment: &'a Experiment, setting: &'a Setting) -> Result<Self> {
        let validation = load(experiment, setting, &experiment.data.validation)?;
        let wanted = &experiment.visualization.classes;
        let known = |index: &usize| validation.classes.iter().any(|c| c.index == *index);
        if let Some(stranger) = wanted.iter().flatten().find(|i| !known(i)) {
            return Err(Error::usage(format!(
                "visualization.classes: {} has no images of class {stranger}",
                validation.name
            )));
        }
        let classes = validation
            .classes
            .iter()
            .filter(|c| wanted.as_ref().is_none_or(|w| w.contains(&c.index)))
            .cloned()
            .collect();
        Ok(Self {
            experiment,
            setting,
            validation,
            layer: experiment.visualization.layer.clone().unwrap_or_default(),
            classes,
            accuracy: vec![],
            behaviour: vec![],
            gate: vec![],
            trajectories: vec![],
            visualizations: vec![],
            paths: vec![],
        })
    }

    fn load(&self, source: &Source, results: &mut Results) -> Result<Dataset> {
        let reading = format!("reading {source}");
        let set = results.stage(&reading, || load(self.experiment, self.setting, source))?;
        results.skipped(&set.skipped);
        Ok(set)
    }

    fn device(&self) -> &'static str {
        self.setting.executor.kind().name()
    }

    /// Refuses what the experiment names and the network or the data do not have.
    fn check(&mut self, network: &Network, circuits: &[Circuit]) -> Result<()> {
        let size = self.experiment.visualization.optimization.size as u32;
        if let Some(other) = self.validation.samples.iter().find(|s| s.image.dimensions() != (size, size)) {
            let (w, h) = other.image.dimensions();
            return Err(Error::usage(format!(
                "visualization.optimization.size is {size}, but {} is {w}x{h} pixels: what is compared must have \
                 one size, so set `resize` and `crop` in [preprocessing] or the visualizations' size",
                other.id
            )));
        }
        if self.layer.is_empty() {
            self.layer = network.output().to_string();
        }
        for class in &self.classes {
            self.unit(class.index).check(network)?;
        }
        for layer in &self.experiment.paths.layers {
            network.channels(layer)?;
        }
        for Circuit::Gate(gate) in circuits {
            network.filters(&gate.layer)?;
            for layer in &gate.classifier.hidden_layers {
                network.channels(layer)?;
            }
            for &class in &gate.classifier.classes {
                self.unit(class).check(network)?;
            }
            if self.classes.iter().all(|c| gate.classifier.classes.contains(&c.index)) {
                return Err(Error::usage(format!(
                    "circuit {}: classifier.classes leaves no visualized class to test on",
                    gate.name
                )));
            }
        }
        Ok(())
    }

    fn unit(&self, channel: usize) -> Unit {
        Unit { layer: self.layer.clone(), channel }
    }

    /// Accuracy on the validation and evaluation sets; gives the logits on each.
    fn accuracy(&mut self, model: &Model, circuit: &str, results: &mut Results) -> Result<Vec<Logits>> {
        let mut all = vec![];
        for source in
            std::iter::once(&self.experiment.data.validation).chain(&self.experiment.data.evaluation)
        {
            let loaded;
            let set = if *source == self.experiment.data.validation {
                &self.validation
            } else {
                loaded = self.load(source, results)?;
                &loaded
            };
            let of =
                (&model.key, source, &self.experiment.preprocessing, self.experiment.seed, set.samples.len());
            let logits = results.stage(&format!("accuracy on {} ({circuit})", set.name), || {
                self.cached_json("logits", &of, || {
                    let bar = progress::bar(&format!("accuracy on {}", set.name), set.samples.len());
                    let logits = training::logits(
                        &model.network,
                        &set.samples,
                        &self.experiment.preprocessing,
                        &self.setting.executor,
                        &bar,
                    );
                    bar.finish_and_clear();
                    logits
                })
            })?;
            self.accuracy.push(tables::Accuracy {
                network: self.name(),
                circuit: circuit.into(),
                dataset: set.name.clone(),
                images: set.samples.len(),
                top1: training::top_k(&logits, &set.samples, 1),
                top5: training::top_k(&logits, &set.samples, 5),
            });
            all.push(Logits { dataset: set.name.clone(), values: logits });
        }
        Ok(all)
    }

    fn name(&self) -> String {
        self.experiment.network.builder.clone()
    }

    /// What a stage gives, kept as JSON.
    fn cached_json<T: Serialize + serde::de::DeserializeOwned>(
        &self,
        what: &str,
        of: &impl Serialize,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.setting.cache.get_or(
            what,
            of,
            "json",
            |path| {
                let bytes = std::fs::read(path).on("read", path)?;
                serde_json::from_slice(&bytes).on("read", path)
            },
            |path| {
                let bytes = serde_json::to_vec(&make()?).on("write", path)?;
                std::fs::write(path, &bytes).on("write", path)?;
                // As a later run will read it, so that both agree to the last digit.
                serde_json::from_slice(&bytes).on("read", path)
            },
        )
    }

    /// The visualizations of every class's unit.
    fn visualizations(&self, model: &Model, results: &mut Results) -> Result<Vec<Visualization>> {
        let requests: Vec<Request> = self
            .classes
            .iter()
            .flat_map(|class| {
                (0..self.experiment.visualization.per_class).map(|i| self.request(class.index, i))
            })
            .collect();
        results.stage(&format!("visualizations of {}", model.network.name()), || {
            self.visualize(model, &requests, &milestones(self.experiment.visualization.optimization.steps))
        })
    }

    fn request(&self, class: usize, index: usize) -> Request {
        let settings = &self.experiment.visualization;
        Request {
            objective: Objective {
                unit: self.unit(class),
                focus: settings.focus,
                direction: settings.direction,
            },
            index,
        }
    }

    /// Makes visualizations, looked at after the given steps, each kept as soon as it is finished.
    fn visualize(
        &self,
        model: &Model,
        requests: &[Request],
        milestones: &[usize],
    ) -> Result<Vec<Visualization>> {
        let settings = &self.experiment.visualization.optimization;
        let Experiment { preprocessing, seed, .. } = self.experiment;
        let Setting { cache, executor, .. } = self.setting;
        let kept = |request: &Request, make: &mut dyn FnMut() -> Result<Visualization>| {
            let of = (&model.key, preprocessing, settings, request, milestones, seed, self.device());
            cache.get_or(
                "visualizations",
                &of,
                "safetensors",
                |path| Visualization::load(request, path),
                |path| {
                    let made = make()?;
                    made.save(path)?;
                    Ok(made)
                },
            )
        };
        // A sentinel error tells which are not there yet.
        let mut found: Vec<Option<Visualization>> =
            requests.iter().map(|r| kept(r, &mut || Err(Error::failure("not made yet"))).ok()).collect();
        let missing: Vec<Request> =
            requests.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(r, _)| r.clone()).collect();
        let bar =
            progress::bar(&format!("visualizing {}", model.network.name()), missing.len() * settings.steps);
        let size = if executor.kind().is_cpu() { 1 } else { executor.batch(settings.size, settings.size) };
        // The bar counts steps, not pictures.
        let pictures = indicatif::ProgressBar::hidden();
        let made = executor.run(&missing, size, &pictures, |chunk| {
            let made = visualize(&model.network, preprocessing, settings, chunk, milestones, *seed, &bar)?;
            chunk
                .iter()
                .zip(made)
                .map(|(request, picture)| kept(request, &mut || Ok(picture.clone())))
                .collect()
        })?;
        bar.finish_and_clear();
        let mut made = made.into_iter();
        for slot in found.iter_mut().filter(|f| f.is_none()) {
            *slot = made.next();
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Writes the pictures and the rows about them: trajectories, and what the clean network sees in them.
    fn describe(
        &mut self,
        clean: &Model,
        honest: &[Visualization],
        pictures: &[Visualization],
        circuit: &str,
        gated: Option<&Gated>,
        results: &mut Results,
    ) -> Result<()> {
        let executor = &self.setting.executor;
        let preprocessing = &self.experiment.preprocessing;
        let hidden = indicatif::ProgressBar::hidden();
        let samples = |set: &[Visualization]| -> Vec<Sample> {
            set.iter()
                .map(|v| Sample {
                    id: v.request.objective.unit.to_string(),
                    label: v.request.objective.unit.channel,
                    image: v.image().clone(),
                })
                .collect()
        };
        let shown = samples(pictures);
        let logits = training::logits(&clean.network, &shown, preprocessing, executor, &hidden)?;
        // The features that the visualized layer reads.
        let graph = clean.network.graph();
        let layer = &graph.nodes[graph.position(&self.layer)?];
        let features = features_before(&clean.network, &layer.name)?;
        let capture = |set: &[Sample]| -> Result<Vec<Vec<f32>>> {
            if features == INPUT {
                return Ok(vec![]);
            }
            let images: Vec<&RgbImage> = set.iter().map(|s| &s.image).collect();
            let layers = [features.clone()];
            let reduction = path::Reduction::ChannelMean;
            let mut all =
                path::capture(&clean.network, preprocessing, &images, &layers, reduction, executor, &hidden)?;
            Ok(all.remove(0))
        };
        let shown_features = capture(&shown)?;
        let reference = samples(honest);
        let reference_features = capture(&reference)?;
        let similarity = |i: usize, class: usize| -> Option<f64> {
            let own = shown_features.get(i)?;
            // An honest picture is not compared with itself.
            let values: Vec<f64> = reference
                .iter()
                .zip(&reference_features)
                .filter(|(r, _)| r.label == class && r.image != shown[i].image)
                .filter_map(|(_, f)| Metric::Cosine.similarity(own, f))
                .collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        for (i, picture) in pictures.iter().enumerate() {
            let unit = &picture.request.objective.unit;
            let class = unit.channel;
            let target = gated.map_or(class, |g| g.targets[class]);
            let shows = argmax(&logits[i]);
            let name = format!("{circuit}/{class:04}_{}", picture.request.index);
            let path = results.picture(&name, picture.image())?;
            self.visualizations.push(tables::Visualization {
                network: self.name(),
                circuit: circuit.into(),
                unit: unit.to_string(),
                class,
                class_name: self.class_name(class),
                index: picture.request.index,
                picture: path,
                activation: f64::from(picture.last().activation),
                shows,
                shows_name: self.class_name(shows),
                target,
                target_name: self.class_name(target),
                similarity_own: similarity(i, class),
                similarity_target: similarity(i, target),
            });
            let images: Vec<&RgbImage> = picture.trajectory.iter().map(|s| &s.image).collect();
            let answers = match gated {
                Some(gated) => Some(gated.answers(&images, preprocessing, executor)?),
                None => None,
            };
            for (k, snapshot) in picture.trajectory.iter().enumerate() {
                let first = picture.request.index == 0;
                let name = format!("{circuit}/trajectory/{class:04}_step{:04}", snapshot.step);
                self.trajectories.push(tables::Trajectory {
                    network: self.name(),
                    circuit: circuit.into(),
                    unit: unit.to_string(),
                    class,
                    index: picture.request.index,
                    step: snapshot.step,
                    activation: f64::from(snapshot.activation),
                    gate: answers.as_ref().map(|a| f64::from(a[k])),
                    picture: if first { Some(results.picture(&name, &snapshot.image)?) } else { None },
                });
            }
        }
        Ok(())
    }

    fn class_name(&self, index: usize) -> String {
        let class = self.validation.classes.iter().find(|c| c.index == index);
        class.map_or_else(|| format!("class {index}"), |c| c.name.clone())
    }

    /// The path-similarity rows of a network and its visualizations.
    fn paths(
        &mut self,
        model: &Model,
        pictures: &[Visualization],
        circuit: &str,
        results: &mut Results,
    ) -> Result<()> {
        let settings = &self.experiment.paths;
        let natural: Vec<(usize, &RgbImage)> = self
            .validation
            .first_of_each(settings.images_per_class)
            .into_iter()
            .filter(|s| self.classes.iter().any(|c| c.index == s.label))
            .map(|s| (s.label, &s.image))
            .collect();
        let shown: Vec<(usize, &RgbImage)> =
            pictures.iter().map(|v| (v.request.objective.unit.channel, v.image())).collect();
        let of = (
            &model.key,
            &self.experiment.preprocessing,
            settings,
            (&self.experiment.data.validation, &self.experiment.visualization),
            self.experiment.seed,
            self.device(),
        );
        let rows: Vec<PathSimilarity> = results.stage(&format!("paths ({circuit})"), || {
            self.cached_json("paths", &of, || {
                path::measure(
                    &model.network,
                    &self.experiment.preprocessing,
                    &natural,
                    &shown,
                    settings,
                    &self.setting.executor,
                    self.experiment.seed,
                )
            })
        })?;
        for row in rows {
            if row.undefined_pairs > 0 {
                results.warn(format!(
                    "{}, {}, {} of {}: {} pairs have no similarity, since the activations of one image are constant; \
                     they are left out",
                    row.layer,
                    row.metric.name(),
                    row.reduction.name(),
                    model.network.name(),
                    row.undefined_pairs
                ));
            }
            self.paths.push(tables::PathSimilarity {
                network: self.name(),
                circuit: circuit.into(),
                reduction: row.reduction.name().into(),
                metric: row.metric.name().into(),
                layer: row.layer,
                natural_same_class: row.natural_same_class,
                natural_different_class: row.natural_different_class,
                visualization_same_class: row.visualization_same_class,
                visualization_different_class: row.visualization_different_class,
                normalized: row.normalized,
                lower: row.interval.map(|i| i.lower),
                upper: row.interval.map(|i| i.upper),
                pairs: row.pairs,
                undefined_pairs: row.undefined_pairs,
            });
        }
        Ok(())
    }

    /// Trains a gate's classifier, tests it on classes that it has not seen, and puts the gate in.
    fn gate(
        &mut self,
        clean: &Model,
        settings: &gate::Settings,
        honest: &[Visualization],
        results: &mut Results,
    ) -> Result<Gated> {
        let Experiment { preprocessing, seed, .. } = self.experiment;
        let executor = &self.setting.executor;
        let n = clean.network.channels(&settings.layer)?;
        let held_out =
            |v: &&Visualization| !settings.classifier.classes.contains(&v.request.objective.unit.channel);
        // Other noise than that of the visualizations it is measured on.
        const OWN: usize = 1_000_000;
        let mut requests = vec![];
        for &class in &settings.classifier.classes {
            let count = settings.classifier.visualizations_per_class;
            requests.extend((0..count).map(|i| self.request(class, OWN + i)));
        }
        let mut rng = seed::rng(*seed, &"units for the classifier");
        for layer in &settings.classifier.hidden_layers {
            let channels = clean.network.channels(layer)?;
            let count = settings.classifier.units_per_layer.min(channels);
            for channel in rand::seq::index::sample(&mut rng, channels, count) {
                let mut request = self.request(0, OWN);
                request.objective.unit = Unit { layer: layer.clone(), channel };
                requests.push(request);
            }
        }
        let steps = half_octaves(self.experiment.visualization.optimization.steps);
        let pictures = results.stage(&format!("trajectories for {}", settings.name), || {
            // A batch is of one layer.
            let mut all = vec![];
            for group in requests.chunk_by(|a, b| a.objective.unit.layer == b.objective.unit.layer) {
                all.extend(self.visualize(clean, group, &steps)?);
            }
            Ok(all)
        })?;
        let source = self.experiment.data.train.as_ref();
        let source = source.ok_or_else(|| Error::usage("a circuit's classifier needs [data.train]"))?;
        let data = self.load(&source.at_most(settings.classifier.natural_images), results)?;
        let natural: Vec<&RgbImage> = data.samples.iter().map(|s| &s.image).collect();
        let synthetic: Vec<&RgbImage> =
            pictures.iter().flat_map(|v| &v.trajectory).map(|s| &s.image).collect();
        let of = (
            (&clean.key, settings, &self.experiment.data.train),
            (preprocessing, &self.experiment.visualization, seed, self.device()),
        );
        let classifier = results.stage(&format!("classifier of {}", settings.name), || {
            self.setting.cache.get_or(
                "classifiers",
                &of,
                "safetensors",
                |path| Network::open(path, executor.device()),
                |path| {
                    let trained = classifier::train(
                        &settings.classifier,
                        &natural,
                        &synthetic,
                        &self.experiment.visualization.optimization.transforms,
                        preprocessing,
                        executor,
                        *seed,
                    )?;
                    trained.save(path)?;
                    Ok(trained)
                },
            )
        })?;
        let ends: Vec<&RgbImage> = pictures.iter().chain(honest).map(Visualization::image).collect();
        let range = range(&clean.network, &settings.layer, &natural, &ends, preprocessing, executor)?;
        let targets = settings.targets(n);
        let network =
            gate::inject(&clean.network, &settings.layer, &classifier, &targets, &range, settings.k)?;
        let gated = Gated { model: Model { network, key: cache::key(&of) }, classifier, targets };
        let tested: Vec<&Visualization> = honest.iter().filter(held_out).collect();
        self.test_gate(&gated, settings, &tested)?;
        Ok(gated)
    }

    /// How often the gate's classifier is right about natural images and about visualizations of classes it was not
    /// trained on, by step.
    fn test_gate(
        &mut self,
        gated: &Gated,
        settings: &gate::Settings,
        tested: &[&Visualization],
    ) -> Result<()> {
        let preprocessing = &self.experiment.preprocessing;
        let mut row = |kind: &str, dataset: &str, step, images: &[&RgbImage]| -> Result<()> {
            let synthetic = kind != "natural";
            let answers = gated.answers(images, preprocessing, &self.setting.executor)?;
            let right = answers.iter().filter(|&&t| (t >= 0.5) == synthetic).count();
            self.gate.push(tables::Gate {
                network: self.experiment.network.builder.clone(),
                circuit: settings.name.clone(),
                kind: kind.into(),
                dataset: dataset.into(),
                step,
                images: images.len(),
                correct: right as f64 / images.len().max(1) as f64,
            });
            Ok(())
        };
        let images: Vec<&RgbImage> = self.validation.samples.iter().map(|s| &s.image).collect();
        row("natural", &self.validation.name, None, &images)?;
        for k in 0..tested[0].trajectory.len() {
            let images: Vec<&RgbImage> = tested.iter().map(|v| &v.trajectory[k].image).collect();
            let step = tested[0].trajectory[k].step;
            row("visualization", "held-out classes", Some(step), &images)?;
        }
        Ok(())
    }

    /// How far the manipulated network's answers on natural images differ from the clean one's.
    fn behaviour(&mut self, gated: &Gated, circuit: &str, before: &[Logits], after: &[Logits]) -> Result<()> {
        for (before, after) in before.iter().zip(after) {
            let passes: Vec<bool> = if before.dataset == self.validation.name {
                let images: Vec<&RgbImage> = self.validation.samples.iter().map(|s| &s.image).collect();
                let executor = &self.setting.executor;
                let answers = gated.answers(&images, &self.experiment.preprocessing, executor)?;
                answers.iter().map(|&t| t == 0.0).collect()
            } else {
                vec![true; before.values.len()]
            };
            let pairs = || before.values.iter().zip(&after.values);
            let largest = pairs()
                .zip(&passes)
                .filter(|(_, passes)| **passes)
                .flat_map(|((a, b), _)| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())))
                .fold(0.0, f64::max);
            self.behaviour.push(tables::Behaviour {
                network: self.name(),
                circuit: circuit.into(),
                dataset: before.dataset.clone(),
                images: before.values.len(),
                changed_predictions: pairs().filter(|(a, b)| argmax(a) != argmax(b)).count(),
                largest_logit_change: largest,
            });
        }
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<()> {
        tables::write(folder, &self.accuracy)?;
        tables::write(folder, &self.behaviour)?;
        tables::write(folder, &self.gate)?;
        tables::write(folder, &self.trajectories)?;
        tables::write(folder, &self.visualizations)?;
        tables::write(folder, &self.paths)
    }
}

/// The logits on a data set.
struct Logits {
    dataset: String,
    values: Vec<Vec<f32>>,
}

impl Gated {
    /// The gate's answers t for images.
    fn answers(
        &self,
        images: &[&RgbImage],
        preprocessing: &Preprocessing,
        executor: &Executor,
    ) -> Result<Vec<f32>> {
        let hidden = indicatif::ProgressBar::hidden();
        let logits = classifier::logits(&self.classifier, images, preprocessing, executor, &hidden)?;
        Ok(logits.into_iter().map(gate::answer).collect())
    }
}

/// The nearest layer before `layer` that has the features it is computed from: the input of the last layer with
/// filters at or before it.
fn features_before(network: &Network, layer: &str) -> Result<String> {
    let mut name = layer.to_string();
    loop {
        let node = &network.graph().nodes[network.graph().position(&name)?];
        let Some(input) = node.inputs.first() else {
            return Ok(INPUT.into());
        };
        if network.filters(&name).is_ok() {
            return Ok(input.clone());
        }
        name = input.clone();
    }
}

/// The extreme activations of a layer's units.
fn range(
    network: &Network,
    layer: &str,
    natural: &[&RgbImage],
    synthetic: &[&RgbImage],
    preprocessing: &Preprocessing,
    executor: &Executor,
) -> Result<gate::Range> {
    let extremes = |images: &[&RgbImage]| -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        let bar = progress::bar(&format!("activations of {layer}"), images.len());
        let size = executor.batch(images[0].height() as usize, images[0].width() as usize);
        let all = executor.run(images, size, &bar, |chunk| {
            let input = Preprocessing::tensor(chunk.iter().copied(), executor.device());
            let maps = network.capture(preprocessing.apply(input), &[layer])?.remove(0);
            let [n, c, h, w] = maps.dims();
            let flat = maps.reshape([n, c, h * w]);
            let [low, high] = [flat.clone().min_dim(2), flat.max_dim(2)]
                .map(|t| t.into_data().try_to_vec::<f32>().expect("activations are 32-bit floats"));
            Ok(low.chunks(c).zip(high.chunks(c)).map(|(l, h)| (l.to_vec(), h.to_vec())).collect())
        })?;
        bar.finish_and_clear();
        Ok(all)
    };
    let (natural, synthetic) = (extremes(natural)?, extremes(synthetic)?);
    let units = natural[0].0.len();
    let fold = |rows: &mut dyn Iterator<Item = &Vec<f32>>, pick: fn(f32, f32) -> f32, start: f32| {
        rows.fold(vec![start; units], |best, row| best.iter().zip(row).map(|(&a, &b)| pick(a, b)).collect())
    };
    Ok(gate::Range {
        natural_min: fold(&mut natural.iter().map(|(low, _)| low), f32::min, f32::INFINITY),
        max: fold(&mut natural.iter().chain(&synthetic).map(|(_, high)| high), f32::max, f32::NEG_INFINITY),
    })
}

fn argmax(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(i, _)| i)
}
