//! How well a score tells manipulated units from others: the receiver operating characteristic.
//!
//! Units of different layers are not compared with one another: each manipulated unit is placed among the clean units of
//! its own layer, and the places of all layers are taken together.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::mean;
use crate::statistics;

/// The scores of one layer's units. An undefined score counts as the least suspicious.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stratum {
    pub manipulated: Vec<Option<f64>>,
    pub clean: Vec<Option<f64>>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub false_positives: f64,
    pub true_positives: f64,
}

fn value(score: Option<f64>) -> f64 {
    score.filter(|s| !s.is_nan()).unwrap_or(f64::NEG_INFINITY)
}

/// For each manipulated unit the shares of its layer's clean units that score higher, and just as high.
fn places(strata: &[Stratum]) -> Vec<(f64, f64)> {
    let mut all = vec![];
    for stratum in strata.iter().filter(|s| !s.clean.is_empty()) {
        let mut clean: Vec<f64> = stratum.clean.iter().map(|&s| value(s)).collect();
        clean.sort_by(f64::total_cmp);
        let n = clean.len() as f64;
        for score in stratum.manipulated.iter().map(|&s| value(s)) {
            let below = clean.partition_point(|c| *c < score);
            let up_to = clean.partition_point(|c| *c <= score);
            all.push(((clean.len() - up_to) as f64 / n, (up_to - below) as f64 / n));
        }
    }
    all
}

/// The area under the curve: how often a manipulated unit scores higher than a clean one of its layer, ties counting
/// half. `None` without units of either kind.
pub fn auc(strata: &[Stratum]) -> Option<f64> {
    mean(places(strata).into_iter().map(|(above, equal)| 1.0 - above - equal / 2.0))
}

/// The share of manipulated units found by a threshold that the next clean unit of their layer passes in at most a share
/// `rate` of cases. If k of n clean units pass, the next one does in (k + 1) / (n + 1) of cases; where not even none is few
/// enough, the units above all clean ones are counted, at 1 / (n + 1).
pub fn true_positives_at(strata: &[Stratum], rate: f64) -> Option<f64> {
    mean(strata.iter().filter(|s| !s.clean.is_empty()).flat_map(|stratum| {
        let n = stratum.clean.len() as f64;
        // A difference of rounding is none.
        let pass = ((n + 1.0) * rate - 1.0 + 1e-9).floor().max(0.0);
        let found =
            move |(above, equal): (f64, f64)| f64::from(u8::from(((above + equal) * n).round() <= pass));
        places(std::slice::from_ref(stratum)).into_iter().map(found)
    }))
}

/// The curve, from (0, 0) to (1, 1), with straight lines where scores are equal.
pub fn curve(strata: &[Stratum]) -> Vec<Point> {
    let places = places(strata);
    let mut ends: Vec<f64> =
        places.iter().flat_map(|(above, equal)| [*above, above + equal]).chain([0.0, 1.0]).collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    let found = |rate: f64, with_equal: bool| {
        let share = |&(above, equal): &(f64, f64)| match equal > 0.0 {
            true if rate >= above + equal => 1.0,
            true => ((rate - above) / equal).max(0.0),
            false => f64::from(u8::from(rate > above || (with_equal && rate == above))),
        };
        places.iter().map(share).sum::<f64>() / places.len().max(1) as f64
    };
    let points = ends.into_iter().flat_map(|rate| {
        [false, true].map(|with| Point { false_positives: rate, true_positives: found(rate, with) })
    });
    let mut points: Vec<Point> =
        std::iter::once(Point { false_positives: 0.0, true_positives: 0.0 }).chain(points).collect();
    points.dedup();
    points
}

/// Scores of some units of a layer in one draw of fooled units, or in one of several networks.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub layer: usize,
    pub draw: usize,
    pub stratum: Stratum,
    /// Which units the manipulated and the clean scores are of: one that is in several draws has one number in its layer.
    pub units: [Vec<usize>; 2],
}

