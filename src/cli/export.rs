use std::path::PathBuf;

use anstream::println;
use clap::Args;

use super::model;
use crate::device::Kind;
use crate::error::Result;

#[derive(Args)]
pub struct Arguments {
    /// An ONNX file, a network that `train` or `fool` saved, or the name of an architecture
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write: ONNX if its name ends so, else safetensors with the network's graph in it
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let network = model(&self.model, &Kind::Flex.open()?)?;
        network.save(&self.out)?;
        println!("saved {} layers as {}", network.graph().layers().count(), self.out.display());
        Ok(())
    }
}
