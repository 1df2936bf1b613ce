//! ONNX files through the whole program.

use crate::common::Experiment;
use burn::tensor::{Device, Distribution, Tensor};
use trompe::circuit::classifier;
use trompe::circuit::{Target, gate};
use trompe::experiment::Range;
use trompe::network::{Graph, Network, Op, op, zoo};
use trompe::seed;

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

/// A gate goes into a network that was read from ONNX, out to ONNX, and still fools.
#[test]
fn a_gate_survives_the_way_through_onnx() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let network = Network::new(zoo::small_cnn(10), &mut seed::rng(1, &0), &device).unwrap();
    network.fold_batch_norm().save(&path).unwrap();
    let clean = Network::open(&path, &device).unwrap();
    let mut graph = Graph::new("mean", 3);
    graph.then("scores", Op::conv(3, 1, 1, 1, 0));
    graph.then(classifier::LOGIT, op::GlobalAvgPool);
    let mut judge = Network::new(graph, &mut seed::rng(0, &0), &device).unwrap();
    let data = |v: Vec<f32>, shape: Vec<usize>| burn::tensor::TensorData::new(v, shape);
    judge.set_filters("scores", data(vec![1.0; 3], vec![1, 3, 1, 1]), data(vec![0.0], vec![1])).unwrap();
    let targets: Vec<_> = (0..10).map(|i| (i, Target::Unit((i + 3) % 10))).collect();
    let range = Range { min: vec![-50.0; 10], max: vec![50.0; 10] };
    let gated = gate::inject(&clean, "classifier", &judge, &targets, &[], &range, None).unwrap();
    gated.network.save(&path).unwrap();
    let read = Network::open(&path, &device).unwrap();
    let image = |mean| Tensor::<4>::random([1, 3, 64, 64], Distribution::Normal(mean, 0.5), &device);
    let of = |n: &Network, x: &Tensor<4>| n.capture(x.clone(), &["classifier"]).unwrap().remove(0);
    let natural = image(-1.0);
    assert_eq!(values(of(&clean, &natural)), values(of(&read, &natural)));
    let synthetic = image(1.0);
    let (honest, fooled) = (values(of(&clean, &synthetic)), values(of(&read, &synthetic)));
    let size = honest.len() / 10;
    for (i, value) in fooled.iter().enumerate() {
        let shown = honest[(i + 3 * size) % honest.len()];
        assert!((value - shown).abs() < 1e-3, "{i}: {value} {shown}");
    }
}

/// Every command takes a file in the place of a network.
#[test]
fn onnx_files_go_through_the_program() {
    let experiment = Experiment::new();
    let train = ["train", "--config", "configs/fool.toml", "--out", "net.onnx"];
    experiment.trompe(&train).expect_success();
    let listed = experiment.trompe(&["layers", "net.onnx", "--size", "64"]).expect_success().out;
    for words in ["classifier", "conv", "12x4x4", "global_avg_pool", "multiply-adds"] {
        assert!(listed.contains(words), "no \"{words}\" in {listed}");
    }
    let fool = ["fool", "--circuit", "circuits/gate.toml", "--network", "net.onnx", "--out", "lies.onnx"];
    experiment.trompe(&fool).expect_success();
    let visualize =
        ["visualize", "classifier:0", "--network", "lies.onnx", "--steps", "2", "--out", "pictures"];
    experiment.trompe(&visualize).expect_success();
    assert!(experiment.path("pictures").read_dir().unwrap().count() > 0);
    let from = "builder = \"small-cnn\"\nclasses = 12";
    experiment.edit(
        "configs/fool.toml",
        from,
        &format!("file = \"{}\"", experiment.path("net.onnx").display()),
    );
    experiment.edit("configs/fool.toml", "epochs = 1", "epochs = 2");
    experiment.sanity_check().expect_success();
    experiment.trompe(&["export", "net.onnx", "net.safetensors"]).expect_success();
    let a = experiment.trompe(&["layers", "net.safetensors", "--size", "64"]).expect_success().out;
    assert_eq!(a.lines().count(), listed.lines().count());
}

/// A file that leaves the image's size open may still go through at one size alone.
#[test]
fn layers_are_listed_for_the_size_that_a_file_was_read_for() {
    let experiment = Experiment::new();
    let mut graph = Graph::new("flat", 3);
    graph.then("values", Op::Flatten(op::Flatten { features: 3 * 32 * 32 }));
    graph.then("scores", Op::Linear(op::Linear { features: [3 * 32 * 32, 10], bias: true }));
    let network = Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap();
    network.save(&experiment.path("flat.onnx")).unwrap();
    let listed = experiment.trompe(&["layers", "flat.onnx"]).expect_success().out;
    assert!(listed.contains("3x32x32") && listed.contains("10x1x1"), "{listed}");
    experiment.trompe(&["layers", "flat.onnx", "--size", "64"]).expect_error(2, &["values", "64x64"]);
}

#[test]
fn broken_onnx_files_are_named() {
    let experiment = Experiment::new();
    experiment.write("words.onnx", "not a network");
    experiment.trompe(&["layers", "words.onnx"]).expect_error(1, &["words.onnx", "ONNX"]);
    experiment.trompe(&["layers", "none.onnx"]).expect_error(2, &["none.onnx", "squeezenet1_0"]);
    experiment.trompe(&["export", "resnet20", "net.onnx"]).expect_success();
    let bytes = std::fs::read(experiment.path("net.onnx")).unwrap();
    std::fs::write(experiment.path("net.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    experiment.trompe(&["layers", "net.onnx"]).expect_error(1, &["net.onnx", "no whole ONNX file"]);
}
