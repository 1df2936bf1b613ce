//! What visualizations show: their pictures, what the clean network sees in them, and how alike they are.

use crate::progress::Progress;
use image::RgbImage;

use super::Rows;
use crate::circuit::{Circuit, Manipulated, Target};
use crate::data::Sample;
use crate::error::Result;
use crate::experiment::{Model, Session, argmax, network_name};
use crate::files;
use crate::network::INPUT;
use crate::path::Metric;
use crate::results::Results;
use crate::statistics::mean;
use crate::tables;
use crate::training;
use crate::visualize::{self, Direction, Unit, Visualization};

/// A picture, as it is compared with others.
struct Looks {
    channel: usize,
    features: Vec<f32>,
    pixels: Vec<f32>,
}

impl Looks {
    fn features(&self, other: &Self) -> Option<f64> {
        Metric::Cosine.similarity(&self.features, &other.features)
    }

    fn pixels(&self, other: &Self) -> Option<f64> {
        Metric::Pearson.similarity(&self.pixels, &other.pixels)
    }
}

/// The structural similarity of two pictures' grey values, where they have one size and are large enough for its windows.
fn ssim(a: &RgbImage, b: &RgbImage) -> Option<f64> {
    let [a, b] = [a, b].map(image::imageops::grayscale);
    let found = image_compare::gray_similarity_structure(&image_compare::Algorithm::MSSIMSimple, &a, &b);
    found.ok().map(|s| s.score).filter(|s| s.is_finite())
}

