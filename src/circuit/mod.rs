//! Circuits: manipulations of a network that change its feature visualizations and keep its behaviour on natural
//! images (Geirhos et al., 2024, section 2). Most are a rewrite of the graph, made of ordinary layers; a slingshot
//! leaves the graph and moves the weights.

pub mod classifier;
pub mod gate;
pub mod silent;
pub mod slingshot;
mod template;

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};

pub use template::Template;

use crate::bounds::plain_name;
use crate::data::{Source, decode};
use crate::error::{Context, Error, Result};
use crate::files;
use crate::network::Network;

/// A circuit file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Circuit {
    /// The fooling circuit of section 2.1.
    Gate(gate::Settings),
    /// The silent units of section 2.2.
    Silent(silent::Settings),
    /// Gradient Slingshots (Bareeva et al., 2024).
    Slingshot(slingshot::Settings),
}

/// What a circuit file of any kind says.
pub struct Header<'a> {
    /// What tables call the circuit.
    pub name: &'a str,
    /// The layer whose units are fooled.
    pub layer: &'a str,
    /// The units that are fooled; `None` for all of the layer.
    pub units: Option<&'a [usize]>,
    /// The units that are to be visualized, where the circuit says which.
    pub visualized: Option<&'a [usize]>,
    /// The pictures that it shows, relative to `folder`.
    pub pictures: &'a [PathBuf],
    /// Where its file is.
    pub folder: &'a Path,
}

/// The settings of a circuit. A kind of circuit is a file or folder beside this one, with settings that implement this.
pub trait CircuitSettings {
    /// Refuses what can't work.
    ///
    /// # Errors
    /// A message that starts with the key.
    fn check(&self) -> Result<(), String>;

    /// What every kind says.
    fn header(&self) -> Header<'_>;

    /// The layers on whose units' visualizations it is trained beside, if it is.
    fn hidden_layers(&self) -> &[String] {
        &[]
    }

    /// Where its file is.
    fn folder(&mut self) -> &mut PathBuf;

    /// Gives it another name, another layer and other units; `visualized` are those that an experiment looks at.
    fn move_to(&mut self, name: String, layer: String, units: Vec<usize>, visualized: Vec<usize>);

    /// Whether every unit of the layer that is not fooled answers every image bit for bit as before.
    fn leaves_others(&self) -> bool;

    /// The natural images it is made with, where it names them itself.
    fn natural(&self) -> Option<&Source>;
}

/// A network with a circuit in it.
#[derive(Clone, Debug)]
pub struct Injected {
    pub network: Network,
    /// The layer that is zero where the circuit leaves the network as it was; none, if no layer was put in.
    pub switch: Option<String>,
}

impl Circuit {
    /// What its file says.
    pub fn settings(&self) -> &dyn CircuitSettings {
        match self {
            Self::Gate(gate) => gate,
            Self::Silent(silent) => silent,
            Self::Slingshot(slingshot) => slingshot,
        }
    }

    fn settings_mut(&mut self) -> &mut dyn CircuitSettings {
        match self {
            Self::Gate(gate) => gate,
            Self::Silent(silent) => silent,
            Self::Slingshot(slingshot) => slingshot,
        }
    }

