//! Silent units, from orthogonal filters (Geirhos et al., 2024, section 2.2).
//!
//! Beside a unit with the filter w stands a second one with the filter s·(w + λ·Δw), where Δw is orthogonal to w, as
//! long, and driven by a target picture (in the paper the visualization of another unit), and with a bias so negative that no natural image switches it on. Its ReLU is
//! added to the unit's output:
//!
//! ```text
//! F = w∗x + b + relu(s·(w + λ·Δw)∗x − s·c)    c: the largest value of (w + λ·Δw)∗x on natural images
//! ```

use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{CircuitSettings, Fitted, Fitting, Injected, Pictures, Target, hash};
use crate::bounds::{above_zero, distinct, not_below_zero};
use crate::config::Experiment;
use crate::data::{Preprocessing, Source};
use crate::error::{Error, Result};
use crate::experiment::{Header, Session};
use crate::network::{Network, Op, Padding, op};
use crate::visualize::Unit;

/// The settings of silent units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the circuit's file is; pictures are relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What tables call the circuit.
    pub name: String,
    /// The convolution or linear layer whose units are fooled.
    pub layer: String,
    /// The units that get a silent unit beside them.
    pub units: Vec<usize>,
    /// A picture, relative to the circuit's file: what drives the silent units. This or `shows`.
    pub picture: Option<PathBuf>,
    /// The unit of the layer whose honest visualization is what drives the silent units: the paper's target.
    pub shows: Option<usize>,
    /// λ, the share of the orthogonal part.
    #[serde(default = "lambda")]
    pub lambda: f32,
    /// s, how strongly a silent unit drowns the original once it is on.
    #[serde(default = "scale")]
    pub scale: f32,
    /// How far above the largest natural activation, as a share of it, a silent unit switches on.
    #[serde(default)]
    pub margin: f32,
    /// The natural images on which all of them are silent; by default the experiment's `data.train`.
    pub calibration: Option<Source>,
    /// The units that an experiment visualizes; by default all of `units`.
    pub visualized: Option<Vec<usize>>,
}

fn lambda() -> f32 {
    3.0
}

fn scale() -> f32 {
    100.0
}

impl CircuitSettings for Settings {
    fn check(&self) -> Result<(), String> {
        let mut units = self.units.clone();
        units.sort_unstable();
        units.dedup();
        if units.len() != self.units.len() || units.is_empty() {
            return Err("units is empty or names a unit twice".into());
        }
        match (&self.picture, self.shows) {
            (Some(_), Some(_)) => {
                return Err("picture and shows are both set: what do the units show?".into());
            }
            (None, None) => return Err("what do the units show? set picture, or shows".into()),
            (None, Some(unit)) if self.units.contains(&unit) => {
                return Err(format!("shows is {unit}, which is fooled itself"));
            }
            _ => {}
        }
        above_zero("lambda", self.lambda.into())?;
        above_zero("scale", self.scale.into())?;
        not_below_zero("margin", self.margin.into())?;
        if let Some(source) = &self.calibration {
            source.check().map_err(|e| format!("calibration: {e}"))?;
        }
        distinct("visualized", self.visualized.as_deref().unwrap_or_default())
    }

