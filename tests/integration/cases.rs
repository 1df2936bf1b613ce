//! What people feed such a tool: what comes out is right, or one message that says what to do, and never a panic, a hang, or
//! something wrong without a word.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Experiment, program};
use burn::tensor::{Device, TensorData};
use trompe::network::{Graph, Network, Op, op};
use trompe::seed;

fn rows(path: &Path) -> Vec<std::collections::HashMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

/// A network of two convolutions with names of one's own, one of them dead, and a Softmax that is saturated.
fn odd(names: [&str; 2]) -> Network {
    let mut g = Graph::new("odd", 3);
    let first = g.then(names[0], Op::conv(3, 4, 3, 1, 1));
    let second = g.push(names[1], Op::conv(3, 4, 3, 1, 1), &["input"]);
    g.push("dead", Op::conv(4, 2, 1, 1, 0), &[&first]);
    let off = g.then("off", op::Relu);
    g.push("joined", op::Concat::default(), &[&off, &second]);
    g.then("mean", op::GlobalAvgPool);
    g.then("scores", Op::Linear(op::Linear { features: [6, 3], bias: true }));
    g.then("saturated", op::Softmax::default());
    let mut network = Network::new(g, &mut seed::rng(1, &0), &Device::default()).unwrap();
    let data = |values: Vec<f32>, shape: Vec<usize>| TensorData::new(values, shape);
    network.set_filters("dead", data(vec![0.01; 8], vec![2, 4, 1, 1]), data(vec![-1e3; 2], vec![2])).unwrap();
    let bias = data(vec![0.0, 1e4, -1e4], vec![3]);
    network.set_filters("scores", data(vec![0.1; 18], vec![3, 6, 1, 1]), bias).unwrap();
    network
}

/// Pictures in `photographs/CLASS`.
fn photographs(experiment: &Experiment, class: &str, count: u8) {
    let folder = experiment.path("photographs").join(class);
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..count {
        let image = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([4 * x as u8, 4 * y as u8, 9 * i]));
        image.save(folder.join(format!("{i:03}.png"))).unwrap();
    }
}

const SCENES: &str = "{ kind = \"scenes\", split = \"validation\", images = 60 }";

#[test]
fn a_layers_name_leads_to_one_file_inside_the_folder() {
    let experiment = Experiment::new();
    let long = "l".repeat(352);
    for names in [["/a/b", "_a_b"], ["..", "../up"], [&long, &format!("{long}2")]] {
        odd(names).save(&experiment.path("odd.safetensors")).unwrap();
        let units = names.map(|name| format!("{name}:0"));
        let visualize = [
            "visualize",
            &units[0],
            &units[1],
            "--network",
            "odd.safetensors",
            "--steps",
            "2",
            "--out",
            "p/q",
        ];
        let out = experiment.trompe(&visualize).expect_success().out;
        let made = out.lines().filter(|line| line.contains(" activation "));
        let files: Vec<&str> = made.map(|line| line.rsplit_once(' ').unwrap().1).collect();
        assert!(files.len() == 2 && files[0] != files[1], "{out}");
        for file in files {
            assert!(Path::new(file).parent() == Some(Path::new("p/q")), "{file}");
            assert_eq!(image::open(experiment.path(file)).unwrap().width(), 64);
        }
        std::fs::remove_dir_all(experiment.path("p")).unwrap();
    }
    // Twice the same is a slip.
    experiment
        .trompe(&["visualize", "relu1:0", "relu1:0", "--network", "odd.safetensors"])
        .expect_error(2, &["relu1", "twice"]);
}

