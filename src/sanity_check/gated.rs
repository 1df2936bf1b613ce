//! A network with a gate in it: its classifier trained and tested, the gate put in.

use image::RgbImage;

use super::Run;
use super::model::Model;
use crate::cache;
use crate::circuit::{classifier, gate};
use crate::config::Experiment;
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::network::Network;
use crate::progress;
use crate::report::{Results, tables};
use crate::seed;
use crate::visualize::{Unit, Visualization, half_octaves};

/// A network with a gate in it.
pub(super) struct Gated {
    pub model: Model,
    pub classifier: Network,
    /// The unit that each unit shows.
    pub targets: Vec<usize>,
}

impl Gated {
    /// The gate's answers t for images.
    pub(super) fn answers(
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

impl Run<'_> {
    /// Trains a gate's classifier, tests it on classes that it has not seen, and puts the gate in.
    pub(super) fn gate(
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
    pub(super) fn test_gate(
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
