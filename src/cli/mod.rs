//! The command line: one file a subcommand.

mod activations;
mod audit;
mod configs;
mod detect;
mod export;
mod fool;
mod layers;
mod observe;
mod own;
mod plots;
mod progress;
mod regress;
mod sanity_check;
mod serve;
mod train;
mod trials;
mod visualize;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::{Args, Parser, Subcommand};
use trompe_kernels::InstructionSet;

use crate::cache::Cache;
use crate::config::{self, Experiment, Network};
use crate::device::Kind;
use crate::error::{Context, Error, Result};
use crate::executor::Executor;
use crate::experiment::Setting;
use crate::network::{self, zoo};
use crate::print::note;
use crate::results::Manifest;
use crate::seed;
use crate::trials::Study;
use own::Chosen;

/// Can feature visualizations be trusted? Builds networks whose visualizations lie, and measures how far those of
/// honest networks can be believed.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an experiment: a network, its circuits, their visualizations, and the path-similarity curve
    SanityCheck(sanity_check::Arguments),
    /// Set detectors against circuits: which of a network's units have been manipulated, and how surely that is found
    Detect(detect::Arguments),
    /// Rank the units of a network from outside by how manipulated they look
    Audit(audit::Arguments),
    /// Put a circuit into a network and save the manipulated network
    Fool(fool::Arguments),
    /// Make feature visualizations of single units
    Visualize(visualize::Arguments),
    /// Train an experiment's network and save it
    Train(train::Arguments),
    /// List the experiment and circuit files that come with the program, or write them to a folder
    Configs(configs::Arguments),
    /// List a network's layers: names, types, shapes, parameters, multiply-adds
    Layers(layers::Arguments),
    /// Write a network as ONNX, or as safetensors with its graph
    Export(export::Arguments),
    /// Write the activations of a network's layers for given inputs
    Activations(activations::Arguments),
    /// Draw the figures and the report of a results folder again, from its tables
    Plots(plots::Arguments),
    /// Make psychophysical trials about units, for people and models, and let models answer them
    Trials(trials::Arguments),
    /// Let people answer trials in a browser on this machine
    Serve(serve::Arguments),
    /// Score people's and models' responses to trials
    Observe(observe::Arguments),
    /// Compare a results folder with a baseline; exit code 1 if a metric regressed
    Regress(regress::Arguments),
}

/// What every command that computes takes.
#[derive(Args)]
struct Common {
    /// An ONNX file, or a network that `train` or `fool` saved, instead of the experiment file's
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// The layer that is taken for the network's output, where that is not its last: what lies behind is not read
    #[arg(long, value_name = "LAYER")]
    output: Option<String>,
    /// Folder that data sets and weights are relative to
    #[arg(long, value_name = "DIR", env = "TROMPE_DATA", default_value = "data")]
    data: PathBuf,
    /// Where to compute; devices other than flex need a build with the cargo feature of that name
    #[arg(long, value_enum, default_value = "flex")]
    device: Kind,
    /// Where trained networks and finished pictures are kept between runs
    #[arg(long, value_name = "DIR", env = "TROMPE_CACHE", default_value = "results/.cache")]
    cache: PathBuf,
    /// Seed of every random draw, instead of the experiment file's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// The network that an argument names: a file, or an architecture with random weights for 1000 classes.
fn model(name: &Path, output: Option<&str>, device: &Device) -> Result<network::Network> {
    let builder = name.to_str().filter(|name| zoo::is_known(name));
    let network = match builder {
        _ if name.exists() => network::Network::open_up_to(name, output, device)?,
        Some(builder) => {
            note!("note: {builder} is the architecture with random weights for 1000 classes");
            let graph = zoo::builder(builder, 1000)?;
            let all = network::Network::new(graph, &mut seed::rng(0, &"weights"), device)?;
            match output {
                Some(output) => all.up_to(output)?,
                None => all,
            }
        }
        None => {
            return Err(Error::usage(format!(
                "no file {}, and no architecture of that name; there are {}",
                name.display(),
                zoo::BUILDERS.join(", ")
            )));
        }
    };
    network.notes().iter().for_each(|words| note!("note: {words}"));
    Ok(network)
}

/// Prints what there is to say of the data sets and networks that went into results.
fn print_notes(manifest: &Manifest) {
    manifest.data.iter().for_each(|set| note!("{set}"));
    manifest.warnings.iter().for_each(|warning| note!("note: {warning}"));
}

impl Common {
    /// The experiment, and where it runs; `layers` are those that the command names.
    fn prepare(
        self,
        chosen: Chosen,
        out: Option<PathBuf>,
        layers: Vec<String>,
    ) -> Result<(Experiment, Setting)> {
        let Chosen { mut experiment, file, .. } = chosen;
        if let Some(settings) = &experiment.detect {
            let named = crate::detect::chosen(settings).map(drop);
            named.map_err(|e| Error::usage(format!("{}: {e}", file.display())))?;
        }
        let setting = self.set(&mut experiment, out, layers)?;
        Ok((experiment, setting))
    }

