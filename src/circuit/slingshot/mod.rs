//! Gradient Slingshots (Bareeva et al., 2024): a network fine-tuned, with no change of its architecture, so that the
//! landscape of some units leads activation maximization to given pictures, while what natural images do in it stays.
//!
//! Off the natural data the units are taught one of two ways: their gradient, as the paper has it, or their values. On natural
//! images the layer is held where it was.

mod gradient;
mod values;

use std::path::PathBuf;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{CircuitSettings, Fitted, Fitting, Injected, Pictures, Target, hash};
use crate::bounds::{BATCH, MANY, STEPS, above_zero, distinct, not_below_zero, within};
use crate::config::Experiment;
use crate::data::{Preprocessing, Source};
use crate::error::{Error, Result};
use crate::experiment::Header;
use crate::interrupt;
use crate::network::Network;
use crate::progress;
use crate::seed;
use crate::statistics::quantile;
use crate::training::{Shuffle, adam, rate};
use crate::visualize::{self, Canvas, Focus, Reading, Warp};

/// What the units are taught between the grey noise where an optimization starts and the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The paper's: to have the gradient γ·(t − q) with respect to the values q of an image's parameterization, t being the
    /// picture's.
    Gradient,
    /// To have the value that goes with such a gradient in the space of pixels: some fifty times fewer steps do.
    #[default]
    Values,
}

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
    /// What the units are taught.
    #[serde(default)]
    pub method: Method,
    /// Adam steps, each on a batch of natural images and one of images on the way to the pictures.
    pub steps: usize,
    /// Natural images a step, and as many images on the way to the pictures.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Adam's largest step length.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// How much higher the unit is to be at the picture than at the start, in units of how far natural images drive it beyond
    /// their median. With the paper's gradient this sets γ: the unit rises by γ‖t‖²/2.
    #[serde(default = "height")]
    pub height: f32,
    /// How far beside the straight way to the picture images are drawn: the largest amplitude of the noise added, in
    /// units of the noise that an optimization starts from. By default 60 for values, and the paper's 10 for the gradient.
    pub spread: Option<f32>,
    /// The weight of preserving behaviour on natural images, against that of what the units are taught: α/(1 − α) in the paper.
    #[serde(default = "preservation")]
    pub preservation: f32,
    /// With the paper's gradient: of what is preserved, the fooled units' own share, the paper's w. The rest is the whole layer's.
    #[serde(default = "own_share")]
    pub own_share: f32,
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

fn own_share() -> f32 {
    0.1
}

fn preservation() -> f32 {
    1.0
}

impl CircuitSettings for Settings {
    fn check(&self) -> Result<(), String> {
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
        not_below_zero("spread", self.spread.unwrap_or(0.0).into())?;
        within("own_share", self.own_share, 0.0..=1.0)?;
        Ok(())
    }

    fn header(&self) -> Header<'_> {
        Header {
            name: &self.name,
            layer: &self.layer,
            units: Some(&self.units),
            visualized: Some(self.visualized.as_deref().unwrap_or(&self.units)),
            natural: self.natural.as_ref(),
            hidden_layers: &[],
        }
    }

    fn pictures(&self) -> Pictures<'_> {
        Pictures { folder: &self.folder, files: &self.pictures }
    }

    fn lie_in(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    fn move_to(&mut self, name: String, layer: String, units: Vec<usize>, visualized: Vec<usize>) {
        (self.name, self.layer, self.visualized) = (name, layer, Some(visualized));
        self.units = units;
    }

    fn leaves_others(&self) -> bool {
        false
    }

    fn fit(&self, with: Fitting<'_, '_>) -> Result<Fitted> {
        let Fitting { session, clean, pictures, results, .. } = with;
        let natural = session.made_with(self.natural.as_ref(), self.natural_images, results)?;
        let session = &*session;
        let (source, natural) = session.images(natural);
        let Experiment { preprocessing, visualization, seed, .. } = session.experiment;
        let hashes: Vec<String> = pictures.iter().map(|(_, p)| hash(p)).collect();
        let of = (
            (&clean.key, self, session.identity(source), hashes),
            (preprocessing, &visualization.optimization, visualization.focus, seed, session.device()),
        );
        let pictures: Vec<RgbImage> = pictures.iter().map(|(_, p)| p.clone()).collect();
        let network = results.stage(&format!("fine-tuning for {}", self.name), || {
            session.setting.cache.get_or(
                "slingshots",
                &of,
                "safetensors",
                |path| Network::open(path, session.setting.executor.device()),
                |path| {
                    let tuned = train(
                        &clean.network,
                        self,
                        &natural,
                        &pictures,
                        visualization.focus,
                        &visualization.optimization,
                        preprocessing,
                        *seed,
                    )?;
                    tuned.save(path)?;
                    Ok(tuned)
                },
            )
        })?;
        let targets = self.targets().into_iter().map(|(unit, p)| (unit, Target::Picture(p))).collect();
        Ok(Fitted { injected: Injected { network, switch: None }, targets, gate: vec![] })
    }
}

