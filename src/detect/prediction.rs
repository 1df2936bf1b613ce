//! The prediction detector: how well a unit's visualization tells which natural images drive the unit.

use super::{Detector, Subject};
use crate::error::Result;
use crate::path::Metric;
use crate::statistics::mean;

/// The rank correlation, over natural images, of similarity to the visualizations and the unit's activation, with its
/// sign turned.
pub(super) struct Prediction;

impl Detector for Prediction {
    fn name(&self) -> &'static str {
        "prediction"
    }

    fn sees(&self) -> &'static str {
        "Whether the visualization tells which natural images drive the unit: the rank correlation of an image's \
         similarity to it, in what the unit reads, with the unit's activation. It can see a picture that says nothing \
         of the unit's behaviour, whatever the cause, so also one of an honest unit that is hard to visualize. It can't \
         see a lie about images that natural ones never come near."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let natural: Vec<Vec<f32>> =
            subject.natural_features.iter().map(|f| subject.standardized(f)).collect();
        let unit = |unit: usize| {
            let pictures: Vec<Vec<f32>> = subject
                .pictures_of(unit)
                .map(|p| subject.standardized(&subject.picture_features[p]))
                .collect();
            let similarity: Vec<f32> = natural
                .iter()
                .map(|image| {
                    let with =
                        pictures.iter().filter_map(|picture| Metric::Cosine.similarity(image, picture));
                    mean(with).unwrap_or(0.0) as f32
                })
                .collect();
            Metric::Spearman.similarity(&similarity, &subject.activations[unit]).map(|rho| -rho)
        };
        Ok((0..subject.units.len()).map(unit).collect())
    }
}
