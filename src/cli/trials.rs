use std::path::PathBuf;

use clap::Args;

use super::Common;
use crate::config::unpacked;
use crate::error::Result;
use crate::print::say;
use crate::trials::{self, Study};

const EXAMPLES: &str = "\
Example:
  trompe trials --config trials
  trompe serve results/trials";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The trials file, or the name of one that comes with the program
    #[arg(long, value_name = "FILE", default_value = "configs/trials.toml")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
    /// The study's folder [default: results/<name of the study>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let mut study = Study::read(&unpacked(&self.config, false, &self.common.cache)?)?;
        let setting = self.common.prepare_study(&mut study, self.out)?;
        let manifest = trials::make(&study, &setting)?;
        super::print_notes(&manifest);
        let folder = &setting.out;
        super::observe::print_summary(folder)?;
        say!("\nreport: {}", folder.join("report.html").display());
        say!("take it yourself: trompe serve {}", folder.display());
        Ok(())
    }
}
