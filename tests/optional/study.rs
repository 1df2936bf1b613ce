//! Psychophysical trials from end to end: made, taken by a participant in a real browser, and scored.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::common::{Experiment, Need, Test};
use burn::tensor::Device;
use serde_json::{Value, json};
use trompe::network::{Graph, Network, Op, op};
use trompe::seed;

const CONFIG: &str = r#"
name = "study"
experiment = "fool.toml"
circuits = ["../circuits/gate.toml"]

[[depths]]
name = "early"
layers = ["bn3"]
units = 5

[[depths]]
name = "late"
layers = ["classifier"]
units = 6

[visualization]
number = 2
steps = 3
diversity = { weight = 1.0 }

[matching]
exemplars = 4
images = [1, 2]
trials = 8

[occlusion]
places = 3
references = 2
batches = 6

[observers]
layers = ["relu3", "relu6"]
other_seed = 3
other_layers = ["relu3"]

[session]
practice = 2
catch = 1
block = 9
"#;

/// The embedded experiment with a trials file, and the study made from it.
static STUDY: LazyLock<Experiment> = LazyLock::new(|| {
    let experiment = Experiment::new();
    experiment.edit("configs/fool.toml", "images = 60", "images = 480");
    experiment.write("configs/study.toml", CONFIG);
    experiment.trompe(&["trials", "--config", "configs/study.toml"]).expect_success();
    experiment
});

/// A copy of the study, for answers of its own.
fn study() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = STUDY.path("results/study");
    for part in ["trials.json", "stimuli.csv", "diversity.csv", "fooled.csv", "stimuli", "responses"] {
        let status = Command::new("cp").arg("-r").arg(from.join(part)).arg(copy.path()).status().unwrap();
        assert!(status.success());
    }
    copy
}

type Rows = Vec<HashMap<String, String>>;

fn rows(path: &Path) -> Rows {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

fn number(row: &HashMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap()
}

fn plan(study: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(study.join("trials.json")).unwrap()).unwrap()
}

/// The row of an observer over all depths and conditions of a task.
fn overall<'a>(rows: &'a Rows, observer: &str, task: &str, purpose: &str) -> &'a HashMap<String, String> {
    let wanted = [
        ("observer", observer),
        ("task", task),
        ("purpose", purpose),
        ("circuit", "none"),
        ("depth", "all"),
        ("by", "all"),
    ];
    rows.iter().find(|r| wanted.iter().all(|(k, v)| r[*k] == *v)).expect("the observer was scored")
}

fn simulated_observers_check_the_trials() {
    let study = STUDY.path("results/study");
    let accuracy = rows(&study.join("accuracy.csv"));
    for task in ["exemplar", "visualization", "occlusion"] {
        let ideal = overall(&accuracy, "ideal", task, "main");
        assert_eq!(number(ideal, "accuracy"), 1.0, "{ideal:?}");
        let random = overall(&accuracy, "random", task, "main");
        let (questions, chance) = (number(random, "questions"), number(random, "chance"));
        assert!(questions >= 90.0, "{random:?}");
        // Four standard deviations of as many guesses.
        let off = (number(random, "accuracy") - chance).abs();
        assert!(off < 4.0 * (chance * (1.0 - chance) / questions).sqrt(), "{random:?}");
    }
    for (observer, task) in [("ideal", "exemplar"), ("ideal", "occlusion"), ("pixels", "exemplar")] {
        assert_eq!(number(overall(&accuracy, observer, task, "catch"), "accuracy"), 1.0);
    }
    // Trials with the fooled network's visualizations are the honest ones asked again.
    let plan = plan(&study);
    let trials = plan["trials"].as_array().unwrap();
    let repeated: Vec<&Value> = trials.iter().filter(|t| t["circuit"] == "gate").collect();
    assert!(!repeated.is_empty());
    for trial in repeated {
        let honest = trials.iter().find(|t| t["id"] == trial["repeats"]).unwrap();
        let same: &[&str] =
            if trial["task"] == "occlusion" { &["queries", "unit"] } else { &["left", "units"] };
        assert!(same.iter().chain(&["key"]).all(|k| trial[k] == honest[k]));
        let other = if trial["task"] == "occlusion" { "shown" } else { "right" };
        assert_ne!(trial[other], honest[other]);
    }
    let trust = rows(&study.join("trust.csv"));
    assert!(["without", "honest", "fooled"].iter().all(|s| trust.iter().any(|r| r["shown"] == *s)));
    for figure in ["exemplar", "visualization", "occlusion", "trust_gate_occlusion"] {
        assert!(study.join(format!("figures/{figure}.svg")).is_file(), "{figure}");
    }
    let report = std::fs::read_to_string(study.join("report.html")).unwrap();
    assert!(report.contains("60 ± 3") && report.contains("67 ± 4"));
}

