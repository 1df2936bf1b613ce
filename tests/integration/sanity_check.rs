//! The whole program on the embedded experiment, at a reduced size.

use std::collections::HashMap;
use std::path::Path;

use crate::common::Experiment;

type Rows = Vec<HashMap<String, String>>;

fn rows(path: &Path) -> Rows {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const TABLES: [&str; 9] = [
    "accuracy.csv",
    "behaviour.csv",
    "fooled_units.csv",
    "gate.csv",
    "trajectories.csv",
    "visualizations.csv",
    "resemblance.csv",
    "silence.csv",
    "path_similarity.csv",
];

#[test]
fn one_command_leaves_a_whole_results_folder() {
    let experiment = Experiment::new();
    let first = experiment.sanity_check().expect_success();
    assert!(first.out.contains("scenes/validation") && first.out.contains("report.html"), "{}", first.out);
    let results = experiment.path("results/fool");

    // Tables have the rows that the settings imply, and values in range.
    let accuracy = rows(&results.join("accuracy.csv"));
    assert_eq!(accuracy.iter().map(|r| r["circuit"].as_str()).collect::<Vec<_>>(), ["none", "gate"]);
    for row in &accuracy {
        let [top1, top5] = ["top1", "top5"].map(|k| row[k].parse::<f64>().unwrap());
        assert!((0.0..=1.0).contains(&top1) && top1 <= top5 && top5 <= 1.0);
    }
    let paths = rows(&results.join("path_similarity.csv"));
    assert_eq!(paths.len(), 2 * 3 * 10);
    // 12 natural images and 6 visualizations: 66 natural pairs, 72 mixed ones.
    assert!(paths.iter().all(|r| {
        r["pairs"].parse::<usize>().unwrap() + r["undefined_pairs"].parse::<usize>().unwrap() == 138
    }));
    for row in paths.iter().filter(|r| !r["normalized"].is_empty()) {
        let value = |k: &str| row[k].parse::<f64>().unwrap();
        let (same, different) = (value("natural_same_class"), value("natural_different_class"));
        let want = (value("visualization_same_class") - different) / (same - different);
        assert!((value("normalized") - want).abs() < 1e-9 * want.abs().max(1.0));
    }
    let trajectories = rows(&results.join("trajectories.csv"));
    assert_eq!(trajectories.len(), 2 * 6 * 4);
    let steps: Vec<&str> = trajectories[..4].iter().map(|r| r["step"].as_str()).collect();
    assert_eq!(steps, ["1", "2", "4", "6"]);
    let visualizations = rows(&results.join("visualizations.csv"));
    for row in &visualizations {
        let picture = image::open(results.join(&row["picture"])).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 64));
        let [channel, target] = ["channel", "target"].map(|k| row[k].parse::<usize>().unwrap());
        let offset = if row["circuit"] == "gate" { 1 } else { 0 };
        assert_eq!(target, (channel + offset) % 12);
    }
    let page = String::from_utf8(bytes(&results.join("report.html"))).unwrap();
    assert!(!page.contains("src=\"http") && !page.contains("href="), "the report needs nothing beside it");
    let manifest: serde_json::Value = serde_json::from_slice(&bytes(&results.join("manifest.json"))).unwrap();
    assert_eq!((&manifest["complete"], &manifest["seed"]), (&true.into(), &1.into()));

    // The figures follow from the tables: redrawing changes nothing.
    let figures: Vec<_> =
        std::fs::read_dir(results.join("figures")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(figures.len(), 2 * 16);
    let drawn: Vec<Vec<u8>> = figures.iter().map(|f| bytes(f)).collect();
    std::fs::remove_dir_all(results.join("figures")).unwrap();
    experiment.trompe(&["plots", "results/fool"]).expect_success();
    assert_eq!(drawn, figures.iter().map(|f| bytes(f)).collect::<Vec<_>>());

    // A second run finds everything, and says the same; so does one that has to make everything again.
    let tables = || TABLES.map(|t| bytes(&results.join(t)));
    let before = tables();
    let kept = experiment.kept();
    experiment.sanity_check().expect_success();
    assert_eq!(kept, experiment.kept(), "a second run makes nothing anew");
    assert_eq!(before, tables());
    std::fs::remove_dir_all(experiment.path("results/.cache")).unwrap();
    experiment.sanity_check().expect_success();
    assert_ne!(kept, experiment.kept());
    assert_eq!(before, tables(), "same seed, same device: same tables");

    // A run that is refused for its mistakes leaves the folder as it was, too.
    experiment.edit("configs/fool.toml", "\"relu4\",", "\"relu44\",");
    experiment.sanity_check().expect_error(2, &["relu44"]);
    experiment.edit("configs/fool.toml", "\"relu44\",", "\"relu4\",");
    assert_eq!(before, tables());

    // Another configuration does not get into the folder, and leaves it as it was.
    experiment
        .trompe(&["sanity-check", "--config", "configs/fool.toml", "--seed", "2"])
        .expect_error(2, &["results/fool", "another configuration", "--out"]);
    assert_eq!(before, tables());
}

