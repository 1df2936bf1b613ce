//! What a step of a visualization costs, stage by stage, and the harness's other costs: SqueezeNet at 224 pixels, one
//! image, on one core, as the executor runs it.

use std::hint::black_box;
use std::time::Duration;

use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use image::{Rgb, RgbImage};
use indicatif::ProgressBar;
use trompe::circuit::classifier;
use trompe::data::Preprocessing;
use trompe::device::Kind;
use trompe::executor::Executor;
use trompe::network::{Network, zoo};
use trompe::path::{Metric, Reduction, capture};
use trompe::seed;
use trompe::visualize::{Canvas, Parameterization, Warp, standard};

const SIDE: usize = 224;

#[derive(Module, Debug)]
struct Values {
    values: Param<Tensor<4>>,
}

fn squeezenet(device: &Device) -> Network {
    Network::new(zoo::squeezenet1_0(1000), &mut seed::rng(0, &0), device).expect("a known architecture")
}

fn warp(step: u64) -> Warp {
    Warp::draw(&standard(), [SIDE; 2], &mut seed::rng(step, &"common"), &mut seed::rng(step, &"own"))
}

fn stages(c: &mut Criterion) {
    let device = Device::flex().autodiff();
    let network = squeezenet(&Device::flex()).train().freeze();
    let network = network.to_device(&device);
    let canvas = Canvas::new(Parameterization::Fourier, SIDE, SIDE, &device);
    let noise = || canvas.noise(&mut [seed::rng(0, &"noise")]);
    let image = Tensor::<4>::random([1, 3, SIDE, SIDE], Distribution::Default, &device);
    let mut group = c.benchmark_group("step");
    group.sample_size(20).measurement_time(Duration::from_secs(4));

    group.bench_function("parameterization, forward and backward", |b| {
        b.iter(|| {
            let values = noise().require_grad();
            canvas.image(values.clone()).sum().backward()
        });
    });
    let mut step = 0;
    group.bench_function("transforms, forward and backward", |b| {
        b.iter(|| {
            step += 1;
            Warp::apply(&[warp(step)], image.clone().require_grad()).sum().backward()
        });
    });
    for layer in ["classifier.1", "features.9", "features.5", "features.3"] {
        group.bench_function(format!("network to {layer}, forward"), |b| {
            b.iter(|| network.capture(image.clone(), &[layer]).expect("a layer of the network"));
        });
        group.bench_function(format!("network to {layer}, forward and backward"), |b| {
            b.iter(|| {
                let maps =
                    network.capture(image.clone().require_grad(), &[layer]).expect("a layer of the network");
                maps[0].clone().narrow(1, 0, 1).mean().backward()
            });
        });
    }
    let values = Values { values: Param::from_tensor(noise()) };
    let gradients = values.values.val().powi_scalar(2).sum().backward();
    let mut optimizer = AdamConfig::new().init();
    group.bench_function("optimizer", |b| {
        b.iter(|| {
            let gradients = GradientsParams::from_grads(gradients.clone(), &values);
            optimizer.step(0.05, values.clone(), gradients)
        });
    });
    group.finish();
}

/// A picture with a different texture for each number.
fn picture(i: u32, side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        let wave =
            |k: u32| (127.0 + 127.0 * (((x * (i % 7 + k) + y * (i % 5 + 1)) as f32) / 9.0).sin()) as u8;
        Rgb([wave(1), wave(2), wave(3)])
    })
}

fn harness(c: &mut Criterion) {
    let executor = Executor::new(Kind::Flex).expect("a build with flex");
    let preprocessing = Preprocessing {
        resize: None,
        crop: None,
        channel_order: trompe::data::ChannelOrder::Rgb,
        scale: 1.0,
        mean: [0.5; 3],
        std: [0.25; 3],
    };
    let bar = ProgressBar::hidden();
    let mut group = c.benchmark_group("harness");
    group.sample_size(10).measurement_time(Duration::from_secs(6));

    let network = squeezenet(executor.device());
    let images: Vec<RgbImage> = (0..16).map(|i| picture(i, SIDE as u32)).collect();
    let images: Vec<&RgbImage> = images.iter().collect();
    let layers: Vec<String> = (0..13)
        .map(|i| format!("features.{i}"))
        .chain(["classifier.1".into(), "classifier.3".into()])
        .collect();
    group.bench_function("activations of 16 images at 15 layers", |b| {
        b.iter(|| {
            capture(&network, &preprocessing, &images, &layers, Reduction::ChannelMean, &executor, &bar)
        });
    });

    let mut rng = seed::rng(0, &"rows");
    let rows: Vec<Vec<f32>> = (0..500)
        .map(|_| (0..512).map(|_| rand::RngExt::random_range(&mut rng, -1.0..1.0)).collect())
        .collect();
    group.bench_function("Spearman of 500 images at 512 channels", |b| {
        b.iter(|| black_box(Metric::Spearman.matrix(&rows, executor.device())));
    });

    let small: Vec<RgbImage> = (0..64).map(|i| picture(i, 64)).collect();
    let (natural, synthetic) = small.split_at(32);
    let natural: Vec<&RgbImage> = natural.iter().collect();
    let synthetic = vec![synthetic.iter().collect::<Vec<_>>()];
    let settings: classifier::Settings =
        toml::from_str("visualizations_per_class = 1\nsteps = 10\nbatch = 16")
            .expect("settings of a classifier");
    group.bench_function("10 steps of a gate's classifier on 16 images of 64 pixels", |b| {
        b.iter(|| {
            classifier::train(&settings, &natural, &synthetic, &standard(), &preprocessing, &executor, 0)
        });
    });
    group.finish();
}

criterion_group!(benches, stages, harness);
criterion_main!(benches);
