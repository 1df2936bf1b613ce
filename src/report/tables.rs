//! The tables of a results folder: one CSV file each, from which everything else is drawn.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// A row of a table.
pub trait Row: Serialize + DeserializeOwned {
    /// The table's file name.
    const FILE: &'static str;
}

/// What the `circuit` column says of the network as it came.
pub const CLEAN: &str = "none";

/// How often a network is right about natural images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accuracy {
    pub network: String,
    pub circuit: String,
    pub dataset: String,
    pub images: usize,
    pub top1: f64,
    pub top5: f64,
}

/// How far a manipulated network differs from the clean one on natural images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Behaviour {
    pub network: String,
    pub circuit: String,
    pub dataset: String,
    pub images: usize,
    /// Images whose top class changed.
    pub changed_predictions: usize,
    /// The largest difference of any logit of an image that the gate calls natural.
    pub largest_logit_change: f64,
}

/// How often a gate's classifier is right.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gate {
    pub network: String,
    pub circuit: String,
    /// `natural`, or `visualization` for pictures of classes that the classifier was not trained on.
    pub kind: String,
    pub dataset: String,
    /// The step of the trajectory; empty for natural images.
    pub step: Option<usize>,
    pub images: usize,
    /// The share recognized as what they are.
    pub correct: f64,
}

/// A point of a trajectory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trajectory {
    pub network: String,
    pub circuit: String,
    pub unit: String,
    pub class: usize,
    pub index: usize,
    pub step: usize,
    pub activation: f64,
    /// The gate's answer, 0 (natural) to 1 (synthetic); empty where there is no gate.
    pub gate: Option<f64>,
    /// The picture, for the first visualization of each unit.
    pub picture: Option<String>,
}

/// A finished visualization, and what the clean network sees in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Visualization {
    pub network: String,
    pub circuit: String,
    pub unit: String,
    pub class: usize,
    pub class_name: String,
    pub index: usize,
    pub picture: String,
    pub activation: f64,
    /// The class that the clean network sees in it.
    pub shows: usize,
    pub shows_name: String,
    /// The class whose picture the circuit makes the unit show (its own, where there is none).
    pub target: usize,
    pub target_name: String,
    /// Cosine of the clean network's last features (channel means) with those of the unit's honest visualizations.
    pub similarity_own: Option<f64>,
    /// The same with the target unit's honest visualizations.
    pub similarity_target: Option<f64>,
}

/// Path similarity at one layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathSimilarity {
    pub network: String,
    pub circuit: String,
    pub reduction: String,
    pub metric: String,
    pub layer: String,
    pub natural_same_class: Option<f64>,
    pub natural_different_class: Option<f64>,
    pub visualization_same_class: Option<f64>,
    pub visualization_different_class: Option<f64>,
    pub normalized: Option<f64>,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    pub pairs: usize,
    pub undefined_pairs: usize,
}

impl Row for Accuracy {
    const FILE: &'static str = "accuracy.csv";
}
impl Row for Behaviour {
    const FILE: &'static str = "behaviour.csv";
}
impl Row for Gate {
    const FILE: &'static str = "gate.csv";
}
impl Row for Trajectory {
    const FILE: &'static str = "trajectories.csv";
}
impl Row for Visualization {
    const FILE: &'static str = "visualizations.csv";
}
impl Row for PathSimilarity {
    const FILE: &'static str = "path_similarity.csv";
}

/// Writes a table into a results folder; it appears only once it is whole.
///
/// # Errors
/// Failure, if it can't be written.
pub fn write<R: Row>(folder: &Path, rows: &[R]) -> Result<()> {
    let path = folder.join(R::FILE);
    let mut writer = csv::Writer::from_writer(vec![]);
    for row in rows {
        writer.serialize(row).on("write", &path)?;
    }
    let bytes = writer.into_inner().on("write", &path)?;
    super::write_whole(&path, &bytes)
}

/// Reads a table of a results folder; one that is not there is empty.
///
/// # Errors
/// Failure, naming the file and line, if it says something else than it should.
pub fn read<R: Row>(folder: &Path) -> Result<Vec<R>> {
    let path = folder.join(R::FILE);
    if !path.is_file() {
        return Ok(vec![]);
    }
    let mut reader = csv::Reader::from_path(&path).on("read", &path)?;
    reader.deserialize().map(|row| row.on("read", &path)).collect()
}
