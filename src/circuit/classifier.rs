//! The natural-vs-synthetic classifier inside a gate (Geirhos et al., 2024, section 2.1): a plain six-layer CNN, the paper's
//! own or one with batch norms.

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn::tensor::{Tensor, TensorData};
use image::{RgbImage, imageops};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::data::{Preprocessing, Size, Source};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::network::{Graph, Network, Op, op};
use crate::progress::{self, Progress};
use crate::seed;
use crate::training::{Batch, Shuffle, adam, fit};
use crate::visualize::{Transform, Warp, smallest};

/// The layer that gives the classifier's logit, `[N, 1, 1, 1]`, positive for synthetic images.
pub const LOGIT: &str = "logit";

/// The CNN inside a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Six convolutions of 8 to 48 channels with batch norms, and the mean over the map, for images of any size; trained with
    /// Adam.
    #[default]
    BatchNorm,
    /// The paper's: six convolutions of 16, 16, 16, 16, 16 and 3 channels, kernels of 3, 5, 5, 5, 5 and 3 pixels, no batch
    /// norm, and a linear layer with dropout over the whole map, for images of one size; trained by stochastic gradient
    /// descent with momentum.
    Paper,
}

/// How the classifier is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What it is made of.
    #[serde(default)]
    pub architecture: Architecture,
    /// The classes whose visualizations it is trained on. It is tested on those of all other classes.
    #[serde(default)]
    pub classes: Vec<usize>,
    /// Beside them, so many classes drawn at random from those that the experiment does not visualize.
    #[serde(default)]
    pub other_classes: usize,
    /// Visualizations of each of these classes.
    pub visualizations_per_class: usize,
    /// It is also trained on visualizations of units drawn at random from these layers: what is common to all
    /// visualizations shows in many kinds of them.
    #[serde(default)]
    pub hidden_layers: Vec<String>,
    /// How many units of each of them.
    #[serde(default)]
    pub units_per_layer: usize,
    /// Where the gate's units show given pictures: how often each is drawn for the training.
    #[serde(default = "drawings")]
    pub drawings_per_picture: usize,
    /// Where they do: how often the gate is tried out. Each time, what it takes for natural while its units are being
    /// visualized is added to what it is trained on, and it is trained anew.
    #[serde(default)]
    pub rounds: usize,
    /// Side of these visualizations in pixels, and of the crops of natural images beside them; by default that of the
    /// experiment's visualizations.
    pub size: Option<usize>,
    /// Their optimization steps; by default the experiment's.
    pub visualization_steps: Option<usize>,
    /// The natural images it is trained on; by default the experiment's `data.train`.
    pub natural: Option<Source>,
    /// How many of them at most, where they are drawn.
    #[serde(default = "natural_images")]
    pub natural_images: usize,
    /// On so many pictures, or as many as there are, of units that it was not trained on it is tested, at every step of their
    /// trajectories: held-out classes, several times, and units of `hidden_layers`.
    #[serde(default = "tested")]
    pub tested: usize,
    /// Training steps, each on a batch of half natural and half synthetic images.
    pub steps: usize,
    /// Images a step, half of them synthetic.
    #[serde(default = "batch")]
    pub batch: usize,
    /// The longest step; by default 0.002 for Adam, 0.005 for the paper's architecture.
    pub learning_rate: Option<f64>,
    /// Where the threshold stands between the highest logits of natural (0) and the lowest of synthetic training images
    /// (1).
    #[serde(default = "threshold")]
    pub threshold: f32,
}

fn tested() -> usize {
    100
}

fn natural_images() -> usize {
    4000
}

fn drawings() -> usize {
    4
}

fn batch() -> usize {
    16
}

fn threshold() -> f32 {
    0.5
}

