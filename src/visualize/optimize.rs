//! Activation maximization.

use std::fmt;

use crate::progress::Progress;
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use image::{Rgb, RgbImage};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Canvas, Diversity, Objective, Parameterization, Transform, Warp, reached, standard};
use crate::bounds::{STEPS, above_zero, not_below_zero, within};
use crate::data::Preprocessing;
use crate::error::Result;
use crate::interrupt;
use crate::network::Network;
use crate::seed;

/// How images are optimized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Side of the image in pixels.
    pub size: usize,
    /// Number of updates.
    #[serde(default = "steps")]
    pub steps: usize,
    #[serde(default)]
    pub parameterization: Parameterization,
    /// Adam's step length.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// When ReLUs let a tenth of the gradient through where they are 0.
    #[serde(default)]
    pub redirect: Redirect,
    /// Weight of the Euclidean distance from grey.
    #[serde(default)]
    pub l2: f32,
    /// Weight of the total variation.
    #[serde(default)]
    pub total_variation: f32,
    /// What is done to the image at each step.
    #[serde(default = "standard")]
    pub transforms: Vec<Transform>,
    /// Makes the visualizations of one unit that are optimized together differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diversity: Option<Diversity>,
}

/// When ReLUs let some of the gradient through where they are 0, so that a unit that is off is found all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", expecting = "redirect is \"always\", \"never\" or { steps = NUMBER }")]
pub enum Redirect {
    /// At all steps, as lucent does and the pictures of Geirhos et al. (2024) were made.
    #[default]
    Always,
    Never,
    /// In the first steps. (lucid: 16, and all of the gradient, of images in which a whole layer has none.)
    #[serde(untagged)]
    First {
        steps: usize,
    },
}

impl Redirect {
    /// The share of the gradient that goes through (lucent's).
    const LEAK: f32 = 0.1;

    /// The share at a step, counted from 1.
    fn leak(self, step: usize) -> f32 {
        let redirected = match self {
            Self::Always => true,
            Self::Never => false,
            Self::First { steps } => step <= steps,
        };
        if redirected { Self::LEAK } else { 0.0 }
    }
}

/// The largest side of an image, in pixels.
const LARGEST: usize = 4096;

fn steps() -> usize {
    512
}

fn learning_rate() -> f64 {
    0.05
}

impl Settings {
    /// The defaults for an image of this size.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            steps: steps(),
            parameterization: Parameterization::default(),
            learning_rate: learning_rate(),
            redirect: Redirect::default(),
            l2: 0.0,
            total_variation: 0.0,
            transforms: standard(),
            diversity: None,
        }
    }

    /// Refuses what can't be optimized, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        within("size", self.size, 8..=LARGEST)?;
        within("steps", self.steps, 1..=STEPS)?;
        above_zero("learning_rate", self.learning_rate)?;
        not_below_zero("l2", self.l2.into())?;
        not_below_zero("total_variation", self.total_variation.into())?;
        if let Some(diversity) = &self.diversity {
            diversity.check()?;
        }
        for transform in &self.transforms {
            transform.check().map_err(|e| format!("transforms: {e}"))?;
        }
        let [least, most] = reached(&self.transforms, self.size);
        if most > LARGEST {
            return Err(format!(
                "transforms: together they make images of {most} pixels; at most {LARGEST} do"
            ));
        }
        if least < 1 {
            return Err(format!(
                "transforms: nothing may be left of {} pixels; jitter or scale less",
                self.size
            ));
        }
        Ok(())
    }
}

/// One visualization to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub objective: Objective,
    /// Tells visualizations of the same unit apart; decides the noise it starts from and its transforms.
    pub index: usize,
}

/// The state of a visualization after some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub step: usize,
    /// The unit's activation for this image, without transforms.
    pub activation: f32,
    pub image: RgbImage,
}

/// A finished visualization.
#[derive(Clone, Debug, PartialEq)]
pub struct Visualization {
    pub request: Request,
    /// The images and activations at steps 1, 2, 4, … and at the last one.
    pub trajectory: Vec<Snapshot>,
    /// Why it shows nothing of the unit, if it doesn't.
    pub fault: Option<Fault>,
}

/// Why a visualization shows nothing of its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The unit gave no gradient that moved the image: it is dead, or saturated.
    NoGradient,
    /// The unit's activation is no number.
    NotANumber,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoGradient => {
                "no gradient from the unit moved the image: the unit is dead, or saturated (a layer before a Softmax or \
                 Sigmoid is not), or the learning rate is far too small"
            }
            Self::NotANumber => {
                "the activation is no number: lower the learning rate, or look at [preprocessing] and the weights"
            }
        })
    }
}

