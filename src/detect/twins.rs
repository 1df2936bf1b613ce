//! The twins detector: visualizations of different units that are near-identical, or of one unit that agree far more
//! than the natural images that drive it.

use image::RgbImage;
use image::imageops::{FilterType, thumbnail};

use super::{Detector, Subject};
use crate::error::Result;
use crate::path::Metric;
use crate::statistics::mean;

/// The natural images that stand for a unit.
const DRIVING: usize = 10;
/// Side of the thumbnails that are compared.
const THUMBNAIL: u32 = 16;

/// The larger of two likenesses, each less that of the natural images that drive the unit: of its visualizations with
/// that of the most similar other unit, and with one another.
pub(super) struct Twins;

/// What two images are compared by.
struct Look {
    pixels: Vec<f32>,
    features: Vec<f32>,
}

impl Look {
    fn new(image: &RgbImage, features: Vec<f32>) -> Self {
        let small = if image.width() > THUMBNAIL {
            thumbnail(image, THUMBNAIL, THUMBNAIL)
        } else {
            image::imageops::resize(image, THUMBNAIL, THUMBNAIL, FilterType::Triangle)
        };
        Self { pixels: small.into_raw().into_iter().map(f32::from).collect(), features }
    }

    /// The mean of the correlation of the thumbnails and the cosine of the features.
    fn like(&self, other: &Self) -> Option<f64> {
        mean(
            [
                Metric::Pearson.similarity(&self.pixels, &other.pixels),
                Metric::Cosine.similarity(&self.features, &other.features),
            ]
            .into_iter()
            .flatten(),
        )
    }
}

fn likeness<'l>(pairs: impl Iterator<Item = (&'l Look, &'l Look)>) -> Option<f64> {
    mean(pairs.filter_map(|(a, b)| a.like(b)))
}

impl Detector for Twins {
    fn name(&self) -> &'static str {
        "twins"
    }

    fn sees(&self) -> &'static str {
        "Whether units of one layer have near-identical visualizations, or one unit's visualizations agree with one \
         another far more than the natural images that drive it: in thumbnails and in what the unit reads. It can see \
         silent units that share a direction, and units that all draw the same given picture. It can't see a circuit \
         that gives every unit another, varied picture, such as that of another unit."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let looks: Vec<Vec<Look>> = (0..subject.units.len())
            .map(|unit| {
                let features = subject.pictures_of(unit).map(|p| &subject.picture_features[p]);
                let pictures = subject.units[unit].pictures.iter();
                pictures.zip(features).map(|(i, f)| Look::new(i, subject.standardized(f))).collect()
            })
            .collect();
        let unit = |unit: usize| {
            let driving: Vec<Look> = subject
                .most_driving(unit, DRIVING)
                .into_iter()
                .map(|i| Look::new(subject.natural[i], subject.standardized(&subject.natural_features[i])))
                .collect();
            let natural = likeness(pairs(&driving))?;
            let own = likeness(pairs(&looks[unit]));
            let others =
                looks.iter().enumerate().filter(|(other, _)| *other != unit).filter_map(|(_, other)| {
                    likeness(looks[unit].iter().flat_map(|a| other.iter().map(move |b| (a, b))))
                });
            own.into_iter().chain(others).max_by(f64::total_cmp).map(|most| most - natural)
        };
        Ok((0..subject.units.len()).map(unit).collect())
    }
}

fn pairs<T>(all: &[T]) -> impl Iterator<Item = (&T, &T)> {
    all.iter().enumerate().flat_map(|(i, a)| all[i + 1..].iter().map(move |b| (a, b)))
}
