//! The network that an experiment is about.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::Setting;
use crate::cache;
use crate::config::Experiment;
use crate::data::{Dataset, Inventory, Source};
use crate::error::{Context, Error, Result};
use crate::network::{Network, zoo};
use crate::results::Results;
use crate::seed;
use crate::training;
use crate::visualize;

/// The experiment's network with random weights, where it is not in a file.
pub(crate) fn untrained(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    let config = &experiment.network;
    match (&config.file, &config.output) {
        (Some(file), output) => {
            let path = there(setting, file, "network.file")?;
            Network::open_up_to(&path, output.as_deref(), setting.executor.device())
        }
        (None, None) => fresh(experiment, setting),
        (None, Some(output)) => fresh(experiment, setting)?.up_to(output),
    }
}

/// The architecture that the experiment names, with random weights.
fn fresh(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    let config = &experiment.network;
    let builder = config.builder.as_ref().zip(config.classes);
    let (name, classes) = builder.ok_or_else(|| Error::usage("network: no builder and no classes"))?;
    let rng = &mut seed::rng(experiment.seed, &"weights");
    Network::new(zoo::builder(name, classes)?, rng, setting.executor.device())
}

/// A network as it is measured: with batch norms folded into the convolutions before them, but for convolutions that are
/// asked for by name.
pub(crate) fn folded(network: &Network, experiment: &Experiment) -> Network {
    network.fold_batch_norm_but(&experiment.layers().into_iter().collect())
}

/// The experiment's network as it is measured, with any weights.
pub(crate) fn blueprint(experiment: &Experiment, setting: &Setting) -> Result<Network> {
    Ok(folded(&untrained(experiment, setting)?, experiment))
}

