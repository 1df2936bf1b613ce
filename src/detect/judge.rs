//! What honest networks of the same architecture say of a network's scores.
//!
//! Units of one network resemble one another more than units of two, so a rate that is counted over the units of one honest
//! network holds for no other network. Here a network counts once, however many units it has: if the audited network is honest,
//! it and the honest ones could change places, and its p-values are what they would be for any of them (Lee, Barber and
//! Willett, 2023). With K honest networks none is below 1 / (K + 1).
//!
//! That holds exactly only if all K + 1 networks are treated alike, so each is measured by the K others: what is usual, and
//! which detectors can be used at all.

use std::f64::consts::FRAC_2_PI;

use crate::statistics;
use crate::statistics::mean;
use crate::statistics::roc::{self, Stratum};

/// A unit and what each detector makes of it.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub layer: String,
    pub channel: usize,
    pub scores: Vec<(String, Option<f64>)>,
}

/// Detectors whose scores differ between honest networks by more than this beyond chance are left out: by the mean distance
/// from 1/2 of the area under the ROC curve of one network's units against those of the others.
pub(super) const BETWEEN: f64 = 0.1;

/// What is usual in a layer, by detector, among the units of some networks.
struct Usual {
    layer: String,
    detector: String,
    median: f64,
    spread: f64,
    /// How far honest networks differ: the mean distance from 1/2 of the areas, where there are several.
    between: Option<f64>,
    /// Whether that is too far.
    left_out: bool,
}

/// What is usual among the units of some networks, by layer and detector.
fn usual(networks: &[&[Unit]]) -> Vec<Usual> {
    let mut all: Vec<(String, String)> = vec![];
    for unit in networks.iter().flat_map(|network| network.iter()) {
        for (detector, _) in &unit.scores {
            if !all.iter().any(|(layer, name)| *layer == unit.layer && name == detector) {
                all.push((unit.layer.clone(), detector.clone()));
            }
        }
    }
    all.into_iter()
        .filter_map(|(layer, detector)| {
            let by_network: Vec<Vec<f64>> = networks
                .iter()
                .map(|network| {
                    let here = network.iter().filter(|unit| unit.layer == layer);
                    here.filter_map(|unit| score(unit, &detector)).collect()
                })
                .collect();
            let scores = by_network.concat();
            let median = statistics::median(&scores)?;
            let away: Vec<f64> = scores.iter().map(|s| (s - median).abs()).collect();
            // Where most units score the same, deviations are measured by their mean.
            let spread = (1.4826 * statistics::median(&away)?).max(mean(away)?).max(1e-3);
            let between = between(&by_network);
            let left_out = between.is_some_and(|(by, chance)| by > chance + BETWEEN);
            Some(Usual { layer, detector, median, spread, between: between.map(|(by, _)| by), left_out })
        })
        .collect()
}

fn score(unit: &Unit, detector: &str) -> Option<f64> {
    unit.scores.iter().find(|(name, _)| name == detector).and_then(|(_, score)| *score)
}

/// The mean distance from 1/2 of the area of each network's scores against those of all others, and what chance makes of it if
/// networks don't differ: the mean of a normal deviation of the variance of Mann and Whitney's statistic. Few units differ much
/// by chance.
fn between(networks: &[Vec<f64>]) -> Option<(f64, f64)> {
    if networks.len() < 2 {
        return None;
    }
    let some = |scores: &[f64]| scores.iter().map(|s| Some(*s)).collect::<Vec<_>>();
    let (distances, chances): (Vec<f64>, Vec<f64>) = networks
        .iter()
        .enumerate()
        .filter_map(|(i, own)| {
            let others =
                networks.iter().enumerate().filter(|(j, _)| *j != i).flat_map(|(_, other)| some(other));
            let stratum = Stratum { manipulated: some(own), clean: others.collect() };
            let [m, n] = [stratum.manipulated.len() as f64, stratum.clean.len() as f64];
            let deviation = ((m + n + 1.0) / (12.0 * m * n)).sqrt();
            Some(((roc::auc(&[stratum])? - 0.5).abs(), deviation * FRAC_2_PI.sqrt()))
        })
        .unzip();
    Some((mean(distances)?, mean(chances)?))
}