impl Architecture {
    /// Refuses pictures of this size where some of the images have only `least` pixels a side.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn takes(self, size: Size, least: usize) -> Result<(), String> {
        if self == Self::Paper && size.square().is_none() {
            return Err(format!(
                "classifier.architecture = \"paper\" takes square images, and these are {size} pixels: leave it out"
            ));
        }
        let side = size.shorter();
        match self == Self::Paper && least < side {
            true => Err(format!(
                "classifier.architecture = \"paper\" takes images of one size, {side} pixels here, and some have {least}: end \
                 the transforms with {{ kind = \"crop\" }}, and take natural images that are no smaller than the pictures"
            )),
            false => Ok(()),
        }
    }

    /// The graph for images of `channels` channels and `side` pixels: convolutions, one of them to two scores, and the mean over what is left of the map.
    fn graph(self, channels: usize, side: usize) -> Graph {
        let mut g = Graph::new("natural-vs-synthetic", channels);
        let mut input = channels;
        match self {
            Self::BatchNorm => {
                let layers = [(8, 5, 2), (16, 3, 2), (16, 3, 1), (32, 3, 2), (32, 3, 1), (48, 3, 2)];
                for (i, (output, kernel, stride)) in (1..).zip(layers) {
                    let conv = Op::conv(input, output, kernel, stride, kernel / 2).without_bias();
                    g.then(format!("conv{i}"), conv);
                    g.then(format!("bn{i}"), Op::batch_norm(output));
                    g.then(format!("relu{i}"), op::Relu);
                    input = output;
                }
                g.then("scores", Op::conv(input, 2, 1, 1, 0));
            }
            Self::Paper => {
                let mut map = side;
                for (i, (output, kernel, stride)) in (1..).zip(PAPER) {
                    let padding = if side < UNPADDED { kernel / 2 } else { 0 };
                    g.then(format!("conv{i}"), Op::conv(input, output, kernel, stride, padding));
                    g.then(format!("relu{i}"), op::Relu);
                    map = (map + 2 * padding - kernel) / stride + 1;
                    input = output;
                }
                // The linear layer, as a convolution over the whole map.
                g.then("scores", Op::conv(input, 2, map, 1, 0));
            }
        }
        g.then(LOGIT, op::GlobalAvgPool);
        g
    }
}

/// Channels, kernels and strides of the paper's classifier.
const PAPER: [(usize, usize, usize); 6] =
    [(16, 3, 1), (16, 5, 2), (16, 5, 2), (16, 5, 2), (16, 5, 2), (3, 3, 1)];

/// The least side of images that the paper's convolutions leave something of without padding. Smaller images are padded by half
/// a kernel.
const UNPADDED: usize = 95;

/// The share of the last map's values that is left out at each of the paper's training steps.
const DROPOUT: f64 = 0.3;

/// Trains the classifier. Half of the images of either kind are shown as they are, half as the visualization's own
/// transforms leave them, so that the gate holds while a picture is being made. Half are varied in colour, the
/// synthetic ones in contrast too, so that what it learns is not the colours of the classes it sees. Synthetic images come
/// in groups, each shown as often as the others, however many it has. Batch norms are folded, the two scores are merged
/// into one logit, and its threshold is set on the training images.
///
/// # Errors
/// An interruption, or a diverging training; usage, if the images are too small for the architecture.
pub fn train(
    settings: &Settings,
    natural: &[&RgbImage],
    synthetic: &[Vec<&RgbImage>],
    transforms: &[Transform],
    preprocessing: &Preprocessing,
    executor: &Executor,
    seed: u64,
) -> Result<Network> {
    let device = executor.device();
    let side = synthetic.iter().flatten().map(|image| image.width().min(image.height())).min().unwrap_or(0);
    let natural_side = natural.iter().map(|i| i.width().min(i.height())).min().unwrap_or(side);
    let square = Size::from(side as usize);
    let least = smallest(transforms, square).min(natural_side as usize);
    settings.architecture.takes(square, least).map_err(Error::usage)?;
    let graph = settings.architecture.graph(preprocessing.channel_order.channels(), side as usize);
    let network = Network::new(graph, &mut seed::rng(seed, &"gate weights"), device)?;
    let groups: Vec<&[&RgbImage]> = std::iter::once(natural)
        .chain(synthetic.iter().map(Vec::as_slice))
        .filter(|g| !g.is_empty())
        .collect();
    let mut shuffles: Vec<Shuffle> = (0..groups.len())
        .map(|k| Shuffle::new(groups[k].len(), seed::rng(seed, &("gate order", k))))
        .collect();
    let mut rng = seed::rng(seed, &"gate transforms");
    let mut turn = 0;
    let bar = progress::bar("training the gate's classifier", settings.steps);
    let next = || {
        let labels: Vec<usize> = (0..settings.batch).map(|i| i % 2).collect();
        let images: Vec<RgbImage> = labels
            .iter()
            .map(|&label| {
                turn += label;
                // Synthetic groups take turns.
                let group = if label == 0 { 0 } else { 1 + turn % (groups.len() - 1).max(1) };
                vary(groups[group][shuffles[group].draw()], side, label == 1, &mut rng)
            })
            .collect();
        let size = [images[0].height() as usize, images[0].width() as usize];
        let mut rgb = Preprocessing::tensor(&images, device);
        // All images of a batch have one size, so a whole batch is transformed or none of it.
        if rng.random_bool(0.5) {
            let common = seed::rng(rng.random(), &"size");
            let warps: Vec<Warp> =
                images.iter().map(|_| Warp::draw(transforms, size, &mut common.clone(), &mut rng)).collect();
            rgb = Warp::apply(&warps, rgb);
        }
        Batch { input: preprocessing.apply(rgb), labels }
    };
    let steps = settings.steps;
    let trained = match settings.architecture {
        Architecture::BatchNorm => {
            let rate = settings.learning_rate.unwrap_or(2e-3);
            fit(network, adam(), steps, rate, &bar, next, Network::logits)
        }
        Architecture::Paper => {
            let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
            let descent = SgdConfig::new().with_momentum(Some(momentum)).init();
            let rate = settings.learning_rate.unwrap_or(5e-3);
            let mut rng = seed::rng(seed, &"gate dropout");
            let logits = |network: &Network, input| with_dropout(network, input, &mut rng);
            fit(network, descent, steps, rate, &bar, next, logits)
        }
    }?;
    bar.end();
    let trained = trained.fold_batch_norm();
    let merged = merge(&trained, 0.0)?;
    let hidden = Progress::hidden();
    let on_natural = logits(&merged, natural, preprocessing, executor, &hidden)?;
    let mut on_synthetic = vec![];
    for group in synthetic {
        on_synthetic.extend(logits(&merged, group, preprocessing, executor, &hidden)?);
    }
    merge(&trained, between(&on_natural, &on_synthetic, settings.threshold))
}

