//! What the path-similarity statistic says of controls.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Area, Axis, Draw, Drawn, Entry, INK, PALETTE, bold, chart, layer_ticks, legend, save, series, text,
};
use super::pictures::{Cell, Grid};
use super::{Data, Figure, Topic};
use crate::error::Result;
use crate::tables::unique;
use crate::tables::{CLEAN, ControlPicture, PathSimilarity};

/// Draws the curves of every comparison, and an example of each control.
pub fn draw(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    if data.controls.is_empty() {
        return Ok(figures);
    }
    if !data.control_pictures.is_empty() {
        save(folder, "controls_examples", &examples(folder, &data.control_pictures)?)?;
        figures.push(Figure {
            name: "controls_examples".into(),
            caption: "Controls of the path-similarity statistic, set in the place of visualizations: natural images of the \
                      class that are not among those compared with, as they are and changed, and visualizations of an \
                      untrained network's units."
                .into(),
            topic: Topic::Controls,
        });
    }
    let Some(units) = data.layer_of(CLEAN) else { return Ok(figures) };
    for comparison in data.comparisons() {
        let wanted = |r: &&PathSimilarity| (&r.reduction, &r.metric) == (&comparison.0, &comparison.1);
        let rows: Vec<&PathSimilarity> = data.controls.iter().map(|c| &c.0).filter(wanted).collect();
        let curves = unique(rows.iter().map(|r| r.circuit.clone()))
            .into_iter()
            .map(|name| {
                let of = rows.iter().filter(|r| r.circuit == name).copied().collect();
                (name, of)
            })
            .chain([("visualizations".to_string(), data.curve(units, CLEAN, &comparison))])
            .collect();
        let measure = format!("{}, {}", comparison.1, comparison.0);
        let name = format!("controls_{}_{}", comparison.0, comparison.1);
        save(
            folder,
            &name,
            &Panels { title: format!("What the statistic says of controls ({measure})"), curves },
        )?;
        figures.push(Figure {
            name,
            caption: format!(
                "Normalized similarity ({measure}) of controls and of visualizations, and its two parts: 1 and 0 are natural images \
                 of the class and of others; natural images that were not compared with must come out as class-specific 1 and \
                 generic 0. Hollow points: layers whose natural images of one class are hardly more alike than others. Values \
                 beyond the axis stand at its edge."
            ),
            topic: Topic::Controls,
        });
    }
    Ok(figures)
}

/// One picture of each control, of the first few classes.
fn examples(folder: &Path, all: &[ControlPicture]) -> Result<Grid> {
    let controls = unique(all.iter().map(|c| c.control.clone()));
    let classes = unique(all.iter().map(|c| (c.channel, c.name.clone())));
    let mut rows = vec![];
    for (channel, name) in classes.into_iter().take(3) {
        let cell = |control: &String| {
            let found = all.iter().find(|c| c.control == *control && c.channel == channel);
            found.map(|c| Cell::read(folder, &c.picture, String::new())).transpose()
        };
        rows.push((name, controls.iter().map(cell).collect::<Result<Vec<_>>>()?));
    }
    let columns = controls.iter().map(|c| c.replace("untrained-pictures", "untrained")).collect();
    Ok(Grid { title: "Controls".into(), columns, rows })
}

/// The statistic and its two parts, one below another.
struct Panels<'a> {
    title: String,
    curves: Vec<(String, Vec<&'a PathSimilarity>)>,
}

/// A column of the table.
type Column = fn(&PathSimilarity) -> Option<f64>;

const PANEL: u32 = 360;

/// What is shown of values that may be anything.
const RANGE: std::ops::Range<f64> = -3.0..2.0;

impl Panels<'_> {
    fn entry(&self, i: usize) -> Entry {
        let (label, _) = &self.curves[i];
        let own = i + 1 == self.curves.len();
        Entry {
            label: label.clone(),
            colour: if own { INK } else { PALETTE[i % PALETTE.len()] },
            dashed: i >= PALETTE.len() && !own,
        }
    }
}

impl Draw for Panels<'_> {
    fn size(&self) -> (u32, u32) {
        (1240, 96 + 3 * PANEL)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        text(area, &self.title, (20, 16), &bold(22.0, HPos::Left, VPos::Top))?;
        let entries: Vec<Entry> = (0..self.curves.len()).map(|i| self.entry(i)).collect();
        let half = entries.len().div_ceil(2);
        legend(area, &entries[..half], 20, 60)?;
        legend(area, &entries[half..], 20, 84)?;
        let layers: Vec<String> =
            self.curves.last().map_or(vec![], |(_, rows)| rows.iter().map(|r| r.layer.clone()).collect());
        let columns: [(&str, Column); 3] = [
            ("normalized similarity", |r| r.normalized),
            ("class-specific part", |r| r.class_specific),
            ("generic part", |r| r.generic),
        ];
        for (k, (name, value)) in columns.into_iter().enumerate() {
            let part = area.clone().shrink((0, 96 + (k as u32 * PANEL) as i32), (1240, PANEL));
            let x = Axis {
                range: -0.5..layers.len() as f64 - 0.5,
                name: String::new(),
                ticks: layer_ticks(&layers, 1100),
            };
            let y = Axis::numbers(RANGE, name);
            let mut chart = chart(&part, &x, &y, [90, 12, 24, 62])?;
            for level in [0.0, 1.0] {
                let line = PathElement::new(
                    [(-0.5, level), (layers.len() as f64 - 0.5, level)],
                    INK.stroke_width(1),
                );
                chart.draw_series(std::iter::once(line)).map_err(|e| e.to_string())?;
            }
            for (i, (_, rows)) in self.curves.iter().enumerate() {
                let points: Vec<(f64, f64, bool)> = rows
                    .iter()
                    .enumerate()
                    .filter_map(|(at, r)| {
                        let v = value(r)?.clamp(RANGE.start, RANGE.end);
                        Some((at as f64, v, r.hardly_divisible()))
                    })
                    .collect();
                let line: Vec<(f64, f64)> = points.iter().map(|&(x, y, _)| (x, y)).collect();
                let width = if i + 1 == self.curves.len() { 4 } else { 2 };
                series(&mut chart, &line, &[], &self.entry(i), width)?;
                let hollow =
                    points.iter().filter(|p| p.2).map(|&(x, y, _)| Circle::new((x, y), 2, WHITE.filled()));
                chart.draw_series(hollow).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}