/// The path of a file in the data root.
fn there(setting: &Setting, file: &Path, key: &str) -> Result<PathBuf> {
    let path = setting.data.join(file);
    if path.is_dir() {
        return Err(Error::usage(format!(
            "{} is a folder: name the file in it that {key} means",
            path.display()
        )));
    }
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

/// The experiment's network with its weights file or trained, and every layer that it has.
pub(crate) fn whole(experiment: &Experiment, setting: &Setting) -> Result<Model> {
    let Experiment { network: config, seed, preprocessing, .. } = experiment;
    let device = setting.executor.device();
    if let Some(weights) = &config.weights {
        let path = there(setting, weights, "network.weights")?;
        let key = cache::key(&(config, hash(&path)?));
        // The file has weights for what lies behind the output, too.
        let all = self::fresh(experiment, setting)?.load(&path)?;
        let network = match &config.output {
            Some(output) => all.up_to(output)?,
            None => all,
        };
        return Ok(Model { network, key, data: None });
    }
    let fresh = untrained(experiment, setting)?;
    if config.file.is_some() {
        let key = cache::key(&fresh.digest());
        return Ok(Model { network: fresh, key, data: None });
    }
    let (Some(settings), Some(source)) = (&experiment.training, &experiment.data.train) else {
        return Err(Error::usage("a network without `weights` needs [training] and [data.train]"));
    };
    let kind = setting.executor.kind().name();
    let of = (config, settings, (source, source.fingerprint(&setting.data)?), preprocessing, seed, kind);
    let outputs = fresh.channels(fresh.output())?;
    let made_with = RefCell::new(None);
    let network = setting.cache.get_or(
        "networks",
        &of,
        "safetensors",
        |path| Network::open(path, device),
        |path| {
            let data = load(experiment, setting, source, outputs)?;
            let (w, h) = data.samples[0].image.dimensions();
            let channels = preprocessing.channel_order.channels();
            fresh.graph().shape_of(fresh.output(), [channels, h as usize, w as usize])?;
            made_with.replace(Some(data.inventory()));
            let network = training::train(fresh, &data, preprocessing, settings, *seed)?;
            network.save(path)?;
            Ok(network)
        },
    )?;
    let data = setting.cache.json("training-sets", &of, || match made_with.take() {
        Some(data) => Ok(data),
        None => Ok(load(experiment, setting, source, outputs)?.inventory()),
    })?;
    Ok(Model { network, key: cache::key(&of), data: Some(data) })
}

/// The experiment's network as it is measured: with batch norms folded into the convolutions before them.
pub(crate) fn model(experiment: &Experiment, setting: &Setting) -> Result<Model> {
    let Model { network, key, data } = whole(experiment, setting)?;
    let kept = network.convolutions_before_norms(&experiment.layers().into_iter().collect());
    let key = if kept.is_empty() { key } else { cache::key(&(key, kept)) };
    Ok(Model { network: folded(&network, experiment), key, data })
}

/// The experiment's network as it is measured, its weights loaded or trained, and what it was trained on.
///
/// # Errors
/// Usage for what the experiment file gets wrong, failure for what goes wrong, an interruption.
pub fn network(experiment: &Experiment, setting: &Setting) -> Result<(Network, Option<Inventory>)> {
    let Model { network, data, .. } = model(experiment, setting)?;
    Ok((network, data))
}

/// The same with every layer that it has: as files keep it.
///
/// # Errors
/// Usage for what the experiment file gets wrong, failure for what goes wrong, an interruption.
pub fn whole_network(experiment: &Experiment, setting: &Setting) -> Result<(Network, Option<Inventory>)> {
    let Model { network, data, .. } = whole(experiment, setting)?;
    Ok((network, data))
}

/// Refuses a network that the experiment's images don't go through up to some layers, before anything takes long;
/// `network` is it with any weights.
pub(crate) fn fits(experiment: &Experiment, network: &Network, layers: &[String]) -> Result<()> {
    let graph = network.graph();
    let channels = graph.image_channels();
    match (channels, experiment.preprocessing.channel_order.channels()) {
        (1 | 3, given) if given == channels => (),
        (1, _) => {
            return Err(Error::usage(format!(
                "network {} takes grey images: set channel_order = \"grey\" in [preprocessing], with one number for mean and \
                 std",
                network.name()
            )));
        }
        (3, _) => {
            return Err(Error::usage(format!(
                "network {} takes colour images: set channel_order = \"rgb\" (or \"bgr\") in [preprocessing]",
                network.name()
            )));
        }
        _ => {
            return Err(Error::usage(format!(
                "network {} takes images of {channels} channels, and Trompe makes images of 3 (red, green and blue) or of 1: \
                 put a 1x1 convolution from 3 channels to {channels} in front of it, as \
                 torch.nn.Sequential(torch.nn.Conv2d(3, {channels}, 1), model), when you export it",
                network.name()
            )));
        }
    }
    let [height, width] = experiment.visualization.optimization.size.dims();
    layers.iter().try_for_each(|layer| graph.shape_of(layer, [channels, height, width]).map(drop))
}

/// Refuses a layer whose units can't be visualized: one that no image reaches, or not at every size that transforms make.
pub(crate) fn visualizable(settings: &visualize::Settings, network: &Network, layer: &str) -> Result<()> {
    let graph = network.graph();
    if !graph.depends_on_image(layer)? {
        return Err(Error::usage(format!(
            "layer {layer} of network {} is the same for every image, so no image can activate it",
            network.name()
        )));
    }
    let channels = graph.image_channels();
    let own = settings.size.dims();
    let [[least, most], [least_width, most_width]] =
        own.map(|side| visualize::reached(&settings.transforms, side));
    // Both sides are turned by the same: where they are as long as each other, so are they afterwards.
    let steps = (most - least).max(most_width - least_width);
    let between = (0..=steps).map(|i| [(least + i).min(most), (least_width + i).min(most_width)]);
    for [height, width] in std::iter::once(own).chain(between) {
        graph.shape_of(layer, [channels, height, width]).map_err(|e| match [height, width] == own {
            true => e,
            false => Error::usage(format!(
                "visualization.optimization.transforms turn images of {} pixels into such of {least} to {most}: {e}",
                settings.size
            )),
        })?;
    }
    Ok(())
}

/// Refuses a network whose output is no score for each class, for images of this height and width; `network` is it with
/// any weights.
pub(crate) fn classifies(network: &Network, [height, width]: [usize; 2]) -> Result<()> {
    let graph = network.graph();
    let [classes, h, w] = graph.shape_of(&graph.output, [graph.image_channels(), height, width])?;
    match (h, w) {
        (1, 1) => Ok(()),
        _ => Err(Error::usage(format!(
            "the output of network {} (layer {}) is a map of {h}x{w} places for each of {classes} channels, not one score \
             for each class: name the layer that classifies with --output, or `output` in [network]",
            network.name(),
            graph.output
        ))),
    }
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
    set.check_size()?;
    Ok(set)
}

/// A network with the hash of what made it.
pub struct Model {
    /// The network.
    pub network: Network,
    /// The hash.
    pub key: String,
    /// What it was trained on, if it was trained here.
    pub data: Option<Inventory>,
}

impl Model {
    /// The same architecture with random weights from the seed: what a network answers that has learned nothing.
    pub fn untrained(&self, seed: u64) -> Result<Self> {
        let rng = &mut seed::rng(seed, &"untrained weights");
        let network = Network::new(self.network.graph().clone(), rng, &self.network.device())?;
        Ok(Self { key: cache::key(&network.digest()), network, data: None })
    }

    /// Notes in results where the network comes from.
    pub fn noted(&self, circuit: &str, results: &mut Results) {
        results.measured(&self.network, circuit);
        if let Some(data) = &self.data {
            results.read(data.clone());
        }
    }
}