/// The two scores of images when a share of the last map's values, drawn anew for each image, is left out.
fn with_dropout(network: &Network, input: Tensor<4>, rng: &mut impl Rng) -> Tensor<2> {
    let map = network.capture(input, &["relu6"]).expect("the paper's classifier has six layers").remove(0);
    let [n, c, h, w] = map.dims();
    let kept: Vec<f32> = (0..n * c * h * w)
        .map(|_| if rng.random_bool(DROPOUT) { 0.0 } else { 1.0 / (1.0 - DROPOUT as f32) })
        .collect();
    let kept: Tensor<4> = Tensor::from_data(TensorData::new(kept, [n, c, h, w]), &map.device());
    let (weight, bias) = network.filters("scores").expect("it ends in a convolution");
    let scores = (map * kept).reshape([n, c * h * w]).matmul(weight.reshape([2, c * h * w]).transpose());
    scores + bias.reshape([1, 2])
}

/// A crop of the image, if it is larger than `side`: a mirror image with the colour channels in another order, or as it
/// is. A synthetic one may also be paler, as if from earlier on its trajectory.
fn vary(image: &RgbImage, side: u32, synthetic: bool, rng: &mut impl Rng) -> RgbImage {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let (w, h) = image.dimensions();
    let mut image = if w > side && h > side {
        let (x, y) = (rng.random_range(0..=w - side), rng.random_range(0..=h - side));
        imageops::crop_imm(image, x, y, side, side).to_image()
    } else {
        image.clone()
    };
    if rng.random_bool(0.5) {
        if rng.random_bool(0.5) {
            imageops::flip_horizontal_in_place(&mut image);
        }
        if rng.random_bool(0.5) {
            imageops::flip_vertical_in_place(&mut image);
        }
        let order = ORDERS[rng.random_range(0..ORDERS.len())];
        let contrast = if synthetic { rng.random_range(0.3..1.0) } else { 1.0 };
        for pixel in image.pixels_mut() {
            pixel.0 = order.map(|c| (128.0 + contrast * (f32::from(pixel.0[c]) - 128.0)) as u8);
        }
    }
    image
}

