//! Networks from elsewhere, of which the command line says what is needed, and the files that come with the program.

use burn::tensor::Device;
use image::RgbImage;
use trompe::network::{Graph, Network, Op, op};
use trompe::seed;

use crate::common::Experiment;

/// An ONNX file that another program wrote: two steps, and three class scores that are softmaxed.
fn foreign(experiment: &Experiment) {
    let mut g = Graph::new("foreign", 3);
    g.then("/layer1/layer1.0/conv/Conv", Op::conv(3, 6, 3, 2, 1));
    g.then("/layer1/layer1.0/relu/Relu", op::Relu);
    g.then("/layer2/layer2.0/conv/Conv", Op::conv(6, 8, 3, 2, 1));
    g.then("/layer2/layer2.0/relu/Relu", op::Relu);
    g.then("/fc/Conv", Op::conv(8, 3, 1, 1, 0));
    g.then("/pool/GlobalAveragePool", op::GlobalAvgPool);
    g.then("/Softmax", op::Softmax { over: op::Along::Channels });
    let network = Network::new(g, &mut seed::rng(4, &0), &Device::default()).unwrap();
    let path = experiment.path("foreign.onnx");
    network.save(&path).unwrap();
    // As if another had written it.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|w| w == b"trompe").unwrap();
    bytes[at..at + 6].copy_from_slice(b"others");
    std::fs::write(&path, bytes).unwrap();
}

/// Pictures of three classes, `each` of each, in folders or all in one.
fn pictures(experiment: &Experiment, folder: &str, each: u8, apart: bool) {
    for class in 0..3u8 {
        for i in 0..each {
            let image = RgbImage::from_fn(40, 36, |x, y| {
                let wave = (x as u8).wrapping_mul(3 + 4 * class) ^ (y as u8).wrapping_mul(5 + i);
                image::Rgb([wave, 90 * class, wave.wrapping_mul(i + 1)])
            });
            let file = match apart {
                true => format!("{folder}/class{class}/{i}.png"),
                false => format!("{folder}/{class}_{i}.png"),
            };
            let path = experiment.path(&file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image.save(path).unwrap();
        }
    }
}

#[test]
fn a_network_from_elsewhere_is_visualized_without_an_experiment_file() {
    let experiment = Experiment::new();
    foreign(&experiment);
    pictures(&experiment, "photos", 2, false);
    let command =
        ["visualize", "foreign.onnx", "layer2.0:3", "fc:1", "--size", "32", "--steps", "3", "--out", "a"];
    let seen = experiment.trompe(&command).expect_success();
    assert!(
        seen.err.contains("since no --preset says otherwise") && seen.err.contains("0.485"),
        "{}",
        seen.err
    );
    assert!(seen.out.contains("/layer2/layer2.0/relu/Relu:3 activation"), "{}", seen.out);
    let file = "+layer2+layer2.0+relu+Relu_3_0.png";
    for made in [file, "figures/contact-sheet.png", "visualizations.html", "run.toml"] {
        assert!(experiment.path("a").join(made).is_file(), "{made}");
    }
    // What was taken does the same again.
    let again = ["visualize", "layer2.0:3", "fc:1", "--config", "a/run.toml", "--out", "b"];
    experiment.trompe(&again).expect_success();
    let read = |folder: &str| std::fs::read(experiment.path(folder).join(file)).unwrap();
    assert_eq!(read("a"), read("b"));
    // With natural images beside, prepared in another way.
    let beside = [&command[..8], &["--out", "c", "--preset", "unit", "--images", "photos"]].concat();
    let seen = experiment.trompe(&beside).expect_success();
    assert!(!seen.err.contains("since no") && seen.err.contains("photos: 6 images"), "{}", seen.err);
    let page = std::fs::read_to_string(experiment.path("c/visualizations.html")).unwrap();
    assert_eq!(page.matches("alt=\"natural image of").count(), 2 * 5, "five beside either unit");
    assert_ne!(read("a"), read("c"));
    let soft =
        experiment.trompe(&["visualize", "foreign.onnx", "/Softmax:1", "--size", "32", "--steps", "1"]);
    assert!(soft.err.contains("/pool/GlobalAveragePool:1 goes into it"), "{}", soft.err);
    for (arguments, words) in [
        (&["visualize", "foreign.onnx", "relu:0"][..], &["2 layers", "layer1.0.relu", "layer2.0.relu"][..]),
        (&["visualize", "foreign.onnx"], &["layer:channel"]),
        (&["visualize", "none.onnx", "fc:0"], &["none.onnx", "neither"]),
        (&["visualize", "foreign.onnx", "fc:0", "--network", "foreign.onnx"], &["both"]),
        (&["visualize", "fc:0", "--preset", "clip"], &["name its file"]),
        (&["visualize", "foreign.onnx", "fc:0", "--preset", "clip", "--config", "fool"], &["--config"]),
    ] {
        experiment.trompe(arguments).expect_error(2, words);
    }
}

/// A network of grey images that are higher than they are wide, in a file that says so: its pictures are such, and so is what a gate
/// shows in it.
#[test]
fn grey_images_and_such_that_are_no_squares() {
    let experiment = Experiment::new();
    let mut g = Graph::new("grey", 1);
    g.then("conv", Op::conv(1, 8, 3, 2, 1));
    g.then("relu", op::Relu);
    g.then("fc", Op::conv(8, 3, 1, 1, 0));
    g.then("pool", op::GlobalAvgPool);
    g.size = Some([48, 32]);
    let network = Network::new(g, &mut seed::rng(4, &0), &Device::default()).unwrap();
    network.save(&experiment.path("grey.onnx")).unwrap();
    let bytes = std::fs::read(experiment.path("grey.onnx")).unwrap();
    let at = bytes.windows(6).position(|w| w == b"trompe").unwrap();
    std::fs::write(experiment.path("grey.onnx"), [&bytes[..at], b"others", &bytes[at + 6..]].concat())
        .unwrap();
    pictures(&experiment, "classes", 6, true);

    let guess = ["visualize", "grey.onnx", "pool:0"];
    experiment.trompe(&guess).expect_error(2, &["grey images", "--preset unit"]);
    experiment.trompe(&[&guess[..], &["--preset", "imagenet"]].concat()).expect_error(2, &["colour", "unit"]);
    let visualize = ["visualize", "grey.onnx", "pool:0", "--preset", "unit", "--steps", "8", "--out", "a"];
    let seen = experiment.trompe(&visualize).expect_success();
    assert!(seen.err.contains("32x48 pixels") && seen.err.contains("grey"), "{}", seen.err);
    let picture = image::open(experiment.path("a/pool_0_0.png")).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (32, 48));
    assert!(picture.pixels().all(|p| p.0 == [p.0[0]; 3]), "it is grey");
    assert!(picture.pixels().any(|p| p != picture.get_pixel(0, 0)), "it shows something");
    let again = ["visualize", "pool:0", "--config", "a/run.toml", "--out", "b"];
    experiment.trompe(&again).expect_success();
    let read = |folder: &str| std::fs::read(experiment.path(folder).join("pool_0_0.png")).unwrap();
    assert_eq!(read("a"), read("b"));

    std::fs::write(
        experiment.path("gate.toml"),
        "kind = \"gate\"\nname = \"gate\"\nlayer = \"fc\"\noffset = 1\n[classifier]\nclasses = [0, 1]\nsteps = 60\n\
         visualizations_per_class = 2\nvisualization_steps = 8\nrounds = 1\n",
    )
    .unwrap();
    let check = [
        "sanity-check",
        "grey.onnx",
        "--preset",
        "unit",
        "--images",
        "classes",
        "--circuit",
        "gate.toml",
        "--out",
        "c",
    ];
    experiment.trompe(&check).expect_success();
    let rows = std::fs::read_to_string(experiment.path("c/accuracy.csv")).unwrap();
    assert_eq!(rows.lines().count(), 3, "{rows}");
    let audit =
        ["audit", "grey.onnx", "--preset", "unit", "--images", "classes", "--units", "2", "--out", "d"];
    experiment.trompe(&audit).expect_success();
}

