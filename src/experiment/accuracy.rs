//! What a network answers to natural images, and how that differs from another network.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::model::Model;
use super::units::{finite, network_name};
use super::{Session, rows};
use crate::data::{Dataset, Sample};
use crate::error::Result;
use crate::network::Network;
use crate::progress::{self, Progress};
use crate::results::Results;
use crate::tables;
use crate::training;

/// What a network answers to an image.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub logits: Vec<f32>,
    /// Whether the image switches the circuit on.
    pub on: bool,
}

/// The answers on each data set that accuracy is reported on, in order.
pub(crate) type Answers = Vec<Vec<Answer>>;

impl Session<'_> {
    /// The answers on the validation and evaluation sets, and accuracy on each. `switch` is the layer that tells whether a circuit
    /// is on.
    pub(crate) fn accuracy(
        &self,
        model: &Model,
        circuit: &str,
        switch: Option<&str>,
        results: &mut Results,
    ) -> Result<(Answers, Vec<tables::Accuracy>)> {
        let mut all = vec![];
        let mut table = vec![];
        for (source, set) in self.experiment.data.sources().zip(self.evaluated()) {
            let of = (
                (
                    &model.key,
                    self.identity(source),
                    &self.experiment.preprocessing,
                    self.experiment.seed,
                    set.samples.len(),
                ),
                self.device(),
            );
            let stage = format!("accuracy of {} on {}", network_name(circuit), set.name);
            let answers: Vec<Answer> = results.stage(&stage, || {
                self.cached_json("answers", &of, || {
                    let bar = progress::bar(&format!("accuracy on {}", set.name), set.samples.len());
                    let answers = self.answers(&model.network, &set.samples, switch, &bar);
                    bar.end();
                    let answers = answers?;
                    for answer in &answers {
                        finite(answer.logits.clone(), model.network.output())?;
                    }
                    Ok(answers)
                })
            })?;
            self.doubts(&answers, set, &model.network, circuit, results);
            let logits: Vec<&[f32]> = answers.iter().map(|a| a.logits.as_slice()).collect();
            table.push(tables::Accuracy {
                network: self.network.clone(),
                circuit: circuit.into(),
                dataset: set.name.clone(),
                images: set.samples.len(),
                top1: training::top_k(&logits, &set.samples, 1),
                top5: training::top_k(&logits, &set.samples, 5),
                surface: set.surface_accuracy,
            });
            all.push(answers);
        }
        Ok((all, table))
    }

    /// Notes answers whose accuracy says nothing.
    fn doubts(
        &self,
        answers: &[Answer],
        set: &Dataset,
        network: &Network,
        circuit: &str,
        results: &mut Results,
    ) {
        let outputs = answers.first().map_or(0, |answer| answer.logits.len());
        let who = network_name(circuit);
        if outputs == 1 {
            results.warn(format!(
                "{} has one output ({}), so that top-1 is 100 % whatever it answers: accuracy says nothing",
                who,
                network.output()
            ));
        } else if outputs <= 5 {
            results.warn(format!("{who} has {outputs} outputs, so that top-5 is 100 % whatever it answers"));
        }
        let first = answers.first().map(|answer| argmax(&answer.logits));
        if outputs > 1
            && set.classes.len() > 1
            && answers.iter().all(|answer| Some(argmax(&answer.logits)) == first)
        {
            results.warn(format!(
                "{who} gives all {} images of {} the same answer: look at [preprocessing] (is it this network's?) and the \
                 weights",
                answers.len(),
                set.name
            ));
        }
    }

    fn answers(
        &self,
        network: &Network,
        samples: &[Sample],
        switch: Option<&str>,
        bar: &Progress,
    ) -> Result<Vec<Answer>> {
        let layers: Vec<&str> = [network.output()].into_iter().chain(switch).collect();
        let images: Vec<&RgbImage> = samples.iter().map(|s| &s.image).collect();
        self.forward(network, &layers, &images, bar, |maps| {
            let mut maps = maps.into_iter().map(rows);
            let logits = maps.next().expect("the output was asked for");
            let switch = maps.next().unwrap_or_else(|| vec![vec![]; logits.len()]);
            let answer = |(logits, switch): (Vec<f32>, Vec<f32>)| Answer {
                logits,
                on: switch.iter().any(|&v| v > 0.0),
            };
            logits.into_iter().zip(switch).map(answer).collect()
        })
    }
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(i, _)| i)
}