#[test]
fn mistakes_are_found_before_anything_is_trained() {
    let experiment = Experiment::new();
    experiment.edit("configs/fool.toml", "images = 200", "images = 200000");
    for (arguments, code, words) in [
        (&["visualize", "classifer:0"][..], 2, &["classifer", "did you mean \"classifier\"?"][..]),
        (&["visualize", "classifier:77"], 2, &["classifier:77", "channels 0 to 11"]),
        (&["visualize", "relu1:0", "--out", "configs/fool.toml"], 1, &["configs/fool.toml"]),
        (&["train", "--config", "configs/fool.toml", "--out", "none/a.safetensors"], 2, &["none"]),
        (&["train", "--config", "configs/fool.toml", "--out", "configs"], 2, &["configs", "folder"]),
        (&["train", "--config", "configs/fool.toml", "--out", "/dev/null"], 2, &["/dev/null"]),
        (&["fool", "--circuit", "circuits/gate.toml", "--out", "none/a.onnx"], 2, &["none"]),
        (&["visualize", "relu1:0", "--number", "0"], 2, &["--number"]),
        (&["visualize", "relu1:0", "--steps", "0"], 2, &["--steps"]),
        (&["layers", "resnet20", "--size", "99999999"], 2, &["--size"]),
    ] {
        experiment.trompe(arguments).expect_error(code, words);
    }
    for (from, to, words) in [
        (
            "images = 60 }",
            "images = 60 }\nevaluation = [{ kind = \"folder\", path = \"none\" }]",
            &["none", "--data"][..],
        ),
        ("std = [0.25, 0.25, 0.25]", "std = [0.25, 0.0, 0.25]", &["preprocessing.std", "above 0"]),
        ("std = [0.25, 0.25, 0.25]", "std = [0.25, nan, 0.25]", &["preprocessing.std"]),
        ("size = 64", "size = 64\nl2 = nan", &["optimization.l2", "NaN"]),
        ("size = 64", "size = 100000", &["optimization.size", "at most"]),
        ("pixels = 2", "pixels = 200", &["transforms", "nothing"]),
        ("per_class = 2", "per_class = 100000000", &["per_class", "at most"]),
        ("learning_rate = 4e-3", "learning_rate = inf", &["training.learning_rate"]),
        ("images = 60 }", "images = 100000000000 }", &["images", "at most"]),
        ("classes = [0, 1, 2]", "classes = [0, 0]", &["visualization.classes", "twice"]),
        ("classes = [0, 1, 2]", "classes = []", &["visualization.classes", "empty"]),
        ("\"relu1\", \"relu2\"", "\"relu1\", \"relu1\"", &["paths.layers", "relu1", "twice"]),
        ("\"channel-mean\"", "\"class-token\"", &["paths.reductions", "relu1", "no class token"]),
        (
            "layer = \"classifier\"",
            "layer = \"classifier\"\nfocus = \"class-token\"",
            &["visualization.focus", "classifier", "no class token"],
        ),
        (
            "layer = \"classifier\"",
            "layer = \"classifier\"\nfocus = { place = [0.5, 2.0] }",
            &["visualization.focus.place", "between 0 and 1"],
        ),
    ] {
        let kept = std::fs::read_to_string(experiment.path("configs/fool.toml")).unwrap();
        experiment.edit("configs/fool.toml", from, to);
        experiment.sanity_check().expect_error(2, words);
        experiment.write("configs/fool.toml", &kept);
    }
    assert!(!experiment.path("results/fool").exists() && !experiment.path("results/.cache").exists());
}

