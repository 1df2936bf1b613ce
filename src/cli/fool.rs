use std::path::PathBuf;

use anstream::println;
use clap::Args;

use super::Common;
use crate::circuit::Circuit;
use crate::error::Result;
use crate::sanity_check::fool;

#[derive(Args)]
pub struct Arguments {
    /// The circuit file
    #[arg(long, value_name = "FILE")]
    circuit: PathBuf,
    /// The experiment file: its network, preprocessing, natural images and visualization settings are used
    #[arg(long, value_name = "FILE", default_value = "configs/fool.toml")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Where to save the manipulated network: one file with its graph and its weights,
    /// safetensors or, if its name ends so, ONNX
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let circuit = Circuit::read(&self.circuit)?;
        let (experiment, setting) = self.common.prepare(&self.config, None)?;
        let (network, switch) = fool(&experiment, &circuit, &setting)?;
        network.save(&self.out)?;
        println!(
            "put circuit \"{}\" into layer {} of {}: {} parameters in all",
            circuit.name(),
            circuit.layer(),
            network.name(),
            network.parameters()
        );
        if let Some(switch) = switch {
            println!("layer {switch} is 0 where the network behaves as before");
        }
        println!("saved {}", self.out.display());
        Ok(())
    }
}
