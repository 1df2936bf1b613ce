//! The trial plan: what observers are asked, and the right answers.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::settings;
use crate::error::{Context, Error, Result};
use crate::report::write_whole;
use crate::visualize::Unit;

/// The plan's file in a study's folder.
pub const FILE: &str = "trials.json";

/// All trials of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    /// The tested network.
    pub network: String,
    pub seed: u64,
    /// The hash of what made it: responses belong to one plan.
    pub key: String,
    /// The names of the depths, first to last.
    pub depths: Vec<String>,
    /// The number of images in matching trials: the conditions.
    pub images: Vec<usize>,
    /// The references in occlusion trials: the conditions.
    pub references: Vec<References>,
    /// What one participant is asked.
    pub session: settings::Session,
    pub trials: Vec<Trial>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub id: String,
    pub purpose: Purpose,
    /// The circuit in the network whose visualizations are shown; `none` for the honest one.
    pub circuit: String,
    pub depth: String,
    /// The trial with the honest network's visualizations that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    #[serde(flatten)]
    pub question: Question,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Its answer counts.
    Main,
    /// Its answer is followed by the right one, and does not count.
    Practice,
    /// Anyone who looks gets it right: it tells who doesn't.
    Catch,
}

/// The tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Natural images are matched with natural images.
    Exemplar,
    /// Natural images are matched with visualizations.
    Visualization,
    /// Which of two occlusions lowers a unit's activation more.
    Occlusion,
}

/// A question with its pictures, which are named by file in the folder `stimuli`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Question {
    Exemplar(Matching),
    Visualization(Matching),
    Occlusion(Occlusion),
}

/// Three rows on the left are matched with three rows on the right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// Images in a row.
    pub images: usize,
    /// The units of the rows on the left.
    pub units: [Unit; 3],
    pub left: [Vec<String>; 3],
    pub right: [Vec<String>; 3],
    /// For each row on the left the row on the right that is about the same unit.
    pub key: [usize; 3],
}

/// Two pictures that differ in what is occluded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occlusion {
    pub unit: Unit,
    /// Which of the unit's batches.
    pub batch: usize,
    pub references: References,
    pub shown: Vec<String>,
    /// The picture without an occluder.
    pub original: String,
    pub queries: [String; 2],
    /// Left and upper border of the occluders and their side, in pixels; a side of 0 occludes nothing.
    pub places: [[u32; 3]; 2],
    /// The occluder's side, relative to the image's.
    pub side: f64,
    /// The activation without an occluder, and with each.
    pub unoccluded: f32,
    pub activations: [f32; 2],
    /// How far the two activations differ, in standard deviations of the unit's over natural images.
    pub difference: f64,
    /// The query whose activation is lower.
    pub key: usize,
}

/// What is shown beside a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum References {
    None,
    Visualizations,
    Natural,
    /// Visualizations and natural images.
    Mixed,
    /// Natural images, blurred but for the patch that activates the unit most.
    Blurred,
}

/// An answer: for each row on the left one on the right, or one of two queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    Rows([usize; 3]),
    Query(usize),
}

impl References {
    pub const ALL: [Self; 5] = [Self::None, Self::Visualizations, Self::Natural, Self::Mixed, Self::Blurred];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Visualizations => "visualizations",
            Self::Natural => "natural",
            Self::Mixed => "mixed",
            Self::Blurred => "blurred",
        }
    }

    /// Whether visualizations are among them.
    pub fn visualized(self) -> bool {
        matches!(self, Self::Visualizations | Self::Mixed)
    }
}

impl Task {
    pub const ALL: [Self; 3] = [Self::Exemplar, Self::Visualization, Self::Occlusion];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exemplar => "exemplar",
            Self::Visualization => "visualization",
            Self::Occlusion => "occlusion",
        }
    }

    /// The share of right answers that guessing gives.
    pub fn chance(self) -> f64 {
        if self == Self::Occlusion { 0.5 } else { 1.0 / 3.0 }
    }
}

impl Trial {
    pub fn task(&self) -> Task {
        match self.question {
            Question::Exemplar(_) => Task::Exemplar,
            Question::Visualization(_) => Task::Visualization,
            Question::Occlusion(_) => Task::Occlusion,
        }
    }

    /// What differs between trials of a task: the number of images, or the kind of references.
    pub fn condition(&self) -> String {
        match &self.question {
            Question::Exemplar(m) | Question::Visualization(m) => m.images.to_string(),
            Question::Occlusion(o) => o.references.name().into(),
        }
    }

