//! What observers answered: one JSON line each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Answer, Plan};
use crate::error::{Context, Error, Result};
use crate::report::write_whole;

/// The folder of responses in a study's folder.
pub const FOLDER: &str = "responses";

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    pub observer: String,
    pub kind: Kind,
    pub trial: String,
    pub answer: Answer,
    /// How sure a person was, from 1 to 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u8>,
    /// How long a person took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// When, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Person,
    Model,
    /// Knows the answers, or guesses: it checks the trials.
    Simulated,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Model => "model",
            Self::Simulated => "simulated",
        }
    }
}

/// The files of responses in a study's folder, by name.
///
/// # Errors
/// Failure, if the folder can't be read.
pub fn files(study: &Path) -> Result<Vec<PathBuf>> {
    let folder = study.join(FOLDER);
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let mut all = vec![];
    for entry in std::fs::read_dir(&folder).on("read", &folder)? {
        let path = entry.on("read", &folder)?.path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// Reads responses to a plan's trials.
///
/// # Errors
/// Usage, if a file is not there; failure, naming file and line, for what is no response to a trial of the plan, or a
/// second one by the same observer.
pub fn read(files: &[PathBuf], plan: &Plan) -> Result<Vec<Response>> {
    let trials = plan.by_id();
    let mut seen = HashSet::new();
    let mut all = vec![];
    for path in files {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display())))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong =
                |what: String| Error::failure(format!("{}, line {}: {what}", path.display(), number + 1));
            let response: Response = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
            let trial = trials.get(response.trial.as_str());
            let trial = trial.ok_or_else(|| {
                wrong(format!("the study has no trial {}; do the responses belong to it?", response.trial))
            })?;
            trial.right(response.answer).map_err(wrong)?;
            if !seen.insert((response.observer.clone(), response.trial.clone())) {
                let again = format!("{} answers trial {} a second time", response.observer, response.trial);
                return Err(wrong(again));
            }
            all.push(response);
        }
    }
    Ok(all)
}

/// Writes a file of responses.
///
/// # Errors
/// Failure, if it can't be written.
pub fn write(path: &Path, responses: &[Response]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).on("create", folder)?;
    let mut text = String::new();
    for response in responses {
        text += &serde_json::to_string(response).on("write", path)?;
        text.push('\n');
    }
    write_whole(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::plan::{References, tests::matching};
    use crate::trials::settings::Session;

    fn plan() -> Plan {
        Plan {
            name: "a".into(),
            network: "n".into(),
            seed: 0,
            key: "k".into(),
            depths: vec!["early".into()],
            images: vec![1],
            references: vec![References::None],
            session: Session::default(),
            trials: vec![matching("t1", [0, 1, 2]), matching("t2", [2, 1, 0])],
        }
    }

    #[test]
    fn responses_come_back_and_mistakes_name_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("responses/a.jsonl");
        let response = |observer: &str, trial: &str, answer| Response {
            observer: observer.into(),
            kind: Kind::Person,
            trial: trial.into(),
            answer,
            confidence: Some(2),
            milliseconds: None,
            at: None,
        };
        let good = vec![
            response("x", "t1", Answer::Rows([0, 2, 1])),
            response("y", "t1", Answer::Rows([0, 1, 2])),
            response("x", "t2", Answer::Rows([0, 1, 2])),
        ];
        write(&path, &good).unwrap();
        assert_eq!(files(folder.path()).unwrap(), std::slice::from_ref(&path));
        assert_eq!(read(std::slice::from_ref(&path), &plan()).unwrap(), good);
        for (bad, words) in [
            (response("x", "t3", Answer::Rows([0, 1, 2])), "no trial t3"),
            (response("z", "t1", Answer::Query(1)), "three on the left"),
            (response("z", "t1", Answer::Rows([0, 0, 2])), "one of its own"),
            (response("x", "t1", Answer::Rows([0, 1, 2])), "a second time"),
        ] {
            write(&path, &[&good[..], &[bad]].concat()).unwrap();
            let error = read(std::slice::from_ref(&path), &plan()).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(words), "{error}");
        }
        std::fs::write(&path, "{\"observer\":\"x\"").unwrap();
        assert!(read(&[path], &plan()).unwrap_err().to_string().contains("line 1"));
    }
}
