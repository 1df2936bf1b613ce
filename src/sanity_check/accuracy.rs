//! What a network answers to natural images, and how that differs from another network.

use image::RgbImage;

use super::Run;
use super::manipulation::Manipulated;
use super::model::Model;
use super::units::network_name;
use crate::circuit::Circuit;
use crate::error::Result;
use crate::progress;
use crate::report::{Results, tables};
use crate::training;

/// The logits on each data set that accuracy is reported on, in order.
pub(super) type Logits = Vec<Vec<Vec<f32>>>;

impl Run<'_> {
    /// Accuracy on the validation and evaluation sets; gives the logits on each.
    pub(super) fn accuracy(&mut self, model: &Model, circuit: &str, results: &mut Results) -> Result<Logits> {
        let mut all = vec![];
        let mut rows = vec![];
        for (source, set) in self.experiment.data.sources().zip(self.evaluated()) {
            let of =
                (&model.key, source, &self.experiment.preprocessing, self.experiment.seed, set.samples.len());
            let stage = format!("accuracy of {} on {}", network_name(circuit), set.name);
            let logits: Vec<Vec<f32>> = results.stage(&stage, || {
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
            rows.push(tables::Accuracy {
                network: self.network.clone(),
                circuit: circuit.into(),
                dataset: set.name.clone(),
                images: set.samples.len(),
                top1: training::top_k(&logits, &set.samples, 1),
                top5: training::top_k(&logits, &set.samples, 5),
            });
            all.push(logits);
        }
        self.accuracy.extend(rows);
        Ok(all)
    }

    /// How far the manipulated network's answers on natural images differ from the clean one's, and for a gate how
    /// often it takes them for what they are.
    pub(super) fn behaviour(
        &mut self,
        fooled: &Manipulated,
        circuit: &Circuit,
        before: &Logits,
        after: &Logits,
        results: &mut Results,
    ) -> Result<()> {
        let mut rows = vec![];
        let mut gates = vec![];
        let made_with = circuit.natural().or(self.experiment.data.train.as_ref());
        for ((source, set), (before, after)) in
            self.experiment.data.sources().zip(self.evaluated()).zip(before.iter().zip(after))
        {
            let images: Vec<&RgbImage> = set.samples.iter().map(|s| &s.image).collect();
            let stage = format!("switch of {} on {}", circuit.name(), set.name);
            let on = results.stage(&stage, || self.switched(fooled, &images))?;
            let pairs = || before.iter().zip(after);
            let largest = |counts: &dyn Fn(bool) -> bool| {
                pairs()
                    .zip(&on)
                    .filter(|(_, on)| counts(**on))
                    .flat_map(|((a, b), _)| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())))
                    .fold(0.0, f64::max)
            };
            let switched = on.iter().filter(|on| **on).count();
            let seen = made_with == Some(source);
            rows.push(tables::Behaviour {
                network: self.network.clone(),
                circuit: circuit.name().into(),
                dataset: set.name.clone(),
                seen,
                images: images.len(),
                changed_predictions: pairs().filter(|(a, b)| argmax(a) != argmax(b)).count(),
                switched,
                largest_logit_change: largest(&|_| true),
                largest_logit_change_off: largest(&|on| !on),
            });
            if matches!(circuit, Circuit::Gate(_)) {
                gates.push(tables::Gate {
                    network: self.network.clone(),
                    circuit: circuit.name().into(),
                    kind: "natural".into(),
                    dataset: set.name.clone(),
                    seen,
                    step: None,
                    images: images.len(),
                    correct: 1.0 - switched as f64 / images.len().max(1) as f64,
                });
            }
        }
        self.behaviour.extend(rows);
        self.gate.extend(gates);
        Ok(())
    }
}

pub(super) fn argmax(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(i, _)| i)
}