/// Every circuit, saved, loaded, measured and audited.
#[test]
fn every_circuit_keeps_what_it_should_and_changes_what_it_should() {
    let experiment = Experiment::with_every_circuit();
    experiment.trompe(&["sanity-check", "--config", "configs/circuits.toml"]).expect_success();
    let results = experiment.path("results/circuits");
    let circuits = ["gate", "pictures", "hidden", "silent"];
    let behaviour = rows(&results.join("behaviour.csv"));
    for circuit in circuits {
        let row = behaviour.iter().find(|r| r["circuit"] == circuit && r["dataset"] == "scenes/validation");
        let row = row.unwrap();
        // Where it is off, bit for bit.
        assert_eq!(row["largest_logit_change_off"].parse::<f64>().unwrap(), 0.0, "{circuit}");
        assert!(results.join(format!("networks/{circuit}.safetensors")).is_file());
    }
    // The silent units' calibration images: none switches one on, nothing changes.
    let seen: Vec<_> = behaviour.iter().filter(|r| r["circuit"] == "silent" && r["seen"] == "true").collect();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0]["switched"].as_str(), seen[0]["changed_predictions"].as_str()), ("0", "0"));
    assert_eq!(seen[0]["largest_logit_change"].parse::<f64>().unwrap(), 0.0);

    let visualizations = rows(&results.join("visualizations.csv"));
    let of = |circuit: &str, column: &str| -> Vec<String> {
        visualizations.iter().filter(|r| r["circuit"] == circuit).map(|r| r[column].clone()).collect()
    };
    assert_eq!(
        of("pictures", "target_name"),
        ["eye", "eye", "sunflower", "sunflower", "lighthouse", "lighthouse"]
    );
    assert!(of("pictures", "target_picture").iter().all(|p| results.join(p).is_file()));
    assert_eq!(
        of("hidden", "target")[0].parse::<usize>().unwrap(),
        of("hidden", "channel")[0].parse::<usize>().unwrap() + 16
    );
    assert!(
        of("silent", "layer").iter().all(|l| l == "bn8")
            && of("silent", "shows").iter().all(String::is_empty)
    );
    let resemblance = rows(&results.join("resemblance.csv"));
    assert_eq!(resemblance.iter().filter(|r| r["circuit"] == "silent").count(), 1, "one pair of two units");

    let silence = rows(&results.join("silence.csv"));
    assert_eq!(silence.len(), 16 + 48);
    assert_eq!(silence.iter().filter(|r| !r["visualization"].is_empty()).count(), 4);
    // Curves of hidden units end at their layer, and are set against images that drive them.
    let paths = rows(&results.join("path_similarity.csv"));
    let layers = |units: &str| -> Vec<&str> {
        let of = |r: &&HashMap<String, String>| {
            r["units"] == units && r["circuit"] == "none" && r["metric"] == "cosine"
        };
        paths.iter().filter(of).map(|r| r["layer"].as_str()).collect()
    };
    assert_eq!(layers("bn5"), ["relu1", "relu2", "relu3", "relu4"]);
    assert_eq!(layers("classifier").len(), 10);
    let page = String::from_utf8(bytes(&results.join("report.html"))).unwrap();
    assert!(circuits.iter().all(|c| page.contains(&format!("Circuit “{c}”"))));

    // A manipulated network is a network like any other.
    let fool = [
        "fool",
        "--circuit",
        "circuits/silent.toml",
        "--config",
        "configs/circuits.toml",
        "--out",
        "lies.safetensors",
    ];
    let out = experiment.trompe(&fool).expect_success().out;
    assert!(out.contains("silent.units") && out.contains("lies.safetensors"), "{out}");
    let visualize = ["visualize", "bn8:5", "silent.units:0", "--network", "lies.safetensors", "--steps", "2"];
    // A silent unit gives no gradient from noise: its picture is the noise that it began with, and that is said.
    let seen = experiment.trompe(&visualize).expect_error(1, &["1 of 2 visualizations"]);
    let line = |unit: &str| seen.out.lines().find(|line| line.starts_with(unit)).unwrap().to_string();
    assert!(line("silent.units:0").contains("FAILED: no gradient"), "{}", seen.out);
    assert!(!line("bn8:5").contains("FAILED"), "{}", seen.out);
    let again = [
        "sanity-check",
        "--config",
        "configs/fool.toml",
        "--network",
        "lies.safetensors",
        "--out",
        "results/lies",
    ];
    experiment.trompe(&again).expect_success();
    let top1 = |folder: &str, circuit: &str| {
        let accuracy = rows(&experiment.path(folder).join("accuracy.csv"));
        accuracy.iter().find(|r| r["circuit"] == circuit).unwrap()["top1"].clone()
    };
    assert_eq!(top1("results/lies", "none"), top1("results/circuits", "silent"));
}

