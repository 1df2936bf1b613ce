//! Folders of photographs, one folder a class.

use std::collections::{BTreeMap, HashMap};
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

/// The entries of a folder, sorted by name, without what systems and editors put there.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![];
    for entry in std::fs::read_dir(path).on("read the folder", path)? {
        let entry = entry.on("read the folder", path)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !["Thumbs.db", "desktop.ini"].contains(&&*name) {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

/// Endings of the pictures that are read.
const READ: [&str; 15] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "dib", "ppm", "pgm", "pbm",
    "pnm",
];

/// Endings of pictures that are not.
const UNREAD: [&str; 20] = [
    "heic", "heif", "avif", "jxl", "jp2", "j2k", "svg", "ico", "tga", "psd", "exr", "hdr", "dng", "cr2",
    "nef", "arw", "raw", "dcm", "webm", "npy",
];

/// The deepest that pictures may lie in their class's folder.
const DEEPEST: usize = 12;

/// What lies in folders of pictures.
#[derive(Default)]
struct Contents {
    images: Vec<PathBuf>,
    /// How many of the images lie in folders within their class's.
    deeper: usize,
    /// Pictures of formats that are not read, by ending.
    unread: BTreeMap<String, usize>,
    /// Other files.
    others: usize,
    /// What is no file: links that lead nowhere, pipes, folders in a circle.
    odd: Vec<String>,
}

impl Contents {
    /// Looks through a folder and those in it; the images come out in the order of torchvision's `ImageFolder`, by the
    /// paths of their folders and then by their names.
    fn look(&mut self, folder: &Path, depth: usize, within: &mut Vec<PathBuf>) -> Result<()> {
        let real = folder.canonicalize().on("read the folder", folder)?;
        if within.contains(&real) || depth > DEEPEST {
            self.odd.push(format!("{} (leads back, or too deep)", folder.display()));
            return Ok(());
        }
        within.push(real);
        let mut folders = vec![];
        for path in entries(folder)? {
            let ending = path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase());
            match std::fs::metadata(&path) {
                Err(_) => self.odd.push(format!("{} (a link that leads nowhere)", path.display())),
                Ok(there) if there.is_dir() => folders.push(path),
                // To open a pipe is to wait for somebody who writes to it.
                Ok(there) if !there.is_file() => {
                    self.odd.push(format!("{} (a pipe or a device)", path.display()))
                }
                Ok(_) if READ.contains(&ending.as_str()) => {
                    self.deeper += usize::from(depth > 0);
                    self.images.push(path);
                }
                Ok(_) if UNREAD.contains(&ending.as_str()) => *self.unread.entry(ending).or_default() += 1,
                Ok(_) => self.others += 1,
            }
        }
        for folder in folders {
            self.look(&folder, depth + 1, within)?;
        }
        within.pop();
        if depth == 0 {
            let place = |path: &PathBuf| {
                let folder = path.parent().map(|f| f.as_os_str().to_owned());
                (folder, path.file_name().map(|name| name.to_owned()))
            };
            self.images.sort_by_cached_key(place);
        }
        Ok(())
    }

    /// What there is to say of them beside the images that are read.
    fn notes(&self) -> Vec<String> {
        let mut notes = vec![];
        if self.deeper > 0 {
            notes.push(format!("{} of them lie in folders within their class's", self.deeper));
        }
        if !self.unread.is_empty() {
            let kinds: Vec<String> = self.unread.iter().map(|(ending, n)| format!("{n} .{ending}")).collect();
            notes.push(format!("not read, since their formats aren't: {}", kinds.join(", ")));
        }
        if self.others > 0 {
            notes.push(match self.others {
                1 => "1 other file is not read".into(),
                n => format!("{n} other files are not read"),
            });
        }
        if !self.odd.is_empty() {
            let more = self.odd.len().saturating_sub(3);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!("left out: {}{more}", self.odd[..self.odd.len().min(3)].join(", ")));
        }
        notes
    }
}

/// Decodes a file to RGB, whatever its name says it is. JPEGs go through libjpeg, as in the tools that networks are
/// trained and judged with: other decoders differ by some grey levels, which changes the class of 2 % of photographs. A
/// JPEG without its end marker is refused, since decoders fill what is missing with grey.
pub fn decode(path: &Path) -> std::result::Result<RgbImage, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    let format = image::guess_format(&bytes).map_err(|_| "it is no picture of a format that is read")?;
    if format == image::ImageFormat::Jpeg {
        if !ends(&bytes) {
            return Err("the JPEG is cut short".into());
        }
        // libjpeg gives up by unwinding. What it can't turn into RGB (CMYK) is left to the other decoder.
        let decoded = std::panic::catch_unwind(|| jpeg(&bytes));
        if let Ok(Some(image)) = decoded {
            return Ok(image);
        }
    }
    // A reader keeps pictures to sizes that memory can hold.
    let reader = image::ImageReader::with_format(std::io::Cursor::new(&bytes), format);
    let image = reader.decode().map_err(|e| e.to_string())?.to_rgb8();
    match image.width() > 0 && image.height() > 0 {
        true => Ok(image),
        false => Err("it has no pixels".into()),
    }
}

