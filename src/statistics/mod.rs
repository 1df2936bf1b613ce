//! Means, order statistics, intervals, and areas under ROC curves.

pub mod roc;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The mean of the values; `None` without any.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.into_iter().fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// The middle of the values: of an even number the mean of the two in the middle. `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which a `share` of the values lies, linear between neighbours (as NumPy's default). `None` without
/// values.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().checked_sub(1)? as f64;
    let [below, above] = [sorted[at.floor() as usize], sorted[at.ceil() as usize]];
    let part = at - at.floor();
    Some(if below == above { below } else { below * (1.0 - part) + above * part })
}

/// The 95 % interval of bootstrap samples: the ends of what holds the middle of their values, or none without values.
pub fn interval(values: &[f64]) -> Option<(f64, f64)> {
    Some((quantile(values, 0.025)?, quantile(values, 0.975)?))
}

/// The same where what was drawn were `n` independent things: the percentiles are moved out as Student's t with n − 1 degrees
/// of freedom is wider than a normal distribution, and by √(n / (n − 1)), since a bootstrap varies by (n − 1)/n too little
/// (Hesterberg, 2015). `None` for fewer than two.
pub fn interval_of_few(values: &[f64], n: usize) -> Option<(f64, f64)> {
    interval_at(values, n, 0.95)
}

/// The same at another confidence.
pub fn interval_at(values: &[f64], n: usize, confidence: f64) -> Option<(f64, f64)> {
    let degrees = n.checked_sub(1).filter(|&d| d > 0)? as f64;
    let t = StudentsT::new(0.0, 1.0, degrees).ok()?.inverse_cdf(0.5 + confidence / 2.0);
    let share = Normal::standard().cdf(-t * (n as f64 / degrees).sqrt());
    Some((quantile(values, share)?, quantile(values, 1.0 - share)?))
}

/// The interval of an area under the ROC curve from `m` and `n` independent scores: those areas θ from which the one that was
/// seen is no further than z of its standard errors at θ, by method 5 of Newcombe (2006). Also where the area is 0 or 1.
pub fn area_interval(area: f64, m: usize, n: usize, confidence: f64) -> (f64, f64) {
    if m == 0 || n == 0 {
        return (0.0, 1.0);
    }
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let (m, n) = (m as f64, n as f64);
    let half = (m + n) / 2.0 - 1.0;
    let beyond = |theta: f64| {
        let spread = 1.0 + half * ((1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta));
        (area - theta).powi(2) > z * z * theta * (1.0 - theta) * spread / (m * n)
    };
    // The area itself is never beyond, and an end of 0..1 is unless it is the area.
    let end = |mut outside: f64| {
        let mut inside = area;
        for _ in 0..60 {
            let middle = (outside + inside) / 2.0;
            if beyond(middle) { outside = middle } else { inside = middle }
        }
        inside
    };
    (end(0.0), end(1.0))
}

/// Wilson's 95 % interval of a share among `n` independent answers; everything without answers.
pub fn wilson(share: f64, n: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_985;
    if n == 0 {
        return (0.0, 1.0);
    }
    let n = n as f64;
    let middle = share + Z * Z / (2.0 * n);
    let width = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    // Rounding must not leave the share outside.
    (((middle - width) / whole).clamp(0.0, share), ((middle + width) / whole).clamp(share, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    #[test]
    fn order_statistics_by_hand() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(median(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn the_middle_by_hand() {
        let values: Vec<f64> = (0..=40).rev().map(f64::from).collect();
        assert_eq!(interval(&values), Some((1.0, 39.0)));
        assert_eq!(interval(&[7.0]), Some((7.0, 7.0)));
        assert_eq!(interval(&[]), None);
    }

    /// With many things drawn it is the usual interval, with few it is wider: by hand for 12, Φ(−2.201 · √(12/11)) = 0.0108.
    #[test]
    fn intervals_of_few_are_wider() {
        let values: Vec<f64> = (0..=1000).map(f64::from).collect();
        let (low, high) = interval_of_few(&values, 12).unwrap();
        assert!((low - 10.8).abs() < 0.1 && (high - 989.2).abs() < 0.1, "{low} {high}");
        let (low, _) = interval_of_few(&values, 100_000).unwrap();
        assert!((low - 25.0).abs() < 0.1);
        assert_eq!(interval_of_few(&values, 1), None);
    }

    /// At 1 the upper end is 1 and the lower one solves (1 − θ)² = z²·θ(1 − θ)·s(θ)/mn; the interval of 1 − θ is the mirror
    /// image, more units make it narrower, and it holds what it should in about 95 % of draws.
    #[test]
    fn areas_have_an_interval_also_at_their_ends() {
        let (low, high) = area_interval(1.0, 8, 20, 0.95);
        assert_eq!(high, 1.0);
        let spread = 1.0 + 13.0 * ((1.0 - low) / (2.0 - low) + low / (1.0 + low));
        assert!(((1.0 - low) - 3.8415 * low * spread / 160.0).abs() < 1e-4, "{low}");
        assert!((0.75..0.9).contains(&low) && area_interval(1.0, 80, 200, 0.95).0 > 0.97);
        let (a, b) = (area_interval(0.8, 8, 20, 0.95), area_interval(0.2, 8, 20, 0.95));
        assert!((a.0 - (1.0 - b.1)).abs() < 1e-9 && (a.1 - (1.0 - b.0)).abs() < 1e-9);
        assert!(area_interval(0.8, 8, 20, 0.99).0 < a.0);
        let mut rng = seed::rng(2, &"areas");
        let (truth, runs) = (Normal::standard().cdf(1.5 / 2f64.sqrt()), 2000);
        let held = (0..runs).filter(|_| {
            let mut draw = |count: usize, shift: f64| -> Vec<f64> {
                (0..count)
                    .map(|_| {
                        shift + rand_distr::Distribution::<f64>::sample(&rand_distr::StandardNormal, &mut rng)
                    })
                    .collect()
            };
            let (fooled, clean) = (draw(8, 1.5), draw(20, 0.0));
            let above = fooled
                .iter()
                .flat_map(|f| clean.iter().map(move |c| f64::from(u8::from(f > c))))
                .sum::<f64>();
            let (low, high) = area_interval(above / 160.0, 8, 20, 0.95);
            (low..=high).contains(&truth)
        });
        let share = held.count() as f64 / f64::from(runs);
        assert!((0.93..=0.98).contains(&share), "{share}");
    }

    /// The published example of Newcombe (1998): 81 of 263.
    #[test]
    fn wilsons_interval_is_newcombes() {
        let (lower, upper) = wilson(81.0 / 263.0, 263);
        assert!((lower - 0.2553).abs() < 5e-5 && (upper - 0.3662).abs() < 5e-5, "{lower} {upper}");
        let (lower, upper) = wilson(0.0, 20);
        assert!(lower == 0.0 && (upper - 0.1611).abs() < 5e-5);
    }
}
