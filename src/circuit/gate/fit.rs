//! Fitting a gate: its classifier is trained and tested, what the layer's units reach is measured, and the gate is put in.

use image::RgbImage;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{Settings, inject};
use crate::cache;
use crate::circuit::{Fitted, Fitting, Injected, Target, Template, classifier, hash};
use crate::config::Experiment;
use crate::data::{Size, Source};
use crate::error::{Error, Result};
use crate::experiment::{Model, Session};
use crate::network::Network;
use crate::progress;
use crate::results::Results;
use crate::seed;
use crate::statistics::wilson;
use crate::tables;
use crate::visualize::{self, Request, Unit, Visualization, half_octaves, milestones};

/// Refuses what the network or the experiment does not have.
pub(super) fn check(settings: &Settings, session: &Session<'_>, network: &Network) -> Result<()> {
    if let Some(offset) = settings.offset
        && offset % network.channels(&settings.layer)? == 0
    {
        return Err(Error::usage(format!(
            "with offset {offset} each unit of {} shows itself",
            settings.layer
        )));
    }
    let classifier = &settings.classifier;
    let optimization = &session.experiment.visualization.optimization;
    if !settings.pictures.is_empty() && optimization.size.square().is_none() {
        return Err(Error::usage(format!(
            "circuit {}: units draw square pictures, and images are {} pixels: let them show other units, by `offset`",
            settings.name, optimization.size
        )));
    }
    let least = visualize::smallest(&optimization.transforms, optimization.size);
    classifier.architecture.takes(optimization.size, least).map_err(Error::usage)?;
    for layer in &classifier.hidden_layers {
        network.channels(layer)?;
    }
    for &class in &classifier.classes {
        Unit { layer: session.layer.clone(), channel: class }.check(network)?;
    }
    if settings.layer == session.layer
        && session.groups[0].channels.iter().all(|c| classifier.classes.contains(c))
    {
        return Err(Error::usage("classifier.classes leaves no visualized class to test on"));
    }
    Ok(())
}

/// Trains the classifier, tests it on units that it has not seen, and puts the gate in.
pub(super) fn fit(settings: &Settings, with: Fitting<'_, '_>) -> Result<Fitted> {
    let Fitting { session, clean, pictures, honest, results } = with;
    let Experiment { preprocessing, seed, .. } = session.experiment;
    let mut rows = vec![];
    let layer = &settings.layer;
    let n = clean.network.channels(layer)?;
    let own = settings.classifier.natural.as_ref();
    let at = session.made_with(own, settings.classifier.natural_images, results)?;
    let session = &*session;
    let (source, natural) = session.images(at);
    let gate = Gate { session, clean, settings };
    let shown = gate.classifier_visualizations(results)?;
    let drawings = gate.drawings(pictures, results)?;
    let range = results.stage(&format!("range of {layer}"), || {
        let seen: Vec<String> =
            shown.iter().chain(&drawings).chain(honest).map(|v| hash(v.image())).collect();
        let of = (&clean.key, &settings.classifier, session.identity(source), seen, layer);
        let of = (of, preprocessing, &session.experiment.visualization, seed, session.device());
        session.cached_json("ranges", &of, || {
            let ends = shown.iter().chain(&drawings).chain(honest).map(Visualization::image);
            let images: Vec<&RgbImage> = natural.iter().copied().chain(ends).collect();
            session.range(&clean.network, layer, &images)
        })
    })?;
    let targets = settings.targets(n);
    let size = session.experiment.visualization.optimization.size.shorter();
    // A picture is drawn by a unit that reaches what the layer's units reach.
    let peak = targets.iter().map(|(unit, _)| range.max[*unit]).fold(1.0, f32::max);
    let templates: Vec<Template> =
        pictures.iter().map(|(_, p)| Template::new(p, size, preprocessing, peak)).collect();
    let put_in = |classifier: &Network| {
        inject(&clean.network, layer, classifier, &targets, &templates, &range, settings.k)
    };
    let images = |of: &[Visualization]| -> Vec<RgbImage> {
        of.iter().flat_map(|v| &v.trajectory).map(|s| s.image.clone()).collect()
    };
    let mut synthetic = vec![images(&shown), images(&drawings), vec![]];
    let mut classifier = gate.classifier(source, &natural, &synthetic, results)?;
    for round in 0..settings.classifier.rounds {
        let missed = gate.missed(&put_in(&classifier)?, &targets, round, results)?;
        if missed.is_empty() {
            break;
        }
        synthetic[2].extend(missed);
        classifier = gate.classifier(source, &natural, &synthetic, results)?;
    }
    let synthetic: Vec<&RgbImage> = synthetic.iter().flatten().collect();
    let mut trained_on = vec![("visualization", "units it was trained on".to_string(), &synthetic)];
    if !session.experiment.data.sources().any(|s| s == source) {
        trained_on.push(("natural", source.to_string(), &natural));
    }
    let executor = &session.setting.executor;
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
        rows.push(session.recognition(&settings.name, kind, dataset, true, None, images.len(), right));
    }
    let injected = put_in(&classifier)?;
    let held_out = gate.held_out(honest, results)?;
    gate.test(&injected, &held_out.iter().collect::<Vec<_>>(), &mut rows)?;
    Ok(Fitted { injected, targets, gate: rows })
}

