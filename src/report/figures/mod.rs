//! Figures, as SVG and PNG, drawn from the tables of a results folder alone.

pub(crate) mod canvas;
mod controls;
mod detection;
mod paths;
mod pictures;
pub mod sheet;
mod silence;
mod trajectories;

use std::path::Path;

use crate::error::Result;
use crate::tables::unique;
use crate::tables::{
    self, Accuracy, Behaviour, Calibration, Case, ControlPicture, ControlSimilarity, Cost, Detection,
    Exhibit, FooledUnit, Gate, Judgement, PathSimilarity, Resemblance, Score, Silence, Suspect, Trajectory,
    Visualization,
};

/// All tables of a results folder.
pub struct Data {
    /// How often networks are right about natural images: `accuracy.csv`.
    pub accuracy: Vec<Accuracy>,
    /// How far manipulated networks differ from the clean one on natural images: `behaviour.csv`.
    pub behaviour: Vec<Behaviour>,
    /// What fooled units do with natural images, before and after: `fooled_units.csv`.
    pub fooled_units: Vec<FooledUnit>,
    /// How often gates' classifiers are right: `gate.csv`.
    pub gate: Vec<Gate>,
    /// The points of trajectories: `trajectories.csv`.
    pub trajectories: Vec<Trajectory>,
    /// Finished visualizations, and what the clean network sees in them: `visualizations.csv`.
    pub visualizations: Vec<Visualization>,
    /// How alike visualizations of different units are: `resemblance.csv`.
    pub resemblance: Vec<Resemblance>,
    /// How far visualizations drive units beyond natural images: `silence.csv`.
    pub silence: Vec<Silence>,
    /// Path similarity of visualizations by layer: `path_similarity.csv`.
    pub paths: Vec<PathSimilarity>,
    /// What detectors make of units: `scores.csv`.
    pub scores: Vec<Score>,
    /// How well detectors tell fooled units from others: `detection.csv`.
    pub detection: Vec<Detection>,
    /// What the circuits of the benchmark do: `cases.csv`.
    pub cases: Vec<Case>,
    /// Visualizations of the benchmark: `exhibits.csv`.
    pub exhibits: Vec<Exhibit>,
    /// What detectors cost: `cost.csv`.
    pub cost: Vec<Cost>,
    /// The units of an audited network, most suspicious first: `suspects.csv`.
    pub suspects: Vec<Suspect>,
    /// What an audit says of layers and of the whole network: `judgements.csv`.
    pub judgements: Vec<Judgement>,
    /// Honest networks, each judged by the others: `calibration.csv`.
    pub calibration: Vec<Calibration>,
    /// Path similarity of controls by layer: `controls.csv`.
    pub controls: Vec<ControlSimilarity>,
    /// Pictures of controls: `control_pictures.csv`.
    pub control_pictures: Vec<ControlPicture>,
}

impl Data {
    /// Reads the tables.
    ///
    /// # Errors
    /// Failure, naming the file and line, where one can't be read.
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            accuracy: tables::read(folder)?,
            behaviour: tables::read(folder)?,
            fooled_units: tables::read(folder)?,
            gate: tables::read(folder)?,
            trajectories: tables::read(folder)?,
            visualizations: tables::read(folder)?,
            resemblance: tables::read(folder)?,
            silence: tables::read(folder)?,
            paths: tables::read(folder)?,
            scores: tables::read(folder)?,
            detection: tables::read(folder)?,
            cases: tables::read(folder)?,
            exhibits: tables::read(folder)?,
            cost: tables::read(folder)?,
            suspects: tables::read(folder)?,
            judgements: tables::read(folder)?,
            calibration: tables::read(folder)?,
            controls: tables::read(folder)?,
            control_pictures: tables::read(folder)?,
        })
    }

    /// The networks that the tables tell of, by circuit, the clean one first.
    pub fn circuits(&self) -> Vec<String> {
        unique(self.accuracy.iter().map(|row| row.circuit.clone()))
    }

    /// The layers whose units are visualized, that of the classes first.
    pub fn layers(&self) -> Vec<String> {
        unique(self.visualizations.iter().map(|row| row.layer.clone()))
    }

    /// The networks whose units of a layer are visualized, the clean one first.
    pub fn circuits_on(&self, layer: &str) -> Vec<String> {
        unique(self.visualizations.iter().filter(|row| row.layer == layer).map(|row| row.circuit.clone()))
    }

    /// The layer whose units a circuit fools; for the clean network that of the classes.
    pub fn layer_of(&self, circuit: &str) -> Option<&str> {
        self.visualizations.iter().find(|row| row.circuit == circuit).map(|row| row.layer.as_str())
    }

    /// The comparisons that were made, as (reduction, metric), in the order of the table.
    pub fn comparisons(&self) -> Vec<(String, String)> {
        unique(self.paths.iter().map(|row| (row.reduction.clone(), row.metric.clone())))
    }

    /// The rows of one curve.
    pub fn curve(&self, units: &str, circuit: &str, comparison: &(String, String)) -> Vec<&PathSimilarity> {
        let wanted = |r: &&PathSimilarity| {
            r.units == units
                && r.circuit == circuit
                && (&r.reduction, &r.metric) == (&comparison.0, &comparison.1)
        };
        self.paths.iter().filter(wanted).collect()
    }
}

/// A figure that was drawn.
pub struct Figure {
    /// Its name in `figures/`, without an extension.
    pub name: String,
    /// What reports print under it.
    pub caption: String,
    /// What it is about.
    pub topic: Topic,
}

/// What a figure is about: the report's sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What visualizations of the honest network show.
    Honest,
    /// What a circuit makes them show.
    Circuit(String),
    /// How far visualizations go beyond natural images.
    Silence,
    /// Processing paths.
    Paths,
    /// What the path-similarity statistic says of controls.
    Controls,
    /// What the circuits of a benchmark of detectors do.
    Exhibits,
    /// Areas under ROC curves.
    Areas,
    /// ROC curves.
    Roc,
    /// How scores are spread.
    Scores,
}

/// What a circuit column means, in a legend.
fn label(circuit: &str) -> String {
    match circuit {
        tables::CLEAN => "honest network".into(),
        other => format!("with circuit \"{other}\""),
    }
}

/// Draws every figure into `figures/`.
///
/// # Errors
/// Failure, if a file can't be written or a picture is missing.
pub fn draw_all(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = pictures::grids(folder, data)?;
    figures.extend(pictures::strips(folder, data)?);
    figures.extend(trajectories::draw(folder, data)?);
    figures.extend(silence::draw(folder, data)?);
    figures.extend(paths::draw(folder, data)?);
    figures.extend(controls::draw(folder, data)?);
    figures.extend(pictures::exhibits(folder, data)?);
    figures.extend(detection::draw(folder, data)?);
    Ok(figures)
}
