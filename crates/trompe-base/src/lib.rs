//! What all crates of Trompe stand on: errors with their exit codes, files that are written whole or not at all, and random
//! draws that come from a run's seed.

pub mod error;
pub mod files;
pub mod seed;
