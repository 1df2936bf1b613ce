use std::path::PathBuf;

use clap::Args;

use crate::config::{save_shipped, shipped};
use crate::error::Result;
use crate::print::say;

const EXAMPLES: &str = "\
Examples:
  trompe configs
  trompe configs --write here";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Writes all of them to this folder, as `configs/` and `circuits/`
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        if let Some(folder) = self.write {
            save_shipped(&folder)?;
            say!("wrote {} and {}", folder.join("configs").display(), folder.join("circuits").display());
            return Ok(());
        }
        for (circuits, title, option) in [(false, "Experiments", "--config"), (true, "Circuits", "--circuit")]
        {
            say!("{title}, by the name that {option} takes:\n");
            for file in shipped(circuits) {
                say!("  {:<28} {}", file.name, file.about);
            }
            say!("");
        }
        Ok(())
    }
}
