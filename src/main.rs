//! The command line: parse, run, report an error.

use std::process::ExitCode;

use anstream::eprintln;
use clap::Parser;
use trompe::{cli::Cli, interrupt};

/// Tensors come and go at every layer; the system's allocator would give their pages back and ask for them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's `mi_option_purge_delay`, which its crate does not name: milliseconds after which free pages are given back.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    // Never: each step needs again what the one before it freed.
    // SAFETY: an option may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
    let cli = Cli::parse();
    interrupt::install();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
