//! CIFAR-10's binary files: records of a label byte and 3 x 32 x 32 bytes, channel by channel.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use super::{Class, Dataset, Preprocessing, Sample};
use crate::error::{Context, Error, Result};

const SIDE: usize = 32;
const RECORD: usize = 1 + 3 * SIDE * SIDE;
const NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The images of one file, or of all `*.bin` files of a folder.
pub fn dataset(root: &Path, path: &Path, preprocessing: &Preprocessing) -> Result<Dataset> {
    let full = root.join(path);
    let mut notes = vec![];
    let files: Vec<PathBuf> = if full.is_dir() {
        let mut all = std::fs::read_dir(&full)
            .on("read the folder", &full)?
            .map(|entry| entry.map(|e| e.path()).on("read the folder", &full))
            .collect::<Result<Vec<_>>>()?;
        all.sort();
        let (files, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|p| p.extension().is_some_and(|e| e == "bin") && p.is_file());
        if !others.is_empty() {
            notes.push(match others.len() {
                1 => "1 other file in its folder is not read".into(),
                n => format!("{n} other files in its folder are not read"),
            });
        }
        files
    } else if full.is_file() {
        vec![full.clone()]
    } else {
        return Err(Error::usage(format!(
            "no file {}: set the data root with --data or TROMPE_DATA, or correct `path`",
            full.display()
        )));
    };
    let mut samples = vec![];
    for file in files {
        let bytes = std::fs::read(&file).on("read", &file)?;
        let whole = bytes.chunks_exact(RECORD);
        if bytes.is_empty() || !whole.remainder().is_empty() {
            return Err(Error::failure(format!(
                "{} is not a whole CIFAR-10 binary file: {} bytes is no multiple of {RECORD}",
                file.display(),
                bytes.len()
            )));
        }
        for (i, record) in whole.enumerate() {
            let id = format!("{}:{i}", file.strip_prefix(root).unwrap_or(&file).display());
            let label = usize::from(record[0]);
            if label >= NAMES.len() {
                return Err(Error::failure(format!("{id} has label {label}; CIFAR-10 has 0 to 9")));
            }
            let plane =
                |c: usize, x: u32, y: u32| record[1 + c * SIDE * SIDE + y as usize * SIDE + x as usize];
            let image = RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
                Rgb([plane(0, x, y), plane(1, x, y), plane(2, x, y)])
            });
            samples.push(Sample { id, label, image: preprocessing.fit(image).map_err(Error::usage)? });
        }
    }
    Ok(Dataset {
        name: path.display().to_string(),
        classes: NAMES
            .iter()
            .enumerate()
            .map(|(index, name)| Class { index, name: name.to_string() })
            .filter(|c| samples.iter().any(|s| s.label == c.index))
            .collect(),
        samples,
        skipped: vec![],
        notes,
        fingerprint: String::new(),
        surface_accuracy: None,
    })
}
