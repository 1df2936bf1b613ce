//! The experiment file.

mod base;
pub mod detect;
mod own;
mod shipped;
mod written;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bounds::{MANY, PICTURES, STEPS, distinct, plain_name, within};
use crate::data::{Preprocessing, Source};
use crate::error::{Error, Result};
use crate::path;
use crate::training;
use crate::visualize::{self, Direction, Focus};

pub use own::Own;
pub use shipped::{save_shipped, shipped, unpacked};
pub use written::written;

/// One experiment. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The name of the results folder.
    pub name: String,
    /// Every random draw comes from it.
    #[serde(default)]
    pub seed: u64,
    /// Which network is looked at.
    pub network: Network,
    /// Which natural images, for what.
    pub data: Data,
    /// How pictures become what the network takes.
    pub preprocessing: Preprocessing,
    /// Needed where the network has no weights file.
    pub training: Option<training::Settings>,
    /// Which units are visualized, and how.
    pub visualization: Visualization,
    /// Circuit files, relative to the experiment file.
    #[serde(default)]
    pub circuits: Vec<PathBuf>,
    /// Which layers are compared; not needed where there is `detect`.
    #[serde(default = "no_paths")]
    pub paths: path::Settings,
    /// What is set in the place of visualizations, to see what the statistic says of it.
    pub controls: Option<path::controls::Settings>,
    /// Hidden layers of which units are visualized, too.
    #[serde(default)]
    pub hidden: Vec<Hidden>,
    /// Which layers' units are asked how far visualizations drive them beyond natural images.
    pub audit: Option<Audit>,
    /// Which detectors are set against which circuits.
    pub detect: Option<detect::Settings>,
    /// Further layers that are asked for by name: by a command, a circuit or a trials file.
    #[serde(skip)]
    pub named: Vec<String>,
}

/// Which network: an architecture, or a file that holds a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// An architecture's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Its number of outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// A weights file in the data root; without it the architecture is trained.
    pub weights: Option<PathBuf>,
    /// A file with graph and weights, ONNX or as `train` and `fool` write it, in the data root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The layer that is taken for the output, and behind which nothing is read; by default what the network says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Units of a hidden layer, drawn at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hidden {
    /// The layer that they are drawn from.
    pub layer: String,
    /// How many.
    pub units: usize,
    /// Visualizations of each.
    #[serde(default = "one")]
    pub per_unit: usize,
}

/// The audit of silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// All units of these layers are watched on natural images.
    pub layers: Vec<String>,
    /// So many units of each, drawn at random, are visualized.
    pub units_per_layer: usize,
    /// Optimization steps; by default the experiment's.
    pub steps: Option<usize>,
}

/// Which natural images, for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// What the network, and a circuit's classifier, is trained on.
    pub train: Option<Source>,
    /// What everything is measured on.
    pub validation: Source,
    /// Further sets on which accuracy is reported.
    #[serde(default)]
    pub evaluation: Vec<Source>,
}

/// Which units are visualized, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visualization {
    /// The layer whose channel of a class's index is visualized; by default the network's output.
    pub layer: Option<String>,
    /// Class indices; by default all classes of the validation set.
    pub classes: Option<Vec<usize>>,
    /// Visualizations of each class.
    #[serde(default = "pictures_of_each")]
    pub per_class: usize,
    /// Which part of a unit's map counts; by default the mean of the whole map.
    #[serde(default)]
    pub focus: Focus,
    /// Whether units are driven up or down; by default up.
    #[serde(default)]
    pub direction: Direction,
    /// How they are optimized.
    pub optimization: visualize::Settings,
}

fn one() -> usize {
    1
}

fn pictures_of_each() -> usize {
    5
}

fn no_paths() -> path::Settings {
    path::Settings { layers: vec![], images_per_class: 1, reductions: vec![], metrics: vec![], bootstrap: 0 }
}

impl Visualization {
    fn check(&self) -> Result<(), String> {
        within("per_class", self.per_class, 1..=PICTURES)?;
        if let Some(classes) = &self.classes {
            distinct("classes", classes)?;
            if classes.is_empty() {
                return Err("classes is empty; name some, or leave it out for all".into());
            }
        }
        if self.optimization.diversity.is_some() {
            return Err("optimization.diversity has no effect here, where each picture is optimized by itself: it belongs \
                        in a trials file"
                .into());
        }
        self.focus.check()?;
        self.optimization.check().map_err(|e| format!("optimization.{e}"))
    }
}

impl Data {
    fn check(&self) -> Result<(), String> {
        for source in self.train.iter().chain(self.sources()) {
            source.check().map_err(|e| format!("data: {source}: {e}"))?;
        }
        let names: Vec<String> = self.sources().map(Source::to_string).collect();
        distinct("data: validation and evaluation", &names)
    }