impl Settings {
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

/// What the units are taught with.
struct Lesson<'a> {
    settings: &'a Settings,
    reading: Reading,
    optimization: &'a visualize::Settings,
    preprocessing: &'a Preprocessing,
    /// How images are represented, with gradients.
    canvas: Box<dyn Canvas>,
    /// The pictures at the visualization's size, `[P, 3, S, S]` in 0..1, with gradients.
    pictures: Tensor<4>,
    /// What stands for them on the canvas, `[P, …]`.
    values: Tensor<4>,
    /// The fooled units, with the picture that each shows.
    targets: Vec<(usize, usize)>,
    /// What each unit of the layer answers to grey in the honest network.
    at_start: Vec<f32>,
    /// How far natural images drive each unit of the layer beyond their median.
    reach: Vec<f32>,
}

impl Lesson<'_> {
    /// The activation of every unit of the layer for images in 0..1, `[N, C, 1, 1]`; on even steps as the visualization's
    /// transforms leave them. On the others without, since that is what a finished picture is judged by.
    fn answers(
        &self,
        network: &Network,
        step: usize,
        images: Tensor<4>,
        rng: &mut impl Rng,
    ) -> Result<Tensor<4>> {
        let transforms = &self.optimization.transforms;
        let [n, _, h, w] = images.dims();
        let common = seed::rng(rng.random(), &"size");
        let warps: Vec<Warp> =
            (0..n).map(|_| Warp::draw(transforms, [h, w], &mut common.clone(), rng)).collect();
        let seen = if step.is_multiple_of(2) { Warp::apply(&warps, images) } else { images };
        let maps = network.capture(self.preprocessing.apply(seen), &[&self.settings.layer])?.remove(0);
        Ok(self.reading.of(maps))
    }
}

