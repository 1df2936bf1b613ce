//! Tests of which some need what a machine may lack, real networks or a browser: those are reported as ignored there.

#[path = "../common/mod.rs"]
mod common;

mod reference;
mod study;

fn main() {
    common::run(&[reference::TESTS, study::TESTS].concat());
}