#[test]
fn a_picture_that_shows_nothing_says_so() {
    let experiment = Experiment::new();
    odd(["first", "second"]).save(&experiment.path("odd.safetensors")).unwrap();
    let network = ["--network", "odd.safetensors"];
    let units = ["visualize", "first:0", "off:1", "saturated:2", "--steps", "3"];
    let seen = experiment.trompe(&[&units[..], &network].concat());
    let seen = seen.expect_error(1, &["2 of 3 visualizations show nothing"]);
    let line = |unit: &str| seen.out.lines().find(|line| line.starts_with(unit)).unwrap().to_string();
    for unit in ["off:1", "saturated:2"] {
        assert!(line(unit).contains("FAILED: no gradient"), "{}", seen.out);
    }
    assert!(!line("first:0").contains("FAILED"), "{}", seen.out);
    // Neither does a term beside the unit hide it, nor the table and the report.
    experiment.edit("configs/fool.toml", "size = 64", "size = 64\nl2 = 0.1");
    let still = experiment.trompe(&["visualize", "off:0", "--steps", "3", "--network", "odd.safetensors"]);
    still.expect_error(1, &["show nothing"]);
    let config = "configs/fool.toml";
    experiment.edit(config, "layer = \"classifier\"", "layer = \"saturated\"");
    experiment.edit(config, "circuits = [\"../circuits/gate.toml\"]", "");
    let text = std::fs::read_to_string(experiment.path(config)).unwrap();
    let layers = text.lines().find(|line| line.starts_with("layers = ")).unwrap().to_string();
    experiment.edit(config, &layers, "layers = [\"first\", \"mean\"]");
    let classes = "[0, 1, 2]";
    experiment.edit(config, &format!("classes = {classes}"), "classes = [0]");
    photographs(&experiment, "cat", 4);
    experiment.edit(config, SCENES, "{ kind = \"folder\", path = \"photographs\" }");
    let check = ["sanity-check", "--config", config, "--data", ".", "--network", "odd.safetensors"];
    let seen = experiment.trompe(&check).expect_success();
    for words in ["show nothing of their units (saturated:0)", "all are of one class (cat)"] {
        assert!(seen.err.contains(words), "{}", seen.err);
    }
    let pictures = rows(&experiment.path("results/fool/visualizations.csv"));
    assert!(pictures.iter().all(|row| row["problem"].contains("no gradient")), "{pictures:?}");
    let page = std::fs::read_to_string(experiment.path("results/fool/report.html")).unwrap();
    assert!(page.contains("show nothing of their units"));
}

#[test]
fn answers_that_mean_nothing_say_so() {
    let experiment = Experiment::new();
    let config = "configs/fool.toml";
    let mut g = Graph::new("one", 3);
    g.then("conv", Op::conv(3, 1, 3, 2, 1));
    g.then("score", op::GlobalAvgPool);
    let network = Network::new(g, &mut seed::rng(1, &0), &Device::default()).unwrap();
    network.save(&experiment.path("one.safetensors")).unwrap();
    experiment.edit(config, "layer = \"classifier\"", "");
    experiment.edit(config, "circuits = [\"../circuits/gate.toml\"]", "");
    experiment.edit(config, "classes = [0, 1, 2]", "");
    let text = std::fs::read_to_string(experiment.path(config)).unwrap();
    let layers = text.lines().find(|line| line.starts_with("layers = ")).unwrap().to_string();
    experiment.edit(config, &layers, "layers = [\"conv\"]");
    photographs(&experiment, "cat", 3);
    experiment.edit(config, SCENES, "{ kind = \"folder\", path = \"photographs\" }");
    let check = ["sanity-check", "--config", config, "--data", ".", "--network", "one.safetensors"];
    let seen = experiment.trompe(&check).expect_success();
    assert!(seen.err.contains("one output") && seen.err.contains("accuracy says nothing"), "{}", seen.err);
    // A map is no class score, and an image of one channel none in colour.
    let map = [&check[..], &["--output", "conv"]].concat();
    experiment.trompe(&map).expect_error(2, &["conv", "map of 32x32", "--output"]);
    for (channels, words) in
        [(1, &["grey images", "channel_order = \"grey\""]), (4, &["4 channels", "Conv2d(3, 4, 1)"])]
    {
        let mut g = Graph::new("other", channels);
        g.then("conv", Op::conv(channels, 3, 3, 2, 1));
        let other = Network::new(g, &mut seed::rng(1, &0), &Device::default()).unwrap();
        other.save(&experiment.path("one.safetensors")).unwrap();
        experiment.trompe(&["visualize", "conv:0", "--network", "one.safetensors"]).expect_error(2, words);
    }
}