/// The largest deviation of each unit's scores upwards from what is usual, in spreads, and the detector that it is from.
fn suspicions(units: &[Unit], usual: &[Usual]) -> Vec<Option<(f64, String)>> {
    units
        .iter()
        .map(|unit| {
            usual
                .iter()
                .filter(|u| u.layer == unit.layer && !u.left_out)
                .filter_map(|u| Some(((score(unit, &u.detector)? - u.median) / u.spread, u.detector.clone())))
                .max_by(|a, b| a.0.total_cmp(&b.0))
        })
        .collect()
}

/// Share of a layer's units whose mean suspicion is the layer's: the most suspicious tenth, so that neither a single odd unit
/// nor the many ordinary ones decide.
const TAIL: f64 = 0.1;

fn tail(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(|a, b| b.total_cmp(a));
    let count = (values.len() as f64 * TAIL).ceil() as usize;
    mean(values.into_iter().take(count))
}

/// A network as the others see it.
struct Seen {
    /// By unit.
    suspicions: Vec<Option<(f64, String)>>,
    /// By layer.
    tails: Vec<Option<f64>>,
    /// The largest of these.
    whole: f64,
}

fn seen(units: &[Unit], others: &[&[Unit]], layers: &[String]) -> Seen {
    let suspicions = suspicions(units, &usual(others));
    let tails: Vec<Option<f64>> = layers
        .iter()
        .map(|layer| {
            let here = units.iter().zip(&suspicions).filter(|(unit, _)| unit.layer == *layer);
            tail(here.filter_map(|(_, s)| s.as_ref().map(|(s, _)| *s)).collect())
        })
        .collect();
    let whole = tails.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    Seen { suspicions, tails, whole }
}

/// What is said of a unit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UnitVerdict {
    pub suspicion: f64,
    pub detector: String,
    /// How often a unit of an honest network looks as suspicious; `None` without honest networks.
    pub p: Option<f64>,
    /// The same after Benjamini-Hochberg over the units of the layer.
    pub q: Option<f64>,
}

/// What is said of a layer, or of the network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// `None` for the network.
    pub layer: Option<String>,
    pub statistic: Option<f64>,
    /// How often an honest network looks as suspicious.
    pub p: Option<f64>,
    /// The same after Benjamini-Hochberg over layers.
    pub q: Option<f64>,
    /// Detectors that are left out, since honest networks differ by them, with how far.
    pub left_out: Vec<(String, f64)>,
}

/// The share of K + 1 networks, or of their units, that look as suspicious as this one, which is counted with them.
fn p(shares: impl ExactSizeIterator<Item = f64>) -> f64 {
    let k = shares.len() as f64;
    (1.0 + shares.sum::<f64>()) / (k + 1.0)
}

/// The smallest level at which Benjamini and Hochberg (1995) reject each hypothesis.
fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut q = vec![1.0; p.len()];
    let mut least: f64 = 1.0;
    for (rank, &i) in order.iter().enumerate().rev() {
        least = least.min(p[i] * p.len() as f64 / (rank as f64 + 1.0));
        q[i] = least;
    }
    q
}

/// The suspicion of a unit that no detector can look at.
fn nothing() -> (f64, String) {
    (0.0, String::new())
}

/// Judges a network by honest ones: its units in their order, and its layers and the network as a whole, last. Without honest
/// networks units are set against their own layer, and nothing else can be said.
pub(super) fn judge(
    audited: &[Unit],
    honest: &[Vec<Unit>],
    layers: &[String],
) -> (Vec<UnitVerdict>, Vec<Verdict>) {
    if honest.is_empty() {
        let suspicions = suspicions(audited, &usual(&[audited]));
        let units = suspicions.into_iter().map(|s| {
            let (suspicion, detector) = s.unwrap_or_else(nothing);
            UnitVerdict { suspicion, detector, p: None, q: None }
        });
        return (units.collect(), vec![]);
    }
    let all: Vec<&[Unit]> = std::iter::once(audited).chain(honest.iter().map(Vec::as_slice)).collect();
    judged(0, &all, &views(&all, layers), layers)
}

/// Judges each of some networks by the others. Whether all of them are honest or not, and however they differ, at most one in n
/// of n networks has a p-value of 1/n, as only one is the most suspicious: the rate says nothing, which network it is does.
pub(super) fn judge_each(networks: &[&[Unit]], layers: &[String]) -> Vec<(Vec<UnitVerdict>, Vec<Verdict>)> {
    let views = views(networks, layers);
    (0..networks.len()).map(|at| judged(at, networks, &views, layers)).collect()
}

