//! Figures of how often observers are right.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::plan::{Plan, Task};
use super::tables::{Accuracy, Trust};
use crate::error::Result;
use crate::report::figures::canvas::{Area, Axis, Draw, Drawn, INK, PALETTE, bold, chart, save, style, text};
use crate::tables::CLEAN;

/// A figure that was drawn.
pub struct Figure {
    pub name: String,
    pub caption: String,
}

/// Accuracies with their intervals: groups along the axis, in each a dot for every series.
struct Dots {
    title: String,
    /// What a group is called, under it; the second line may be shared by neighbours.
    groups: Vec<String>,
    series: Vec<(String, Vec<Option<[f64; 3]>>)>,
    axis: String,
    chance: f64,
    /// What people reached, and how far that is uncertain.
    people: Vec<Option<(f64, f64)>>,
}

/// Height of a line of the legend.
const LINE: i32 = 24;

/// Columns of the legend.
const COLUMNS: usize = 4;

impl Dots {
    fn legend_lines(&self) -> i32 {
        (self.series.len() + usize::from(self.people.iter().any(Option::is_some))).div_ceil(COLUMNS) as i32
    }
}

/// The colour and shape of a series: colours come round with another shape.
fn mark(i: usize) -> (RGBColor, usize) {
    (PALETTE[i % PALETTE.len()], i / PALETTE.len())
}

