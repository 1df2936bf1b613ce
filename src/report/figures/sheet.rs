//! The contact sheet of visualizations, with natural images beside.

use std::path::Path;

use image::RgbImage;

use super::canvas::save;
use super::pictures::{Cell, Grid};
use crate::error::Result;

/// The name of the contact sheet's files in `figures/`.
pub const NAME: &str = "contact-sheet";

/// A picture with the activation that it reaches.
pub struct Shown {
    /// The picture.
    pub picture: RgbImage,
    /// Its unit's activation.
    pub activation: f32,
    /// What is wrong with it, if something is.
    pub problem: Option<String>,
}

/// A unit with its visualizations, and the natural images that drive it most, strongest first.
pub struct UnitShown {
    /// The unit, as layer:channel.
    pub unit: String,
    /// Its visualizations.
    pub visualizations: Vec<Shown>,
    /// Natural images; none, where none were given.
    pub natural: Vec<Shown>,
}

/// The most units in a sheet; a page has all.
const MOST: usize = 40;

/// Draws the contact sheet: a row a unit.
pub fn draw(folder: &Path, network: &str, units: &[UnitShown]) -> Result<()> {
    let count = |of: fn(&UnitShown) -> usize| units.iter().map(of).max().unwrap_or(0);
    let (own, natural) = (count(|u| u.visualizations.len()), count(|u| u.natural.len()));
    let named = |what: &str, n: usize| -> Vec<String> {
        (1..=n).map(|i| if n == 1 { what.to_string() } else { format!("{what} {i}") }).collect()
    };
    let columns = [named("visualization", own), named("natural", natural)].concat();
    let cell = |shown: &Shown| {
        let caption = match &shown.problem {
            Some(_) => "failed".to_string(),
            None => format!("activation {:.1}", shown.activation),
        };
        Some(Cell::of(&shown.picture, caption))
    };
    let row = |unit: &UnitShown| {
        let mut cells: Vec<Option<Cell>> = unit.visualizations.iter().map(cell).collect();
        cells.resize_with(own, || None);
        cells.extend(unit.natural.iter().map(cell));
        (in_lines(&unit.unit), cells)
    };
    let rows = units.iter().take(MOST).map(row).collect();
    save(folder, NAME, &Grid { title: format!("Feature visualizations of {network}"), columns, rows })
}

/// A unit's name in lines of some characters, broken after slashes and dots.
fn in_lines(unit: &str) -> String {
    const WIDTH: usize = 18;
    let mut lines = vec![String::new()];
    for part in unit.split_inclusive(['/', '.']) {
        let last = lines.last_mut().expect("there is a line");
        if last.chars().count() + part.chars().count() > WIDTH && !last.is_empty() {
            lines.push(part.into());
        } else {
            last.push_str(part);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_broken_where_parts_end() {
        assert_eq!(in_lines("conv4:17"), "conv4:17");
        assert_eq!(in_lines("/layer3/layer3.1/relu_1/Relu:17"), "/layer3/layer3.1/\nrelu_1/Relu:17");
        assert_eq!(in_lines("a_name_that_is_far_too_long:3"), "a_name_that_is_far_too_long:3");
    }
}
