//! The path detector: how far a unit's visualization leaves the processing path of the natural images that drive it
//! (Geirhos et al., 2024, section 3).

use super::subject::mean_similarity;
use super::{Detector, Subject};
use crate::error::Result;
use crate::path::Metric;
use crate::statistics::mean;

/// The natural images that stand for a unit.
const DRIVING: usize = 10;

/// How much less similar a unit's visualizations are to the natural images that drive it most than these are to one
/// another: Spearman similarity of channel means, averaged over the activation functions on the way to the unit.
pub(super) struct Path;

impl Detector for Path {
    fn name(&self) -> &'static str {
        "path"
    }

    fn sees(&self) -> &'static str {
        "How far the visualization leaves the path of the natural images that drive the unit: their Spearman similarity \
         in the layers on the way to it. It can see a circuit that draws another unit's picture, where the other unit \
         listens to other channels, or whose own layers are off on natural images. It can't see one whose picture takes \
         much the same path, and since honest visualizations leave the natural path, too, what it sees is a \
         difference of degree."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let unit = |unit: usize| {
            let driving = subject.most_driving(unit, DRIVING);
            mean(subject.natural_paths.iter().zip(&subject.picture_paths).filter_map(
                |(natural, pictures)| {
                    let pairs = driving.iter().enumerate().flat_map(|(i, &a)| {
                        driving[i + 1..].iter().map(move |&b| (natural[a].as_slice(), natural[b].as_slice()))
                    });
                    let among_natural = mean_similarity(Metric::Spearman, pairs)?;
                    let pairs = subject.pictures_of(unit).flat_map(|p| {
                        driving.iter().map(move |&a| (pictures[p].as_slice(), natural[a].as_slice()))
                    });
                    Some(among_natural - mean_similarity(Metric::Spearman, pairs)?)
                },
            ))
        };
        Ok((0..subject.units.len()).map(unit).collect())
    }
}
