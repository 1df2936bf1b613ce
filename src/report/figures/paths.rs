//! The path-similarity curves (Geirhos et al., 2024, section 3).

use std::path::Path;

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Area, Axis, Draw, Drawn, Entry, INK, PALETTE, bold, chart, layer_ticks, legend, save, series, spread,
    style, text,
};
use super::{Data, Figure, Topic, label};
use crate::error::Result;
use crate::files;
use crate::path::{Third, thirds};
use crate::tables::{CLEAN, PathSimilarity};

/// One line of a curve figure.
struct Line {
    entry: Entry,
    /// One value a layer; `None` where it is undefined.
    values: Vec<Option<f64>>,
    bounds: Vec<Option<(f64, f64)>>,
    /// Layers where the value says little.
    hollow: Vec<bool>,
}

/// Lines over the layers of a network.
struct Curve {
    title: String,
    y: String,
    layers: Vec<String>,
    lines: Vec<Line>,
    /// Heights that mean something, with what they mean.
    references: Vec<(f64, String)>,
}

impl Draw for Curve {
    fn size(&self) -> (u32, u32) {
        (1200, 660)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let n = self.layers.len();
        let x = Axis {
            range: -0.5..n as f64 - 0.5,
            name: "layer, from input to output".into(),
            ticks: layer_ticks(&self.layers, 880),
        };
        // Ratios may reach far out where natural images hardly differ; what says more than that decides what is shown.
        let solid = |l: &Line| -> Vec<f64> {
            let of = l.values.iter().zip(&l.hollow).filter(|(_, hollow)| !**hollow);
            of.filter_map(|(value, _)| *value).collect()
        };
        let mut values: Vec<f64> = self.lines.iter().flat_map(solid).collect();
        if values.is_empty() {
            values = self.lines.iter().flat_map(|l| l.values.iter().flatten().copied()).collect();
        }
        let values = values.into_iter();
        let mut range = spread(values.chain(self.references.iter().map(|r| r.0)));
        let bounds = self.lines.iter().flat_map(|l| l.bounds.iter().flatten());
        let reach = spread(bounds.flat_map(|&(l, h)| [l, h]).chain([range.start, range.end]));
        let span = range.end - range.start;
        range = reach.start.max(range.start - 0.5 * span)..reach.end.min(range.end + 0.5 * span);
        let y = Axis::numbers(range.clone(), &self.y);
        text(area, &self.title, (20, 16), &bold(22.0, HPos::Left, VPos::Top))?;
        let entries: Vec<Entry> =
            self.lines.iter().map(|l| Entry { label: l.entry.label.clone(), ..l.entry }).collect();
        legend(area, &entries, 90, 66)?;
        let right = if self.references.is_empty() { 24 } else { 190 };
        let rows = x.ticks.iter().map(|t| t.1.lines().count()).max().unwrap_or(1);
        let margins = [90, 100, right, 58 + 19 * rows as i32];
        let mut chart = chart(area, &x, &y, margins)?;
        let (_, height) = area.dim_in_pixel();
        let to_y = |v: f64| {
            let inner = f64::from(height as i32 - margins[1] - margins[3]);
            height as i32 - margins[3] - ((v - range.start) / (range.end - range.start) * inner) as i32
        };
        // Early, middle and late layers.
        let thirds = thirds(n);
        for (third, name) in [(Third::Early, "early"), (Third::Middle, "middle"), (Third::Late, "late")] {
            let members: Vec<usize> = (0..n).filter(|&i| thirds[i] == third).collect();
            let (Some(&first), Some(&last)) = (members.first(), members.last()) else {
                continue;
            };
            if first > 0 {
                let at = first as f64 - 0.5;
                let line = [(at, range.start), (at, range.end)];
                let stroke = PALETTE[6].mix(0.6).stroke_width(1);
                chart
                    .draw_series(std::iter::once(DashedPathElement::new(line, 3, 4, stroke)))
                    .map_err(|e| e.to_string())?;
            }
            let middle = (first + last) as f64 / 2.0;
            let inner = f64::from(1200 - margins[0] - margins[2]);
            let at = margins[0] + ((middle + 0.5) / n as f64 * inner) as i32;
            text(area, name, (at, margins[1] - 4), &style(15.0, PALETTE[6], HPos::Center, VPos::Bottom))?;
        }
        for (value, meaning) in &self.references {
            let line = [(-0.5, *value), (n as f64 - 0.5, *value)];
            chart
                .draw_series(std::iter::once(PathElement::new(line, INK.stroke_width(2))))
                .map_err(|e| e.to_string())?;
            // Two lines of words take 40 pixels; where the heights are closer, the words move apart.
            let others = self.references.iter().filter(|(other, _)| other != value);
            let shift: i32 = others
                .map(|(other, _)| {
                    let gap = (to_y(*value) - to_y(*other)).abs();
                    if gap < 40 { (40 - gap) / 2 * if value > other { -1 } else { 1 } } else { 0 }
                })
                .sum();
            for (row, words) in meaning.lines().enumerate() {
                let at = (1200 - right + 10, to_y(*value) + shift + 18 * row as i32 - 9);
                text(area, words, at, &style(15.0, INK, HPos::Left, VPos::Center))?;
            }
        }
        for line in &self.lines {
            // A gap where a value is undefined.
            let points: Vec<Option<(f64, f64)>> =
                line.values.iter().enumerate().map(|(i, v)| v.map(|v| (i as f64, v))).collect();
            let clip = |v: f64| v.clamp(range.start, range.end);
            for run in points.split(Option::is_none).filter(|r| !r.is_empty()) {
                let run: Vec<(f64, f64)> = run.iter().flatten().map(|&(x, y)| (x, clip(y))).collect();
                let band: Vec<(f64, f64, f64)> = run
                    .iter()
                    .filter_map(|&(x, _)| line.bounds[x as usize].map(|(l, h)| (x, clip(l), clip(h))))
                    .collect();
                series(&mut chart, &run, &band, &line.entry, 3)?;
                let hollow = run.iter().filter(|(x, _)| line.hollow[*x as usize]);
                chart
                    .draw_series(hollow.map(|&p| Circle::new(p, 3, WHITE.filled())))
                    .map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

/// One line of values by layer; layers that a curve does not reach are left out.
#[expect(clippy::too_many_arguments, reason = "how a line looks, and what it shows")]
fn line(
    label: String,
    colour: RGBColor,
    dashed: bool,
    layers: &[String],
    rows: &[&PathSimilarity],
    ratios: bool,
    value: fn(&PathSimilarity) -> Option<f64>,
    bounds: fn(&PathSimilarity) -> Option<(f64, f64)>,
) -> Line {
    let row = |layer: &String| rows.iter().find(|r| r.layer == *layer);
    Line {
        entry: Entry { label, colour, dashed },
        values: layers.iter().map(|l| row(l).and_then(|r| value(r))).collect(),
        bounds: layers.iter().map(|l| row(l).and_then(|r| bounds(r))).collect(),
        hollow: layers.iter().map(|l| ratios && row(l).is_some_and(|r| r.hardly_divisible())).collect(),
    }
}

/// What a hollow point means.
const HOLLOW: &str = "Hollow points: natural images of one class are hardly more alike there than those of different classes \
                      (by less than 0.1, or not clearly), so that a ratio to this difference says little; values beyond the \
                      axis stand at its edge.";

fn references() -> Vec<(f64, String)> {
    vec![
        (1.0, "natural images of\nthe same class".into()),
        (0.0, "natural images of\ndifferent classes".into()),
    ]
}

fn measure(comparison: &(String, String)) -> String {
    let what = match comparison.0.as_str() {
        "channel-mean" => "channel means",
        "class-token" => "class tokens",
        _ => "full maps",
    };
    format!("{}, {what}", comparison.1)
}

/// The normalized curves of honest and fooled pictures for every comparison, the raw ones, and those of units of hidden
/// layers.
pub fn draw(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    let comparisons = data.comparisons();
    let measured = |layer: &String| data.paths.iter().any(|r| r.units == *layer);
    let groups: Vec<String> = data.layers().into_iter().filter(measured).collect();
    for (g, units) in groups.iter().enumerate() {
        let circuits = data.circuits_on(units);
        // What the paper shows is enough for hidden layers without a circuit: they share a figure.
        let shown = match (g, circuits.len()) {
            (0, _) => &comparisons[..],
            (_, 1) => &[],
            _ => &comparisons[..1],
        };
        for comparison in shown {
            figures.extend(of_units(folder, data, units, &circuits, comparison, g == 0)?);
        }
    }
    if groups.len() > 1 {
        figures.push(hidden(folder, data, &groups, &comparisons[0])?);
    }
    Ok(figures)
}

/// What a figure of a layer's units is called after.
fn stem(units: &str, first: bool, comparison: &(String, String)) -> String {
    let place = if first { String::new() } else { format!("_{}", files::name(units)) };
    format!("{place}_{}_{}", comparison.0, comparison.1)
}

fn of_units(
    folder: &Path,
    data: &Data,
    units: &str,
    circuits: &[String],
    comparison: &(String, String),
    first: bool,
) -> Result<Vec<Figure>> {
    let rows = |circuit: &str| data.curve(units, circuit, comparison);
    let layers: Vec<String> = rows(&circuits[0]).iter().map(|r| r.layer.clone()).collect();
    let measure = measure(comparison);
    let whose = if first { "visualizations".into() } else { format!("visualizations of units of {units}") };
    let stand = match first {
        true => {
            "natural images of their class as those are to one another, 0 as like as natural images of different \
                 classes"
        }
        false => {
            "the natural images that drive the unit most as those are to one another, 0 as like as those that \
                  drive other units"
        }
    };
    let normalized = Curve {
        title: format!("Path similarity of {whose} and natural images ({measure})"),
        y: "normalized similarity".into(),
        layers: layers.clone(),
        lines: circuits
            .iter()
            .zip(PALETTE)
            .map(|(circuit, colour)| {
                line(
                    label(circuit),
                    colour,
                    false,
                    &layers,
                    &rows(circuit),
                    true,
                    |r| r.normalized,
                    |r| r.lower.zip(r.upper),
                )
            })
            .collect(),
        references: references(),
    };
    let name = format!("path_normalized{}", stem(units, first, comparison));
    save(folder, &name, &normalized)?;
    let mut figures = vec![Figure {
        name,
        caption: format!(
            "Normalized path similarity by layer ({measure}): 1 means that {whose} are processed as like {stand}. \
             Bands: bootstrap 95 % intervals over classes, with their images and pictures. {HOLLOW}"
        ),
        topic: Topic::Paths,
    }];
    for (k, circuit) in circuits.iter().enumerate().take(if first { usize::MAX } else { 0 }) {
        let rows = rows(circuit);
        if k == 0 {
            figures.push(parts(folder, circuit, &rows, &layers, units, first, comparison)?);
        }
        let line = |words: &str, colour, dashed, value| {
            line(words.into(), colour, dashed, &layers, &rows, false, value, |_| None)
        };
        let raw = Curve {
            title: format!("Similarity of activations, {} ({measure})", label(circuit)),
            y: format!("{} similarity", comparison.1),
            layers: layers.clone(),
            lines: vec![
                line("natural, same class", PALETTE[2], false, |r| r.natural_same_class),
                line("natural, different class", PALETTE[4], false, |r| r.natural_different_class),
                line("visualization, same class", PALETTE[0], false, |r| r.visualization_same_class),
                line("visualization, different class", PALETTE[5], true, |r| r.visualization_different_class),
            ],
            references: vec![],
        };
        let name = format!("path_raw{}_{k}", stem(units, first, comparison));
        save(folder, &name, &raw)?;
        figures.push(Figure {
            name,
            caption: format!(
                "Mean similarity of activations by layer, {} ({measure}), between pairs of natural images and \
                 between visualizations and natural images.",
                label(circuit)
            ),
            topic: Topic::Paths,
        });
    }
    Ok(figures)
}

/// The statistic of one network's pictures with its two parts.
fn parts(
    folder: &Path,
    circuit: &str,
    rows: &[&PathSimilarity],
    layers: &[String],
    units: &str,
    first: bool,
    comparison: &(String, String),
) -> Result<Figure> {
    let measure = measure(comparison);
    let figure = Curve {
        title: format!("Normalized path similarity and its two parts, {} ({measure})", label(circuit)),
        y: "over natural same − different".into(),
        layers: layers.to_vec(),
        lines: vec![
            line(
                "normalized similarity".into(),
                INK,
                false,
                layers,
                rows,
                true,
                |r| r.normalized,
                |r| r.lower.zip(r.upper),
            ),
            line(
                "class-specific part".into(),
                PALETTE[2],
                false,
                layers,
                rows,
                true,
                |r| r.class_specific,
                |r| r.class_specific_lower.zip(r.class_specific_upper),
            ),
            line(
                "generic part".into(),
                PALETTE[1],
                true,
                layers,
                rows,
                true,
                |r| r.generic,
                |r| r.generic_lower.zip(r.generic_upper),
            ),
        ],
        references: vec![(1.0, "as natural images\nof the class".into()), (0.0, "nothing".into())],
    };
    let name = format!("path_parts{}", stem(units, first, comparison));
    save(folder, &name, &figure)?;
    Ok(Figure {
        name,
        caption: format!(
            "The normalized similarity, {} ({measure}), is the sum of two parts. Class-specific: how much more alike pictures are \
             to natural images of their own class than to those of others; 1 is what natural images of the class are. Generic: \
             how much more alike they are to natural images of other classes than these are to one another; below 0, pictures \
             are far from natural images of any class. {HOLLOW}",
            label(circuit)
        ),
        topic: Topic::Paths,
    })
}

/// The honest network's curves for units of all layers.
fn hidden(folder: &Path, data: &Data, groups: &[String], comparison: &(String, String)) -> Result<Figure> {
    let rows = |units: &String| data.curve(units, CLEAN, comparison);
    let layers: Vec<String> = rows(&groups[0]).iter().map(|r| r.layer.clone()).collect();
    let measure = measure(comparison);
    let figure = Curve {
        title: format!("Path similarity of units at several depths, honest network ({measure})"),
        y: "normalized similarity".into(),
        layers: layers.clone(),
        lines: groups
            .iter()
            .zip(PALETTE.iter().cycle())
            .map(|(units, colour)| {
                let name = units.clone();
                line(
                    name,
                    *colour,
                    false,
                    &layers,
                    &rows(units),
                    true,
                    |r| r.normalized,
                    |r| r.lower.zip(r.upper),
                )
            })
            .collect(),
        references: vec![
            (1.0, "natural images of\nthe same unit".into()),
            (0.0, "natural images of\nother units".into()),
        ],
    };
    let name = format!("path_depths_{}_{}", comparison.0, comparison.1);
    save(folder, &name, &figure)?;
    Ok(Figure {
        name,
        caption: format!(
            "Normalized path similarity ({measure}) of visualizations of units at several depths of the honest network, \
             at the layers up to their own. The natural images of a hidden unit are those that drive it most; of an \
             output unit, those of its class."
        ),
        topic: Topic::Paths,
    })
}
