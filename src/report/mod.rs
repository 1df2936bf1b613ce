//! Results folders: tables first, then figures and a report that are functions of the tables alone.

pub mod baseline;
pub mod figures;
pub mod folder;
pub mod html;
pub mod summary;
pub mod tables;

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::Lock;

pub use folder::{Manifest, Results, Stage, described};

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

/// Draws all figures of a results folder and writes its report, from its tables.
///
/// # Errors
/// Usage, if the folder holds no whole results; failure, if a table is missing or can't be read, or a file can't be
/// written.
pub fn redraw(folder: &Path) -> Result<()> {
    let manifest = Manifest::read(folder)?;
    if !manifest.complete {
        return Err(Error::usage(format!(
            "{} is not complete: give its experiment's command again, which goes on where it was interrupted",
            folder.display()
        )));
    }
    let _lock = Lock::take(folder)?;
    draw(folder, &manifest)
}

/// The same for results that are being completed.
pub(crate) fn draw(folder: &Path, manifest: &Manifest) -> Result<()> {
    if let Some(table) = manifest.tables.iter().find(|table| !folder.join(table).is_file()) {
        return Err(Error::failure(format!(
            "{} is missing in {}, and figures are drawn from it: remove the folder and give its experiment's command again",
            table,
            folder.display()
        )));
    }
    let data = figures::Data::read(folder)?;
    let figures = figures::draw_all(folder, &data)?;
    html::write(folder, manifest, &data, &figures)
}
