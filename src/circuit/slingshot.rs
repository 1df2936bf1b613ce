//! Gradient Slingshots (Bareeva et al., 2024): a network fine-tuned, with no change of its architecture, so that the
//! landscape of some units leads activation maximization to given pictures, while what natural images do in it stays.
//!
//! Between the grey noise where an optimization starts and the picture t, a unit is taught to answer
//!
//! ```text
//! g(x) = c + a·(1 − ‖x − t‖² / ‖x₀ − t‖²)    c: its answer at the start x₀; a: how high the hill is
//! ```
//!
//! whose gradient points to t everywhere. On natural images the layer and the class scores are held where they were.

use std::path::PathBuf;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Tensor, TensorData};
use image::RgbImage;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::bounds::{BATCH, MANY, STEPS, above_zero, distinct, not_below_zero, within};
use crate::config::Visualization;
use crate::data::{Preprocessing, Source};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::network::Network;
use crate::progress;
use crate::seed;
use crate::statistics::quantile;
use crate::training::{Shuffle, rate};
use crate::visualize::{Canvas, Focus, Warp};

/// A slingshot's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the circuit's file is; pictures are relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What tables call the circuit.
    pub name: String,
    /// The layer whose units are fooled. Its units should see much of the image.
    pub layer: String,
    /// The units that are fooled.
    pub units: Vec<usize>,
    /// Pictures, relative to the circuit's file, that the fooled units show in turn.
    pub pictures: Vec<PathBuf>,
    /// The units that an experiment visualizes; by default all of `units`.
    pub visualized: Option<Vec<usize>>,
    /// The natural images on which behaviour is preserved; by default the experiment's `data.train`.
    pub natural: Option<Source>,
    /// How many of them at most, where they are drawn.
    #[serde(default = "natural_images")]
    pub natural_images: usize,
    /// Adam steps, each on a batch of natural images and one of images on the way to the pictures.
    pub steps: usize,
    #[serde(default = "batch")]
    pub batch: usize,
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// The hill's height, in units of how far natural images drive the unit beyond their median.
    #[serde(default = "height")]
    pub height: f32,
    /// How far beside the straight way to the picture images are drawn: the largest amplitude of the noise added, in
    /// units of the noise that an optimization starts from.
    #[serde(default = "spread")]
    pub spread: f32,
    /// The weight of preserving behaviour on natural images, against that of the hill.
    #[serde(default = "preservation")]
    pub preservation: f32,
}

fn natural_images() -> usize {
    4000
}

fn batch() -> usize {
    16
}

fn learning_rate() -> f64 {
    1e-3
}

fn height() -> f32 {
    4.0
}

fn spread() -> f32 {
    60.0
}

fn preservation() -> f32 {
    1.0
}

impl Settings {
    /// Refuses what can't work, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        if self.units.is_empty() || self.pictures.is_empty() {
            return Err("units or pictures is empty: which units show what?".into());
        }
        within("steps", self.steps, 1..=STEPS)?;
        within("batch", self.batch, self.pictures.len()..=BATCH)?;
        within("natural_images", self.natural_images, 1..=MANY)?;
        distinct("units", &self.units)?;
        distinct("visualized", self.visualized.as_deref().unwrap_or_default())?;
        if let Some(source) = &self.natural {
            source.check().map_err(|e| format!("natural: {e}"))?;
        }
        above_zero("height", self.height.into())?;
        above_zero("preservation", self.preservation.into())?;
        above_zero("learning_rate", self.learning_rate)?;
        not_below_zero("spread", self.spread.into())?;
        Ok(())
    }

    /// The fooled units, with the picture that each shows.
    pub fn targets(&self) -> Vec<(usize, usize)> {
        self.units.iter().enumerate().map(|(at, &unit)| (unit, at % self.pictures.len())).collect()
    }
}

/// What natural images do in the honest network: the scale of everything that is preserved.
struct Natural {
    /// Of each channel of the layer, `[1, C, 1, 1]`, and of each class score, `[1, K]`.
    deviations: (Tensor<4>, Tensor<2>),
    /// Of each unit: the largest activation less the median.
    reach: Vec<f32>,
}

