//! Bad input gives one clear message that names the file or key and the fix, the right exit code, and leaves earlier
//! results alone.

use std::path::Path;
use std::process::Stdio;

use crate::common::Experiment;
use burn::tensor::Device;
use trompe::data::{Dataset, Preprocessing, Source};
use trompe::network::{Network, zoo};
use trompe::seed;

/// What each change to the experiment file is answered with.
#[test]
fn mistakes_in_the_experiment_file() {
    for (from, to, words) in [
        ("epochs = 1", "epocs = 1", &["configs/fool.toml", "line", "epocs", "epochs"][..]),
        ("seed = 1", "seed = \"one\"", &["configs/fool.toml", "seed", "u64"]),
        ("builder = \"small-cnn\"", "builder = \"vgg\"", &["vgg", "squeezenet1_0"]),
        (
            "layer = \"classifier\"",
            "layer = \"clasifier\"",
            &["clasifier", "did you mean \"classifier\"?", "trompe layers"],
        ),
        ("\"relu4\",", "\"relu44\",", &["relu44", "relu4"]),
        ("classes = [0, 1, 2]", "classes = [0, 77]", &["visualization.classes", "77"]),
        ("steps = 6", "steps = 0", &["visualization.optimization.steps", "at least 1"]),
        ("size = 64", "size = 48", &["size is 48", "64x64", "`crop`"]),
        ("images = 60", "images = 0", &["scenes/validation", "no images"]),
        ("name = \"fool\"", "name = \"../fool\"", &["name"]),
        ("../circuits/gate.toml", "../circuits/none.toml", &["none.toml"]),
        ("classes = 12", "classes = 4", &["class 4", "star", "network.classes"]),
    ] {
        let experiment = Experiment::new();
        experiment.edit("configs/fool.toml", from, to);
        experiment.sanity_check().expect_error(2, words);
    }
}

#[test]
fn mistakes_in_a_circuit() {
    let experiment = Experiment::new();
    experiment.edit("circuits/gate.toml", "offset = 1", "ofset = 1");
    experiment.sanity_check().expect_error(2, &["gate.toml", "ofset"]);
    let experiment = Experiment::new();
    experiment.edit("circuits/gate.toml", "offset = 1", "offset = 1\nk = 0.5");
    experiment.sanity_check().expect_error(1, &["k = 0.5", "classifier:", "exceeds it by", "at least"]);
    let experiment = Experiment::new();
    experiment.edit("circuits/gate.toml", "steps = 10", "steps = 10\narchitecture = \"paper\"");
    experiment.edit("configs/fool.toml", "    { kind = \"crop\" },\n", "");
    experiment.sanity_check().expect_error(2, &["gate", "architecture", "crop"]);
    for (file, from, to, words) in [
        ("gate", "offset = 1", "", &["gate.toml", "offset", "pictures"][..]),
        (
            "gate",
            "steps = 10",
            "steps = 10\narchitecture = \"paper\"\nsize = 48",
            &["gate.toml", "classifier.size"],
        ),
        ("gate", "layer = \"classifier\"", "layer = \"relu4\"", &["gate", "relu4", "convolution"]),
        ("gate", "offset = 1", "offset = 1\nunits = [12]", &["gate", "classifier:12", "channels 0 to 11"]),
        ("gate", "name = \"gate\"", "name = \"none\"", &["circuits", "\"none\""]),
        ("gate", "name = \"gate\"", "name = \"a/b\"", &["gate.toml", "a/b", "letters"]),
        ("gate", "offset = 1", "offset = 1\nunits = [9]", &["gate", "visualized"]),
        ("pictures", "pictures/eye.png", "pictures/ear.png", &["pictures.toml", "ear.png"]),
        ("silent", "units = [5, 17]", "units = [5, 5]", &["silent.toml", "units"]),
        ("silent", "units = [5, 17]", "units = [5, 96]", &["silent", "bn8:96", "channels 0 to 95"]),
        ("silent", "lambda = 3.0", "lambda = -3.0", &["silent.toml", "lambda"]),
    ] {
        let experiment = Experiment::with_every_circuit();
        experiment.edit(&format!("circuits/{file}.toml"), from, to);
        experiment.trompe(&["sanity-check", "--config", "configs/circuits.toml"]).expect_error(2, words);
    }
    let experiment = Experiment::with_every_circuit();
    experiment.write("circuits/pictures/sunflower.png", "no picture");
    let fool = ["fool", "--circuit", "circuits/silent.toml", "--out", "lies.safetensors"];
    experiment.trompe(&fool).expect_error(1, &["sunflower.png"]);
    assert!(!experiment.path("lies.safetensors").exists());
}

#[test]
fn mistakes_in_naming_a_network() {
    let experiment = Experiment::new();
    let with = |network: &str| experiment.trompe(&["visualize", "relu4:1", "--network", network]);
    with("none.safetensors").expect_error(2, &["none.safetensors"]);
    experiment.write("words.safetensors", "not a network");
    with("words.safetensors").expect_error(1, &["words.safetensors"]);
    experiment.edit("configs/fool.toml", "classes = 12", "classes = 12\nfile = \"x\"");
    experiment.sanity_check().expect_error(2, &["network.file", "builder"]);
}

#[test]
fn mistakes_on_the_command_line() {
    let experiment = Experiment::new();
    experiment.trompe(&["sanity-check", "--config", "none.toml"]).expect_error(2, &["none.toml"]);
    experiment.trompe(&["sanity-check", "--confg", "x"]).expect_error(2, &["--confg", "--config"]);
    experiment.trompe(&["plots", "configs"]).expect_error(2, &["configs", "no results folder"]);
    experiment.trompe(&["visualize", "relu4"]).expect_error(2, &["relu4", "layer:channel"]);
    #[cfg(not(feature = "wgpu"))]
    experiment
        .trompe(&["sanity-check", "--config", "configs/fool.toml", "--device", "wgpu"])
        .expect_error(2, &["wgpu", "--features wgpu"]);
}

