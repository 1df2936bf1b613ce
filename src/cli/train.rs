use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::own::Chosen;
use crate::config::Experiment;
use crate::data::Dataset;
use crate::error::Result;
use crate::experiment::{blueprint, classifies, fits, whole_network};
use crate::files;
use crate::print::{note, say};
use crate::progress;
use crate::report::summary::surface_words;
use crate::training::{logits, top_k};

const EXAMPLES: &str = "\
Example:
  trompe train --config fool --seed 3 --out honest.safetensors";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The experiment file, or the name of one that comes with the program
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
        files::writable(&self.out)?;
        let chosen = Chosen::read(&self.config, false, &self.common)?;
        let (experiment, setting) = self.common.prepare(chosen, None, vec![])?;
        let Experiment { data, preprocessing, seed, .. } = &experiment;
        let validation = Dataset::load(&data.validation, preprocessing, &setting.data, *seed)?;
        let blueprint = blueprint(&experiment, &setting)?;
        validation.check_classes(blueprint.channels(blueprint.output())?)?;
        fits(&experiment, &blueprint, &[])?;
        let (width, height) = validation.samples[0].image.dimensions();
        classifies(&blueprint, [height as usize, width as usize])?;
        let (network, made_with) = whole_network(&experiment, &setting)?;
        network.save(&self.out)?;
        made_with.iter().chain([&validation.inventory()]).for_each(|set| note!("{set}"));
        network.notes().iter().for_each(|words| note!("note: {words}"));
        let bar = progress::bar("accuracy", validation.samples.len());
        let logits = logits(&network, &validation.samples, preprocessing, &setting.executor, &bar)?;
        bar.end();
        let [top1, top5] = [1, 5].map(|k| top_k(&logits, &validation.samples, k));
        say!(
            "{}: top-1 {:.2} %, top-5 {:.2} % on {}",
            network.name(),
            100.0 * top1,
            100.0 * top5,
            validation.name
        );
        if let Some(share) = validation.surface_accuracy {
            say!("{}", surface_words(&validation.name, share));
        }
        say!("saved {}", self.out.display());
        Ok(())
    }
}