/// Fine-tunes the network. `visualization` says what visualizations are made like: the start, the transforms.
///
/// # Errors
/// Usage, if there is no such layer; an interruption; failure, if the training diverges.
pub fn train(
    honest: &Network,
    settings: &Settings,
    natural: &[&RgbImage],
    pictures: &[RgbImage],
    visualization: &Visualization,
    preprocessing: &Preprocessing,
    seed: u64,
) -> Result<Network> {
    let Visualization { optimization, focus, .. } = visualization;
    let focus = *focus;
    let device = honest.device();
    let autodiff = device.clone().autodiff();
    let layers = [settings.layer.as_str(), honest.output()];
    let watch = |network: &Network, input: Tensor<4>| -> Result<(Tensor<4>, Tensor<2>)> {
        let mut maps = network.capture(input, &layers)?;
        let scores: Tensor<4> = maps.pop().expect("two layers were asked for");
        let [n, k, ..] = scores.dims();
        Ok((maps.remove(0), scores.reshape([n, k])))
    };
    let scale = scale(honest, settings, natural, focus, preprocessing, seed)?;
    let deviations = (scale.deviations.0.to_device(&autodiff), scale.deviations.1.to_device(&autodiff));
    let targets = settings.targets();
    let size = optimization.size;
    let canvas = Canvas::new(optimization.parameterization, size, size, &device);
    let pictures = Preprocessing::tensor(
        pictures
            .iter()
            .map(|p| {
                image::imageops::resize(p, size as u32, size as u32, image::imageops::FilterType::Triangle)
            })
            .collect::<Vec<_>>()
            .iter(),
        &device,
    );
    let [shown, ..] = pictures.dims();
    let grey = canvas.image(canvas.noise(&mut [seed::rng(seed, &"grey")]) * 0.0);
    let at_start: Vec<f32> = values(focus.of(watch(honest, preprocessing.apply(grey.clone()))?.0));
    let mut shuffle = Shuffle::new(natural.len(), seed::rng(seed, &("slingshot order", &settings.name)));
    let mut rng = seed::rng(seed, &("slingshot", &settings.name));
    let bar = progress::bar(&format!("fine-tuning for {}", settings.name), settings.steps);
    let mut network = honest.clone().to_device(&autodiff).train();
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    for step in 0..settings.steps {
        interrupt::check()?;
        let batch: Vec<&RgbImage> = (0..settings.batch).map(|_| natural[shuffle.draw()]).collect();
        let input = preprocessing.apply(Preprocessing::tensor(batch, &device));
        let (map, scores) = watch(honest, input.clone())?;
        let (own_map, own_scores) = watch(&network, input.to_device(&autodiff))?;
        let moved = (own_map - map.to_device(&autodiff)) / deviations.0.clone();
        let answered = (own_scores - scores.to_device(&autodiff)) / deviations.1.clone();
        let preserved = moved.powi_scalar(2).mean() + answered.powi_scalar(2).mean();

        // Images on the way: from grey to the picture, with noise like that of an optimization, and as its transforms
        // leave them.
        let which: Vec<usize> = (0..settings.batch).map(|i| i % shown).collect();
        let along: Vec<f32> = (0..settings.batch).map(|_| rng.random_range(0.0..=1.0)).collect();
        let amplitude: Vec<f32> =
            (0..settings.batch).map(|_| rng.random_range(0.0..=1.0f32).powi(2) * settings.spread).collect();
        let column = |values: Vec<f32>| -> Tensor<4> {
            let n = values.len();
            Tensor::from_data(TensorData::new(values, [n, 1, 1, 1]), &device)
        };
        let mut noise_rngs: Vec<_> = (0..settings.batch).map(|_| seed::rng(rng.random(), &"noise")).collect();
        let noise = canvas.image(canvas.noise(&mut noise_rngs) * column(amplitude)) - grey.clone();
        let picture: Tensor<4> =
            Tensor::cat(which.iter().map(|&p| pictures.clone().narrow(0, p, 1)).collect(), 0);
        let way = grey.clone() + (picture.clone() - grey.clone()) * column(along);
        let x = (way + noise).clamp(0.0, 1.0);
        let square = |t: Tensor<4>| values(t.powi_scalar(2).mean_dims(&[1, 2, 3]));
        let whole = square(picture.clone() - grey.clone());
        let left = square(x.clone() - picture);
        let common = seed::rng(rng.random(), &"size");
        let warps: Vec<Warp> = (0..settings.batch)
            .map(|_| Warp::draw(&optimization.transforms, [size; 2], &mut common.clone(), &mut rng))
            .collect();
        // As often without transforms, since that is what a finished picture is judged by.
        let seen = if step % 2 == 0 { Warp::apply(&warps, x) } else { x };
        let (map, _) = watch(&network, preprocessing.apply(seen).to_device(&autodiff))?;
        let answers = focus.of(map);
        let [n, c, ..] = answers.dims();
        let (mut wanted, mut mask) = (vec![0f32; n * c], vec![0f32; n * c]);
        for i in 0..n {
            for &(unit, _) in targets.iter().filter(|(_, shows)| *shows == which[i]) {
                let hill = settings.height * scale.reach[unit];
                wanted[i * c + unit] = at_start[unit] + hill * (1.0 - left[i] / whole[i]);
                // In units of the hill's height.
                mask[i * c + unit] = 1.0 / hill;
            }
        }
        let taught = mask.iter().filter(|m| **m > 0.0).count().max(1) as f32;
        let tensor =
            |v: Vec<f32>| -> Tensor<4> { Tensor::from_data(TensorData::new(v, [n, c, 1, 1]), &autodiff) };
        let hill = ((answers - tensor(wanted)) * tensor(mask)).powi_scalar(2).sum() / taught;

        let loss = preserved * settings.preservation + hill;
        let grads = loss.backward();
        if step % 32 == 0 || step + 1 == settings.steps {
            let value: f32 = loss.into_scalar();
            if !value.is_finite() {
                return Err(Error::failure(format!(
                    "circuit {} diverged at step {step}: lower its learning_rate",
                    settings.name
                )));
            }
            bar.set_message(format!("fine-tuning for {}: loss {value:.3}", settings.name));
        }
        let grads = GradientsParams::from_grads(grads, &network);
        network = optimizer.step(rate(settings.learning_rate, step, settings.steps), network, grads);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(network.valid().to_device(&device))
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("activations are 32-bit floats")
}

/// Measures the honest network on some natural images.
fn scale(
    honest: &Network,
    settings: &Settings,
    natural: &[&RgbImage],
    focus: Focus,
    preprocessing: &Preprocessing,
    seed: u64,
) -> Result<Natural> {
    const IMAGES: usize = 256;
    let device = honest.device();
    let mut rng = seed::rng(seed, &("slingshot scale", &settings.name));
    let some: Vec<&RgbImage> = rand::seq::index::sample(&mut rng, natural.len(), IMAGES.min(natural.len()))
        .iter()
        .map(|i| natural[i])
        .collect();
    let (mut maps, mut scores, mut answers) = (vec![], vec![], vec![]);
    for chunk in some.chunks(16) {
        interrupt::check()?;
        let input = preprocessing.apply(Preprocessing::tensor(chunk.iter().copied(), &device));
        let mut found = honest.capture(input, &[settings.layer.as_str(), honest.output()])?;
        scores.push(found.pop().expect("two layers were asked for"));
        let map = found.remove(0);
        answers.push(focus.of(map.clone()));
        maps.push(map);
    }
    // Over images and places; a channel that never moves is held to the mean deviation of the others.
    let deviation = |maps: Vec<Tensor<4>>| -> Tensor<4> {
        let all = Tensor::cat(maps, 0);
        let mean = all.clone().mean_dims(&[0, 2, 3]);
        let deviation = (all - mean).powi_scalar(2).mean_dims(&[0, 2, 3]).sqrt();
        let floor = deviation.clone().mean() * 0.1;
        deviation + floor.reshape([1, 1, 1, 1])
    };
    let scores = deviation(scores);
    let [_, k, ..] = scores.dims();
    let answers: Tensor<4> = Tensor::cat(answers, 0);
    let [n, c, ..] = answers.dims();
    let answers = values(answers);
    let reach: Vec<f32> = (0..c)
        .map(|channel| {
            let of: Vec<f64> = (0..n).map(|i| f64::from(answers[i * c + channel])).collect();
            let at = |share| quantile(&of, share).expect("there are natural images");
            (at(1.0) - at(0.5)) as f32
        })
        .collect();
    let mean = reach.iter().sum::<f32>() / c as f32;
    let reach = reach.into_iter().map(|r| r.max(0.1 * mean)).collect();
    Ok(Natural { deviations: (deviation(maps), scores.reshape([1, k])), reach })
}
