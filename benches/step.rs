//! What a step of a visualization costs, stage by stage, and the harness's other costs. SqueezeNet at 224 pixels; stages
//! run one image on one core, as the executor does when there are as many images as cores, and on two, as it does with a
//! single picture.

use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use divan::{Bencher, black_box};
use image::{Rgb, RgbImage};
use rand::RngExt;
use rayon::{ThreadPool, ThreadPoolBuilder};
use trompe::allocator;
use trompe::circuit::classifier;
use trompe::data::{ChannelOrder, Preprocessing};
use trompe::device::Kind;
use trompe::executor::Executor;
use trompe::network::{Network, zoo};
use trompe::path::{Metric, Reduction, capture};
use trompe::progress::Progress;
use trompe::seed;
use trompe::visualize::{Canvas, Parameterization, Warp, standard};

/// As the program has it: without it, giving pages back and asking for them again is part of what is measured.
#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

const SIDE: usize = 224;
/// The output, a unit in the middle, of the third Fire module and of the first.
const LAYERS: [&str; 4] = ["classifier.1", "features.9", "features.5", "features.3"];

#[derive(Module, Debug)]
struct Values {
    values: Param<Tensor<4>>,
}

fn main() {
    allocator::keep_freed();
    divan::main();
}

/// How many cores a stage runs on.
const CORES: [usize; 2] = [1, 2];

fn pool(cores: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(cores).build().expect("threads")
}

/// How far into the network a step goes, and on how many cores.
fn ways() -> impl Iterator<Item = String> {
    LAYERS.iter().flat_map(|layer| CORES.map(|cores| format!("{layer} {cores}")))
}

fn way(way: &str) -> (&str, ThreadPool) {
    let (layer, cores) = way.split_once(' ').expect("as `ways` has it");
    (layer, pool(cores.parse().expect("a number")))
}

fn squeezenet(device: &Device) -> Network {
    Network::new(zoo::squeezenet1_0(1000), &mut seed::rng(0, &0), device).expect("a known architecture")
}

/// The network as a visualization of a layer's first unit uses it: what the unit needs, without gradients of its own.
fn frozen(layer: &str) -> Network {
    let (network, _) = squeezenet(&Device::flex()).narrowed(layer, &[0].into()).expect("a layer with units");
    network.train().freeze()
}

fn image() -> Tensor<4> {
    Tensor::random([1, 3, SIDE, SIDE], Distribution::Default, &Device::flex().autodiff())
}

fn canvas() -> Box<dyn Canvas> {
    Parameterization::Fourier.canvas([SIDE; 2], ChannelOrder::Rgb, &Device::flex().autodiff())
}

fn noise(canvas: &dyn Canvas) -> Tensor<4> {
    canvas.noise(&mut [seed::rng(0, &"noise")])
}

/// Parameterization, forward and backward.
#[divan::bench(args = CORES, sample_count = 50)]
fn step_parameterization(bencher: Bencher, cores: usize) {
    let canvas = canvas();
    let values = noise(&*canvas);
    let step = || {
        let image = canvas.image(values.clone().require_grad());
        image.sum().backward()
    };
    let pool = pool(cores);
    bencher.bench_local(|| pool.install(step));
}

/// Transforms, forward and backward.
#[divan::bench(args = CORES, sample_count = 50)]
fn step_transforms(bencher: Bencher, cores: usize) {
    let image = image();
    let mut step = 0u64;
    let mut seen = || {
        step += 1;
        let [common, own] = ["common", "own"].map(|name| seed::rng(step, &name));
        let warp = Warp::draw(&standard(), [SIDE; 2], &mut common.clone(), &mut own.clone());
        Warp::apply(&[warp], image.clone().require_grad()).sum().backward()
    };
    let pool = pool(cores);
    bencher.bench_local(|| pool.install(&mut seen));
}

/// The network up to a layer, forward alone.
#[divan::bench(args = ways(), sample_count = 50)]
fn step_forward(bencher: Bencher, to: &str) {
    let (layer, pool) = way(to);
    let (network, image) = (frozen(layer), image());
    let step = || network.capture(image.clone(), &[layer]).expect("a layer of the network");
    bencher.bench_local(|| pool.install(step));
}

