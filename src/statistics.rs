//! Order statistics and intervals.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

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
    let degrees = n.checked_sub(1).filter(|&d| d > 0)? as f64;
    let t = StudentsT::new(0.0, 1.0, degrees).ok()?.inverse_cdf(0.975);
    let share = Normal::standard().cdf(-t * (n as f64 / degrees).sqrt());
    Some((quantile(values, share)?, quantile(values, 1.0 - share)?))
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

    /// The published example of Newcombe (1998): 81 of 263.
    #[test]
    fn wilsons_interval_is_newcombes() {
        let (lower, upper) = wilson(81.0 / 263.0, 263);
        assert!((lower - 0.2553).abs() < 5e-5 && (upper - 0.3662).abs() < 5e-5, "{lower} {upper}");
        let (lower, upper) = wilson(0.0, 20);
        assert!(lower == 0.0 && (upper - 0.1611).abs() < 5e-5);
    }
}
