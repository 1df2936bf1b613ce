//! The trials file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::references::References;
use crate::bounds::{MANY, PICTURES, STEPS, distinct, plain_name, within};
use crate::circuit::Circuit;
use crate::config::Experiment;
use crate::data::{Size, Source};
use crate::error::{Error, Result};
use crate::files;
use crate::visualize::{self, Direction, Diversity};

/// One set of trials. Unknown keys are refused; paths of other files are relative to this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The name of the study's folder.
    pub name: String,
    /// The experiment file whose network, data, preprocessing and visualization settings are used.
    pub experiment: PathBuf,
    /// Circuit files: trials with visualizations are asked again with those of each fooled network.
    #[serde(default)]
    pub circuits: Vec<PathBuf>,
    /// The natural images; by default those that the experiment reports accuracy on.
    pub natural: Option<Vec<Source>>,
    /// Where units are drawn, first to last layer.
    pub depths: Vec<Depth>,
    /// The visualizations that are shown.
    pub visualization: Visualization,
    /// The settings of the matching task.
    #[serde(default)]
    pub matching: Matching,
    /// The settings of the occlusion task.
    #[serde(default)]
    pub occlusion: Occlusion,
    /// The models that answer.
    #[serde(default)]
    pub observers: Observers,
    /// What one participant is asked.
    #[serde(default)]
    pub session: Session,
}

/// Layers whose units are looked at together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depth {
    /// What tables call it: early, middle, late.
    pub name: String,
    /// The layers, of the tested network.
    pub layers: Vec<String>,
    /// How many units, drawn from the layers in turn.
    pub units: usize,
}

/// The visualizations that are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visualization {
    /// Of each unit.
    #[serde(default = "ten")]
    pub number: usize,
    /// Side in pixels; by default the experiment's.
    pub size: Option<usize>,
    /// Optimization steps; by default the experiment's.
    pub steps: Option<usize>,
    /// What makes those of one unit differ.
    pub diversity: Option<Diversity>,
}

/// The matching task (Klein, Brendel and Wichmann, VSS 2023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// The most activating natural images of each unit that trials draw from.
    pub exemplars: usize,
    /// How many images of each unit are on either side: a condition each.
    pub images: Vec<usize>,
    /// Trials of each kind, number of images and depth.
    pub trials: usize,
}

/// The causal occlusion task (Zimmermann et al., NeurIPS 2021).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Occlusion {
    /// Sides of the occluder relative to the image's; batches take them in turn.
    pub sides: Vec<f64>,
    /// Places along each axis that the occluder is put to.
    pub places: usize,
    /// Which two of these places are compared.
    pub pairs: Pairs,
    /// Batches of each unit: a query and its references, all different images.
    pub batches: usize,
    /// References shown beside a query.
    pub references: usize,
    /// The kinds of references: a condition each.
    pub kinds: Vec<References>,
    /// Side of the patch that stays sharp in a blurred image, relative to the image's.
    pub patch: f64,
}

/// Which two places of an occluder are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    /// Those where the activation is lowest and highest (Zimmermann et al.). Where objects stand in the middle of images, the
    /// occluder that is nearer to the middle is nearly always the one that lowers it, whatever the unit.
    #[default]
    Any,
    /// The two as far from the middle of the image as each other whose activations differ most: where an occluder is tells
    /// nothing then.
    SameDistance,
}

impl Pairs {
    /// Whether all places are compared, as in plans that don't say so.
    pub fn any(&self) -> bool {
        *self == Self::Any
    }
}

/// The models that answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observers {
    /// Layers of the tested network whose channel means are compared; by default those of the experiment's paths.
    pub layers: Option<Vec<String>>,
    /// The experiment file of another, independently trained network, which looks with its own preprocessing.
    pub other: Option<PathBuf>,
    /// Another seed for that network: the same architecture and data, scenes drawn and weights trained anew.
    pub other_seed: Option<u64>,
    /// Its layers; by default those of its experiment's paths.
    pub other_layers: Option<Vec<String>>,
}

/// What one participant is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// Trials of each condition and depth.
    pub per_condition: usize,
    /// Practice trials of each task, with feedback, about units that are not asked about.
    pub practice: usize,
    /// Catch trials of each task, which anyone who looks gets right.
    pub catch: usize,
    /// Trials between two breaks.
    pub block: usize,
}

fn ten() -> usize {
    10
}