    /// The files of its pictures.
    pub fn pictures(&self) -> Vec<&String> {
        match &self.question {
            Question::Exemplar(m) | Question::Visualization(m) => {
                m.left.iter().chain(&m.right).flatten().collect()
            }
            Question::Occlusion(o) => o.shown.iter().chain(&o.queries).collect(),
        }
    }

    /// The right answer.
    pub fn key(&self) -> Answer {
        match &self.question {
            Question::Exemplar(m) | Question::Visualization(m) => Answer::Rows(m.key),
            Question::Occlusion(o) => Answer::Query(o.key),
        }
    }

    /// How many questions the trial asks: three rows, or one.
    pub fn questions(&self) -> usize {
        if self.task() == Task::Occlusion { 1 } else { 3 }
    }

    /// How many of its questions an answer gets right: each row counts by itself.
    ///
    /// # Errors
    /// What is wrong with an answer that is none to this trial.
    pub fn right(&self, answer: Answer) -> Result<usize, String> {
        match (self.key(), answer) {
            (Answer::Rows(key), Answer::Rows(rows)) => {
                let mut sorted = rows;
                sorted.sort_unstable();
                match sorted == [0, 1, 2] {
                    true => Ok(rows.iter().zip(key).filter(|(a, b)| **a == *b).count()),
                    false => Err(format!("{rows:?} does not give each row one of its own, 0, 1 and 2")),
                }
            }
            (Answer::Query(key), Answer::Query(query)) if query < 2 => Ok(usize::from(key == query)),
            (Answer::Rows(_), _) => Err("a row on the right is wanted for each of three on the left".into()),
            (Answer::Query(_), _) => Err("0 or 1 is wanted: one of the two queries".into()),
        }
    }
}

impl Plan {
    /// Reads the plan of a study's folder.
    ///
    /// # Errors
    /// Usage, if the folder is no study's; failure, if the plan can't be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::usage(format!(
                "{} holds no study: {FILE}: {e}; make one with `trompe trials`",
                folder.display()
            ))
        })?;
        serde_json::from_str(&text).on("read", &path)
    }

    /// Writes it into a study's folder.
    ///
    /// # Errors
    /// Failure, if it can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).on("write", &path)?;
        write_whole(&path, text.as_bytes())
    }

    /// The trials by id.
    pub fn by_id(&self) -> HashMap<&str, &Trial> {
        self.trials.iter().map(|t| (t.id.as_str(), t)).collect()
    }

    /// The conditions of a task, in order.
    pub fn conditions(&self, task: Task) -> Vec<String> {
        match task {
            Task::Occlusion => self.references.iter().map(|r| r.name().to_string()).collect(),
            _ => self.images.iter().map(usize::to_string).collect(),
        }
    }

    /// The networks whose visualizations are shown, the honest one first.
    pub fn circuits(&self) -> Vec<String> {
        let mut all = vec![];
        for trial in &self.trials {
            if !all.contains(&trial.circuit) {
                all.push(trial.circuit.clone());
            }
        }
        all
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::tables::CLEAN;

    /// A matching trial with made-up pictures.
    pub fn matching(id: &str, key: [usize; 3]) -> Trial {
        let row = |side: &str| [0, 1, 2].map(|i| vec![format!("{id}{side}{i}")]);
        Trial {
            id: id.into(),
            purpose: Purpose::Main,
            circuit: CLEAN.into(),
            depth: "early".into(),
            repeats: None,
            question: Question::Exemplar(Matching {
                images: 1,
                units: [0, 1, 2].map(|channel| Unit { layer: "conv".into(), channel }),
                left: row("l"),
                right: row("r"),
                key,
            }),
        }
    }

    #[test]
    fn rows_count_by_themselves() {
        let trial = matching("a", [2, 0, 1]);
        let right = |rows| trial.right(Answer::Rows(rows));
        assert_eq!(right([2, 0, 1]), Ok(3));
        assert_eq!(right([2, 1, 0]), Ok(1));
        assert_eq!(right([0, 1, 2]), Ok(0));
        assert!(right([2, 2, 1]).is_err() && right([0, 1, 3]).is_err());
        assert!(trial.right(Answer::Query(0)).is_err());
    }

    #[test]
    fn answers_are_plain_json() {
        let read = |text: &str| serde_json::from_str::<Answer>(text).ok();
        assert_eq!(read("[2,0,1]"), Some(Answer::Rows([2, 0, 1])));
        assert_eq!(read("1"), Some(Answer::Query(1)));
        assert_eq!(read("[1,2]"), None);
        assert_eq!(read("\"1\""), None);
        assert_eq!(serde_json::to_string(&Answer::Rows([2, 0, 1])).unwrap(), "[2,0,1]");
    }
}
