//! What participants answered, kept at once: each answer is on the disk before the next question is asked.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::session::{self, Item};
use crate::error::{Context, Error, Result};
use crate::files::{self, Lock};
use crate::print::note;
use crate::trials::plan::{Answer, Plan, Purpose};
use crate::trials::responses::{self, Kind, Line, Response};

/// The responses of people.
const PEOPLE: &str = "people.jsonl";

/// Who takes part; in the study's folder.
const PARTICIPANTS: &str = "participants.jsonl";

/// What was refused, and why; in the study's folder.
const REFUSED: &str = "refused.jsonl";

/// A participant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Participant {
    /// The key of the plan that the participant is asked from.
    #[serde(default)]
    plan: String,
    name: String,
    /// What the participant's browser shows to be known again.
    token: String,
    at: u64,
}

/// What a browser sends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posted {
    pub trial: String,
    pub answer: Answer,
    pub confidence: u8,
    pub milliseconds: u64,
}

/// What a participant is told after an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Feedback {
    /// After practice: whether it was right, and what is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Answer>,
}

/// Why something is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The browser is no participant's.
    Stranger,
    /// It is for another machine, or from another page.
    Foreign(String),
    /// It is larger than any answer.
    TooLarge,
    /// It makes no sense.
    Malformed(String),
    /// It is not its turn: answered already, or not yet asked.
    OutOfTurn(String),
    /// It could not be kept.
    Lost(String),
}

/// The files of a running study.
pub(super) struct Store {
    plan: Plan,
    folder: PathBuf,
    people: Log,
    register: Log,
    refused: Log,
    /// Of this plan, in the order in which they began.
    participants: Vec<Participant>,
    responses: Vec<Response>,
    /// Nobody else writes these files as long as it is open.
    _lock: Lock,
}

#[derive(Serialize)]
struct Refused<'a> {
    at: u64,
    participant: Option<&'a str>,
    why: &'a str,
    body: String,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// A file that grows by whole lines.
struct Log {
    file: File,
    /// How long it is up to its last whole line, in bytes.
    length: u64,
    /// Whether a line that could not be written may lie behind that.
    torn: bool,
}

impl Log {
    /// Opens a file of lines to append to. A last line that was never finished is cut off: its answer was not acknowledged.
    fn open(path: &Path) -> Result<Self> {
        let mut file = files::secret(path)?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).on("read", path)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut log = Self { file, length: whole as u64, torn: whole < bytes.len() };
        if log.torn {
            note!("note: the last line of {} was never finished; it is cut off", path.display());
            log.cut().on("write", path)?;
        }
        Ok(log)
    }

    /// Appends a line, and waits until it is on the disk. A line that may not be there is cut off again: whoever is told so
    /// sends it once more.
    fn append(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.cut()?;
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if written.is_ok() {
            self.length += text.len() as u64;
        } else {
            self.torn = true;
            if let Err(e) = self.cut() {
                note!("a line that is not whole can't be cut off: {e}; it is tried again before the next");
            }
        }
        written
    }

    /// Cuts off what a failed write left behind.
    fn cut(&mut self) -> std::io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }
}

impl Store {
    /// Opens a study's files, with all that was answered before; no other server may have them open.
    pub fn open(folder: &Path, plan: Plan) -> Result<Self> {
        // Two servers would take different people for the same participant.
        let lock = Lock::take(folder, "take part there, or end it first")?;
        let responses = folder.join(responses::FOLDER);
        std::fs::create_dir_all(&responses).on("create", &responses)?;
        let people = responses.join(PEOPLE);
        let register = folder.join(PARTICIPANTS);
        let files = (Log::open(&people)?, Log::open(&register)?, Log::open(&folder.join(REFUSED))?);
        let text = std::fs::read_to_string(&register).on("read", &register)?;
        let mut participants = text
            .lines()
            .map(|line| serde_json::from_str(line).on("read", &register))
            .collect::<Result<Vec<Participant>>>()?;
        // Who took part in another study begins anew.
        participants.retain(|p| p.plan == plan.key);
        let responses = responses::read(folder, std::slice::from_ref(&people), &plan)?;
        if let Some(stranger) = responses.iter().find(|r| !participants.iter().any(|p| p.name == r.observer))
        {
            return Err(Error::failure(format!(
                "{} has responses of {}, who is not in {}",
                people.display(),
                stranger.observer,
                register.display()
            )));
        }
        Ok(Self {
            plan,
            folder: folder.into(),
            people: files.0,
            register: files.1,
            refused: files.2,
            participants,
            responses,
            _lock: lock,
        })
    }

    /// Takes in a new participant: gives the name, and the token to be known by.
    pub fn start(&mut self) -> Result<(String, String), Refusal> {
        let participant = Participant {
            plan: self.plan.key.clone(),
            name: format!("p{:03}", self.participants.len() + 1),
            // Not from the seed: nobody should be able to guess another's.
            token: format!("{:032x}", rand::random::<u128>()),
            at: now(),
        };
        self.register.append(&participant).map_err(|e| Refusal::Lost(e.to_string()))?;
        let known = (participant.name.clone(), participant.token.clone());
        self.participants.push(participant);
        Ok(known)
    }