    /// Where a study is made.
    fn prepare_study(self, study: &mut Study, out: Option<PathBuf>) -> Result<Setting> {
        let out = out.unwrap_or_else(|| Path::new("results").join(&study.settings.name));
        study.check_seed(self.seed.unwrap_or(study.experiment.seed))?;
        self.set(&mut study.experiment, Some(out), vec![])
    }

    /// Changes the experiment as was asked for, and gives where it runs.
    fn set(self, experiment: &mut Experiment, out: Option<PathBuf>, layers: Vec<String>) -> Result<Setting> {
        experiment.seed = self.seed.unwrap_or(experiment.seed);
        experiment.named.extend(layers);
        if let Some(file) = self.network {
            // Relative to where the command is given, not to the data root.
            let file = std::path::absolute(&file).on("find", &file)?;
            utf8(&file)?;
            experiment.network = Network::in_file(file);
        }
        if self.output.is_some() {
            experiment.network.output = self.output;
        }
        Ok(Setting {
            data: self.data,
            out: out.unwrap_or_else(|| Path::new("results").join(&experiment.name)),
            cache: Cache::new(self.cache),
            executor: Executor::new(self.device)?,
        })
    }
}

/// The file beside the results of a network from elsewhere, with which the same can be done again.
const RUN: &str = "run.toml";

/// What that file says.
fn run_file(experiment: &Experiment) -> String {
    let command: Vec<String> = std::env::args().skip(1).collect();
    config::written(
        experiment,
        &format!("What `trompe {}` did. With --config and this file it is done again.", command.join(" ")),
    )
}

/// Refuses a path that no table or manifest could hold.
fn utf8(path: &Path) -> Result<()> {
    match path.to_str() {
        Some(_) => Ok(()),
        None => Err(Error::usage(format!(
            "the path {} is no text in UTF-8, so no manifest could name it: rename it",
            path.display()
        ))),
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The command's own.
    pub fn run(self) -> Result<()> {
        progress::show();
        InstructionSet::chosen().map_err(Error::usage)?;
        match self.command {
            Command::SanityCheck(arguments) => arguments.run(),
            Command::Detect(arguments) => arguments.run(),
            Command::Audit(arguments) => arguments.run(),
            Command::Fool(arguments) => arguments.run(),
            Command::Visualize(arguments) => arguments.run(),
            Command::Train(arguments) => arguments.run(),
            Command::Configs(arguments) => arguments.run(),
            Command::Layers(arguments) => arguments.run(),
            Command::Export(arguments) => arguments.run(),
            Command::Activations(arguments) => arguments.run(),
            Command::Plots(arguments) => arguments.run(),
            Command::Trials(arguments) => arguments.run(),
            Command::Serve(arguments) => arguments.run(),
            Command::Observe(arguments) => arguments.run(),
            Command::Regress(arguments) => arguments.run(),
        }
    }
}