/// The interval of the area over all comparisons. Draws (or networks) and, within each layer, units are drawn anew, with
/// replacement: a unit that is in several draws is there, or not, in all of them. `few` is how many independent things there
/// are of what there is least of. Where scores separate all units or nearly so, what is drawn anew hardly varies, so that the
/// interval always holds the one by the number of units, too; and its ends are never nearer to 0 and 1 than those of scores that
/// separate `few` things wholly.
pub fn interval(
    comparisons: &[Comparison],
    few: usize,
    resamples: usize,
    confidence: f64,
    rng: &mut impl Rng,
) -> Option<(f64, f64)> {
    let strata: Vec<Stratum> = comparisons.iter().map(|c| c.stratum.clone()).collect();
    let area = auc(&strata)?;
    let distinct = |values: &mut dyn Iterator<Item = (usize, usize)>| -> Vec<(usize, usize)> {
        values.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let draws = distinct(&mut comparisons.iter().map(|c| (0, c.draw)));
    let side = |side: usize| {
        distinct(&mut comparisons.iter().flat_map(|c| c.units[side].iter().map(|&u| (c.layer, u))))
    };
    let [fooled, clean] = [side(0), side(1)];
    let units = distinct(&mut fooled.iter().chain(&clean).copied());
    let place =
        |of: &[(usize, usize)], key: (usize, usize)| of.binary_search(&key).expect("it is one of them");
    // By comparison: its draw, its units, and for each pair whether the fooled unit is above the clean one.
    let prepared: Vec<(usize, [Vec<usize>; 2], Vec<f64>)> = comparisons
        .iter()
        .map(|c| {
            let of = |side: usize| c.units[side].iter().map(|&u| place(&units, (c.layer, u))).collect();
            let beats = c.stratum.manipulated.iter().flat_map(|&f| {
                c.stratum.clean.iter().map(move |&c| match value(f).total_cmp(&value(c)) {
                    Ordering::Greater => 1.0,
                    Ordering::Equal => 0.5,
                    Ordering::Less => 0.0,
                })
            });
            (place(&draws, (0, c.draw)), [of(0), of(1)], beats.collect())
        })
        .collect();
    let layers: Vec<Vec<usize>> =
        units.chunk_by(|a, b| a.0 == b.0).map(|of| (0..of.len()).collect()).collect();
    let areas: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            let mut times = |n: usize| {
                let mut times = vec![0.0; n];
                (0..n).for_each(|_| times[rng.random_range(0..n)] += 1.0);
                times
            };
            let of_draw = times(draws.len());
            let of_unit: Vec<f64> = layers.iter().flat_map(|layer| times(layer.len())).collect();
            let (mut sum, mut weight) = (0.0, 0.0);
            for (draw, [fooled, clean], beats) in &prepared {
                let all: f64 = clean.iter().map(|&c| of_unit[c]).sum();
                if all == 0.0 || of_draw[*draw] == 0.0 {
                    continue;
                }
                for (&f, beats) in fooled.iter().zip(beats.chunks(clean.len())) {
                    let times = of_draw[*draw] * of_unit[f];
                    sum += times * clean.iter().zip(beats).map(|(&c, b)| of_unit[c] * b).sum::<f64>() / all;
                    weight += times;
                }
            }
            (weight > 0.0).then(|| sum / weight)
        })
        .collect();
    let (low, high) = statistics::interval_at(&areas, few, confidence)?;
    let (least, most) = statistics::area_interval(area, fooled.len(), clean.len(), confidence);
    let apart = |area: f64| statistics::area_interval(area, few.min(fooled.len()), clean.len(), confidence);
    Some((low.min(least).min(apart(1.0).0), high.max(most).max(apart(0.0).1)))
}

/// What scores give when the labels say nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Null {
    /// Mean area.
    pub auc: f64,
    /// The ends of what holds 95 % of the areas.
    pub interval: (f64, f64),
    /// Mean share of units found at `rate` false positives.
    pub true_positives: f64,
}