    fn participant(&self, token: &str) -> Result<usize, Refusal> {
        self.participants.iter().position(|p| p.token == token).ok_or(Refusal::Stranger)
    }

    /// A participant's name, items, and the trials that are answered.
    pub fn session(&self, token: &str) -> Result<(String, Vec<Item>, Vec<String>), Refusal> {
        let number = self.participant(token)?;
        let name = self.participants[number].name.clone();
        let of = self.responses.iter().filter(|r| r.observer == name);
        let answered = of.map(|r| r.trial.clone()).collect();
        Ok((name, session::items(&self.plan, number), answered))
    }

    /// Keeps an answer, if it is one to the trial that the participant is at.
    pub fn answer(&mut self, token: &str, body: &[u8]) -> Result<Feedback, Refusal> {
        let (name, items, answered) = self.session(token)?;
        let posted: Posted =
            serde_json::from_slice(body).map_err(|e| Refusal::Malformed(format!("no answer: {e}")))?;
        if answered.contains(&posted.trial) {
            return Err(Refusal::OutOfTurn(format!("trial {} is answered already", posted.trial)));
        }
        let next = session::trials(&items).find(|asked| !answered.contains(&asked.id));
        if next.is_none_or(|next| next.id != posted.trial) {
            return Err(Refusal::OutOfTurn(format!("trial {} is not asked now", posted.trial)));
        }
        let by_id = self.plan.by_id();
        let trial = by_id[posted.trial.as_str()];
        let right = trial.right(posted.answer).map_err(Refusal::Malformed)?;
        if !(1..=3).contains(&posted.confidence) {
            return Err(Refusal::Malformed(format!("confidence is {}, not 1 to 3", posted.confidence)));
        }
        let feedback = match trial.purpose {
            Purpose::Practice => Feedback { right: Some(right == trial.questions()), key: Some(trial.key()) },
            _ => Feedback { right: None, key: None },
        };
        let response = Response {
            observer: name,
            kind: Kind::Person,
            trial: posted.trial,
            answer: posted.answer,
            confidence: Some(posted.confidence),
            milliseconds: Some(posted.milliseconds),
            at: Some(now()),
        };
        let line = Line { plan: &self.plan.key, response: &response };
        self.people.append(&line).map_err(|e| Refusal::Lost(e.to_string()))?;
        self.responses.push(response);
        Ok(feedback)
    }

    /// Notes what was refused.
    pub fn refuse(&mut self, token: &str, refusal: &Refusal, body: &[u8]) {
        let participant = self.participant(token).ok().map(|p| self.participants[p].name.clone());
        let why: String = refusal.to_string().chars().take(500).collect();
        let who = participant.as_deref().unwrap_or("a stranger");
        note!("refused what {who} sent: {why}");
        let body = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        let line = Refused { at: now(), participant: participant.as_deref(), why: &why, body };
        if let Err(e) = self.refused.append(&line) {
            note!("cannot write {}: {e}", self.folder.join(REFUSED).display());
        }
    }

