//! Feature visualization by activation maximization (Olah et al., 2017): an objective, a parameterization of the
//! image, transforms for robustness, and the optimization that ties them together.

mod diversity;
mod objective;
mod optimize;
mod parameterization;
mod store;
mod transform;

pub use diversity::{Diversity, alike, mean_pair};
pub use objective::{Direction, Focus, Objective, Terms, Unit, UnitObjective};
pub use optimize::{
    Fault, Redirect, Request, Settings, Snapshot, Visualization, faults, half_octaves, maximize, milestones,
    visualize,
};
pub(crate) use parameterization::NOISE;
pub use parameterization::{Canvas, Parameterization};
pub use transform::{Transform, Warp, reached, smallest, standard};