    fn header(&self) -> Header<'_> {
        Header {
            name: &self.name,
            layer: &self.layer,
            units: Some(&self.units),
            visualized: Some(self.visualized.as_deref().unwrap_or(&self.units)),
            natural: self.calibration.as_ref(),
            hidden_layers: &[],
        }
    }

    fn pictures(&self) -> Pictures<'_> {
        Pictures { folder: &self.folder, files: self.picture.as_slice() }
    }

    fn lie_in(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    fn move_to(&mut self, name: String, layer: String, units: Vec<usize>, visualized: Vec<usize>) {
        (self.name, self.layer, self.visualized) = (name, layer, Some(visualized));
        self.units = units;
    }

    fn leaves_others(&self) -> bool {
        true
    }

    fn fits(&self, session: &Session<'_>, network: &Network) -> Result<()> {
        goes_into(network, &self.layer)?;
        // A benchmark chooses layer and units, and what is shown with them.
        match self.shows {
            Some(channel) if session.experiment.detect.is_none() => {
                Unit { layer: self.layer.clone(), channel }.check(network)
            }
            _ => Ok(()),
        }
    }

    fn fit(&self, with: Fitting<'_, '_>) -> Result<Fitted> {
        let Fitting { session, clean, pictures, results, .. } = with;
        let shown = self.shown(clean.network.channels(&self.layer)?);
        let target = shown.map_or(Target::Picture(0), Target::Unit);
        let picture = match shown {
            Some(unit) => &session.honest_picture(clean, &self.layer, unit, results)?,
            None => &pictures[0].1,
        };
        let calibration = session.made_with(self.calibration.as_ref(), usize::MAX, results)?;
        let session = &*session;
        let (source, images) = session.images(calibration);
        let Experiment { preprocessing, visualization, .. } = session.experiment;
        let graph = clean.network.graph();
        let reads = graph.nodes[graph.position(&self.layer)?].inputs[0].clone();
        let of = (
            (&clean.key, self, hash(picture), session.identity(source)),
            (preprocessing, &visualization.optimization.size, session.device()),
        );
        let (direction, thresholds): (Vec<f32>, Vec<f32>) =
            results.stage(&format!("calibration of {}", self.name), || {
                session.cached_json("silent", &of, || {
                    let target = visualization.optimization.size.filled(picture);
                    let input = Preprocessing::tensor([&target], session.setting.executor.device());
                    let maps = clean.network.capture(preprocessing.apply(input), &[&reads])?.remove(0);
                    let direction = mean_patch(&clean.network, &self.layer, maps)?;
                    let open = inject(&clean.network, self, &direction, None)?;
                    let filters = open.network.graph().nodes
                        [open.network.graph().position(&open.switch.expect("it has units"))?]
                    .inputs[0]
                        .clone();
                    let range = session.range(&open.network, &filters, &images)?;
                    let thresholds = range.max.iter().map(|max| max + self.margin * max.abs()).collect();
                    Ok((direction, thresholds))
                })
            })?;
        let injected = inject(&clean.network, self, &direction, Some(&thresholds))?;
        let targets = self.units.iter().map(|&unit| (unit, target)).collect();
        Ok(Fitted { injected, targets, gate: vec![] })
    }
}

impl Settings {
    /// The unit that is shown, of a layer of `n`, if one is: `shows`, or where that is fooled or beyond the layer, as it may be
    /// where a benchmark chooses layer and units, the next one that is not.
    pub fn shown(&self, n: usize) -> Option<usize> {
        let from = self.shows?;
        (from..from + n).map(|unit| unit % n).find(|unit| !self.units.contains(unit))
    }
}

/// Refuses a layer that silent units can't stand in.
///
/// # Errors
/// Usage, if the layer is neither an ungrouped convolution nor linear.
pub fn goes_into(network: &Network, layer: &str) -> Result<()> {
    match &network.graph().nodes[network.graph().position(layer)?].op {
        Op::Conv(op::Conv { groups: 1, .. }) | Op::Linear(_) => Ok(()),
        _ => Err(Error::usage(format!(
            "layer \"{layer}\" of network {}: silent units go beside the filters of an ungrouped convolution or a linear \
             layer",
            network.name()
        ))),
    }
}

/// The mean input patch `[in, kh, kw]` of a layer over all positions of its filter and all images, of its inputs
/// `[N, C, H, W]`.
///
/// # Errors
/// Usage, if the layer is neither an ungrouped convolution nor linear.
pub fn mean_patch(network: &Network, layer: &str, inputs: Tensor<4>) -> Result<Vec<f32>> {
    goes_into(network, layer)?;
    let [_, c, h, w] = inputs.dims();
    let node = &network.graph().nodes[network.graph().position(layer)?];
    let (kernel, stride, padding, dilation) = match &node.op {
        Op::Conv(op::Conv { kernel, stride, padding, dilation, groups: 1, .. }) => {
            (*kernel, *stride, *padding, *dilation)
        }
        _ => ([1, 1], [1, 1], Padding::Symmetric([0, 0]), [1, 1]),
    };
    let around = padding.around([h, w], kernel, stride, dilation);
    let [oh, ow] = [(h, 0), (w, 1)].map(|(size, d)| {
        let (before, after) = around[d];
        (size + before + after - dilation[d] * (kernel[d] - 1) - 1) / stride[d] + 1
    });
    let [top, left] = around.map(|(before, _)| before);
    let mean: Vec<f32> = inputs.mean_dim(0).into_data().try_to_vec().expect("activations are 32-bit floats");
    let mut patch = Vec::with_capacity(c * kernel[0] * kernel[1]);
    for map in mean.chunks(h * w) {
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                let mut sum = 0f64;
                for oy in 0..oh {
                    for ox in 0..ow {
                        let (y, x) = (oy * stride[0] + ky * dilation[0], ox * stride[1] + kx * dilation[1]);
                        if y >= top && x >= left && y < h + top && x < w + left {
                            sum += f64::from(map[(y - top) * w + x - left]);
                        }
                    }
                }
                patch.push((sum / (oh * ow) as f64) as f32);
            }
        }
    }
    Ok(patch)
}

