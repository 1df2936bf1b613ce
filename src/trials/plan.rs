//! The trial plan: what observers are asked, and the right answers.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use super::references::References;
use super::settings;
use crate::cache;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::visualize::Unit;

/// The plan's file in a study's folder.
pub const FILE: &str = "trials.json";

/// All trials of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The name of the study.
    pub name: String,
    /// The tested network.
    pub network: String,
    /// The seed that every random draw comes from.
    pub seed: u64,
    /// The hash of all the rest, with pictures by their content: responses belong to one plan.
    pub key: String,
    /// The names of the depths, first to last.
    pub depths: Vec<String>,
    /// The number of images in matching trials: the conditions.
    pub images: Vec<usize>,
    /// The references in occlusion trials: the conditions.
    pub references: Vec<References>,
    /// Which places of an occluder are compared.
    #[serde(default, skip_serializing_if = "settings::Pairs::any")]
    pub pairs: settings::Pairs,
    /// What one participant is asked.
    pub session: settings::Session,
    /// All trials, those for practice and to catch with them.
    pub trials: Vec<Trial>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What responses call it: digits that tell nothing of it.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The circuit in the network whose visualizations are shown; `none` for the honest one.
    pub circuit: String,
    /// The name of the depth that its units are of.
    pub depth: String,
    /// The trial with the honest network's visualizations that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// What is asked, and the right answer.
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
    /// The task `exemplar`: natural images are on both sides.
    Exemplar(Matching),
    /// The task `visualization`: natural images are on the left, visualizations on the right.
    Visualization(Matching),
    /// The task `occlusion`: two occlusions of one natural image.
    Occlusion(Occlusion),
}

/// Three rows on the left are matched with three rows on the right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// Images in a row.
    pub images: usize,
    /// The units of the rows on the left.
    pub units: [Unit; 3],
    /// The pictures of each row on the left, by file: natural images.
    pub left: [Vec<String>; 3],
    /// The pictures of each row on the right, by file: natural images or visualizations.
    pub right: [Vec<String>; 3],
    /// For each row on the left the row on the right that is about the same unit.
    pub key: [usize; 3],
}

/// Two pictures that differ in what is occluded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occlusion {
    /// The unit that is asked about.
    pub unit: Unit,
    /// Which of the unit's batches.
    pub batch: usize,
    /// Which references are shown beside the queries.
    pub references: References,
    /// The references, by file; empty where there are none.
    pub shown: Vec<String>,
    /// The picture without an occluder.
    pub original: String,
    /// The two pictures between which an observer chooses, by file.
    pub queries: [String; 2],
    /// Left and upper border of the occluders and their side, in pixels; a side of 0 occludes nothing.
    pub places: [[u32; 3]; 2],
    /// The occluder's side, relative to the image's.
    pub side: f64,
    /// The activation without an occluder, and with each.
    pub unoccluded: f32,
    /// The activation for each of the two queries.
    pub activations: [f32; 2],
    /// How far the two activations differ, in standard deviations of the unit's over natural images.
    pub difference: f64,
    /// The query whose activation is lower.
    pub key: usize,
}

/// An answer: for each row on the left one on the right, or one of two queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// For each row on the left the row on the right, from 0 to 2.
    Rows([usize; 3]),
    /// The query that was chosen: 0 or 1.
    Query(usize),
}

impl Task {
    /// Every task there is.
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
    /// The unit that it is about, or the three that meet.
    pub fn subject(&self) -> String {
        match &self.question {
            Question::Occlusion(o) => o.unit.to_string(),
            Question::Exemplar(m) | Question::Visualization(m) => {
                let mut units = m.units.each_ref().map(ToString::to_string);
                units.sort_unstable();
                units.join(" ")
            }
        }
    }

    /// Which task it is.
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

    /// What is wrong with it by itself.
    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
        if self.circuit.is_empty() || !self.circuit.chars().all(plain) {
            return Err(format!("circuit is {:?}; it names files: letters, digits, - and _", self.circuit));
        }
        self.right(self.key()).map_err(|what| format!("key: {what}"))?;
        let original = match &self.question {
            Question::Exemplar(m) | Question::Visualization(m) => {
                if m.images == 0 || m.left.iter().chain(&m.right).any(|row| row.len() != m.images) {
                    return Err(format!("images is {}; that many must be in each row", m.images));
                }
                None
            }
            Question::Occlusion(o) => Some(&o.original),
        };
        match self.pictures().into_iter().chain(original).find(|file| !is_picture(file)) {
            Some(file) => Err(format!("{file:?} is no picture's name: 20 hexadecimal digits and .png")),
            None => Ok(()),
        }
    }
}

/// Whether a name is like those that pictures get: by content, and in no other folder.
fn is_picture(file: &str) -> bool {
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    file.strip_suffix(".png").is_some_and(|stem| stem.len() == 20 && stem.chars().all(hexadecimal))
}

