//! How well detectors find circuits: areas, curves, scores.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Area, Axis, Draw, Drawn, Entry, INK, PALETTE, bold, chart, legend, save, series, spread, style, text,
};
use super::{Data, Figure, Topic};
use crate::error::Result;
use crate::statistics::median;
use crate::statistics::roc::{self, Stratum};
use crate::tables::unique;
use crate::tables::{CLEAN, Detection, FOOLED, OTHER, Score};

/// Draws the areas, the curves and the scores.
pub fn draw(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    if data.detection.is_empty() {
        return Ok(figures);
    }
    let detectors = unique(data.detection.iter().map(|d| d.detector.clone()));
    for method in unique(data.detection.iter().map(|d| d.method.clone())) {
        let rows: Vec<&Detection> = data.detection.iter().filter(|d| d.method == method).collect();
        let lines = lines(&rows);
        let heat = |title: String, lines: Vec<Line>, paired: bool| Heat {
            title,
            lines,
            detectors: detectors.clone(),
            rows: rows.clone(),
            paired,
        };
        let title = format!("Area under the ROC curve, visualizations by method \"{method}\"");
        save(folder, &format!("areas_{method}"), &heat(title, lines.clone(), false))?;
        figures.push(Figure {
            name: format!("areas_{method}"),
            caption: format!(
                "How well each detector tells the units that a circuit fools from others of their layer, with \
                 visualizations by method \"{method}\", layer by layer: area under the ROC curve, and under it its 95 % \
                 interval. Below the line the controls, where no circuit is to be found, and what chance gives, over all layers."
            ),
            topic: Topic::Areas,
        });
        let title = format!("Area of score minus the same unit's honest score, method \"{method}\"");
        let of_circuits = lines.into_iter().filter(|line| !line.control).collect();
        save(folder, &format!("paired_{method}"), &heat(title, of_circuits, true))?;
        figures.push(Figure {
            name: format!("paired_{method}"),
            caption: format!(
                "The same for how far each unit's score is above the same unit's in the honest network, visualizations by method \
                 \"{method}\": what the circuit adds, whatever the units are like. An auditor who has no honest network can't see \
                 this."
            ),
            topic: Topic::Areas,
        });
        let circuits = unique(data.scores.iter().filter(|s| s.manipulated).map(|s| s.circuit.clone()));
        let curves = |circuit: &String| {
            let curves =
                detectors.iter().map(|d| roc::curve(&strata(&data.scores, circuit, d, &method))).collect();
            Panel { circuit: circuit.clone(), curves }
        };
        let panels = circuits.iter().map(curves).collect();
        save(folder, &format!("roc_{method}"), &Curves { detectors: detectors.clone(), panels })?;
        figures.push(Figure {
            name: format!("roc_{method}"),
            caption: format!(
                "ROC curves by circuit, with visualizations by method \"{method}\": each fooled unit is placed among the \
                 clean ones of its layer, and the layers are taken together. Dashed: 5 % false positives."
            ),
            topic: Topic::Roc,
        });
        let circuits: Vec<String> = std::iter::once(CLEAN.to_string()).chain(circuits).collect();
        let strips = detectors.iter().map(|d| strip(&data.scores, d, &circuits, &method)).collect();
        save(folder, &format!("scores_{method}"), &Scores { circuits, strips })?;
        figures.push(Figure {
            name: format!("scores_{method}"),
            caption: format!(
                "The scores of all units, by detector and circuit, with visualizations by method \"{method}\": left in \
                 each pair the units that the circuit fools, right the others, over all draws (in the honest network all, twice). \
                 Bars are medians. Units of all layers are shown together, while the areas compare within layers."
            ),
            topic: Topic::Scores,
        });
    }
    Ok(figures)
}

/// The draws of a circuit's units, layer by layer.
fn strata(scores: &[Score], circuit: &str, detector: &str, method: &str) -> Vec<Stratum> {
    let here: Vec<&Score> = scores
        .iter()
        .filter(|s| s.circuit == circuit && s.detector == detector && s.method == method)
        .collect();
    unique(here.iter().map(|s| (s.layer.clone(), s.draw)))
        .iter()
        .map(|(layer, draw)| {
            let of = |fooled: bool| {
                let wanted = |s: &&&Score| s.layer == *layer && s.draw == *draw && s.is_fooled() == fooled;
                here.iter().filter(wanted).map(|s| s.score).collect()
            };
            Stratum { manipulated: of(true), clean: of(false) }
        })
        .collect()
}

/// A line of the table of areas.
#[derive(Clone, PartialEq)]
struct Line {
    circuit: String,
    /// Empty for all layers together.
    layer: String,
    control: bool,
}

