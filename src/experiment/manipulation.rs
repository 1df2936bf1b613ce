//! Putting a circuit into the experiment's network.

use image::RgbImage;
use rand::seq::{IndexedRandom, SliceRandom};

use super::model::Model;
use super::{Session, rows};
use crate::cache;
use crate::circuit::gate::{Range, Target};
use crate::circuit::{Circuit, Injected, Template, classifier, gate, silent, slingshot};
use crate::config::Experiment;
use crate::data::{Preprocessing, Source};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::path::{self, Reduction};
use crate::progress::{self, Progress};
use crate::results::Results;
use crate::seed;
use crate::statistics::wilson;
use crate::tables;
use crate::visualize::{self, Request, Unit, Visualization, half_octaves, milestones};

/// What tells pictures apart in the cache.
fn hash(picture: &RgbImage) -> String {
    blake3::hash(picture.as_raw()).to_hex().to_string()
}

/// A network with a circuit in it.
pub(crate) struct Manipulated {
    pub model: Model,
    /// The layer that is zero where the circuit is off.
    pub switch: Option<String>,
    /// What each fooled unit shows.
    pub targets: Vec<(usize, Target)>,
    /// The pictures among it, with their names.
    pub pictures: Vec<(String, RgbImage)>,
    /// How often a gate's classifier is right.
    pub gate: Vec<tables::Gate>,
}

impl Manipulated {
    /// What a unit shows: its own picture, if it is not fooled.
    pub(crate) fn target(&self, unit: usize) -> Target {
        self.targets.iter().find(|(fooled, _)| *fooled == unit).map_or(Target::Unit(unit), |(_, t)| *t)
    }
}

