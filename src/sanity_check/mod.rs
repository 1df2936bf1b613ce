//! The experiment: a network, its circuits, their visualizations, and the paths of natural and synthetic images.

mod accuracy;
mod gated;
mod model;
mod paths;
mod pictures;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::circuit::Circuit;
use crate::config::Experiment;
use crate::data::{Class, Dataset, Source};
use crate::error::{Context, Error, Result};
use crate::executor::Executor;
use crate::network::Network;
use crate::report::{Manifest, Results, tables};
use crate::visualize::{Objective, Request, Unit};

pub use model::network;
use model::{load, model, untrained};

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

    fn name(&self) -> String {
        self.experiment.network.builder.clone()
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

    fn class_name(&self, index: usize) -> String {
        let class = self.validation.classes.iter().find(|c| c.index == index);
        class.map_or_else(|| format!("class {index}"), |c| c.name.clone())
    }

    /// What a stage gives, kept as JSON.
    fn cached_json<T: Serialize + DeserializeOwned>(
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

    fn write(&self, folder: &Path) -> Result<()> {
        tables::write(folder, &self.accuracy)?;
        tables::write(folder, &self.behaviour)?;
        tables::write(folder, &self.gate)?;
        tables::write(folder, &self.trajectories)?;
        tables::write(folder, &self.visualizations)?;
        tables::write(folder, &self.paths)
    }
}
