use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::print::say;
use crate::report;
use crate::trials::{self, Plan, plan};

const EXAMPLES: &str = "\
Example:
  trompe plots results/fool";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A results folder, or a study's
    results: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        if self.results.join(plan::FILE).is_file() {
            report::whole(&self.results)?;
            trials::report::redraw(&self.results, &Plan::read(&self.results)?)?;
        } else {
            report::redraw(&self.results)?;
        }
        say!("drew {}", self.results.join("figures").display());
        say!("wrote {}", self.results.join("report.html").display());
        Ok(())
    }
}