/// What there is to say of visualizations that show nothing of their units, if there are any.
pub fn faults(of: &[Visualization]) -> Option<String> {
    let faulty = |v: &Visualization| v.fault.map(|fault| (v.request.objective.unit.to_string(), fault));
    let mut all: Vec<(String, Fault)> = of.iter().filter_map(faulty).collect();
    let (count, (_, fault)) = (all.len(), all.first()?.clone());
    all.dedup();
    let units: Vec<&str> = all.iter().take(8).map(|(unit, _)| unit.as_str()).collect();
    let more = if all.len() > units.len() { ", …" } else { "" };
    Some(format!(
        "{count} of {} visualizations show nothing of their units ({}{more}): {fault}",
        of.len(),
        units.join(", ")
    ))
}

impl Visualization {
    /// The finished picture.
    pub fn image(&self) -> &RgbImage {
        &self.last().image
    }

    /// The state after the last step.
    pub fn last(&self) -> &Snapshot {
        self.trajectory.last().expect("the last step is always kept")
    }
}

/// The steps at which a trajectory is looked at: powers of two, and the last.
pub fn milestones(steps: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&step| step < steps).collect();
    all.push(steps);
    all
}

/// Steps half an octave apart, and the last: a finer look at a trajectory.
pub fn half_octaves(steps: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..)
        .map(|i| 2f64.powf(f64::from(i) / 2.0).round() as usize)
        .take_while(|&step| step < steps)
        .collect();
    all.push(steps);
    all.dedup();
    all
}

/// The values that the optimizer moves, as a module.
#[derive(Module, Debug)]
struct Values {
    values: Param<Tensor<4>>,
}

/// Makes the requested visualizations, all of units of one layer, as one batch; a diversity term counts among those of
/// the same unit. `milestones` are the steps after
/// which the trajectories are looked at; the last of them should be the last step.
///
/// # Errors
/// Usage, if the network has no such layer or unit; an interruption.
pub fn visualize(
    network: &Network,
    preprocessing: &Preprocessing,
    settings: &Settings,
    requests: &[Request],
    milestones: &[usize],
    seed: u64,
    bar: &Progress,
) -> Result<Vec<Visualization>> {
    let Some(first) = requests.first() else {
        return Ok(vec![]);
    };
    for request in requests {
        request.objective.unit.check(network)?;
    }
    let mut layers = vec![first.objective.unit.layer.as_str()];
    let diversity = settings.diversity.as_ref().map(|d| d.among(requests));
    if let Some(diversity) = &settings.diversity {
        layers.push(diversity.layer.as_deref().unwrap_or(layers[0]));
        network.channels(layers[1])?;
    }
    let device = network.device().autodiff();
    let (network, objectives) = what_is_needed(network, requests, &layers)?;
    let mut network = network.train().freeze();
    let canvas = Canvas::new(settings.parameterization, settings.size, settings.size, &device);
    let mut rngs: Vec<ChaCha8Rng> = requests
        .iter()
        .map(|r| seed::rng(seed, &("visualization", r.objective.unit.to_string(), r.index)))
        .collect();
    let noise = canvas.noise(&mut rngs);
    let begun = plain(noise.clone());
    let mut values = Values { values: Param::from_tensor(noise) };
    let mut optimizer = crate::training::adam();
    let mut trajectories = vec![vec![]; requests.len()];
    for step in 1..=settings.steps {
        interrupt::check()?;
        let image = canvas.image(values.values.val());
        let common = seed::rng(seed, &("transform", step));
        let warps: Vec<Warp> = rngs
            .iter_mut()
            .map(|rng| Warp::draw(&settings.transforms, [settings.size; 2], &mut common.clone(), rng))
            .collect();
        let seen = Warp::apply(&warps, image.clone());
        network = network.leaking(settings.redirect.leak(step));
        let mut captured = network.capture(preprocessing.apply(seen), &layers)?.into_iter();
        let maps = captured.next().expect("the unit's layer was asked for");
        let mut loss = regularizer(settings, image);
        for (i, objective) in objectives.iter().enumerate() {
            loss = loss + objective.loss(maps.clone().narrow(0, i, 1));
        }
        if let (Some(among), Some(compared)) = (&diversity, captured.next()) {
            loss = loss.clone() + among.penalty(compared, loss);
        }
        let grads = GradientsParams::from_grads(loss.backward(), &values);
        values = optimizer.step(settings.learning_rate, values, grads);
        if milestones.contains(&step) {
            let images = pictures(canvas.image(values.values.val()));
            let activations = activations(&network, preprocessing, &objectives, &images, &device)?;
            for (i, (image, activation)) in images.into_iter().zip(activations).enumerate() {
                trajectories[i].push(Snapshot { step, activation, image });
            }
        }
        bar.advance(requests.len() as u64);
    }
    network = network.leaking(0.0);
    let ended = plain(values.values.val());
    let each = begun.len() / requests.len();
    let mut stuck: Vec<bool> = begun.chunks(each).zip(ended.chunks(each)).map(|(a, b)| a == b).collect();
    if driven_by_more(settings) {
        // The image moves whatever the unit does: did the unit's own gradient ever move it?
        let shape = values.values.val().dims();
        stuck.fill(true);
        for at in [begun, ended] {
            let at = Tensor::<4>::from_data(TensorData::new(at, shape), &device).require_grad();
            let seen = preprocessing.apply(canvas.image(at.clone()));
            let maps = network.capture(seen, &layers[..1])?.remove(0);
            let losses = objectives.iter().enumerate().map(|(i, o)| o.loss(maps.clone().narrow(0, i, 1)));
            let loss = losses.reduce(|a, b| a + b).expect("there is a request");
            if let Some(gradient) = at.grad(&loss.backward()).map(plain) {
                for (stuck, own) in stuck.iter_mut().zip(gradient.chunks(each)) {
                    *stuck &= own.iter().all(|g| *g == 0.0);
                }
            }
        }
    }
    Ok(requests
        .iter()
        .zip(trajectories)
        .zip(stuck)
        .map(|((request, trajectory), stuck): ((&Request, Vec<Snapshot>), bool)| {
            let number = trajectory.last().is_none_or(|s| s.activation.is_finite());
            let fault = match (number, stuck) {
                (false, _) => Some(Fault::NotANumber),
                (true, true) => Some(Fault::NoGradient),
                (true, false) => None,
            };
            Visualization { request: request.clone(), trajectory, fault }
        })
        .collect())
}

