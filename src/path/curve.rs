//! The path-similarity curve over layers (Geirhos et al., 2024, section 3).

use image::RgbImage;
use indicatif::ProgressBar;
use rand::{Rng, RngExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::similarity::Similarities;
use super::{Metric, Reduction, capture};
use crate::bounds::{PICTURES, RESAMPLES, distinct, within};
use crate::data::Preprocessing;
use crate::error::Result;
use crate::executor::Executor;
use crate::network::Network;
use crate::progress;
use crate::seed;
use crate::statistics;

/// What is compared, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The layers, first to last.
    pub layers: Vec<String>,
    /// Natural images of each class.
    pub images_per_class: usize,
    #[serde(default = "reductions")]
    pub reductions: Vec<Reduction>,
    #[serde(default = "metrics")]
    pub metrics: Vec<Metric>,
    /// Bootstrap samples for the intervals.
    #[serde(default = "bootstrap")]
    pub bootstrap: usize,
}

impl Settings {
    /// Refuses what can't be compared, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        within("images_per_class", self.images_per_class, 1..=PICTURES)?;
        within("bootstrap", self.bootstrap, 0..=RESAMPLES)?;
        distinct("layers", &self.layers)?;
        distinct("reductions", &self.reductions)?;
        distinct("metrics", &self.metrics)?;
        match (self.reductions.is_empty(), self.metrics.is_empty()) {
            (false, false) => Ok(()),
            (true, _) => Err("reductions is empty; name one, or leave it out".into()),
            (_, true) => Err("metrics is empty; name one, or leave it out".into()),
        }
    }
}

fn reductions() -> Vec<Reduction> {
    vec![Reduction::ChannelMean]
}

fn metrics() -> Vec<Metric> {
    vec![Metric::Spearman, Metric::Pearson, Metric::Cosine]
}

fn bootstrap() -> usize {
    1000
}

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub lower: f64,
    pub upper: f64,
}

/// Similarities at one layer. A mean over no defined pair is `None`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathSimilarity {
    pub reduction: Reduction,
    pub metric: Metric,
    pub layer: String,
    pub natural_same_class: Option<f64>,
    pub natural_different_class: Option<f64>,
    pub visualization_same_class: Option<f64>,
    pub visualization_different_class: Option<f64>,
    /// (visualization same − natural different) / (natural same − natural different): 1 is as alike as natural
    /// images of the same class, 0 as natural images of different classes.
    pub normalized: Option<f64>,
    /// Of `normalized`: images and visualizations are resampled within their classes.
    pub interval: Option<Interval>,
    /// Pairs that went into the means.
    pub pairs: usize,
    /// Pairs left out since one of the two has constant activations, whose similarity is undefined.
    pub undefined_pairs: usize,
}

/// An image for the comparison.
struct Item {
    class: usize,
    natural: bool,
    /// Which image it is: one may stand for several classes.
    image: usize,
}

