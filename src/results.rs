//! A results folder and its manifest.

use std::path::{Path, PathBuf};
use std::time::Instant;

use image::RgbImage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::data::Inventory;
use crate::error::{Context, Error, Result};
use crate::files::{self, Lock};
use crate::network::Network;
use crate::provenance::Provenance;
use crate::tables::{self, Row};

const MANIFEST: &str = "manifest.json";

/// How a results folder came about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// When, how and where they were made.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// Whether all stages are done and everything is drawn; a folder without it holds a part of the results only.
    pub complete: bool,
    /// The hash of the configuration, seed and device: the folder belongs to it.
    pub key: String,
    /// The seed that every random draw comes from.
    pub seed: u64,
    /// The device that they were made on: `flex`, `ndarray` or `wgpu`.
    pub device: String,
    /// What the results are of; unknown, if an earlier version wrote them.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// The experiment and its circuits, as they were read.
    pub config: serde_json::Value,
    /// The networks that were measured, with the hash of graph and weights.
    #[serde(default)]
    pub networks: Vec<NetworkRow>,
    /// The data sets that were read.
    #[serde(default)]
    pub data: Vec<Inventory>,
    /// The tables that belong to the results.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Results that are undefined or mean little, and what else a reader has to know.
    pub warnings: Vec<String>,
    /// The stages that are done, in order.
    pub stages: Vec<Stage>,
}

/// What results are of, and so which report shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Visualizations beside natural images.
    SanityCheck,
    /// Detectors beside circuits.
    Detection,
    /// The units of one network, by suspicion.
    Audit,
    /// A study with its trials.
    Trials,
}

/// A network that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkRow {
    /// What tables call the network.
    pub name: String,
    /// The circuit in it; `none` for an honest one.
    pub circuit: String,
    /// The hash of its graph and weights.
    pub hash: String,
}

/// A stage of the work and how long it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// What was done.
    pub name: String,
    /// How long it took, in seconds, to a tenth.
    pub seconds: f64,
}

impl Manifest {
    /// A part of the configuration.
    ///
    /// # Errors
    /// Failure, if it is not there or of another form, as an earlier version may have written it.
    pub fn part<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        T::deserialize(&self.config[key])
            .map_err(|e| Error::failure(format!("{MANIFEST}: the configuration's {key} can't be read: {e}")))
    }

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

/// A configuration as manifests keep it: as it would be written, 0.45 rather than the nearest number of 32 bits in 64.
pub fn described(config: &impl Serialize) -> serde_json::Value {
    let text = serde_json::to_string(config).expect("settings are plain data");
    serde_json::from_str(&text).expect("it was just written")
}

/// Takes away what a run left that never came to an end: nothing of it is to stand beside another's results.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).on("read", folder)? {
        let path = entry.on("read", folder)?.path();
        let name = path.file_name().unwrap_or_default();
        let table = path.extension().is_some_and(|e| e == "csv") || name == "report.html";
        if path.is_dir() && ["pictures", "figures", "networks"].iter().any(|made| name == *made) {
            std::fs::remove_dir_all(&path).on("remove the unfinished", &path)?;
        } else if table || (files::is_aside(name) && !Lock::is(name)) {
            std::fs::remove_file(&path).on("remove the unfinished", &path)?;
        }
    }
    Ok(())
}

/// A results folder that is being filled.
pub struct Results {
    folder: PathBuf,
    manifest: Manifest,
    /// The folder holds the same results already: its manifest stays until the new one is complete, too.
    whole: bool,
    /// Nobody else fills the folder meanwhile.
    _lock: Option<Lock>,
}