/// Circuits layer by layer, and what is no circuit, over all layers.
fn lines(rows: &[&Detection]) -> Vec<Line> {
    let all = unique(rows.iter().map(|d| (d.circuit.clone(), d.layer.clone(), d.control)));
    let shown = all.into_iter().filter(|(_, layer, control)| *control == layer.is_empty());
    shown.map(|(circuit, layer, control)| Line { circuit, layer, control }).collect()
}

/// Areas as a coloured table.
struct Heat<'a> {
    title: String,
    lines: Vec<Line>,
    detectors: Vec<String>,
    rows: Vec<&'a Detection>,
    /// Whether it is of the paired areas.
    paired: bool,
}

const CELL: (i32, i32) = (122, 56);

/// White at chance, blue where a detector tells units apart, orange where it is misled.
fn shade(area: f64) -> RGBColor {
    let (end, share) = if area >= 0.5 { (PALETTE[0], area - 0.5) } else { (PALETTE[1], 0.5 - area) };
    let mix = |white: u8, colour: u8| {
        (f64::from(white) + (f64::from(colour) - f64::from(white)) * 2.0 * share) as u8
    };
    RGBColor(mix(255, end.0), mix(255, end.1), mix(255, end.2))
}

impl Draw for Heat<'_> {
    fn size(&self) -> (u32, u32) {
        let width = 220 + self.detectors.len() as i32 * CELL.0 + 20;
        let height = 104 + self.lines.len() as i32 * CELL.1 + 30;
        (width.max(760) as u32, height as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        text(area, &self.title, (16, 14), &bold(20.0, HPos::Left, VPos::Top))?;
        for (i, name) in self.detectors.iter().enumerate() {
            let at = (220 + i as i32 * CELL.0 + CELL.0 / 2, 92);
            text(area, name, at, &style(17.0, INK, HPos::Center, VPos::Bottom))?;
        }
        let mut y = 100;
        let mut controls = false;
        for line in &self.lines {
            if line.control && !controls {
                controls = true;
                let right = 220 + self.detectors.len() as i32 * CELL.0;
                let line = PathElement::new([(16, y + 6), (right, y + 6)], INK.stroke_width(1));
                area.draw(&line).map_err(|e| e.to_string())?;
                y += 14;
            }
            let name = match line.layer.is_empty() {
                true => line.circuit.clone(),
                false => format!("{}, {}", line.circuit, line.layer),
            };
            text(area, &name, (206, y + CELL.1 / 2), &style(16.0, INK, HPos::Right, VPos::Center))?;
            for (i, detector) in self.detectors.iter().enumerate() {
                let wanted = |d: &&&Detection| {
                    d.circuit == line.circuit && d.layer == line.layer && d.detector == *detector
                };
                let found = self.rows.iter().find(wanted).and_then(|d| match self.paired {
                    true => Some((d.paired?, d.paired_lower, d.paired_upper)),
                    false => Some((d.auc?, d.lower, d.upper)),
                });
                let Some((auc, lower, upper)) = found else { continue };
                let x = 220 + i as i32 * CELL.0;
                let corners = [(x + 1, y + 1), (x + CELL.0 - 1, y + CELL.1 - 1)];
                area.draw(&Rectangle::new(corners, shade(auc).filled())).map_err(|e| e.to_string())?;
                let ink = if (auc - 0.5).abs() > 0.33 { WHITE } else { INK };
                let middle = x + CELL.0 / 2;
                text(
                    area,
                    &format!("{auc:.2}"),
                    (middle, y + 20),
                    &style(19.0, ink, HPos::Center, VPos::Center),
                )?;
                if let (Some(low), Some(high)) = (lower, upper) {
                    let words = format!("{low:.2} to {high:.2}");
                    text(area, &words, (middle, y + 41), &style(13.0, ink, HPos::Center, VPos::Center))?;
                }
            }
            y += CELL.1;
        }
        Ok(())
    }
}

struct Panel {
    circuit: String,
    curves: Vec<Vec<roc::Point>>,
}

/// ROC curves, a panel a circuit.
struct Curves {
    detectors: Vec<String>,
    panels: Vec<Panel>,
}

const PANEL: (u32, u32) = (420, 400);

