//! How well each detector tells each circuit's units from others, and how well it does where there is nothing to tell.

use crate::seed;
use crate::statistics::mean;
use crate::statistics::roc::{self, Comparison, Stratum};
use crate::tables::unique;
use crate::tables::{self, CLEAN};

/// What the controls are called in tables, and what chance gives.
pub const CLEAN_AGAINST_CLEAN: &str = "clean against clean";
/// Honest networks from other seeds against the clean network; in scores a number follows the name.
pub const OTHER_SEEDS: &str = "other seeds";
/// The same architecture with random weights against the clean network.
pub const UNTRAINED: &str = "untrained network";
/// Noisy natural images in the place of the clean network's pictures, against these pictures.
pub const NOISY: &str = "noisy natural images";
/// What permuted labels give.
pub const CHANCE: &str = "chance (labels permuted)";

/// How often labels are permuted.
pub const PERMUTATIONS: usize = 200;

/// The share of false positives at which finds are counted.
const RATE: f64 = 0.05;

/// The name in scores of an honest network from another seed.
pub(super) fn other_seed(number: usize) -> String {
    format!("{OTHER_SEEDS} {number}")
}

/// Whether a name in scores is of no circuit.
pub(super) fn is_control(circuit: &str) -> bool {
    circuit == CLEAN || circuit == UNTRAINED || circuit == NOISY || circuit.starts_with(OTHER_SEEDS)
}

/// The scores of one detector with one method.
struct Of<'a> {
    scores: Vec<&'a tables::Score>,
    layers: Vec<&'a str>,
}

impl<'a> Of<'a> {
    /// The draws of a circuit's fooled units, layer by layer, with what is compared of each unit.
    fn draws(&self, circuit: &str, value: impl Fn(&tables::Score) -> Option<f64>) -> Vec<Comparison> {
        let mut all = vec![];
        for (at, layer) in self.layers.iter().enumerate() {
            let here: Vec<&&tables::Score> =
                self.scores.iter().filter(|s| s.circuit == circuit && s.layer == *layer).collect();
            for draw in unique(here.iter().filter_map(|s| s.draw)) {
                let side = |fooled: bool| -> (Vec<usize>, Vec<Option<f64>>) {
                    let of = here.iter().filter(|s| s.draw == Some(draw) && s.is_fooled() == fooled);
                    of.map(|s| (s.channel, value(s))).unzip()
                };
                let [(fooled, manipulated), (others, clean)] = [side(true), side(false)];
                let stratum = Stratum { manipulated, clean };
                all.push(Comparison { layer: at, draw, stratum, units: [fooled, others] });
            }
        }
        all
    }

    /// Networks, or ways of scoring, without fooled units against the clean network: each of `names` is a draw. The units are
    /// others, even where they have the same numbers, unless `same`.
    fn against_clean(&self, names: &[String], same: bool) -> Vec<Comparison> {
        let mut all = vec![];
        for (at, layer) in self.layers.iter().enumerate() {
            let of = |circuit: &str| -> (Vec<usize>, Vec<Option<f64>>) {
                let here = self.scores.iter().filter(|s| s.circuit == circuit && s.layer == *layer);
                here.map(|s| (s.channel, s.score)).unzip()
            };
            let (units, clean) = of(CLEAN);
            for (draw, name) in names.iter().enumerate() {
                let (others, manipulated) = of(name);
                if manipulated.is_empty() {
                    continue;
                }
                let shift = if same { 0 } else { (draw + 1) << 32 };
                let others = others.into_iter().map(|unit| unit + shift).collect();
                let stratum = Stratum { manipulated, clean: clean.clone() };
                all.push(Comparison { layer: at, draw, stratum, units: [others, units.clone()] });
            }
        }
        all
    }
}

/// What is said of some comparisons: all layers together, and each by itself where there are several.
struct Cell {
    circuit: String,
    control: bool,
    scores: Vec<Comparison>,
    honest: Vec<Comparison>,
    paired: Vec<Comparison>,
    /// Whether what was drawn are networks.
    networks: bool,
}

