//! Figures and the report of a results folder: functions of its tables alone.

pub mod baseline;
pub mod figures;
pub mod html;
pub mod summary;

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::Lock;
use crate::results::Manifest;

/// Draws all figures of a results folder and writes its report, from its tables.
///
/// # Errors
/// Usage, if the folder holds no whole results; failure, if a table is missing or can't be read, or a file can't be
/// written.
pub fn redraw(folder: &Path) -> Result<()> {
    Manifest::read(folder)?;
    let _lock = Lock::take(folder, "wait for it")?;
    draw(folder, &whole(folder)?)
}

/// The manifest of a folder whose results are whole.
///
/// # Errors
/// Usage, if they are not; failure, if a table of them is gone.
pub(crate) fn whole(folder: &Path) -> Result<Manifest> {
    let manifest = Manifest::read(folder)?;
    if !manifest.complete {
        return Err(Error::usage(format!(
            "{} is not complete: give its experiment's command again, which goes on where it was interrupted",
            folder.display()
        )));
    }
    has_tables(folder, &manifest)?;
    Ok(manifest)
}

/// Refuses a folder that lacks a table which belongs to its results.
fn has_tables(folder: &Path, manifest: &Manifest) -> Result<()> {
    match manifest.tables.iter().find(|table| !folder.join(table).is_file()) {
        None => Ok(()),
        Some(table) => Err(Error::failure(format!(
            "{table} is missing in {}, and figures are drawn from it: remove the folder and give its experiment's command \
             again",
            folder.display()
        ))),
    }
}

/// The same for results that are being completed: what [`Results::complete`](crate::results::Results::complete) is given.
///
/// # Errors
/// As [`redraw`]'s.
pub fn draw(folder: &Path, manifest: &Manifest) -> Result<()> {
    has_tables(folder, manifest)?;
    let data = figures::Data::read(folder)?;
    let figures = figures::draw_all(folder, &data)?;
    html::write(folder, manifest, &data, &figures)
}
