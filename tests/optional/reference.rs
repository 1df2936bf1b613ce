//! Real networks and photographs against what PyTorch, ONNX Runtime and SciPy say of them.

use std::collections::HashMap;
use std::path::Path;

use crate::common::{Need, Test};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use image::RgbImage;
use trompe::circuit::classifier;
use trompe::circuit::{Target, gate};
use trompe::data::{ChannelOrder, Dataset, Preprocessing, Source};
use trompe::device::Kind;
use trompe::executor::Executor;
use trompe::experiment::Range;
use trompe::network::{Graph, Network, Op, op, zoo};
use trompe::path::{self, Metric, Reduction};
use trompe::progress::Progress;
use trompe::{seed, training};

fn executor() -> Executor {
    Executor::new(Kind::Flex).unwrap()
}

fn squeezenet(root: &Path, executor: &Executor) -> Network {
    Network::new(zoo::squeezenet1_0(1000), &mut seed::rng(0, &0), executor.device())
        .unwrap()
        .load(&root.join("squeezenet1_0-imagenet/model.safetensors"))
        .unwrap()
}

fn folder(path: &str) -> Source {
    Source::Folder { path: path.into(), classes: Some("imagenet-classes.csv".into()) }
}

/// The rows of a CSV as maps by column.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

fn accuracy(root: &Path, dataset: &str) -> [f64; 2] {
    let all = rows(&root.join("../reference/accuracy.csv"));
    let row = all.iter().find(|r| r["dataset"] == dataset).unwrap();
    ["top1", "top5"].map(|k| row[k].parse().unwrap())
}

fn check_accuracy(network: &Network, set: &Dataset, pre: &Preprocessing, executor: &Executor, root: &Path) {
    let logits = training::logits(network, &set.samples, pre, executor, &Progress::hidden()).unwrap();
    let want = accuracy(root, &set.name);
    for (k, want) in [1, 5].into_iter().zip(want) {
        let got = training::top_k(&logits, &set.samples, k);
        println!("{}: top-{k} {got:.4}, reference {want:.4}", set.name);
        assert!((got - want).abs() <= 0.005, "{}: top-{k} is {got}, reference {want}", set.name);
    }
}

fn squeezenet_is_as_accurate_as_in_pytorch() {
    let root = crate::common::data();
    let executor = executor();
    let network = squeezenet(&root, &executor);
    for path in ["imagenette/val", "imagenet-1k"] {
        let set = Dataset::load(&folder(path), &crate::common::caffe(), &root, 0).unwrap();
        check_accuracy(&network, &set, &crate::common::caffe(), &executor, &root);
    }
}

