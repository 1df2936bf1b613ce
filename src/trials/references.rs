//! What stands beside a query of an occlusion trial.

use serde::{Deserialize, Serialize};

/// What is shown beside a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum References {
    /// Nothing.
    None,
    /// Visualizations of the unit.
    Visualizations,
    /// Natural images that activate the unit most.
    Natural,
    /// Visualizations and natural images.
    Mixed,
    /// Natural images, blurred but for the patch that activates the unit most.
    Blurred,
}

impl References {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::None, Self::Visualizations, Self::Natural, Self::Mixed, Self::Blurred];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Visualizations => "visualizations",
            Self::Natural => "natural",
            Self::Mixed => "mixed",
            Self::Blurred => "blurred",
        }
    }

    /// Whether visualizations are among them.
    pub fn visualized(self) -> bool {
        matches!(self, Self::Visualizations | Self::Mixed)
    }
}