#[test]
fn a_network_is_trained_saved_and_visualized() {
    let experiment = Experiment::new();
    let train = ["train", "--config", "configs/fool.toml", "--out", "small.safetensors"];
    let out = experiment.trompe(&train).expect_success().out;
    assert!(out.contains("small.safetensors") && out.contains("top-1"), "{out}");
    assert!(experiment.path("small.safetensors").is_file());
    let visualize = ["visualize", "relu4:3", "classifier:9", "--steps", "2", "--out", "pictures"];
    experiment.trompe(&visualize).expect_success();
    for name in ["relu4_3_0.png", "classifier_9_0.png"] {
        assert_eq!(image::open(experiment.path("pictures").join(name)).unwrap().width(), 64);
    }
    experiment.trompe(&["visualize", "relu4:48"]).expect_error(2, &["relu4:48", "channels 0 to 47"]);
    experiment.trompe(&["visualize", "relu10:0"]).expect_error(2, &["relu10", "did you mean", "relu1"]);
}

/// Ctrl-C ends the run soon, with its own exit code; the next run goes on and gives what an undisturbed one gives.
#[cfg(unix)]
#[test]
fn an_interrupted_run_is_resumed() {
    let disturbed = Experiment::new();
    disturbed.edit("configs/fool.toml", "steps = 6", "steps = 40");
    let child = crate::common::program()
        .args(["sanity-check", "--config", "configs/fool.toml"])
        .current_dir(disturbed.folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let kept = disturbed.path("results/.cache/visualizations");
    let finished = |kept: &Path| {
        std::fs::read_dir(kept).map_or(0, |all| {
            all.flatten().filter(|e| !e.file_name().to_string_lossy().starts_with('.')).count()
        })
    };
    let start = std::time::Instant::now();
    while finished(&kept) < 2 {
        assert!(start.elapsed().as_secs() < 300, "no visualization is finished");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let manifest = std::fs::read_to_string(disturbed.path("results/fool/manifest.json")).unwrap();
    assert!(manifest.contains("\"complete\": false"));
    let done = finished(&kept);
    disturbed.sanity_check().expect_success();
    assert!(finished(&kept) > done);

    let undisturbed = Experiment::new();
    undisturbed.edit("configs/fool.toml", "steps = 6", "steps = 40");
    undisturbed.sanity_check().expect_success();
    for table in TABLES {
        let [a, b] = [&disturbed, &undisturbed].map(|e| bytes(&e.path("results/fool").join(table)));
        assert_eq!(a, b, "{table}");
    }
}
