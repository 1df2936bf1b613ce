//! Trompe asks whether feature visualizations can be trusted.
//!
//! It builds CNNs whose feature visualizations lie (Geirhos et al., ICML 2024, "Don't trust your eyes"), measures
//! how they lie, and measures how far the visualizations of honest networks can be believed.
//!
//! The program is the way in for most; this library is what it is made of. Five types to begin with:
//!
//! - [`network::Network`]: a graph of named layers with their weights, from a file or one of the [`network::zoo`]. It gives the
//!   activations of any of its layers, differentiably.
//! - [`data::Preprocessing`]: how pictures become what a network takes.
//! - [`visualize::UnitObjective`]: a unit that a visualization maximizes; [`visualize::Objective`] is what one of one's own
//!   implements.
//! - [`circuit::Injected`]: a network with a fooling circuit in it.
//! - [`path::PathSimilarity`]: how alike pictures and natural images are processed at a layer (section 3 of the paper).
//!
//! A unit's visualization, in a network with random weights:
//!
//! ```
//! use burn::tensor::Device;
//! use rand::SeedableRng;
//! use trompe::data::Preprocessing;
//! use trompe::network::{Network, zoo};
//! use trompe::progress::Progress;
//! use trompe::visualize::{Request, Settings, UnitObjective, visualize};
//!
//! # fn main() -> trompe::error::Result<()> {
//! let rng = &mut rand_chacha::ChaCha8Rng::seed_from_u64(1);
//! let network = Network::new(zoo::small_cnn(10), rng, &Device::default())?;
//! let unit = "bn2:3".parse().expect("layer:channel");
//! let settings = Settings { steps: 8, ..Settings::new(32) };
//! let request = Request { objective: UnitObjective::of(unit), index: 0 };
//! let pre = Preprocessing::default();
//! let bar = Progress::hidden();
//! let made = visualize(&network, &pre, &settings, &[request], &[1, 8], 1, &bar)?;
//! let [first, last] = &made[0].trajectory[..] else { panic!("asked for two steps") };
//! assert!(last.activation > first.activation);
//! last.image.save(std::env::temp_dir().join("unit.png")).expect("room for a picture");
//! # Ok(())
//! # }
//! ```
//!
//! `examples/fooled_unit.rs` goes on from there: a circuit, and the path of the picture beside natural images';
//! `examples/own_objective.rs` and `examples/own_detector.rs` add to the library without changing it. `docs/architecture.md` is a
//! map of the modules.

pub mod allocator;
mod bounds;
pub mod cache;
pub mod circuit;
pub mod cli;
pub mod config;
pub mod data;
pub mod detect;
pub mod device;
pub mod executor;
pub mod experiment;
pub mod interrupt;
pub mod path;
pub mod print;
pub mod progress;
pub mod provenance;
pub mod report;
pub mod results;
pub mod sanity_check;
mod statistics;
pub mod tables;
pub mod training;
pub mod trials;
pub mod visualize;

pub(crate) use trompe_base::files;
pub use trompe_base::{error, seed};
pub use trompe_network as network;