/// The table of detections.
pub(super) fn detections(scores: &[tables::Score], bootstrap: usize, seed: u64) -> Vec<tables::Detection> {
    let mut rows = vec![];
    let circuits = unique(scores.iter().map(|s| s.circuit.as_str()).filter(|c| !is_control(c)));
    let Some(network) = scores.first().map(|s| s.network.clone()) else {
        return rows;
    };
    let methods = unique(scores.iter().map(|s| s.method.as_str()));
    let detectors = unique(scores.iter().map(|s| s.detector.as_str()));
    // The best one is chosen from so many.
    let choices = (methods.len() * detectors.len()) as f64;
    for method in &methods {
        for detector in &detectors {
            let here: Vec<&tables::Score> =
                scores.iter().filter(|s| s.method == *method && s.detector == *detector).collect();
            let of = Of { layers: unique(here.iter().map(|s| s.layer.as_str())), scores: here };
            let more = |s: &tables::Score| s.score.zip(s.honest).map(|(score, honest)| score - honest);
            let mut cells: Vec<Cell> = circuits
                .iter()
                .map(|&circuit| Cell {
                    circuit: circuit.into(),
                    control: false,
                    scores: of.draws(circuit, |s| s.score),
                    honest: of.draws(circuit, |s| s.honest),
                    paired: of.draws(circuit, more),
                    networks: false,
                })
                .collect();
            let control = |circuit: &str, scores: Vec<Comparison>, networks: bool| Cell {
                circuit: circuit.into(),
                control: true,
                scores,
                honest: vec![],
                paired: vec![],
                networks,
            };
            // The same draws of the same units, in the network that none of them is fooled in; draws of a layer are the same for
            // all circuits.
            let mut drawn: Vec<Comparison> = vec![];
            for comparison in cells.iter().flat_map(|cell| &cell.honest) {
                if !drawn.iter().any(|d| (d.layer, d.draw) == (comparison.layer, comparison.draw)) {
                    drawn.push(comparison.clone());
                }
            }
            cells.push(control(CLEAN_AGAINST_CLEAN, drawn, false));
            let others: Vec<String> = unique(of.scores.iter().map(|s| s.circuit.as_str()))
                .into_iter()
                .filter(|c| c.starts_with(OTHER_SEEDS))
                .map(String::from)
                .collect();
            cells.push(control(OTHER_SEEDS, of.against_clean(&others, false), true));
            cells.push(control(UNTRAINED, of.against_clean(&[UNTRAINED.into()], false), false));
            cells.push(control(NOISY, of.against_clean(&[NOISY.into()], true), false));
            for cell in &cells {
                let mut parts: Vec<(String, Vec<usize>)> =
                    vec![(String::new(), (0..of.layers.len()).collect())];
                let present: Vec<usize> = unique(cell.scores.iter().map(|c| c.layer));
                parts.extend(present.iter().map(|&at| (of.layers[at].to_string(), vec![at])));
                for (layer, places) in parts {
                    let purpose = (&cell.circuit, &layer, method, detector);
                    rows.extend(row(cell, &places, bootstrap, choices, seed, &purpose).map(|row| {
                        tables::Detection {
                            network: network.clone(),
                            layer,
                            method: (*method).into(),
                            detector: (*detector).into(),
                            ..row
                        }
                    }));
                }
            }
            // One draw of each circuit: draws of the same units are no further evidence of what chance gives.
            let once: Vec<Stratum> = cells
                .iter()
                .filter(|cell| !cell.control)
                .flat_map(|cell| cell.scores.iter().filter(|c| c.draw == 0).map(|c| c.stratum.clone()))
                .collect();
            let mut rng = seed::rng(seed, &("permuted labels", method, detector));
            if let Some(null) = roc::null(&once, PERMUTATIONS, RATE, &mut rng) {
                let compared = || once.iter().map(|s| s.clean.len());
                rows.push(tables::Detection {
                    network: network.clone(),
                    circuit: CHANCE.into(),
                    control: true,
                    method: (*method).into(),
                    detector: (*detector).into(),
                    draws: PERMUTATIONS,
                    manipulated: once.iter().map(|s| s.manipulated.len()).sum(),
                    clean: compared().sum(),
                    fewest_clean: compared().min(),
                    auc: Some(null.auc),
                    lower: Some(null.interval.0),
                    upper: Some(null.interval.1),
                    true_positives: Some(null.true_positives),
                    ..tables::Detection::default()
                });
            }
        }
    }
    rows
}