impl Default for Matching {
    fn default() -> Self {
        Self { exemplars: 10, images: vec![1, 3, 5], trials: 20 }
    }
}

impl Default for Occlusion {
    fn default() -> Self {
        Self {
            sides: vec![0.3, 0.4, 0.5],
            places: 6,
            pairs: Pairs::default(),
            batches: 20,
            references: 9,
            kinds: References::ALL.to_vec(),
            patch: 0.3,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { per_condition: 1, practice: 3, catch: 2, block: 12 }
    }
}

/// A trials file with the files that it names.
pub struct Study {
    /// What the trials file says.
    pub settings: Settings,
    /// The experiment that it names.
    pub experiment: Experiment,
    /// The circuits that it names.
    pub circuits: Vec<Circuit>,
    /// The experiment of the other network.
    pub other: Option<Experiment>,
}

impl Study {
    /// Reads a trials file and what it names.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let settings: Settings = files::toml(path)?;
        settings.check().map_err(|what| Error::usage(format!("{}: {what}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let experiment = Experiment::read(&folder.join(&settings.experiment))?;
        if experiment.visualization.direction == Direction::Negative {
            return Err(Error::usage(format!(
                "{}: visualization.direction is \"negative\", but trials ask what activates a unit: name an experiment \
                 that maximizes",
                folder.join(&settings.experiment).display()
            )));
        }
        let circuits =
            settings.circuits.iter().map(|c| Circuit::read(&folder.join(c))).collect::<Result<Vec<_>>>()?;
        let other = match &settings.observers {
            Observers { other: Some(file), .. } => Some(Experiment::read(&folder.join(file))?),
            Observers { other_seed: Some(_), .. } => Some(experiment.clone()),
            _ => None,
        };
        let other = other
            .map(|other| Experiment { seed: settings.observers.other_seed.unwrap_or(other.seed), ..other });
        let mut study = Self { settings, experiment, circuits, other };
        study.experiment.named =
            study.layers().cloned().chain(study.circuits.iter().flat_map(Circuit::layers)).collect();
        let layers = study.other_layers();
        if let Some(other) = &mut study.other {
            other.named = layers;
        }
        Ok(study)
    }

    /// Refuses a seed with which the other network would be the tested one.
    ///
    /// # Errors
    /// Usage, naming the key.
    pub fn check_seed(&self, seed: u64) -> Result<()> {
        if self.settings.observers.other.is_none() && self.settings.observers.other_seed == Some(seed) {
            return Err(Error::usage(format!(
                "seed {seed} is that of the other network, observers.other_seed: the tested network would judge itself"
            )));
        }
        Ok(())
    }
}

impl Study {
    /// The layers of the other network that are compared.
    pub fn other_layers(&self) -> Vec<String> {
        let named = self.settings.observers.other_layers.clone();
        named.or_else(|| Some(self.other.as_ref()?.paths.layers.clone())).unwrap_or_default()
    }

    /// How the pictures are optimized.
    pub fn optimization(&self) -> visualize::Settings {
        let wanted = &self.settings.visualization;
        let own = &self.experiment.visualization.optimization;
        visualize::Settings {
            size: wanted.size.map_or(own.size, Size::from),
            steps: wanted.steps.unwrap_or(own.steps),
            diversity: wanted.diversity.clone(),
            ..own.clone()
        }
    }

    /// The layers of the tested network that the trials file names.
    pub fn layers(&self) -> impl Iterator<Item = &String> {
        let Settings { depths, visualization, observers, .. } = &self.settings;
        let diversity = visualization.diversity.iter().filter_map(|d| d.layer.as_ref());
        depths.iter().flat_map(|d| &d.layers).chain(diversity).chain(observers.layers.iter().flatten())
    }
}

impl Settings {
    fn check(&self) -> Result<(), String> {
        plain_name("name", &self.name)?;
        distinct("circuits", &self.circuits)?;
        let natural: Vec<String> = self.natural.iter().flatten().map(Source::to_string).collect();
        distinct("natural", &natural)?;
        for source in self.natural.iter().flatten() {
            source.check().map_err(|e| format!("natural: {source}: {e}"))?;
        }
        if self.depths.is_empty() {
            return Err("depths is empty: name layers, as in [[depths]]".into());
        }
        for depth in &self.depths {
            if depth.layers.is_empty() {
                return Err(format!("depths: {} has no layers", depth.name));
            }
            if depth.name.is_empty() || depth.name == "all" {
                return Err(format!(
                    "depths: {:?} is no name for a depth: tables say \"all\" of all of them",
                    depth.name
                ));
            }
            distinct("depths: layers", &depth.layers)?;
            within("depths: units", depth.units, 1..=PICTURES)?;
            if depth.units < 3 * depth.layers.len() {
                return Err(format!(
                    "depths: {} has {} units of {} layers; a trial needs three of one layer",
                    depth.name,
                    depth.units,
                    depth.layers.len()
                ));
            }
            if self.depths.iter().filter(|d| d.name == depth.name).count() > 1 {
                return Err(format!("depths: there are two called {}", depth.name));
            }
        }
        for (key, value, range) in [
            ("matching.trials", self.matching.trials, 1..=MANY),
            ("matching.exemplars", self.matching.exemplars, 1..=PICTURES),
            ("occlusion.batches", self.occlusion.batches, 1..=PICTURES),
            ("occlusion.references", self.occlusion.references, 1..=PICTURES),
            ("occlusion.places", self.occlusion.places, 2..=64),
            ("session.per_condition", self.session.per_condition, 1..=MANY),
            ("session.block", self.session.block, 1..=MANY),
            ("session.practice", self.session.practice, 0..=PICTURES),
            ("session.catch", self.session.catch, 0..=PICTURES),
            ("visualization.number", self.visualization.number, 1..=PICTURES),
            ("visualization.size", self.visualization.size.unwrap_or(8), 8..=4096),
            ("visualization.steps", self.visualization.steps.unwrap_or(1), 1..=STEPS),
        ] {
            within(key, value, range)?;
        }
        distinct("matching.images", &self.matching.images)?;
        distinct("occlusion.kinds", &self.occlusion.kinds)?;
        if let Some(diversity) = &self.visualization.diversity {
            diversity.check().map_err(|e| format!("visualization.{e}"))?;
        }
        let most = self.matching.images.iter().copied().max().unwrap_or(0);
        if most == 0 || self.matching.images.contains(&0) {
            return Err("matching.images: each number must be at least 1".into());
        }
        if 2 * most > self.matching.exemplars {
            return Err(format!(
                "matching.exemplars is {}, but a row of two times {most} images is split in half",
                self.matching.exemplars
            ));
        }
        if self.visualization.number < most.max(self.occlusion.references) {
            return Err(format!(
                "visualization.number is {}; trials show up to {}",
                self.visualization.number,
                most.max(self.occlusion.references)
            ));
        }
        for (value, key) in self
            .occlusion
            .sides
            .iter()
            .map(|&s| (s, "occlusion.sides"))
            .chain([(self.occlusion.patch, "occlusion.patch")])
        {
            if !(0.05..=0.95).contains(&value) {
                return Err(format!("{key}: {value} is no share of the image's side between 0.05 and 0.95"));
            }
        }
        if self.occlusion.sides.is_empty() || self.occlusion.kinds.is_empty() {
            return Err("occlusion.sides and occlusion.kinds need at least one value".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_repository_are_read() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        for (file, units) in [("trials.toml", 9), ("psychophysics.toml", 60)] {
            let study = Study::read(&configs.join(file)).unwrap();
            assert!(study.settings.depths.iter().map(|d| d.units).sum::<usize>() >= units);
            assert!(study.other.is_some() && !study.circuits.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        let good = "name = 'a'\nexperiment = 'x.toml'\n[visualization]\n[[depths]]\nname = 'early'\n\
                    layers = ['conv1']\nunits = 3\n";
        let check = |more: &str, from: &str, to: &str| {
            toml::from_str::<Settings>(&format!("{}{more}", good.replace(from, to))).unwrap().check()
        };
        assert_eq!(check("", "", ""), Ok(()));
        assert!(check("[matching]\nexemplars = 9\n", "", "").unwrap_err().contains("matching.exemplars"));
        assert!(check("[occlusion]\nplaces = 1\n", "", "").unwrap_err().contains("occlusion.places"));
        assert!(check("[occlusion]\nsides = [1.5]\n", "", "").unwrap_err().contains("1.5"));
        assert!(check("", "units = 3", "units = 2").unwrap_err().contains("three of one layer"));
        assert!(check("", "name = 'a'", "name = '../a'").unwrap_err().contains("name"));
    }
}
