//! The command line: parse, run, report an error.

use std::process::ExitCode;

use clap::Parser;
use trompe::{cli::Cli, interrupt};

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