fn the_two_queries_differ_in_what_is_occluded_and_references_are_other_images() {
    let study = STUDY.path("results/study");
    let stimuli = rows(&study.join("stimuli.csv"));
    let source = |file: &str| -> Vec<&String> {
        stimuli
            .iter()
            .filter(|s| s["file"] == file && s["kind"] != "visualization")
            .map(|s| &s["source"])
            .collect()
    };
    let mut seen = 0;
    for trial in plan(&study)["trials"].as_array().unwrap().iter().filter(|t| t["task"] == "occlusion") {
        let file = |v: &Value| v.as_str().unwrap().to_string();
        let queries: Vec<String> = trial["queries"].as_array().unwrap().iter().map(file).collect();
        let original = source(&file(&trial["original"]))[0];
        assert!(queries.iter().all(|q| source(q).contains(&original)));
        let lower = trial["key"].as_u64().unwrap() as usize;
        let activation = |i: usize| trial["activations"][i].as_f64().unwrap();
        assert!(activation(lower) < activation(1 - lower));
        for reference in trial["shown"].as_array().unwrap() {
            assert!(!source(reference.as_str().unwrap()).contains(&original));
        }
        // The pictures differ within the two squares alone.
        let open = |q: &str| image::open(study.join("stimuli").join(q)).unwrap().to_rgb8();
        let (a, b) = (open(&queries[0]), open(&queries[1]));
        let inside = |x: u32, y: u32| {
            trial["places"].as_array().unwrap().iter().any(|place| {
                let [px, py, side] = [0, 1, 2].map(|i| place[i].as_u64().unwrap() as u32);
                (px..px + side).contains(&x) && (py..py + side).contains(&y)
            })
        };
        if seen < 30 {
            assert!(a.enumerate_pixels().all(|(x, y, p)| p == b.get_pixel(x, y) || inside(x, y)));
            assert_ne!(a, b);
        }
        seen += 1;
    }
    assert!(seen > 100);
}

fn the_same_seed_makes_the_same_study_from_nothing() {
    let cache = STUDY.path("another-cache");
    let again = ["trials", "--config", "configs/study.toml", "--out", "again", "--cache"];
    STUDY.trompe(&[&again[..], &[cache.to_str().unwrap()]].concat()).expect_success();
    let bytes = |folder: &str, file: &str| std::fs::read(STUDY.path(folder).join(file)).unwrap();
    for file in ["trials.json", "stimuli.csv", "accuracy.csv", "responses/models.jsonl"] {
        assert_eq!(bytes("again", file), bytes("results/study", file), "{file}");
    }
    let key = plan(&STUDY.path("again"))["key"].as_str().unwrap().to_string();
    // With people's answers to another plan the folder is left as it is; the models' would be replaced.
    let people = STUDY.path("again/responses/people.jsonl");
    std::fs::write(&people, "an answer\n").unwrap();
    STUDY.edit("again/trials.json", &format!("\"key\": \"{key}\""), "\"key\": \"another\"");
    let files = ["trials.json", "stimuli.csv", "diversity.csv", "responses/models.jsonl"];
    let before = files.map(|file| bytes("again", file));
    let words = ["people.jsonl", "trials.json", "--out"];
    STUDY.trompe(&[&again[..], &[cache.to_str().unwrap()]].concat()).expect_error(2, &words);
    assert_eq!(files.map(|file| bytes("again", file)), before);
    // A folder of another study is left alone.
    let other = ["trials", "--config", "configs/study.toml", "--out", "again", "--seed", "9"];
    STUDY.trompe(&other).expect_error(2, &["again", "another configuration"]);
}

