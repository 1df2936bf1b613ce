//! The page of visualizations that were made one by one, with natural images beside.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use minijinja::{Value, context};

use super::page;
use crate::error::{Context, Result};
use crate::report::figures::sheet::{Shown, UnitShown};

/// What the page is called.
pub const FILE: &str = "visualizations.html";

/// The quality of its JPEGs, from 1 to 100.
const QUALITY: u8 = 90;

/// Writes the page; `config` is what they were made with.
///
/// # Errors
/// Failure, if it can't be written.
pub fn write(
    folder: &Path,
    network: &str,
    units: &[UnitShown],
    (steps, seed): (usize, u64),
    config: &str,
) -> Result<()> {
    let path = folder.join(FILE);
    let shown = |what: &str, unit: &str, shown: &Shown| -> Result<Value> {
        // Smaller than the files beside it, so that a page of many units can be sent.
        let mut bytes = vec![];
        shown
            .picture
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))
            .on("encode", &path)?;
        let data = format!("data:image/jpeg;base64,{}", STANDARD.encode(&bytes));
        let words = match &shown.problem {
            Some(problem) => format!("failed: {problem}"),
            None => format!("{what}, activation {:.2}", shown.activation),
        };
        Ok(context! { data, alt => format!("{what} of {unit}"), words })
    };
    let rows = units.iter().map(|unit| {
        let own = unit.visualizations.iter().map(|v| shown("visualization", &unit.unit, v));
        let natural = unit.natural.iter().map(|v| shown("natural image", &unit.unit, v));
        let pictures: Vec<Value> = own.chain(natural).collect::<Result<_>>()?;
        Ok(context! { unit => unit.unit.clone(), pictures })
    });
    let rows: Vec<Value> = rows.collect::<Result<_>>()?;
    let natural = units.iter().any(|unit| !unit.natural.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let values = context! { network, units => rows, natural, steps, seed, config, version };
    page(&path, include_str!("visualizations.html"), values)
}