/// The network up to a layer, forward and backward to the image.
#[divan::bench(args = ways(), sample_count = 50)]
fn step_forward_and_backward(bencher: Bencher, to: &str) {
    let (layer, pool) = way(to);
    let (network, image) = (frozen(layer), image());
    let step = || {
        let maps = network.capture(image.clone().require_grad(), &[layer]).expect("a layer of the network");
        maps[0].clone().narrow(1, 0, 1).mean().backward()
    };
    bencher.bench_local(|| pool.install(step));
}

/// Adam.
#[divan::bench(args = CORES, sample_count = 50)]
fn step_optimizer(bencher: Bencher, cores: usize) {
    let pool = pool(cores);
    let values = Values { values: Param::from_tensor(noise(&*canvas())) };
    let mut optimizer = AdamConfig::new().init();
    bencher
        .with_inputs(|| {
            let gradients = values.values.val().powi_scalar(2).sum().backward();
            GradientsParams::from_grads(gradients, &values)
        })
        .bench_local_values(|gradients| pool.install(|| optimizer.step(0.05, values.clone(), gradients)));
}

/// A picture with a texture of its own for each number.
fn picture(i: u32, side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        let wave =
            |k: u32| (127.0 + 127.0 * (((x * (i % 7 + k) + y * (i % 5 + 1)) as f32) / 9.0).sin()) as u8;
        Rgb([wave(1), wave(2), wave(3)])
    })
}

fn preprocessing() -> Preprocessing {
    Preprocessing {
        resize: None,
        crop: None,
        channel_order: ChannelOrder::Rgb,
        scale: 1.0,
        mean: [0.5; 3],
        std: [0.25; 3],
    }
}

/// The spatial means of 16 images at 15 layers, on all cores.
#[divan::bench(sample_count = 10)]
fn activations(bencher: Bencher) {
    let executor = Executor::new(Kind::Flex).expect("a build with flex");
    let network = squeezenet(executor.device());
    let images: Vec<RgbImage> = (0..16).map(|i| picture(i, SIDE as u32)).collect();
    let images: Vec<&RgbImage> = images.iter().collect();
    let layers: Vec<String> = (0..13)
        .map(|i| format!("features.{i}"))
        .chain(["classifier.1".into(), "classifier.3".into()])
        .collect();
    let (preprocessing, bar) = (preprocessing(), Progress::hidden());
    bencher.bench_local(|| {
        capture(&network, &preprocessing, &images, &layers, Reduction::ChannelMean, &executor, &bar)
    });
}

/// Spearman similarities of 500 images with each other at 512 channels.
#[divan::bench(sample_count = 10)]
fn spearman(bencher: Bencher) {
    let mut rng = seed::rng(0, &"rows");
    let rows: Vec<Vec<f32>> =
        (0..500).map(|_| (0..512).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let device = Device::flex();
    bencher.bench_local(|| Metric::Spearman.matrix(black_box(&rows), &device));
}

/// 10 steps of a gate's classifier, on batches of 16 images of this size.
#[divan::bench(args = [64, 128], sample_count = 5)]
fn gate_training(bencher: Bencher, side: u32) {
    let executor = Executor::new(Kind::Flex).expect("a build with flex");
    let images: Vec<RgbImage> = (0..64).map(|i| picture(i, side)).collect();
    let (natural, synthetic) = images.split_at(32);
    let natural: Vec<&RgbImage> = natural.iter().collect();
    let synthetic = vec![synthetic.iter().collect::<Vec<_>>()];
    let settings: classifier::Settings =
        toml::from_str("visualizations_per_class = 1\nsteps = 10\nbatch = 16").expect("settings");
    let preprocessing = preprocessing();
    bencher.bench_local(|| {
        classifier::train(&settings, &natural, &synthetic, &standard(), &preprocessing, &executor, 0)
    });
}
