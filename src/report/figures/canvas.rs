//! What all figures share: fonts, colours, the two file formats, legends and axes.

use std::ops::Range;
use std::path::Path;
use std::sync::Once;

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::error::{Context, Error, Result};
use crate::files;

pub type Area<'a, DB> = DrawingArea<DB, Shift>;
pub type Drawn = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
pub type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The family that figures name; DejaVu Sans is built in for the PNGs.
pub const FONT: &str = "DejaVu Sans, sans-serif";

/// Okabe and Ito's colours, which the colour-blind can tell apart.
pub const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

pub const INK: RGBColor = RGBColor(30, 30, 30);
pub const FAINT: RGBColor = RGBColor(222, 222, 222);

/// A figure: its size in pixels, and how to draw it on any backend.
pub trait Draw {
    fn size(&self) -> (u32, u32);
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static;
}

/// Draws a figure into `figures/NAME.svg` and `figures/NAME.png`.
pub fn save(folder: &Path, name: &str, figure: &impl Draw) -> Result<()> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        for (style, bytes) in
            [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())]
        {
            assert!(register_font(FONT, style, bytes).is_ok(), "the built-in font is well formed");
        }
    });
    let figures = folder.join("figures");
    std::fs::create_dir_all(&figures).on("create", &figures)?;
    let failed = |e: &dyn std::fmt::Display| Error::failure(format!("cannot draw figure {name}: {e}"));
    let (w, h) = figure.size();

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (w, h)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| failed(&e))?;
        figure.draw(&area).map_err(|e| failed(&e))?;
        area.present().map_err(|e| failed(&e))?;
    }
    files::write(&figures.join(format!("{name}.svg")), svg.as_bytes())?;

    let mut pixels = vec![255; (w * h * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (w, h)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| failed(&e))?;
        figure.draw(&area).map_err(|e| failed(&e))?;
        area.present().map_err(|e| failed(&e))?;
    }
    let picture = image::RgbImage::from_raw(w, h, pixels).expect("the buffer has the figure's size");
    files::png(&figures.join(format!("{name}.png")), &picture)
}

/// Text of a size in a colour, placed by an anchor.
pub fn style(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle { color: colour.to_backend_color(), ..TextStyle::from((FONT, size).into_font()) }
        .pos(Pos::new(h, v))
}

/// Bold text.
pub fn bold(size: f64, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle::from((FONT, size, FontStyle::Bold).into_font()).color(&INK).pos(Pos::new(h, v))
}

/// Writes a line of text.
pub fn text<DB: DrawingBackend>(area: &Area<DB>, words: &str, at: (i32, i32), style: &TextStyle) -> Drawn
where
    DB::ErrorType: 'static,
{
    area.draw_text(words, style, at).map_err(|e| e.to_string().into())
}

/// An entry of a legend.
pub struct Entry {
    pub label: String,
    pub colour: RGBColor,
    pub dashed: bool,
}

/// Draws a legend in a row, from the left, above the data.
pub fn legend<DB: DrawingBackend>(area: &Area<DB>, entries: &[Entry], x: i32, y: i32) -> Drawn
where
    DB::ErrorType: 'static,
{
    let words = style(17.0, INK, HPos::Left, VPos::Center);
    let mut x = x;
    for entry in entries {
        let line = [(x, y), (x + 34, y)];
        let stroke = entry.colour.stroke_width(3);
        if entry.dashed {
            area.draw(&DashedPathElement::new(line, 7, 5, stroke)).map_err(|e| e.to_string())?;
        } else {
            area.draw(&PathElement::new(line, stroke)).map_err(|e| e.to_string())?;
        }
        text(area, &entry.label, (x + 42, y), &words)?;
        let (width, _) = area.estimate_text_size(&entry.label, &words).map_err(|e| e.to_string())?;
        x += 42 + width as i32 + 30;
    }
    Ok(())
}

/// An axis: its range, its name, and where and how it is marked.
pub struct Axis {
    pub range: Range<f64>,
    pub name: String,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with round numbers.
    pub fn numbers(range: Range<f64>, name: &str) -> Self {
        let span = range.end - range.start;
        let rough = span / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (range.start / step).ceil() as i64;
        let last = (range.end / step).floor() as i64;
        let ticks = (first..=last)
            .map(|i| i as f64 * step)
            .map(|v| (v, format!("{:.decimals$}", if v == 0.0 { 0.0 } else { v })))
            .collect();
        Self { range, name: name.into(), ticks }
    }
}