/// What is said of the comparisons in some layers; none where there are none. The rest of the row is the caller's.
fn row(
    cell: &Cell,
    layers: &[usize],
    bootstrap: usize,
    choices: f64,
    seed: u64,
    purpose: &impl std::fmt::Debug,
) -> Option<tables::Detection> {
    let within = |all: &[Comparison]| -> Vec<Comparison> {
        all.iter().filter(|c| layers.contains(&c.layer)).cloned().collect()
    };
    let strata = |all: &[Comparison]| -> Vec<Stratum> { all.iter().map(|c| c.stratum.clone()).collect() };
    let scores = within(&cell.scores);
    let auc = roc::auc(&strata(&scores))?;
    let draws = unique(scores.iter().map(|c| c.draw)).len();
    let units =
        |side: usize| unique(scores.iter().flat_map(|c| c.units[side].iter().map(|&u| (c.layer, u)))).len();
    let few = match cell.networks {
        true => draws,
        false => units(0).min(units(1)),
    };
    let interval = |all: &[Comparison], confidence: f64| {
        roc::interval(all, few, bootstrap, confidence, &mut seed::rng(seed, &("bootstrap", purpose)))
    };
    let ends = interval(&scores, 0.95);
    let simultaneous =
        if cell.control || choices < 2.0 { None } else { interval(&scores, 1.0 - 0.05 / choices) };
    let paired = within(&cell.paired);
    let paired_ends = if paired.is_empty() { None } else { interval(&paired, 0.95) };
    // Each network's own area.
    let between = cell.networks.then(|| {
        let areas: Vec<f64> = unique(scores.iter().map(|c| c.draw))
            .into_iter()
            .filter_map(|draw| {
                let own: Vec<Comparison> = scores.iter().filter(|c| c.draw == draw).cloned().collect();
                roc::auc(&strata(&own))
            })
            .collect();
        let middle = mean(areas.iter().copied())?;
        let squares = areas.iter().map(|a| (a - middle).powi(2)).sum::<f64>();
        (areas.len() > 1).then(|| (squares / (areas.len() - 1) as f64).sqrt())
    });
    Some(tables::Detection {
        circuit: cell.circuit.clone(),
        control: cell.control,
        draws,
        manipulated: units(0),
        clean: units(1),
        fewest_clean: scores
            .iter()
            .filter(|c| !c.stratum.manipulated.is_empty())
            .map(|c| c.stratum.clean.len())
            .min(),
        auc: Some(auc),
        lower: ends.map(|(low, _)| low),
        upper: ends.map(|(_, high)| high),
        simultaneous_lower: simultaneous.map(|(low, _)| low),
        simultaneous_upper: simultaneous.map(|(_, high)| high),
        honest: roc::auc(&strata(&within(&cell.honest))),
        paired: roc::auc(&strata(&paired)),
        paired_lower: paired_ends.map(|(low, _)| low),
        paired_upper: paired_ends.map(|(_, high)| high),
        between: between.flatten(),
        true_positives: roc::true_positives_at(&strata(&scores), RATE),
        ..tables::Detection::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(
        circuit: &str,
        channel: usize,
        draw: Option<usize>,
        fooled: bool,
        value: f64,
        honest: Option<f64>,
    ) -> tables::Score {
        tables::Score {
            network: "n".into(),
            circuit: circuit.into(),
            layer: "conv".into(),
            channel,
            manipulated: fooled,
            group: if fooled { tables::FOOLED } else { tables::OTHER }.into(),
            method: "m".into(),
            detector: "d".into(),
            score: Some(value),
            draw,
            honest,
        }
    }

    /// Units that score high whether they are fooled or not: the area of one draw says that they are found, roles exchanged and
    /// pairs say what the circuit adds.
    #[test]
    fn pairs_and_exchanged_roles_take_out_what_units_are_like() {
        let honest = [9.0, 8.0, 1.0, 0.0];
        let mut all: Vec<tables::Score> =
            (0..4).map(|unit| score(CLEAN, unit, None, false, honest[unit], None)).collect();
        let draw = |draw: usize, fooled: [usize; 2], lift: f64| {
            (0..4).map(move |unit| {
                let fooled = fooled.contains(&unit);
                let value = honest[unit] + if fooled { lift } else { 0.0 };
                score("c", unit, Some(draw), fooled, value, Some(honest[unit]))
            })
        };
        let of = |all: &[tables::Score]| {
            detections(all, 200, 1).into_iter().find(|d| d.circuit == "c" && d.pooled()).unwrap()
        };
        let once: Vec<_> = all.iter().cloned().chain(draw(0, [0, 1], 0.0)).collect();
        let row = of(&once);
        assert_eq!((row.auc, row.honest, row.paired), (Some(1.0), Some(1.0), Some(0.5)));
        all.extend(draw(0, [0, 1], 0.5));
        all.extend(draw(1, [2, 3], 0.5));
        let row = of(&all);
        assert_eq!((row.auc, row.honest, row.paired), (Some(0.5), Some(0.5), Some(1.0)));
        assert_eq!((row.draws, row.manipulated, row.clean), (2, 4, 4));
        // A difference that separates all still has a bound.
        assert!(row.paired_lower.unwrap() < 0.9 && row.paired_upper == Some(1.0));
        let clean = detections(&all, 200, 1).into_iter().find(|d| d.circuit == CLEAN_AGAINST_CLEAN).unwrap();
        assert!(clean.control && clean.auc == Some(0.5));
    }

    #[test]
    fn networks_of_other_seeds_are_compared_each_by_itself() {
        let mut all: Vec<tables::Score> =
            (0..6).map(|unit| score(CLEAN, unit, None, false, unit as f64, None)).collect();
        for (number, shift) in [(1, 10.0), (2, -10.0), (3, 0.0)] {
            all.extend(
                (0..6).map(|unit| score(&other_seed(number), unit, None, false, unit as f64 + shift, None)),
            );
        }
        let row = detections(&all, 200, 1).into_iter().find(|d| d.circuit == OTHER_SEEDS).unwrap();
        assert!((row.auc.unwrap() - 0.5).abs() < 1e-9 && row.draws == 3);
        assert!((row.between.unwrap() - 0.5).abs() < 1e-9);
        assert!(row.lower.unwrap() < 0.1 && row.upper.unwrap() > 0.9);
    }
}
