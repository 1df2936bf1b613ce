//! Figures, as SVG and PNG, drawn from the tables of a results folder alone.

mod canvas;
mod paths;
mod pictures;
mod trajectories;

use std::path::Path;

use super::tables::{self, Accuracy, Behaviour, Gate, PathSimilarity, Trajectory, Visualization};
use crate::error::Result;

/// All tables of a results folder.
pub struct Data {
    pub accuracy: Vec<Accuracy>,
    pub behaviour: Vec<Behaviour>,
    pub gate: Vec<Gate>,
    pub trajectories: Vec<Trajectory>,
    pub visualizations: Vec<Visualization>,
    pub paths: Vec<PathSimilarity>,
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
            gate: tables::read(folder)?,
            trajectories: tables::read(folder)?,
            visualizations: tables::read(folder)?,
            paths: tables::read(folder)?,
        })
    }

    /// The circuits that the tables tell of, the clean network first.
    pub fn circuits(&self) -> Vec<String> {
        let mut all: Vec<String> = vec![];
        for row in &self.paths {
            if !all.contains(&row.circuit) {
                all.push(row.circuit.clone());
            }
        }
        all
    }

    /// The comparisons that were made, as (reduction, metric), in the order of the table.
    pub fn comparisons(&self) -> Vec<(String, String)> {
        let mut all = vec![];
        for row in &self.paths {
            let pair = (row.reduction.clone(), row.metric.clone());
            if !all.contains(&pair) {
                all.push(pair);
            }
        }
        all
    }
}

/// A figure that was drawn.
pub struct Figure {
    /// Its name in `figures/`, without an extension.
    pub name: String,
    pub caption: String,
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
    let mut figures = vec![];
    figures.extend(pictures::grid(folder, data)?);
    figures.extend(pictures::strip(folder, data)?);
    figures.extend(trajectories::draw(folder, data)?);
    figures.extend(paths::draw(folder, data)?);
    Ok(figures)
}