impl Results {
    /// Opens a folder for a configuration, as [`described`] gives it: a new one, one that belongs to the same configuration, or one where
    /// another run never came to an end.
    ///
    /// # Errors
    /// Usage, with nothing changed, if the folder holds the results of another configuration or other things, or if another
    /// process fills it; failure, if it can't be written.
    pub fn open(
        folder: &Path,
        kind: Kind,
        config: &serde_json::Value,
        seed: u64,
        device: &str,
    ) -> Result<Self> {
        let config = config.clone();
        let key = cache::key(&(&config, seed, device));
        Self::holds(folder, &key)?;
        files::folder(folder)?;
        let lock = Lock::take(folder, "wait for it, or give another --out")?;
        // Another process may have been faster.
        let whole = Self::holds(folder, &key)?;
        if !whole {
            remove_unfinished(folder)?;
        }
        let results = Self {
            folder: folder.into(),
            manifest: Manifest {
                provenance: Provenance::here(),
                key,
                seed,
                device: device.into(),
                kind: Some(kind),
                config,
                ..Manifest::default()
            },
            whole,
            _lock: Some(lock),
        };
        results.write_manifest()?;
        Ok(results)
    }

    /// Whether a folder holds the whole results of a configuration; it may hold a part of any.
    fn holds(folder: &Path, key: &str) -> Result<bool> {
        let other = |why: &str| {
            Error::usage(format!(
                "{} {why}; give another --out, another name in the experiment file, or remove the folder",
                folder.display()
            ))
        };
        if folder.join(MANIFEST).is_file() {
            let there = Manifest::read(folder)?;
            return match there.complete && there.key != key {
                true => Err(other("holds the results of another configuration, seed or device")),
                false => Ok(there.complete),
            };
        }
        if folder.is_dir() {
            let mut entries = std::fs::read_dir(folder).on("read", folder)?;
            if entries.any(|entry| entry.is_ok_and(|entry| !files::is_aside(&entry.file_name()))) {
                return Err(other("is not empty and holds no results of Trompe"));
            }
        }
        Ok(false)
    }

    /// For work that leaves no results folder: nothing is written.
    pub fn unwritten() -> Self {
        Self { folder: PathBuf::new(), manifest: Manifest::default(), whole: true, _lock: None }
    }

    /// What is noted so far.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Notes a network that is measured, and what there is to say of how it was read.
    pub fn measured(&mut self, network: &Network, circuit: &str) {
        let row = NetworkRow { name: network.name().into(), circuit: circuit.into(), hash: network.digest() };
        self.manifest.networks.push(row);
        for note in network.notes() {
            self.warn(note.clone());
        }
    }

    /// Notes a data set that was read.
    pub fn read(&mut self, set: Inventory) {
        if self.manifest.data.iter().any(|known| known.name == set.name && known.hash == set.hash) {
            return;
        }
        self.manifest.data.push(set);
    }

    /// Writes a table, and notes that it belongs to the results.
    ///
    /// # Errors
    /// Failure, if it can't be written.
    pub fn table<R: Row>(&mut self, rows: &[R]) -> Result<()> {
        tables::write(&self.folder, rows)?;
        self.tabled::<R>();
        Ok(())
    }

    /// Notes that a table belongs to the results.
    pub fn tabled<R: Row>(&mut self) {
        if !self.manifest.tables.iter().any(|table| table == R::FILE) {
            self.manifest.tables.push(R::FILE.into());
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
        files::write(&self.folder.join(MANIFEST), text.as_bytes())
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

    /// Notes something that the tables can't show.
    pub fn warn(&mut self, warning: String) {
        if !self.manifest.warnings.contains(&warning) {
            self.manifest.warnings.push(warning);
        }
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
        files::png(&path, image)?;
        Ok(relative)
    }

    /// Draws figures and report, and after that marks the results as complete.
    ///
    /// # Errors
    /// Those of `draw`; failure, if the manifest can't be written.
    pub fn complete(mut self, draw: impl FnOnce(&Path, &Manifest) -> Result<()>) -> Result<Manifest> {
        self.manifest.complete = true;
        draw(&self.folder, &self.manifest)?;
        self.write_manifest()?;
        Ok(self.manifest)
    }
}
