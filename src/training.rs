//! Training a classifier with Adam, and its accuracy.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Int, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::bounds::{BATCH, above_zero, within};
use crate::data::{Dataset, Preprocessing, Sample};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::interrupt;
use crate::network::Network;
use crate::progress::{self, Progress};
use crate::seed;

/// How a network is trained. The rate rises over the first tenth of the steps and falls to zero as a cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Adam's largest step length.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
}

impl Settings {
    /// Refuses what can't be trained with.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        within("epochs", self.epochs, 1..=100_000)?;
        within("batch", self.batch, 1..=BATCH)?;
        above_zero("learning_rate", self.learning_rate)
    }
}

fn batch() -> usize {
    32
}

fn learning_rate() -> f64 {
    4e-3
}

/// Images as the network takes them, `[N, C, H, W]`, and their classes.
pub struct Batch {
    /// The images, preprocessed.
    pub input: Tensor<4>,
    /// The class of each image.
    pub labels: Vec<usize>,
}

/// Adam, as everything here is trained with unless it says otherwise.
pub(crate) fn adam() -> ModuleOptimizer {
    AdamConfig::new().with_epsilon(1e-8).init()
}

/// Minimizes the cross-entropy of `logits` over `steps` batches and gives back the trained network, for inference.
///
/// # Errors
/// An interruption; failure, if the loss is no longer a number.
pub fn fit(
    network: Network,
    mut optimizer: ModuleOptimizer,
    steps: usize,
    learning_rate: f64,
    bar: &Progress,
    mut next: impl FnMut() -> Batch,
    mut logits: impl FnMut(&Network, Tensor<4>) -> Tensor<2>,
) -> Result<Network> {
    let device = network.device();
    let autodiff = device.clone().autodiff();
    let name = network.name().to_string();
    let mut network = network.to_device(&autodiff).train();
    let cross_entropy = CrossEntropyLossConfig::new().init(&autodiff);
    for step in 0..steps {
        interrupt::check()?;
        let batch = next();
        let labels: Vec<i64> = batch.labels.iter().map(|&l| l as i64).collect();
        let n = labels.len();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), &autodiff);
        let input = batch.input.to_device(&autodiff);
        let loss = cross_entropy.forward(logits(&network, input), labels);
        let grads = loss.backward();
        if step % 32 == 0 || step + 1 == steps {
            let value: f32 = loss.into_scalar();
            if !value.is_finite() {
                return Err(Error::failure(format!(
                    "training {name} diverged at step {step}: lower the learning rate"
                )));
            }
        }
        let grads = GradientsParams::from_grads(grads, &network);
        network = optimizer.step(rate(learning_rate, step, steps), network, grads);
        bar.advance(1);
    }
    Ok(network.valid().to_device(&device))
}

/// Linear warm-up over a tenth of the steps, then a half cosine to zero.
pub(crate) fn rate(peak: f64, step: usize, steps: usize) -> f64 {
    let done = (step as f64 + 1.0) / steps as f64;
    match done {
        d if d < 0.1 => peak * d / 0.1,
        d => peak * 0.5 * (1.0 + (std::f64::consts::PI * (d - 0.1) / 0.9).cos()),
    }
}

/// Sample positions in random order, reshuffled whenever they run out.
pub struct Shuffle {
    order: Vec<usize>,
    next: usize,
    rng: ChaCha8Rng,
}

impl Shuffle {
    /// Positions 0 to `n` - 1.
    pub fn new(n: usize, rng: ChaCha8Rng) -> Self {
        Self { order: (0..n).collect(), next: n, rng }
    }

    /// The next position.
    pub fn draw(&mut self) -> usize {
        if self.next >= self.order.len() {
            self.order.shuffle(&mut self.rng);
            self.next = 0;
        }
        self.next += 1;
        self.order[self.next - 1]
    }
}

/// Trains a network on a data set.
///
/// # Errors
/// Those of [`fit`].
pub fn train(
    network: Network,
    data: &Dataset,
    preprocessing: &Preprocessing,
    settings: &Settings,
    seed: u64,
) -> Result<Network> {
    let steps = (data.samples.len() * settings.epochs).div_ceil(settings.batch);
    let bar = progress::bar(&format!("training {}", network.name()), steps);
    let mut shuffle = Shuffle::new(data.samples.len(), seed::rng(seed, &"training order"));
    let device = network.device();
    let next = || {
        let samples: Vec<&Sample> = (0..settings.batch).map(|_| &data.samples[shuffle.draw()]).collect();
        Batch {
            input: preprocessing.apply(Preprocessing::tensor(samples.iter().map(|s| &s.image), &device)),
            labels: samples.iter().map(|s| s.label).collect(),
        }
    };
    let trained = fit(network, adam(), steps, settings.learning_rate, &bar, next, Network::logits)?;
    bar.end();
    Ok(trained)
}

/// The logits of every sample, in order.
///
/// # Errors
/// An interruption; usage, if the images have a size that the network does not take.
pub fn logits(
    network: &Network,
    samples: &[Sample],
    preprocessing: &Preprocessing,
    executor: &Executor,
    bar: &Progress,
) -> Result<Vec<Vec<f32>>> {
    let Some(first) = samples.first() else {
        return Ok(vec![]);
    };
    let (w, h) = first.image.dimensions();
    executor.run(samples, executor.batch(h as usize, w as usize), bar, |chunk| {
        let input = Preprocessing::tensor(chunk.iter().map(|s| &s.image), executor.device());
        let scores = network.capture(preprocessing.apply(input), &[network.output()])?.remove(0);
        let [_, c, h, w] = scores.dims();
        let classes = c * h * w;
        let values: Vec<f32> = scores.into_data().try_to_vec().expect("logits are 32-bit floats");
        Ok(values.chunks(classes).map(<[f32]>::to_vec).collect())
    })
}

/// The share of samples whose class is among the `k` highest logits. Among equal logits the class counts as ranked
/// after half of them, rounded down.
pub fn top_k(logits: &[impl AsRef<[f32]>], samples: &[Sample], k: usize) -> f64 {
    let hits = logits.iter().map(AsRef::as_ref).zip(samples).filter(|(row, sample)| {
        let own = row[sample.label];
        let above = row.iter().filter(|&&v| v > own).count();
        let equal = row.iter().filter(|&&v| v == own).count().saturating_sub(1);
        above + equal / 2 < k
    });
    hits.count() as f64 / samples.len().max(1) as f64
}
