use std::path::PathBuf;

use anstream::println;
use clap::Args;

use super::Common;
use crate::config::Experiment;
use crate::data::Dataset;
use crate::error::Result;
use crate::progress;
use crate::sanity_check::network;
use crate::training::{logits, top_k};

#[derive(Args)]
pub struct Arguments {
    /// The experiment file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Where to save the network: one file with its graph and its weights, safetensors or, if its name
    /// ends so, ONNX
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let (experiment, setting) = self.common.prepare(&self.config, None)?;
        let network = network(&experiment, &setting)?;
        network.save(&self.out)?;
        let Experiment { data, preprocessing, seed, .. } = &experiment;
        let validation = Dataset::load(&data.validation, preprocessing, &setting.data, *seed)?;
        validation.check_classes(network.channels(network.output())?)?;
        let bar = progress::bar("accuracy", validation.samples.len());
        let logits = logits(&network, &validation.samples, preprocessing, &setting.executor, &bar)?;
        bar.finish_and_clear();
        let [top1, top5] = [1, 5].map(|k| top_k(&logits, &validation.samples, k));
        println!(
            "{}: top-1 {:.2} %, top-5 {:.2} % on {}",
            network.name(),
            100.0 * top1,
            100.0 * top5,
            validation.name
        );
        println!("saved {}", self.out.display());
        Ok(())
    }
}