impl Plan {
    /// Reads the plan of a study's folder.
    ///
    /// # Errors
    /// Usage, if the folder is no study's; failure, if the plan can't be read, or naming the trial that can't be asked: it
    /// may have been edited by hand.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::usage(format!(
                "{} holds no study: {FILE}: {e}; make one with `trompe trials`",
                folder.display()
            ))
        })?;
        let plan: Self = serde_json::from_str(&text).on("read", &path)?;
        plan.check().map_err(|what| Error::failure(format!("{}: {what}", path.display())))?;
        Ok(plan)
    }

    /// What is wrong with it.
    fn check(&self) -> Result<(), String> {
        if self.key.is_empty() {
            return Err("key is empty; responses belong to one plan by it".into());
        }
        for (value, key) in
            [(self.session.per_condition, "session.per_condition"), (self.session.block, "session.block")]
        {
            if value == 0 {
                return Err(format!("{key} is 0; it must be at least 1"));
            }
        }
        let by_id = self.by_id();
        let mut ids = HashSet::new();
        for trial in &self.trials {
            let wrong = |what: String| format!("trial {}: {what}", trial.id);
            if !ids.insert(&trial.id) {
                return Err(wrong("there are two with this id".into()));
            }
            trial.check().map_err(wrong)?;
            if !self.depths.contains(&trial.depth) {
                return Err(wrong(format!("depth {:?} is none of {:?}", trial.depth, self.depths)));
            }
            if let Some(honest) = &trial.repeats
                && by_id.get(honest.as_str()).is_none_or(|honest| honest.task() != trial.task())
            {
                return Err(wrong(format!("repeats {honest:?}, which is no trial of this task")));
            }
        }
        Ok(())
    }

    /// The same with the key that belongs to it; it must have none.
    pub(super) fn keyed(self) -> Self {
        Self { key: cache::key(&self), ..self }
    }

    /// Writes it into a study's folder.
    ///
    /// # Errors
    /// Failure, if it can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).on("write", &path)?;
        files::write(&path, text.as_bytes())
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
    use serde_json::{Value, json};

    use super::*;
    use crate::tables::CLEAN;

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

    /// An occlusion trial with made-up pictures.
    pub fn occlusion(id: &str, channel: usize, batch: usize, references: References) -> Trial {
        Trial {
            question: Question::Occlusion(Occlusion {
                unit: Unit { layer: "conv".into(), channel },
                batch,
                references,
                shown: vec![],
                original: format!("{id}o"),
                queries: [0, 1].map(|i| format!("{id}q{i}")),
                places: [[0, 0, 2], [2, 2, 2]],
                side: 0.5,
                unoccluded: 3.0,
                activations: [1.0, 2.0],
                difference: 1.0,
                key: 0,
            }),
            ..matching(id, [0, 1, 2])
        }
    }

    #[test]
    fn a_plan_that_was_edited_by_hand_is_checked() {
        let file = |n: usize| format!("{n:020x}.png");
        let mut rows = matching("rows", [1, 2, 0]);
        let Question::Exemplar(m) = &mut rows.question else { panic!("a matching trial") };
        m.left = [0, 1, 2].map(|n| vec![file(n)]);
        m.right = [3, 4, 5].map(|n| vec![file(n)]);
        let mut query = occlusion("query", 0, 0, References::None);
        let Question::Occlusion(o) = &mut query.question else { panic!("an occlusion trial") };
        (o.original, o.queries) = (file(6), [file(7), file(0xabc)]);
        let plan = Plan {
            name: "a".into(),
            network: "n".into(),
            seed: 0,
            key: String::new(),
            depths: vec!["early".into()],
            images: vec![1],
            references: vec![References::None],
            pairs: settings::Pairs::default(),
            session: settings::Session::default(),
            trials: vec![rows, query],
        }
        .keyed();
        let folder = tempfile::tempdir().unwrap();
        plan.write(folder.path()).unwrap();
        assert_eq!(Plan::read(folder.path()).unwrap(), plan);
        assert_ne!(Plan { key: String::new(), seed: 1, ..plan.clone() }.keyed().key, plan.key);
        type Edit = fn(&mut Value);
        let edits: [(Edit, &str); 13] = [
            (|p| p["session"]["block"] = json!(0), "session.block"),
            (|p| p["session"]["per_condition"] = json!(0), "session.per_condition"),
            (|p| p["key"] = json!(""), "key is empty"),
            (|p| p["trials"][0]["key"] = json!([1, 1, 0]), "trial rows: key"),
            (|p| p["trials"][1]["key"] = json!(2), "trial query: key"),
            (|p| p["trials"][1]["id"] = json!("rows"), "trial rows: there are two"),
            (|p| p["trials"][0]["right"][1][0] = json!("../trials.json"), "trial rows: \"../trials.json\""),
            (|p| p["trials"][1]["queries"][0] = json!("secret.png"), "trial query: \"secret.png\""),
            (|p| p["trials"][1]["original"] = json!("/etc/passwd"), "trial query: \"/etc/passwd\""),
            (|p| p["trials"][0]["images"] = json!(2), "trial rows: images"),
            (|p| p["trials"][0]["depth"] = json!("deep"), "trial rows: depth"),
            (|p| p["trials"][0]["circuit"] = json!("../x"), "trial rows: circuit"),
            (|p| p["trials"][0]["repeats"] = json!("query"), "trial rows: repeats"),
        ];
        for (edit, words) in edits {
            let mut edited = serde_json::to_value(&plan).unwrap();
            edit(&mut edited);
            std::fs::write(folder.path().join(FILE), edited.to_string()).unwrap();
            let error = Plan::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains(words), "{error}");
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