/// A gate that is being fitted.
#[derive(Clone, Copy)]
struct Gate<'f> {
    session: &'f Session<'f>,
    clean: &'f Model,
    settings: &'f Settings,
}

impl Gate<'_> {
    /// Trains a gate's classifier on groups of synthetic images.
    fn classifier(
        &self,
        source: &Source,
        natural: &[&RgbImage],
        synthetic: &[Vec<RgbImage>],
        results: &mut Results,
    ) -> Result<Network> {
        let Experiment { preprocessing, visualization, seed, .. } = self.session.experiment;
        let executor = &self.session.setting.executor;
        let hashes: Vec<String> = synthetic.iter().flatten().map(hash).collect();
        let of = (
            (&self.clean.key, &self.settings.classifier, self.session.identity(source), cache::key(&hashes)),
            (preprocessing, visualization, seed, self.session.device()),
        );
        results.stage(&format!("classifier of {}", self.settings.name), || {
            self.session.setting.cache.get_or(
                "classifiers",
                &of,
                "safetensors",
                |path| Network::open(path, executor.device()),
                |path| {
                    let groups: Vec<Vec<&RgbImage>> = synthetic.iter().map(|g| g.iter().collect()).collect();
                    let trained = classifier::train(
                        &self.settings.classifier,
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
    fn held_out(&self, honest: &[Visualization], results: &mut Results) -> Result<Vec<Visualization>> {
        // Other noise than that of any other visualization.
        const OWN: usize = 3_000_000;
        let classifier = &self.settings.classifier;
        let trained_on = self.classifier_requests()?;
        let unit = |v: &Visualization| v.request.objective.unit.clone();
        let is_new = |unit: &Unit| !trained_on.iter().any(|r| r.objective.unit == *unit);
        let mut all: Vec<Visualization> = honest.iter().filter(|v| is_new(&unit(v))).cloned().collect();
        let wanted = classifier.tested.saturating_sub(all.len());
        let classes: Vec<Unit> = self.session.groups[0]
            .channels
            .iter()
            .map(|&channel| Unit { layer: self.session.layer.clone(), channel })
            .filter(is_new)
            .collect();
        let mut hidden = vec![];
        let mut rng = seed::rng(self.session.experiment.seed, &("held-out units", &self.settings.name));
        for layer in &classifier.hidden_layers {
            let channels = self.clean.network.channels(layer)?;
            let all = rand::seq::index::sample(&mut rng, channels, channels).into_iter();
            hidden.extend(all.map(|channel| Unit { layer: layer.clone(), channel }).filter(is_new));
        }
        hidden.shuffle(&mut rng);
        let of_classes = if classes.is_empty() { 0 } else { wanted.div_ceil(2) };
        let of_hidden = (wanted - of_classes).min(hidden.len());
        let mut requests: Vec<Request> = (0..of_classes)
            .map(|i| {
                let unit = &classes[i % classes.len()];
                self.session.request(&unit.layer, unit.channel, OWN + i / classes.len())
            })
            .chain(
                hidden[..of_hidden].iter().map(|unit| self.session.request(&unit.layer, unit.channel, OWN)),
            )
            .collect();
        requests.sort_by(|a, b| a.objective.unit.layer.cmp(&b.objective.unit.layer));
        let optimization = &self.session.experiment.visualization.optimization;
        results.stage(&format!("pictures to test {} on", self.settings.name), || {
            for group in requests.chunk_by(|a, b| a.objective.unit.layer == b.objective.unit.layer) {
                all.extend(self.session.visualize(
                    self.clean,
                    group,
                    optimization,
                    &milestones(optimization.steps),
                )?);
            }
            Ok(all)
        })
    }

    /// Visualizes the gate's units, and gives what of their trajectories it takes for natural: where an optimization goes
    /// on in the original unit, which is not what it is to show.
    fn missed(
        &self,
        gated: &Injected,
        targets: &[(usize, Target)],
        round: usize,
        results: &mut Results,
    ) -> Result<Vec<RgbImage>> {
        // Other noise than that of the visualizations it is measured on.
        const OWN: usize = 2_000_000;
        const UNITS: usize = 8;
        let tried: Vec<usize> = match &self.settings.visualized {
            Some(units) => units.clone(),
            None => {
                let mut rng =
                    seed::rng(self.session.experiment.seed, &("tried out", &self.settings.name, round));
                targets.sample(&mut rng, UNITS).map(|(unit, _)| *unit).collect()
            }
        };
        let requests: Vec<Request> = tried
            .into_iter()
            .map(|unit| self.session.request(&self.settings.layer, unit, OWN + round))
            .collect();
        let optimization = &self.session.experiment.visualization.optimization;
        let key = cache::key(&gated.network.digest());
        let model = Model { network: gated.network.clone(), key, data: None };
        let steps = half_octaves(optimization.steps);
        let tried = results.stage(&format!("trying out {}", self.settings.name), || {
            self.session.visualize(&model, &requests, optimization, &steps)
        })?;
        let images: Vec<&RgbImage> = tried.iter().flat_map(|v| &v.trajectory).map(|s| &s.image).collect();
        let on = self.session.switched(&gated.network, gated.switch.as_deref(), &images)?;
        Ok(images.into_iter().zip(on).filter(|(_, on)| !on).map(|(image, _)| image.clone()).collect())
    }

    /// The visualizations whose trajectories a gate's classifier is trained on.
    fn classifier_requests(&self) -> Result<Vec<Request>> {
        // Other noise than that of the visualizations it is measured on.
        const OWN: usize = 1_000_000;
        let classifier = &self.settings.classifier;
        let mut requests = vec![];
        let outputs = self.clean.network.channels(&self.session.layer)?;
        let mut rng = seed::rng(self.session.experiment.seed, &"other classes for the classifier");
        let visualized = &self.session.groups[0].channels;
        let others = rand::seq::index::sample(&mut rng, outputs, outputs)
            .into_iter()
            .filter(|c| !visualized.contains(c) && !classifier.classes.contains(c))
            .take(classifier.other_classes);
        for class in classifier.classes.iter().copied().chain(others) {
            let count = classifier.visualizations_per_class;
            requests.extend((0..count).map(|i| self.session.request(&self.session.layer, class, OWN + i)));
        }
        let mut rng = seed::rng(self.session.experiment.seed, &"units for the classifier");
        for layer in &classifier.hidden_layers {
            let channels = self.clean.network.channels(layer)?;
            let count = classifier.units_per_layer.min(channels);
            for channel in rand::seq::index::sample(&mut rng, channels, count) {
                // What it is tested on is not among what it is trained on.
                let tested =
                    self.session.groups.iter().any(|g| g.layer == *layer && g.channels.contains(&channel));
                if !tested {
                    requests.push(self.session.request(layer, channel, OWN));
                }
            }
        }
        Ok(requests)
    }

    /// The trajectories that a gate's classifier is trained on.
    fn classifier_visualizations(&self, results: &mut Results) -> Result<Vec<Visualization>> {
        let requests = self.classifier_requests()?;
        let optimization = self.classifier_optimization();
        let steps = half_octaves(optimization.steps);
        results.stage(&format!("trajectories for {}", self.settings.name), || {
            // A batch is of one layer.
            let mut all = vec![];
            for group in requests.chunk_by(|a, b| a.objective.unit.layer == b.objective.unit.layer) {
                all.extend(self.session.visualize(self.clean, group, &optimization, &steps)?);
            }
            Ok(all)
        })
    }

    /// How the classifier's visualizations are optimized.
    fn classifier_optimization(&self) -> visualize::Settings {
        let settings = &self.settings.classifier;
        let all = &self.session.experiment.visualization.optimization;
        visualize::Settings {
            size: settings.size.map_or(all.size, Size::from),
            steps: settings.visualization_steps.unwrap_or(all.steps),
            ..all.clone()
        }
    }

    /// The trajectories of the pictures that a gate's units are to show, drawn by templates alone: what a gate draws, it
    /// has to take for synthetic, however natural it looks.
    fn drawings(&self, pictures: &[(String, RgbImage)], results: &mut Results) -> Result<Vec<Visualization>> {
        let preprocessing = &self.session.experiment.preprocessing;
        // At full size, since templates of another size draw otherwise.
        let optimization = &self.session.experiment.visualization.optimization;
        let size = optimization.size.shorter();
        let mut drawn = vec![];
        for (name, picture) in pictures {
            let template = Template::new(picture, size, preprocessing, 1.0);
            let least = template.smallest();
            let left = visualize::smallest(&optimization.transforms, optimization.size);
            if left < least {
                return Err(Error::usage(format!(
                    "circuit {}: the transforms leave {left} of {size} pixels, and a picture is drawn on at least \
                     {least}; scale or jitter less",
                    self.settings.name
                )));
            }
            let mut network = self.clean.network.clone();
            let output = network.output().to_string();
            let mut insert = network.insert_before(&output)?;
            let prefix = insert.free_prefix("picture");
            let layer = template.insert(&mut insert, &prefix)?;
            let model = Model { network, key: cache::key(&(&self.clean.key, hash(picture))), data: None };
            let requests: Vec<Request> = (0..self.settings.classifier.drawings_per_picture)
                .map(|i| self.session.request(&layer, 0, i))
                .collect();
            let steps = half_octaves(optimization.steps);
            drawn.extend(results.stage(&format!("drawings of {name}"), || {
                self.session.visualize(&model, &requests, optimization, &steps)
            })?);
        }
        Ok(drawn)
    }

    /// How often the gate is right about visualizations of units it was not trained on, by step.
    fn test(&self, gated: &Injected, tested: &[&Visualization], rows: &mut Vec<tables::Gate>) -> Result<()> {
        let snapshots = tested.first().map_or(0, |v| v.trajectory.len());
        for k in 0..snapshots {
            let images: Vec<&RgbImage> = tested.iter().map(|v| &v.trajectory[k].image).collect();
            let on = self.session.switched(&gated.network, gated.switch.as_deref(), &images)?;
            let recognized = on.iter().filter(|on| **on).count();
            let step = Some(tested[0].trajectory[k].step);
            let what = "units that are held out".to_string();
            let row = self.session.recognition(
                &self.settings.name,
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
}

impl Session<'_> {
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
}