    /// Reads a circuit file.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let mut circuit: Self = files::toml(path)?;
        let checked = plain_name("name", circuit.name()).and(circuit.settings().check());
        checked.map_err(|what| Error::usage(format!("{}: {what}", path.display())))?;
        *circuit.settings_mut().folder() = path.parent().unwrap_or(Path::new(".")).into();
        for picture in circuit.pictures() {
            if !picture.is_file() {
                return Err(Error::usage(format!(
                    "{}: no picture {}; its path is relative to the circuit's file",
                    path.display(),
                    picture.display()
                )));
            }
        }
        circuit.read_pictures()?;
        Ok(circuit)
    }

    /// The pictures that it shows, each with the name of its file; where two files have one name, with a number, too.
    ///
    /// # Errors
    /// Failure, naming the file, if one can't be read.
    pub fn read_pictures(&self) -> Result<Vec<(String, RgbImage)>> {
        let mut pictures: Vec<(String, RgbImage)> = vec![];
        for path in self.pictures() {
            let picture = decode(&path).on("read the picture", &path)?;
            let stem = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            let names = std::iter::once(stem.clone()).chain((2..).map(|i| format!("{stem}_{i}")));
            let free = names.into_iter().find(|name| pictures.iter().all(|(taken, _)| taken != name));
            pictures.push((free.expect("numbers don't run out"), picture));
        }
        Ok(pictures)
    }

    /// The files of the pictures that it shows.
    pub fn pictures(&self) -> Vec<PathBuf> {
        let Header { pictures, folder, .. } = self.settings().header();
        pictures.iter().map(|picture| folder.join(picture)).collect()
    }

    /// What the circuit is called in tables.
    pub fn name(&self) -> &str {
        self.settings().header().name
    }

    /// The layer whose units are fooled.
    pub fn layer(&self) -> &str {
        self.settings().header().layer
    }

    /// All layers that it names.
    pub fn layers(&self) -> Vec<String> {
        [&[self.layer().to_string()], self.hidden_layers()].concat()
    }

    /// The layers on whose units' visualizations a gate's classifier is trained.
    pub fn hidden_layers(&self) -> &[String] {
        self.settings().hidden_layers()
    }

    /// The units that are to be visualized, where the circuit says which.
    pub fn visualized(&self) -> Option<&[usize]> {
        self.settings().header().visualized
    }

    /// The units that are fooled; `None` for all of the layer.
    pub fn units(&self) -> Option<&[usize]> {
        self.settings().header().units
    }

    /// The same circuit under another name, in another layer, for other units; `visualized` are those that an experiment
    /// looks at.
    pub fn at(&self, name: String, layer: &str, units: Vec<usize>, visualized: Vec<usize>) -> Self {
        let mut circuit = self.clone();
        circuit.settings_mut().move_to(name, layer.into(), units, visualized);
        circuit
    }

    /// Whether every unit of the layer that is not fooled answers every image bit for bit as before.
    pub fn leaves_others(&self) -> bool {
        self.settings().leaves_others()
    }

    /// The natural images it is made with, where it names them itself.
    pub fn natural(&self) -> Option<&Source> {
        self.settings().natural()
    }
}

#[cfg(test)]
mod tests {
    use crate::progress::Progress;
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::data::Preprocessing;
    use crate::network::{Graph, Op, op, zoo};
    use crate::seed;
    use crate::visualize::{self, Focus, Request, Unit, UnitObjective, visualize};

    /// Units that a circuit leaves as they were have the same pictures, though everything that it puts in is there while they
    /// are made, and ReLUs leak.
    #[test]
    fn units_that_are_left_have_the_pictures_that_they_had() {
        let device = Device::default();
        let graph = zoo::builder("small-cnn", 12).unwrap();
        let clean = Network::new(graph, &mut seed::rng(1, &0), &device).unwrap().fold_batch_norm();
        // Takes some images for natural and some for synthetic.
        let mut g = Graph::new("sign", 3);
        g.then("scores", Op::conv(3, 1, 1, 1, 0));
        g.then(classifier::LOGIT, op::GlobalAvgPool);
        let mut sign = Network::new(g, &mut seed::rng(0, &0), &device).unwrap();
        let weight = TensorData::new(vec![1f32, -1.0, 0.5], [1, 3, 1, 1]);
        sign.set_filters("scores", weight, TensorData::new(vec![0f32], [1])).unwrap();
        let n = clean.channels("bn5").unwrap();
        let range = gate::Range { min: vec![-50.0; n], max: vec![50.0; n] };
        let targets = [(1, gate::Target::Unit(9)), (2, gate::Target::Unit(1))];
        let gated = gate::inject(&clean, "bn5", &sign, &targets, &[], &range, None).unwrap().network;
        let silent: silent::Settings =
            toml::from_str("name = \"s\"\nlayer = \"bn5\"\nunits = [1, 2]\nshows = 3").unwrap();
        let direction = vec![1.0; 9 * 48];
        let silenced = silent::inject(&clean, &silent, &direction, Some(&[0.1, 0.1])).unwrap().network;
        let preprocessing: Preprocessing =
            toml::from_str("mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]").unwrap();
        let settings = visualize::Settings { steps: 6, ..visualize::Settings::new(48) };
        let request = |channel| Request {
            objective: UnitObjective {
                unit: Unit { layer: "bn5".into(), channel },
                focus: Focus::default(),
                direction: visualize::Direction::default(),
            },
            index: 0,
        };
        let picture = |network: &Network, channel| {
            let bar = Progress::hidden();
            let of = [request(channel)];
            visualize(network, &preprocessing, &settings, &of, &[6], 5, &bar).unwrap()[0].image().clone()
        };
        for fooled in [&gated, &silenced] {
            assert_eq!(picture(&clean, 7), picture(fooled, 7));
            assert_ne!(picture(&clean, 1), picture(fooled, 1));
        }
    }
}
