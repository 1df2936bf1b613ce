//! Which units are asked about, and what natural images do to them.

use image::RgbImage;
use rand::seq::SliceRandom;

use super::settings::Depth;
use super::work::{Work, rows};
use crate::error::{Error, Result};
use crate::experiment::finite;
use crate::progress;
use crate::seed;
use crate::visualize::Unit;

/// A unit that was drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drawn {
    pub unit: Unit,
    pub depth: String,
    /// Whether it is shown in practice and catch trials only.
    pub practice: bool,
    /// The natural images that drive it most, from the most driving one down.
    pub most: Vec<usize>,
    /// Its activation for each of them.
    pub activations: Vec<f32>,
    /// The standard deviation of its activation over all natural images.
    pub deviation: f64,
}

impl Drawn {
    /// Whether two units share none of their `exemplars` most activating images.
    pub fn disjoint(&self, other: &Self, exemplars: usize) -> bool {
        self.most[..exemplars].iter().all(|image| !other.most[..exemplars].contains(image))
    }
}

/// Draws units at every depth, and for practice some of the last layer that has more. Units that fewer natural images
/// move than trials show are not drawn: the others would be shown in the order of their files.
pub(super) fn draw(work: &Work) -> Result<Vec<Drawn>> {
    let settings = &work.study.settings;
    let mut layers: Vec<&String> = settings.depths.iter().flat_map(|d| &d.layers).collect();
    layers.sort_unstable();
    layers.dedup();
    let activations = activations(work, &layers)?;
    let wanted =
        settings.matching.exemplars.max(settings.occlusion.batches * (settings.occlusion.references + 1));
    let images = work.natural.len();
    if images < wanted {
        return Err(Error::usage(format!(
            "{} batches of a query and {} references, or {} exemplars, need {wanted} natural images; there are \
             {images}: lower occlusion.batches, or name more images in `natural`",
            settings.occlusion.batches, settings.occlusion.references, settings.matching.exemplars
        )));
    }
    // A shuffled deck of each layer's live units; depths draw from its top.
    let mut decks: Vec<Vec<Drawn>> = vec![];
    for (at, layer) in layers.iter().enumerate() {
        let live = |channel: usize| {
            let values: Vec<f32> = activations.iter().map(|image| image[at][channel]).collect();
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
            let live = moved(&values, &order, wanted);
            order.truncate(wanted);
            let deviation = deviation(&values);
            live.then(|| Drawn {
                unit: Unit { layer: layer.to_string(), channel },
                depth: String::new(),
                practice: false,
                activations: order.iter().map(|&i| values[i]).collect(),
                most: order,
                deviation,
            })
        };
        let mut deck: Vec<Drawn> = (0..activations[0][at].len()).filter_map(live).collect();
        deck.shuffle(&mut seed::rng(work.seed(), &("trial units", layer)));
        decks.push(deck);
    }
    let mut drawn = vec![];
    for depth in &settings.depths {
        for (layer, count) in shares(depth) {
            let deck = &mut decks[layers.iter().position(|l| *l == layer).expect("it is one of them")];
            if deck.len() < count {
                return Err(Error::usage(format!(
                    "depths: {} wants {count} units of layer {layer}, which has {} that {wanted} natural images move and no \
                     other depth has taken",
                    depth.name,
                    deck.len()
                )));
            }
            drawn.extend(deck.drain(..count).map(|d| Drawn { depth: depth.name.clone(), ..d }));
        }
    }
    if settings.session.practice + settings.session.catch > 0 {
        let last = settings.depths.iter().rev().flat_map(|d| d.layers.iter().rev().map(move |l| (d, l)));
        let mut spare = last.filter_map(|(depth, layer)| {
            let at = layers.iter().position(|l| *l == layer).expect("it is one of them");
            let all: Vec<usize> = (0..decks[at].len()).collect();
            let fit = |a: usize, b: usize| decks[at][a].disjoint(&decks[at][b], settings.matching.exemplars);
            first_triple(&all, fit).map(|triple| (depth, at, triple))
        });
        let (depth, at, triple) = spare.next().ok_or_else(|| {
            Error::usage(
                "practice needs three units of one layer that are not asked about and have most activating images of \
                 their own: lower a depth's units, or set session.practice and session.catch to 0",
            )
        })?;
        let spare =
            triple.map(|i| Drawn { depth: depth.name.clone(), practice: true, ..decks[at][i].clone() });
        drawn.extend(spare);
    }
    Ok(drawn)
}

/// How many units of each of a depth's layers.
fn shares(depth: &Depth) -> impl Iterator<Item = (&String, usize)> {
    let (each, rest) = (depth.units / depth.layers.len(), depth.units % depth.layers.len());
    depth.layers.iter().enumerate().map(move |(i, layer)| (layer, each + usize::from(i < rest)))
}

/// For each natural image and layer the activation of every unit, as the experiment's objective counts it.
fn activations(work: &Work, layers: &[&String]) -> Result<Vec<Vec<Vec<f32>>>> {
    work.setting.cache.json("trial-activations", &(work.of(), layers), || {
        let bar = progress::bar("units on natural images", work.natural.len());
        let images: Vec<&RgbImage> = work.natural.iter().map(|(_, image)| image).collect();
        let focus = work.study.experiment.visualization.focus;
        let readings =
            layers.iter().map(|layer| focus.on(&work.network, layer)).collect::<Result<Vec<_>>>()?;
        let all = work.forward(&work.network, layers, &images, &bar, |maps| {
            let mut images = vec![vec![]; maps[0].dims()[0]];
            for (map, reading) in maps.into_iter().zip(&readings) {
                for (image, row) in images.iter_mut().zip(rows(reading.of(map))) {
                    image.push(row);
                }
            }
            images
        });
        bar.end();
        let all = all?;
        for image in &all {
            for (row, layer) in image.iter().zip(layers) {
                finite(row.clone(), layer)?;
            }
        }
        Ok(all)
    })
}

/// Whether each of the `wanted` first images in descending `order` drives a unit more than the last one does.
fn moved(values: &[f32], order: &[usize], wanted: usize) -> bool {
    let last = order.last().map(|&i| values[i]);
    last.is_some_and(|last| values[order[wanted - 1]] > last)
}

fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// The first three of the candidates that fit together, in their order.
pub(super) fn first_triple(candidates: &[usize], fit: impl Fn(usize, usize) -> bool) -> Option<[usize; 3]> {
    for (i, &a) in candidates.iter().enumerate() {
        for (j, &b) in candidates.iter().enumerate().skip(i + 1) {
            if !fit(a, b) {
                continue;
            }
            if let Some(&c) = candidates[j + 1..].iter().find(|&&c| fit(a, c) && fit(b, c)) {
                return Some([a, b, c]);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_shared_out_over_a_depths_layers() {
        let depth = Depth { name: "late".into(), layers: vec!["a".into(), "b".into()], units: 7 };
        let got: Vec<(&str, usize)> = shares(&depth).map(|(l, n)| (l.as_str(), n)).collect();
        assert_eq!(got, [("a", 4), ("b", 3)]);
    }

    #[test]
    fn a_sparse_unit_has_too_few_images() {
        let values = [0.0, 3.0, 0.0, 2.0];
        let order = [1, 3, 0, 2];
        assert!(moved(&values, &order, 2));
        assert!(!moved(&values, &order, 3));
    }

    #[test]
    fn the_deviation_of_two_values_is_half_their_distance() {
        assert_eq!(deviation(&[1.0, 5.0]), 2.0);
        assert_eq!(deviation(&[3.0; 4]), 0.0);
    }
}