#[test]
fn what_is_left_out_of_a_data_set_is_counted_and_named() {
    let experiment = Experiment::new();
    let config = "configs/fool.toml";
    photographs(&experiment, "cat", 4);
    photographs(&experiment, "dog/deeper", 3);
    let there = |name: &str| experiment.path("photographs").join(name);
    let picture = image::open(there("cat/000.png")).unwrap();
    picture.save(there("cat/web.webp")).unwrap();
    picture.save(there("cat/bitmap.BMP")).unwrap();
    for name in ["cat/phone.heic", "cat/other.heic", "cat/labels.txt", "cat/.DS_Store", "beside.png"] {
        std::fs::write(there(name), "x").unwrap();
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/nowhere/at/all", there("dog/link.jpg")).unwrap();
        assert!(Command::new("mkfifo").arg(there("dog/pipe.jpg")).status().unwrap().success());
    }
    experiment.edit(config, SCENES, "{ kind = \"folder\", path = \"photographs\" }");
    let train = ["train", "--config", config, "--data", ".", "--out", "a.safetensors"];
    let seen = experiment.trompe(&train).expect_success();
    for words in [
        "photographs: 9 images of 2 classes",
        "3 of them lie in folders within",
        "2 .heic",
        "1 other file is not read",
        "1 picture beside the folders",
        "scenes/train: 200 images of 12 classes",
    ] {
        assert!(seen.err.contains(words), "no \"{words}\" in: {}", seen.err);
    }
    #[cfg(unix)]
    for words in ["link.jpg (a link that leads nowhere)", "pipe.jpg (a pipe or a device)"] {
        assert!(seen.err.contains(words), "no \"{words}\" in: {}", seen.err);
    }
    // As ImageNet's validation set comes out of its archive.
    experiment.edit(config, "path = \"photographs\"", "path = \"photographs/cat\"");
    experiment.trompe(&train).expect_error(2, &["photographs/cat", "no folders of classes"]);
}

