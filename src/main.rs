//! The command line: parse, run, report an error.

use std::process::ExitCode;

use clap::Parser;
use trompe::{cli::Cli, interrupt};

/// Tensors come and go at every layer; the system's allocator would give their pages back and ask for them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
