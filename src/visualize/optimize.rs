//! Activation maximization.

use std::fmt;

use crate::progress::Progress;
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use image::{Rgb, RgbImage};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::diversity::Among;
use super::{
    AffineTransform, Diversity, LayerMap, Parameterization, Terms, Transform, UnitObjective, Warp, reached,
    standard,
};
use crate::bounds::{STEPS, above_zero, not_below_zero, within};
use crate::data::{Preprocessing, Size};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::network::{Network, Rows};
use crate::seed;

/// How images are optimized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Size of the image: a side in pixels, or width and height.
    pub size: Size,
    /// Number of updates.
    #[serde(default = "steps")]
    pub steps: usize,
    /// How the image is represented; by default by its Fourier spectrum.
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
    /// At no step.
    Never,
    /// In the first steps. (lucid: 16, and all of the gradient, of images in which a whole layer has none.)
    #[serde(untagged)]
    First {
        /// How many steps these are.
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
    pub fn new(size: impl Into<Size>) -> Self {
        Self {
            size: size.into(),
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
        self.size.check("size", 8, LARGEST)?;
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
        for side in self.size.dims() {
            let [least, most] = reached(&self.transforms, side);
            if most > LARGEST {
                return Err(format!(
                    "transforms: together they make images of {most} pixels; at most {LARGEST} do"
                ));
            }
            if least < 1 {
                return Err(format!(
                    "transforms: nothing may be left of {side} pixels; jitter or scale less"
                ));
            }
        }
        Ok(())
    }
}

/// One visualization to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What is maximized.
    pub objective: UnitObjective,
    /// Tells visualizations of the same unit apart; decides the noise it starts from and its transforms.
    pub index: usize,
}

/// The state of a visualization after some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// After how many updates.
    pub step: usize,
    /// The unit's activation for this image, without transforms.
    pub activation: f32,
    /// The image after that step.
    pub image: RgbImage,
}

/// A finished visualization.
#[derive(Clone, Debug, PartialEq)]
pub struct Visualization {
    /// What was asked for.
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

/// Makes the requested visualizations, those of units of one layer as one batch; a diversity term counts among those of the same
/// unit. `milestones` are the steps after which the trajectories are looked at; the last of them should be the last step.
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
        let UnitObjective { unit, focus, .. } = &request.objective;
        unit.check(network)?;
        focus.on(network, &unit.layer)?;
    }
    let layer = |request: &Request| request.objective.unit.layer.clone();
    if requests.iter().any(|request| layer(request) != layer(first)) {
        let mut made: Vec<Option<Visualization>> = requests.iter().map(|_| None).collect();
        for place in 0..requests.len() {
            if made[place].is_some() {
                continue;
            }
            let alike: Vec<usize> =
                (place..requests.len()).filter(|&i| layer(&requests[i]) == layer(&requests[place])).collect();
            let batch: Vec<Request> = alike.iter().map(|&i| requests[i].clone()).collect();
            let of_layer = visualize(network, preprocessing, settings, &batch, milestones, seed, bar)?;
            alike.into_iter().zip(of_layer).for_each(|(i, one)| made[i] = Some(one));
        }
        return Ok(made.into_iter().flatten().collect());
    }
    let mut layers = vec![first.objective.unit.layer.as_str()];
    let diversity = settings.diversity.as_ref().map(|d| d.among(requests));
    if let Some(diversity) = &settings.diversity {
        layers.push(diversity.layer.as_deref().unwrap_or(layers[0]));
        network.channels(layers[1])?;
    }
    let (network, objectives) = what_is_needed(network, requests, &layers)?;
    let rngs = requests
        .iter()
        .map(|r| seed::rng(seed, &("visualization", r.objective.unit.to_string(), r.index)))
        .collect();
    let batch = Batch {
        network,
        layers: layers.iter().map(|layer| layer.to_string()).collect(),
        objectives: objectives.into_iter().map(Terms::from).collect(),
        diversity,
    };
    let made = batch.ascend(preprocessing, settings, rngs, milestones, seed, bar)?;
    let of = |(request, (trajectory, fault)): (&Request, Ascent)| Visualization {
        request: request.clone(),
        trajectory,
        fault,
    };
    Ok(requests.iter().zip(made).map(of).collect())
}