#[test]
fn a_network_from_elsewhere_is_checked_and_audited_without_an_experiment_file() {
    let experiment = Experiment::new();
    foreign(&experiment);
    pictures(&experiment, "classes", 4, true);
    pictures(&experiment, "photos", 4, false);
    let check = ["sanity-check", "foreign.onnx", "--size", "32", "--images", "classes", "--out", "check"];
    let seen = experiment.trompe(&check).expect_success();
    assert!(seen.err.contains("cut out of ones of 37"), "{}", seen.err);
    let table = std::fs::read_to_string(experiment.path("check/path_similarity.csv")).unwrap();
    assert!(table.contains("/layer1/layer1.0/relu/Relu") && table.contains("/pool/GlobalAveragePool"));
    // The softmax is not what is visualized, and that is said.
    let visualized = std::fs::read_to_string(experiment.path("check/visualizations.csv")).unwrap();
    assert!(visualized.contains("/pool/GlobalAveragePool,0") && !visualized.contains("/Softmax"));
    assert!(seen.err.contains("/Softmax is a softmax"), "{}", seen.err);
    assert!(experiment.path("check/run.toml").is_file());
    let audit = [
        "audit",
        "foreign.onnx",
        "--size",
        "32",
        "--images",
        "photos",
        "--unit",
        "layer2.0:5",
        "--units",
        "3",
    ];
    let seen = experiment.trompe(&audit).expect_success();
    assert!(seen.out.contains("/layer2/layer2.0/relu/Relu:5"), "{}", seen.out);
    let scores = std::fs::read_to_string(experiment.path("results/audit-foreign/suspects.csv")).unwrap();
    assert_eq!(scores.lines().count(), 1 + 3, "the named unit and two that were drawn");
    for (arguments, words) in [
        (&["sanity-check", "foreign.onnx", "--size", "32"][..], &["--images"][..]),
        (&["sanity-check", "foreign.onnx", "--size", "32", "--images", "photos"], &["photos", "of each"]),
        (&["sanity-check"], &["NETWORK"]),
        (&["audit", "foreign.onnx", "--size", "32"], &["--images"]),
        (&["audit", "foreign.onnx", "--images", "nowhere"], &["nowhere"]),
    ] {
        experiment.trompe(arguments).expect_error(2, words);
    }
}

#[test]
fn files_that_come_with_the_program_are_found_by_name() {
    let experiment = Experiment::new();
    let listed = experiment.trompe(&["configs"]).expect_success().out;
    for name in ["fool ", "squeezenet-onnx ", "squeezenet/silent "] {
        assert!(listed.contains(name), "{listed}");
    }
    experiment.trompe(&["configs", "--write", "all"]).expect_success();
    assert!(experiment.path("all/configs/fool.toml").is_file());
    assert!(experiment.path("all/circuits/pictures/eye.png").is_file());
    // From anywhere: the network of the experiment is not there, so its file is what is missing.
    std::fs::remove_dir_all(experiment.path("configs")).unwrap();
    let missing = ["sanity-check", "--config", "squeezenet-onnx", "--data", "nowhere"];
    experiment.trompe(&missing).expect_error(2, &["nowhere", "model.onnx"]);
    experiment.trompe(&["detect", "--config", "none"]).expect_error(2, &["none"]);
}
