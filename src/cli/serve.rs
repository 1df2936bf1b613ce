use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::print::say;
use crate::trials::study::serve;

const EXAMPLES: &str = "\
Example:
  trompe serve results/trials";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A study's folder, as `trials` made it
    study: PathBuf,
    /// The port on this machine; 0 takes any that is free
    #[arg(long, value_name = "N", default_value_t = 7878)]
    port: u16,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let study = self.study.display().to_string();
        serve(&self.study, self.port, |address| {
            say!("take the study at {address} (Ctrl-C ends it; answers are kept at once)");
        })?;
        say!("ended; score the answers with: trompe observe {study}");
        Ok(())
    }
}