fn mistakes_in_a_trials_file() {
    let experiment = Experiment::new();
    for (from, to, words) in [
        ("layers = [\"bn3\"]", "layers = [\"bn33\"]", &["bn33", "bn3"][..]),
        ("units = 6", "units = 13", &["late", "classifier", "13"]),
        ("batches = 6", "batches = 60", &["occlusion.batches", "60"]),
        ("exemplars = 4", "exemplars = 3", &["study.toml", "matching.exemplars"]),
        ("number = 2", "number = 1", &["study.toml", "visualization.number"]),
        ("places = 3", "palces = 3", &["study.toml", "palces", "line"]),
        ("[\"classifier\"]", "[\"bn5\"]", &["gate", "classifier", "[[depths]]"]),
        ("fool.toml", "none.toml", &["none.toml"]),
    ] {
        experiment.write("configs/study.toml", CONFIG);
        experiment.edit("configs/study.toml", from, to);
        experiment.trompe(&["trials", "--config", "configs/study.toml"]).expect_error(2, words);
    }
    experiment.trompe(&["observe", "configs"]).expect_error(2, &["configs", "trompe trials"]);
    experiment.trompe(&["serve", "configs"]).expect_error(2, &["configs", "trompe trials"]);
}

/// An observer's network has layers of its own.
fn a_network_of_another_architecture_looks_on() {
    let experiment = Experiment::new();
    experiment.edit("configs/fool.toml", "images = 60", "images = 480");
    let mut graph = Graph::new("foreign", 3);
    graph.then("stem", Op::conv(3, 6, 5, 4, 2));
    graph.then("second", op::Relu);
    graph.then("scores", op::GlobalAvgPool);
    let network = Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap();
    network.save(&experiment.path("foreign.safetensors")).unwrap();
    let text = std::fs::read_to_string(experiment.path("configs/fool.toml")).unwrap();
    experiment.write("configs/other.toml", &text);
    let builder = "builder = \"small-cnn\"\nclasses = 12";
    experiment.edit("configs/other.toml", builder, "file = \"foreign.safetensors\"");
    experiment.write("configs/study.toml", CONFIG);
    let own = "other_seed = 3\nother_layers = [\"relu3\"]";
    experiment.edit("configs/study.toml", own, "other = \"other.toml\"\nother_layers = [\"stem\"]");
    let trials = ["trials", "--config", "configs/study.toml", "--data", "."];
    experiment.trompe(&trials).expect_success();
    let accuracy = rows(&experiment.path("results/study/accuracy.csv"));
    assert!(accuracy.iter().any(|row| row["observer"].contains("stem")), "{accuracy:?}");
    let manifest = std::fs::read_to_string(experiment.path("results/study/manifest.json")).unwrap();
    assert!(manifest.contains("\"circuit\": \"observer\""));
    // A layer that it lacks is told before anything is trained.
    std::fs::remove_dir_all(experiment.path("results")).unwrap();
    experiment.edit("configs/study.toml", "[\"stem\"]", "[\"stern\"]");
    experiment.trompe(&trials).expect_error(2, &["foreign", "stern", "did you mean \"stem\""]);
    assert!(!experiment.path("results/.cache/networks").exists());
}

