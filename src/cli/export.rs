use std::path::PathBuf;

use clap::Args;

use super::model;
use crate::device::Kind;
use crate::error::Result;
use crate::files;
use crate::print::say;

const EXAMPLES: &str = "\
Example:
  trompe export lies.safetensors lies.onnx";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// An ONNX file, a network that `train` or `fool` saved, or the name of an architecture
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write: ONNX if its name ends so, else safetensors with the network's graph in it
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The layer that is taken for the output: what lies behind is not read
    #[arg(long, value_name = "LAYER")]
    output: Option<String>,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        files::writable(&self.out)?;
        let network = model(&self.model, self.output.as_deref(), &Kind::Flex.open()?)?;
        network.save(&self.out)?;
        say!("saved {} layers as {}", network.graph().layers().count(), self.out.display());
        Ok(())
    }
}
