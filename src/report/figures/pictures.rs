//! Figures made of pictures: the grid of visualizations before and after, and the trajectory strip.

use std::path::Path;

use image::RgbImage;
use plotters::element::BitMapElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Area, Draw, Drawn, INK, PALETTE, bold, save, style, text};
use super::{Data, Figure, label};
use crate::error::{Context, Result};
use crate::report::tables::{CLEAN, Trajectory, Visualization};

/// Side of a picture in a figure, and the space around it, in pixels.
const TILE: i32 = 136;
const GAP: i32 = 8;
const LEFT: i32 = 190;

/// Pictures in rows and columns, with names.
struct Grid {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Option<Cell>>)>,
}

struct Cell {
    pixels: Vec<u8>,
    /// What is written under it.
    caption: String,
}

impl Cell {
    fn read(folder: &Path, picture: &str, caption: String) -> Result<Self> {
        let path = folder.join(picture);
        let image = image::open(&path).on("read", &path)?.to_rgb8();
        let side = TILE as u32;
        let filter = match image.width() < side {
            true => image::imageops::FilterType::CatmullRom,
            false => image::imageops::FilterType::Triangle,
        };
        let scaled: RgbImage = image::imageops::resize(&image, side, side, filter);
        Ok(Self { pixels: scaled.into_raw(), caption })
    }
}

impl Grid {
    fn captions(&self) -> i32 {
        let some = self.rows.iter().flat_map(|r| r.1.iter().flatten()).any(|c| !c.caption.is_empty());
        if some { 22 } else { 0 }
    }
}