/// The classifier with its two scores merged into `synthetic − natural − threshold`.
fn merge(trained: &Network, threshold: f32) -> Result<Network> {
    let (weight, bias) = trained.filters("scores")?;
    let [_, channels, side, _] = weight.dims();
    let weight: Vec<f32> = weight.into_data().try_to_vec().expect("weights are 32-bit floats");
    let bias: Vec<f32> = bias.into_data().try_to_vec().expect("weights are 32-bit floats");
    let (natural, synthetic) = weight.split_at(weight.len() / 2);
    let merged: Vec<f32> = synthetic.iter().zip(natural).map(|(s, n)| s - n).collect();
    let bias = bias[1] - bias[0] - threshold;
    let mut network = trained.clone();
    let mut insert = network.insert_before("scores")?;
    let inputs = vec!["relu6".into()];
    let weight = TensorData::new(merged, [1, channels, side, side]);
    let bias = TensorData::new(vec![bias], [1]);
    insert.filters("score".into(), Op::conv(channels, 1, side, 1, 0), inputs, weight, bias)?;
    insert.remove("scores", "score");
    Ok(network)
}

/// A threshold between the logits of natural and of synthetic training images: this share of the way from the highest
/// natural (99.9 %) to the lowest synthetic ones (1 %), or midway where they overlap.
fn between(natural: &[f32], synthetic: &[f32], share: f32) -> f32 {
    let quantile = |values: &[f32], q: f32| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        sorted[(q * (sorted.len() - 1) as f32).round() as usize]
    };
    let (natural, synthetic) = (quantile(natural, 0.999), quantile(synthetic, 0.01));
    let share = if synthetic > natural { share } else { 0.5 };
    natural + share * (synthetic - natural)
}

/// The logit of each image.
///
/// # Errors
/// An interruption.
pub fn logits(
    classifier: &Network,
    images: &[&RgbImage],
    preprocessing: &Preprocessing,
    executor: &Executor,
    bar: &Progress,
) -> Result<Vec<f32>> {
    executor.run_images(images, bar, |chunk| {
        let input = Preprocessing::tensor(chunk.iter().copied(), executor.device());
        let logits = classifier.logits(preprocessing.apply(input));
        Ok(logits.into_data().try_to_vec().expect("logits are 32-bit floats"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the paper's 224 pixels its linear layer reads 243 values, as in the authors' code.
    #[test]
    fn the_papers_classifier_has_the_papers_shape() {
        for (side, values) in [(224, 243), (UNPADDED, 3), (64, 48)] {
            let graph = Architecture::Paper.graph(3, side);
            let mut rng = seed::rng(0, &"w");
            let network = Network::new(graph, &mut rng, &burn::tensor::Device::default()).unwrap();
            let (weight, _) = network.filters("scores").unwrap();
            assert_eq!(weight.shape().num_elements(), 2 * values, "at {side} pixels");
            let scores = network.logits(Tensor::zeros([1, 3, side, side], &network.device()));
            assert_eq!(scores.dims(), [1, 2]);
        }
    }

    /// On average over draws, scores with dropout are those without.
    #[test]
    fn dropout_keeps_the_mean() {
        let mut rng = seed::rng(0, &"w");
        let device = burn::tensor::Device::default();
        let network = Network::new(Architecture::Paper.graph(3, 64), &mut rng, &device).unwrap();
        let one = Tensor::random([1, 3, 64, 64], burn::tensor::Distribution::Normal(0.0, 3.0), &device);
        let whole: Vec<f32> = network.logits(one.clone()).into_data().try_to_vec().unwrap();
        let many = with_dropout(&network, one.expand([500, 3, 64, 64]), &mut rng);
        let [mean, spread] = [many.clone().mean_dim(0), many.clone().var(0).sqrt()]
            .map(|t| t.into_data().try_to_vec::<f32>().unwrap());
        for i in 0..2 {
            assert!(spread[i] > 0.0);
            assert!((mean[i] - whole[i]).abs() < 5.0 * spread[i] / (500f32).sqrt(), "{mean:?} {whole:?}");
        }
    }

    #[test]
    fn the_threshold_stands_between() {
        let (natural, synthetic) = ([-3.0, -2.0, -1.0], [3.0, 5.0, 9.0]);
        assert_eq!(between(&natural, &synthetic, 0.5), 1.0);
        assert_eq!(between(&natural, &synthetic, 0.0), -1.0);
        assert_eq!(between(&[-3.0, 2.0], &[1.0, 9.0], 0.1), 1.5);
    }
}