fn jpeg(bytes: &[u8]) -> Option<RgbImage> {
    let mut lines = mozjpeg::Decompress::new_mem(bytes).ok()?.rgb().ok()?;
    let (w, h) = (lines.width() as u32, lines.height() as u32);
    if u64::from(w) * u64::from(h) > 1 << 28 {
        return None;
    }
    let pixels: Vec<[u8; 3]> = lines.read_scanlines().ok()?;
    lines.finish().ok()?;
    RgbImage::from_raw(w, h, pixels.concat())
}

/// Whether a JPEG has its own end marker: that of a thumbnail in it does not count, and what lies behind it (the video of
/// a motion photo, padding) doesn't matter.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(rest) = bytes.get(at..) {
        // Compressed data and stray bytes are left behind; in them, 0xff is followed by 0 or a restart marker.
        let Some(found) =
            rest.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0 | 0xff | 0xd0..=0xd7 | 1))
        else {
            return false;
        };
        let marker = at + found;
        match (bytes[marker + 1], bytes.get(marker + 2..marker + 4)) {
            (0xd9, _) => return true,
            (_, Some(&[high, low])) => {
                at = marker + 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
            _ => return false,
        }
    }
    false
}

/// Hashes names, sizes and times of change of a file, or of all files in a folder.
pub fn fingerprint(path: &Path, depth: usize, hash: &mut blake3::Hasher) -> Result<()> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(()) };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    hash.update(&(name.len() as u64).to_le_bytes()).update(name);
    if there.is_dir() && depth <= DEEPEST + 1 {
        let inside = entries(path)?;
        hash.update(&(inside.len() as u64).to_le_bytes());
        return inside.iter().try_for_each(|path| fingerprint(path, depth + 1, hash));
    }
    let changed = there.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    hash.update(&there.len().to_le_bytes()).update(&changed.unwrap_or_default().as_nanos().to_le_bytes());
    Ok(())
}

/// What there is to say of folders that are called by numbers and not in their order.
fn numbered(folders: &[PathBuf]) -> Option<String> {
    let number = |p: &PathBuf| p.file_name()?.to_str()?.parse::<u64>().ok();
    let numbers: Vec<u64> = folders.iter().map(number).collect::<Option<_>>()?;
    let (output, class) = numbers.iter().enumerate().find(|(output, class)| *output as u64 != **class)?;
    Some(format!(
        "folders of classes are outputs in the order of their names, not of their numbers: folder {class} is output \
         {output}; say otherwise in `classes`"
    ))
}

/// The images of `root/path/<class>/**`.
pub fn dataset(
    root: &Path,
    path: &Path,
    classes: Option<&Path>,
    preprocessing: &Preprocessing,
) -> Result<Dataset> {
    let folder = root.join(path);
    if !folder.is_dir() {
        return Err(missing(&folder));
    }
    let known: Option<HashMap<String, (usize, String)>> = classes
        .map(|file| {
            let mut all = HashMap::new();
            let mut outputs = HashMap::new();
            let wrong = |e: csv::Error| {
                Error::usage(format!(
                    "{}: {e}; `classes` is a text file with the header index,wnid,name and a row a class, separated by commas",
                    file.display()
                ))
            };
            for row in csv::Reader::from_path(file).map_err(wrong)?.deserialize() {
                let Row { index, wnid, name } = row.map_err(wrong)?;
                let twice = |what: String| Error::usage(format!("{}: {what} is there twice", file.display()));
                if outputs.insert(index, wnid.clone()).is_some() {
                    return Err(twice(format!("index {index}")));
                }
                if all.insert(wnid.clone(), (index, name)).is_some() {
                    return Err(twice(format!("wnid {wnid}")));
                }
            }
            Ok(all)
        })
        .transpose()?;
    let mut found = vec![];
    let mut files: Vec<(PathBuf, usize)> = vec![];
    let mut notes = vec![];
    let mut all = Contents::default();
    let (folders, beside): (Vec<_>, Vec<_>) = entries(&folder)?.into_iter().partition(|p| p.is_dir());
    let pictures = beside.iter().filter(|p| {
        p.extension().is_some_and(|e| READ.contains(&e.to_string_lossy().to_lowercase().as_str()))
    });
    let pictures = pictures.count();
    if folders.is_empty() && pictures > 0 {
        return Err(Error::usage(format!(
            "{} holds {pictures} pictures and no folders of classes: put the pictures of each class into a folder of its own",
            folder.display()
        )));
    }
    if pictures > 0 {
        let plural = if pictures == 1 { "picture" } else { "pictures" };
        notes.push(format!("{pictures} {plural} beside the folders of classes, not read"));
    }
    all.odd.extend(
        beside
            .iter()
            .filter(|p| p.is_symlink() && !p.exists())
            .map(|p| format!("{} (a link that leads nowhere)", p.display())),
    );
    if let Some(note) = numbered(&folders).filter(|_| classes.is_none()) {
        notes.push(note);
    }
    for (position, class) in folders.into_iter().enumerate() {
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
        let mut contents = Contents::default();
        contents.look(&class, 0, &mut vec![folder.canonicalize().on("read the folder", &folder)?])?;
        if contents.images.is_empty() {
            let there: String = contents.notes().iter().map(|note| format!("; {note}")).collect();
            return Err(Error::failure(format!(
                "class folder {} has no JPEG or PNG image, nor WebP, BMP, GIF or TIFF: fill it or remove it{there}",
                class.display()
            )));
        }
        files.extend(contents.images.into_iter().map(|f| (f, index)));
        all.deeper += contents.deeper;
        all.others += contents.others;
        all.odd.extend(contents.odd);
        for (ending, n) in contents.unread {
            *all.unread.entry(ending).or_default() += n;
        }
        found.push(Class { index, name });
    }
    found.sort_by_key(|c| c.index);
    notes.extend(all.notes());
    read(root, &files, Dataset { classes: found, notes, ..empty(path) }, preprocessing)
}

