//! The matching task (Klein, Brendel and Wichmann, VSS 2023): three rows of images are matched with three others.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::plan::Task;
use super::units::{Drawn, first_triple};
use crate::error::{Error, Result};
use crate::seed;

/// Three units, and which of their images one condition shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Triple {
    /// Positions among the drawn units.
    pub units: [usize; 3],
    /// The exemplars of each unit in random order, as positions among its most activating images: halves of a row are
    /// taken from its beginning.
    pub exemplars: [Vec<usize>; 3],
    /// The same of its visualizations.
    pub visualizations: [Vec<usize>; 3],
    /// Tells it from others where it is drawn for.
    purpose: String,
    number: usize,
}

impl Triple {
    /// Where the row of each unit goes on the right: as good as independent between tasks and numbers of images, so that
    /// who meets three units again has nothing to remember.
    pub fn key(&self, task: Task, images: usize, seed: u64) -> [usize; 3] {
        let mut key = [0, 1, 2];
        key.shuffle(&mut seed::rng(seed, &("rows", &self.purpose, self.number, task, images)));
        key
    }
}

/// Draws `count` triples of units of one layer, all units about equally often; units that share one of their
/// `exemplars` most activating images do not meet.
pub(super) fn triples(
    drawn: &[Drawn],
    of: impl Fn(&Drawn) -> bool,
    count: usize,
    exemplars: usize,
    visualizations: usize,
    seed: u64,
    purpose: &str,
) -> Result<Vec<Triple>> {
    let mut layers: Vec<&String> = vec![];
    for unit in drawn.iter().filter(|d| of(d)) {
        if !layers.contains(&&unit.unit.layer) {
            layers.push(&unit.unit.layer);
        }
    }
    let disjoint = |a: usize, b: usize| drawn[a].disjoint(&drawn[b], exemplars);
    let mut uses = vec![0usize; drawn.len()];
    let mut triples = vec![];
    for number in 0..count {
        let mut rng = seed::rng(seed, &("triple", purpose, number));
        let layer = layers[number % layers.len()];
        let mut candidates: Vec<usize> =
            (0..drawn.len()).filter(|&i| of(&drawn[i]) && drawn[i].unit.layer == *layer).collect();
        candidates.shuffle(&mut rng);
        candidates.sort_by_key(|&i| uses[i]);
        let found = first_triple(&candidates, disjoint).ok_or_else(|| {
            Error::usage(format!(
                "no three of the {} units of layer {layer} have {exemplars} most activating images each that are \
                 different: name more units or more natural images, or lower matching.exemplars",
                candidates.len()
            ))
        })?;
        found.iter().for_each(|&i| uses[i] += 1);
        let mut units = found;
        units.shuffle(&mut rng);
        triples.push(Triple {
            units,
            exemplars: [(); 3].map(|()| order(exemplars, &mut rng)),
            visualizations: [(); 3].map(|()| order(visualizations, &mut rng)),
            purpose: purpose.into(),
            number,
        });
    }
    Ok(triples)
}

fn order(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    all.shuffle(rng);
    all
}

/// A number that tells nothing, for a trial's name.
pub(super) fn id(seed: u64, number: usize) -> String {
    format!("{:012x}", seed::rng(seed, &("trial", number)).random_range(0..1u64 << 48))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visualize::Unit;

    fn drawn(layer: &str, channel: usize, most: &[usize]) -> Drawn {
        Drawn {
            unit: Unit { layer: layer.into(), channel },
            depth: "early".into(),
            practice: false,
            most: most.to_vec(),
            activations: vec![1.0; most.len()],
            deviation: 1.0,
        }
    }

    #[test]
    fn units_are_asked_about_equally_often_and_never_share_images() {
        let mut units: Vec<Drawn> = (0..6).map(|c| drawn("a", c, &[10 * c, 10 * c + 1])).collect();
        // Units 0 and 1 share an image.
        units[1].most[0] = 1;
        units.extend((0..3).map(|c| drawn("b", c, &[100 * c + 100, 100 * c + 101])));
        let all = triples(&units, |_| true, 8, 2, 5, 7, "x").unwrap();
        let mut uses = [0; 9];
        for triple in &all {
            let mut sorted = triple.units;
            sorted.sort_unstable();
            assert!(sorted[0] < sorted[1] && sorted[1] < sorted[2]);
            assert!(sorted.iter().all(|&i| units[i].unit.layer == units[sorted[0]].unit.layer));
            assert!(!(sorted.contains(&0) && sorted.contains(&1)));
            sorted.iter().for_each(|&i| uses[i] += 1);
            let mut key = triple.key(Task::Exemplar, 1, 7);
            key.sort_unstable();
            assert_eq!(key, [0, 1, 2]);
        }
        assert!(uses[..6].iter().all(|&n| n == 2), "{uses:?}");
        assert!(uses[6..].iter().all(|&n| n == 4), "{uses:?}");
        // All six orders occur.
        let mut keys: Vec<[usize; 3]> =
            all.iter().flat_map(|t| (1..9).map(|n| t.key(Task::Visualization, n, 7))).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 6);
        assert_eq!(all, triples(&units, |_| true, 8, 2, 5, 7, "x").unwrap());
        assert_ne!(all, triples(&units, |_| true, 8, 2, 5, 8, "x").unwrap());
    }

    #[test]
    fn units_that_all_share_images_are_refused() {
        let units: Vec<Drawn> = (0..4).map(|c| drawn("a", c, &[0, c + 1])).collect();
        let error = triples(&units, |_| true, 1, 2, 5, 0, "x").unwrap_err();
        assert!(error.to_string().contains("matching.exemplars"));
    }
}
