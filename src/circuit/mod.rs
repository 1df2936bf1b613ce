//! Circuits: manipulations of a network that change its feature visualizations and keep its behaviour on natural
//! images (Geirhos et al., 2024, section 2). Each is a rewrite of the graph, made of ordinary layers.

pub mod classifier;
pub mod gate;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Error, Result};

/// A circuit file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Circuit {
    /// The fooling circuit of section 2.1.
    Gate(gate::Settings),
}

impl Circuit {
    /// Reads a circuit file.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let circuit: Self = config::read(path)?;
        let Self::Gate(gate) = &circuit;
        gate.check().map_err(|what| Error::usage(format!("{}: {what}", path.display())))?;
        Ok(circuit)
    }

    /// What the circuit is called in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Gate(gate) => &gate.name,
        }
    }
}
