//! What fooled units do with natural images, beside what they did before: whether they still tell their class from others, and
//! whether the same images drive them most (Bareeva et al., 2024).

use image::RgbImage;
use std::collections::HashSet;

use super::Rows;
use crate::circuit::{Circuit, Manipulated};
use crate::data::Sample;
use crate::error::Result;
use crate::experiment::{Model, Session, Units};
use crate::network::Network;
use crate::progress;
use crate::results::Results;
use crate::statistics::roc::{Stratum, auc};
use crate::tables;

/// How many of the images that drive a unit most are compared; fewer where there are fewer than ten times as many.
const TOP: usize = 100;

impl Session<'_> {
    /// Compares the visualized ones of the fooled units in both networks, on the validation set.
    pub(super) fn fooled_units(
        &self,
        clean: &Model,
        circuit: &Circuit,
        fooled: &Manipulated,
        units: &Units,
        tables: &mut Rows,
        results: &mut Results,
    ) -> Result<()> {
        let set = self.validation();
        let images: Vec<&RgbImage> = set.samples.iter().map(|s| &s.image).collect();
        let responses = |network: &Network| {
            let bar = progress::bar(&format!("natural images in units of {}", units.layer), images.len());
            self.activations(network, &units.layer, &images, &bar)
        };
        let table =
            results.stage(&format!("what units of {} do before and after", circuit.name()), || {
                let [before, after] = [responses(&clean.network)?, responses(&fooled.model.network)?];
                let top = TOP.min(images.len().div_ceil(10));
                let is_fooled = |channel: &&usize| fooled.targets.iter().any(|(unit, _)| unit == *channel);
                Ok(units
                    .channels
                    .iter()
                    .filter(is_fooled)
                    .map(|&channel| {
                        let [before, after] = [&before, &after]
                            .map(|all| all.iter().map(|row| row[channel]).collect::<Vec<_>>());
                        let area = |values: &[f32]| {
                            (units.layer == self.layer).then(|| area(values, &set.samples, channel)).flatten()
                        };
                        tables::FooledUnit {
                            network: self.network.clone(),
                            circuit: circuit.name().into(),
                            dataset: set.name.clone(),
                            images: images.len(),
                            layer: units.layer.clone(),
                            channel,
                            name: self.unit_name(&units.layer, channel),
                            auroc_before: area(&before),
                            auroc_after: area(&after),
                            top,
                            jaccard: overlap(&before, &after, top),
                        }
                    })
                    .collect::<Vec<_>>())
            })?;
        tables.fooled_units.extend(table);
        Ok(())
    }
}

/// How well values tell a class from the others, as an area under the ROC curve.
fn area(values: &[f32], samples: &[Sample], class: usize) -> Option<f64> {
    let mut stratum = Stratum::default();
    for (&value, sample) in values.iter().zip(samples) {
        let side = if sample.label == class { &mut stratum.manipulated } else { &mut stratum.clean };
        side.push(Some(f64::from(value)));
    }
    auc(&[stratum])
}

/// The overlap of the positions of the `top` largest values: common ones over all. Of equal values the first are taken.
fn overlap(before: &[f32], after: &[f32], top: usize) -> f64 {
    let largest = |values: &[f32]| -> HashSet<usize> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        order.into_iter().take(top).collect()
    };
    let [before, after] = [largest(before), largest(after)];
    before.intersection(&after).count() as f64 / before.union(&after).count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlap_counts_common_images_over_all() {
        let before = [5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(overlap(&before, &before, 3), 1.0);
        // 0, 1, 2 and 4, 3, 2.
        assert_eq!(overlap(&before, &[1.0, 2.0, 3.0, 4.0, 5.0], 3), 0.2);
    }

    #[test]
    fn a_unit_that_ranks_its_class_first_has_the_area_one() {
        let sample = |label| Sample { id: String::new(), label, image: RgbImage::new(1, 1) };
        let samples = [sample(1), sample(0), sample(1), sample(0)];
        assert_eq!(area(&[3.0, 1.0, 2.0, 0.0], &samples, 1), Some(1.0));
        assert_eq!(area(&[3.0, 2.5, 2.0, 0.0], &samples, 1), Some(0.75));
        assert_eq!(area(&[1.0; 4], &samples, 7), None);
    }
}
