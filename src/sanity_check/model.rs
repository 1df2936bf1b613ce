//! The network that an experiment is about.

use super::Setting;
use crate::cache;
use crate::config::Experiment;
use crate::data::{Dataset, Source};
use crate::error::{Context, Error, Result};
use crate::network::{Network, zoo};
use crate::seed;
use crate::training;

/// The experiment's network with random weights.
pub(super) fn untrained(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    let graph = zoo::builder(&experiment.network.builder, experiment.network.classes)?;
    Network::new(graph, &mut seed::rng(experiment.seed, &"weights"), setting.executor.device())
}

/// The experiment's network as it comes, with its weights file or trained, batch norms folded.
pub(super) fn model(experiment: &Experiment, setting: &Setting) -> Result<Model> {
    let Experiment { network: config, seed, preprocessing, .. } = experiment;
    let device = setting.executor.device();
    let fresh = untrained(experiment, setting)?;
    if let Some(weights) = &config.weights {
        let path = setting.data.join(weights);
        if !path.is_file() {
            return Err(Error::usage(format!(
                "no file {}: set the data root with --data or TROMPE_DATA, or correct network.weights",
                path.display()
            )));
        }
        let hash = blake3::hash(&std::fs::read(&path).on("read", &path)?).to_hex().to_string();
        let network = fresh.load(&path)?.fold_batch_norm();
        return Ok(Model { network, key: cache::key(&(config, hash)) });
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
            let data = load(experiment, setting, source)?;
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

/// Reads a data set whose classes the network has.
pub(super) fn load(experiment: &Experiment, setting: &Setting, source: &Source) -> Result<Dataset> {
    let set = Dataset::load(source, &experiment.preprocessing, &setting.data, experiment.seed)?;
    set.check_classes(experiment.network.classes)?;
    Ok(set)
}

/// A network with the hash of what made it.
pub(super) struct Model {
    pub network: Network,
    pub key: String,
}