/// `trompe layers … | head -1`.
#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("network.safetensors");
    let network = Network::new(zoo::resnet_cifar(20, 10), &mut seed::rng(0, &0), &Device::default()).unwrap();
    network.save(&file).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = crate::common::program()
        .arg("layers")
        .arg(&file)
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_folder_of_other_things_is_not_written_to() {
    let experiment = Experiment::new();
    std::fs::create_dir_all(experiment.path("results/fool")).unwrap();
    experiment.write("results/fool/thesis.txt", "two years of work");
    experiment.sanity_check().expect_error(2, &["results/fool", "not empty"]);
    assert_eq!(std::fs::read_dir(experiment.path("results/fool")).unwrap().count(), 1);
    // A file where the folder should be.
    experiment.write("taken", "");
    let out = ["sanity-check", "--config", "configs/fool.toml", "--out", "taken"];
    experiment.trompe(&out).expect_error(1, &["taken"]);
    let out = ["sanity-check", "--config", "configs/fool.toml", "--out", "/proc/trompe"];
    experiment.trompe(&out).expect_error(1, &["/proc/trompe"]);
}

fn plain() -> Preprocessing {
    toml::from_str("").unwrap()
}

fn photographs(folder: &Path, class: &str, n: usize) {
    let class = folder.join("photographs").join(class);
    std::fs::create_dir_all(&class).unwrap();
    for i in 0..n {
        image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, i as u8]))
            .save(class.join(format!("{i:03}.jpg")))
            .unwrap();
    }
}

fn load(root: &Path) -> trompe::error::Result<Dataset> {
    let source = Source::Folder { path: "photographs".into(), classes: None };
    Dataset::load(&source, &plain(), root, 0)
}

fn cut_short(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn broken_photographs_are_named_counted_and_left_out_up_to_one_percent() {
    let folder = tempfile::tempdir().unwrap();
    photographs(folder.path(), "cat", 120);
    photographs(folder.path(), "dog", 80);
    let whole = load(folder.path()).unwrap();
    assert_eq!((whole.samples.len(), whole.classes.len()), (200, 2));
    assert_eq!(whole.samples[199].label, 1);
    cut_short(&folder.path().join("photographs/cat/003.jpg"));
    std::fs::write(folder.path().join("photographs/dog/004.jpg"), "not a picture").unwrap();
    let set = load(folder.path()).unwrap();
    assert_eq!((set.samples.len(), set.skipped.len()), (198, 2));
    assert!(set.skipped[0].contains("cat/003.jpg") && set.skipped[1].contains("dog/004.jpg"));
    cut_short(&folder.path().join("photographs/cat/005.jpg"));
    let error = load(folder.path()).err().unwrap();
    assert_eq!(error.exit_code(), 1);
    let message = error.to_string();
    assert!(message.contains("3 of the 200") && message.contains("cat/005.jpg"), "{message}");
}

#[test]
fn folders_that_are_missing_empty_or_uneven() {
    let folder = tempfile::tempdir().unwrap();
    assert!(load(folder.path()).err().unwrap().to_string().contains("TROMPE_DATA"));
    photographs(folder.path(), "cat", 2);
    photographs(folder.path(), "dog", 0);
    let message = load(folder.path()).err().unwrap().to_string();
    assert!(message.contains("dog") && message.contains("no JPEG or PNG"), "{message}");
    image::RgbImage::new(16, 16).save(folder.path().join("photographs/dog/0.png")).unwrap();
    let message = load(folder.path()).err().unwrap().to_string();
    assert!(message.contains("0.png") && message.contains("`crop`"), "{message}");
}

#[test]
fn cifar_files_that_are_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("batch.bin"), vec![3; 3073 * 2 - 1]).unwrap();
    let source = Source::Cifar10 { path: "batch.bin".into(), skip: 0, images: None };
    let load = || Dataset::load(&source, &plain(), folder.path(), 0);
    assert!(load().err().unwrap().to_string().contains("batch.bin"));
    std::fs::write(folder.path().join("batch.bin"), vec![3; 3073 * 2]).unwrap();
    assert_eq!(load().unwrap().samples[1].label, 3);
    std::fs::write(folder.path().join("batch.bin"), vec![10; 3073]).unwrap();
    assert!(load().err().unwrap().to_string().contains("label 10"));
}

#[test]
fn weights_that_do_not_fit_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    let network = |depth, classes| {
        Network::new(zoo::resnet_cifar(depth, classes), &mut seed::rng(0, &0), &Device::default()).unwrap()
    };
    network(20, 10).save(&file).unwrap();
    network(20, 10).load(&file).unwrap();
    let message = network(32, 7).load(&file).unwrap_err().to_string();
    for words in [
        "weights.safetensors",
        "resnet32",
        "missing: layer1.3.bn1.bias",
        "missing: 52 more",
        "wrong shape: linear.weight",
        "wrong shape: linear.bias",
    ] {
        assert!(message.contains(words), "no \"{words}\" in: {message}");
    }
    network(32, 10).save(&file).unwrap();
    let message = network(20, 10).load(&file).unwrap_err().to_string();
    assert!(message.contains("extra: layer1.3.bn1.bias"), "{message}");
    cut_short(&file);
    let message = network(32, 10).load(&file).unwrap_err().to_string();
    assert!(message.contains("weights.safetensors") && message.contains("whole"), "{message}");
    assert!(Network::open(&file, &Device::default()).is_err());
}