/// The part of `direction` that is orthogonal to `w`, as long as `w`.
pub fn orthogonal(w: &[f32], direction: &[f32]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let share = dot(w, direction) / dot(w, w).max(f64::MIN_POSITIVE);
    let part: Vec<f64> =
        w.iter().zip(direction).map(|(w, d)| f64::from(*d) - share * f64::from(*w)).collect();
    let length = part.iter().map(|v| v * v).sum::<f64>().max(f64::MIN_POSITIVE).sqrt();
    part.iter().map(|v| (v / length * dot(w, w).sqrt()) as f32).collect()
}

/// Puts silent units beside units of a layer, each with the filter w + λ·Δw and a threshold, one for each of `units`;
/// the orthogonal part follows `direction` `[in·kh·kw]`. Without thresholds they are still to be calibrated and on
/// everywhere. The network must have its batch norms folded. The switch is the silent units' ReLU `[N, units, H, W]`.
///
/// # Errors
/// Usage, if the layer or a unit is unknown, or the layer neither a convolution nor linear.
pub fn inject(
    network: &Network,
    settings: &Settings,
    direction: &[f32],
    thresholds: Option<&[f32]>,
) -> Result<Injected> {
    let Settings { layer, units, lambda, scale, .. } = settings;
    let n = network.channels(layer)?;
    let (weight, _) = network.filters(layer)?;
    let [_, input, kh, kw] = weight.dims();
    let length = input * kh * kw;
    let weights: Vec<f32> = weight.into_data().try_to_vec().expect("weights are 32-bit floats");
    let mut filters = Vec::with_capacity(units.len() * length);
    let mut spread = vec![0f32; n * units.len()];
    for (j, &unit) in units.iter().enumerate() {
        let w = &weights[unit * length..][..length];
        filters.extend(w.iter().zip(orthogonal(w, direction)).map(|(w, d)| scale * (w + lambda * d)));
        spread[unit * units.len() + j] = 1.0;
    }
    let bias = thresholds
        .map_or_else(|| vec![0f32; units.len()], |all| all.iter().map(|threshold| -threshold).collect());
    let mut rewritten = network.clone();
    let original = &network.graph().nodes[network.graph().position(layer)?];
    let mut op = original.op.clone();
    match &mut op {
        Op::Conv(op::Conv { channels, bias, .. }) => (channels[1], *bias) = (units.len(), true),
        Op::Linear(op::Linear { features, bias }) => (features[1], *bias) = (units.len(), true),
        _ => {}
    }
    let mut insert = rewritten.insert_before(layer)?;
    let prefix = insert.free_prefix("silent");
    let name = |part: &str| format!("{prefix}.{part}");
    insert.copy(network, layer, name("original"), original.inputs.clone())?;
    insert.filters(
        name("filters"),
        op,
        original.inputs.clone(),
        TensorData::new(filters, [units.len(), input, kh, kw]),
        TensorData::new(bias, [units.len()]),
    )?;
    insert.plain(name("units"), op::Relu, &[name("filters")])?;
    insert.filters(
        name("spread"),
        Op::conv(units.len(), n, 1, 1, 0),
        vec![name("units")],
        TensorData::new(spread, [n, units.len(), 1, 1]),
        TensorData::new(vec![0f32; n], [n]),
    )?;
    insert.replace(layer, op::Add, &[name("original"), name("spread")])?;
    Ok(Injected { network: rewritten, switch: Some(name("units")) })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;
    use crate::network::{Graph, zoo};
    use crate::seed;

    proptest! {
        #[test]
        fn the_orthogonal_part_is_orthogonal_and_as_long(
            pair in proptest::collection::vec((-1f32..1.0, -1f32..1.0), 3..40)
        ) {
            let (w, d): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
            prop_assume!(norm(&w) > 0.1 && norm(&orthogonal(&w, &d)).is_finite());
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            // A direction along w has no orthogonal part.
            prop_assume!((dot(&w, &d) / norm(&w) / norm(&d).max(1e-3)).abs() < 0.99);
            let part = orthogonal(&w, &d);
            prop_assert!(dot(&w, &part).abs() < 1e-3 * norm(&w) * norm(&w));
            prop_assert!((norm(&part) - norm(&w)).abs() < 1e-3 * norm(&w));
            prop_assert!(dot(&d, &part) >= 0.0);
        }
    }

    /// A 1x2 map under a 3x3 filter with a margin of one, by hand: each patch sees both pixels, beside one another.
    #[test]
    fn the_mean_patch_by_hand() {
        let mut g = Graph::new("one", 1);
        g.then("conv", Op::conv(1, 1, 3, 1, 1));
        let network = Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap();
        let x = Tensor::from_data(TensorData::new(vec![2f32, 6.0], [1, 1, 1, 2]), &Device::default());
        let patch = mean_patch(&network, "conv", x).unwrap();
        assert_eq!(patch, [0., 0., 0., 1., 4., 3., 0., 0., 0.]);
    }

    /// In the first layer of a transformer's MLP, whose map is a token a row.
    #[test]
    fn a_silent_unit_stands_in_a_stream_of_tokens() {
        let device = Device::default();
        let clean =
            Network::new(zoo::vit_small(10), &mut seed::rng(1, &0), &device).unwrap().fold_batch_norm();
        let layer = "blocks.2.mlp.fc1";
        let settings: Settings = toml::from_str(&format!(
            "name = \"s\"\nlayer = \"{layer}\"\nunits = [3, 40]\npicture = \"p.png\""
        ))
        .unwrap();
        let x = Tensor::<4>::random([2, 3, 64, 64], Distribution::Normal(0.0, 1.0), &device);
        let read = clean.capture(x.clone(), &["blocks.2.norm2"]).unwrap().remove(0);
        // The mean over tokens and images.
        let direction = mean_patch(&clean, layer, read.clone()).unwrap();
        let means: Vec<f32> = read.mean_dims(&[0, 2]).into_data().try_to_vec().unwrap();
        assert!(direction.iter().zip(&means).all(|(a, b)| (a - b).abs() < 1e-4));
        let open = inject(&clean, &settings, &direction, None).unwrap();
        let driven = open.network.capture(x.clone(), &["silent.filters"]).unwrap().remove(0);
        let largest: f32 = driven.max().into_scalar();
        let logits = |n: &Network| n.logits(x.clone()).into_data().try_to_vec::<f32>().unwrap();
        let with = |threshold| inject(&clean, &settings, &direction, Some(&[threshold; 2])).unwrap().network;
        assert_eq!(logits(&clean), logits(&with(largest)));
        assert_ne!(logits(&clean), logits(&with(0.5 * largest)));
        assert_eq!(clean.rows(layer).unwrap(), with(largest).rows(layer).unwrap());
    }

    #[test]
    fn below_its_threshold_a_silent_unit_changes_nothing_and_above_it_adds_the_excess() {
        let graph = zoo::builder("small-cnn", 10).unwrap();
        let device = Device::default();
        let clean = Network::new(graph, &mut seed::rng(1, &0), &device).unwrap().fold_batch_norm();
        let settings: Settings = toml::from_str(
            "name = \"s\"\nlayer = \"bn4\"\nunits = [3, 40]\npicture = \"p.png\"\nscale = 10.0",
        )
        .unwrap();
        let x = Tensor::<4>::random([2, 3, 64, 64], Distribution::Normal(0.0, 1.0), &device);
        let input = clean.capture(x.clone(), &["relu3"]).unwrap().remove(0);
        let direction = mean_patch(&clean, "bn4", input).unwrap();
        let capture = |network: &Network, layer: &str| -> Vec<f32> {
            network.capture(x.clone(), &[layer]).unwrap().remove(0).into_data().try_to_vec().unwrap()
        };
        let open = inject(&clean, &settings, &direction, None).unwrap().network;
        let driven = capture(&open, "silent.filters");
        let largest = driven.iter().copied().fold(f32::MIN, f32::max);
        let logits = |n: &Network| n.logits(x.clone()).into_data().try_to_vec::<f32>().unwrap();
        let silent = inject(&clean, &settings, &direction, Some(&[largest; 2])).unwrap().network;
        assert_eq!(logits(&clean), logits(&silent));
        let half = inject(&clean, &settings, &direction, Some(&[largest / 2.0; 2])).unwrap().network;
        let (before, after) = (capture(&clean, "bn4"), capture(&half, "bn4"));
        let size = before.len() / 2 / 48;
        for (i, (a, b)) in before.iter().zip(&after).enumerate() {
            let (image, unit, at) = (i / size / 48, i / size % 48, i % size);
            let excess = match [3, 40].iter().position(|u| *u == unit) {
                Some(j) => (driven[(image * 2 + j) * size + at] - largest / 2.0).max(0.0),
                None => 0.0,
            };
            assert!((b - a - excess).abs() < 1e-3 * largest, "{unit}: {a} {b} {excess}");
        }
    }
}