impl Draw for Dots {
    fn size(&self) -> (u32, u32) {
        let width = (self.groups.len() * (16 * self.series.len() + 30)).clamp(760, 1800);
        (150 + width as u32, (480 + self.legend_lines() * LINE) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let n = self.groups.len() as f64;
        let ticks = self.groups.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect();
        let x = Axis { range: -0.5..n - 0.5, name: self.axis.clone(), ticks };
        let percent = (0..=5).map(|i| (f64::from(i) / 5.0, format!("{} %", 20 * i))).collect();
        let y = Axis { range: 0.0..1.0, name: "right answers".into(), ticks: percent };
        text(area, &self.title, (20, 16), &bold(21.0, HPos::Left, VPos::Top))?;
        let (width, _) = area.dim_in_pixel();
        let words = style(15.0, INK, HPos::Left, VPos::Center);
        let dot = |at: (i32, i32), (colour, shape): (RGBColor, usize)| match shape {
            0 => area.draw(&Circle::new(at, 5, colour.filled())).map_err(|e| e.to_string()),
            _ => area.draw(&TriangleMarker::new(at, 7, colour.filled())).map_err(|e| e.to_string()),
        };
        let place = |i: usize| {
            let column = (width as i32 - 110) / COLUMNS as i32;
            (96 + (i % COLUMNS) as i32 * column, 62 + (i / COLUMNS) as i32 * LINE)
        };
        for (i, (name, _)) in self.series.iter().enumerate() {
            let (x, y) = place(i);
            dot((x, y), mark(i))?;
            text(area, name, (x + 12, y), &words)?;
        }
        if self.people.iter().any(Option::is_some) {
            let (x, y) = place(self.series.len());
            let band = [(x - 8, y - 6), (x + 8, y + 6)];
            area.draw(&Rectangle::new(band, INK.mix(0.16).filled())).map_err(|e| e.to_string())?;
            text(area, "people in the study", (x + 14, y), &words)?;
        }
        let mut chart = chart(area, &x, &y, [92, 70 + self.legend_lines() * LINE, 24, 92])?;
        for (i, people) in self.people.iter().enumerate() {
            if let Some((mean, width)) = people {
                let band = [(i as f64 - 0.46, mean - width), (i as f64 + 0.46, mean + width)];
                chart
                    .draw_series(std::iter::once(Rectangle::new(band, INK.mix(0.16).filled())))
                    .map_err(|e| e.to_string())?;
            }
        }
        let chance = [(-0.5, self.chance), (n - 0.5, self.chance)];
        chart
            .draw_series(DashedLineSeries::new(chance, 6, 5, INK.stroke_width(1)))
            .map_err(|e| e.to_string())?;
        let count = self.series.len() as f64;
        for (i, (_, values)) in self.series.iter().enumerate() {
            let (colour, shape) = mark(i);
            let shift = (i as f64 + 0.5 - count / 2.0) * (0.84 / count.max(1.0));
            let at = |group: usize| group as f64 + shift;
            let found = || values.iter().enumerate().filter_map(|(g, v)| v.map(|v| (g, v)));
            chart
                .draw_series(found().map(|(g, [_, lower, upper])| {
                    PathElement::new([(at(g), lower), (at(g), upper)], colour.mix(0.6).stroke_width(2))
                }))
                .map_err(|e| e.to_string())?;
            match shape {
                0 => chart
                    .draw_series(
                        found().map(|(g, [mean, ..])| Circle::new((at(g), mean), 5, colour.filled())),
                    )
                    .map(|_| ()),
                _ => chart
                    .draw_series(
                        found().map(|(g, [mean, ..])| TriangleMarker::new((at(g), mean), 7, colour.filled())),
                    )
                    .map(|_| ()),
            }
            .map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// What Zimmermann et al. (2021) report of people, by references: the mean and how far it is uncertain; for natural, mixed
/// and blurred references the middle of the range in which their means lie, and half of the range.
pub(super) fn reported(references: &str) -> Option<(f64, f64)> {
    match references {
        "none" => Some((0.60, 0.03)),
        "visualizations" => Some((0.67, 0.04)),
        "natural" | "mixed" | "blurred" => Some((0.665, 0.005)),
        _ => None,
    }
}

/// The observers that a figure shows: models, people together or the only one, and none that are simulated.
fn shown(observers: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![];
    for one in observers.filter(|(_, kind)| kind != "simulated") {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    let pooled = all.iter().any(|(name, _)| name == super::score::PEOPLE);
    all.into_iter()
        .filter(|(name, kind)| kind != "person" || !pooled || name == super::score::PEOPLE)
        .map(|(name, _)| name)
        .collect()
}

/// Draws every figure into `figures/`.
///
/// # Errors
/// Failure, if a file can't be written.
pub fn draw(folder: &Path, plan: &Plan, accuracy: &[Accuracy], trust: &[Trust]) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    for task in Task::ALL {
        let of = |r: &&Accuracy| {
            r.task == task.name() && r.circuit == CLEAN && r.purpose == "main" && r.by == "condition"
        };
        let rows: Vec<&Accuracy> = accuracy.iter().filter(of).collect();
        let observers = shown(rows.iter().map(|r| (r.observer.clone(), r.kind.clone())));
        if observers.is_empty() {
            continue;
        }
        let conditions = plan.conditions(task);
        let cells: Vec<(&String, &String)> =
            plan.depths.iter().flat_map(|d| conditions.iter().map(move |c| (d, c))).collect();
        let value = |observer: &str, depth: &str, level: &str| {
            let row = rows.iter().find(|r| r.observer == observer && r.depth == depth && r.level == level);
            row.map(|r| [r.accuracy, r.lower, r.upper])
        };
        let series = observers
            .iter()
            .map(|o| (o.clone(), cells.iter().map(|(d, c)| value(o, d, c)).collect()))
            .collect();
        let middle = conditions.len() / 2;
        let groups = cells
            .iter()
            .enumerate()
            .map(|(i, (depth, condition))| match i % conditions.len() == middle {
                true => format!("{condition}\n{depth}"),
                false => condition.to_string(),
            })
            .collect();
        let (title, axis, caption) = match task {
            Task::Exemplar => (
                "Natural images matched with natural images",
                "images on either side, and depth of the units",
                "Matching natural images with natural images that activate the same unit: rows that are matched rightly.",
            ),
            Task::Visualization => (
                "Natural images matched with visualizations",
                "images on either side, and depth of the units",
                "Matching natural images with visualizations of the unit that they activate: rows that are matched rightly.",
            ),
            Task::Occlusion => (
                "Which occlusion lowers the activation more?",
                "references, and depth of the units",
                "Choosing the occlusion that lowers a unit's activation more, with different references beside the query. The \
                 bands are what people reached over all depths in Zimmermann et al. (2021): the mean and its uncertainty without \
                 references and with visualizations, and the range of means, whose uncertainty is larger, with the others.",
            ),
        };
        let people = cells.iter().map(|(_, c)| if task == Task::Occlusion { reported(c) } else { None });
        let people = people.collect();
        let dots =
            Dots { title: title.into(), groups, series, axis: axis.into(), chance: task.chance(), people };
        save(folder, task.name(), &dots)?;
        let caption = format!("{caption} Dashed: chance. Bars: 95 % intervals.");
        figures.push(Figure { name: task.name().into(), caption });
    }
    for circuit in plan.circuits().iter().filter(|c| *c != CLEAN) {
        for task in [Task::Visualization, Task::Occlusion] {
            let of = |r: &&Trust| r.circuit == *circuit && r.task == task.name();
            let rows: Vec<&Trust> = trust.iter().filter(of).collect();
            let observers = shown(rows.iter().map(|r| (r.observer.clone(), r.kind.clone())));
            if observers.is_empty() {
                continue;
            }
            let value = |observer: &str, shown: &str| {
                let row = rows.iter().find(|r| r.observer == observer && r.shown == shown);
                row.map(|r| [r.accuracy, r.lower, r.upper])
            };
            let kinds = [
                ("without", "without visualizations"),
                ("honest", "the honest network's"),
                ("fooled", "the fooled network's"),
            ];
            let series = kinds
                .iter()
                .map(|(kind, name)| (name.to_string(), observers.iter().map(|o| value(o, kind)).collect()))
                .filter(|(_, values): &(String, Vec<Option<[f64; 3]>>)| values.iter().any(Option::is_some))
                .collect();
            // Long names in two rows, in turn.
            let groups = observers
                .iter()
                .enumerate()
                .map(|(i, name)| if i % 2 == 1 { format!("\n{name}") } else { name.clone() })
                .collect();
            let name = format!("trust_{circuit}_{}", task.name());
            let title =
                format!("Does a visualization help, and one that lies? (\"{circuit}\", {})", task.name());
            let people = vec![None; observers.len()];
            let axis = "observers".to_string();
            save(folder, &name, &Dots { title, groups, series, axis, chance: task.chance(), people })?;
            figures.push(Figure {
                name,
                caption: format!(
                    "Questions answered without visualizations, with those of the honest network, and with \
                     those of the network with the circuit \"{circuit}\". Dashed: chance. Bars: 95 % intervals."
                ),
            });
        }
    }
    Ok(figures)
}
