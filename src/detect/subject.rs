//! What detectors look at: units of one layer of a network, with natural images and the units' visualizations.

use burn::tensor::Tensor;
use image::RgbImage;

use crate::data::Preprocessing;
use crate::error::Result;
use crate::executor::Executor;
use crate::network::{Network, Op, op};
use crate::path::{self, Metric, Reduction};
use crate::progress::{self, Progress};
use crate::statistics::mean;
use crate::visualize::Focus;

/// A unit's visualizations.
#[derive(Clone, Debug)]
pub struct Pictured {
    /// The unit's channel.
    pub channel: usize,
    /// Its visualizations, or the pictures that a control sets in their place.
    pub pictures: Vec<RgbImage>,
    /// The activation that each reaches.
    pub reached: Vec<f32>,
}

/// For each layer the channel means of each image.
type Paths = Vec<Vec<Vec<f32>>>;

/// Units of one layer, and what natural images and the units' visualizations do in the network.
#[derive(Clone)]
pub struct Subject<'a> {
    /// The network that is looked at.
    pub network: &'a Network,
    /// How pictures become what the network takes.
    pub preprocessing: &'a Preprocessing,
    /// What runs images through the network.
    pub executor: &'a Executor,
    /// Which part of a unit's map counts as its activation.
    pub focus: Focus,
    /// The layer of the units.
    pub layer: &'a str,
    /// The units, with their visualizations.
    pub units: &'a [Pictured],
    /// The natural images that detectors are given.
    pub natural: &'a [&'a RgbImage],
    /// The run's.
    pub seed: u64,
    /// The activation functions on the way to the units.
    pub nonlinear: Vec<String>,
    /// Channel means of each of these layers for each natural image.
    pub natural_paths: Paths,
    /// The same for each visualization, unit by unit.
    pub picture_paths: Paths,
    /// Channel means of what the units' filters read, for each natural image.
    pub natural_features: Vec<Vec<f32>>,
    /// Mean and deviation of each of these over natural images.
    spread: Vec<(f32, f32)>,
    /// The same features for each visualization, unit by unit.
    pub picture_features: Vec<Vec<f32>>,
    /// The activation of each unit for each natural image.
    pub activations: Vec<Vec<f32>>,
}

impl<'a> Subject<'a> {
    /// Runs natural images and visualizations through the network, once.
    ///
    /// # Errors
    /// Usage, if there is no such layer; an interruption.
    #[expect(clippy::too_many_arguments, reason = "what is looked at, and what with")]
    pub fn observe(
        network: &'a Network,
        preprocessing: &'a Preprocessing,
        executor: &'a Executor,
        focus: Focus,
        layer: &'a str,
        units: &'a [Pictured],
        natural: &'a [&'a RgbImage],
        seed: u64,
    ) -> Result<Self> {
        let nonlinear = nonlinear(network, layer)?;
        let reads = network.reads(layer)?;
        // With the input of the network, whose channel means are its colours, where no layer stands before.
        let layers: Vec<String> = nonlinear.iter().cloned().chain([reads]).collect();
        let capture = |images: &[&RgbImage], bar: &Progress| -> Result<(Paths, Vec<Vec<f32>>)> {
            let mut all = path::capture(
                network,
                preprocessing,
                images,
                &layers,
                Reduction::ChannelMean,
                executor,
                bar,
            )?;
            let features = all.pop().expect("there is at least one layer");
            Ok((all, features))
        };
        let bar = progress::bar(&format!("paths to {layer} in {}", network.name()), natural.len());
        let (natural_paths, natural_features) = capture(natural, &bar)?;
        bar.end();
        let hidden = Progress::hidden();
        let pictures: Vec<&RgbImage> = units.iter().flat_map(|u| &u.pictures).collect();
        let (picture_paths, picture_features) = capture(&pictures, &hidden)?;
        let spread = spread(&natural_features);
        let mut subject = Self {
            network,
            preprocessing,
            executor,
            focus,
            layer,
            units,
            natural,
            seed,
            nonlinear,
            natural_paths,
            picture_paths,
            natural_features,
            spread,
            picture_features,
            activations: vec![],
        };
        let channels: Vec<usize> = units.iter().map(|u| u.channel).collect();
        let bar = progress::bar(&format!("activations of {layer}"), natural.len());
        let by_image = executor.run_images(natural, &bar, |chunk| {
            let input = Preprocessing::tensor(chunk.iter().copied(), executor.device());
            subject.respond(preprocessing.apply(input), &channels)
        })?;
        bar.end();
        subject.activations =
            (0..units.len()).map(|u| by_image.iter().map(|image| image[u]).collect()).collect();
        Ok(subject)
    }

    /// The same for `units`, those of its own that are `kept`: nothing is measured again.
    pub(super) fn restricted<'u>(&self, units: &'u [Pictured], kept: &[bool]) -> Subject<'u>
    where
        'a: 'u,
    {
        fn those<T: Clone>(of: &[T], kept: &[bool]) -> Vec<T> {
            of.iter().zip(kept).filter(|(_, kept)| **kept).map(|(one, _)| one.clone()).collect()
        }
        let by_unit = self.units.iter().zip(kept);
        let pictures: Vec<bool> = by_unit.flat_map(|(unit, &kept)| vec![kept; unit.pictures.len()]).collect();
        Subject {
            units,
            activations: those(&self.activations, kept),
            picture_paths: self.picture_paths.iter().map(|layer| those(layer, &pictures)).collect(),
            picture_features: those(&self.picture_features, &pictures),
            ..self.clone()
        }
    }

    /// The activation of some channels for each input `[N, C, H, W]`.
    pub(super) fn respond(&self, input: Tensor<4>, channels: &[usize]) -> Result<Vec<Vec<f32>>> {
        respond(self.network, self.layer, self.focus, input, channels)
    }

    /// The natural images that drive a unit most, by position, most driving first.
    pub fn most_driving(&self, unit: usize, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.natural.len()).collect();
        order.sort_by(|&a, &b| self.activations[unit][b].total_cmp(&self.activations[unit][a]));
        order.truncate(count);
        order
    }

    /// Where a unit's visualizations stand among all of them.
    pub fn pictures_of(&self, unit: usize) -> std::ops::Range<usize> {
        let before = self.units[..unit].iter().map(|u| u.pictures.len()).sum();
        before..before + self.units[unit].pictures.len()
    }

    /// What the units' filters read of an image, as images are compared by it: channel means, each less its mean over
    /// natural images and in units of its deviation.
    pub(super) fn standardized(&self, features: &[f32]) -> Vec<f32> {
        let standard = |(value, (mean, deviation)): (&f32, &(f32, f32))| {
            // A channel that says nothing of natural images says nothing here.
            if *deviation > 1e-6 { (value - mean) / deviation } else { 0.0 }
        };
        features.iter().zip(&self.spread).map(standard).collect()
    }
}