impl Draw for Grid {
    fn size(&self) -> (u32, u32) {
        let width = LEFT + self.columns.len() as i32 * (TILE + GAP) + 16;
        let height = 92 + self.rows.len() as i32 * (TILE + GAP + self.captions()) + 10;
        (width as u32, height as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        text(area, &self.title, (16, 14), &bold(22.0, HPos::Left, VPos::Top))?;
        for (i, name) in self.columns.iter().enumerate() {
            let at = (LEFT + i as i32 * (TILE + GAP) + TILE / 2, 84);
            text(area, &fit(name, 15), at, &style(17.0, INK, HPos::Center, VPos::Bottom))?;
        }
        for (j, (name, cells)) in self.rows.iter().enumerate() {
            let y = 92 + j as i32 * (TILE + GAP + self.captions());
            for (k, words) in name.lines().enumerate() {
                let at = (LEFT - 14, y + TILE / 2 + 20 * k as i32 - 10 * (name.lines().count() as i32 - 1));
                text(area, words, at, &style(17.0, INK, HPos::Right, VPos::Center))?;
            }
            for (i, cell) in cells.iter().enumerate() {
                let Some(cell) = cell else { continue };
                let x = LEFT + i as i32 * (TILE + GAP);
                let size = (TILE as u32, TILE as u32);
                let picture = BitMapElement::with_owned_buffer((x, y), size, cell.pixels.clone())
                    .ok_or("a picture of another size")?;
                area.draw(&picture).map_err(|e| e.to_string())?;
                let at = (x + TILE / 2, y + TILE + 4);
                text(area, &fit(&cell.caption, 18), at, &style(14.0, PALETTE[6], HPos::Center, VPos::Top))?;
            }
        }
        Ok(())
    }
}

/// A name cut to so many characters.
fn fit(name: &str, length: usize) -> String {
    if name.chars().count() <= length {
        return name.into();
    }
    name.chars().take(length - 1).chain(['…']).collect()
}

/// Visualizations of the honest network over those of the manipulated ones, a column for each class.
pub fn grid(folder: &Path, data: &Data) -> Result<Option<Figure>> {
    const MOST: usize = 10;
    let mut classes: Vec<(usize, String)> = vec![];
    for row in &data.visualizations {
        if !classes.iter().any(|(c, _)| *c == row.class) {
            classes.push((row.class, row.class_name.clone()));
        }
    }
    classes.truncate(MOST);
    if classes.is_empty() {
        return Ok(None);
    }
    let mut rows = vec![];
    for circuit in data.circuits() {
        let of = |class: usize, index: usize| -> Option<&Visualization> {
            data.visualizations.iter().find(|v| v.circuit == circuit && v.class == class && v.index == index)
        };
        // Two of each, if there are; the second row shows that the first is no accident.
        for index in 0..2 {
            let cells = classes
                .iter()
                .map(|(class, _)| {
                    of(*class, index)
                        .map(|v| Cell::read(folder, &v.picture, format!("seen as {}", v.shows_name)))
                        .transpose()
                })
                .collect::<Result<Vec<_>>>()?;
            if cells.iter().any(Option::is_some) {
                let name = if index == 0 { label(&circuit).replace(" \"", "\n\"") } else { String::new() };
                rows.push((name, cells));
            }
        }
    }
    let lies = data.circuits().iter().any(|c| c != CLEAN);
    let grid = Grid {
        title: "Feature visualizations of each class's unit".into(),
        columns: classes.into_iter().map(|(_, name)| name).collect(),
        rows,
    };
    save(folder, "visualizations", &grid)?;
    let caption = match lies {
        true => {
            "Feature visualizations of the same units in the honest and in the manipulated network. Under each \
             picture, the class that the honest network sees in it. Corresponds to Fig. 1 of Geirhos et al."
        }
        false => {
            "Feature visualizations of each class's unit. Under each, the class that the network sees in it."
        }
    };
    Ok(Some(Figure { name: "visualizations".into(), caption: caption.into() }))
}

/// Pictures along the trajectories of a few units, honest and manipulated.
pub fn strip(folder: &Path, data: &Data) -> Result<Option<Figure>> {
    const UNITS: usize = 3;
    let mut steps: Vec<usize> = data.trajectories.iter().map(|r| r.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let mut classes: Vec<usize> = vec![];
    for row in data.trajectories.iter().filter(|r| r.picture.is_some()) {
        if !classes.contains(&row.class) {
            classes.push(row.class);
        }
    }
    // Spread over the classes.
    let every = (classes.len() / UNITS).max(1);
    let mut rows = vec![];
    for &class in classes.iter().step_by(every).take(UNITS) {
        for circuit in data.circuits() {
            let of = |step: usize| -> Option<&Trajectory> {
                data.trajectories.iter().find(|r| {
                    r.circuit == circuit && r.class == class && r.step == step && r.picture.is_some()
                })
            };
            let cells = steps
                .iter()
                .map(|&step| {
                    of(step)
                        .and_then(|r| r.picture.as_ref().map(|p| (p, r)))
                        .map(|(picture, r)| {
                            let caption = match r.gate {
                                Some(t) => format!("{:.1} (gate {t:.0})", r.activation),
                                None => format!("{:.1}", r.activation),
                            };
                            Cell::read(folder, picture, caption)
                        })
                        .transpose()
                })
                .collect::<Result<Vec<_>>>()?;
            let name = data.visualizations.iter().find(|v| v.class == class);
            let name = name.map_or_else(|| class.to_string(), |v| fit(&v.class_name, 18));
            rows.push((format!("{name}\n{}", label(&circuit).replace("with circuit ", "")), cells));
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let strip = Grid {
        title: "Trajectories: the image and the unit's activation along the optimization".into(),
        columns: steps.iter().map(|s| format!("step {s}")).collect(),
        rows,
    };
    save(folder, "trajectory_strip", &strip)?;
    Ok(Some(Figure {
        name: "trajectory_strip".into(),
        caption:
            "The image at logarithmic steps of the optimization, and the unit's activation for it; for a \
                  manipulated network also the gate's answer, 1 where the image is taken for synthetic."
                .into(),
    }))
}