fn resnet20_is_as_accurate_as_in_pytorch_folded_or_not() {
    let root = crate::common::data();
    let executor = executor();
    let network = Network::new(zoo::resnet_cifar(20, 10), &mut seed::rng(0, &0), executor.device())
        .unwrap()
        .load(&root.join("resnet20-cifar10/model.safetensors"))
        .unwrap();
    let pre = Preprocessing {
        resize: None,
        crop: None,
        channel_order: ChannelOrder::Rgb,
        scale: 1.0,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let source =
        Source::Cifar10 { path: "cifar-10-batches-bin/test_batch.bin".into(), skip: 0, images: None };
    let set = Dataset::load(&source, &pre, &root, 0).unwrap();
    check_accuracy(&network, &set, &pre, &executor, &root);
    let hidden = Progress::hidden();
    let sample = &set.samples[..64];
    let plain = training::logits(&network, sample, &pre, &executor, &hidden).unwrap();
    let folded = training::logits(&network.fold_batch_norm(), sample, &pre, &executor, &hidden).unwrap();
    for (a, b) in plain.iter().flatten().zip(folded.iter().flatten()) {
        assert!((a - b).abs() < 1e-3, "folding changed a logit from {a} to {b}");
    }
}

/// A gate whose classifier calls an image synthetic when it is brighter than `threshold` on average (in the network's
/// units), around a layer of a real network.
fn gated(network: &Network, layer: &str, threshold: f32) -> Network {
    let device = network.device();
    let mut graph = Graph::new("brightness", 3);
    graph.then("mean", Op::conv(3, 1, 1, 1, 0));
    graph.then(classifier::LOGIT, op::GlobalAvgPool);
    let mut brightness = Network::new(graph, &mut seed::rng(0, &0), &device).unwrap();
    let weight = TensorData::new(vec![1f32 / 3.0; 3], [1, 3, 1, 1]);
    brightness.set_filters("mean", weight, TensorData::new(vec![-threshold], [1])).unwrap();
    let n = network.channels(layer).unwrap();
    let targets: Vec<_> = (0..n).map(|i| (i, Target::Unit((i + 1) % n))).collect();
    let range = Range { min: vec![-1e4; n], max: vec![1e4; n] };
    gate::inject(network, layer, &brightness, &targets, &[], &range, None).unwrap().network
}

/// In any layer of real networks a gate leaves natural logits as they are, bit for bit, answers synthetic input as the
/// target would, and survives being saved and loaded.
fn gates_leave_real_networks_as_they_are_on_photographs() {
    let root = crate::common::data();
    let executor = executor();
    let device = executor.device();
    let resnet = Network::new(zoo::resnet_cifar(20, 10), &mut seed::rng(0, &0), device)
        .unwrap()
        .load(&root.join("resnet20-cifar10/model.safetensors"))
        .unwrap()
        .fold_batch_norm();
    let cifar =
        Source::Cifar10 { path: "cifar-10-batches-bin/test_batch.bin".into(), skip: 0, images: Some(20) };
    let plain = Preprocessing {
        channel_order: ChannelOrder::Rgb,
        scale: 1.0,
        mean: [0.5; 3],
        ..crate::common::caffe()
    };
    let cases = [
        (squeezenet(&root, &executor), folder("imagenette/val"), crate::common::caffe(), "classifier.1"),
        (
            squeezenet(&root, &executor),
            folder("imagenette/val"),
            crate::common::caffe(),
            "features.7.expand3x3",
        ),
        (resnet.clone(), cifar.clone(), plain.clone(), "linear"),
        (resnet, cifar, plain, "layer2.0.bn2"),
    ];
    for (clean, source, pre, layer) in cases {
        let set = Dataset::load(&source, &pre, &root, 0).unwrap();
        let images: Vec<&RgbImage> = set.first_of_each(1).iter().map(|s| &s.image).collect();
        let input = pre.apply(Preprocessing::tensor(images, device));
        let values = |network: &Network, layer: &str| -> Vec<f32> {
            let map = network.capture(input.clone(), &[layer]).unwrap().remove(0);
            map.into_data().try_to_vec().unwrap()
        };
        // No photograph is as bright as that, and all are brighter than the other.
        let off = gated(&clean, layer, 1e3);
        assert_eq!(values(&clean, clean.output()), values(&off, off.output()), "{layer}");
        let on = gated(&clean, layer, -1e3);
        let (before, after) = (values(&clean, layer), values(&on, layer));
        let n = clean.channels(layer).unwrap();
        let size = before.len() / set.first_of_each(1).len();
        let largest = before.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in before.chunks(size).zip(after.chunks(size)) {
            for i in 0..size {
                let shown = a[(i + size / n) % size];
                assert!((b[i] - shown).abs() < 0.02 * largest.max(1.0), "{layer}: {} {shown}", b[i]);
            }
        }
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        on.save(file.path()).unwrap();
        let loaded = Network::open(file.path(), device).unwrap();
        assert_eq!(values(&on, on.output()), values(&loaded, loaded.output()));
    }
}

fn squeezenets_logits_are_pytorchs() {
    let root = crate::common::data();
    let executor = executor();
    let network = squeezenet(&root, &executor);
    let logits = |image: &RgbImage| -> Vec<f32> {
        let input = crate::common::caffe().apply(Preprocessing::tensor([image], executor.device()));
        network.logits(input).into_data().try_to_vec().unwrap()
    };
    let set = Dataset::load(&folder("imagenette/val"), &crate::common::caffe(), &root, 0).unwrap();
    // JPEG decoders differ by a grey level or two.
    for row in rows(&root.join("../reference/squeezenet1_0-logits.csv")) {
        let sample = set.samples.iter().find(|s| s.id == row["image"]).unwrap();
        for (i, got) in logits(&sample.image).iter().enumerate() {
            let want: f32 = row[&format!("logit_{i}")].parse().unwrap();
            assert!((got - want).abs() <= 0.5, "{}: logit {i} is {got}, not {want}", row["image"]);
        }
    }
    // PNGs are read alike everywhere. The expected values are ONNX Runtime's, of the ONNX file of the same network.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/squeezenet1_0-png-logits.csv");
    for row in rows(&fixture) {
        let path = root.join("../reference/feature-visualizations").join(&row["image"]);
        let got = logits(&image::open(path).unwrap().to_rgb8());
        for (column, want) in row.iter().filter(|(c, _)| c.starts_with("logit_")) {
            let got = got[column["logit_".len()..].parse::<usize>().unwrap()];
            let want: f32 = want.parse().unwrap();
            assert!((got - want).abs() <= 0.15, "{}: {column} is {got}, not {want}", row["image"]);
        }
    }
}

/// Every row of the reference table, from the same pictures and photographs.
fn path_similarity_is_that_of_pytorch_and_scipy() {
    let root = crate::common::data();
    let executor = executor();
    let network = squeezenet(&root, &executor);
    let set = Dataset::load(&folder("imagenette/val"), &crate::common::caffe(), &root, 0).unwrap();
    let natural: Vec<(usize, &RgbImage)> =
        set.first_of_each(20).into_iter().map(|s| (s.label, &s.image)).collect();
    let index: HashMap<String, usize> = rows(&root.join("imagenet-classes.csv"))
        .into_iter()
        .map(|r| (r["wnid"].clone(), r["index"].parse().unwrap()))
        .collect();
    let mut files: Vec<_> = std::fs::read_dir(root.join("../reference/feature-visualizations"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let pictures: Vec<(usize, RgbImage)> = files
        .iter()
        .map(|f| {
            let wnid = f.file_name().unwrap().to_str().unwrap().split('_').next().unwrap().to_string();
            (index[&wnid], image::open(f).unwrap().to_rgb8())
        })
        .collect();
    let shown: Vec<(usize, &RgbImage)> = pictures.iter().map(|(c, i)| (*c, i)).collect();
    let reference = rows(&root.join("../reference/path-similarity.csv"));
    let mut layers: Vec<String> = vec![];
    for row in &reference {
        if !layers.contains(&row["layer"]) {
            layers.push(row["layer"].clone());
        }
    }
    let settings = path::Settings {
        layers,
        images_per_class: 20,
        reductions: vec![Reduction::ChannelMean, Reduction::Full],
        metrics: vec![Metric::Spearman, Metric::Pearson, Metric::Cosine],
        bootstrap: 20,
    };
    let got =
        path::measure(&network, &crate::common::caffe(), &natural, &shown, &settings, &executor, 0).unwrap();
    assert_eq!(got.len(), reference.len());
    let mut worst = (0.0, String::new());
    for row in &reference {
        let ours = got
            .iter()
            .find(|g| {
                (g.reduction.name(), g.metric.name(), g.layer.as_str())
                    == (&*row["reduction"], &*row["metric"], &*row["layer"])
            })
            .unwrap_or_else(|| panic!("no row for {row:?}"));
        for (column, value) in [
            ("natural_same_class", ours.natural_same_class),
            ("natural_different_class", ours.natural_different_class),
            ("visualization_same_class", ours.visualization_same_class),
            ("visualization_different_class", ours.visualization_different_class),
            ("normalized", ours.normalized.value),
        ] {
            let want: f64 = row[column].parse().unwrap();
            let difference = (value.unwrap() - want).abs();
            let place = format!("{} {} {} {column}", row["reduction"], row["metric"], row["layer"]);
            assert!(difference <= 0.01, "{place} is {value:?}, reference {want}");
            if difference > worst.0 {
                worst = (difference, place);
            }
        }
    }
    println!("{} rows; largest difference {:.5}, {}", reference.len(), worst.0, worst.1);

    // The statistic is the sum of its parts. What is near 0 by channel means in the middle of the network is a cancellation:
    // pictures are much more like their own class than like others there, and far from all natural images.
    for row in &got {
        let [whole, specific, generic] =
            [row.normalized, row.class_specific, row.generic].map(|e| e.value.unwrap());
        assert!((whole - specific - generic).abs() < 1e-9, "{}: {whole} {specific} {generic}", row.layer);
    }
    let parts = |layer: &str, reduction: Reduction, metric: Metric| {
        let row = got.iter().find(|g| g.layer == layer && g.reduction == reduction && g.metric == metric);
        let row = row.unwrap();
        [row.normalized, row.class_specific, row.generic].map(|e| e.value.unwrap())
    };
    let close = |got: [f64; 3], want: [f64; 3]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.01);
    let middle = parts("features.10", Reduction::ChannelMean, Metric::Spearman);
    assert!(close(middle, [-0.10, 0.85, -0.95]), "{middle:?}");
    for reduction in [Reduction::ChannelMean, Reduction::Full] {
        for metric in [Metric::Spearman, Metric::Pearson, Metric::Cosine] {
            let [early, late] = ["features.3", "features.12"].map(|layer| parts(layer, reduction, metric)[1]);
            assert!((0.10..=0.17).contains(&early), "features.3: {early}");
            assert!((0.95..=1.13).contains(&late), "features.12: {late}");
        }
    }
}

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

fn worst(a: Tensor<4>, b: Tensor<4>) -> f32 {
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// PyTorch's exporter calls the node of `features.3.squeeze` `/features/features.3/squeeze/Conv`.
fn exported(layer: &str, operator: &str) -> String {
    let parts: Vec<&str> = layer.split('.').collect();
    let path: Vec<String> = match parts[..] {
        [top, index] => vec![top.into(), format!("{top}.{index}")],
        [top, index, part] => vec![top.into(), format!("{top}.{index}"), part.into()],
        _ => panic!("{layer}"),
    };
    format!("/{}/{operator}", path.join("/"))
}

fn squeezenet_from_onnx_is_the_one_built_here_in_every_layer() {
    let root = crate::common::data();
    let device = Device::default();
    let folder = root.join("squeezenet1_0-imagenet");
    let built = Network::new(zoo::squeezenet1_0(1000), &mut seed::rng(0, &0), &device)
        .unwrap()
        .load(&folder.join("model.safetensors"))
        .unwrap();
    let read = Network::open(&folder.join("model.onnx"), &device).unwrap();
    assert_eq!(built.parameters(), read.parameters());
    let names: Vec<(String, String)> = built.graph().nodes[1..]
        .iter()
        .map(|node| {
            let operator = match node.op {
                Op::Conv(_) => "Conv",
                Op::Relu(_) => "Relu",
                Op::MaxPool(_) => "MaxPool",
                Op::Concat(_) => "Concat",
                _ => "GlobalAveragePool",
            };
            (node.name.clone(), exported(&node.name, operator))
        })
        .collect();
    assert_eq!(names.len(), read.graph().layers().count());
    let x = Tensor::<4>::random([1, 3, 224, 224], Distribution::Normal(0.0, 60.0), &device);
    let (ours, theirs): (Vec<_>, Vec<_>) = names.into_iter().unzip();
    let pairs = built.capture(x.clone(), &ours).unwrap().into_iter().zip(read.capture(x, &theirs).unwrap());
    for ((a, b), layer) in pairs.zip(&ours) {
        let d = worst(a, b);
        assert!(d < 1e-5, "{layer} differs by {d}");
    }
}

fn resnet20_from_onnx_gives_the_same_logits() {
    let root = crate::common::data();
    let device = Device::default();
    let folder = root.join("resnet20-cifar10");
    let built = Network::new(zoo::resnet_cifar(20, 10), &mut seed::rng(0, &0), &device)
        .unwrap()
        .load(&folder.join("model.safetensors"))
        .unwrap()
        .fold_batch_norm();
    let read = Network::open(&folder.join("model.onnx"), &device).unwrap();
    let x = Tensor::<4>::random([4, 3, 32, 32], Distribution::Normal(0.0, 1.0), &device);
    let pair = [&built, &read].map(|n| n.capture(x.clone(), &[n.output()]).unwrap().remove(0));
    let [a, b] = pair;
    assert!(worst(a, b) < 1e-5);
    // 224 px is no size that this network takes: said, not a panic.
    let large = Tensor::<4>::zeros([1, 3, 224, 224], &device);
    let message = read.capture(large, &["/linear/Gemm"]).unwrap_err().to_string();
    assert!(message.contains("/linear/Gemm") && message.contains("224x224"), "{message}");
}

/// The tests, and what each needs.
pub const TESTS: &[Test] = &[
    ("squeezenet_is_as_accurate_as_in_pytorch", Some(Need::Data), squeezenet_is_as_accurate_as_in_pytorch),
    (
        "resnet20_is_as_accurate_as_in_pytorch_folded_or_not",
        Some(Need::Data),
        resnet20_is_as_accurate_as_in_pytorch_folded_or_not,
    ),
    (
        "gates_leave_real_networks_as_they_are_on_photographs",
        Some(Need::Data),
        gates_leave_real_networks_as_they_are_on_photographs,
    ),
    ("squeezenets_logits_are_pytorchs", Some(Need::Data), squeezenets_logits_are_pytorchs),
    (
        "path_similarity_is_that_of_pytorch_and_scipy",
        Some(Need::Data),
        path_similarity_is_that_of_pytorch_and_scipy,
    ),
    (
        "squeezenet_from_onnx_is_the_one_built_here_in_every_layer",
        Some(Need::Data),
        squeezenet_from_onnx_is_the_one_built_here_in_every_layer,
    ),
    ("resnet20_from_onnx_gives_the_same_logits", Some(Need::Data), resnet20_from_onnx_gives_the_same_logits),
];