    /// The sets that accuracy is reported on.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        std::iter::once(&self.validation).chain(self.evaluation.iter().filter(|s| **s != self.validation))
    }
}

impl Network {
    /// A network in a file.
    pub fn in_file(file: PathBuf) -> Self {
        Self { builder: None, classes: None, weights: None, file: Some(file), output: None }
    }

    fn check(&self) -> Result<(), String> {
        match (&self.builder, self.classes, &self.file) {
            (_, Some(classes), _) if !(1..=1_000_000).contains(&classes) => {
                within("network.classes", classes, 1..=1_000_000)
            }
            (None, None, Some(_)) if self.weights.is_none() => Ok(()),
            (_, _, Some(_)) => {
                Err("network.file holds the whole network: leave builder, classes and weights out".into())
            }
            (Some(_), Some(_), None) => Ok(()),
            (Some(_), None, None) => Err("network.classes is missing: the number of outputs".into()),
            (None, _, None) => Err("network has no builder: name an architecture, or a `file`".into()),
        }
    }
}

impl Experiment {
    /// Reads and checks an experiment file.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let experiment = base::read(path)?;
        experiment.check().map_err(|what| Error::usage(format!("{}: {what}", path.display())))?;
        Ok(experiment)
    }

    /// The layers that it names.
    pub fn layers(&self) -> Vec<String> {
        let mut all = self.paths.layers.clone();
        all.extend(self.visualization.layer.clone());
        all.extend(self.hidden.iter().map(|hidden| hidden.layer.clone()));
        all.extend(self.audit.iter().flat_map(|audit| audit.layers.clone()));
        all.extend(self.detect.iter().flat_map(detect::Settings::layers));
        all.extend(self.network.output.clone());
        all.extend(self.named.iter().cloned());
        all
    }

    fn check(&self) -> Result<(), String> {
        plain_name("name", &self.name)?;
        self.network.check()?;
        self.data.check()?;
        self.preprocessing.check().map_err(|e| format!("preprocessing.{e}"))?;
        self.visualization.check().map_err(|e| format!("visualization.{e}"))?;
        if let Some(training) = &self.training {
            training.check().map_err(|e| format!("training.{e}"))?;
        }
        if self.network.file.is_none()
            && self.network.weights.is_none()
            && (self.training.is_none() || self.data.train.is_none())
        {
            return Err(
                "the network has no `weights`: give them or a `file` in [network], or [training] and [data.train]"
                    .into(),
            );
        }
        match (self.paths.layers.is_empty(), &self.detect) {
            (true, None) => {
                return Err("paths.layers is empty; name the layers to compare, first to last".into());
            }
            (true, Some(_)) => {}
            (false, _) => self.paths.check().map_err(|e| format!("paths.{e}"))?,
        }
        if let Some(controls) = &self.controls {
            controls.check().map_err(|e| format!("controls.{e}"))?;
        }
        distinct("circuits", &self.circuits)?;
        for (at, hidden) in self.hidden.iter().enumerate() {
            within("hidden.units", hidden.units, 1..=MANY)?;
            within("hidden.per_unit", hidden.per_unit, 1..=PICTURES)?;
            if self.hidden[..at].iter().any(|earlier| earlier.layer == hidden.layer) {
                return Err(format!("hidden names the layer {:?} twice", hidden.layer));
            }
        }
        if let Some(detect) = &self.detect {
            detect.check(&self.visualization.optimization).map_err(|e| format!("detect.{e}"))?;
        }
        if let Some(audit) = &self.audit {
            within("audit.units_per_layer", audit.units_per_layer, 1..=MANY)?;
            within("audit.steps", audit.steps.unwrap_or(1), 1..=STEPS)?;
            distinct("audit.layers", &audit.layers)?;
            if audit.layers.is_empty() {
                return Err("audit.layers is empty; name the layers whose units are audited".into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::Circuit;
    use crate::results::described;
    use crate::trials::Study;

    /// The files of a folder and of those in it whose names end in `.toml`.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect()
    }

    #[test]
    fn every_file_in_the_repository_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let configs = files(&root.join("configs"));
        assert!(configs.len() > 10);
        for path in configs {
            match ["trials", "psychophysics"].iter().any(|name| path.file_stem().unwrap() == *name) {
                true => drop(Study::read(&path).unwrap()),
                false => {
                    let experiment = Experiment::read(&path).unwrap();
                    Circuit::beside(&path, &experiment.circuits).unwrap();
                    // As manifests keep it and reports read it.
                    let again: Experiment = serde_json::from_value(described(&experiment)).unwrap();
                    assert_eq!(again, experiment);
                }
            }
        }
        for path in files(&root.join("circuits")) {
            Circuit::read(&path).unwrap();
        }
    }
}
