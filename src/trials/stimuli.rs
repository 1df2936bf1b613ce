//! The pictures that observers are shown: one file each, named by its content, so that a name tells nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::tables;
use crate::error::{Context, Result};
use crate::files;
use crate::visualize::Unit;

/// The folder of pictures in a study's folder.
pub const FOLDER: &str = "stimuli";

/// A picture's file name.
pub(super) fn name(image: &RgbImage) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(&image.width().to_le_bytes());
    hash.update(image.as_raw());
    format!("{}.png", &hash.finalize().to_hex()[..20])
}

/// The pictures of a study, and where each comes from.
pub(super) struct Stimuli {
    folder: PathBuf,
    provenance: Vec<tables::Stimulus>,
    seen: BTreeSet<String>,
}

impl Stimuli {
    /// Makes the folder.
    pub fn new(study: &Path) -> Result<Self> {
        let folder = study.join(FOLDER);
        std::fs::create_dir_all(&folder).on("create", &folder)?;
        Ok(Self { folder, provenance: vec![], seen: BTreeSet::new() })
    }

    /// Writes a picture, if it is not there, and notes what it shows of which unit. Gives its file name.
    pub fn add(
        &mut self,
        image: &RgbImage,
        kind: &str,
        circuit: &str,
        unit: &Unit,
        source: &str,
    ) -> Result<String> {
        let file = name(image);
        let path = self.folder.join(&file);
        if !path.is_file() {
            files::png(&path, image)?;
        }
        if self.seen.insert(format!("{file} {kind} {circuit} {unit}")) {
            self.provenance.push(tables::Stimulus {
                file: file.clone(),
                kind: kind.into(),
                circuit: circuit.into(),
                layer: unit.layer.clone(),
                channel: unit.channel,
                source: source.into(),
            });
        }
        Ok(file)
    }

    /// Where the pictures come from.
    pub fn provenance(self) -> Vec<tables::Stimulus> {
        self.provenance
    }
}

/// Reads a picture of a study.
///
/// # Errors
/// Failure, naming the file.
pub fn read(study: &Path, file: &str) -> Result<RgbImage> {
    let path = study.join(FOLDER).join(file);
    Ok(image::open(&path).on("read", &path)?.to_rgb8())
}