    /// The study's plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stranger => write!(f, "unknown participant"),
            Self::TooLarge => write!(f, "it is larger than any answer"),
            Self::Foreign(why) | Self::Malformed(why) | Self::OutOfTurn(why) => write!(f, "{why}"),
            Self::Lost(why) => write!(f, "it could not be written: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::trials::plan::tests::matching;
    use crate::trials::settings::Session;

    fn plan() -> Plan {
        let mut practice = matching("practice", [0, 1, 2]);
        practice.purpose = Purpose::Practice;
        Plan {
            name: "x".into(),
            network: "n".into(),
            seed: 1,
            key: "k".into(),
            depths: vec!["early".into()],
            images: vec![1],
            references: vec![],
            pairs: Default::default(),
            session: Session { per_condition: 2, practice: 1, catch: 0, block: 5 },
            trials: vec![practice, matching("a", [0, 1, 2]), matching("b", [2, 1, 0])],
        }
    }

    fn post(trial: &str, answer: &str) -> Vec<u8> {
        format!("{{\"trial\":\"{trial}\",\"answer\":{answer},\"confidence\":2,\"milliseconds\":900}}")
            .into_bytes()
    }

    fn order(store: &Store, token: &str) -> Vec<String> {
        session::trials(&store.session(token).unwrap().1).map(|t| t.id.clone()).collect()
    }

    #[test]
    fn two_participants_do_not_mix_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), plan()).unwrap();
        let (one, first) = store.start().unwrap();
        let (two, second) = store.start().unwrap();
        assert_ne!((&one, &first), (&two, &second));
        // Practice is followed by the right answer, and nothing else is.
        let told = store.answer(&first, &post("practice", "[0,2,1]")).unwrap();
        assert_eq!(told, Feedback { right: Some(false), key: Some(Answer::Rows([0, 1, 2])) });
        let orders = [order(&store, &first), order(&store, &second)];
        let told = store.answer(&first, &post(&orders[0][1], "[0,1,2]")).unwrap();
        assert_eq!(told, Feedback { right: None, key: None });
        assert_eq!(store.session(&second).unwrap().2, Vec::<String>::new());
        drop(store);
        let mut store = Store::open(folder.path(), plan()).unwrap();
        assert_eq!(store.session(&first).unwrap().2, orders[0][..2]);
        assert_eq!(order(&store, &second), orders[1]);
        store.answer(&second, &post("practice", "[0,1,2]")).unwrap();
        let files = responses::files(folder.path()).unwrap();
        let all = responses::read(folder.path(), &files, &plan()).unwrap();
        let by = |name: &str| all.iter().filter(|r| r.observer == name).count();
        assert_eq!((by(&one), by(&two)), (2, 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), plan()).unwrap();
        let (_, token) = store.start().unwrap();
        assert_eq!(store.answer("0000", &post("practice", "[0,1,2]")), Err(Refusal::Stranger));
        for body in [
            b"not json".to_vec(),
            post("practice", "[0,0,1]"),
            post("practice", "1"),
            post("practice", "\"0\""),
            String::from_utf8(post("practice", "[0,1,2]")).unwrap().replace(":2,", ":4,").into_bytes(),
            String::from_utf8(post("practice", "[0,1,2]")).unwrap().replace("900", "-1").into_bytes(),
        ] {
            let refusal = store.answer(&token, &body).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal:?}");
            store.refuse(&token, &refusal, &body);
        }
        for trial in ["a", "nothing"] {
            let early = store.answer(&token, &post(trial, "[0,1,2]")).unwrap_err();
            assert!(matches!(early, Refusal::OutOfTurn(_)));
        }
        store.answer(&token, &post("practice", "[0,1,2]")).unwrap();
        let again = store.answer(&token, &post("practice", "[0,1,2]")).unwrap_err();
        assert!(matches!(&again, Refusal::OutOfTurn(why) if why.contains("already")));
        let lines = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap().lines().count();
        assert_eq!((lines("refused.jsonl"), lines("responses/people.jsonl")), (6, 1));
    }

    #[test]
    fn an_unfinished_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), plan()).unwrap();
        let (_, token) = store.start().unwrap();
        store.answer(&token, &post("practice", "[0,1,2]")).unwrap();
        drop(store);
        let path = folder.path().join("responses/people.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"observer\":\"p0").unwrap();
        let mut store = Store::open(folder.path(), plan()).unwrap();
        let next = order(&store, &token)[1].clone();
        store.answer(&token, &post(&next, "[0,1,2]")).unwrap();
        assert_eq!(responses::read(folder.path(), &[path], &plan()).unwrap().len(), 2);
    }

    #[test]
    fn what_a_failed_write_leaves_behind_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), plan()).unwrap();
        let (_, token) = store.start().unwrap();
        store.answer(&token, &post("practice", "[0,1,2]")).unwrap();
        let path = folder.path().join("responses/people.jsonl");
        let before = std::fs::read_to_string(&path).unwrap();
        let next = order(&store, &token)[1].clone();
        // A file that is open to be read takes no line, and can't be cut off either.
        let file = std::mem::replace(&mut store.people.file, File::open(&path).unwrap());
        let lost = store.answer(&token, &post(&next, "[0,1,2]")).unwrap_err();
        assert!(matches!(lost, Refusal::Lost(_)) && store.people.torn, "{lost:?}");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a li").unwrap();
        store.people.file = file;
        store.answer(&token, &post(&next, "[0,1,2]")).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(after.starts_with(&before) && after.lines().count() == 2, "{after}");
        assert_eq!(responses::read(folder.path(), &[path], &plan()).unwrap().len(), 2);
    }

    #[test]
    fn a_folder_has_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), plan()).unwrap();
        let error = Store::open(folder.path(), plan()).err().unwrap();
        assert!(error.exit_code() == 2 && error.to_string().contains("in use"), "{error}");
        drop(store);
        Store::open(folder.path(), plan()).unwrap();
    }

    #[test]
    fn answers_to_another_plan_are_not_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), plan()).unwrap();
        let (_, token) = store.start().unwrap();
        drop(store);
        // Who only began is not known in another study of the same folder.
        let other = || Plan { key: "other".into(), ..plan() };
        let mut store = Store::open(folder.path(), other()).unwrap();
        assert_eq!(store.session(&token).unwrap_err(), Refusal::Stranger);
        let (name, token) = store.start().unwrap();
        assert_eq!(name, "p001");
        store.answer(&token, &post("practice", "[0,1,2]")).unwrap();
        drop(store);
        let error = Store::open(folder.path(), plan()).err().unwrap().to_string();
        for words in ["people.jsonl, line 1", "key other", "trials.json has key k"] {
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(Store::open(folder.path(), other()).unwrap().session(&token).unwrap().2, ["practice"]);
    }
}
