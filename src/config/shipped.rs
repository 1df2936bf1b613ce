//! The experiment and circuit files that come with the program.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::error::{Context, Error, Result};
use crate::files;

static CONFIGS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/configs");
static CIRCUITS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/circuits");

/// A file that comes with the program.
pub struct Shipped {
    /// What it is asked for by, as `fool` or `squeezenet/silent`.
    pub name: String,
    /// The first sentence of its comment.
    pub about: String,
}

/// The experiment files, or the circuit files, that come with the program, by name.
pub fn shipped(circuits: bool) -> Vec<Shipped> {
    fn look(folder: &Dir<'_>, all: &mut Vec<Shipped>) {
        for file in folder.files().filter(|file| file.path().extension().is_some_and(|e| e == "toml")) {
            let text = file.contents_utf8().unwrap_or_default();
            let comment: Vec<&str> =
                text.lines().take_while(|line| line.starts_with('#')).map(|line| line[1..].trim()).collect();
            let comment = comment.join(" ");
            // Not in the middle of "et al. (2024)".
            let mut ends = comment.match_indices(". ").map(|(at, _)| at + 1);
            let end = ends.find(|&end| !comment[..end].ends_with(" al.")).unwrap_or(comment.len());
            let name = file.path().with_extension("").to_string_lossy().replace('\\', "/");
            all.push(Shipped { name, about: comment[..end].into() });
        }
        folder.dirs().for_each(|folder| look(folder, all));
    }
    let mut all = vec![];
    look(if circuits { &CIRCUITS } else { &CONFIGS }, &mut all);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Where a file is that a command names: the file of this path, if there is one; or else the one that comes with the program
/// under this name (`fool`, `fool.toml` or `configs/fool.toml`), written with all others to a folder in `cache`. Where there is
/// neither, the path as it is.
///
/// # Errors
/// Usage, if there is neither; failure, if the files can't be written.
pub fn unpacked(wish: &Path, circuits: bool, cache: &Path) -> Result<PathBuf> {
    let (folder, all) = if circuits { ("circuits", &CIRCUITS) } else { ("configs", &CONFIGS) };
    if wish.exists() {
        return Ok(wish.into());
    }
    let within = wish.strip_prefix(folder).unwrap_or(wish).with_extension("toml");
    if all.get_file(&within).is_none() {
        let what = if circuits { "circuit" } else { "experiment" };
        return Err(Error::usage(format!(
            "no file {}, and no {what} of that name comes with the program; `trompe configs` lists those that do",
            wish.display()
        )));
    }
    let mut hash = blake3::Hasher::new();
    let both = [("configs", &CONFIGS), ("circuits", &CIRCUITS)];
    both.iter().for_each(|(_, dir)| fingerprint(dir, &mut hash));
    let root = cache.join("shipped").join(&hash.finalize().to_hex()[..16]);
    save_shipped(&root)?;
    Ok(root.join(folder).join(within))
}

/// Writes all files that come with the program to `configs` and `circuits` in a folder, but those that are there.
///
/// # Errors
/// Failure, if they can't be written.
pub fn save_shipped(folder: &Path) -> Result<()> {
    write(&CONFIGS, &folder.join("configs"))?;
    write(&CIRCUITS, &folder.join("circuits"))
}

fn fingerprint(folder: &Dir<'_>, hash: &mut blake3::Hasher) {
    for file in folder.files() {
        hash.update(file.path().to_string_lossy().as_bytes()).update(file.contents());
    }
    folder.dirs().for_each(|folder| fingerprint(folder, hash));
}

/// Writes what is not there yet.
fn write(folder: &Dir<'_>, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).on("make the folder", to)?;
    for file in folder.files() {
        let path = to.join(file.path().file_name().expect("a file has a name"));
        if !path.exists() {
            files::write(&path, file.contents())?;
        }
    }
    folder.dirs().try_for_each(|folder| write(folder, &to.join(folder.path().file_name().expect("a name"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::Circuit;
    use crate::config::Experiment;

    #[test]
    fn everything_that_is_shipped_is_found_and_read() {
        let cache = tempfile::tempdir().unwrap();
        let all = shipped(false);
        assert!(all.len() > 10 && all.iter().all(|file| !file.about.is_empty()));
        for name in ["fool", "fool.toml", "configs/detect.toml"] {
            let path = unpacked(Path::new(name), false, cache.path()).unwrap();
            // Tests run where the files are.
            let path = if path.is_absolute() { path } else { std::path::absolute(path).unwrap() };
            let experiment = Experiment::read(&path).unwrap();
            Circuit::beside(&path, &experiment.circuits).unwrap();
        }
        let circuit = unpacked(Path::new("squeezenet/pictures"), true, cache.path()).unwrap();
        assert!(circuit.starts_with(cache.path()));
        Circuit::read(&circuit).unwrap();
        let none = unpacked(Path::new("nothing.toml"), false, cache.path()).unwrap_err().to_string();
        assert!(none.contains("no file nothing.toml") && none.contains("trompe configs"), "{none}");
    }
}
