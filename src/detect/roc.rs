//! How well a score tells manipulated units from others: the receiver operating characteristic.
//!
//! Units of different layers are not compared with one another: each manipulated unit is placed among the clean units of
//! its own layer, and the places of all layers are taken together.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

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
    super::mean(places(strata).into_iter().map(|(above, equal)| 1.0 - above - equal / 2.0))
}

/// The share of manipulated units that a threshold finds which at most a share `rate` of the clean units of their
/// layer pass. Of fewer than 1 / `rate` clean units none may: what is found then are the units above all of them, and one
/// more clean unit is expected to pass, too, once in n + 1 times.
pub fn true_positives_at(strata: &[Stratum], rate: f64) -> Option<f64> {
    // A difference of rounding is none.
    let found = |(above, equal): (f64, f64)| if above + equal <= rate + 1e-9 { 1.0 } else { 0.0 };
    super::mean(places(strata).into_iter().map(found))
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

/// The interval that holds 95 % of the areas when units are drawn anew within each layer and kind.
pub fn interval(strata: &[Stratum], resamples: usize, rng: &mut impl Rng) -> Option<(f64, f64)> {
    let areas: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            let drawn: Vec<Stratum> = strata
                .iter()
                .map(|s| Stratum {
                    manipulated: resample(&s.manipulated, rng),
                    clean: resample(&s.clean, rng),
                })
                .collect();
            auc(&drawn)
        })
        .collect();
    statistics::interval(&areas)
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
        auc: super::mean(areas.iter().copied())?,
        true_positives: super::mean(found)?,
        interval: statistics::interval(&areas)?,
    })
}

fn permute(stratum: &Stratum, rng: &mut impl Rng) -> Stratum {
    let mut all: Vec<Option<f64>> = stratum.manipulated.iter().chain(&stratum.clean).copied().collect();
    all.shuffle(rng);
    let clean = all.split_off(stratum.manipulated.len());
    Stratum { manipulated: all, clean }
}

fn resample(scores: &[Option<f64>], rng: &mut impl Rng) -> Vec<Option<f64>> {
    (0..scores.len()).map(|_| scores[rng.random_range(0..scores.len())]).collect()
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
        assert_eq!(true_positives_at(&both, 0.4), Some(0.75));
        assert_eq!(auc(&[stratum(&[], &[1.0])]), None);
        assert_eq!(auc(&[stratum(&[1.0], &[])]), None);
        // What is undefined is least suspicious.
        let undefined = Stratum { manipulated: vec![None, Some(f64::NAN)], clean: vec![Some(-9.0)] };
        assert_eq!(auc(&[undefined]), Some(0.0));
    }

    #[test]
    fn separated_scores_have_a_narrow_interval_and_equal_ones_cover_chance() {
        let apart = [stratum(&[5.0; 8], &[1.0; 8])];
        assert_eq!(interval(&apart, 200, &mut seed::rng(1, &0)), Some((1.0, 1.0)));
        let same: Vec<f64> = (0..20).map(f64::from).collect();
        let (low, high) = interval(&[stratum(&same, &same)], 500, &mut seed::rng(1, &0)).unwrap();
        assert!(low < 0.4 && high > 0.6, "{low} {high}");
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