/// The activation of some channels of a layer for each input `[N, C, H, W]`, as an objective counts it.
pub(super) fn respond(
    network: &Network,
    layer: &str,
    focus: Focus,
    input: Tensor<4>,
    channels: &[usize],
) -> Result<Vec<Vec<f32>>> {
    let reading = focus.on(network, layer)?;
    let maps = network.capture(input, &[layer])?.remove(0);
    let [n, c, ..] = maps.dims();
    let values: Vec<f32> =
        reading.of(maps).reshape([n, c]).into_data().try_to_vec().expect("activations are 32-bit floats");
    Ok(values.chunks(c).map(|row| channels.iter().map(|&channel| row[channel]).collect()).collect())
}

/// Mean and deviation of each column.
fn spread(rows: &[Vec<f32>]) -> Vec<(f32, f32)> {
    let n = rows.len().max(1) as f32;
    (0..rows.first().map_or(0, Vec::len))
        .map(|c| {
            let of = || rows.iter().map(|row| row[c]);
            let mean = of().sum::<f32>() / n;
            (mean, (of().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt())
        })
        .collect()
}

/// Mean similarity over pairs.
pub(super) fn mean_similarity<'v>(
    metric: Metric,
    pairs: impl Iterator<Item = (&'v [f32], &'v [f32])>,
) -> Option<f64> {
    mean(pairs.filter_map(|(a, b)| metric.similarity(a, b)))
}

/// The activation functions that a layer depends on, in order, itself included.
fn nonlinear(network: &Network, layer: &str) -> Result<Vec<String>> {
    let graph = network.graph();
    let needed = graph.ancestors(&[graph.position(layer)?]);
    let nodes = needed.into_iter().map(|i| &graph.nodes[i]);
    // What attention is shared out by sums to one, and has the same mean for all images.
    let shared_out = |op: &Op| matches!(op, Op::Softmax(softmax) if softmax.over != op::Along::Channels);
    let wanted = nodes.filter(|node| node.op.is_nonlinear() && !shared_out(&node.op));
    Ok(wanted.map(|node| node.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_their_mean_and_deviation() {
        assert_eq!(spread(&[vec![1.0, 4.0], vec![5.0, 4.0]]), [(3.0, 2.0), (4.0, 0.0)]);
        assert!(spread(&[]).is_empty());
    }
}
