//! The settings of the benchmark of detectors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bounds::{MANY, PICTURES, RESAMPLES, distinct, plain_name, within};
use crate::visualize::{self, Parameterization, Transform};

/// Which detectors are set against which circuits, on how many units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The circuits, and the layers in which each is put.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// The ways of visualizing; by default the experiment's alone.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// By default all there are.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// How many units of a layer a circuit fools, drawn at random; at most half of them.
    #[serde(default = "units")]
    pub manipulated: usize,
    /// How many others of the same layer of the same network are looked at.
    #[serde(default = "units")]
    pub clean: usize,
    /// Visualizations of each unit.
    #[serde(default = "pictures")]
    pub pictures: usize,
    /// How many natural images of the validation set the detectors are given.
    #[serde(default = "natural_images")]
    pub natural_images: usize,
    /// Bootstrap samples for the intervals.
    #[serde(default = "bootstrap")]
    pub bootstrap: usize,
    /// How often it is drawn anew which of these units are fooled and which are the others.
    #[serde(default = "draws")]
    pub draws: usize,
    /// So many honest networks, trained from other seeds, are looked at, too, as a control; 0 for none.
    #[serde(default = "honest_networks")]
    pub honest_networks: usize,
}

/// A circuit, and where it is put.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The circuit's file, relative to the experiment's. Its layer and units are set by the benchmark.
    pub circuit: PathBuf,
    /// The layers in which it is put, one at a time.
    pub layers: Vec<String>,
    /// How often its units are drawn; by default as often as those of the others. For circuits that take long to make.
    pub draws: Option<usize>,
}

/// A way of visualizing: what it changes of the experiment's `visualization.optimization`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What tables call the method.
    pub name: String,
    /// How the image is represented; by default as in the experiment.
    pub parameterization: Option<Parameterization>,
    /// Number of updates; by default the experiment's.
    pub steps: Option<usize>,
    /// Adam's step length; by default the experiment's.
    pub learning_rate: Option<f64>,
    /// Weight of the Euclidean distance from grey; by default the experiment's.
    pub l2: Option<f32>,
    /// Weight of the total variation; by default the experiment's.
    pub total_variation: Option<f32>,
    /// What is done to the image at each step; by default what the experiment does.
    pub transforms: Option<Vec<Transform>>,
}

fn units() -> usize {
    8
}

fn pictures() -> usize {
    2
}

fn natural_images() -> usize {
    500
}

fn bootstrap() -> usize {
    1000
}

fn draws() -> usize {
    10
}

fn honest_networks() -> usize {
    5
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cases: vec![],
            methods: vec![],
            detectors: vec![],
            manipulated: units(),
            clean: units(),
            pictures: pictures(),
            natural_images: natural_images(),
            bootstrap: bootstrap(),
            draws: draws(),
            honest_networks: honest_networks(),
        }
    }
}

impl Method {
    fn standard() -> Self {
        Self {
            name: "standard".into(),
            parameterization: None,
            steps: None,
            learning_rate: None,
            l2: None,
            total_variation: None,
            transforms: None,
        }
    }

    /// The experiment's settings with this method's changes.
    pub fn settings(&self, base: &visualize::Settings) -> visualize::Settings {
        visualize::Settings {
            size: base.size,
            parameterization: self.parameterization.unwrap_or(base.parameterization),
            steps: self.steps.unwrap_or(base.steps),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            redirect: base.redirect,
            l2: self.l2.unwrap_or(base.l2),
            total_variation: self.total_variation.unwrap_or(base.total_variation),
            transforms: self.transforms.clone().unwrap_or_else(|| base.transforms.clone()),
            diversity: base.diversity.clone(),
        }
    }
}

impl Settings {
    /// Refuses what can't work, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self, base: &visualize::Settings) -> Result<(), String> {
        for (key, value, range) in [
            ("manipulated", self.manipulated, 1..=MANY),
            ("clean", self.clean, 1..=MANY),
            ("natural_images", self.natural_images, 1..=MANY),
            ("bootstrap", self.bootstrap, 1..=RESAMPLES),
            ("draws", self.draws, 1..=1000),
            ("honest_networks", self.honest_networks, 0..=1000),
        ] {
            within(key, value, range)?;
        }
        if self.pictures < 2 {
            return Err("pictures is below 2: whether a unit's visualizations agree takes two of them".into());
        }
        within("pictures", self.pictures, 2..=PICTURES)?;
        distinct("detectors", &self.detectors)?;
        for case in &self.cases {
            if case.layers.is_empty() {
                return Err(format!("cases: {} is put in no layer", case.circuit.display()));
            }
            distinct("cases: layers", &case.layers)?;
            within("cases: draws", case.draws.unwrap_or(1), 1..=self.draws)?;
        }
        let mut names: Vec<&str> = self.methods.iter().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("methods: there are two called \"{}\"", pair[0]));
        }
        for method in &self.methods {
            plain_name("methods: name", &method.name)?;
            method.settings(base).check().map_err(|e| format!("methods \"{}\": {e}", method.name))?;
        }
        Ok(())
    }

    /// The ways of visualizing.
    pub fn methods(&self) -> Vec<Method> {
        if self.methods.is_empty() { vec![Method::standard()] } else { self.methods.clone() }
    }

    /// The layers of all cases, in the order they are named.
    pub fn layers(&self) -> Vec<String> {
        let mut layers: Vec<String> = vec![];
        for layer in self.cases.iter().flat_map(|case| &case.layers) {
            if !layers.contains(layer) {
                layers.push(layer.clone());
            }
        }
        layers
    }
}
