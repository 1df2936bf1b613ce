//! The engine of every experiment: its network loaded or trained, its units, their visualizations, and natural images run
//! through, each kept in the cache once it is done.

mod accuracy;
mod model;
mod ranges;
mod units;
mod visualizations;

use std::collections::HashMap;
use std::path::PathBuf;

use crate::progress::Progress;
use burn::tensor::Tensor;
use image::RgbImage;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::config::Experiment;
use crate::data::{Dataset, Preprocessing, Source};
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::files;
use crate::network::Network;
use crate::path::{self, Reduction};
use crate::results::Results;
use crate::tables;
use crate::visualize::{self, Unit, milestones};

pub(crate) use accuracy::{Answers, argmax};
pub use model::Model;
pub(crate) use model::{blueprint, classifies, fits, folded, load, model, untrained, visualizable};
pub use model::{network, whole_network};
pub use ranges::Range;
pub use units::Header;
pub(crate) use units::{NATURAL_IMAGES, Units, finite, network_name};

/// Where an experiment runs, beside what its file says.
pub struct Setting {
    /// The folder that data and weights are relative to.
    pub data: PathBuf,
    /// The results folder.
    pub out: PathBuf,
    /// Where finished work is kept.
    pub cache: Cache,
    /// What runs the work, and on which device.
    pub executor: Executor,
}

/// What all stages of an experiment share.
pub struct Session<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) setting: &'a Setting,
    /// What the network is called in tables.
    pub(crate) network: String,
    /// How many outputs it has.
    outputs: usize,
    /// The validation set first, then whatever else was asked for.
    datasets: Vec<(Source, Dataset)>,
    /// The layer whose units stand for classes.
    pub(crate) layer: String,
    /// The honest units that are looked at: one group for each layer, those that stand for classes first.
    pub(crate) groups: Vec<Units>,
    /// The units that are visualized for each circuit, by its name.
    visualized: HashMap<String, Units>,
    /// What natural images reach of the units that are looked at.
    pub(crate) strongest: HashMap<Unit, f32>,
}

impl<'a> Session<'a> {
    /// Reads the validation set, and refuses what the experiment and its circuits name and the network or the data do not have;
    /// `check` refuses more, before the other data sets are read.
    pub(crate) fn prepare(
        experiment: &'a Experiment,
        circuits: &[Header<'_>],
        setting: &'a Setting,
        check: impl FnOnce(&Self, &Network) -> Result<()>,
    ) -> Result<Self> {
        let network = blueprint(experiment, setting)?;
        fits(experiment, &network, &experiment.layers())?;
        classifies(&network, experiment.visualization.optimization.size.dims())?;
        let outputs = network.channels(network.output())?;
        let made_with =
            experiment.data.train.iter().chain(circuits.iter().filter_map(|circuit| circuit.natural));
        for source in made_with {
            source.fingerprint(&setting.data)?;
        }
        let validation = load(experiment, setting, &experiment.data.validation, outputs)?;
        let mut session = Self::new(experiment, setting, &network, validation)?;
        session.group(&network, circuits)?;
        let audited = experiment.audit.iter().flat_map(|audit| &audit.layers);
        let hidden = circuits.iter().flat_map(|circuit| circuit.hidden_layers);
        for layer in session.groups.iter().map(|group| &group.layer).chain(audited).chain(hidden) {
            visualizable(&experiment.visualization.optimization, &network, layer)?;
        }
        session.check(&network, circuits)?;
        check(&session, &network)?;
        for source in &experiment.data.evaluation {
            session.read(source)?;
        }
        Ok(session)
    }

    /// Reads the validation set for its images alone: of the network nothing is asked, neither the layers that the
    /// experiment names nor an output for each class.
    pub(crate) fn with_images(
        experiment: &'a Experiment,
        network: &Network,
        setting: &'a Setting,
    ) -> Result<Self> {
        let Experiment { data, preprocessing, seed, .. } = experiment;
        let images = Dataset::load(&data.validation, preprocessing, &setting.data, *seed)?;
        images.check_size()?;
        let session = Self::new(experiment, setting, network, images)?;
        session.check_size()?;
        Ok(session)
    }

    fn new(
        experiment: &'a Experiment,
        setting: &'a Setting,
        network: &Network,
        validation: Dataset,
    ) -> Result<Self> {
        Ok(Self {
            experiment,
            setting,
            network: network.name().into(),
            outputs: network.channels(network.output())?,
            datasets: vec![(experiment.data.validation.clone(), validation)],
            layer: experiment.visualization.layer.clone().unwrap_or_else(|| network.scores().into()),
            groups: vec![],
            visualized: HashMap::new(),
            strongest: HashMap::new(),
        })
    }

    /// Refuses natural images of another size than visualizations.
    fn check_size(&self) -> Result<()> {
        let size = self.experiment.visualization.optimization.size;
        let validation = self.validation();
        if let Some(other) = validation.samples.iter().find(|s| s.image.dimensions() != size.pixels()) {
            let (w, h) = other.image.dimensions();
            return Err(Error::usage(format!(
                "visualization.optimization.size is {size}, but {} is {w}x{h} pixels: what is compared must have \
                 one size, so set `resize` and `crop` in [preprocessing] or the visualizations' size",
                other.id
            )));
        }
        Ok(())
    }

    /// Refuses what the experiment names and the network or the data do not have.
    fn check(&self, network: &Network, circuits: &[Header<'_>]) -> Result<()> {
        self.check_size()?;
        let Experiment { paths, visualization, audit, .. } = self.experiment;
        for layer in &paths.layers {
            network.channels(layer)?;
        }
        for reduction in &paths.reductions {
            reduction
                .readings(network, &paths.layers)
                .map_err(|e| Error::usage(format!("paths.reductions: {e}")))?;
        }
        let audited = audit.iter().flat_map(|a| &a.layers);
        for layer in self.groups.iter().map(|group| &group.layer).chain(audited) {
            network.channels(layer)?;
            let focus = visualization.focus.on(network, layer);
            focus.map_err(|e| Error::usage(format!("visualization.focus: {e}")))?;
        }
        let mut names: Vec<&str> =
            circuits.iter().map(|circuit| circuit.name).chain([tables::CLEAN]).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::usage(format!("circuits: there are two networks called \"{}\"", pair[0])));
        }
        for circuit in circuits {
            let named = |e: Error| Error::usage(format!("circuit {}: {e}", circuit.name));
            network.filters(circuit.layer).map_err(named)?;
            if circuit.natural.or(self.experiment.data.train.as_ref()).is_none() {
                return Err(named(Error::usage("it is made with natural images: give [data.train]")));
            }
            for &channel in circuit.units.unwrap_or_default() {
                Unit { layer: circuit.layer.into(), channel }.check(network).map_err(named)?;
            }
            if self.visualized(circuit.name).channels.is_empty() {
                return Err(named(Error::usage(
                    "none of its units is visualized; name some in `visualized`",
                )));
            }
        }
        Ok(())
    }