/// Whether something beside the unit moves the image.
fn driven_by_more(settings: &Settings) -> bool {
    settings.redirect != Redirect::Never
        || settings.l2 > 0.0
        || settings.total_variation > 0.0
        || settings.diversity.is_some()
}

/// A tensor's values.
fn plain(tensor: Tensor<4>) -> Vec<f32> {
    tensor.without_autodiff().into_data().try_to_vec().expect("images are 32-bit floats")
}

/// The part of a network that the requested units need, and what is maximized in it.
fn what_is_needed(
    network: &Network,
    requests: &[Request],
    layers: &[&str],
) -> Result<(Network, Vec<Objective>)> {
    let mut objectives: Vec<Objective> = requests.iter().map(|r| r.objective.clone()).collect();
    let [layer] = layers else {
        // Diversity is a matter of all channels.
        return Ok((network.clone(), objectives));
    };
    let channels = objectives.iter().map(|objective| objective.unit.channel).collect();
    let (network, kept) = network.narrowed(layer, &channels)?;
    for Objective { unit, .. } in &mut objectives {
        unit.channel = kept.binary_search(&unit.channel).expect("a channel that was asked for");
    }
    Ok((network, objectives))
}

/// The activation of each unit for its picture.
fn activations(
    network: &Network,
    preprocessing: &Preprocessing,
    objectives: &[Objective],
    images: &[RgbImage],
    device: &Device,
) -> Result<Vec<f32>> {
    let layer = [&objectives[0].unit.layer];
    let input = preprocessing.apply(Preprocessing::tensor(images, device));
    let maps = network.capture(input, &layer)?.remove(0);
    Ok(objectives
        .iter()
        .enumerate()
        .map(|(i, objective)| objective.activation(maps.clone().narrow(0, i, 1)).into_scalar())
        .collect())
}

/// Distance from grey and total variation, weighted, summed over the batch.
fn regularizer(settings: &Settings, image: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = image.dims();
    let mut sum = Tensor::zeros([1], &image.device());
    if settings.l2 > 0.0 {
        let square = (image.clone() - 0.5).powi_scalar(2).sum_dims(&[1, 2, 3]);
        sum = sum + (square + 1e-8).sqrt().sum() * settings.l2;
    }
    if settings.total_variation > 0.0 {
        let across = image.clone().narrow(3, 1, w - 1) - image.clone().narrow(3, 0, w - 1);
        let down = image.clone().narrow(2, 1, h - 1) - image.narrow(2, 0, h - 1);
        sum = sum + (across.abs().sum() + down.abs().sum()) * settings.total_variation;
    }
    sum
}

/// Images `[N, 3, H, W]` in 0..1 as 8-bit pictures.
fn pictures(images: Tensor<4>) -> Vec<RgbImage> {
    let [_, _, h, w] = images.dims();
    let values: Vec<f32> =
        images.without_autodiff().into_data().try_to_vec().expect("images are 32-bit floats");
    values
        .chunks(3 * h * w)
        .map(|image| {
            RgbImage::from_fn(w as u32, h as u32, |x, y| {
                let at = y as usize * w + x as usize;
                Rgb(std::array::from_fn(|c| (image[c * h * w + at] * 255.0).round() as u8))
            })
        })
        .collect()
}
