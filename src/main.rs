//! The command line: parse, run, report an error.

use std::process::ExitCode;

use clap::Parser;
use trompe::{allocator, cli::Cli, interrupt, print};

#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

fn main() -> ExitCode {
    allocator::keep_freed();
    let cli = Cli::parse();
    interrupt::install();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::aside(format_args!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
