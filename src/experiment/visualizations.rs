//! Visualizations of the experiment's units, each kept as soon as it is finished.

use serde::Serialize;

use super::model::Model;
use super::units::Units;
use super::{Session, Setting};
use crate::config::Experiment;
use crate::error::Result;
use crate::progress::{self, Progress};
use crate::results::Results;
use crate::visualize::{self, Request, Visualization, milestones, visualize};
use image::RgbImage;

/// Where the cache has visualizations, and in what files.
const KIND: &str = "visualizations";
const EXTENSION: &str = "safetensors";

impl Session<'_> {
    /// The visualizations of a group of units.
    pub(crate) fn visualizations(
        &self,
        model: &Model,
        units: &Units,
        results: &mut Results,
    ) -> Result<Vec<Visualization>> {
        let settings = &self.experiment.visualization.optimization;
        let requests: Vec<Request> = units
            .channels
            .iter()
            .flat_map(|&channel| (0..units.per_unit).map(move |i| (channel, i)))
            .map(|(channel, i)| self.request(&units.layer, channel, i))
            .collect();
        let stage = format!("visualizations of units of {} in {}", units.layer, model.network.name());
        results.stage(&stage, || self.visualize(model, &requests, settings, &milestones(settings.steps)))
    }

    /// The honest visualization of a unit.
    pub(crate) fn honest_picture(
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

    /// What decides a visualization.
    fn of(
        &self,
        model: &Model,
        request: &Request,
        settings: &visualize::Settings,
        milestones: &[usize],
    ) -> impl Serialize {
        let Experiment { preprocessing, seed, .. } = self.experiment;
        (&model.key, preprocessing, settings, request, milestones, seed, self.device())
    }

    /// Those visualizations that no earlier run has kept.
    pub(crate) fn missing<'r>(
        &self,
        model: &Model,
        requests: &'r [Request],
        settings: &visualize::Settings,
        milestones: &[usize],
    ) -> Vec<&'r Request> {
        let kept =
            |request| self.setting.cache.has(KIND, &self.of(model, request, settings, milestones), EXTENSION);
        requests.iter().filter(|request| !kept(request)).collect()
    }

    /// Makes visualizations of units of one layer, looked at after the given steps, each kept as soon as it is
    /// finished.
    pub(crate) fn visualize(
        &self,
        model: &Model,
        requests: &[Request],
        settings: &visualize::Settings,
        milestones: &[usize],
    ) -> Result<Vec<Visualization>> {
        let Experiment { preprocessing, seed, .. } = self.experiment;
        let Setting { cache, executor, .. } = self.setting;
        let Some(first) = requests.first() else { return Ok(vec![]) };
        let missing = self.missing(model, requests, settings, milestones);
        let words = format!("visualizing {} in {}", first.objective.unit.layer, model.network.name());
        let bar = progress::bar(&words, missing.len() * settings.steps);
        // The bar counts steps, not pictures.
        let pictures = Progress::hidden();
        let make = |requests: &[Request]| {
            visualize(&model.network, preprocessing, settings, requests, milestones, *seed, &bar)
        };
        executor.run(&missing, executor.pictures(), &pictures, |chunk| {
            let chunk: Vec<Request> = chunk.iter().map(|&r| r.clone()).collect();
            for (request, picture) in chunk.iter().zip(make(&chunk)?) {
                let keep = |path: &std::path::Path| picture.save(path);
                let of = self.of(model, request, settings, milestones);
                cache.get_or(KIND, &of, EXTENSION, |_| Ok(()), keep)?;
            }
            Ok(vec![(); chunk.len()])
        })?;
        bar.end();
        let kept = |request: &Request| {
            let load = |path: &std::path::Path| Visualization::load(request, path);
            let of = self.of(model, request, settings, milestones);
            cache.get_or(KIND, &of, EXTENSION, load, |path| {
                let made = make(std::slice::from_ref(request))?.remove(0);
                made.save(path)?;
                Ok(made)
            })
        };
        requests.iter().map(kept).collect()
    }
}
