//! The benchmark of detectors and the audit on the embedded network, at a reduced size.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::Experiment;

type Rows = Vec<HashMap<String, String>>;

fn rows(path: &Path) -> Rows {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

const TABLES: [&str; 5] = ["accuracy.csv", "scores.csv", "detection.csv", "cases.csv", "exhibits.csv"];

fn detect(experiment: &Experiment, out: &str) -> common::Outcome {
    experiment.trompe(&["detect", "--config", "configs/detect-small.toml", "--out", out])
}

/// The area by its definition: pairs of a fooled and a clean unit of one layer.
fn area(scores: &Rows, circuit: &str, detector: &str) -> f64 {
    let here: Vec<_> =
        scores.iter().filter(|r| r["circuit"] == circuit && r["detector"] == detector).collect();
    let value = |r: &HashMap<String, String>| r["score"].parse().unwrap_or(f64::NEG_INFINITY);
    let by_unit = here.iter().filter(|r| r["manipulated"] == "true").map(|fooled| {
        let clean: Vec<_> =
            here.iter().filter(|r| r["manipulated"] == "false" && r["layer"] == fooled["layer"]).collect();
        let points = clean.iter().map(|c| match value(fooled).total_cmp(&value(c)) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        });
        points.sum::<f64>() / clean.len() as f64
    });
    let all: Vec<f64> = by_unit.collect();
    all.iter().sum::<f64>() / all.len() as f64
}

#[test]
fn detectors_are_set_against_circuits_and_metrics_against_a_baseline() {
    let experiment = Experiment::for_detectors();
    let first = detect(&experiment, "results/a").expect_success();
    assert!(first.out.contains("slingshot") && first.out.contains("labels permuted"), "{}", first.out);
    let results = experiment.path("results/a");
    let scores = rows(&results.join("scores.csv"));
    // 3 circuits in one layer each and the clean network in both layers; 4 units; 6 detectors.
    assert_eq!(scores.len(), (3 + 2) * 4 * 6);
    let detection = rows(&results.join("detection.csv"));
    assert_eq!(detection.len(), (3 + 2) * 6);
    for row in detection.iter().filter(|r| r["control"] == "false") {
        let want = area(&scores, &row["circuit"], &row["detector"]);
        assert!((row["auc"].parse::<f64>().unwrap() - want).abs() < 1e-9, "{row:?}");
        let [low, high] = ["lower", "upper"].map(|k| row[k].parse::<f64>().unwrap());
        assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
    }
    // Circuits that stand beside a unit are read from the weights; one that moves weights is not.
    let silence = |circuit: &str| area(&scores, circuit, "silence");
    assert_eq!((silence("permuted"), silence("silent")), (1.0, 1.0));
    assert!(results.join("report.html").is_file() && results.join("figures/areas_standard.svg").is_file());
    assert!(results.join("networks/slingshot-bn6.safetensors").is_file());

    // From the cache, and drawn again from its tables, it is the same.
    detect(&experiment, "results/b").expect_success();
    for table in TABLES {
        let [a, b] =
            ["a", "b"].map(|r| std::fs::read(experiment.path(&format!("results/{r}/{table}"))).unwrap());
        assert_eq!(a, b, "{table}");
    }
    let page = std::fs::read(results.join("figures/areas_standard.svg")).unwrap();
    experiment.trompe(&["plots", "results/a"]).expect_success();
    assert_eq!(page, std::fs::read(results.join("figures/areas_standard.svg")).unwrap());

    // A baseline from two runs accepts its own run, and refuses one whose detector has got worse.
    let baseline = experiment.path("baseline.csv");
    let regress = |more: &[&str]| {
        experiment.trompe(&[&["regress", "results/a", "--baseline", "baseline.csv"], more].concat())
    };
    regress(&[]).expect_error(2, &["baseline.csv"]);
    regress(&["--update"]).expect_error(2, &["baseline.csv", "--repeats"]);
    regress(&["--update", "--repeats", "results/b"]).expect_success();
    regress(&[]).expect_success();
    let metric = "auc [silent, silence, standard]";
    let before = rows(&baseline).into_iter().find(|r| r["metric"] == metric).unwrap();
    assert_eq!((before["value"].as_str(), before["runs"].as_str()), ("1.0", "2"));
    let table = std::fs::read_to_string(results.join("detection.csv")).unwrap();
    let broken: Vec<String> = table
        .lines()
        .map(|line| match line.contains(",silent,") && line.contains(",silence,") {
            true => line.replace(",1.0,", ",0.5,"),
            false => line.into(),
        })
        .collect();
    std::fs::write(results.join("detection.csv"), broken.join("\n")).unwrap();
    let found = regress(&[]).expect_error(1, &["regressed"]);
    assert!(found.out.lines().any(|l| l.contains(metric) && l.contains("REGRESSED")), "{}", found.out);
}