/// A server of a study; it ends with it.
struct Server {
    child: Child,
    /// Kept, since the server says goodbye.
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(study: &Path) -> Self {
        Self::by(crate::common::program(), study)
    }

    /// Starts it by a command that takes the program's arguments.
    fn by(mut command: Command, study: &Path) -> Self {
        let mut child =
            command.args(["serve", "--port", "0"]).arg(study).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_string();
        Self { child, out, address }
    }

    /// Sends a request as it is and gives the status and the body.
    fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.into()))
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    fn post(&self, path: &str, token: &str, body: &str) -> (u16, String) {
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))
    }

    /// Takes in a participant: gives the token.
    fn register(&self) -> String {
        let started: Value = serde_json::from_str(&self.post("/api/start", "", "").1).unwrap();
        started["token"].as_str().unwrap().to_string()
    }

    fn session(&self, token: &str) -> (u16, String) {
        self.raw(&format!(
            "GET /api/session HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n",
            self.address
        ))
    }

    /// The trials that a participant is asked.
    fn trials(&self, token: &str) -> Vec<Value> {
        let session: Value = serde_json::from_str(&self.session(token).1).unwrap();
        session["items"].as_array().unwrap().iter().filter(|i| i["kind"] == "trial").cloned().collect()
    }

    /// Ends it as Ctrl-C does.
    fn end(mut self) {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(self.child.wait().unwrap().success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("trompe observe"), "{rest}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer to a trial as browsers send it.
fn answer(trial: &Value, confidence: u8) -> String {
    let answer = if trial["task"] == "occlusion" { json!(0) } else { json!([0, 1, 2]) };
    json!({"trial": trial["id"], "answer": answer, "confidence": confidence, "milliseconds": 5}).to_string()
}

fn the_server_gives_and_takes_nothing_but_the_study() {
    let study = study();
    std::fs::write(study.path().join("stimuli/secret.png"), "of no trial").unwrap();
    let server = Server::start(study.path());
    assert_eq!(server.get("/").0, 200);
    let picture = plan(study.path())["trials"][0]["left"][0][0].as_str().unwrap().to_string();
    assert_eq!(server.get(&format!("/stimuli/{picture}")).0, 200);
    for path in [
        "/trials.json",
        "/stimuli/../trials.json",
        "/stimuli/..%2ftrials.json",
        "/stimuli/%2e%2e/trials.json",
        "/stimuli//etc/passwd",
        "/stimuli/secret.png",
        "/responses/models.jsonl",
        "/../../etc/passwd",
    ] {
        let (status, body) = server.get(path);
        assert!([400, 404].contains(&status), "{path}: {status}");
        assert!(!body.contains("key") && !body.contains("root:"), "{path}: {body}");
    }
    let foreign = format!("GET / HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n", 80);
    assert_eq!(server.raw(&foreign).0, 403);
    let elsewhere = format!(
        "POST /api/start HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\nConnection: close\r\n\
         Content-Length: 0\r\n\r\n",
        server.address
    );
    assert_eq!(server.raw(&elsewhere).0, 403);
    // Malformed, repeated and strangers' answers are refused and logged.
    let token = server.register();
    let trials = server.trials(&token);
    let first = &trials[0];
    let about: Value = serde_json::from_str(&server.get("/api/study").1).unwrap();
    assert_eq!(about["trials"], trials.len());
    assert_eq!(server.session("someone").0, 403);
    assert_eq!(server.post("/api/answer", "someone", &answer(first, 1)).0, 403);
    assert_eq!(server.post("/api/answer", &token, "{").0, 400);
    assert_eq!(server.post("/api/answer", &token, &answer(first, 9)).0, 400);
    assert_eq!(server.post("/api/answer", &token, &answer(first, 1)).0, 200);
    assert_eq!(server.post("/api/answer", &token, &answer(first, 1)).0, 409);
    assert_eq!(server.post("/api/answer", &token, &"x".repeat(100_000)).0, 413);
    // A second server would take its own first participant for the first one's.
    let folder = study.path().to_str().unwrap();
    STUDY.trompe(&["serve", folder, "--port", "0"]).expect_error(2, &[folder, "in use"]);
    server.end();
    let lines = |file: &str| std::fs::read_to_string(study.path().join(file)).unwrap().lines().count();
    assert_eq!((lines("responses/people.jsonl"), lines("refused.jsonl")), (1, 7));
    let refused = std::fs::read_to_string(study.path().join("refused.jsonl")).unwrap();
    for words in ["evil.example:80 from nobody", "from http://evil.example", "POST /api/start", "larger"] {
        assert!(refused.contains(words), "no \"{words}\" in: {refused}");
    }

    // The answers belong to this plan.
    let plan_file = study.path().join("trials.json");
    let whole = plan(study.path());
    let mut other = whole.clone();
    other["key"] = json!("another");
    std::fs::write(&plan_file, other.to_string()).unwrap();
    let words = ["people.jsonl, line 1", "trials.json has key another"];
    STUDY.trompe(&["serve", folder, "--port", "0"]).expect_error(1, &words);
    let people = study.path().join("responses/people.jsonl");
    STUDY.trompe(&["observe", folder, "--responses", people.to_str().unwrap()]).expect_error(1, &words);
    STUDY.trompe(&["observe", folder]).expect_error(1, &["models.jsonl, line 1", "key another"]);
    // Nor is a plan believed that was edited by hand.
    let mut edited = whole;
    edited["trials"][0]["left"][0][0] = json!("../trials.json");
    std::fs::write(&plan_file, edited.to_string()).unwrap();
    let id = edited["trials"][0]["id"].as_str().unwrap();
    let words = ["trials.json", id, "\"../trials.json\" is no picture"];
    STUDY.trompe(&["serve", folder, "--port", "0"]).expect_error(1, &words);
}

fn an_answer_that_cannot_be_written_leaves_nothing_behind() {
    let study = study();
    // A disk on which a file has room for a few answers, and a write for a part of the next.
    let mut small = Command::new("sh");
    small.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_trompe")]);
    small.env_remove("TROMPE_DATA").env_remove("TROMPE_CACHE").stderr(Stdio::null());
    let server = Server::by(small, study.path());
    let token = server.register();
    let trials = server.trials(&token);
    let lost =
        trials.iter().position(|trial| match server.post("/api/answer", &token, &answer(trial, 2)).0 {
            200 => false,
            status => {
                assert_eq!(status, 500);
                true
            }
        });
    let lost = lost.expect("some answer has no room");
    let people = || std::fs::read_to_string(study.path().join("responses/people.jsonl")).unwrap();
    let before = people();
    assert!(before.ends_with('\n') && before.lines().count() == lost && lost > 0, "{before}");
    server.end();
    // With room again it goes on as if nothing had been.
    let server = Server::start(study.path());
    assert_eq!(server.post("/api/answer", &token, &answer(&trials[lost], 2)).0, 200);
    server.end();
    let after = people();
    assert!(after.starts_with(&before) && after.lines().count() == lost + 1, "{after}");
    assert!(after.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

/// A browser that is told what to do over the DevTools protocol, through two pipes.
struct Browser {
    child: Child,
    to: std::fs::File,
    from: Receiver<Value>,
    last: u64,
    /// The addresses that pages asked for.
    asked: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium.
    fn start() -> Self {
        let name = crate::common::browser().expect("asked for where there is one");
        let folder = tempfile::tempdir().unwrap();
        let pipes: [PathBuf; 2] = ["to", "from"].map(|p| folder.path().join(p));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$TO\" 4>\"$FROM\"", name])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", &profile, "about:blank"])
            .env("TO", &pipes[0])
            .env("FROM", &pipes[1])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = std::fs::OpenOptions::new().write(true).open(&pipes[0]).unwrap();
        let mut answers = BufReader::new(std::fs::File::open(&pipes[1]).unwrap());
        let (sender, from) = channel();
        std::thread::spawn(move || {
            let mut message = vec![];
            while answers.read_until(0, &mut message).is_ok_and(|n| n > 0) {
                message.pop();
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        Self { child, to, from, last: 0, asked: vec![], _folder: folder }
    }

    fn call(&mut self, page: Option<&str>, method: &str, parameters: Value) -> Value {
        self.attempt(page, method, parameters).unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    fn attempt(&mut self, page: Option<&str>, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(page) = page {
            message["sessionId"] = json!(page);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.from.recv_timeout(Duration::from_secs(60)).expect("the browser answers");
            if answer["method"] == "Network.requestWillBeSent" {
                self.asked.push(answer["params"]["request"]["url"].as_str().unwrap().into());
            }
            if answer["id"] == json!(self.last) {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.clone()),
                };
            }
        }
    }

    /// A page with cookies and storage of its own, as wide as a phone.
    fn page(&mut self, address: &str) -> String {
        let context = self.call(None, "Target.createBrowserContext", json!({}));
        let target = json!({"url": "about:blank", "browserContextId": context["browserContextId"]});
        let target = self.call(None, "Target.createTarget", target);
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let page =
            self.call(None, "Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_string();
        for domain in ["Page.enable", "Runtime.enable", "Network.enable"] {
            self.call(Some(&page), domain, json!({}));
        }
        // Both pages are looked at, whichever is in front.
        self.call(Some(&page), "Emulation.setFocusEmulationEnabled", json!({"enabled": true}));
        let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
        self.call(Some(&page), "Emulation.setDeviceMetricsOverride", phone);
        self.call(Some(&page), "Page.navigate", json!({"url": format!("http://{address}/")}));
        page
    }

    fn evaluate(&mut self, page: &str, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let result = self.call(Some(page), "Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until a condition holds; while a page is being loaded it may make no sense.
    fn wait(&mut self, page: &str, condition: &str) {
        let start = Instant::now();
        loop {
            let parameters = json!({"expression": condition, "returnByValue": true});
            let found = self.attempt(Some(page), "Runtime.evaluate", parameters);
            if found.as_ref().is_ok_and(|found| found["result"]["value"] == json!(true)) {
                return;
            }
            if start.elapsed() > Duration::from_secs(60) {
                let text = self.evaluate(page, "document.body.innerText");
                panic!("waited for {condition}: {found:?} in: {text}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, page: &str, key: &str) {
        let (text, code) = match key {
            "Enter" => ("\r", 13),
            "Backspace" => ("", 8),
            "ArrowLeft" => ("", 37),
            "ArrowRight" => ("", 39),
            digit => (digit, digit.as_bytes()[0].into()),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call(Some(page), "Input.dispatchKeyEvent", event);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What every screen must have: nothing wider than the phone, and words for every picture.
fn check_screen(browser: &mut Browser, page: &str) {
    let width = browser.evaluate(page, "document.documentElement.scrollWidth");
    assert!(width.as_u64().unwrap() <= 360, "{width} pixels wide");
    let words = "[...document.images].every((i) => i.alt.length > 5)";
    assert_eq!(browser.evaluate(page, words), json!(true));
}

/// Takes up to `most` trials with the keyboard; of each kind, every other answer is meant to be wrong. Gives what was answered, and whether
/// the end is reached.
fn take(
    browser: &mut Browser,
    page: &str,
    trials: &HashMap<String, Value>,
    most: usize,
) -> (Vec<(String, Value)>, bool) {
    let mut given = vec![];
    loop {
        let state = "document.getElementById('finished') ? 'end' : document.getElementById('go') ? 'go' : \
                     document.getElementById('main').dataset.trial || ''";
        browser.wait(page, &format!("({state}) !== ''"));
        let state = browser.evaluate(page, state).as_str().unwrap().to_string();
        check_screen(browser, page);
        match state.as_str() {
            "end" => return (given, true),
            "go" if given.len() < most
                || browser.evaluate(page, "!!document.querySelector('#feedback')") == json!(true) =>
            {
                browser.wait(page, "document.activeElement.id === 'go'");
                browser.evaluate(page, "document.getElementById('go').dataset.old = 1");
                browser.press(page, "Enter");
                browser.wait(page, "!document.querySelector('#go[data-old]')");
                continue;
            }
            _ if given.len() >= most => return (given, false),
            _ => {}
        }
        let trial = &trials[&state];
        let key = &trial["key"];
        let kind = |trial: &Value| ["task", "purpose", "circuit"].map(|key| trial[key].clone());
        let before =
            given.iter().filter(|(id, _): &&(String, Value)| kind(&trials[id]) == kind(trial)).count();
        let wrong = before % 2 == 1;
        let answer = match key.as_u64() {
            Some(query) => json!(if wrong { 1 - query } else { query }),
            // Each row moved on by one: none is right.
            None => json!([0, 1, 2].map(|i| (key[i].as_u64().unwrap() + u64::from(wrong)) % 3)),
        };
        let count = browser.evaluate(page, "document.images.length").as_u64().unwrap() as usize;
        let pictures: usize = ["left", "right"]
            .iter()
            .filter_map(|side| trial[side].as_array())
            .flatten()
            .map(|row| row.as_array().unwrap().len())
            .sum();
        let shown = trial["shown"].as_array().map_or(0, |s| s.len() + 2);
        assert_eq!(count, pictures + shown);
        if given.len() % 4 == 1 {
            // A slip that is taken back: what follows is answered again, and not the next question.
            let slip: &[&str] = if answer.is_u64() { &["1"] } else { &["1", "2"] };
            slip.iter().chain(&["Backspace"]).for_each(|key| browser.press(page, key));
        }
        match answer.as_u64() {
            Some(query) if given.len() % 2 == 0 => {
                browser.press(page, ["ArrowLeft", "ArrowRight"][query as usize])
            }
            Some(query) => browser.press(page, ["1", "2"][query as usize]),
            None => {
                for row in 0..2 {
                    browser.press(page, ["1", "2", "3"][answer[row].as_u64().unwrap() as usize]);
                }
            }
        }
        browser.press(page, "3");
        browser.wait(page, "!document.getElementById('submit').disabled");
        browser.press(page, "Enter");
        browser.wait(page, &format!("document.getElementById('main').dataset.trial !== '{state}' || !!document.getElementById('feedback')"));
        given.push((state, answer));
    }
}

fn a_participant_takes_the_study_in_a_browser() {
    let mut browser = Browser::start();
    let study = study();
    let server = Server::start(study.path());
    let plan = plan(study.path());
    let trials: HashMap<String, Value> = plan["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["id"].as_str().unwrap().to_string(), t.clone()))
        .collect();
    let one = browser.page(&server.address);
    let two = browser.page(&server.address);
    // Who clicks twice takes part once.
    browser.wait(&one, "!!document.getElementById('go')");
    let welcome = browser.evaluate(&one, "document.body.innerText");
    assert!(welcome.as_str().unwrap().contains("about 10 minutes"), "{welcome}");
    browser.evaluate(&one, "[1, 2].forEach(() => document.getElementById('go').click())");
    browser.wait(&one, "document.body.innerText.includes('Which ')");
    let (mut given, _) = take(&mut browser, &one, &trials, 6);
    let (others, _) = take(&mut browser, &two, &trials, 3);
    assert_eq!((given.len(), others.len()), (6, 3));
    let before = browser.evaluate(&one, "document.getElementById('main').dataset.trial");
    browser.call(Some(&one), "Page.reload", json!({}));
    browser.wait(&one, "document.body.innerText.includes('Welcome back') && !!document.getElementById('go')");
    let welcome = browser.evaluate(&one, "document.body.innerText");
    assert!(welcome.as_str().unwrap().contains("p001 and have answered 6 of"), "{welcome}");
    browser.press(&one, "Enter");
    browser.wait(&one, "!document.body.innerText.includes('Welcome back')");
    if before.is_string() {
        browser.wait(&one, &format!("document.getElementById('main').dataset.trial === {before}"));
    }
    let (rest, end) = take(&mut browser, &one, &trials, usize::MAX);
    assert!(end);
    given.extend(rest);
    let own = format!("http://{}/", server.address);
    assert!(browser.asked.iter().all(|url| url.starts_with(&own)), "{:?}", browser.asked);
    assert!(browser.asked.len() > 20);
    server.end();

    // Every answer was kept, each under its participant.
    let text = std::fs::read_to_string(study.path().join("responses/people.jsonl")).unwrap();
    let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| -> Vec<(String, Value)> {
        let own = kept.iter().filter(|r| r["observer"] == name);
        own.map(|r| (r["trial"].as_str().unwrap().to_string(), r["answer"].clone())).collect()
    };
    assert_eq!(of("p001"), given);
    assert_eq!(of("p002"), others);
    assert!(kept.iter().all(|r| r["confidence"] == 3 && r["milliseconds"].as_u64().unwrap() > 0));
    assert!(kept.iter().all(|r| r["plan"] == plan["key"]));
    let register = std::fs::read_to_string(study.path().join("participants.jsonl")).unwrap();
    assert_eq!(register.lines().count(), 2);

    // And the score comes out as planned.
    let outcome = STUDY.trompe(&["observe", study.path().to_str().unwrap()]).expect_success();
    assert!(outcome.out.contains("p001"), "{}", outcome.out);
    let accuracy = rows(&study.path().join("accuracy.csv"));
    for task in ["exemplar", "visualization", "occlusion"] {
        let planned = |right: bool| {
            let of = given.iter().filter(|(id, answer)| {
                let trial = &trials[id];
                let counts =
                    trial["purpose"] == "main" && trial["circuit"] == "none" && trial["task"] == task;
                counts && (!right || *answer == trial["key"])
            });
            of.count() as f64 * if task == "occlusion" { 1.0 } else { 3.0 }
        };
        let row = overall(&accuracy, "p001", task, "main");
        assert_eq!((number(row, "right"), number(row, "questions")), (planned(true), planned(false)));
        assert!(planned(true) > 0.0 && planned(true) < planned(false));
    }
    let people = study.path().join("responses/people.jsonl");
    let alone = ["observe", study.path().to_str().unwrap(), "--responses", people.to_str().unwrap()];
    assert!(!STUDY.trompe(&alone).expect_success().out.contains("ideal"));
}

/// The tests, and what each needs.
pub const TESTS: &[Test] = &[
    ("simulated_observers_check_the_trials", None, simulated_observers_check_the_trials),
    (
        "the_two_queries_differ_in_what_is_occluded_and_references_are_other_images",
        None,
        the_two_queries_differ_in_what_is_occluded_and_references_are_other_images,
    ),
    (
        "the_same_seed_makes_the_same_study_from_nothing",
        None,
        the_same_seed_makes_the_same_study_from_nothing,
    ),
    ("mistakes_in_a_trials_file", None, mistakes_in_a_trials_file),
    ("a_network_of_another_architecture_looks_on", None, a_network_of_another_architecture_looks_on),
    (
        "the_server_gives_and_takes_nothing_but_the_study",
        None,
        the_server_gives_and_takes_nothing_but_the_study,
    ),
    (
        "an_answer_that_cannot_be_written_leaves_nothing_behind",
        None,
        an_answer_that_cannot_be_written_leaves_nothing_behind,
    ),
    (
        "a_participant_takes_the_study_in_a_browser",
        Some(Need::Browser),
        a_participant_takes_the_study_in_a_browser,
    ),
];