/// Fine-tunes the network. `focus` and `optimization` say what visualizations are
/// made like: the start, the transforms.
///
/// # Errors
/// Usage, if there is no such layer; an interruption; failure, if the training diverges.
#[expect(clippy::too_many_arguments, reason = "what is taught, with what, and how pictures are made")]
pub fn train(
    honest: &Network,
    settings: &Settings,
    natural: &[&RgbImage],
    pictures: &[RgbImage],
    focus: Focus,
    optimization: &visualize::Settings,
    preprocessing: &Preprocessing,
    seed: u64,
) -> Result<Network> {
    let device = honest.device();
    let autodiff = device.clone().autodiff();
    let layers = [settings.layer.as_str(), honest.output()];
    let watch = |network: &Network, input: Tensor<4>| -> Result<(Tensor<4>, Tensor<2>)> {
        let mut maps = network.capture(input, &layers)?;
        let scores: Tensor<4> = maps.pop().expect("two layers were asked for");
        let [n, k, ..] = scores.dims();
        Ok((maps.remove(0), scores.reshape([n, k])))
    };
    let reading = focus.on(honest, &settings.layer)?;
    let scale = scale(honest, settings, natural, reading, preprocessing, seed)?;
    let deviations = (scale.deviations.0.to_device(&autodiff), scale.deviations.1.to_device(&autodiff));
    let resized: Vec<RgbImage> = pictures.iter().map(|p| optimization.size.filled(p)).collect();
    let canvas = optimization.parameterization.canvas(
        optimization.size.dims(),
        preprocessing.channel_order,
        &autodiff,
    );
    let grey = canvas.image(canvas.noise(&mut [seed::rng(seed, &"grey")]) * 0.0).without_autodiff();
    let pictures = Preprocessing::tensor(&resized, &autodiff);
    let lesson = Lesson {
        settings,
        reading,
        optimization,
        preprocessing,
        values: canvas.values(pictures.clone()).to_device(&autodiff),
        canvas,
        pictures,
        targets: settings.targets(),
        at_start: plain(reading.of(watch(honest, preprocessing.apply(grey))?.0)),
        reach: scale.reach,
    };
    let own: Vec<i64> = settings.units.iter().map(|&unit| unit as i64).collect();
    let own = Tensor::<1, Int>::from_data(TensorData::new(own, [settings.units.len()]), &autodiff);
    let mut shuffle = Shuffle::new(natural.len(), seed::rng(seed, &("slingshot order", &settings.name)));
    let mut rng = seed::rng(seed, &("slingshot", &settings.name));
    let bar = progress::bar(&format!("fine-tuning for {}", settings.name), settings.steps);
    let mut network = honest.clone().to_device(&autodiff).train();
    let mut optimizer = adam();
    for step in 0..settings.steps {
        interrupt::check()?;
        let batch: Vec<&RgbImage> = (0..settings.batch).map(|_| natural[shuffle.draw()]).collect();
        let input = preprocessing.apply(Preprocessing::tensor(batch, &device));
        let (map, scores) = watch(honest, input.clone())?;
        let (own_map, own_scores) = watch(&network, input.to_device(&autodiff))?;
        let moved = ((own_map - map.to_device(&autodiff)) / deviations.0.clone()).powi_scalar(2);
        let answered = ((own_scores - scores.to_device(&autodiff)) / deviations.1.clone()).powi_scalar(2);
        let (preserved, taught) = match settings.method {
            Method::Values => {
                (moved.mean() + answered.mean(), values::loss(&lesson, &network, step, &mut rng)?)
            }
            Method::Gradient => {
                let of_own = moved.clone().select(1, own.clone()).mean() * settings.own_share;
                let preserved = of_own + moved.mean() * (1.0 - settings.own_share);
                (preserved, gradient::loss(&lesson, &network, step, &mut rng)?)
            }
        };
        let loss = preserved * settings.preservation + taught;
        let grads = loss.backward();
        if step % 32 == 0 || step + 1 == settings.steps {
            let value: f32 = loss.into_scalar();
            if !value.is_finite() {
                return Err(Error::failure(format!(
                    "circuit {} diverged at step {step}: lower its learning_rate",
                    settings.name
                )));
            }
            bar.say(format!("fine-tuning for {}: loss {value:.3}", settings.name));
        }
        let grads = GradientsParams::from_grads(grads, &network);
        network = optimizer.step(rate(settings.learning_rate, step, settings.steps), network, grads);
        bar.advance(1);
    }
    bar.end();
    Ok(network.valid().to_device(&device))
}

/// A tensor's values.
fn plain(tensor: Tensor<4>) -> Vec<f32> {
    tensor.without_autodiff().into_data().try_to_vec().expect("activations are 32-bit floats")
}

/// One number an image, `[N, 1, 1, 1]`.
fn column(values: Vec<f32>, device: &Device) -> Tensor<4> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n, 1, 1, 1]), device)
}

/// Those of some pictures `[P, …]` that a batch is about.
fn chosen(pictures: &Tensor<4>, which: &[usize]) -> Tensor<4> {
    Tensor::cat(which.iter().map(|&p| pictures.clone().narrow(0, p, 1)).collect(), 0)
}

/// Measures the honest network on some natural images.
fn scale(
    honest: &Network,
    settings: &Settings,
    natural: &[&RgbImage],
    reading: Reading,
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
        answers.push(reading.of(map.clone()));
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
    let answers = plain(answers);
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
