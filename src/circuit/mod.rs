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
use crate::cache;
use crate::config::Experiment;
use crate::data::decode;
use crate::error::{Context, Error, Result};
use crate::experiment::{Header, Model, Session, Setting, Units, model};
use crate::files;
use crate::network::Network;
use crate::results::{Manifest, Results};
use crate::tables;
use crate::visualize::Visualization;

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

/// What a fooled unit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another unit of its layer.
    Unit(usize),
    /// One of the circuit's pictures.
    Picture(usize),
}

/// The pictures that a circuit shows.
#[derive(Clone, Copy, Debug)]
pub struct Pictures<'a> {
    /// Where the circuit's file is.
    pub folder: &'a Path,
    /// Their files, relative to it.
    pub files: &'a [PathBuf],
}

/// A kind of circuit: what its files say, and how one is fitted and put in. It is a file or folder beside this one, with settings
/// that implement this.
pub trait CircuitSettings {
    /// Refuses what can't work.
    ///
    /// # Errors
    /// A message that starts with the key.
    fn check(&self) -> Result<(), String>;

    /// What every kind says.
    fn header(&self) -> Header<'_>;

    /// The pictures that it shows.
    fn pictures(&self) -> Pictures<'_>;

    /// Says in which folder its file is.
    fn lie_in(&mut self, folder: PathBuf);

    /// Gives it another name, another layer and other units; `visualized` are those that an experiment looks at.
    fn move_to(&mut self, name: String, layer: String, units: Vec<usize>, visualized: Vec<usize>);

    /// Whether every unit of the layer that is not fooled answers every image bit for bit as before.
    fn leaves_others(&self) -> bool;

    /// Refuses what the experiment or its network, with any weights, does not have, beyond what the header names.
    ///
    /// # Errors
    /// Usage, saying what is not there.
    fn fits(&self, _session: &Session<'_>, _network: &Network) -> Result<()> {
        Ok(())
    }

    /// Finds out what it needs of the network and of natural images, and puts it in.
    ///
    /// # Errors
    /// Usage or failure, if it does not go in; an interruption. What is found out is kept.
    fn fit(&self, with: Fitting<'_, '_>) -> Result<Fitted>;
}

/// What a circuit is fitted with.
pub struct Fitting<'s, 'e> {
    /// The experiment, which has natural images and makes pictures.
    pub session: &'s mut Session<'e>,
    /// The network as it is measured.
    pub clean: &'s Model,
    /// The circuit's pictures, with their names.
    pub pictures: &'s [(String, RgbImage)],
    /// Visualizations of the clean network's units that are at hand.
    pub honest: &'s [Visualization],
    /// Where stages and warnings are noted.
    pub results: &'s mut Results,
}

/// A circuit that is in.
pub struct Fitted {
    /// The network with it.
    pub injected: Injected,
    /// The fooled units, with what each shows.
    pub targets: Vec<(usize, Target)>,
    /// How often a gate's classifier is right.
    pub gate: Vec<tables::Gate>,
}

/// A network with a circuit in it.
#[derive(Clone, Debug)]
pub struct Injected {
    /// The network.
    pub network: Network,
    /// The layer that is zero where the circuit leaves the network as it was; none, if no layer was put in.
    pub switch: Option<String>,
}

/// A network with a circuit in it, as an experiment looks at it.
pub(crate) struct Manipulated {
    pub model: Model,
    /// The layer that is zero where the circuit is off.
    pub switch: Option<String>,
    /// What each fooled unit shows.
    pub targets: Vec<(usize, Target)>,
    /// The pictures among it, with their names.
    pub pictures: Vec<(String, RgbImage)>,
    /// How often a gate's classifier is right.
    pub gate: Vec<tables::Gate>,
}

impl Manipulated {
    /// What a unit shows: its own picture, if it is not fooled.
    pub(crate) fn target(&self, unit: usize) -> Target {
        self.targets.iter().find(|(fooled, _)| *fooled == unit).map_or(Target::Unit(unit), |(_, t)| *t)
    }

    /// The units that it makes `units` show and that are not in their group: their honest visualizations are what the fooled
    /// ones are set against.
    pub(crate) fn targets(&self, session: &Session<'_>, units: &Units) -> Option<Units> {
        let group = session.groups.iter().find(|g| g.layer == units.layer)?;
        let shown = |&channel: &usize| match self.target(channel) {
            Target::Unit(unit) if !group.channels.contains(&unit) => Some(unit),
            _ => None,
        };
        let channels: Vec<usize> = units.channels.iter().filter_map(shown).collect();
        (!channels.is_empty()).then(|| Units { layer: units.layer.clone(), channels, per_unit: 1 })
    }
}