/// A chart with its axes drawn around it: `area` less the margins left, top, right and bottom.
pub fn chart<'a, DB: DrawingBackend + 'a>(
    area: &Area<'a, DB>,
    x: &Axis,
    y: &Axis,
    margins: [i32; 4],
) -> std::result::Result<Chart<'a, DB>, Box<dyn std::error::Error + Send + Sync>>
where
    DB::ErrorType: 'static,
{
    let (w, h) = area.dim_in_pixel();
    let (w, h) = (w as i32, h as i32);
    let [left, top, right, bottom] = margins;
    let inner = area.margin(top, bottom, left, right);
    let chart = ChartBuilder::on(&inner)
        .build_cartesian_2d(x.range.clone(), y.range.clone())
        .map_err(|e| e.to_string())?;
    let to_x = |v: f64| {
        left + ((v - x.range.start) / (x.range.end - x.range.start) * f64::from(w - left - right)) as i32
    };
    let to_y = |v: f64| {
        h - bottom
            - ((v - y.range.start) / (y.range.end - y.range.start) * f64::from(h - top - bottom)) as i32
    };
    let line =
        |a, b, colour: RGBColor| area.draw(&PathElement::new([a, b], colour)).map_err(|e| e.to_string());
    for (value, words) in &y.ticks {
        let at = to_y(*value);
        line((left, at), (w - right, at), FAINT)?;
        text(area, words, (left - 9, at), &style(16.0, INK, HPos::Right, VPos::Center))?;
    }
    for (value, words) in &x.ticks {
        let at = to_x(*value);
        line((at, h - bottom), (at, h - bottom + 5), INK)?;
        for (row, words) in words.lines().enumerate() {
            let at = (at, h - bottom + 10 + 19 * row as i32);
            text(area, words, at, &style(16.0, INK, HPos::Center, VPos::Top))?;
        }
    }
    line((left, h - bottom), (w - right, h - bottom), INK)?;
    line((left, top), (left, h - bottom), INK)?;
    let middle = left + (w - left - right) / 2;
    text(area, &x.name, (middle, h - 8), &style(18.0, INK, HPos::Center, VPos::Bottom))?;
    let upright = TextStyle::from((FONT, 18.0).into_font().transform(FontTransform::Rotate270))
        .color(&INK)
        .pos(Pos::new(HPos::Center, VPos::Top));
    text(area, &y.name, (6, top + (h - top - bottom) / 2), &upright)?;
    Ok(chart)
}

/// A line through points, with a band around it where bounds are given.
pub fn series<DB: DrawingBackend>(
    chart: &mut Chart<DB>,
    points: &[(f64, f64)],
    band: &[(f64, f64, f64)],
    entry: &Entry,
    width: u32,
) -> Drawn
where
    DB::ErrorType: 'static,
{
    if band.len() > 1 {
        let outline: Vec<(f64, f64)> = band
            .iter()
            .map(|&(x, low, _)| (x, low))
            .chain(band.iter().rev().map(|&(x, _, high)| (x, high)))
            .collect();
        chart
            .draw_series(std::iter::once(Polygon::new(outline, entry.colour.mix(0.18))))
            .map_err(|e| e.to_string())?;
    }
    let stroke = entry.colour.stroke_width(width);
    if entry.dashed {
        chart
            .draw_series(DashedLineSeries::new(points.iter().copied(), 8, 6, stroke))
            .map_err(|e| e.to_string())?;
    } else {
        chart.draw_series(LineSeries::new(points.iter().copied(), stroke)).map_err(|e| e.to_string())?;
    }
    if width > 1 {
        chart
            .draw_series(points.iter().map(|&p| Circle::new(p, 2 + width as i32, entry.colour.filled())))
            .map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The least and the largest of some values, a little widened.
pub fn spread(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = ((high - low) * 0.06).max(1e-3);
    low - margin..high + margin
}

/// Layer names under the axis, in two alternating rows where they would touch, and only every so many where even
/// that is too tight.
pub fn layer_ticks(layers: &[String], width: usize) -> Vec<(f64, String)> {
    let longest = layers.iter().map(String::len).max().unwrap_or(1) * 10;
    let space = width / layers.len().max(1);
    let rows = if longest > space { 2 } else { 1 };
    let every = longest.div_ceil(space * rows).max(1);
    layers
        .iter()
        .enumerate()
        .filter(|(i, _)| i % every == 0)
        .map(|(i, name)| {
            let drop = rows == 2 && (i / every) % 2 == 1;
            (i as f64, if drop { format!("\n{name}") } else { name.clone() })
        })
        .collect()
}