/// Makes an image for an objective of whatever kind; `name` decides, with the seed, the noise it starts from and its transforms.
/// `milestones` are the steps after which the trajectory is looked at. Gives it, and why the image shows nothing, if it doesn't.
///
/// # Errors
/// Usage, if the network has no such layer, or the settings ask for diversity, which takes several images; an interruption.
#[expect(clippy::too_many_arguments, reason = "as many as a visualization has")]
pub fn maximize(
    network: &Network,
    preprocessing: &Preprocessing,
    settings: &Settings,
    objective: &Terms,
    name: &str,
    milestones: &[usize],
    seed: u64,
    bar: &Progress,
) -> Result<(Vec<Snapshot>, Option<Fault>)> {
    if settings.diversity.is_some() {
        return Err(Error::usage("diversity is among several images of a unit; an objective has one"));
    }
    let batch = Batch {
        network: network.clone(),
        layers: objective.all_layers(),
        objectives: vec![objective.clone()],
        diversity: None,
    };
    let rngs = vec![seed::rng(seed, &("maximization", name))];
    let mut made = batch.ascend(preprocessing, settings, rngs, milestones, seed, bar)?;
    Ok(made.remove(0))
}

/// Images that are optimized together, each for an objective of its own over the same layers.
struct Batch {
    network: Network,
    layers: Vec<String>,
    objectives: Vec<Terms>,
    /// Over the layer after those of the objectives.
    diversity: Option<Among>,
}

/// An image's trajectory, and why it shows nothing, if it doesn't.
type Ascent = (Vec<Snapshot>, Option<Fault>);

impl Batch {
    /// The maps of one image.
    fn maps(captured: &[Tensor<4>], rows: &[Rows], image: usize) -> Vec<LayerMap> {
        let of_image =
            |(maps, &rows): (&Tensor<4>, &Rows)| LayerMap { values: maps.clone().narrow(0, image, 1), rows };
        captured.iter().zip(rows).map(of_image).collect()
    }