/// The session of an experiment with circuits. Refuses what can't be put into its network, before anything takes long.
///
/// # Errors
/// Usage for mistakes in the files.
pub(crate) fn prepare<'e>(
    experiment: &'e Experiment,
    circuits: &[Circuit],
    setting: &'e Setting,
) -> Result<Session<'e>> {
    let headers: Vec<Header<'_>> = circuits.iter().map(Circuit::header).collect();
    Session::prepare(experiment, &headers, setting, |session, network| {
        circuits.iter().try_for_each(|circuit| {
            let named = |e: Error| Error::usage(format!("circuit {}: {e}", circuit.name()));
            circuit.settings().fits(session, network).map_err(named)
        })
    })
}

/// Makes a manipulated network alone. Gives it, the layer that is zero where the circuit is off, and what was read for it.
///
/// # Errors
/// Usage for what the files get wrong, failure for what goes wrong, an interruption.
pub fn fool(
    experiment: &Experiment,
    circuit: &Circuit,
    setting: &Setting,
) -> Result<(Network, Option<String>, Manifest)> {
    let mut session = prepare(experiment, std::slice::from_ref(circuit), setting)?;
    let mut results = Results::unwritten();
    session.note_data(&mut results);
    let clean = model(experiment, setting)?;
    clean.noted(tables::CLEAN, &mut results);
    let fooled = circuit.put_in(&mut session, &clean, &[], &mut results)?;
    Ok((fooled.model.network, fooled.switch, results.manifest().clone()))
}

/// What tells pictures apart in the cache.
fn hash(picture: &RgbImage) -> String {
    blake3::hash(picture.as_raw()).to_hex().to_string()
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

    /// Reads circuit files, whose paths are relative to the folder of an experiment's file.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn beside<'f>(experiment: &Path, files: impl IntoIterator<Item = &'f PathBuf>) -> Result<Vec<Self>> {
        let folder = experiment.parent().unwrap_or(Path::new("."));
        files.into_iter().map(|file| Self::read(&folder.join(file))).collect()
    }

    /// Reads a circuit file.
    ///
    /// # Errors
    /// Usage, naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let mut circuit: Self = files::toml(path)?;
        let checked = plain_name("name", circuit.name()).and(circuit.settings().check());
        checked.map_err(|what| Error::usage(format!("{}: {what}", path.display())))?;
        circuit.settings_mut().lie_in(path.parent().unwrap_or(Path::new(".")).into());
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
        let Pictures { folder, files } = self.settings().pictures();
        files.iter().map(|file| folder.join(file)).collect()
    }

    /// What every kind says.
    pub fn header(&self) -> Header<'_> {
        self.settings().header()
    }

    /// What the circuit is called in tables.
    pub fn name(&self) -> &str {
        self.header().name
    }

    /// The layer whose units are fooled.
    pub fn layer(&self) -> &str {
        self.header().layer
    }

    /// All layers that it names.
    pub fn layers(&self) -> Vec<String> {
        let Header { layer, hidden_layers, .. } = self.header();
        [&[layer.to_string()], hidden_layers].concat()
    }

    /// The units that are fooled; `None` for all of the layer.
    pub fn units(&self) -> Option<&[usize]> {
        self.header().units
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

    /// Fits it to the network and puts it in. `honest` are visualizations of the clean network's units.
    pub(crate) fn put_in(
        &self,
        session: &mut Session<'_>,
        clean: &Model,
        honest: &[Visualization],
        results: &mut Results,
    ) -> Result<Manipulated> {
        let pictures = self.read_pictures()?;
        let with = Fitting { session, clean, pictures: &pictures, honest, results };
        let Fitted { injected: Injected { network, switch }, targets, gate } = self.settings().fit(with)?;
        let key = cache::key(&network.digest());
        Ok(Manipulated { model: Model { network, key, data: None }, switch, targets, pictures, gate })
    }
}

#[cfg(test)]
mod tests {
    use crate::progress::Progress;
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::data::Preprocessing;
    use crate::experiment::Range;
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
        let range = Range { min: vec![-50.0; n], max: vec![50.0; n] };
        let targets = [(1, Target::Unit(9)), (2, Target::Unit(1))];
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