/// Measures the curve. `natural` and `visualizations` are images with their classes, or the units they stand for; an
/// image that stands for several is not compared with itself.
///
/// # Errors
/// Usage, if a layer is unknown; an interruption.
pub fn measure(
    network: &Network,
    preprocessing: &Preprocessing,
    natural: &[(usize, &RgbImage)],
    visualizations: &[(usize, &RgbImage)],
    settings: &Settings,
    executor: &Executor,
    seed: u64,
) -> Result<Vec<PathSimilarity>> {
    let all = || natural.iter().chain(visualizations);
    let items: Vec<Item> = all()
        .enumerate()
        .map(|(i, &(class, image))| Item {
            class,
            natural: i < natural.len(),
            image: all().position(|(_, other)| std::ptr::eq(*other, image)).expect("it is one of them"),
        })
        .collect();
    let images: Vec<&RgbImage> = all().map(|&(_, image)| image).collect();
    let mut rows = vec![];
    for &reduction in &settings.reductions {
        let hidden = ProgressBar::hidden();
        let probe = images.get(..1).unwrap_or_default();
        let sizes: Vec<usize> =
            capture(network, preprocessing, probe, &settings.layers, reduction, executor, &hidden)?
                .iter()
                .map(|rows| rows.iter().map(Vec::len).sum())
                .collect();
        let groups = groups(&settings.layers, &sizes, VALUES / images.len().max(1));
        let bar = progress::bar(&format!("activations ({})", reduction.name()), images.len() * groups.len());
        let mut by_metric = vec![vec![]; settings.metrics.len()];
        for layers in groups {
            let activations = capture(network, preprocessing, &images, layers, reduction, executor, &bar)?;
            for (layer, activations) in layers.iter().zip(activations) {
                for (rows, &metric) in by_metric.iter_mut().zip(&settings.metrics) {
                    let similarities = metric.matrix(&activations, executor.device());
                    let means = Means::of(&similarities, &items, &vec![1; items.len()]);
                    let purpose = ("bootstrap", layer, reduction.name(), metric.name());
                    rows.push(PathSimilarity {
                        reduction,
                        metric,
                        layer: layer.clone(),
                        natural_same_class: means.natural_same.value(),
                        natural_different_class: means.natural_different.value(),
                        visualization_same_class: means.visualization_same.value(),
                        visualization_different_class: means.visualization_different.value(),
                        normalized: means.normalized(),
                        interval: interval(&similarities, &items, settings.bootstrap, seed, &purpose),
                        pairs: means.pairs,
                        undefined_pairs: means.undefined,
                    });
                }
            }
        }
        bar.finish_and_clear();
        rows.extend(by_metric.into_iter().flatten());
    }
    Ok(rows)
}

/// How many activations are held at once: full maps of all layers would not fit into memory.
const VALUES: usize = 400_000_000;

/// Runs of layers whose sizes add up to no more than `most`, or single ones that are larger.
fn groups<'a>(layers: &'a [String], sizes: &[usize], most: usize) -> Vec<&'a [String]> {
    let mut groups = vec![];
    let (mut from, mut sum) = (0, 0);
    for (i, size) in sizes.iter().enumerate() {
        if i > from && sum + size > most {
            groups.push(&layers[from..i]);
            (from, sum) = (i, 0);
        }
        sum += size;
    }
    if from < layers.len() {
        groups.push(&layers[from..]);
    }
    groups
}

/// A weighted mean in the making.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// The means over the kinds of pairs.
#[derive(Default)]
struct Means {
    natural_same: Mean,
    natural_different: Mean,
    visualization_same: Mean,
    visualization_different: Mean,
    pairs: usize,
    undefined: usize,
}

impl Means {
    /// Means over all pairs of two different images, each image counting `times` over.
    fn of(similarities: &Similarities, items: &[Item], times: &[usize]) -> Self {
        let mut means = Self::default();
        for (i, a) in items.iter().enumerate().filter(|(_, a)| a.natural) {
            if times[i] == 0 {
                continue;
            }
            for (j, b) in items.iter().enumerate().skip(i + 1).filter(|(_, b)| b.image != a.image) {
                let mean = match (b.natural, a.class == b.class) {
                    (true, true) => &mut means.natural_same,
                    (true, false) => &mut means.natural_different,
                    (false, true) => &mut means.visualization_same,
                    (false, false) => &mut means.visualization_different,
                };
                match similarities.get(i, j) {
                    Some(value) => {
                        mean.add(value, (times[i] * times[j]) as f64);
                        means.pairs += 1;
                    }
                    None => means.undefined += 1,
                }
            }
        }
        means
    }

    fn normalized(&self) -> Option<f64> {
        let same = self.natural_same.value()?;
        let different = self.natural_different.value()?;
        let visualization = self.visualization_same.value()?;
        (same != different).then(|| (visualization - different) / (same - different))
    }
}

