//! What all steps of making trials share.

use crate::progress::Progress;
use burn::tensor::Tensor;
use image::RgbImage;
use serde::Serialize;

use super::settings::Study;
use crate::cache;
use crate::circuit;
use crate::data::{Dataset, Inventory, Preprocessing};
use crate::error::{Error, Result};
use crate::experiment::{self, Setting, fits, network, room, visualizable};
use crate::files;
use crate::network::Network;

/// A study's network and natural images.
pub(super) struct Work<'a> {
    pub study: &'a Study,
    pub setting: &'a Setting,
    pub network: Network,
    /// The hash of the network.
    pub key: String,
    /// Where each natural image comes from, and the image; all have one size.
    pub natural: Vec<(String, RgbImage)>,
    /// The data sets that were read.
    pub data: Vec<Inventory>,
}

impl<'a> Work<'a> {
    /// Opens the network and reads the natural images.
    pub fn prepare(study: &'a Study, setting: &'a Setting) -> Result<Self> {
        let experiment = &study.experiment;
        let blueprint = experiment::blueprint(experiment, setting)?;
        let layers: Vec<String> = study.layers().cloned().collect();
        fits(experiment, &blueprint, &layers)?;
        if !study.circuits.is_empty() {
            circuit::prepare(experiment, &study.circuits, setting)?;
        }
        if let Some(other) = &study.other {
            if let Some(source) = other.data.train.as_ref().filter(|_| other.network.weights.is_none()) {
                source.fingerprint(&setting.data)?;
            }
            let network = experiment::blueprint(other, setting)?;
            fits(other, &network, &study.other_layers())?;
            let given = other.network.file.is_some() || other.network.weights.is_some();
            if given && other.network == experiment.network {
                return Err(Error::usage(
                    "observers: the other network is the tested one, which would judge itself: name another's experiment",
                ));
            }
        }
        let optimization = study.optimization();
        for layer in study.settings.depths.iter().flat_map(|d| &d.layers) {
            visualizable(&optimization, &blueprint, layer)?;
        }
        let pictures: usize = study.settings.depths.iter().map(|d| d.units).sum();
        let pictures = pictures * study.settings.visualization.number * (1 + study.circuits.len());
        room(setting, pictures, &optimization)?;
        files::folder(&setting.out)?;
        let sources =
            study.settings.natural.clone().unwrap_or_else(|| experiment.data.sources().cloned().collect());
        let (mut natural, mut data) = (vec![], vec![]);
        for source in &sources {
            let set = Dataset::load(source, &experiment.preprocessing, &setting.data, experiment.seed)?;
            data.push(set.inventory());
            natural.extend(set.samples.into_iter().map(|s| (s.id, s.image)));
        }
        let size = natural.first().map(|(_, image)| image.dimensions()).unwrap_or_default();
        if let Some((id, image)) = natural.iter().find(|(_, i)| i.dimensions() != size || size.0 != size.1) {
            let (w, h) = image.dimensions();
            return Err(Error::usage(format!(
                "{id} is {w}x{h} pixels: trials need squares of one size; set `resize` and `crop` in \
                 [preprocessing] of {}",
                study.settings.experiment.display()
            )));
        }
        let (network, made_with) = network(experiment, setting)?;
        data.extend(made_with);
        let key = cache::key(&network.digest());
        Ok(Self { study, setting, network, key, natural, data })
    }

    /// The side of natural images in pixels.
    pub fn side(&self) -> u32 {
        self.natural.first().map_or(0, |(_, image)| image.width())
    }

    /// What decides any result of the network on natural images.
    pub fn of(&self) -> impl Serialize + use<'_> {
        let ids: Vec<&String> = self.natural.iter().map(|(id, _)| id).collect();
        let hashes: Vec<&String> = self.data.iter().map(|set| &set.hash).collect();
        (
            &self.key,
            &self.study.experiment.preprocessing,
            self.study.experiment.visualization.focus,
            (self.study.experiment.seed, cache::key(&(ids, hashes)), self.setting.executor.kind().name()),
        )
    }

    /// The seed of every draw.
    pub fn seed(&self) -> u64 {
        self.study.experiment.seed
    }

    /// Runs images through the network, side by side, and turns the maps `[N, C, H, W]` of some layers into
    /// one result an image.
    pub fn forward<R: Send>(
        &self,
        network: &Network,
        layers: &[impl AsRef<str> + Sync],
        images: &[&RgbImage],
        bar: &Progress,
        turn: impl Fn(Vec<Tensor<4>>) -> Vec<R> + Sync,
    ) -> Result<Vec<R>> {
        let executor = &self.setting.executor;
        executor.run_images(images, bar, |chunk| {
            let input = Preprocessing::tensor(chunk.iter().copied(), executor.device());
            let input = self.study.experiment.preprocessing.apply(input);
            Ok(turn(network.capture(input, layers)?))
        })
    }
}

/// The values of a map `[N, …]`, a row an image.
pub(super) fn rows(map: Tensor<4>) -> Vec<Vec<f32>> {
    let [n, ..] = map.dims();
    let values: Vec<f32> = map.into_data().try_to_vec().expect("activations are 32-bit floats");
    values.chunks((values.len() / n).max(1)).map(<[f32]>::to_vec).collect()
}