    /// What everything is measured on.
    pub(crate) fn validation(&self) -> &Dataset {
        &self.datasets[0].1
    }

    /// A data set's position in `datasets`; it is read when it is first asked for.
    fn read(&mut self, source: &Source) -> Result<usize> {
        if let Some(at) = self.datasets.iter().position(|(known, _)| known == source) {
            return Ok(at);
        }
        self.datasets.push((source.clone(), load(self.experiment, self.setting, source, self.outputs)?));
        Ok(self.datasets.len() - 1)
    }

    /// The same, noted in results.
    pub(crate) fn dataset(&mut self, source: &Source, results: &mut Results) -> Result<usize> {
        let at = results.stage(&format!("reading {source}"), || self.read(source))?;
        results.read(self.datasets[at].1.inventory());
        Ok(at)
    }

    /// Notes in results what was read so far.
    pub(crate) fn note_data(&self, results: &mut Results) {
        for (_, set) in &self.datasets {
            results.read(set.inventory());
        }
    }

    /// What a reader has to know of the settings: what is asked for more of than there is, or in an odd order.
    pub(crate) fn oddities(&self, network: &Network) -> Result<Vec<String>> {
        let experiment = self.experiment;
        let mut odd = vec![];
        if experiment.visualization.layer.is_none() && network.scores() != network.output() {
            odd.push(format!(
                "{} is a softmax, in which a class wins by what others lose as well: units of {}, which goes into it, are \
                 visualized",
                network.output(),
                network.scores()
            ));
        }
        for hidden in &experiment.hidden {
            let key = format!("hidden.units of {}", hidden.layer);
            odd.extend(scarce(&key, hidden.units, network.channels(&hidden.layer)?));
        }
        if let Some(audit) = &experiment.audit {
            for layer in &audit.layers {
                let key = format!("audit.units_per_layer of {layer}");
                odd.extend(scarce(&key, audit.units_per_layer, network.channels(layer)?));
            }
        }
        let positions = experiment.paths.layers.iter().map(|layer| network.graph().position(layer));
        if !positions.collect::<Result<Vec<_>>>()?.is_sorted() {
            odd.push(
                "paths.layers are not in the network's order, first to last: figures, and early, middle and late, take them \
                 as they are listed"
                    .into(),
            );
        }
        if experiment.paths.images_per_class == 1 && !experiment.paths.layers.is_empty() {
            odd.push(
                "paths.images_per_class is 1: images of one class can't be compared with one another, so normalized \
                 similarity is undefined"
                    .into(),
            );
        }
        let mut counts: HashMap<usize, usize> = HashMap::new();
        self.validation().samples.iter().for_each(|s| *counts.entry(s.label).or_default() += 1);
        let wanted = experiment.paths.images_per_class;
        let few: Vec<usize> = self.groups[0]
            .channels
            .iter()
            .map(|class| counts.get(class).copied().unwrap_or(0))
            .filter(|&there| there < wanted)
            .collect();
        if let (Some(least), false) = (few.iter().min(), experiment.paths.layers.is_empty()) {
            odd.push(format!(
                "paths.images_per_class is {wanted}, and {} of {} classes have fewer images, the least {least}: all of \
                 theirs are taken",
                few.len(),
                self.groups[0].channels.len()
            ));
        }
        Ok(odd)
    }

