//! The switch detector: along straight lines in image space from natural images to the visualization, the steepest slope of
//! the unit's activation against its mean slope on the line. Where a gate flips, the activation jumps.

use burn::tensor::{Tensor, TensorData};

use super::{Detector, Subject};
use crate::data::Preprocessing;
use crate::error::Result;
use crate::progress::{self, Progress};
use crate::seed;
use crate::statistics::median;

/// Lines to each visualization.
const LINES: usize = 3;
/// Intervals that a line is first divided into.
const INTERVALS: usize = 24;
/// How often the interval with the largest change is halved; no other is looked into.
const HALVINGS: usize = 6;

/// The slope of the activation at the steepest place that was found on a line, over the mean absolute slope of the line,
/// as a logarithm; the median over lines. The place is looked for in one interval only, that over which the activation
/// changes most: a jump within another is seen as the change over that whole interval.
pub(super) struct Switch;

impl Detector for Switch {
    fn name(&self) -> &'static str {
        "switch"
    }

    fn sees(&self) -> &'static str {
        "The steepest slope of the unit's activation, over its mean slope, along straight lines from natural images to the \
         visualization. Each line is divided into 24 intervals, and only the one over which the activation changes most is \
         looked into, by halving it six times. It can see what flips between the two and decides the activation: a gate, a \
         silent unit that switches on. It can't see a jump that is smaller than what the activation changes over another \
         interval anyway, nor a landscape that was bent smoothly, by training; it asks for no gradient; and an honest \
         unit that a single filter decides has steep places, too."
    }

    fn looks_at_each_unit_alone(&self) -> bool {
        true
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let jobs: Vec<(usize, usize)> = subject
            .units
            .iter()
            .enumerate()
            .flat_map(|(u, unit)| (0..unit.pictures.len()).map(move |p| (u, p)))
            .flat_map(|(u, p)| (0..LINES).map(move |_| (u, p)))
            .collect();
        let bar = progress::bar(&format!("lines to visualizations of {}", subject.layer), jobs.len());
        // The same natural images for every unit: a line's start is no property of the unit.
        let mut rng = seed::rng(subject.seed, &"starts of lines");
        let count = subject.natural.len();
        let starts = rand::seq::index::sample(&mut rng, count, LINES.min(count)).into_vec();
        let indexed: Vec<(usize, usize, usize)> = jobs
            .iter()
            .enumerate()
            .filter(|_| !starts.is_empty())
            .map(|(i, &(u, p))| (u, p, starts[i % LINES % starts.len()]))
            .collect();
        let steepness = subject.executor.run(&indexed, 1, &Progress::hidden(), |chunk| {
            let mut found = vec![];
            for &(unit, picture, start) in chunk {
                found.push((unit, steepest(subject, unit, picture, start)?));
                bar.advance(1);
            }
            Ok(found)
        })?;
        bar.end();
        Ok((0..subject.units.len())
            .map(|unit| {
                let of_unit: Vec<f64> =
                    steepness.iter().filter(|(u, _)| *u == unit).filter_map(|(_, s)| *s).collect();
                median(&of_unit)
            })
            .collect())
    }
}

/// The logarithm of the steepest slope that is found over the mean absolute slope of one line.
fn steepest(subject: &Subject, unit: usize, picture: usize, start: usize) -> Result<Option<f64>> {
    let target = &subject.units[unit];
    let device = subject.executor.device();
    let ends = Preprocessing::tensor([subject.natural[start], &target.pictures[picture]], device);
    let [_, c, h, w] = ends.dims();
    let [from, to] = [0, 1].map(|i| ends.clone().narrow(0, i, 1));
    let along = |places: &[f64]| -> Result<Vec<f64>> {
        let mut values = vec![];
        let at_once = subject.executor.batch(h, w);
        for places in places.chunks(at_once) {
            let t: Vec<f32> = places.iter().map(|&t| t as f32).collect();
            let n = t.len();
            let t: Tensor<4> = Tensor::from_data(TensorData::new(t, [n, 1, 1, 1]), device);
            let line = (from.clone() * (t.clone() * -1.0 + 1.0)) + to.clone() * t;
            let input = subject.preprocessing.apply(line.reshape([n, c, h, w]));
            values
                .extend(subject.respond(input, &[target.channel])?.into_iter().map(|row| f64::from(row[0])));
        }
        Ok(values)
    };
    let places: Vec<f64> = (0..=INTERVALS).map(|i| i as f64 / INTERVALS as f64).collect();
    let values = along(&places)?;
    steepness(&places, &values, |t| Ok(along(&[t])?[0]))
}

/// The same for a function of which values at some places are known; `at` gives further ones.
fn steepness(places: &[f64], values: &[f64], at: impl Fn(f64) -> Result<f64>) -> Result<Option<f64>> {
    let rises: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let total: f64 = rises.iter().sum();
    let length = places[places.len() - 1] - places[0];
    if !(total > 0.0 && total.is_finite()) {
        return Ok(None);
    }
    let most = (0..rises.len()).max_by(|&a, &b| rises[a].total_cmp(&rises[b])).expect("there are intervals");
    let [mut low, mut high] = [(places[most], values[most]), (places[most + 1], values[most + 1])];
    for _ in 0..HALVINGS {
        let middle = (low.0 + high.0) / 2.0;
        let value = at(middle)?;
        if (value - low.1).abs() >= (high.1 - value).abs() {
            high = (middle, value);
        } else {
            low = (middle, value);
        }
    }
    let slope = (high.1 - low.1).abs() / (high.0 - low.0);
    Ok(Some((slope / (total / length)).max(1e-6).ln()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(f: impl Fn(f64) -> f64) -> f64 {
        let places: Vec<f64> = (0..=INTERVALS).map(|i| i as f64 / INTERVALS as f64).collect();
        let values: Vec<f64> = places.iter().map(|&t| f(t)).collect();
        steepness(&places, &values, |t| Ok(f(t))).unwrap().unwrap()
    }

    #[test]
    fn a_jump_is_steep_however_small_the_rest_and_a_straight_line_is_not() {
        assert!(of(|t| t).abs() < 1e-9);
        // All of the rise within 1/24/2⁶ of the line.
        let jump = of(|t| f64::from(t > 0.4));
        assert!((jump - (24.0f64 * 64.0).ln()).abs() < 1e-9);
        assert!(of(|t| t * t) < 1.0);
        // Only the interval with the largest change is looked into: where the activation rises by four fifths over one, a
        // jump by one fifth in another is not found.
        let ramp = |t: f64| ((t * 24.0).clamp(4.0, 5.0) - 4.0) * 0.8 + 0.2 * f64::from(t > 0.61);
        assert!((of(ramp) - (24.0 * 0.8f64).ln()).abs() < 1e-6);
        // Scale and sign don't matter.
        assert!((of(|t| -7.0 * (t * t)) - of(|t| t * t)).abs() < 1e-9);
    }
}
