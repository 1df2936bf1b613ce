//! Folders of photographs, one folder a class.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;

use super::{Class, Dataset, Preprocessing, Sample};
use crate::error::{Context, Error, Result};

#[derive(Deserialize)]
struct Row {
    index: usize,
    wnid: String,
    name: String,
}

/// The entries of a folder, sorted by name, hidden ones left out.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![];
    for entry in std::fs::read_dir(path).on("read the folder", path)? {
        let entry = entry.on("read the folder", path)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["jpg", "jpeg", "png"].contains(&e.to_lowercase().as_str()))
}

/// Decodes a file to RGB. JPEGs go through libjpeg, as in the tools that networks are trained and judged with: other
/// decoders differ by some grey levels, which changes the class of 2 % of photographs. A JPEG without its end marker
/// is refused, since decoders fill what is missing with grey.
pub fn decode(path: &Path) -> std::result::Result<RgbImage, String> {
    let reader =
        image::ImageReader::open(path).and_then(|r| r.with_guessed_format()).map_err(|e| e.to_string())?;
    if reader.format() == Some(image::ImageFormat::Jpeg) {
        if !ends_whole(path).unwrap_or(false) {
            return Err("the JPEG is cut short".into());
        }
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        // libjpeg gives up by unwinding. What it can't turn into RGB (CMYK) is left to the other decoder.
        let decoded = std::panic::catch_unwind(|| jpeg(&bytes));
        if let Ok(Some(image)) = decoded {
            return Ok(image);
        }
    }
    Ok(reader.decode().map_err(|e| e.to_string())?.to_rgb8())
}

fn jpeg(bytes: &[u8]) -> Option<RgbImage> {
    let mut lines = mozjpeg::Decompress::new_mem(bytes).ok()?.rgb().ok()?;
    let (w, h) = (lines.width() as u32, lines.height() as u32);
    let pixels: Vec<[u8; 3]> = lines.read_scanlines().ok()?;
    lines.finish().ok()?;
    RgbImage::from_raw(w, h, pixels.concat())
}

/// Whether the end-of-image marker is in the last bytes (some writers pad after it).
fn ends_whole(path: &Path) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(1024)))?;
    let mut tail = vec![];
    file.read_to_end(&mut tail)?;
    Ok(tail.windows(2).any(|w| w == [0xff, 0xd9]))
}

/// The images of `root/path/<class>/*`.
pub fn dataset(
    root: &Path,
    path: &Path,
    classes: Option<&Path>,
    preprocessing: &Preprocessing,
) -> Result<Dataset> {
    let folder = root.join(path);
    if !folder.is_dir() {
        return Err(Error::usage(format!(
            "no folder {}: set the data root with --data or TROMPE_DATA, or correct `path`",
            folder.display()
        )));
    }
    let known: Option<HashMap<String, (usize, String)>> = classes
        .map(|file| {
            csv::Reader::from_path(file)
                .on("read", file)?
                .deserialize()
                .map(|row| row.map(|r: Row| (r.wnid, (r.index, r.name))).on("read", file))
                .collect()
        })
        .transpose()?;
    let mut found = vec![];
    let mut files: Vec<(PathBuf, usize)> = vec![];
    for (position, class) in entries(&folder)?.into_iter().filter(|p| p.is_dir()).enumerate() {
        let wnid = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (index, name) = match &known {
            None => (position, wnid),
            Some(known) => known.get(&wnid).cloned().ok_or_else(|| {
                Error::usage(format!(
                    "class folder {} is not in {}",
                    class.display(),
                    classes.unwrap_or(&folder).display()
                ))
            })?,
        };
        let images: Vec<PathBuf> = entries(&class)?.into_iter().filter(|p| is_image(p)).collect();
        if images.is_empty() {
            return Err(Error::failure(format!(
                "class folder {} has no JPEG or PNG image: fill it or remove it",
                class.display()
            )));
        }
        files.extend(images.into_iter().map(|f| (f, index)));
        found.push(Class { index, name });
    }
    found.sort_by_key(|c| c.index);
    let relative = |file: &Path| file.strip_prefix(root).unwrap_or(file).display().to_string();
    let decoded: Vec<_> = files
        .par_iter()
        .map(|(file, label)| match decode(file) {
            Ok(image) => Ok(Sample { id: relative(file), label: *label, image: preprocessing.fit(image) }),
            Err(why) => Err(format!("{}: {why}", relative(file))),
        })
        .collect();
    let mut set =
        Dataset { name: path.display().to_string(), classes: found, samples: vec![], skipped: vec![] };
    for result in decoded {
        match result {
            Ok(sample) => set.samples.push(sample),
            Err(why) => set.skipped.push(why),
        }
    }
    // The tensors of a batch have one size.
    if let Some(first) = set.samples.first().map(|s| s.image.dimensions())
        && let Some(other) = set.samples.iter().find(|s| s.image.dimensions() != first)
    {
        let (w, h) = other.image.dimensions();
        return Err(Error::usage(format!(
            "{} is {w}x{h} after preprocessing, others are {}x{}: set `resize` and `crop` in [preprocessing]",
            other.id, first.0, first.1
        )));
    }
    Ok(set)
}
