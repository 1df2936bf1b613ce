//! Trompe asks whether feature visualizations can be trusted.
//!
//! It builds CNNs whose feature visualizations lie (Geirhos et al., ICML 2024, "Don't trust your eyes"), measures
//! how they lie, and measures how far the visualizations of honest networks can be believed.

pub mod allocator;
mod bounds;
pub mod cache;
pub mod circuit;
pub mod cli;
pub mod config;
pub mod data;
pub mod detect;
pub mod device;
pub mod error;
pub mod executor;
pub mod experiment;
mod files;
#[cfg(feature = "flex")]
mod flex;
pub mod interrupt;
pub mod network;
pub mod path;
pub mod print;
pub mod progress;
pub mod provenance;
pub mod report;
pub mod results;
pub mod sanity_check;
pub mod seed;
mod statistics;
pub mod tables;
pub mod training;
pub mod trials;
#[cfg(feature = "flex")]
mod vector;
pub mod visualize;
