//! Circuits: manipulations of a network that change its feature visualizations and keep its behaviour on natural
//! images (Geirhos et al., 2024, section 2). Each is a rewrite of the graph, made of ordinary layers.

pub mod classifier;
pub mod gate;
pub mod silent;
mod template;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use template::Template;

use crate::config;
use crate::error::{Error, Result};
use crate::network::Network;

/// A circuit file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Circuit {
    /// The fooling circuit of section 2.1.
    Gate(gate::Settings),
    /// The silent units of section 2.2.
    Silent(silent::Settings),
}

/// A network with a circuit in it.
#[derive(Clone, Debug)]
pub struct Injected {
    pub network: Network,
    /// The layer that is zero where the circuit leaves the network as it was; none, if nothing was put in.
    pub switch: Option<String>,
}

impl Circuit {
    /// Reads a circuit file.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let mut circuit: Self = config::read(path)?;
        let checked = match &circuit {
            Self::Gate(gate) => gate.check(),
            Self::Silent(silent) => silent.check(),
        };
        let plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
        let checked = match circuit.name() {
            name if name.is_empty() || !name.chars().all(plain) => {
                Err(format!("name is \"{name}\"; files are called after it: letters, digits, - and _"))
            }
            _ => checked,
        };
        checked.map_err(|what| Error::usage(format!("{}: {what}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        match &mut circuit {
            Self::Gate(gate) => gate.folder = folder.into(),
            Self::Silent(silent) => silent.folder = folder.into(),
        }
        for picture in circuit.pictures() {
            if !picture.is_file() {
                return Err(Error::usage(format!(
                    "{}: no picture {}; its path is relative to the circuit's file",
                    path.display(),
                    picture.display()
                )));
            }
        }
        Ok(circuit)
    }

    /// The files of the pictures that it shows.
    pub fn pictures(&self) -> Vec<PathBuf> {
        match self {
            Self::Gate(gate) => gate.pictures.iter().map(|p| gate.folder.join(p)).collect(),
            Self::Silent(silent) => vec![silent.folder.join(&silent.picture)],
        }
    }

    /// What the circuit is called in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Gate(gate) => &gate.name,
            Self::Silent(silent) => &silent.name,
        }
    }

    /// The layer whose units are fooled.
    pub fn layer(&self) -> &str {
        match self {
            Self::Gate(gate) => &gate.layer,
            Self::Silent(silent) => &silent.layer,
        }
    }

    /// The units that are to be visualized, where the circuit says which.
    pub fn visualized(&self) -> Option<&[usize]> {
        match self {
            Self::Gate(gate) => gate.visualized.as_deref(),
            Self::Silent(silent) => Some(silent.visualized.as_deref().unwrap_or(&silent.units)),
        }
    }

    /// The natural images it is made with, where it names them itself.
    pub fn natural(&self) -> Option<&crate::data::Source> {
        match self {
            Self::Gate(gate) => gate.classifier.natural.as_ref(),
            Self::Silent(silent) => silent.calibration.as_ref(),
        }
    }
}
