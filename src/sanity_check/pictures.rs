//! Visualizations of the experiment's units, and what they show.

use image::RgbImage;

use super::accuracy::argmax;
use super::gated::Gated;
use super::model::Model;
use super::{Run, Setting};
use crate::config::Experiment;
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::network::{INPUT, Network};
use crate::path::{self, Metric};
use crate::progress;
use crate::report::{Results, tables};
use crate::training;
use crate::visualize::{Request, Visualization, milestones, visualize};

impl Run<'_> {
    /// The visualizations of every class's unit.
    pub(super) fn visualizations(&self, model: &Model, results: &mut Results) -> Result<Vec<Visualization>> {
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

    /// Makes visualizations, looked at after the given steps, each kept as soon as it is finished.
    pub(super) fn visualize(
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
    pub(super) fn describe(
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
