//! What observers answered: one JSON line each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::plan::{self, Answer, Plan};
use crate::error::{Context, Error, Result};
use crate::files;

/// The folder of responses in a study's folder.
pub const FOLDER: &str = "responses";

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// What tables call the observer.
    pub observer: String,
    /// Whether a person, a model or a simulated observer answered.
    pub kind: Kind,
    /// The id of the trial.
    pub trial: String,
    /// What was answered.
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

/// A response as it is kept: with the key of the plan that it answers.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub plan: &'a str,
    #[serde(flatten)]
    pub response: &'a Response,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A participant of the study.
    Person,
    /// A model that compares pictures, or a baseline that looks at the occluders alone.
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

/// Reads responses to the plan of a study's folder.
///
/// # Errors
/// Usage, if a file is not there; failure, naming file and line, for what is no response to a trial of the plan, for a
/// response to another plan, or a second one by the same observer.
pub fn read(study: &Path, files: &[PathBuf], plan: &Plan) -> Result<Vec<Response>> {
    let trials = plan.by_id();
    let mut seen = HashSet::new();
    let mut all = vec![];
    for path in files {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display())))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong =
                |what: String| Error::failure(format!("{}, line {}: {what}", path.display(), number + 1));
            let (key, response) = parse(line).map_err(wrong)?;
            if key != plan.key {
                return Err(wrong(format!(
                    "it answers the plan with key {key}, and {} has key {}: it belongs to another study",
                    study.join(plan::FILE).display(),
                    plan.key
                )));
            }
            let trial = trials.get(response.trial.as_str());
            let trial = trial.ok_or_else(|| wrong(format!("the study has no trial {}", response.trial)))?;
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

/// A line of a file of responses: the key of the plan, and the response.
fn parse(line: &str) -> Result<(String, Response), String> {
    let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let Some(Value::String(key)) = fields.remove("plan") else {
        return Err(format!("it does not say in \"plan\" which plan it answers: the key in {}", plan::FILE));
    };
    let response = serde_json::from_value(Value::Object(fields)).map_err(|e| e.to_string())?;
    Ok((key, response))
}

/// Writes a file of responses to a plan.
///
/// # Errors
/// Failure, if it can't be written.
pub fn write(path: &Path, plan: &Plan, responses: &[Response]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).on("create", folder)?;
    let mut text = String::new();
    for response in responses {
        text += &serde_json::to_string(&Line { plan: &plan.key, response }).on("write", path)?;
        text.push('\n');
    }
    files::write(path, text.as_bytes())
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
            pairs: Default::default(),
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
        write(&path, &plan(), &good).unwrap();
        let study = folder.path();
        assert_eq!(files(study).unwrap(), std::slice::from_ref(&path));
        assert_eq!(read(study, std::slice::from_ref(&path), &plan()).unwrap(), good);
        for (bad, words) in [
            (response("x", "t3", Answer::Rows([0, 1, 2])), "no trial t3"),
            (response("z", "t1", Answer::Query(1)), "three on the left"),
            (response("z", "t1", Answer::Rows([0, 0, 2])), "one of its own"),
            (response("x", "t1", Answer::Rows([0, 1, 2])), "a second time"),
        ] {
            write(&path, &plan(), &[&good[..], &[bad]].concat()).unwrap();
            let error = read(study, std::slice::from_ref(&path), &plan()).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(words), "{error}");
        }
        // Trials are called alike in all studies of a seed.
        write(&path, &Plan { key: "other".into(), ..plan() }, &good).unwrap();
        let error = read(study, std::slice::from_ref(&path), &plan()).unwrap_err().to_string();
        for words in ["a.jsonl, line 1", "key other", "trials.json has key k"] {
            assert!(error.contains(words), "{error}");
        }
        for (line, words) in [
            ("{\"observer\":\"x\"", "line 1"),
            ("{\"observer\":\"x\",\"kind\":\"person\",\"trial\":\"t1\",\"answer\":[0,1,2]}", "\"plan\""),
            (
                "{\"plan\":\"k\",\"observer\":\"x\",\"kind\":\"person\",\"trial\":\"t1\",\"answer\":[0,1,2],\"x\":1}",
                "unknown field",
            ),
        ] {
            std::fs::write(&path, line).unwrap();
            let error = read(study, std::slice::from_ref(&path), &plan()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