impl Session<'_> {
    fn looks(&self, clean: &Model, layer: &str, pictures: &[(usize, &RgbImage)]) -> Result<Vec<Looks>> {
        let images: Vec<&RgbImage> = pictures.iter().map(|&(_, image)| image).collect();
        let reads = clean.network.reads(layer)?;
        let features =
            if reads == INPUT { vec![vec![]; images.len()] } else { self.features(clean, &reads, &images)? };
        let pixels = |image: &RgbImage| image.as_raw().iter().map(|&v| f32::from(v)).collect();
        Ok(pictures
            .iter()
            .zip(features)
            .map(|(&(channel, image), features)| Looks { channel, features, pixels: pixels(image) })
            .collect())
    }

    /// Writes the pictures and the rows about them: trajectories, what the clean network sees in them, and how alike
    /// they are.
    pub(super) fn describe(
        &self,
        clean: &Model,
        honest: &[Visualization],
        pictures: &[Visualization],
        circuit: Option<(&Circuit, &Manipulated)>,
        rows: &mut Rows,
        results: &mut Results,
    ) -> Result<()> {
        let Some(first) = pictures.first() else {
            return Ok(());
        };
        let layer = first.request.objective.unit.layer.clone();
        let name = circuit.map_or(tables::CLEAN, |(circuit, _)| circuit.name());
        let executor = &self.setting.executor;
        let channel = |v: &Visualization| v.request.objective.unit.channel;
        let shown: Vec<(usize, &RgbImage)> = pictures.iter().map(|v| (channel(v), v.image())).collect();
        let looks = self.looks(clean, &layer, &shown)?;
        let reference: Vec<(usize, &RgbImage)> = honest.iter().map(|v| (channel(v), v.image())).collect();
        let reference = self.looks(clean, &layer, &reference)?;
        let size = self.experiment.visualization.optimization.size;
        let given: Vec<(String, RgbImage)> = circuit.map_or_else(Vec::new, |(_, fooled)| {
            fooled.pictures.iter().map(|(name, p)| (name.clone(), size.filled(p))).collect()
        });
        let given_looks: Vec<(usize, &RgbImage)> = given.iter().map(|(_, p)| (0, p)).collect();
        let given_looks = self.looks(clean, &layer, &given_looks)?;
        let mut given_paths = vec![];
        for (word, picture) in &given {
            given_paths.push(results.picture(&format!("{name}/target_{}", files::name(word)), picture)?);
        }
        let seen: Option<Vec<usize>> = if layer == self.layer {
            let samples: Vec<Sample> = shown
                .iter()
                .map(|&(label, image)| Sample { id: String::new(), label, image: image.clone() })
                .collect();
            let hidden = Progress::hidden();
            let preprocessing = &self.experiment.preprocessing;
            let logits = training::logits(&clean.network, &samples, preprocessing, executor, &hidden)?;
            Some(logits.iter().map(|row| argmax(row)).collect())
        } else {
            None
        };
        if let Some(words) = visualize::faults(pictures) {
            results.warn(format!("{}: {words}", network_name(name)));
        }
        let mut weaker = vec![];
        let folder = format!("{name}/{}", files::name(&layer));
        for (i, picture) in pictures.iter().enumerate() {
            let channel = picture.request.objective.unit.channel;
            let target = circuit.map_or(Target::Unit(channel), |(_, fooled)| fooled.target(channel));
            // An honest picture is not compared with itself.
            let with_honest = |unit: usize, alike: &dyn Fn(&Looks) -> Option<f64>| {
                let others = honest.iter().zip(&reference).filter(|(v, r)| {
                    r.channel == unit && !(circuit.is_none() && v.request == picture.request)
                });
                mean(others.filter_map(|(_, r)| alike(r)))
            };
            let with_target = |alike: &dyn Fn(&Looks) -> Option<f64>| match target {
                Target::Unit(unit) => with_honest(unit, alike),
                Target::Picture(p) => alike(&given_looks[p]),
            };
            let shows = seen.as_ref().map(|seen| seen[i]);
            let unit = Unit { layer: layer.clone(), channel };
            let natural = self.strongest.get(&unit).copied().filter(|_| circuit.is_none());
            let activation = picture.last().activation;
            let falls_short = self.experiment.visualization.direction == Direction::Positive
                && natural.is_some_and(|natural| activation < natural);
            if falls_short && picture.fault.is_none() {
                weaker.push(unit.to_string());
            }
            let fault = picture.fault.map(|fault| fault.to_string());
            let stem = format!("{channel:04}_{}", picture.request.index);
            let path = results.picture(&format!("{folder}/{stem}"), picture.image())?;
            rows.visualizations.push(tables::Visualization {
                network: self.network.clone(),
                circuit: name.into(),
                layer: layer.clone(),
                channel,
                name: self.unit_name(&layer, channel),
                index: picture.request.index,
                picture: path,
                activation: f64::from(activation),
                natural: natural.map(f64::from),
                problem: match (fault, falls_short) {
                    (Some(fault), _) => fault,
                    (None, true) => "reached less than natural images do".into(),
                    (None, false) => String::new(),
                },
                shows,
                shows_name: shows.map_or_else(String::new, |class| self.class_name(class)),
                target: if let Target::Unit(unit) = target { Some(unit) } else { None },
                target_name: match target {
                    Target::Unit(unit) => self.unit_name(&layer, unit),
                    Target::Picture(p) => given[p].0.clone(),
                },
                target_picture: if let Target::Picture(p) = target {
                    Some(given_paths[p].clone())
                } else {
                    None
                },
                similarity_own: with_honest(channel, &|r| looks[i].features(r)),
                similarity_target: with_target(&|r| looks[i].features(r)),
                pixels_own: with_honest(channel, &|r| looks[i].pixels(r)),
                pixels_target: with_target(&|r| looks[i].pixels(r)),
                ssim_target: match target {
                    Target::Unit(_) => None,
                    Target::Picture(p) => ssim(picture.image(), &given[p].1),
                },
            });
            let images: Vec<&RgbImage> = picture.trajectory.iter().map(|s| &s.image).collect();
            let on = match circuit {
                Some((_, fooled)) => {
                    Some(self.switched(&fooled.model.network, fooled.switch.as_deref(), &images)?)
                }
                None => None,
            };
            for (k, snapshot) in picture.trajectory.iter().enumerate() {
                let stem = format!("{folder}/trajectory/{channel:04}_step{:04}", snapshot.step);
                let first = picture.request.index == 0;
                rows.trajectories.push(tables::Trajectory {
                    network: self.network.clone(),
                    circuit: name.into(),
                    layer: layer.clone(),
                    channel,
                    index: picture.request.index,
                    step: snapshot.step,
                    activation: f64::from(snapshot.activation),
                    switch: on.as_ref().map(|on| if on[k] { 1.0 } else { 0.0 }),
                    picture: if first { Some(results.picture(&stem, &snapshot.image)?) } else { None },
                });
            }
        }
        if !weaker.is_empty() {
            results.warn(format!(
                "{} of {} visualizations of {layer} reach less than natural images do ({}): more steps may help",
                weaker.len(),
                pictures.len(),
                weaker.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
            ));
        }
        let firsts: Vec<&Looks> =
            pictures.iter().zip(&looks).filter(|(v, _)| v.request.index == 0).map(|(_, l)| l).collect();
        for (i, a) in firsts.iter().enumerate() {
            for b in &firsts[i + 1..] {
                rows.resemblance.push(tables::Resemblance {
                    network: self.network.clone(),
                    circuit: name.into(),
                    layer: layer.clone(),
                    channel: a.channel,
                    other: b.channel,
                    features: a.features(b),
                    pixels: a.pixels(b),
                });
            }
        }
        Ok(())
    }
}
