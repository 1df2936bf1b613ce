//! Natural images: the embedded scenes, image folders, CIFAR-10; and what is done to an image before a network.

mod cifar10;
mod folder;
mod preprocessing;
pub mod scenes;

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};

pub use preprocessing::{ChannelOrder, Preprocessing};

use crate::error::{Error, Result};

/// Where images come from. Paths are relative to the data root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// The embedded, procedurally drawn images.
    Scenes {
        /// Any word; different splits have different images.
        split: String,
        /// How many, the ten classes in turn.
        images: usize,
    },
    /// A folder with one folder of JPEG or PNG files for each class.
    Folder {
        path: PathBuf,
        /// A CSV with columns `index,wnid,name` that says which network output each class folder is; without
        /// it, the folders in alphabetical order are outputs 0, 1, 2, …
        classes: Option<PathBuf>,
    },
    /// One of CIFAR-10's binary files, or a folder of them, or a part of their images.
    Cifar10 {
        path: PathBuf,
        /// Images at the beginning that are left out.
        #[serde(default)]
        skip: usize,
        /// How many of the following there are; by default all.
        images: Option<usize>,
    },
}

/// A class: the network output that stands for it, and its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    pub index: usize,
    pub name: String,
}

/// One natural image.
#[derive(Clone)]
pub struct Sample {
    /// Where it comes from: a path in the data root or a position in the set.
    pub id: String,
    /// The network output that stands for its class.
    pub label: usize,
    /// The picture, resized and cropped for the network.
    pub image: RgbImage,
}

/// A set of natural images in memory.
#[derive(Clone)]
pub struct Dataset {
    /// What tables call it.
    pub name: String,
    /// The classes that occur, by index.
    pub classes: Vec<Class>,
    /// The images, in a fixed order.
    pub samples: Vec<Sample>,
    /// Files that could not be decoded, with the reason.
    pub skipped: Vec<String>,
}

/// More than this share of undecodable files is an error.
const TOLERATED: f64 = 0.01;

impl Dataset {
    /// Reads all images of a source.
    ///
    /// # Errors
    /// Usage where the folder or file is not there; failure where a class has no image or more than 1 % of
    /// the files are corrupt (each is named).
    pub fn load(source: &Source, preprocessing: &Preprocessing, root: &Path, seed: u64) -> Result<Self> {
        let set = match source {
            Source::Scenes { split, images } => scenes::dataset(split, *images, preprocessing, seed),
            Source::Folder { path, classes } => {
                let classes = classes.as_ref().map(|file| root.join(file));
                folder::dataset(root, path, classes.as_deref(), preprocessing)?
            }
            Source::Cifar10 { path, skip, images } => {
                let mut set = cifar10::dataset(root, path, preprocessing)?;
                let most = images.unwrap_or(usize::MAX);
                set.samples = set.samples.into_iter().skip(*skip).take(most).collect();
                Self { name: source.to_string(), ..set }
            }
        };
        let Self { name, samples, skipped, .. } = &set;
        let all = samples.len() + skipped.len();
        if all == 0 {
            return Err(Error::usage(format!("data set {name} has no images")));
        }
        if skipped.len() as f64 > TOLERATED * all as f64 {
            return Err(Error::failure(format!(
                "{} of the {all} files of {name} can't be decoded, more than 1 %:\n  {}",
                skipped.len(),
                skipped.join("\n  ")
            )));
        }
        Ok(set)
    }

    /// Refuses a set with classes that a network of so many outputs does not have.
    ///
    /// # Errors
    /// Usage, naming the class.
    pub fn check_classes(&self, outputs: usize) -> Result<()> {
        match self.classes.iter().find(|c| c.index >= outputs) {
            None => Ok(()),
            Some(class) => Err(Error::usage(format!(
                "data set {} has class {} ({}), the network has outputs 0 to {}: correct network.classes or the \
                 source's `classes`",
                self.name,
                class.index,
                class.name,
                outputs - 1
            ))),
        }
    }

    /// The first `n` images of each class, classes in order of their index.
    pub fn first_of_each(&self, n: usize) -> Vec<&Sample> {
        self.classes
            .iter()
            .flat_map(|class| self.samples.iter().filter(|s| s.label == class.index).take(n))
            .collect()
    }
}

impl Source {
    /// The same source with no more than about `images` images, where it can be told beforehand.
    pub fn at_most(&self, images: usize) -> Self {
        match self {
            Self::Scenes { split, images: all } => {
                Self::Scenes { split: split.clone(), images: images.min(*all) }
            }
            other => other.clone(),
        }
    }
}

/// What a source is called in tables.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scenes { split, .. } => write!(f, "scenes/{split}"),
            Self::Folder { path, .. } | Self::Cifar10 { path, skip: 0, images: None } => {
                write!(f, "{}", path.display())
            }
            Self::Cifar10 { path, skip, images } => {
                let to = images.map_or(String::new(), |n| (skip + n).to_string());
                write!(f, "{}[{skip}..{to}]", path.display())
            }
        }
    }
}
