//! A results folder and its manifest.

use std::path::{Path, PathBuf};
use std::time::Instant;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::write_whole;
use crate::cache;
use crate::error::{Context, Error, Result};
use crate::network::Network;

const MANIFEST: &str = "manifest.json";

/// How a results folder came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Trompe's version.
    pub trompe: String,
    /// Whether all stages are done; a folder without it holds a part of the results only.
    pub complete: bool,
    /// The hash of the configuration, seed and device: the folder belongs to it.
    pub key: String,
    pub seed: u64,
    pub device: String,
    /// Logical cores of the machine.
    pub cores: usize,
    /// The experiment and its circuits, as they were read.
    pub config: serde_json::Value,
    /// Files that could not be decoded and were left out.
    pub skipped_files: Vec<String>,
    /// Results that are undefined and therefore missing in the tables.
    pub warnings: Vec<String>,
    pub stages: Vec<Stage>,
}

/// A stage of the work and how long it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub seconds: f64,
}

impl Manifest {
    /// Reads the manifest of a results folder.
    ///
    /// # Errors
    /// Usage, if the folder is no results folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::usage(format!("{} is no results folder: {e}", folder.display())))?;
        serde_json::from_str(&text).on("read", &path)
    }
}

/// A results folder that is being filled.
pub struct Results {
    folder: PathBuf,
    manifest: Manifest,
    /// The folder holds the same results already: its manifest stays until the new one is complete, too.
    whole: bool,
}

impl Results {
    /// Opens a folder for a configuration: a new one, one that belongs to the same configuration, or one where
    /// another run never came to an end.
    ///
    /// # Errors
    /// Usage, with nothing changed, if the folder holds the results of another configuration or other things;
    /// failure, if it can't be written.
    pub fn open(folder: &Path, config: serde_json::Value, seed: u64, device: &str) -> Result<Self> {
        let key = cache::key(&(&config, seed, device));
        let other = |why: &str| {
            Error::usage(format!(
                "{} {why}; give another --out, another name in the experiment file, or remove the folder",
                folder.display()
            ))
        };
        let mut whole = false;
        if folder.join(MANIFEST).is_file() {
            let there = Manifest::read(folder)?;
            match (there.key == key, there.complete) {
                (true, complete) => whole = complete,
                (false, true) => {
                    return Err(other("holds the results of another configuration, seed or device"));
                }
                (false, false) => {
                    let pictures = folder.join("pictures");
                    if pictures.is_dir() {
                        std::fs::remove_dir_all(&pictures).on("remove the unfinished", &pictures)?;
                    }
                }
            }
        } else if folder.is_dir() && std::fs::read_dir(folder).on("read", folder)?.next().is_some() {
            return Err(other("is not empty and holds no results of Trompe"));
        }
        std::fs::create_dir_all(folder).on("create", folder)?;
        let results = Self {
            folder: folder.into(),
            manifest: Manifest {
                trompe: env!("CARGO_PKG_VERSION").into(),
                complete: false,
                key,
                seed,
                device: device.into(),
                cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
                config,
                skipped_files: vec![],
                warnings: vec![],
                stages: vec![],
            },
            whole,
        };
        results.write_manifest()?;
        Ok(results)
    }

    /// For work that leaves no results folder: nothing is written.
    pub fn unwritten() -> Self {
        Self {
            folder: PathBuf::new(),
            manifest: Manifest {
                trompe: env!("CARGO_PKG_VERSION").into(),
                complete: false,
                key: String::new(),
                seed: 0,
                device: String::new(),
                cores: 0,
                config: serde_json::Value::Null,
                skipped_files: vec![],
                warnings: vec![],
                stages: vec![],
            },
            whole: true,
        }
    }

    /// Writes a network under `networks/`.
    ///
    /// # Errors
    /// Failure, if it can't be written.
    pub fn network(&self, name: &str, network: &Network) -> Result<()> {
        let folder = self.folder.join("networks");
        std::fs::create_dir_all(&folder).on("create", &folder)?;
        network.save(&folder.join(format!("{name}.safetensors")))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn write_manifest(&self) -> Result<()> {
        if self.whole && !self.manifest.complete {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&self.manifest).expect("a manifest is plain data");
        write_whole(&self.folder.join(MANIFEST), text.as_bytes())
    }

    /// Does a stage and notes how long it took.
    ///
    /// # Errors
    /// The stage's own.
    pub fn stage<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = work()?;
        self.manifest.stages.push(Stage {
            name: name.into(),
            seconds: (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        });
        self.write_manifest()?;
        Ok(done)
    }

    /// Notes files that were left out.
    pub fn skipped(&mut self, files: &[String]) {
        self.manifest.skipped_files.extend_from_slice(files);
    }

    /// Notes something that the tables can't show.
    pub fn warn(&mut self, warning: String) {
        self.manifest.warnings.push(warning);
    }

    /// Saves a picture under `pictures/` and gives its path relative to the folder.
    ///
    /// # Errors
    /// Failure, if it can't be written.
    pub fn picture(&self, name: &str, image: &RgbImage) -> Result<String> {
        let relative = format!("pictures/{name}.png");
        let path = self.folder.join(&relative);
        let parent = path.parent().expect("it has a folder");
        std::fs::create_dir_all(parent).on("create", parent)?;
        let mut bytes = std::io::Cursor::new(vec![]);
        image.write_to(&mut bytes, image::ImageFormat::Png).on("encode", &path)?;
        write_whole(&path, bytes.get_ref())?;
        Ok(relative)
    }

    /// Marks the results as complete.
    ///
    /// # Errors
    /// Failure, if the manifest can't be written.
    pub fn complete(mut self) -> Result<Manifest> {
        self.manifest.complete = true;
        self.write_manifest()?;
        Ok(self.manifest)
    }
}
