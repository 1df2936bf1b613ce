//! What bootstrap samples say.

/// The 95 % interval: the ends of what holds the middle of the samples' values, or none without values.
pub fn interval(values: &mut [f64]) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    let at = |share: f64| values.get((share * last).round() as usize).copied();
    Some((at(0.025)?, at(0.975)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_by_hand() {
        let mut values: Vec<f64> = (0..=40).rev().map(f64::from).collect();
        assert_eq!(interval(&mut values), Some((1.0, 39.0)));
        assert_eq!(interval(&mut [7.0]), Some((7.0, 7.0)));
        assert_eq!(interval(&mut []), None);
    }
}
