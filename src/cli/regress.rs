use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::report::Manifest;
use crate::report::baseline::{compare, read, update};
use crate::report::figures::Data;
use crate::report::summary::metrics;

#[derive(Args)]
pub struct Arguments {
    /// A results folder
    results: PathBuf,
    /// The baseline: a CSV with columns metric, direction (higher, lower or same is better), value, tolerance
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// Write the results' values into the baseline instead of comparing
    #[arg(long)]
    update: bool,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        if !Manifest::read(&self.results)?.complete {
            return Err(Error::failure(format!(
                "{} is not complete: run its experiment again",
                self.results.display()
            )));
        }
        let outcomes = compare(&read(&self.baseline)?, &metrics(&Data::read(&self.results)?));
        if self.update {
            update(&self.baseline, &outcomes)?;
            println!("wrote {}", self.baseline.display());
            return Ok(());
        }
        println!("{:<62} {:>9} {:>9} {:>9}", "metric", "baseline", "found", "tolerance");
        for o in &outcomes {
            let found = o.found.map_or("missing".into(), |v| format!("{v:.4}"));
            println!(
                "{:<62} {:>9.4} {found:>9} {:>9.4}{}",
                o.expected.metric,
                o.expected.value,
                o.expected.tolerance,
                if o.regressed() { "  REGRESSED" } else { "" }
            );
        }
        match outcomes.iter().filter(|o| o.regressed()).count() {
            0 => Ok(()),
            n => Err(Error::failure(format!("{n} of {} metrics regressed", outcomes.len()))),
        }
    }
}
