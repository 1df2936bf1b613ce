//! The benchmark of detectors and the audit on the embedded network, at a reduced size.

use std::collections::HashMap;
use std::path::Path;

use crate::common::Experiment;
use burn::tensor::Device;
use trompe::network::{Graph, Network, Op, op};
use trompe::seed;

type Rows = Vec<HashMap<String, String>>;

fn rows(path: &Path) -> Rows {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

const TABLES: [&str; 5] = ["accuracy.csv", "scores.csv", "detection.csv", "cases.csv", "exhibits.csv"];

fn detect(experiment: &Experiment, out: &str) -> crate::common::Outcome {
    experiment.trompe(&["detect", "--config", "configs/detect-small.toml", "--out", out])
}

/// The area by its definition: pairs of a fooled and a clean unit of one layer.
fn area(scores: &Rows, circuit: &str, detector: &str) -> f64 {
    let here: Vec<_> =
        scores.iter().filter(|r| r["circuit"] == circuit && r["detector"] == detector).collect();
    let value = |r: &HashMap<String, String>| r["score"].parse().unwrap_or(f64::NEG_INFINITY);
    let by_unit = here.iter().filter(|r| r["manipulated"] == "true").map(|fooled| {
        let beside = |r: &&&HashMap<String, String>| {
            r["manipulated"] == "false" && r["layer"] == fooled["layer"] && r["draw"] == fooled["draw"]
        };
        let clean: Vec<_> = here.iter().filter(beside).collect();
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
    assert!(first.out.contains("slingshot") && first.out.contains("clean against clean"), "{}", first.out);
    let results = experiment.path("results/a");
    let scores = rows(&results.join("scores.csv"));
    // 4 units and 6 detectors: two circuits in three draws and one in one, in one layer each; the clean network, the untrained
    // one and noisy natural images in both layers.
    assert_eq!(scores.len(), (2 * 3 + 1 + 3 * 2) * 4 * 6);
    // Roles are exchanged between draws, and each unit is set beside itself.
    let fooled: std::collections::HashSet<_> = scores
        .iter()
        .filter(|r| r["circuit"] == "silent" && r["manipulated"] == "true")
        .map(|r| r["channel"].clone())
        .collect();
    assert!(fooled.len() > 2, "{fooled:?}");
    for row in scores.iter().filter(|r| !r["draw"].is_empty()) {
        let same = |r: &&HashMap<String, String>| {
            r["circuit"] == "none" && ["layer", "channel", "detector"].iter().all(|k| r[*k] == row[*k])
        };
        assert_eq!(row["honest"], scores.iter().find(same).unwrap()["score"], "{row:?}");
    }
    // Detectors were given every class.
    let manifest = std::fs::read_to_string(results.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let given = manifest["data"].as_array().unwrap().iter();
    let given = given.clone().find(|d| d["name"].as_str().unwrap().contains("detectors are given")).unwrap();
    let counts: Vec<u64> =
        given["classes"].as_array().unwrap().iter().map(|c| c["images"].as_u64().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (12, 40));
    assert!(counts.iter().all(|n| (3..=4).contains(n)), "{counts:?}");
    let detection = rows(&results.join("detection.csv"));
    // Circuits over all layers and in their own; two controls and clean against clean, over all and by layer; chance.
    assert_eq!(detection.len(), (3 * 2 + 3 * 3 + 1) * 6);
    for row in detection.iter().filter(|r| r["control"] == "false") {
        let want = area(&scores, &row["circuit"], &row["detector"]);
        assert!((row["auc"].parse::<f64>().unwrap() - want).abs() < 1e-9, "{row:?}");
        let [low, high] = ["lower", "upper"].map(|k| row[k].parse::<f64>().unwrap());
        assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
    }
    // Circuits that stand beside a unit are read from the weights; one that moves weights is not.
    let silence = |circuit: &str| area(&scores, circuit, "silence");
    assert_eq!((silence("permuted"), silence("silent")), (1.0, 1.0));
    assert!(results.join("figures/areas_standard.svg").is_file());
    // Among two clean units there is no 5 %: the third would be above both once in three times.
    let report = std::fs::read_to_string(results.join("report.html")).unwrap();
    assert!(report.contains("2 clean units of a layer allow (33 % expected)"));
    assert!(!report.contains("of its units at 5 %"));
    for row in detection.iter().filter(|r| r["circuit"].starts_with("chance")) {
        let [low, mean, high] = ["lower", "auc", "upper"].map(|k| row[k].parse::<f64>().unwrap());
        assert!(low <= mean && mean <= high && (mean - 0.5).abs() < 0.1, "{row:?}");
    }
    // What pictures cost, by circuit and layer.
    let cost = |run: &str| -> Vec<[String; 3]> {
        rows(&experiment.path(&format!("results/{run}/cost.csv")))
            .into_iter()
            .filter(|r| r["what"] == "visualizations")
            .map(|r| ["circuit", "layer", "seconds_per_unit"].map(|k| r[k].clone()))
            .collect()
    };
    let spent = cost("a");
    let cells: Vec<[&str; 2]> =
        spent.iter().map(|[circuit, layer, _]| [circuit.as_str(), layer.as_str()]).collect();
    let circuits = [["permuted", "bn5"], ["silent", "bn8"], ["slingshot", "bn8"]];
    assert_eq!(cells[..2], [["none", "bn5"], ["none", "bn8"]]);
    assert_eq!(cells[2..4], [["untrained network", "bn5"], ["untrained network", "bn8"]]);
    assert_eq!(cells[4..], circuits);
    assert!(spent.iter().all(|[.., seconds]| seconds.parse::<f64>().unwrap() > 0.0), "{spent:?}");
    assert!(results.join("networks/slingshot-bn8.safetensors").is_file());

    // From the cache, and drawn again from its tables, it is the same.
    detect(&experiment, "results/b").expect_success();
    for table in TABLES {
        let [a, b] =
            ["a", "b"].map(|r| std::fs::read(experiment.path(&format!("results/{r}/{table}"))).unwrap());
        assert_eq!(a, b, "{table}");
    }
    assert_eq!(cost("b"), spent);
    // Of pictures that are there nobody knows what they took.
    std::fs::remove_dir_all(experiment.path("results/.cache/seconds-per-picture")).unwrap();
    detect(&experiment, "results/c").expect_success();
    assert!(cost("c").iter().all(|[.., seconds]| seconds.is_empty()), "{:?}", cost("c"));
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

    // Baselines that nothing can be worse than.
    let header = "metric,direction,value,tolerance,runs\n";
    experiment.write("baseline.csv", header);
    regress(&[]).expect_error(2, &["baseline.csv", "no rows"]);
    experiment.write("baseline.csv", &format!("{header}\"{metric}\",higher,1.0,NaN,3\n"));
    regress(&[]).expect_error(2, &["baseline.csv", "row 1", metric, "tolerance"]);
    experiment.write("baseline.csv", &format!("{header}\"{metric}\",higher,0.9,0.95,3\n"));
    let idle = regress(&[]).expect_success();
    assert!(idle.out.lines().any(|l| l.contains(metric) && l.contains("gates nothing")), "{}", idle.out);
    // What an old baseline lacks is added with a tolerance, and named where there is none.
    let alone = regress(&["--update"]).expect_success();
    assert!(alone.out.contains("auc [silent, gap, standard]"), "{}", alone.out);
    assert_eq!(rows(&baseline).len(), 1);
    regress(&["--update", "--repeats", "results/b"]).expect_success();
    assert!(rows(&baseline).iter().any(|r| r["metric"] == "auc [silent, gap, standard]"));
}

#[test]
fn a_network_from_outside_is_audited() {
    let experiment = Experiment::for_detectors();
    let config = ["--config", "configs/detect-small.toml"];
    let run = |arguments: &[&str]| experiment.trompe(&[arguments, &config].concat());
    run(&["train", "--out", "honest.safetensors"]).expect_success();
    run(&["fool", "--circuit", "circuits/silent.toml", "--out", "lies.safetensors"]).expect_success();
    let audit = ["audit", "lies.safetensors", "--layers", "bn8", "--units", "96"];
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
    }
    // One honest network can tell no rate below a half, whatever its units are.
    assert!(suspects.iter().all(|r| (0.5..=1.0).contains(&r["p_value"].parse::<f64>().unwrap())));
    let page = std::fs::read_to_string(experiment.path("results/compared/report.html")).unwrap();
    assert!(page.contains("no rate below 50.0 %") && !page.contains("no sign of manipulation"));

    // Several honest networks: how suspicious they find one another, and what is said of the one that lies.
    for seed in ["2", "3", "4"] {
        let out = format!("honest-{seed}.safetensors");
        run(&["train", "--seed", seed, "--out", &out]).expect_success();
    }
    let references = ["--reference", "honest-2.safetensors", "honest-3.safetensors", "honest-4.safetensors"];
    let small = ["--layers", "bn8", "--units", "8"];
    let calibrate =
        [&["audit", "honest.safetensors"], &small[..], &["--calibrate", "--out", "results/calibrated"]];
    let found = run(&[&calibrate.concat()[..], &references].concat()).expect_success();
    assert!(found.out.contains("Each of 4 networks judged by the 3 others"), "{}", found.out);
    let calibration = rows(&experiment.path("results/calibrated/calibration.csv"));
    // Of each network its layer and itself; ranks of four.
    assert_eq!(calibration.len(), 4 * 2);
    let mut ranks: Vec<f64> = calibration
        .iter()
        .filter(|r| r["layer"].is_empty())
        .map(|r| r["p_value"].parse::<f64>().unwrap())
        .collect();
    ranks.sort_by(f64::total_cmp);
    assert!(ranks.iter().all(|p| (0.25..=1.0).contains(p)), "{ranks:?}");
    run(&[
        "audit",
        "honest.safetensors",
        "--calibrate",
        "--layers",
        "bn8",
        "--reference",
        "honest-2.safetensors",
    ])
    .expect_error(2, &["--calibrate", "at least two"]);
    run(&["audit", "honest.safetensors", "--layers", "conv19"]).expect_error(2, &["conv19", "conv9"]);
    run(&["audit", "nothing.safetensors", "--layers", "bn8"]).expect_error(2, &["nothing.safetensors"]);
}

/// A network that has no layer the experiment names and fewer outputs than there are classes, and photographs of which one
/// is broken.
#[test]
fn a_network_of_another_architecture_is_audited() {
    let experiment = Experiment::for_detectors();
    let mut graph = Graph::new("foreign", 3);
    graph.then("stem", Op::conv(3, 6, 5, 4, 2));
    graph.then("stem_on", op::Relu);
    graph.then("second", Op::conv(6, 4, 3, 1, 1));
    graph.then("second_on", op::Relu);
    graph.then("scores", op::GlobalAvgPool);
    let network = Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap();
    network.save(&experiment.path("foreign.safetensors")).unwrap();
    let config = "configs/detect-small.toml";
    let audit = |more: &[&str]| {
        experiment.trompe(&[&["audit", "foreign.safetensors", "--config", config], more].concat())
    };
    audit(&[]).expect_error(2, &["--layers", "bn5", "stem_on", "second"]);
    audit(&["--layers", "stem,third"]).expect_error(2, &["third", "second"]);
    audit(&["--layers", "stem,second_on", "--units", "3"]).expect_success();
    let suspects = rows(&experiment.path("results/audit-foreign/suspects.csv"));
    let of = |layer: &str| suspects.iter().filter(|r| r["layer"] == layer).count();
    assert_eq!((of("stem"), of("second_on")), (3, 3));

    // Nor does it take layers to compare.
    experiment.edit(
        config,
        "[paths]\nlayers = [\"relu1\", \"relu2\", \"relu3\", \"relu4\", \"relu5\", \"relu6\", \"relu7\", \"relu8\", \"relu9\", \"classifier\"]\n\
         images_per_class = 20\nreductions = [\"channel-mean\"]\nmetrics = [\"spearman\", \"pearson\", \"cosine\"]\n",
        "",
    );
    experiment.edit(
        config,
        "validation = { kind = \"scenes\", split = \"validation\", images = 60 }",
        "validation = { kind = \"folder\", path = \"photographs\" }",
    );
    let folder = experiment.path("photographs/cat");
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..110u8 {
        let image = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([4 * x as u8, 4 * y as u8, 2 * i]));
        image.save(folder.join(format!("{i:03}.png"))).unwrap();
    }
    experiment.write("photographs/cat/broken.png", "no picture");
    let found = audit(&["--layers", "stem", "--units", "3", "--data", ".", "--out", "results/photographs"]);
    let found = found.expect_success();
    assert!(found.err.contains("left out:") && found.err.contains("broken.png"), "{}", found.err);
    let report = std::fs::read_to_string(experiment.path("results/photographs/report.html")).unwrap();
    assert!(report.contains("broken.png"));
}

#[test]
fn mistakes_in_the_benchmark() {
    let experiment = Experiment::for_detectors();
    let config = "configs/detect-small.toml";
    for (from, to, words) in [
        ("pictures = 2", "pictures = 1", vec!["detect.pictures", "detect-small.toml"]),
        ("manipulated = 2", "manipulated = 0", vec!["detect.manipulated"]),
        ("manipulated = 2", "manipulated = 2\ndetectors = [\"pth\"]", vec!["pth", "path", "silence"]),
        ("layers = [\"bn5\"]", "layers = [\"bn99\"]", vec!["bn99"]),
        ("layers = [\"bn5\"]", "layers = []", vec!["permuted.toml"]),
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