    /// The natural images that a circuit is made with, as a position in `datasets`: those that it names itself, or else the
    /// experiment's training set; `most` of them at most, where they are drawn.
    pub(crate) fn made_with(
        &mut self,
        own: Option<&Source>,
        most: usize,
        results: &mut Results,
    ) -> Result<usize> {
        let source = own.or(self.experiment.data.train.as_ref());
        let source =
            source.ok_or_else(|| Error::usage("a circuit is made with natural images: give [data.train]"))?;
        self.dataset(&source.at_most(most), results)
    }

    /// The images of a data set, by its position, and where they come from.
    pub(crate) fn images(&self, at: usize) -> (&Source, Vec<&RgbImage>) {
        let (source, set) = &self.datasets[at];
        (source, set.samples.iter().map(|s| &s.image).collect())
    }

    /// What decides a data set: where it comes from, and the files there.
    pub(crate) fn identity(&self, source: &Source) -> (Source, String) {
        let known = self.datasets.iter().find(|(known, _)| known == source);
        let (_, set) = known.expect("asked for where it was read");
        (source.clone(), set.fingerprint.clone())
    }

    /// The same of all sets that accuracy is reported on.
    pub(crate) fn identities(&self) -> Vec<(Source, String)> {
        self.experiment.data.sources().map(|source| self.identity(source)).collect()
    }

    /// Refuses to begin what there is no room for: a picture for each unit, circuit and step that is looked at.
    pub(crate) fn room(&self, circuits: usize) -> Result<()> {
        let units: usize = self.groups.iter().map(|group| group.channels.len() * group.per_unit).sum();
        let audited: usize = self.experiment.audit.iter().map(|a| a.layers.len() * a.units_per_layer).sum();
        let units = units + audited;
        let settings = &self.experiment.visualization.optimization;
        room(self.setting, units * (1 + circuits), settings)
    }

    /// Runs images through a network, side by side, and turns the maps `[N, C, H, W]` of some layers into one
    /// result an image.
    pub(crate) fn forward<R: Send>(
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
            Ok(turn(network.capture(self.experiment.preprocessing.apply(input), layers)?))
        })
    }

    /// Features of images: the channel means of a layer of the clean network.
    pub(crate) fn features(&self, clean: &Model, layer: &str, images: &[&RgbImage]) -> Result<Vec<Vec<f32>>> {
        let hidden = Progress::hidden();
        let layers = [layer.to_string()];
        let preprocessing = &self.experiment.preprocessing;
        let executor = &self.setting.executor;
        let reduction = Reduction::ChannelMean;
        let mut all =
            path::capture(&clean.network, preprocessing, images, &layers, reduction, executor, &hidden)?;
        Ok(all.remove(0))
    }

    pub(crate) fn device(&self) -> &'static str {
        self.setting.executor.kind().name()
    }

    /// What a stage gives, kept as JSON.
    pub(crate) fn cached_json<T: Serialize + DeserializeOwned>(
        &self,
        what: &str,
        of: &impl Serialize,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.setting.cache.json(what, of, make)
    }
}

/// What there is to say where fewer are at hand than were asked for.
pub(crate) fn scarce(key: &str, wanted: usize, there: usize) -> Option<String> {
    (there < wanted).then(|| format!("{key} is {wanted}, and there are {there}: all of them are taken"))
}

/// Refuses work for whose pictures, with their trajectories, there is no room in the results folder and the cache.
pub(crate) fn room(setting: &Setting, pictures: usize, settings: &visualize::Settings) -> Result<()> {
    let each = 3 * settings.size.width * settings.size.height * milestones(settings.steps).len();
    let bytes = (pictures as u64).saturating_mul(each as u64).saturating_add(1 << 24);
    // Both may lie on one disk.
    files::room(&setting.out, 2 * bytes)?;
    files::room(setting.cache.folder(), 2 * bytes)
}

/// The values of a map `[N, …]`, a row an image.
pub(crate) fn rows(map: Tensor<4>) -> Vec<Vec<f32>> {
    let [n, ..] = map.dims();
    let values: Vec<f32> = map.into_data().try_to_vec().expect("activations are 32-bit floats");
    values.chunks((values.len() / n).max(1)).map(<[f32]>::to_vec).collect()
}