#[test]
fn a_folder_is_filled_by_one_run_at_a_time() {
    let experiment = Experiment::new();
    experiment.edit("configs/fool.toml", "steps = 6", "steps = 4000");
    let mut first = program()
        .args(["sanity-check", "--config", "configs/fool.toml"])
        .current_dir(experiment.folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !experiment.path("results/fool/manifest.json").exists() {
        assert!(start.elapsed() < Duration::from_secs(100), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = ["sanity-check", "--config", "configs/fool.toml", "--seed", "9"];
    experiment.trompe(&again).expect_error(2, &["results/fool", "in use"]);
    experiment.trompe(&["plots", "results/fool"]).expect_error(2, &["results/fool", "in use"]);
    first.kill().unwrap();
    first.wait().unwrap();
    experiment.trompe(&["plots", "results/fool"]).expect_error(2, &["results/fool", "not complete"]);
    // Who was killed leaves no lock behind.
    experiment.edit("configs/fool.toml", "steps = 4000", "steps = 6");
    experiment.trompe(&again).expect_success();
    // A table that is gone is missed.
    std::fs::remove_file(experiment.path("results/fool/accuracy.csv")).unwrap();
    experiment.trompe(&["plots", "results/fool"]).expect_error(1, &["accuracy.csv", "missing"]);
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_no_halves() {
    let experiment = Experiment::new();
    odd(["first", "second"]).save(&experiment.path("odd.safetensors")).unwrap();
    // No file may be longer than 512 bytes.
    let mut small = Command::new("sh");
    small.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_trompe")]);
    small.env_remove("TROMPE_CACHE").env_remove("TROMPE_DATA");
    small.args(["visualize", "first:0", "--network", "odd.safetensors", "--steps", "2", "--out", "p"]);
    let seen = experiment.run(&mut small).expect_error(1, &["cannot write p/first_0_0.png"]);
    assert_eq!(seen.out, "");
    let left = std::fs::read_dir(experiment.path("p")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".lock"]);
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_is_full_or_closed_is_no_panic() {
    let experiment = Experiment::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = |arguments: &[&str], command: &mut Command| {
        let output = command.args(arguments).current_dir(experiment.folder.path()).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(!err.contains("panicked"), "{err}");
        (output.status.code(), err)
    };
    let (code, err) = run(&["layers", "resnet20"], program().stdout(full()));
    assert!(code == Some(1) && err.contains("standard output"), "{code:?} {err}");
    let (code, _) = run(&["layers", "none.onnx"], program().stderr(full()));
    assert_eq!(code, Some(2));
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-", env!("CARGO_BIN_EXE_trompe")]);
    let (code, _) = run(&["layers", "resnet20"], &mut closed);
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

/// A network from elsewhere is not given the embedded network's preprocessing without a word.
#[test]
fn a_network_of_another_size_needs_an_experiment_of_its_own() {
    let experiment = Experiment::new();
    let mut g = Graph::new("large", 3);
    g.size = Some([224, 224]);
    g.then("conv", Op::conv(3, 4, 3, 2, 1));
    let network = Network::new(g.clone(), &mut seed::rng(1, &0), &Device::default()).unwrap();
    network.save(&experiment.path("large.onnx")).unwrap();
    let visualize = ["visualize", "conv:0", "--network", "large.onnx", "--steps", "2"];
    experiment.trompe(&visualize).expect_error(2, &["224x224", "64x64", "configs/fool.toml", "--config"]);
    let own = [&visualize[..], &["--config", "configs/fool.toml"]].concat();
    experiment.trompe(&own).expect_success();
    g.size = None;
    let network = Network::new(g, &mut seed::rng(1, &0), &Device::default()).unwrap();
    network.save(&experiment.path("large.onnx")).unwrap();
    let seen = experiment.trompe(&visualize).expect_success();
    assert!(seen.err.contains("64x64 pixels") && seen.err.contains("0.45"), "{}", seen.err);
}

/// Every layer that is listed can be visualized, a convolution before its batch norm, too.
#[test]
fn layers_have_the_same_names_everywhere() {
    let experiment = Experiment::new();
    let train = ["train", "--config", "configs/fool.toml", "--out", "small.onnx"];
    experiment.trompe(&train).expect_success();
    let listed = |file: &str| -> Vec<String> {
        let out = experiment.trompe(&["layers", file]).expect_success().out;
        let names = out.lines().skip(2).map(|line| line.split_whitespace().next().unwrap().to_string());
        let mut names: Vec<String> = names.collect();
        names.pop();
        names
    };
    let names = listed("small.onnx");
    assert!(names.contains(&"conv4".to_string()) && names.contains(&"bn4".to_string()), "{names:?}");
    assert_eq!(names, listed("small-cnn"));
    let units: Vec<String> = names.iter().map(|name| format!("{name}:0")).collect();
    let mut visualize = vec!["visualize", "--network", "small.onnx", "--steps", "1"];
    visualize.extend(units.iter().map(String::as_str));
    let seen = experiment.trompe(&visualize);
    let made = seen.out.lines().filter(|line| line.contains(" activation ")).count();
    assert_eq!(made, names.len(), "{}", seen.err);
    // The same unit from the trained network itself.
    let seen = experiment.trompe(&["visualize", "conv4:0", "--steps", "1"]).expect_success().out;
    assert!(seen.contains("conv4:0 activation"), "{seen}");
}

/// The configuration in the manifest is the one that was written, and says what else a result owes to.
#[test]
fn a_manifest_says_what_a_result_came_from() {
    let experiment = Experiment::new();
    experiment.sanity_check().expect_success();
    let text = std::fs::read_to_string(experiment.path("results/fool/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let written = &manifest["config"]["experiment"]["preprocessing"]["mean"];
    assert_eq!(written.to_string(), "[0.45,0.45,0.45]");
    assert!(manifest["command"].to_string().contains("configs/fool.toml"), "{text}");
    assert!(manifest["begun"].as_str().unwrap().starts_with("20"), "{text}");
    for key in ["processor", "trompe"] {
        assert!(!manifest[key].as_str().unwrap().is_empty(), "{key}");
    }
    let networks = manifest["networks"].as_array().unwrap();
    assert_eq!(networks.iter().map(|n| n["circuit"].as_str().unwrap()).collect::<Vec<_>>(), ["none", "gate"]);
    assert_ne!(networks[0]["hash"], networks[1]["hash"]);
    let sets = manifest["data"].as_array().unwrap();
    let ring = serde_json::json!({ "index": 3, "name": "ring", "images": 5 });
    assert_eq!((&sets[0]["name"], &sets[0]["classes"][3]), (&"scenes/validation".into(), &ring));
    // No audit was asked for: its table has a header and no rows.
    let silence = std::fs::read_to_string(experiment.path("results/fool/silence.csv")).unwrap();
    assert_eq!(silence, "network,layer,channel,images,fires,natural,visualization\n");
}