impl Draw for Curves {
    fn size(&self) -> (u32, u32) {
        let columns = self.panels.len().clamp(1, 3) as u32;
        (columns * PANEL.0, 50 + self.panels.len().div_ceil(3) as u32 * PANEL.1)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let entry = |i: usize| Entry {
            label: self.detectors[i].clone(),
            colour: PALETTE[i % PALETTE.len()],
            dashed: i >= PALETTE.len(),
        };
        let entries: Vec<Entry> = (0..self.detectors.len()).map(entry).collect();
        legend(area, &entries, 16, 24)?;
        for (k, panel) in self.panels.iter().enumerate() {
            let (column, row) = ((k % 3) as i32, (k / 3) as i32);
            let (w, h) = (PANEL.0 as i32, PANEL.1 as i32);
            let (left, top) = (column * w, 50 + row * h);
            let (width, height) = area.dim_in_pixel();
            let part = area
                .clone()
                .shrink((left, top), (PANEL.0.min(width - left as u32), PANEL.1.min(height - top as u32)));
            text(&part, &panel.circuit, (72, 8), &bold(18.0, HPos::Left, VPos::Top))?;
            let x = Axis::numbers(0.0..1.0, "false positives");
            let y = Axis::numbers(0.0..1.0, "true positives");
            let mut chart = chart(&part, &x, &y, [72, 40, 20, 66])?;
            let rate = Entry { label: String::new(), colour: PALETTE[6], dashed: true };
            series(&mut chart, &[(0.05, 0.0), (0.05, 1.0)], &[], &rate, 1)?;
            for (i, curve) in panel.curves.iter().enumerate() {
                // Curves that lie on one another are kept apart by a hair.
                let shift = 0.006 * (i as f64 - (self.detectors.len() as f64 - 1.0) / 2.0);
                let points: Vec<(f64, f64)> = curve
                    .iter()
                    .map(|p| {
                        (
                            (p.false_positives + shift).clamp(0.0, 1.0),
                            (p.true_positives - shift).clamp(0.0, 1.0),
                        )
                    })
                    .collect();
                let line = PathElement::new(points, entry(i).colour.stroke_width(3));
                chart.draw_series(std::iter::once(line)).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

/// The scores of one detector: for each circuit those of fooled units and of others.
struct Strip {
    detector: String,
    pairs: Vec<[Vec<f64>; 2]>,
}

fn strip(scores: &[Score], detector: &str, circuits: &[String], method: &str) -> Strip {
    let of = |circuit: &String, group: &str| -> Vec<f64> {
        let wanted = |s: &&Score| {
            let group = circuit == CLEAN || s.group == group;
            s.circuit == *circuit && s.detector == detector && s.method == method && group
        };
        scores.iter().filter(wanted).filter_map(|s| s.score).collect()
    };
    Strip {
        detector: detector.into(),
        pairs: circuits.iter().map(|c| [of(c, FOOLED), of(c, OTHER)]).collect(),
    }
}

/// The scores of all units.
struct Scores {
    circuits: Vec<String>,
    strips: Vec<Strip>,
}

const STRIP: (u32, u32) = (620, 300);

impl Draw for Scores {
    fn size(&self) -> (u32, u32) {
        (2 * STRIP.0, 50 + self.strips.len().div_ceil(2) as u32 * STRIP.1)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let entries = [("fooled units", PALETTE[1]), ("others of their layer", PALETTE[0])]
            .map(|(label, colour)| Entry { label: label.into(), colour, dashed: false });
        legend(area, &entries, 16, 24)?;
        for (k, strip) in self.strips.iter().enumerate() {
            let (left, top) = ((k % 2) as i32 * STRIP.0 as i32, 50 + (k / 2) as i32 * STRIP.1 as i32);
            let part = area.clone().shrink((left, top), STRIP);
            text(&part, &strip.detector, (92, 6), &bold(18.0, HPos::Left, VPos::Top))?;
            let n = self.circuits.len();
            let name = |circuit: &String| if circuit == CLEAN { "honest".into() } else { circuit.clone() };
            let x = Axis {
                range: -0.5..n as f64 - 0.5,
                name: String::new(),
                ticks: self.circuits.iter().enumerate().map(|(i, c)| (i as f64, name(c))).collect(),
            };
            let all = strip.pairs.iter().flatten().flatten().copied();
            let y = Axis::numbers(spread(all), "score");
            let mut chart = chart(&part, &x, &y, [92, 36, 16, 44])?;
            for (i, pair) in strip.pairs.iter().enumerate() {
                for (side, values) in pair.iter().enumerate() {
                    let colour = entries[side].colour;
                    let centre = i as f64 + [-0.2, 0.2][side];
                    let count = values.len() as f64;
                    let place = |k: usize| centre + (k as f64 + 0.5 - count / 2.0) * (0.28 / count.max(1.0));
                    let dots = values
                        .iter()
                        .enumerate()
                        .map(|(k, v)| Circle::new((place(k), *v), 3, colour.mix(0.6).filled()));
                    chart.draw_series(dots).map_err(|e| e.to_string())?;
                    if let Some(median) = median(values) {
                        let bar = [(centre - 0.17, median), (centre + 0.17, median)];
                        chart
                            .draw_series(std::iter::once(PathElement::new(bar, INK.stroke_width(2))))
                            .map_err(|e| e.to_string())?;
                    }
                }
            }
        }
        Ok(())
    }
}
