//! Feature visualization by activation maximization (Olah et al., 2017): an objective, a parameterization of the
//! image, transforms for robustness, and the optimization that ties them together.

mod canvas;
mod diversity;
mod objective;
mod optimize;
mod store;
mod transform;
mod warp;

pub use crate::network::{Focus, Reading};
pub(crate) use canvas::NOISE;
pub use canvas::{Canvas, Parameterization};
pub use diversity::{Diversity, alike, mean_pair};
pub use objective::{Direction, LayerMap, Objective, Terms, Unit, UnitObjective};
pub use optimize::{
    Fault, Redirect, Request, Settings, Snapshot, Visualization, faults, half_octaves, maximize, milestones,
    visualize,
};
pub use transform::{
    AffineTransform, Crop, Jitter, Pad, Rotate, Scale, Transform, reached, smallest, standard,
};
pub use warp::Warp;