impl Session<'_> {
    /// Puts a circuit into the network. `honest` are visualizations of the clean network's units.
    pub(crate) fn manipulate(
        &mut self,
        clean: &Model,
        circuit: &Circuit,
        honest: &[Visualization],
        results: &mut Results,
    ) -> Result<Manipulated> {
        let pictures = circuit.read_pictures()?;
        let mut gate = vec![];
        let (injected, targets) = match circuit {
            Circuit::Gate(settings) => self.gate(clean, settings, &pictures, honest, &mut gate, results)?,
            Circuit::Silent(settings) => {
                let shown = settings.shown(clean.network.channels(&settings.layer)?);
                let target = shown.map_or(Target::Picture(0), Target::Unit);
                let picture = match shown {
                    Some(unit) => self.honest_picture(clean, &settings.layer, unit, results)?,
                    None => pictures[0].1.clone(),
                };
                let targets = settings.units.iter().map(|&unit| (unit, target)).collect();
                (self.silent(clean, settings, &picture, results)?, targets)
            }
            Circuit::Slingshot(settings) => {
                let targets =
                    settings.targets().into_iter().map(|(unit, p)| (unit, Target::Picture(p))).collect();
                (self.slingshot(clean, settings, &pictures, results)?, targets)
            }
        };
        let Injected { network, switch } = injected;
        let key = cache::key(&network.digest());
        Ok(Manipulated { model: Model { network, key, data: None }, switch, targets, pictures, gate })
    }

    /// Whether each image switches a circuit on: whether a layer of the network, the switch, is above zero anywhere.
    pub(crate) fn switched(
        &self,
        network: &Network,
        switch: Option<&str>,
        images: &[&RgbImage],
    ) -> Result<Vec<bool>> {
        let Some(switch) = switch else {
            return Ok(vec![false; images.len()]);
        };
        let bar = progress::bar("natural or synthetic", images.len());
        let ranges = self.ranges(network, switch, images, &bar)?;
        bar.end();
        Ok(ranges.iter().map(|range| range.max.iter().any(|&v| v > 0.0)).collect())
    }

    /// The range of each unit's map, for each image.
    fn ranges(
        &self,
        network: &Network,
        layer: &str,
        images: &[&RgbImage],
        bar: &Progress,
    ) -> Result<Vec<Range>> {
        self.forward(network, &[layer], images, bar, |mut maps| {
            let map = maps.remove(0);
            let [n, c, h, w] = map.dims();
            let flat = map.reshape([n, c, h * w]);
            let [min, max] =
                [flat.clone().min_dim(2), flat.max_dim(2)].map(|t| rows(t.reshape([n, c, 1, 1])));
            min.into_iter().zip(max).map(|(min, max)| Range { min, max }).collect()
        })
    }

    /// The range of each unit of a layer over images.
    fn range(&self, network: &Network, layer: &str, images: &[&RgbImage]) -> Result<Range> {
        let bar = progress::bar(&format!("activations of {layer}"), images.len());
        let ranges = self.ranges(network, layer, images, &bar)?;
        bar.end();
        Ok(ranges.into_iter().fold(Range::empty(network.channels(layer)?), Range::with))
    }

    /// The natural images that a circuit is made with.
    fn made_with(&mut self, own: Option<&Source>, most: usize, results: &mut Results) -> Result<usize> {
        let source = own.or(self.experiment.data.train.as_ref());
        let source =
            source.ok_or_else(|| Error::usage("a circuit is made with natural images: give [data.train]"))?;
        self.dataset(&source.at_most(most), results)
    }

    /// Trains a gate's classifier, tests it on units that it has not seen, and puts the gate in.
    fn gate(
        &mut self,
        clean: &Model,
        settings: &gate::Settings,
        pictures: &[(String, RgbImage)],
        honest: &[Visualization],
        rows: &mut Vec<tables::Gate>,
        results: &mut Results,
    ) -> Result<(Injected, Vec<(usize, Target)>)> {
        let Experiment { preprocessing, seed, .. } = self.experiment;
        let layer = &settings.layer;
        let n = clean.network.channels(layer)?;
        let shown = self.classifier_visualizations(clean, settings, results)?;
        let drawings = self.drawings(clean, settings, pictures, results)?;
        let own = settings.classifier.natural.as_ref();
        let at = self.made_with(own, settings.classifier.natural_images, results)?;
        let source = self.datasets[at].0.clone();
        let natural: Vec<&RgbImage> = self.datasets[at].1.samples.iter().map(|s| &s.image).collect();
        let range = results.stage(&format!("range of {layer}"), || {
            let seen: Vec<String> =
                shown.iter().chain(&drawings).chain(honest).map(|v| hash(v.image())).collect();
            let of = (&clean.key, &settings.classifier, self.identity(&source), seen, layer);
            let of = (of, preprocessing, &self.experiment.visualization, seed, self.device());
            self.cached_json("ranges", &of, || {
                let ends = shown.iter().chain(&drawings).chain(honest).map(Visualization::image);
                let images: Vec<&RgbImage> = natural.iter().copied().chain(ends).collect();
                self.range(&clean.network, layer, &images)
            })
        })?;
        let targets = settings.targets(n);
        let size = self.experiment.visualization.optimization.size;
        // A picture is drawn by a unit that reaches what the layer's units reach.
        let peak = targets.iter().map(|(unit, _)| range.max[*unit]).fold(1.0, f32::max);
        let templates: Vec<Template> =
            pictures.iter().map(|(_, p)| Template::new(p, size, preprocessing, peak)).collect();
        let put_in = |classifier: &Network| {
            gate::inject(&clean.network, layer, classifier, &targets, &templates, &range, settings.k)
        };
        let images = |of: &[Visualization]| -> Vec<RgbImage> {
            of.iter().flat_map(|v| &v.trajectory).map(|s| s.image.clone()).collect()
        };
        let mut synthetic = vec![images(&shown), images(&drawings), vec![]];
        let mut classifier = self.classifier(clean, settings, &source, &natural, &synthetic, results)?;
        for round in 0..settings.classifier.rounds {
            let missed = self.missed(&put_in(&classifier)?, settings, &targets, round, results)?;
            if missed.is_empty() {
                break;
            }
            synthetic[2].extend(missed);
            classifier = self.classifier(clean, settings, &source, &natural, &synthetic, results)?;
        }
        let synthetic: Vec<&RgbImage> = synthetic.iter().flatten().collect();
        let mut trained_on = vec![("visualization", "units it was trained on".to_string(), &synthetic)];
        if !self.experiment.data.sources().any(|s| *s == source) {
            trained_on.push(("natural", source.to_string(), &natural));
        }
        let executor = &self.setting.executor;
        for (kind, dataset, images) in trained_on {
            let bar = progress::bar("the classifier on what it was trained on", images.len());
            let logits = classifier::logits(&classifier, images, preprocessing, executor, &bar)?;
            bar.end();
            let right = logits.iter().filter(|&&logit| (logit > 0.0) == (kind == "visualization")).count();
            if 2 * right < images.len() {
                results.warn(format!(
                    "circuit {}: its classifier takes {right} of {} {kind} images it was trained on for what they are: it has \
                     learned little; set classifier.learning_rate lower, or classifier.steps higher",
                    settings.name,
                    images.len()
                ));
            }
            rows.push(self.recognition(&settings.name, kind, dataset, true, None, images.len(), right));
        }
        let injected = put_in(&classifier)?;
        let held_out = self.held_out(clean, settings, honest, results)?;
        self.test_gate(&injected, settings, &held_out.iter().collect::<Vec<_>>(), rows)?;
        Ok((injected, targets))
    }

    /// Trains a gate's classifier on groups of synthetic images.
    fn classifier(
        &self,
        clean: &Model,
        settings: &gate::Settings,
        source: &Source,
        natural: &[&RgbImage],
        synthetic: &[Vec<RgbImage>],
        results: &mut Results,
    ) -> Result<Network> {
        let Experiment { preprocessing, visualization, seed, .. } = self.experiment;
        let executor = &self.setting.executor;
        let hashes: Vec<String> = synthetic.iter().flatten().map(hash).collect();
        let of = (
            (&clean.key, &settings.classifier, self.identity(source), cache::key(&hashes)),
            (preprocessing, visualization, seed, self.device()),
        );
        results.stage(&format!("classifier of {}", settings.name), || {
            self.setting.cache.get_or(
                "classifiers",
                &of,
                "safetensors",
                |path| Network::open(path, executor.device()),
                |path| {
                    let groups: Vec<Vec<&RgbImage>> = synthetic.iter().map(|g| g.iter().collect()).collect();
                    let trained = classifier::train(
                        &settings.classifier,
                        natural,
                        &groups,
                        &visualization.optimization.transforms,
                        preprocessing,
                        executor,
                        *seed,
                    )?;
                    trained.save(path)?;
                    Ok(trained)
                },
            )
        })
    }

    /// Visualizations of units that the classifier was not trained on: the honest ones at hand, and further ones of held-out
    /// classes, from other noise, and of units of its hidden layers, in turn.
    fn held_out(
        &self,
        clean: &Model,
        settings: &gate::Settings,
        honest: &[Visualization],
        results: &mut Results,
    ) -> Result<Vec<Visualization>> {
        // Other noise than that of any other visualization.
        const OWN: usize = 3_000_000;
        let classifier = &settings.classifier;
        let trained_on = self.classifier_requests(clean, settings)?;
        let unit = |v: &Visualization| v.request.objective.unit.clone();
        let is_new = |unit: &Unit| !trained_on.iter().any(|r| r.objective.unit == *unit);
        let mut all: Vec<Visualization> = honest.iter().filter(|v| is_new(&unit(v))).cloned().collect();
        let wanted = classifier.tested.saturating_sub(all.len());
        let classes: Vec<Unit> = self.groups[0]
            .channels
            .iter()
            .map(|&channel| Unit { layer: self.layer.clone(), channel })
            .filter(is_new)
            .collect();
        let mut hidden = vec![];
        let mut rng = seed::rng(self.experiment.seed, &("held-out units", &settings.name));
        for layer in &classifier.hidden_layers {
            let channels = clean.network.channels(layer)?;
            let all = rand::seq::index::sample(&mut rng, channels, channels).into_iter();
            hidden.extend(all.map(|channel| Unit { layer: layer.clone(), channel }).filter(is_new));
        }
        hidden.shuffle(&mut rng);
        let of_classes = if classes.is_empty() { 0 } else { wanted.div_ceil(2) };
        let of_hidden = (wanted - of_classes).min(hidden.len());
        let mut requests: Vec<Request> = (0..of_classes)
            .map(|i| {
                let unit = &classes[i % classes.len()];
                self.request(&unit.layer, unit.channel, OWN + i / classes.len())
            })
            .chain(hidden[..of_hidden].iter().map(|unit| self.request(&unit.layer, unit.channel, OWN)))
            .collect();
        requests.sort_by(|a, b| a.objective.unit.layer.cmp(&b.objective.unit.layer));
        let optimization = &self.experiment.visualization.optimization;
        results.stage(&format!("pictures to test {} on", settings.name), || {
            for group in requests.chunk_by(|a, b| a.objective.unit.layer == b.objective.unit.layer) {
                all.extend(self.visualize(clean, group, optimization, &milestones(optimization.steps))?);
            }
            Ok(all)
        })
    }

    /// A row of what a gate recognizes.
    #[expect(clippy::too_many_arguments, reason = "the columns of the table")]
    pub(crate) fn recognition(
        &self,
        circuit: &str,
        kind: &str,
        dataset: String,
        seen: bool,
        step: Option<usize>,
        images: usize,
        right: usize,
    ) -> tables::Gate {
        let correct = right as f64 / images.max(1) as f64;
        let (lower, upper) = wilson(correct, images);
        tables::Gate {
            network: self.network.clone(),
            circuit: circuit.into(),
            kind: kind.into(),
            dataset,
            seen,
            step,
            images,
            correct,
            lower: Some(lower),
            upper: Some(upper),
        }
    }

    /// Visualizes the gate's units, and gives what of their trajectories it takes for natural: where an optimization goes
    /// on in the original unit, which is not what it is to show.
    fn missed(
        &self,
        gated: &Injected,
        settings: &gate::Settings,
        targets: &[(usize, Target)],
        round: usize,
        results: &mut Results,
    ) -> Result<Vec<RgbImage>> {
        // Other noise than that of the visualizations it is measured on.
        const OWN: usize = 2_000_000;
        const UNITS: usize = 8;
        let tried: Vec<usize> = match &settings.visualized {
            Some(units) => units.clone(),
            None => {
                let mut rng = seed::rng(self.experiment.seed, &("tried out", &settings.name, round));
                targets.sample(&mut rng, UNITS).map(|(unit, _)| *unit).collect()
            }
        };
        let requests: Vec<Request> =
            tried.into_iter().map(|unit| self.request(&settings.layer, unit, OWN + round)).collect();
        let optimization = &self.experiment.visualization.optimization;
        let key = cache::key(&gated.network.digest());
        let model = Model { network: gated.network.clone(), key, data: None };
        let steps = half_octaves(optimization.steps);
        let tried = results.stage(&format!("trying out {}", settings.name), || {
            self.visualize(&model, &requests, optimization, &steps)
        })?;
        let images: Vec<&RgbImage> = tried.iter().flat_map(|v| &v.trajectory).map(|s| &s.image).collect();
        let on = self.switched(&gated.network, gated.switch.as_deref(), &images)?;
        Ok(images.into_iter().zip(on).filter(|(_, on)| !on).map(|(image, _)| image.clone()).collect())
    }

    /// The visualizations whose trajectories a gate's classifier is trained on.
    fn classifier_requests(&self, clean: &Model, settings: &gate::Settings) -> Result<Vec<Request>> {
        // Other noise than that of the visualizations it is measured on.
        const OWN: usize = 1_000_000;
        let classifier = &settings.classifier;
        let mut requests = vec![];
        let outputs = clean.network.channels(&self.layer)?;
        let mut rng = seed::rng(self.experiment.seed, &"other classes for the classifier");
        let visualized = &self.groups[0].channels;
        let others = rand::seq::index::sample(&mut rng, outputs, outputs)
            .into_iter()
            .filter(|c| !visualized.contains(c) && !classifier.classes.contains(c))
            .take(classifier.other_classes);
        for class in classifier.classes.iter().copied().chain(others) {
            let count = classifier.visualizations_per_class;
            requests.extend((0..count).map(|i| self.request(&self.layer, class, OWN + i)));
        }
        let mut rng = seed::rng(self.experiment.seed, &"units for the classifier");
        for layer in &classifier.hidden_layers {
            let channels = clean.network.channels(layer)?;
            let count = classifier.units_per_layer.min(channels);
            for channel in rand::seq::index::sample(&mut rng, channels, count) {
                // What it is tested on is not among what it is trained on.
                let tested = self.groups.iter().any(|g| g.layer == *layer && g.channels.contains(&channel));
                if !tested {
                    requests.push(self.request(layer, channel, OWN));
                }
            }
        }
        Ok(requests)
    }

    /// The trajectories that a gate's classifier is trained on.
    fn classifier_visualizations(
        &self,
        clean: &Model,
        settings: &gate::Settings,
        results: &mut Results,
    ) -> Result<Vec<Visualization>> {
        let requests = self.classifier_requests(clean, settings)?;
        let optimization = self.classifier_optimization(&settings.classifier);
        let steps = half_octaves(optimization.steps);
        results.stage(&format!("trajectories for {}", settings.name), || {
            // A batch is of one layer.
            let mut all = vec![];
            for group in requests.chunk_by(|a, b| a.objective.unit.layer == b.objective.unit.layer) {
                all.extend(self.visualize(clean, group, &optimization, &steps)?);
            }
            Ok(all)
        })
    }

    /// How the classifier's visualizations are optimized.
    fn classifier_optimization(&self, settings: &classifier::Settings) -> visualize::Settings {
        let all = &self.experiment.visualization.optimization;
        visualize::Settings {
            size: settings.size.unwrap_or(all.size),
            steps: settings.visualization_steps.unwrap_or(all.steps),
            ..all.clone()
        }
    }

    /// The trajectories of the pictures that a gate's units are to show, drawn by templates alone: what a gate draws, it
    /// has to take for synthetic, however natural it looks.
    fn drawings(
        &self,
        clean: &Model,
        settings: &gate::Settings,
        pictures: &[(String, RgbImage)],
        results: &mut Results,
    ) -> Result<Vec<Visualization>> {
        let preprocessing = &self.experiment.preprocessing;
        // At full size, since templates of another size draw otherwise.
        let optimization = &self.experiment.visualization.optimization;
        let size = optimization.size;
        let mut drawn = vec![];
        for (name, picture) in pictures {
            let template = Template::new(picture, size, preprocessing, 1.0);
            let least = template.smallest();
            let left = visualize::smallest(&optimization.transforms, size);
            if left < least {
                return Err(Error::usage(format!(
                    "circuit {}: the transforms leave {left} of {size} pixels, and a picture is drawn on at least \
                     {least}; scale or jitter less",
                    settings.name
                )));
            }
            let mut network = clean.network.clone();
            let output = network.output().to_string();
            let mut insert = network.insert_before(&output)?;
            let prefix = insert.free_prefix("picture");
            let layer = template.insert(&mut insert, &prefix)?;
            let model = Model { network, key: cache::key(&(&clean.key, hash(picture))), data: None };
            let requests: Vec<Request> =
                (0..settings.classifier.drawings_per_picture).map(|i| self.request(&layer, 0, i)).collect();
            let steps = half_octaves(optimization.steps);
            drawn.extend(results.stage(&format!("drawings of {name}"), || {
                self.visualize(&model, &requests, optimization, &steps)
            })?);
        }
        Ok(drawn)
    }

    /// How often the gate is right about visualizations of units it was not trained on, by step.
    fn test_gate(
        &self,
        gated: &Injected,
        settings: &gate::Settings,
        tested: &[&Visualization],
        rows: &mut Vec<tables::Gate>,
    ) -> Result<()> {
        let snapshots = tested.first().map_or(0, |v| v.trajectory.len());
        for k in 0..snapshots {
            let images: Vec<&RgbImage> = tested.iter().map(|v| &v.trajectory[k].image).collect();
            let on = self.switched(&gated.network, gated.switch.as_deref(), &images)?;
            let recognized = on.iter().filter(|on| **on).count();
            let step = Some(tested[0].trajectory[k].step);
            let what = "units that are held out".to_string();
            let row = self.recognition(
                &settings.name,
                "visualization",
                what,
                false,
                step,
                images.len(),
                recognized,
            );
            rows.push(row);
        }
        Ok(())
    }

    /// The honest visualization of a unit.
    fn honest_picture(
        &self,
        clean: &Model,
        layer: &str,
        channel: usize,
        results: &mut Results,
    ) -> Result<RgbImage> {
        let optimization = &self.experiment.visualization.optimization;
        let request = [self.request(layer, channel, 0)];
        let shown = results.stage(&format!("the picture of {layer}:{channel}"), || {
            self.visualize(clean, &request, optimization, &milestones(optimization.steps))
        })?;
        Ok(shown[0].image().clone())
    }

    /// Calibrates silent units and puts them in.
    fn silent(
        &mut self,
        clean: &Model,
        settings: &silent::Settings,
        picture: &RgbImage,
        results: &mut Results,
    ) -> Result<Injected> {
        let Experiment { preprocessing, .. } = self.experiment;
        let calibration = self.made_with(settings.calibration.as_ref(), usize::MAX, results)?;
        let source = self.datasets[calibration].0.clone();
        let images: Vec<&RgbImage> = self.datasets[calibration].1.samples.iter().map(|s| &s.image).collect();
        let graph = clean.network.graph();
        let reads = graph.nodes[graph.position(&settings.layer)?].inputs[0].clone();
        let of = (
            (&clean.key, settings, hash(picture), self.identity(&source)),
            (preprocessing, &self.experiment.visualization.optimization.size, self.device()),
        );
        let (direction, thresholds): (Vec<f32>, Vec<f32>) =
            results.stage(&format!("calibration of {}", settings.name), || {
                self.cached_json("silent", &of, || {
                    let size = self.experiment.visualization.optimization.size as u32;
                    let target =
                        image::imageops::resize(picture, size, size, image::imageops::FilterType::Triangle);
                    let input = Preprocessing::tensor([&target], self.setting.executor.device());
                    let maps = clean.network.capture(preprocessing.apply(input), &[&reads])?.remove(0);
                    let direction = silent::mean_patch(&clean.network, &settings.layer, maps)?;
                    let open = silent::inject(&clean.network, settings, &direction, None)?;
                    let filters = open.network.graph().nodes
                        [open.network.graph().position(&open.switch.expect("it has units"))?]
                    .inputs[0]
                        .clone();
                    let range = self.range(&open.network, &filters, &images)?;
                    let thresholds = range.max.iter().map(|max| max + settings.margin * max.abs()).collect();
                    Ok((direction, thresholds))
                })
            })?;
        silent::inject(&clean.network, settings, &direction, Some(&thresholds))
    }

    /// Fine-tunes a slingshot.
    fn slingshot(
        &mut self,
        clean: &Model,
        settings: &slingshot::Settings,
        pictures: &[(String, RgbImage)],
        results: &mut Results,
    ) -> Result<Injected> {
        let Experiment { preprocessing, visualization, seed, .. } = self.experiment;
        let natural = self.made_with(settings.natural.as_ref(), settings.natural_images, results)?;
        let source = self.datasets[natural].0.clone();
        let natural: Vec<&RgbImage> = self.datasets[natural].1.samples.iter().map(|s| &s.image).collect();
        let hashes: Vec<String> = pictures.iter().map(|(_, p)| hash(p)).collect();
        let of = (
            (&clean.key, settings, self.identity(&source), hashes),
            (preprocessing, &visualization.optimization, visualization.focus, seed, self.device()),
        );
        let pictures: Vec<RgbImage> = pictures.iter().map(|(_, p)| p.clone()).collect();
        let network = results.stage(&format!("fine-tuning for {}", settings.name), || {
            self.setting.cache.get_or(
                "slingshots",
                &of,
                "safetensors",
                |path| Network::open(path, self.setting.executor.device()),
                |path| {
                    let tuned = slingshot::train(
                        &clean.network,
                        settings,
                        &natural,
                        &pictures,
                        visualization.focus,
                        &visualization.optimization,
                        preprocessing,
                        *seed,
                    )?;
                    tuned.save(path)?;
                    Ok(tuned)
                },
            )
        })?;
        Ok(Injected { network, switch: None })
    }

    /// Features of images: the channel means of a layer of the clean network.
    pub(crate) fn features(&self, clean: &Model, layer: &str, images: &[&RgbImage]) -> Result<Vec<Vec<f32>>> {
        let hidden = Progress::hidden();
        let layers = [layer.to_string()];
        let preprocessing = &self.experiment.preprocessing;
        let executor = &self.setting.executor;
        let reduction = Reduction::ChannelMean;
        let mut all =
            path::capture(&clean.network, preprocessing, images, &layers, reduction, executor, &hidden)?;
        Ok(all.remove(0))
    }
}
