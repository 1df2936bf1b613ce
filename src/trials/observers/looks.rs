//! What models compare of pictures: pixels, colours, and networks' features.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use image::{RgbImage, imageops};

use super::{ByFile, Trial, Viewer};
use crate::data::{Inventory, Preprocessing};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::path::Metric;
use crate::progress;
use crate::trials::stimuli;
use crate::trials::work::{Work, rows};

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Look {
    /// Small copies of the pictures.
    Pixels,
    /// Histograms of colours.
    Colours,
    /// Channel means of a layer of the tested network.
    Own(String),
    /// The same of another network.
    Other(String),
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels => write!(f, "pixels"),
            Self::Colours => write!(f, "colours"),
            Self::Own(layer) => write!(f, "own features {layer}"),
            Self::Other(layer) => write!(f, "other features {layer}"),
        }
    }
}

impl Look {
    /// How alike two vectors are: by ranks for features, as paths are compared.
    fn metric(&self) -> Metric {
        match self {
            Self::Pixels => Metric::Pearson,
            Self::Colours => Metric::Cosine,
            Self::Own(_) | Self::Other(_) => Metric::Spearman,
        }
    }
}

/// A network that was trained on its own, with what it takes.
pub(in crate::trials) struct Other {
    pub network: Network,
    pub preprocessing: Preprocessing,
    pub layers: Vec<String>,
}

/// Side of the copies whose pixels are compared.
const SMALL: u32 = 16;

/// Levels of each colour channel in a histogram.
const LEVELS: usize = 4;

/// The vectors of all pictures.
pub(super) struct Looks {
    vectors: BTreeMap<Look, ByFile<Vec<f32>>>,
}

impl Looks {
    /// What observers there are.
    pub fn names(&self) -> impl Iterator<Item = &Look> {
        self.vectors.keys()
    }

    /// How alike two pictures are; none where that is undefined.
    pub fn similarity(&self, look: &Look, a: &str, b: &str) -> Option<f64> {
        let vectors = self.vectors.get(look)?;
        look.metric().similarity(vectors.get(a)?, vectors.get(b)?)
    }

    #[cfg(test)]
    pub fn of_vectors(look: Look, vectors: ByFile<Vec<f32>>) -> Self {
        Self { vectors: BTreeMap::from([(look, vectors)]) }
    }
}

/// Looks at all pictures of the trials.
pub(super) fn look(work: &Work, other: Option<&Other>, trials: &[&Trial], folder: &Path) -> Result<Looks> {
    let files: BTreeSet<&String> = trials.iter().flat_map(|t| t.pictures()).collect();
    let mut by_size: BTreeMap<(u32, u32), Vec<&String>> = BTreeMap::new();
    for file in files {
        let path = folder.join(stimuli::FOLDER).join(file);
        // A picture that can't be read is named when it is read.
        by_size.entry(image::image_dimensions(path).unwrap_or_default()).or_default().push(file);
    }
    let settings = &work.study.settings.observers;
    let own = Viewer {
        network: &work.network,
        layers: settings.layers.clone().unwrap_or_else(|| work.study.experiment.paths.layers.clone()),
    };
    let mut vectors: BTreeMap<Look, ByFile<Vec<f32>>> = BTreeMap::new();
    let bar = progress::bar("models look at the pictures", by_size.values().map(Vec::len).sum());
    for ((w, h), files) in by_size {
        // Pictures of one size go together.
        let size = work.setting.executor.batch(h.max(1) as usize, w.max(1) as usize);
        let seen = work.setting.executor.run(&files, size, &bar, |chunk| {
            let images = chunk.iter().map(|file| stimuli::read(folder, file)).collect::<Result<Vec<_>>>()?;
            let mut seen: Vec<Vec<(Look, Vec<f32>)>> = images
                .iter()
                .map(|image| vec![(Look::Pixels, pixels(image)), (Look::Colours, colours(image))])
                .collect();
            let pre = &work.study.experiment.preprocessing;
            for (layer, rows) in own.layers.iter().zip(features(work, &own, pre, &images)?) {
                seen.iter_mut().zip(rows).for_each(|(seen, row)| seen.push((Look::Own(layer.clone()), row)));
            }
            if let Some(other) = other {
                let fit = |image| other.preprocessing.fit(image).map_err(Error::usage);
                let images: Vec<RgbImage> = images.into_iter().map(fit).collect::<Result<_>>()?;
                let viewer = Viewer { network: &other.network, layers: other.layers.clone() };
                let found = features(work, &viewer, &other.preprocessing, &images)?;
                for (layer, rows) in other.layers.iter().zip(found) {
                    let look = Look::Other(layer.clone());
                    seen.iter_mut().zip(rows).for_each(|(seen, row)| seen.push((look.clone(), row)));
                }
            }
            Ok(seen)
        })?;
        for (file, seen) in files.into_iter().zip(seen) {
            for (look, vector) in seen {
                vectors.entry(look).or_default().insert(file.clone(), vector);
            }
        }
    }
    bar.end();
    Ok(Looks { vectors })
}

/// For each layer the channel means of each image.
fn features(
    work: &Work,
    viewer: &Viewer,
    preprocessing: &Preprocessing,
    images: &[RgbImage],
) -> Result<Vec<Vec<Vec<f32>>>> {
    let input = Preprocessing::tensor(images, work.setting.executor.device());
    let maps = viewer.network.capture(preprocessing.apply(input), &viewer.layers)?;
    Ok(maps.into_iter().map(|map| rows(map.mean_dims(&[2, 3]))).collect())
}

fn pixels(image: &RgbImage) -> Vec<f32> {
    let small = imageops::resize(image, SMALL, SMALL, imageops::FilterType::Triangle);
    small.as_raw().iter().map(|&v| f32::from(v)).collect()
}

/// How many pixels have each of 64 colours.
fn colours(image: &RgbImage) -> Vec<f32> {
    let mut counts = vec![0f32; LEVELS.pow(3)];
    for pixel in image.pixels() {
        let [r, g, b] = pixel.0.map(|v| usize::from(v) * LEVELS / 256);
        counts[(r * LEVELS + g) * LEVELS + b] += 1.0;
    }
    counts
}

/// The other network of a study, and what it was trained on.
pub(in crate::trials) fn other(work: &Work) -> Result<Option<(Other, Option<Inventory>)>> {
    let Some(experiment) = &work.study.other else { return Ok(None) };
    let (network, data) = crate::experiment::network(experiment, work.setting)?;
    let layers = work.study.other_layers();
    Ok(Some((Other { network, preprocessing: experiment.preprocessing.clone(), layers }, data)))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_histogram_counts_every_pixel_once() {
        let image = RgbImage::from_fn(4, 2, |x, _| if x < 3 { Rgb([255, 0, 63]) } else { Rgb([64, 0, 0]) });
        let counts = colours(&image);
        assert_eq!((counts[3 * 16], counts[16]), (6.0, 2.0));
        assert_eq!(counts.iter().sum::<f32>(), 8.0);
    }

    #[test]
    fn a_picture_is_most_like_itself_whatever_its_size() {
        let gradient = |side: u32| {
            RgbImage::from_fn(side, side, |x, y| Rgb([(x * 255 / side) as u8, (y * 255 / side) as u8, 90]))
        };
        let similarity = |a: &RgbImage, b: &RgbImage| Metric::Pearson.similarity(&pixels(a), &pixels(b));
        assert!(similarity(&gradient(64), &gradient(128)).unwrap() > 0.99);
        assert!(similarity(&gradient(64), &imageops::rotate180(&gradient(64))).unwrap() < 0.5);
    }
}
