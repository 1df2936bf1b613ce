//! Figures made of pictures: the grid of visualizations before and after, and the trajectory strip.

use std::path::Path;

use image::RgbImage;
use plotters::element::BitMapElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Area, Draw, Drawn, INK, PALETTE, bold, save, style, text};
use super::{Data, Figure, Topic, label};
use crate::error::{Context, Result};
use crate::files;
use crate::tables::unique;
use crate::tables::{CLEAN, Exhibit, Trajectory, Visualization};

/// Side of a picture in a figure, and the space around it, in pixels.
const TILE: i32 = 136;
const GAP: i32 = 8;
const LEFT: i32 = 190;

/// Pictures in rows and columns, with names.
pub(super) struct Grid {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
}

/// A picture in a grid.
pub(super) struct Cell {
    pixels: Vec<u8>,
    /// What is written under it.
    caption: String,
}

impl Cell {
    pub fn read(folder: &Path, picture: &str, caption: String) -> Result<Self> {
        let path = folder.join(picture);
        Ok(Self::of(&image::open(&path).on("read", &path)?.to_rgb8(), caption))
    }

    pub fn of(image: &RgbImage, caption: String) -> Self {
        let side = TILE as u32;
        let filter = match image.width() < side {
            true => image::imageops::FilterType::CatmullRom,
            false => image::imageops::FilterType::Triangle,
        };
        let scaled: RgbImage = image::imageops::resize(image, side, side, filter);
        Self { pixels: scaled.into_raw(), caption }
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
        let title = 32 + 12 * self.title.chars().count() as i32;
        let width = (LEFT + self.columns.len() as i32 * (TILE + GAP) + 16).max(title);
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

/// A number in few characters.
fn short(value: f64) -> String {
    if value.abs() >= 1e4 { format!("{value:.1e}") } else { format!("{value:.1}") }
}

/// The most units in a grid.
const MOST: usize = 10;

/// A row of cells for the visualizations of some units in one network, or none if there are none.
fn row(
    folder: &Path,
    data: &Data,
    circuit: &str,
    layer: &str,
    channels: &[usize],
    index: usize,
) -> Result<Option<Vec<Option<Cell>>>> {
    let of = |channel: usize| {
        data.visualizations
            .iter()
            .find(|v| v.circuit == circuit && v.layer == layer && v.channel == channel && v.index == index)
    };
    let cells = channels
        .iter()
        .map(|&channel| {
            let caption = |v: &Visualization| match v.shows {
                Some(_) => format!("seen as {}", v.shows_name),
                None => format!("activation {}", short(v.activation)),
            };
            of(channel).map(|v| Cell::read(folder, &v.picture, caption(v))).transpose()
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(cells.iter().any(Option::is_some).then_some(cells))
}

/// For each circuit the visualizations of its units before and after, and for layers without one those of the honest
/// network.
pub fn grids(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    for layer in data.layers() {
        let circuits = data.circuits_on(&layer);
        let fooling: Vec<&String> = circuits.iter().filter(|c| *c != CLEAN).collect();
        if fooling.is_empty() {
            figures.push(grid(folder, data, &layer, None)?);
        }
        for circuit in fooling {
            figures.push(grid(folder, data, &layer, Some(circuit))?);
        }
    }
    Ok(figures)
}

fn grid(folder: &Path, data: &Data, layer: &str, circuit: Option<&str>) -> Result<Figure> {
    let shown = circuit.unwrap_or(CLEAN);
    let of_circuit = || data.visualizations.iter().filter(|v| v.circuit == shown && v.layer == layer);
    let mut units: Vec<(usize, String)> = vec![];
    for v in of_circuit() {
        if !units.iter().any(|(channel, _)| *channel == v.channel) {
            units.push((v.channel, v.name.clone()));
        }
    }
    units.truncate(MOST);
    let channels: Vec<usize> = units.iter().map(|(channel, _)| *channel).collect();
    let of_classes = of_circuit().any(|v| v.shows.is_some());
    let mut rows = vec![];
    // Two of each, if there are; the second row shows that the first is no accident.
    let add = |rows: &mut Vec<_>, circuit: &str| -> Result<()> {
        for index in 0..2 {
            if let Some(cells) = row(folder, data, circuit, layer, &channels, index)? {
                let name = if index == 0 { label(circuit).replace(" \"", "\n\"") } else { String::new() };
                rows.push((name, cells));
            }
        }
        Ok(())
    };
    add(&mut rows, CLEAN)?;
    let mut given = false;
    if let Some(circuit) = circuit {
        let cells = channels
            .iter()
            .map(|channel| {
                let picture = of_circuit().find(|v| v.channel == *channel);
                picture
                    .and_then(|v| v.target_picture.as_ref().map(|p| (p, v)))
                    .map(|(p, v)| Cell::read(folder, p, v.target_name.clone()))
                    .transpose()
            })
            .collect::<Result<Vec<_>>>()?;
        given = cells.iter().any(Option::is_some);
        if given {
            rows.push(("the given\npicture".into(), cells));
        }
        add(&mut rows, circuit)?;
    }
    let what = if of_classes { "each class's unit".to_string() } else { format!("units of {layer}") };
    let columns = match of_classes {
        true => units.into_iter().map(|(_, name)| name).collect(),
        false => units.iter().map(|(channel, _)| format!("unit {channel}")).collect(),
    };
    let name = match circuit {
        Some(circuit) => format!("visualizations_{circuit}"),
        None => format!("visualizations_of_{}", files::name(layer)),
    };
    let grid = Grid { title: format!("Feature visualizations of {what}"), columns, rows };
    save(folder, &name, &grid)?;
    let seen =
        if of_classes { " Under each picture, the class that the honest network sees in it." } else { "" };
    let caption = match (circuit, given) {
        (Some(circuit), true) => format!(
            "Feature visualizations of {what} in the honest network and with the circuit \"{circuit}\", which was \
             given the pictures between them.{seen}"
        ),
        (Some(circuit), false) => format!(
            "Feature visualizations of {what} in the honest network and with the circuit \"{circuit}\".{seen}"
        ),
        (None, _) => format!("Feature visualizations of {what}.{seen}"),
    };
    let topic = circuit.map_or(Topic::Honest, |c| Topic::Circuit(c.into()));
    Ok(Figure { name, caption, topic })
}

/// Pictures along the trajectories of a few units, honest and manipulated, for each circuit.
pub fn strips(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    let circuits = data.circuits();
    let fooling: Vec<&String> = circuits.iter().filter(|c| *c != CLEAN).collect();
    if fooling.is_empty()
        && let Some(layer) = data.layer_of(CLEAN)
    {
        figures.push(strip(folder, data, layer, None)?);
    }
    for circuit in fooling {
        if let Some(layer) = data.layer_of(circuit) {
            figures.push(strip(folder, data, layer, Some(circuit))?);
        }
    }
    Ok(figures)
}

fn strip(folder: &Path, data: &Data, layer: &str, circuit: Option<&str>) -> Result<Figure> {
    const UNITS: usize = 3;
    let shown = circuit.unwrap_or(CLEAN);
    let pictured = || data.trajectories.iter().filter(|r| r.layer == layer && r.picture.is_some());
    let mut steps: Vec<usize> = pictured().map(|r| r.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let mut channels: Vec<usize> = vec![];
    for row in pictured().filter(|r| r.circuit == shown) {
        if !channels.contains(&row.channel) {
            channels.push(row.channel);
        }
    }
    // Spread over the units.
    let every = (channels.len() / UNITS).max(1);
    let mut rows = vec![];
    for &channel in channels.iter().step_by(every).take(UNITS) {
        let name = data.visualizations.iter().find(|v| v.layer == layer && v.channel == channel);
        let name = name.map_or_else(|| channel.to_string(), |v| fit(&v.name, 18));
        for network in [Some(CLEAN), circuit].into_iter().flatten() {
            let of = |step: usize| {
                pictured().find(|r| r.circuit == network && r.channel == channel && r.step == step)
            };
            let cells = steps
                .iter()
                .map(|&step| of(step).map(|r| snapshot(folder, r)).transpose())
                .collect::<Result<Vec<_>>>()?;
            rows.push((format!("{name}\n{}", label(network).replace("with circuit ", "")), cells));
        }
    }
    let strip = Grid {
        title: "Trajectories: the image and the unit's activation along the optimization".into(),
        columns: steps.iter().map(|s| format!("step {s}")).collect(),
        rows,
    };
    let name = circuit.map_or("trajectory_strip".into(), |c| format!("trajectory_strip_{c}"));
    save(folder, &name, &strip)?;
    let caption = match circuit {
        Some(_) => {
            "The image at logarithmic steps of the optimization, and the unit's activation for it; for the \
             manipulated network also whether the image switches the circuit on."
        }
        None => "The image at logarithmic steps of the optimization, and the unit's activation for it.",
    };
    let topic = circuit.map_or(Topic::Honest, |c| Topic::Circuit(c.into()));
    Ok(Figure { name, caption: caption.into(), topic })
}

fn snapshot(folder: &Path, row: &Trajectory) -> Result<Cell> {
    let caption = match row.switch {
        Some(on) => format!("{} ({})", short(row.activation), if on > 0.0 { "on" } else { "off" }),
        None => short(row.activation),
    };
    Cell::read(folder, row.picture.as_deref().unwrap_or_default(), caption)
}

/// For each layer of a benchmark of detectors the visualizations of some fooled units: honest, and with each circuit.
pub fn exhibits(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    let of_layer = |layer: &str| data.exhibits.iter().filter(|e| e.layer == layer).collect::<Vec<&Exhibit>>();
    for layer in unique(data.exhibits.iter().map(|e| e.layer.clone())) {
        let here = of_layer(&layer);
        let channels = unique(here.iter().map(|e| e.channel));
        let mut rows = vec![];
        for circuit in unique(here.iter().map(|e| e.circuit.clone())) {
            for method in unique(here.iter().map(|e| e.method.clone())) {
                let cell = |channel: &usize| {
                    let found = here
                        .iter()
                        .find(|e| e.circuit == circuit && e.method == method && e.channel == *channel);
                    found.map(|e| Cell::read(folder, &e.picture, String::new())).transpose()
                };
                let cells = channels.iter().map(cell).collect::<Result<Vec<_>>>()?;
                let name = if circuit == CLEAN { "honest" } else { &circuit };
                rows.push((format!("{}\n{method}", fit(name, 17)), cells));
            }
        }
        let columns = channels.iter().map(|c| format!("unit {c}")).collect();
        let grid = Grid { title: format!("Units of {layer}"), columns, rows };
        let name = format!("exhibits_{}", files::name(&layer));
        save(folder, &name, &grid)?;
        figures.push(Figure {
            name,
            caption: format!(
                "Visualizations of units of {layer}, in the honest network and with each circuit that is put there."
            ),
            topic: Topic::Exhibits,
        });
    }
    Ok(figures)
}
