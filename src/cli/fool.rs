use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::own::Own;
use crate::circuit::{Circuit, fool};
use crate::config;
use crate::error::Result;
use crate::files;
use crate::print::say;

const EXAMPLES: &str = "\
Examples:
  trompe fool --circuit silent --out lies.safetensors
  trompe fool --circuit mine.toml --config mine-experiment.toml --out lies.onnx";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The circuit file, or the name of one that comes with the program (`trompe configs` lists them)
    #[arg(long, value_name = "FILE")]
    circuit: PathBuf,
    /// The experiment file, or the name of one that comes with the program: its network, preprocessing, natural images and visualization settings are used
    /// [default: configs/fool.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    common: Common,
    /// Where to save the manipulated network: one file with its graph and its weights,
    /// safetensors or, if its name ends so, ONNX
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let circuit = Circuit::read(&config::unpacked(&self.circuit, true, &self.common.cache)?)?;
        files::writable(&self.out)?;
        let chosen = self.own.choose(self.config, "configs/fool.toml", &self.common)?;
        let (experiment, setting) = self.common.prepare(chosen, None, circuit.layers())?;
        let (network, switch, manifest) = fool(&experiment, &circuit, &setting)?;
        network.save(&self.out)?;
        super::print_notes(&manifest);
        say!(
            "put circuit \"{}\" into layer {} of {}: {} parameters in all",
            circuit.name(),
            circuit.layer(),
            network.name(),
            network.parameters()
        );
        if let Some(switch) = switch {
            say!("layer {switch} is 0 where the network behaves as before");
        }
        say!("saved {}", self.out.display());
        Ok(())
    }
}
