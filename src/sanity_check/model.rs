//! The network that an experiment is about.

use std::path::{Path, PathBuf};

use super::Setting;
use crate::cache;
use crate::config::Experiment;
use crate::data::{Dataset, Source};
use crate::error::{Context, Error, Result};
use crate::network::{Network, onnx, zoo};
use crate::seed;
use crate::training;

/// The experiment's network with random weights, where it is not in a file.
pub(crate) fn untrained(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    let config = &experiment.network;
    if let Some(file) = &config.file {
        return Network::open(&there(setting, file, "network.file")?, setting.executor.device());
    }
    let builder = config.builder.as_ref().zip(config.classes);
    let (name, classes) = builder.ok_or_else(|| Error::usage("network: no builder and no classes"))?;
    let graph = zoo::builder(name, classes)?;
    Network::new(graph, &mut seed::rng(experiment.seed, &"weights"), setting.executor.device())
}

/// The path of a file in the data root.
fn there(setting: &Setting, file: &Path, key: &str) -> Result<PathBuf> {
    let path = setting.data.join(file);
    if !path.is_file() {
        return Err(Error::usage(format!(
            "no file {}: set the data root with --data or TROMPE_DATA, or correct {key}",
            path.display()
        )));
    }
    Ok(path)
}

fn hash(path: &Path) -> Result<String> {
    Ok(blake3::hash(&std::fs::read(path).on("read", path)?).to_hex().to_string())
}

/// The experiment's network as it comes, with its weights file or trained, batch norms folded.
pub(crate) fn model(experiment: &Experiment, setting: &Setting) -> Result<Model> {
    let Experiment { network: config, seed, preprocessing, .. } = experiment;
    let device = setting.executor.device();
    let fresh = untrained(experiment, setting)?;
    if let Some(file) = &config.file {
        let path = there(setting, file, "network.file")?;
        // An ONNX file's weights may be in other files.
        let key = cache::key(&if onnx::is_onnx(&path) { fresh.digest() } else { hash(&path)? });
        return Ok(Model { network: fresh.fold_batch_norm(), key });
    }
    if let Some(weights) = &config.weights {
        let path = there(setting, weights, "network.weights")?;
        let key = cache::key(&(config, hash(&path)?));
        return Ok(Model { network: fresh.load(&path)?.fold_batch_norm(), key });
    }
    let (Some(settings), Some(source)) = (&experiment.training, &experiment.data.train) else {
        return Err(Error::usage("a network without `weights` needs [training] and [data.train]"));
    };
    let of = (config, settings, source, preprocessing, seed, setting.executor.kind().name());
    let network = setting.cache.get_or(
        "networks",
        &of,
        "safetensors",
        |path| Network::open(path, device),
        |path| {
            let outputs = fresh.channels(fresh.output())?;
            let data = load(experiment, setting, source, outputs)?;
            let network = training::train(fresh, &data, preprocessing, settings, *seed)?;
            network.save(path)?;
            Ok(network)
        },
    )?;
    Ok(Model { network, key: cache::key(&of) })
}

/// The experiment's network: its weights loaded, or trained.
///
/// # Errors
/// As [`run`](super::run)'s.
pub fn network(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    Ok(model(experiment, setting)?.network)
}

/// Reads a data set, and refuses classes beyond the network's outputs.
pub(crate) fn load(
    experiment: &Experiment,
    setting: &Setting,
    source: &Source,
    outputs: usize,
) -> Result<Dataset> {
    let set = Dataset::load(source, &experiment.preprocessing, &setting.data, experiment.seed)?;
    set.check_classes(outputs)?;
    Ok(set)
}

/// A network with the hash of what made it.
pub(crate) struct Model {
    pub network: Network,
    pub key: String,
}
