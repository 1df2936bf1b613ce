//! What settings may be: each check names the key and says what would do.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

/// The most images, pictures or rounds of anything that are asked for in one number.
pub(crate) const MANY: usize = 10_000_000;

/// The most visualizations, of one unit or for one purpose.
pub(crate) const PICTURES: usize = 10_000;

/// The most steps of an optimization.
pub(crate) const STEPS: usize = 10_000_000;

/// The most images in a batch.
pub(crate) const BATCH: usize = 4096;

/// The most times that something is drawn anew.
pub(crate) const RESAMPLES: usize = 1_000_000;

/// Refuses a number that is not within a range.
///
/// # Errors
/// A message that starts with the key.
pub(crate) fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false if value < *range.start() => {
            Err(format!("{key} is {value}; it must be at least {}", range.start()))
        }
        false => Err(format!("{key} is {value}; it must be at most {}", range.end())),
    }
}

/// The most that a rate or a weight can be: beyond it, numbers of 32 bits soon overflow.
const GREAT: f64 = 1e9;

/// Refuses what is no number above 0 that can be computed with, such as a rate or a weight that has to count.
///
/// # Errors
/// A message that starts with the key.
pub(crate) fn above_zero(key: &str, value: f64) -> Result<(), String> {
    match value > 0.0 && value <= GREAT {
        true => Ok(()),
        false => Err(format!("{key} is {value}; it must be a number above 0 and at most {GREAT:e}")),
    }
}

/// Refuses what is no number from 0 on that can be computed with.
///
/// # Errors
/// A message that starts with the key.
pub(crate) fn not_below_zero(key: &str, value: f64) -> Result<(), String> {
    match (0.0..=GREAT).contains(&value) {
        true => Ok(()),
        false => Err(format!("{key} is {value}; it must be a number from 0 to {GREAT:e}")),
    }
}

/// Refuses a list that names something twice.
///
/// # Errors
/// A message that starts with the key.
pub(crate) fn distinct<T: PartialEq + Debug>(key: &str, list: &[T]) -> Result<(), String> {
    match list.iter().enumerate().find(|(at, item)| list[..*at].contains(item)) {
        Some((_, twice)) => Err(format!("{key} names {twice:?} twice")),
        None => Ok(()),
    }
}

/// Refuses what files are called after, unless it is plain.
///
/// # Errors
/// A message that starts with the key.
pub(crate) fn plain_name(key: &str, name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.len() <= 100 && name.chars().all(plain) && !name.starts_with('.') {
        true => Ok(()),
        false => Err(format!(
            "{key} is \"{name}\"; files are called after it: at most 100 letters (a to z), digits, -, _ and ."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named_with_what_would_do() {
        assert_eq!(within("n", 0, 1..=9), Err("n is 0; it must be at least 1".into()));
        assert_eq!(within("n", 10, 1..=9), Err("n is 10; it must be at most 9".into()));
        assert!(within("n", f64::NAN, 0.0..=1.0).is_err() && within("n", 1, 1..=9).is_ok());
        assert!(above_zero("l", f64::INFINITY).is_err() && above_zero("l", 0.0).is_err());
        assert!(not_below_zero("l", 0.0).is_ok() && not_below_zero("l", f64::NAN).is_err());
        assert!(distinct("l", &[1, 2, 1]).unwrap_err().contains('1') && distinct("l", &[1, 2]).is_ok());
        for name in ["", ".x", "a/b", "..", &"x".repeat(101), "ü"] {
            assert!(plain_name("name", name).is_err());
        }
        assert!(plain_name("name", "gate-2_b").is_ok());
    }
}