    fn ascend(
        self,
        preprocessing: &Preprocessing,
        settings: &Settings,
        mut rngs: Vec<ChaCha8Rng>,
        milestones: &[usize],
        seed: u64,
        bar: &Progress,
    ) -> Result<Vec<Ascent>> {
        let Self { network, layers, objectives, diversity } = self;
        let (own, n) = (objectives[0].all_layers().len(), objectives.len());
        let rows = layers[..own].iter().map(|layer| network.rows(layer)).collect::<Result<Vec<Rows>>>()?;
        let device = network.device().autodiff();
        let mut network = network.train().freeze();
        let canvas =
            settings.parameterization.canvas(settings.size.dims(), preprocessing.channel_order, &device);
        let noise = canvas.noise(&mut rngs);
        let begun = plain(noise.clone());
        let mut values = Values { values: Param::from_tensor(noise) };
        let mut optimizer = crate::training::adam();
        let mut trajectories = vec![vec![]; n];
        for step in 1..=settings.steps {
            interrupt::check()?;
            let image = canvas.image(values.values.val());
            let common = seed::rng(seed, &("transform", step));
            let warps: Vec<Warp> = rngs
                .iter_mut()
                .map(|rng| Warp::draw(&settings.transforms, settings.size.dims(), &mut common.clone(), rng))
                .collect();
            let seen = Warp::apply(&warps, image.clone());
            network = network.leaking(settings.redirect.leak(step));
            let mut captured = network.capture(preprocessing.apply(seen), &layers)?;
            let compared = captured.split_off(own).pop();
            let mut loss = regularizer(settings, image);
            for (i, objective) in objectives.iter().enumerate() {
                loss = loss + -objective.value(&Self::maps(&captured, &rows, i));
            }
            drop(captured);
            if let (Some(among), Some(compared)) = (&diversity, compared) {
                loss = loss.clone() + among.penalty(compared, loss);
            }
            let grads = GradientsParams::from_grads(loss.backward(), &values);
            values = optimizer.step(settings.learning_rate, values, grads);
            if milestones.contains(&step) {
                let images = pictures(canvas.image(values.values.val()));
                let input = preprocessing.apply(Preprocessing::tensor(&images, &device));
                let maps = network.capture(input, &layers[..own])?;
                for (i, (image, objective)) in images.into_iter().zip(&objectives).enumerate() {
                    let activation = objective.activation(&Self::maps(&maps, &rows, i)).into_scalar();
                    trajectories[i].push(Snapshot { step, activation, image });
                }
            }
            bar.advance(n as u64);
        }
        network = network.leaking(0.0);
        let ended = plain(values.values.val());
        let each = begun.len() / n;
        let mut stuck: Vec<bool> = begun.chunks(each).zip(ended.chunks(each)).map(|(a, b)| a == b).collect();
        if driven_by_more(settings) {
            // The image moves whatever the objective does: did its own gradient ever move it?
            let shape = values.values.val().dims();
            stuck.fill(true);
            for at in [begun, ended] {
                let at = Tensor::<4>::from_data(TensorData::new(at, shape), &device).require_grad();
                let seen = preprocessing.apply(canvas.image(at.clone()));
                let maps = network.capture(seen, &layers[..own])?;
                let losses =
                    objectives.iter().enumerate().map(|(i, o)| -o.value(&Self::maps(&maps, &rows, i)));
                let loss = losses.reduce(|a, b| a + b).expect("there is an objective");
                if let Some(gradient) = at.grad(&loss.backward()).map(plain) {
                    for (stuck, own) in stuck.iter_mut().zip(gradient.chunks(each)) {
                        *stuck &= own.iter().all(|g| *g == 0.0);
                    }
                }
            }
        }
        let fault = |trajectory: &[Snapshot], stuck: bool| {
            let number = trajectory.last().is_none_or(|s| s.activation.is_finite());
            match (number, stuck) {
                (false, _) => Some(Fault::NotANumber),
                (true, true) => Some(Fault::NoGradient),
                (true, false) => None,
            }
        };
        let with_fault = |(trajectory, stuck): (Vec<Snapshot>, bool)| {
            let fault = fault(&trajectory, stuck);
            (trajectory, fault)
        };
        Ok(trajectories.into_iter().zip(stuck).map(with_fault).collect())
    }
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
) -> Result<(Network, Vec<UnitObjective>)> {
    let mut objectives: Vec<UnitObjective> = requests.iter().map(|r| r.objective.clone()).collect();
    let [layer] = layers else {
        // Diversity is a matter of all channels.
        return Ok((network.clone(), objectives));
    };
    let channels = objectives.iter().map(|objective| objective.unit.channel).collect();
    let (network, kept) = network.narrowed(layer, &channels)?;
    for UnitObjective { unit, .. } in &mut objectives {
        unit.channel = kept.binary_search(&unit.channel).expect("a channel that was asked for");
    }
    Ok((network, objectives))
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::network::zoo;

    #[test]
    fn units_of_several_layers_are_pictured_in_their_own() {
        let network =
            Network::new(zoo::small_cnn(10), &mut seed::rng(0, &"weights"), &Device::default()).unwrap();
        let request = |unit: &str| Request { objective: UnitObjective::of(unit.parse().unwrap()), index: 0 };
        let all = ["conv2:1", "conv4:2", "conv2:0"].map(request);
        let settings = Settings { steps: 3, ..Settings::new(32) };
        let preprocessing = toml::from_str("").unwrap();
        let bar = Progress::hidden();
        let made = |requests: &[Request]| {
            visualize(&network, &preprocessing, &settings, requests, &[3], 0, &bar).unwrap()
        };
        let together = made(&all);
        let pair = made(&[all[0].clone(), all[2].clone()]);
        assert_eq!([&together[0], &together[2]], [&pair[0], &pair[1]]);
        assert_eq!(together[1], made(&all[1..2])[0]);
    }
}
