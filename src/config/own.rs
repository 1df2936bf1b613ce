//! The experiment of a network that comes without an experiment file.

use std::path::{Path, PathBuf};

use super::{Data, Experiment, Network, Visualization};
use crate::data::{ChannelOrder, Preset, Resize, Size, Source};
use crate::error::{Error, Result};
use crate::network::{self, Op};
use crate::path;
use crate::visualize::{self, Direction, Focus, Transform};

/// What is said of a network on the command line, in the place of an experiment file.
pub struct Own {
    /// How images are prepared.
    pub preset: Preset,
    /// How large images are.
    pub size: Size,
    /// How many channels images have: 3, or 1 where they are grey.
    pub channels: usize,
    /// Natural images: a folder with a folder for each class, or one of pictures alone.
    pub images: Option<PathBuf>,
    /// The file that says which output each folder of a class is.
    pub classes: Option<PathBuf>,
}

/// How many layers are compared by default.
const LAYERS: usize = 10;

/// Natural images of each class that are compared by default.
const IMAGES: usize = 20;

/// Pictures of each class by default, and for how many classes at most.
const PICTURES: usize = 2;

/// Optimization steps by default.
const STEPS: usize = 128;

impl Own {
    /// An experiment on the network in `file`, which is `network`.
    ///
    /// # Errors
    /// Usage, if the folder of images is not there, or its folders can't be told to be outputs of the network.
    pub fn experiment(&self, file: &Path, network: &network::Network, data: &Path) -> Result<Experiment> {
        let source = match &self.images {
            Some(folder) => self.source(folder, network, data)?,
            None => Source::Pictures { path: "no-images-were-given".into() },
        };
        let mut preprocessing = self.preset.preprocessing(self.size);
        if self.channels == 1 {
            preprocessing.channel_order = ChannelOrder::Grey;
            preprocessing.check().map_err(|_| {
                Error::usage(format!(
                    "{} takes grey images, and this --preset is of colour ones: take unit (0 to 1) or inception (−1 to 1), or an \
                     experiment file with mean and std",
                    file.display()
                ))
            })?;
        }
        let (width, height) = self.size.pixels();
        if self.images.as_ref().and_then(|folder| picture_size(folder, 0)) == Some([width, height]) {
            // They are cut to the network's size already.
            preprocessing.resize = Some(Resize::Shorter(width.min(height)));
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let paths = path::Settings {
            metrics: vec![path::Metric::Spearman],
            ..path::Settings::new(compared(network), IMAGES)
        };
        let mut optimization = visualize::Settings { steps: STEPS, ..visualize::Settings::new(self.size) };
        if self.size.shorter() < SMALL {
            optimization.transforms = small();
        }
        Ok(Experiment {
            name: name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(100).collect(),
            seed: 1,
            network: Network::in_file(file.into()),
            data: Data {
                train: self.images.as_ref().map(|_| source.clone()),
                validation: source,
                evaluation: vec![],
            },
            preprocessing,
            training: None,
            visualization: Visualization {
                layer: None,
                classes: None,
                per_class: PICTURES,
                focus: Focus::default(),
                direction: Direction::default(),
                optimization,
            },
            circuits: vec![],
            paths,
            controls: None,
            hidden: vec![],
            audit: None,
            detect: None,
            named: vec![],
        })
    }

    /// What the folder of natural images holds.
    fn source(&self, folder: &Path, network: &network::Network, data: &Path) -> Result<Source> {
        let path =
            std::path::absolute(folder).map_err(|e| Error::usage(format!("{}: {e}", folder.display())))?;
        let entries = std::fs::read_dir(&path).map_err(|e| {
            Error::usage(format!("--images {}: {e}; name a folder of pictures", folder.display()))
        })?;
        let folders: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        if folders.is_empty() {
            return Ok(Source::Pictures { path });
        }
        let wordnet = |name: &String| {
            name.len() == 9 && name.starts_with('n') && name[1..].chars().all(|c| c.is_ascii_digit())
        };
        let outputs = network.channels(network.output())?;
        let classes = match &self.classes {
            Some(file) => Some(
                std::path::absolute(file).map_err(|e| Error::usage(format!("{}: {e}", file.display())))?,
            ),
            // Part of ImageNet's classes.
            None if folders.iter().all(wordnet) && folders.len() < outputs => {
                let places = path.ancestors().skip(1).take(2).chain([data]);
                let found = places.map(|place| place.join(LIST)).find(|file| file.is_file());
                let found = found.and_then(|file| std::path::absolute(file).ok());
                Some(found.ok_or_else(|| {
                    Error::usage(format!(
                        "{} holds {} of ImageNet's classes, by their WordNet ids, and the network has {outputs} outputs: \
                         say which output each is with --classes FILE, a table with the columns index,wnid,name, or put \
                         that as {LIST} beside the images",
                        folder.display(),
                        folders.len()
                    ))
                })?)
            }
            None => None,
        };
        Ok(Source::Folder { path, classes })
    }
}

/// What a list of ImageNet's classes is called.
const LIST: &str = "imagenet-classes.csv";

/// Below this side, images are moved and turned by less.
const SMALL: usize = 100;

/// The transforms for small images: those of the experiments of this program, in proportion.
fn small() -> Vec<Transform> {
    use visualize::{Crop, Jitter, Pad, Rotate, Scale};
    vec![
        Pad { pixels: 4 }.into(),
        Jitter { pixels: 4 }.into(),
        Scale { factors: vec![0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06] }.into(),
        Rotate { degrees: vec![-6.0, -4.0, -2.0, 0.0, 0.0, 0.0, 2.0, 4.0, 6.0] }.into(),
        Jitter { pixels: 2 }.into(),
        Crop.into(),
    ]
}

/// Whether an operator is what a step of a network ends with: it rectifies, or joins.
fn ends_a_step(op: &Op) -> bool {
    matches!(
        op,
        Op::Relu(_)
            | Op::LeakyRelu(_)
            | Op::PRelu(_)
            | Op::Clip(_)
            | Op::Elu(_)
            | Op::Gelu(_)
            | Op::HardSwish(_)
            | Op::Mish(_)
            | Op::Mul(_)
            | Op::Add(_)
            | Op::Concat(_)
    )
}

/// Width and height of the first picture in a folder, or in the first of its folders that has one.
fn picture_size(folder: &Path, depth: usize) -> Option<[u32; 2]> {
    const DEEPEST: usize = 3;
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.sort();
    let of = |path: &PathBuf| match path.is_dir() {
        true if depth < DEEPEST => picture_size(path, depth + 1),
        true => None,
        false => image::image_dimensions(path).ok().map(|(w, h)| [w, h]),
    };
    all.iter().find_map(of)
}

/// Layers to compare, first to last: of all that rectify or join, evenly spaced, and the one whose units stand for classes.
pub fn compared(network: &network::Network) -> Vec<String> {
    let graph = network.graph();
    let scores = network.scores();
    let steps: Vec<&str> = graph
        .nodes
        .iter()
        .filter(|node| ends_a_step(&node.op) && node.name != scores)
        .filter(|node| graph.depends_on_image(&node.name).unwrap_or(false))
        .map(|node| node.name.as_str())
        .collect();
    let count = (LAYERS - 1).min(steps.len());
    let at = |i: usize| steps[(2 * i + 1) * steps.len() / (2 * count)];
    let mut layers: Vec<String> = (0..count).map(|i| at(i).to_string()).collect();
    layers.push(scores.into());
    layers
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::network::zoo;
    use crate::seed;

    #[test]
    fn layers_to_compare_go_through_the_whole_network() {
        for (builder, first, last) in [
            ("squeezenet1_0", "features.3", "classifier.3"),
            ("resnet20", "layer1", "linear"),
            ("small-cnn", "relu1", "output"),
        ] {
            let graph = zoo::builder(builder, 10).unwrap();
            let network = network::Network::new(graph, &mut seed::rng(1, &0), &Device::default()).unwrap();
            let layers = compared(&network);
            assert!(layers.len() <= LAYERS && layers.len() > 5, "{layers:?}");
            assert!(layers[0].starts_with(first) && layers.last().unwrap() == last, "{layers:?}");
            let places: Vec<usize> =
                layers.iter().map(|layer| network.graph().position(layer).unwrap()).collect();
            assert!(places.is_sorted());
        }
    }
}