/// The images of `root/path/**`, all of one class.
pub fn pictures(root: &Path, path: &Path, preprocessing: &Preprocessing) -> Result<Dataset> {
    let folder = root.join(path);
    if !folder.is_dir() {
        return Err(missing(&folder));
    }
    let mut all = Contents::default();
    all.look(&folder, 0, &mut vec![])?;
    // None is deeper than it should be.
    all.deeper = 0;
    let files: Vec<(PathBuf, usize)> = all.images.drain(..).map(|file| (file, 0)).collect();
    let classes = vec![Class { index: 0, name: path.display().to_string() }];
    read(root, &files, Dataset { classes, notes: all.notes(), ..empty(path) }, preprocessing)
}

fn missing(folder: &Path) -> Error {
    Error::usage(format!(
        "no folder {}: set the data root with --data or TROMPE_DATA, or correct `path`",
        folder.display()
    ))
}

/// A set of no images yet.
fn empty(path: &Path) -> Dataset {
    Dataset {
        name: path.display().to_string(),
        classes: vec![],
        samples: vec![],
        skipped: vec![],
        notes: vec![],
        fingerprint: String::new(),
        surface_accuracy: None,
    }
}

/// Decodes files, each with its class, into a set.
fn read(
    root: &Path,
    files: &[(PathBuf, usize)],
    mut set: Dataset,
    preprocessing: &Preprocessing,
) -> Result<Dataset> {
    let relative = |file: &Path| file.strip_prefix(root).unwrap_or(file).display().to_string();
    let decoded: Vec<_> = files
        .par_iter()
        .map(|(file, label)| match decode(file).and_then(|image| preprocessing.fit(image)) {
            Ok(image) => Ok(Sample { id: relative(file), label: *label, image }),
            Err(why) => Err(format!("{}: {why}", relative(file))),
        })
        .collect();
    for result in decoded {
        match result {
            Ok(sample) => set.samples.push(sample),
            Err(why) => set.skipped.push(why),
        }
    }
    set.check_size()?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_ends_at_its_own_marker() {
        let mut bytes = std::io::Cursor::new(vec![]);
        let image = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 99]));
        image.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        let whole = bytes.into_inner();
        let after = |more: &[u8]| [&whole[..], more].concat();
        assert!(ends(&whole) && ends(&after(&[0; 5000])) && ends(&after(b"\0\0\0\x18ftypmp42")));
        assert!(!ends(&whole[..whole.len() / 2]) && !ends(&whole[..whole.len() - 1]) && !ends(b"\xff\xd8"));
        // A thumbnail in the first segment, and then nothing.
        let length = (whole.len() as u16 + 2).to_be_bytes();
        let thumbnail = [&[0xff, 0xd8, 0xff, 0xe1][..], &length, &whole].concat();
        assert!(!ends(&thumbnail));
        assert!(ends(&[&thumbnail, &whole[2..]].concat()));
    }

    #[test]
    fn folders_of_numbers_are_told_where_their_order_is_another() {
        let of = |names: &[&str]| numbered(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert!(of(&["0", "1", "2"]).is_none() && of(&["cat", "1"]).is_none());
        assert!(of(&["0", "1", "10", "2"]).unwrap().contains("folder 10 is output 2"));
        assert!(of(&["1", "2"]).unwrap().contains("folder 1 is output 0"));
    }
}
