//! Tests of the program and the library from outside that need nothing but this repository, in one binary.

#[path = "../common/mod.rs"]
mod common;

mod architecture;
mod bad_input;
mod cases;
mod detect;
mod documents;
mod onnx;
mod own;
mod sanity_check;
mod weights;
