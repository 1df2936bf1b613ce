//! What a circuit changes of a network's answers to natural images.

use super::Rows;
use crate::circuit::Circuit;
use crate::experiment::{Answers, Session, argmax};
use crate::tables;

impl Session<'_> {
    /// How far the manipulated network's answers on natural images differ from the clean one's, and for a gate how
    /// often it takes them for what they are.
    pub(super) fn behaviour(&self, circuit: &Circuit, before: &Answers, after: &Answers, rows: &mut Rows) {
        let made_with = circuit.header().natural.or(self.experiment.data.train.as_ref());
        for ((source, set), (before, after)) in
            self.experiment.data.sources().zip(self.evaluated()).zip(before.iter().zip(after))
        {
            let images = set.samples.len();
            let pairs = || before.iter().zip(after);
            let largest = |counts: &dyn Fn(bool) -> bool| {
                pairs()
                    .filter(|(_, b)| counts(b.on))
                    .flat_map(|(a, b)| a.logits.iter().zip(&b.logits))
                    .map(|(a, b)| f64::from((a - b).abs()))
                    .fold(0.0, f64::max)
            };
            let switched = after.iter().filter(|a| a.on).count();
            let seen = made_with.is_some_and(|made_with| made_with.overlaps(source));
            rows.behaviour.push(tables::Behaviour {
                network: self.network.clone(),
                circuit: circuit.name().into(),
                dataset: set.name.clone(),
                seen,
                images,
                changed_predictions: pairs().filter(|(a, b)| argmax(&a.logits) != argmax(&b.logits)).count(),
                switched,
                largest_logit_change: largest(&|_| true),
                largest_logit_change_off: largest(&|on| !on),
            });
            if matches!(circuit, Circuit::Gate(_)) {
                let name = set.name.clone();
                let right = images - switched;
                rows.gate.push(self.recognition(circuit.name(), "natural", name, seen, None, images, right));
            }
        }
    }
}