#[test]
fn a_network_from_outside_is_audited() {
    let experiment = Experiment::for_detectors();
    let config = ["--config", "configs/detect-small.toml"];
    let run = |arguments: &[&str]| experiment.trompe(&[arguments, &config].concat());
    run(&["train", "--out", "honest.safetensors"]).expect_success();
    run(&["fool", "--circuit", "circuits/silent.toml", "--out", "lies.safetensors"]).expect_success();
    let audit = ["audit", "lies.safetensors", "--layers", "bn6", "--units", "96"];
    let alone = run(&audit).expect_success();
    assert!(alone.out.contains("unknown"), "{}", alone.out);
    let reference = ["--reference", "honest.safetensors", "--out", "results/compared"];
    run(&[&audit[..], &reference].concat()).expect_success();
    let suspects = rows(&experiment.path("results/compared/suspects.csv"));
    assert_eq!(suspects.len(), 96);
    // The two manipulated units come first.
    let mut first: Vec<&str> = suspects[..2].iter().map(|r| r["channel"].as_str()).collect();
    first.sort_unstable();
    assert_eq!(first, ["17", "5"]);
    for pair in suspects.windows(2) {
        let [a, b] = [0, 1].map(|i| pair[i]["suspicion"].parse::<f64>().unwrap());
        assert!(a >= b);
        let [a, b] = [0, 1].map(|i| pair[i]["false_positive_rate"].parse::<f64>().unwrap());
        assert!(a <= b && a >= 1.0 / 97.0);
    }
    // An honest network against itself is not slandered.
    run(&[
        "audit",
        "honest.safetensors",
        "--layers",
        "bn6",
        "--units",
        "24",
        "--reference",
        "honest.safetensors",
    ])
    .expect_success();
    let suspects = rows(&experiment.path("results/audit-honest/suspects.csv"));
    let rates: Vec<f64> = suspects.iter().map(|r| r["false_positive_rate"].parse().unwrap()).collect();
    assert!(rates.iter().filter(|r| **r <= 0.05).count() <= 1, "{rates:?}");
    let page = std::fs::read_to_string(experiment.path("results/audit-honest/report.html")).unwrap();
    assert!(page.contains("found no sign of manipulation"));
    run(&["audit", "honest.safetensors", "--layers", "conv9"]).expect_error(2, &["conv9", "bn6"]);
    run(&["audit", "nothing.safetensors", "--layers", "bn6"]).expect_error(2, &["nothing.safetensors"]);
}

#[test]
fn mistakes_in_the_benchmark() {
    let experiment = Experiment::for_detectors();
    let config = "configs/detect-small.toml";
    for (from, to, words) in [
        ("pictures = 2", "pictures = 1", vec!["detect.pictures", "detect-small.toml"]),
        ("manipulated = 2", "manipulated = 0", vec!["detect.manipulated"]),
        ("manipulated = 2", "manipulated = 2\ndetectors = [\"pth\"]", vec!["pth", "path", "silence"]),
        ("layers = [\"bn4\"]", "layers = [\"bn9\"]", vec!["bn9"]),
        ("layers = [\"bn4\"]", "layers = []", vec!["permuted.toml"]),
        ("detect/silent.toml", "detect/silence.toml", vec!["silence.toml"]),
    ] {
        let kept = std::fs::read_to_string(experiment.path(config)).unwrap();
        experiment.edit(config, from, to);
        detect(&experiment, "results/x").expect_error(2, &words);
        experiment.write(config, &kept);
    }
    experiment
        .trompe(&["detect", "--config", "configs/fool.toml"])
        .expect_error(2, &["[detect]", "fool.toml"]);
}
