//! Diverse visualizations of the drawn units, and how diverse they are.

use std::path::Path;

use image::RgbImage;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, View};

use super::tables;
use super::units::Drawn;
use super::work::Work;
use crate::data::Preprocessing;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::network::Network;
use crate::path::Metric;
use crate::progress::{self, Progress};
use crate::statistics;
use crate::visualize::{Fault, Request, Unit, UnitObjective, alike, mean_pair, visualize};

/// The visualizations of one unit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Set {
    pub images: Vec<RgbImage>,
    /// The unit's activation for each.
    pub activations: Vec<f32>,
    /// Why one of them shows nothing of the unit, if one doesn't.
    pub fault: Option<Fault>,
}

/// Makes a set of visualizations of each unit in a network, each kept as soon as it is finished.
pub(super) fn sets(
    work: &Work,
    network: &Network,
    key: &str,
    units: &[&Unit],
    diverse: bool,
) -> Result<Vec<Set>> {
    let experiment = &work.study.experiment;
    let wanted = &work.study.settings.visualization;
    let mut settings = work.study.optimization();
    settings.diversity = settings.diversity.filter(|_| diverse);
    let bar = progress::bar("visualizing units", units.len() * wanted.number * settings.steps);
    // The bar counts steps, not units.
    let hidden = Progress::hidden();
    let executor = &work.setting.executor;
    let made = executor.run(units, 1, &hidden, |unit| {
        let unit = unit[0];
        let of = (key, &experiment.preprocessing, &settings, unit, wanted.number);
        let objective = (experiment.visualization.focus, experiment.visualization.direction);
        let of = (of, objective, experiment.seed, executor.kind().name());
        let before = bar.position();
        let set = work.setting.cache.get_or("diverse", &of, "safetensors", Set::load, |path| {
            let objective = UnitObjective { unit: unit.clone(), focus: objective.0, direction: objective.1 };
            let requests: Vec<Request> =
                (0..wanted.number).map(|index| Request { objective: objective.clone(), index }).collect();
            let last = [settings.steps];
            let made = visualize(
                network,
                &experiment.preprocessing,
                &settings,
                &requests,
                &last,
                experiment.seed,
                &bar,
            )?;
            let set = Set {
                images: made.iter().map(|v| v.image().clone()).collect(),
                activations: made.iter().map(|v| v.last().activation).collect(),
                fault: made.iter().find_map(|v| v.fault),
            };
            set.save(path)?;
            Ok(set)
        })?;
        if bar.position() == before {
            bar.advance((wanted.number * settings.steps) as u64);
        }
        Ok(vec![set])
    });
    bar.end();
    made
}

impl Set {
    fn save(&self, path: &Path) -> Result<()> {
        let n = self.images.len();
        let (w, h) = self.images.first().map_or((0, 0), RgbImage::dimensions);
        let images: Vec<u8> = self.images.iter().flat_map(|i| i.as_raw().clone()).collect();
        let activations: Vec<u8> = self.activations.iter().flat_map(|a| a.to_le_bytes()).collect();
        let view = |dtype, shape: Vec<usize>, data| {
            TensorView::new(dtype, shape, data).expect("shape and data agree")
        };
        let tensors = [
            ("activations", view(Dtype::F32, vec![n], &activations)),
            ("images", view(Dtype::U8, vec![n, h as usize, w as usize, 3], &images)),
        ];
        files::write(path, &safetensors::serialize(tensors, Fault::metadata(self.fault)).on("write", path)?)
    }

    fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).on("read", path)?;
        let file = SafeTensors::deserialize(&bytes).on("read", path)?;
        let images = file.tensor("images").on("read", path)?;
        let activations = file.tensor("activations").on("read", path)?;
        let whole = || Error::failure(format!("{} is no set of visualizations", path.display()));
        let &[n, h, w, 3] = images.shape() else {
            return Err(whole());
        };
        let images = View::data(&images)
            .chunks((h * w * 3).max(1))
            .map(|c| RgbImage::from_raw(w as u32, h as u32, c.to_vec()).ok_or_else(whole))
            .collect::<Result<Vec<_>>>()?;
        let activations: Vec<f32> = View::data(&activations)
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        match images.len() == n && activations.len() == n {
            true => Ok(Self { images, activations, fault: Fault::in_file(&bytes).on("read", path)? }),
            false => Err(whole()),
        }
    }
}

/// How diverse each unit's images are: those of its set, and its most activating natural images beside them; for the
/// first unit of each depth also a set made without the diversity term.
pub(super) fn diversity(work: &Work, drawn: &[&Drawn], sets: &[Set]) -> Result<Vec<tables::Diversity>> {
    let mut rows = vec![];
    let number = work.study.settings.visualization.number;
    for (at, (drawn, set)) in drawn.iter().zip(sets).enumerate() {
        let natural: Vec<RgbImage> =
            drawn.most.iter().take(number).map(|&i| work.natural[i].1.clone()).collect();
        let activations = drawn.activations[..natural.len()].to_vec();
        let natural = Set { activations, images: natural, fault: None };
        let mut kinds = vec![("visualizations", set.clone()), ("natural", natural)];
        let first = drawn.depth != rows.last().map_or(String::new(), |r: &tables::Diversity| r.depth.clone());
        if at == 0 || first {
            let plain = self::sets(work, &work.network, &work.key, &[&drawn.unit], false)?.remove(0);
            kinds.push(("without the term", plain));
        }
        for (kind, set) in kinds {
            rows.push(tables::Diversity {
                depth: drawn.depth.clone(),
                layer: drawn.unit.layer.clone(),
                channel: drawn.unit.channel,
                kind: kind.into(),
                images: set.images.len(),
                features: features(work, &drawn.unit, &set)?,
                pixels: pixels(&set),
                activation: set.activations.iter().map(|&a| f64::from(a)).sum::<f64>()
                    / set.activations.len().max(1) as f64,
            });
        }
    }
    Ok(rows)
}

/// The mean over pairs of what the diversity term counts.
fn features(work: &Work, unit: &Unit, set: &Set) -> Result<Option<f64>> {
    let term = work.study.settings.visualization.diversity.as_ref();
    let layer = term.and_then(|d| d.layer.as_ref()).unwrap_or(&unit.layer);
    let input = Preprocessing::tensor(&set.images, work.setting.executor.device());
    let input = work.study.experiment.preprocessing.apply(input);
    Ok(mean_pair(alike(work.network.capture(input, &[layer])?.remove(0))))
}

/// The mean over pairs of the correlation of pixels.
fn pixels(set: &Set) -> Option<f64> {
    let values: Vec<Vec<f32>> =
        set.images.iter().map(|i| i.as_raw().iter().map(|&v| f32::from(v)).collect()).collect();
    let pairs = values
        .iter()
        .enumerate()
        .flat_map(|(i, a)| values[..i].iter().filter_map(|b| Metric::Pearson.similarity(a, b)));
    statistics::mean(pairs)
}