/// Areas and finds with labels permuted within each layer, over so many permutations. `None` without units of either
/// kind.
pub fn null(strata: &[Stratum], permutations: usize, rate: f64, rng: &mut impl Rng) -> Option<Null> {
    let (mut areas, mut found) = (vec![], vec![]);
    for _ in 0..permutations {
        let permuted: Vec<Stratum> = strata.iter().map(|stratum| permute(stratum, rng)).collect();
        areas.push(auc(&permuted)?);
        found.push(true_positives_at(&permuted, rate)?);
    }
    Some(Null {
        auc: mean(areas.iter().copied())?,
        true_positives: mean(found)?,
        interval: statistics::interval(&areas)?,
    })
}

fn permute(stratum: &Stratum, rng: &mut impl Rng) -> Stratum {
    let mut all: Vec<Option<f64>> = stratum.manipulated.iter().chain(&stratum.clean).copied().collect();
    all.shuffle(rng);
    let clean = all.split_off(stratum.manipulated.len());
    Stratum { manipulated: all, clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;
    use proptest::prelude::*;

    fn stratum(manipulated: &[f64], clean: &[f64]) -> Stratum {
        let some = |values: &[f64]| values.iter().map(|&v| Some(v)).collect();
        Stratum { manipulated: some(manipulated), clean: some(clean) }
    }

    #[test]
    fn areas_by_hand() {
        // 2 beats 1 and 0, ties with 2; 0.5 beats 0: (2.5 + 1) of 6 pairs.
        let one = stratum(&[2.0, 0.5], &[2.0, 1.0, 0.0]);
        assert!((auc(std::slice::from_ref(&one)).unwrap() - 3.5 / 6.0).abs() < 1e-12);
        // Another layer on another scale, wholly separated, does not disturb the first.
        let both = [one, stratum(&[900.0, 901.0], &[800.0])];
        assert!((auc(&both).unwrap() - (2.5 / 3.0 + 1.0 / 3.0 + 2.0) / 4.0).abs() < 1e-12);
        assert_eq!(true_positives_at(&both, 0.05), Some(0.5));
        // Of three clean units one may pass at 50 %, since the next one then does in 2 of 4 cases, and at 40 % none.
        assert_eq!((true_positives_at(&both, 0.4), true_positives_at(&both, 0.5)), (Some(0.5), Some(0.75)));
        assert_eq!(auc(&[stratum(&[], &[1.0])]), None);
        assert_eq!(auc(&[stratum(&[1.0], &[])]), None);
        // What is undefined is least suspicious.
        let undefined = Stratum { manipulated: vec![None, Some(f64::NAN)], clean: vec![Some(-9.0)] };
        assert_eq!(auc(&[undefined]), Some(0.0));
    }

    fn comparison(stratum: Stratum, draw: usize) -> Comparison {
        let (m, n) = (stratum.manipulated.len(), stratum.clean.len());
        Comparison { layer: 0, draw, units: [(0..m).collect(), (m..m + n).collect()], stratum }
    }

    /// The threshold's rate is what the next clean unit passes at: 19 clean units allow 5 %, and of 20 still none may pass.
    #[test]
    fn finds_are_at_the_rate_of_the_next_clean_unit() {
        let above_all_but = |n: i32, k: i32| {
            let clean: Vec<f64> = (0..n).map(f64::from).collect();
            true_positives_at(&[stratum(&[f64::from(n - k) - 0.5], &clean)], 0.05)
        };
        assert_eq!((above_all_but(20, 0), above_all_but(20, 1)), (Some(1.0), Some(0.0)));
        assert_eq!((above_all_but(39, 1), above_all_but(38, 1)), (Some(1.0), Some(0.0)));
        let mut rng = seed::rng(3, &"next");
        let runs = 4000;
        let passed = (0..runs).filter(|_| {
            let mut draw = || rng.random::<f64>();
            let clean: Vec<f64> = (0..20).map(|_| draw()).collect();
            true_positives_at(&[stratum(&[draw()], &clean)], 0.05) == Some(1.0)
        });
        let share = passed.count() as f64 / f64::from(runs);
        assert!((share - 1.0 / 21.0).abs() < 0.012, "{share}");
    }

    #[test]
    fn intervals_have_a_width_whatever_the_scores() {
        let all = |c: &[Comparison]| interval(c, 8, 400, 0.95, &mut seed::rng(1, &0)).unwrap();
        let apart = comparison(stratum(&[5.0; 8], &[1.0; 8]), 0);
        let (low, high) = all(std::slice::from_ref(&apart));
        assert!((0.7..0.9).contains(&low) && high == 1.0, "{low} {high}");
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let (low, high) = all(&[comparison(stratum(&values, &values), 0)]);
        assert!(low < 0.4 && high > 0.6, "{low} {high}");
        // Draws of the same units say no more than one of them.
        let again: Vec<Comparison> = (0..9).map(|d| comparison(stratum(&values, &values), d)).collect();
        let (same_low, same_high) = all(&again);
        assert!((same_low - low).abs() < 0.03 && (same_high - high).abs() < 0.03, "{same_low} {same_high}");
    }

    /// Scores that separate all units but one pair say no more than those that separate all, and rounding decides nothing.
    #[test]
    fn nearly_separated_units_have_no_narrower_interval_than_separated_ones() {
        let of = |c: &[Comparison], few: usize| interval(c, few, 400, 0.95, &mut seed::rng(1, &0)).unwrap();
        let clean: Vec<f64> = (0..28).map(f64::from).collect();
        let fooled: Vec<f64> = (0..28).map(|u| f64::from(u) + 28.0).collect();
        let one_pair = [&[26.5][..], &fooled[1..]].concat();
        let [apart, nearly] =
            [&fooled, &one_pair].map(|fooled| of(&[comparison(stratum(fooled, &clean), 0)], 28));
        assert!(nearly.0 <= apart.0 && apart.1 == 1.0 && nearly.1 == 1.0, "{nearly:?} {apart:?}");
        // The same units with the same scores on either side: 1/2 whatever is drawn, but for rounding.
        let same = |n: usize| {
            let values: Vec<f64> = (0..n).map(|u| u as f64).collect();
            let units = [(0..n).collect(), (0..n).collect()];
            of(&[Comparison { layer: 0, draw: 0, units, stratum: stratum(&values, &values) }], n)
        };
        for n in 8..40 {
            let (low, high) = statistics::area_interval(0.5, n, n, 0.95);
            assert!((same(n).0 - low).abs() < 1e-9 && (same(n).1 - high).abs() < 1e-9, "{n}");
        }
        // Three networks that score above everything are three, however many units they have.
        let networks: Vec<Comparison> = (0..3)
            .map(|draw| {
                let units = [(0..28).map(|u| 1000 * (draw + 1) + u).collect(), (0..28).collect()];
                Comparison { layer: 0, draw, units, stratum: stratum(&fooled, &clean) }
            })
            .collect();
        assert!(of(&networks, 3).0 <= statistics::area_interval(1.0, 3, 28, 0.95).0);
    }

    /// Networks whose scores are shifted as a whole: the interval over networks holds 1/2, that over units alone does not.
    #[test]
    fn networks_that_differ_as_wholes_give_wide_intervals() {
        let mut rng = seed::rng(4, &"networks");
        let mut normal = || rand_distr::Distribution::<f64>::sample(&rand_distr::StandardNormal, &mut rng);
        let (mut by_network, mut by_unit) = (0, 0);
        for run in 0..200 {
            let clean: Vec<f64> = (0..28).map(|_| normal()).collect();
            let all: Vec<Comparison> = (0..5)
                .map(|network| {
                    let shift = normal();
                    let other: Vec<f64> = (0..28).map(|_| shift + normal()).collect();
                    let units = [(0..28).map(|u| 1000 * (network + 1) + u).collect(), (0..28).collect()];
                    Comparison { layer: 0, draw: network, stratum: stratum(&other, &clean), units }
                })
                .collect();
            let holds = |c: Vec<Comparison>, few: usize| {
                let (low, high) = interval(&c, few, 200, 0.95, &mut seed::rng(run, &0)).unwrap();
                usize::from(low <= 0.5 && 0.5 <= high)
            };
            by_network += holds(all.clone(), 5);
            by_unit += holds(all.into_iter().map(|c| Comparison { draw: 0, ..c }).collect(), 28);
        }
        assert!(by_network >= 184 && by_unit <= 150, "{by_network} {by_unit}");
    }

    /// Against the theory of the rank-sum test: without ties the area has mean 1/2 and variance (m + n + 1) / 12mn, and with
    /// few clean units one unit in n + 1 is above all of them.
    #[test]
    fn permuted_labels_give_what_chance_gives() {
        // Scores that the true labels separate wholly.
        let values = |from: i32, n: i32| (from..from + n).map(f64::from).collect::<Vec<_>>();
        let apart = [stratum(&values(100, 8), &values(0, 8))];
        let Null { auc, interval: (low, high), true_positives } =
            null(&apart, 4000, 0.05, &mut seed::rng(1, &0)).unwrap();
        let deviation = (17f64 / (12.0 * 64.0)).sqrt();
        assert!((auc - 0.5).abs() < 4.0 * deviation / 4000f64.sqrt(), "{auc}");
        assert!((low - (0.5 - 1.96 * deviation)).abs() < 0.03, "{low}");
        assert!((high - (0.5 + 1.96 * deviation)).abs() < 0.03, "{high}");
        assert!((true_positives - 1.0 / 9.0).abs() < 0.01, "{true_positives}");
        // What says nothing gives 1/2 whatever the labels are.
        let same = null(&[stratum(&[1.0; 3], &[1.0; 5])], 20, 0.05, &mut seed::rng(1, &0)).unwrap();
        assert_eq!(same, Null { auc: 0.5, interval: (0.5, 0.5), true_positives: 0.0 });
        assert_eq!(null(&[stratum(&[1.0], &[])], 20, 0.05, &mut seed::rng(1, &0)), None);
    }

    fn scores() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-4i8..5).prop_map(f64::from), 1..12)
    }

    proptest! {
        /// Against the definition, pair by pair; and the area under the curve's points is the same number.
        #[test]
        fn the_area_is_the_share_of_pairs_in_order(a in scores(), b in scores()) {
            let strata = [stratum(&a, &b)];
            let pairs = a.iter().flat_map(|x| b.iter().map(move |y| match x.total_cmp(y) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            }));
            let want = pairs.sum::<f64>() / (a.len() * b.len()) as f64;
            prop_assert!((auc(&strata).unwrap() - want).abs() < 1e-9);
            let curve = curve(&strata);
            let area: f64 = curve
                .windows(2)
                .map(|p| (p[1].false_positives - p[0].false_positives) * (p[0].true_positives + p[1].true_positives) / 2.0)
                .sum();
            prop_assert!((area - want).abs() < 1e-9, "{} {}", area, want);
            prop_assert_eq!(curve[0], Point { false_positives: 0.0, true_positives: 0.0 });
            prop_assert_eq!(curve[curve.len() - 1], Point { false_positives: 1.0, true_positives: 1.0 });
        }

        /// Exchanging the kinds mirrors the area, and rising functions of the score leave it as it is.
        #[test]
        fn the_area_knows_order_alone(a in scores(), b in scores()) {
            let one = auc(&[stratum(&a, &b)]).unwrap();
            let mirrored = auc(&[stratum(&b, &a)]).unwrap();
            prop_assert!((one + mirrored - 1.0).abs() < 1e-9);
            let risen = |v: &[f64]| v.iter().map(|x| (x / 3.0).exp()).collect::<Vec<_>>();
            prop_assert!((auc(&[stratum(&risen(&a), &risen(&b))]).unwrap() - one).abs() < 1e-9);
        }
    }
}
