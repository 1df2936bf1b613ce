//! What a network answers to natural images, and how that differs from another network.

use image::RgbImage;

use super::Run;
use super::gated::Gated;
use super::model::Model;
use crate::data::Sample;
use crate::error::Result;
use crate::progress;
use crate::report::{Results, tables};
use crate::training;

/// The logits on a data set.
pub(super) struct Logits {
    samples: Vec<Sample>,
    dataset: String,
    values: Vec<Vec<f32>>,
}

impl Run<'_> {
    /// Accuracy on the validation and evaluation sets; gives the logits on each.
    pub(super) fn accuracy(
        &mut self,
        model: &Model,
        circuit: &str,
        results: &mut Results,
    ) -> Result<Vec<Logits>> {
        let mut all = vec![];
        for source in
            std::iter::once(&self.experiment.data.validation).chain(&self.experiment.data.evaluation)
        {
            let loaded;
            let set = if *source == self.experiment.data.validation {
                &self.validation
            } else {
                loaded = self.load(source, results)?;
                &loaded
            };
            let of =
                (&model.key, source, &self.experiment.preprocessing, self.experiment.seed, set.samples.len());
            let logits = results.stage(&format!("accuracy on {} ({circuit})", set.name), || {
                self.cached_json("logits", &of, || {
                    let bar = progress::bar(&format!("accuracy on {}", set.name), set.samples.len());
                    let logits = training::logits(
                        &model.network,
                        &set.samples,
                        &self.experiment.preprocessing,
                        &self.setting.executor,
                        &bar,
                    );
                    bar.finish_and_clear();
                    logits
                })
            })?;
            self.accuracy.push(tables::Accuracy {
                network: self.name(),
                circuit: circuit.into(),
                dataset: set.name.clone(),
                images: set.samples.len(),
                top1: training::top_k(&logits, &set.samples, 1),
                top5: training::top_k(&logits, &set.samples, 5),
            });
            all.push(Logits { dataset: set.name.clone(), samples: set.samples.clone(), values: logits });
        }
        Ok(all)
    }

    /// How far the manipulated network's answers on natural images differ from the clean one's.
    pub(super) fn behaviour(
        &mut self,
        gated: &Gated,
        circuit: &str,
        before: &[Logits],
        after: &[Logits],
    ) -> Result<()> {
        for (before, after) in before.iter().zip(after) {
            let images: Vec<&RgbImage> = before.samples.iter().map(|s| &s.image).collect();
            let answers = gated.answers(&images, &self.experiment.preprocessing, &self.setting.executor)?;
            let passes: Vec<bool> = answers.iter().map(|&t| t == 0.0).collect();
            let pairs = || before.values.iter().zip(&after.values);
            let largest = pairs()
                .zip(&passes)
                .filter(|(_, passes)| **passes)
                .flat_map(|((a, b), _)| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())))
                .fold(0.0, f64::max);
            self.behaviour.push(tables::Behaviour {
                network: self.name(),
                circuit: circuit.into(),
                dataset: before.dataset.clone(),
                images: before.values.len(),
                changed_predictions: pairs().filter(|(a, b)| argmax(a) != argmax(b)).count(),
                largest_logit_change: largest,
            });
        }
        Ok(())
    }
}

pub(super) fn argmax(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(i, _)| i)
}