/// The bootstrap interval of the normalized similarity. Pairs that share an image are not independent, so images
/// are what is drawn: as many as there are of each class and kind, with replacement. Pairs of an image with itself
/// do not count.
fn interval(
    similarities: &Similarities,
    items: &[Item],
    samples: usize,
    seed: u64,
    purpose: &impl std::fmt::Debug,
) -> Option<Interval> {
    let mut strata: Vec<((bool, usize), Vec<usize>)> = vec![];
    for (i, item) in items.iter().enumerate() {
        let key = (item.natural, item.class);
        match strata.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push(i),
            None => strata.push((key, vec![i])),
        }
    }
    let mut rng = seed::rng(seed, purpose);
    let seeds: Vec<u64> = (0..samples).map(|_| rng.random()).collect();
    let values: Vec<f64> = seeds
        .into_par_iter()
        .filter_map(|s| {
            let times = resample(&strata, items.len(), &mut seed::rng(s, &"sample"));
            Means::of(similarities, items, &times).normalized()
        })
        .collect();
    statistics::interval(&values).map(|(lower, upper)| Interval { lower, upper })
}

fn resample(strata: &[((bool, usize), Vec<usize>)], n: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut times = vec![0; n];
    for (_, members) in strata {
        for _ in members {
            times[members[rng.random_range(0..members.len())]] += 1;
        }
    }
    times
}

/// A part of the network by depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Third {
    Early,
    Middle,
    Late,
}

/// Which third each of `n` layers, first to last, belongs to; the middle takes what does not divide evenly.
pub fn thirds(n: usize) -> Vec<Third> {
    let third = n / 3;
    (0..n)
        .map(|i| match i {
            i if i < third => Third::Early,
            i if i >= n - third => Third::Late,
            _ => Third::Middle,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Two classes of two images on orthogonal axes and a visualization halfway between, by hand.
    #[test]
    fn normalized_similarity_by_hand() {
        let rows = vec![vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 1.0], vec![1.0, 1.0]];
        let item = |(image, class)| Item { class, natural: image < 4, image };
        let items = [0, 0, 1, 1, 0].into_iter().enumerate().map(item).collect::<Vec<_>>();
        let similarities = Metric::Cosine.matrix(&rows, &Device::default());
        let means = Means::of(&similarities, &items, &[1; 5]);
        assert_eq!(means.natural_same.value(), Some(1.0));
        assert_eq!(means.natural_different.value(), Some(0.0));
        assert!((means.normalized().unwrap() - 0.5f64.sqrt()).abs() < 1e-6);
        assert_eq!((means.pairs, means.undefined), (10, 0));
        // Every resample is the same here, so the interval is a point.
        let interval = interval(&similarities, &items, 50, 0, &"").unwrap();
        assert!((interval.lower - 0.5f64.sqrt()).abs() < 1e-6 && interval.lower == interval.upper);
    }

    #[test]
    fn undefined_pairs_are_counted_and_left_out() {
        let rows = vec![vec![1.0, 0.0], vec![0.0, 0.0], vec![0.0, 1.0]];
        let items = [(0, 0), (1, 0), (2, 1)].map(|(image, class)| Item { class, natural: true, image });
        let similarities = Metric::Cosine.matrix(&rows, &Device::default());
        let means = Means::of(&similarities, &items, &[1; 3]);
        assert_eq!((means.pairs, means.undefined), (1, 2));
        assert_eq!(means.natural_same.value(), None);
        assert_eq!(means.normalized(), None);
    }

    #[test]
    fn layers_are_grouped_by_size_without_loss() {
        let layers: Vec<String> = (0..5).map(|i| i.to_string()).collect();
        let got = groups(&layers, &[5, 9, 3, 3, 4], 7);
        assert_eq!(got, [&layers[..1], &layers[1..2], &layers[2..4], &layers[4..]]);
        assert_eq!(groups(&layers, &[1; 5], 100), [&layers[..]]);
    }

    #[test]
    fn thirds_split_evenly_with_the_rest_in_the_middle() {
        use Third::*;
        assert_eq!(thirds(4), [Early, Middle, Middle, Late]);
        assert_eq!(thirds(13).iter().filter(|t| **t == Early).count(), 4);
    }
}
