//! Results folders: tables first, then figures and a report that are functions of the tables alone.

pub mod baseline;
pub mod figures;
pub mod folder;
pub mod html;
pub mod summary;
pub mod tables;

use std::io::Write;
use std::path::Path;

use crate::error::{Context, Result};
use crate::files::folder_of;

pub use folder::{Manifest, Results, Stage};

/// Writes a file that appears under its name only once it is whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path)).on("write", path)?;
    file.write_all(bytes).on("write", path)?;
    file.persist(path).on("write", path)?;
    Ok(())
}

/// The different ones among some values, each where it first occurs.
pub(crate) fn unique<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = vec![];
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// Draws all figures of a results folder and writes its report.
///
/// # Errors
/// Failure, if a table can't be read or a file can't be written.
pub fn draw(folder: &Path) -> Result<()> {
    let manifest = Manifest::read(folder)?;
    let data = figures::Data::read(folder)?;
    let figures = figures::draw_all(folder, &data)?;
    html::write(folder, &manifest, &data, &figures)
}
