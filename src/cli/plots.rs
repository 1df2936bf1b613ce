use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::report;

#[derive(Args)]
pub struct Arguments {
    /// A results folder
    results: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        report::draw(&self.results)?;
        println!("drew {}", self.results.join("figures").display());
        println!("wrote {}", self.results.join("report.html").display());
        Ok(())
    }
}