fn except<T: Copy>(all: &[T], at: usize) -> Vec<T> {
    all.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, one)| *one).collect()
}

/// Each network as the others see it.
fn views(networks: &[&[Unit]], layers: &[String]) -> Vec<Seen> {
    (0..networks.len()).map(|at| seen(networks[at], &except(networks, at), layers)).collect()
}

fn judged(
    at: usize,
    networks: &[&[Unit]],
    views: &[Seen],
    layers: &[String],
) -> (Vec<UnitVerdict>, Vec<Verdict>) {
    let (audited, own) = (networks[at], &views[at]);
    let honest = except(networks, at);
    let rest = except(&views.iter().collect::<Vec<_>>(), at);
    // What no detector can look at is the least suspicious, and as little so as any other such unit.
    let value = |s: &Option<(f64, String)>| s.as_ref().map_or(f64::NEG_INFINITY, |(s, _)| *s);
    let mut units: Vec<UnitVerdict> = audited
        .iter()
        .zip(&own.suspicions)
        .map(|(unit, suspicion)| {
            let shares = honest.iter().zip(&rest).map(|(units, view)| {
                let here = units.iter().zip(&view.suspicions).filter(|(u, _)| u.layer == unit.layer);
                mean(here.map(|(_, other)| f64::from(u8::from(value(other) >= value(suspicion)))))
                    .unwrap_or(1.0)
            });
            let p = Some(p(shares));
            let (suspicion, detector) = suspicion.clone().unwrap_or_else(nothing);
            UnitVerdict { suspicion, detector, p, q: None }
        })
        .collect();
    for layer in layers {
        let here: Vec<usize> = (0..units.len()).filter(|&i| audited[i].layer == *layer).collect();
        let values: Vec<f64> = here.iter().filter_map(|&i| units[i].p).collect();
        for (&i, q) in here.iter().zip(benjamini_hochberg(&values)) {
            units[i].q = Some(q);
        }
    }
    let of_others = usual(&honest);
    let left_out = |layer: &String| -> Vec<(String, f64)> {
        let here = of_others.iter().filter(|u| u.layer == *layer && u.left_out);
        here.filter_map(|u| Some((u.detector.clone(), u.between?))).collect()
    };
    let mut verdicts: Vec<Verdict> = layers
        .iter()
        .enumerate()
        .map(|(at, layer)| {
            let statistic = own.tails[at];
            let p = statistic.map(|own| {
                let as_much =
                    |view: &&Seen| f64::from(u8::from(view.tails[at].is_none_or(|other| other >= own)));
                p(rest.iter().map(as_much))
            });
            Verdict { layer: Some(layer.clone()), statistic, p, q: None, left_out: left_out(layer) }
        })
        .collect();
    let values: Vec<f64> = verdicts.iter().map(|v| v.p.unwrap_or(1.0)).collect();
    for (verdict, q) in verdicts.iter_mut().zip(benjamini_hochberg(&values)) {
        verdict.q = verdict.p.map(|_| q);
    }
    let whole = own.whole;
    let p = whole.is_finite().then(|| p(rest.iter().map(|view| f64::from(u8::from(view.whole >= whole)))));
    verdicts.push(Verdict {
        layer: None,
        statistic: whole.is_finite().then_some(whole),
        p,
        q: None,
        left_out: vec![],
    });
    (units, verdicts)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::seed;

    fn unit(channel: usize, scores: [Option<f64>; 2]) -> Unit {
        let scores = [("a".to_string(), scores[0]), ("b".to_string(), scores[1])].into();
        Unit { layer: "conv".into(), channel, scores }
    }

    fn layers() -> Vec<String> {
        vec!["conv".into()]
    }

    #[test]
    fn suspicion_is_the_largest_deviation_from_what_is_usual() {
        // Detector a: median 3, absolute deviations 2, 1, 0, 1, 2, of median 1. Detector b is the same for all.
        let units: Vec<Unit> = (1..=5).map(|i| unit(i, [Some(i as f64), Some(7.0)])).collect();
        let usual = usual(&[&units]);
        let of = |scores| suspicions(&[unit(0, scores)], &usual).remove(0);
        let (suspicion, detector) = of([Some(3.0 + 1.4826 * 2.0), Some(7.0)]).unwrap();
        assert!((suspicion - 2.0).abs() < 1e-9 && detector == "a");
        assert_eq!(of([None, Some(7.0)]).unwrap(), (0.0, "b".into()));
        assert!(of([Some(3.0), Some(8.0)]).unwrap().0 > 100.0);
        assert!(of([None, None]).is_none());
    }

    /// By hand: of three honest networks the units of the first are never, half of those of the second and all of the third's
    /// are as suspicious.
    #[test]
    fn each_network_counts_once() {
        assert_eq!(p([0.0, 0.5, 1.0].into_iter()), 2.5 / 4.0);
        assert_eq!(p([0.0; 19].into_iter()), 0.05);
        // Benjamini and Hochberg by hand: 0.01·4/1, 0.02·4/2, 0.03·4/3, 0.5.
        let q = benjamini_hochberg(&[0.5, 0.02, 0.01, 0.03]);
        assert!(q.iter().zip([0.5, 0.04, 0.04, 0.04]).all(|(a, b)| (a - b).abs() < 1e-12), "{q:?}");
    }

    /// Networks whose scores are shifted as wholes, by one detector a little and by the other a lot.
    fn network(units: usize, shifts: [f64; 2], rng: &mut impl rand::Rng) -> Vec<Unit> {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let own = shifts.map(|shift| shift * normal());
        (0..units).map(|i| unit(i, own.map(|own| Some(own + normal())))).collect()
    }

    #[test]
    fn the_promised_rate_comes_out_however_networks_differ() {
        let mut rng = seed::rng(7, &"honest networks");
        let (runs, k) = (240, 19);
        let (mut flagged, mut old, mut left) = (0, 0, 0);
        for _ in 0..runs {
            let honest: Vec<Vec<Unit>> = (0..k).map(|_| network(16, [0.4, 2.0], &mut rng)).collect();
            let audited = network(16, [0.4, 2.0], &mut rng);
            let (units, verdicts) = judge(&audited, &honest, &layers());
            let whole = verdicts.last().unwrap();
            flagged += usize::from(whole.p.unwrap() <= 0.05 + 1e-9);
            left += usize::from(verdicts[0].left_out.iter().any(|(name, _)| name == "b"));
            assert!(units.iter().all(|u| u.p.unwrap() >= 0.05 && u.q.unwrap() >= u.p.unwrap()));
            // What was done before: one network's units say what is usual and how rare the others are.
            let usual = usual(&[&honest[0]]);
            let of = |units: &[Unit]| {
                suspicions(units, &usual).into_iter().map(|s| s.unwrap().0).collect::<Vec<_>>()
            };
            let (one, own) = (of(&honest[0]), of(&audited));
            let most = one.iter().copied().fold(f64::MIN, f64::max);
            old += usize::from(own.iter().filter(|s| **s > most).count() > 2);
        }
        let share = flagged as f64 / runs as f64;
        assert!((0.01..=0.09).contains(&share), "{share}");
        assert!(old as f64 / runs as f64 > 0.2, "{old} of {runs}");
        // The detector that differs is told from the one that hardly does.
        assert!(left > runs * 9 / 10, "{left} of {runs}");
    }

    #[test]
    fn a_few_fooled_units_are_found_among_many() {
        let mut rng = seed::rng(8, &"fooled units");
        let runs = 40;
        let mut found = 0;
        for _ in 0..runs {
            let honest: Vec<Vec<Unit>> = (0..19).map(|_| network(32, [0.3, 0.3], &mut rng)).collect();
            let mut audited = network(32, [0.3, 0.3], &mut rng);
            for unit in audited.iter_mut().take(4) {
                unit.scores[0].1 = Some(5.0 + rng.random::<f64>());
            }
            let (units, verdicts) = judge(&audited, &honest, &layers());
            found += usize::from(verdicts.last().unwrap().p.unwrap() <= 0.05 + 1e-9);
            let mut order: Vec<usize> = (0..units.len()).collect();
            order.sort_by(|&a, &b| units[b].suspicion.total_cmp(&units[a].suspicion));
            assert!(order[..4].iter().all(|&i| i < 4));
        }
        assert!(found >= runs * 9 / 10, "{found} of {runs}");
    }

    #[test]
    fn a_layer_where_every_detector_is_left_out_makes_no_unit_suspicious() {
        let honest: Vec<Vec<Unit>> = (0..19)
            .map(|network| {
                (0..16).map(|i| unit(i, [Some(100.0 * network as f64 + i as f64), None])).collect()
            })
            .collect();
        let (units, verdicts) = judge(&honest[3], &except_one(&honest, 3), &layers());
        assert!(units.iter().all(|u| u.p == Some(1.0) && u.q == Some(1.0)), "{units:?}");
        assert!(verdicts.iter().all(|v| v.p.is_none()));
        assert_eq!(verdicts[0].left_out.len(), 1);
    }

    fn except_one(networks: &[Vec<Unit>], at: usize) -> Vec<Vec<Unit>> {
        networks.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, units)| units.clone()).collect()
    }

    /// A few units of a network differ from a few others by chance: that leaves no detector out.
    #[test]
    fn detectors_are_not_left_out_for_there_being_few_units() {
        let mut rng = seed::rng(9, &"few units");
        for units in [2, 4, 8, 16] {
            let runs = 60;
            let mut left = [0, 0];
            for _ in 0..runs {
                let honest: Vec<Vec<Unit>> = (0..19).map(|_| network(units, [0.0, 3.0], &mut rng)).collect();
                let audited = network(units, [0.0, 3.0], &mut rng);
                let (_, verdicts) = judge(&audited, &honest, &layers());
                for (left, name) in left.iter_mut().zip(["a", "b"]) {
                    *left += usize::from(verdicts[0].left_out.iter().any(|(other, _)| other == name));
                }
            }
            // Of fewer than eight units networks that differ can't be told from chance.
            let told = units < 8 || left[1] >= runs * 9 / 10;
            assert!(left[0] <= runs / 20 && told, "{units} units: {left:?} of {runs}");
        }
    }

    /// Each of twenty judged by the others: one is found suspicious at 5 %, whatever the networks are.
    #[test]
    fn of_networks_judged_by_one_another_one_is_the_most_suspicious() {
        let mut rng = seed::rng(10, &"one another");
        for fooled in [0, 10] {
            let mut all: Vec<Vec<Unit>> = (0..20).map(|_| network(8, [0.3, 0.3], &mut rng)).collect();
            for network in all.iter_mut().take(fooled) {
                network[0].scores[0].1 = Some(20.0 + rng.random::<f64>());
            }
            let networks: Vec<&[Unit]> = all.iter().map(Vec::as_slice).collect();
            let each = judge_each(&networks, &layers());
            for (at, judged) in each.iter().enumerate() {
                assert_eq!(*judged, judge(&all[at], &except_one(&all, at), &layers()));
            }
            let mut ranks: Vec<f64> =
                each.iter().map(|(_, verdicts)| verdicts.last().unwrap().p.unwrap()).collect();
            ranks.sort_by(f64::total_cmp);
            assert!(
                ranks.iter().enumerate().all(|(i, p)| (p - (i as f64 + 1.0) / 20.0).abs() < 1e-9),
                "{ranks:?}"
            );
        }
    }

    /// Benjamini and Hochberg's rate holds for independent p-values, and those of a network's units are not.
    #[test]
    fn units_of_honest_networks_are_seldom_named() {
        let mut rng = seed::rng(11, &"named");
        let runs = 150;
        let mut named = 0;
        for _ in 0..runs {
            let honest: Vec<Vec<Unit>> = (0..39).map(|_| network(4, [0.4, 0.4], &mut rng)).collect();
            let audited = network(4, [0.4, 0.4], &mut rng);
            let (units, _) = judge(&audited, &honest, &layers());
            named += usize::from(units.iter().any(|u| u.q.unwrap() <= 0.05 + 1e-9));
        }
        assert!(named as f64 / runs as f64 <= 0.09, "{named} of {runs}");
    }

    #[test]
    fn without_honest_networks_nothing_is_promised() {
        let units: Vec<Unit> = (1..=5).map(|i| unit(i, [Some(i as f64), None])).collect();
        let (units, verdicts) = judge(&units, &[], &layers());
        assert!(units.iter().all(|u| u.p.is_none()) && verdicts.is_empty());
        assert!(units[4].suspicion > units[0].suspicion);
    }
}
