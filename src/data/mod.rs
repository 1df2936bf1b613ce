//! Natural images: the embedded scenes, image folders, CIFAR-10; and what is done to an image before a network.

mod cifar10;
mod folder;
mod preprocessing;
mod preset;
pub mod scenes;
mod size;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

pub use folder::decode;
pub use preprocessing::{ChannelOrder, Preprocessing, Resize};
pub use preset::Preset;
pub use size::Size;

use crate::bounds::{MANY, within};
use crate::error::{Error, Result};

/// Where images come from. Paths are relative to the data root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// The embedded, procedurally drawn images.
    Scenes {
        /// Any word; different splits have different images.
        split: String,
        /// How many, the twelve classes in turn.
        images: usize,
        /// How often an object has the texture that is typical of its class, and the colour: 0 to 1.
        #[serde(default = "typical")]
        typical: f64,
    },
    /// A folder with one folder of pictures for each class, at any depth in it.
    Folder {
        /// The folder.
        path: PathBuf,
        /// A CSV with columns `index,wnid,name` that says which network output each class folder is; without
        /// it, the folders in alphabetical order are outputs 0, 1, 2, …
        classes: Option<PathBuf>,
    },
    /// A folder of pictures of no classes, at any depth in it: enough where nothing is asked of classes.
    Pictures {
        /// The folder.
        path: PathBuf,
    },
    /// One of CIFAR-10's binary files, or a folder of them, or a part of their images.
    Cifar10 {
        /// The file or folder.
        path: PathBuf,
        /// Images at the beginning that are left out.
        #[serde(default)]
        skip: usize,
        /// How many of the following there are; by default all.
        images: Option<usize>,
    },
}

fn typical() -> f64 {
    scenes::TYPICAL
}

/// A class: the network output that stands for it, and its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// The network output that stands for it, from 0.
    pub index: usize,
    /// What tables call the class.
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
    /// What decides which images there are, beside the source: the files of its folder.
    pub fingerprint: String,
    /// What else there is to say of it: what lies beside the images and was not read, which class is which output.
    pub notes: Vec<String>,
    /// The top-1 accuracy of a Bayes classifier that knows the texture and the colour of each image's object alone, where
    /// that can be told.
    pub surface_accuracy: Option<f64>,
}

/// How many images a data set has of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The network output that stands for the class, from 0.
    pub index: usize,
    /// What tables call the class.
    pub name: String,
    /// How many images the data set has of it.
    pub images: usize,
}

/// What was read of a data set, and what was left out: a row of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// What tables call the data set.
    pub name: String,
    /// How many images it has.
    pub images: usize,
    /// How many of each class, by index.
    pub classes: Vec<ClassCount>,
    /// Files that could not be decoded, with the reason.
    pub skipped: Vec<String>,
    /// What else there is to say of it: what was not read, which class is which output.
    pub notes: Vec<String>,
    /// What tells sets apart: the hash of all images, as networks are shown them, and their classes.
    pub hash: String,
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.classes.len() == 1 { "class" } else { "classes" };
        write!(f, "{}: {} images of {} {plural}", self.name, self.images, self.classes.len())?;
        if !self.skipped.is_empty() {
            write!(f, "; left out: {}", self.skipped.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
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
        let fingerprint = source.fingerprint(root)?;
        let mut set = match source {
            Source::Scenes { split, images, typical } => {
                scenes::dataset(split, *images, *typical, preprocessing, seed)
            }
            Source::Folder { path, classes } => {
                let classes = classes.as_ref().map(|file| root.join(file));
                folder::dataset(root, path, classes.as_deref(), preprocessing)?
            }
            Source::Pictures { path } => folder::pictures(root, path, preprocessing)?,
            Source::Cifar10 { path, skip, images } => {
                let mut set = cifar10::dataset(root, path, preprocessing)?;
                let (all, most) = (set.samples.len(), images.unwrap_or(usize::MAX));
                set.samples = set.samples.into_iter().skip(*skip).take(most).collect();
                set.classes.retain(|class| set.samples.iter().any(|s| s.label == class.index));
                if let Some(images) = images.filter(|&images| images > set.samples.len()) {
                    set.notes
                        .push(format!("{images} were asked for after {skip}, and there are {all} in all"));
                }
                Self { name: source.to_string(), ..set }
            }
        };
        let Self { name, samples, skipped, notes, .. } = &set;
        let all = samples.len() + skipped.len();
        if all == 0 {
            let found: String = notes.iter().map(|note| format!("; {note}")).collect();
            return Err(Error::usage(format!("data set {name} has no images{found}")));
        }
        if skipped.len() as f64 > TOLERATED * all as f64 {
            return Err(Error::failure(format!(
                "{} of the {all} files of {name} can't be decoded, more than 1 %:\n  {}",
                skipped.len(),
                skipped.join("\n  ")
            )));
        }
        set.fingerprint = fingerprint;
        let (classes, gone): (Vec<_>, Vec<_>) =
            set.classes.into_iter().partition(|class| set.samples.iter().any(|s| s.label == class.index));
        set.classes = classes;
        if !gone.is_empty() {
            let names: Vec<String> = gone.into_iter().map(|class| class.name).collect();
            set.notes.push(format!("no image is left of {}", names.join(", ")));
        }
        if let [only] = &set.classes[..] {
            let note = format!("all are of one class ({}), so classes can't be told apart on it", only.name);
            set.notes.push(note);
        }
        Ok(set)
    }

    /// Some of its images as a set of their own, under another name.
    pub fn part(&self, name: String, positions: &[usize]) -> Self {
        let samples: Vec<Sample> = positions.iter().map(|&i| self.samples[i].clone()).collect();
        Self { name, samples, skipped: vec![], notes: vec![], ..self.clone() }
    }

    /// What was read, and what was left out.
    pub fn inventory(&self) -> Inventory {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        self.samples.iter().for_each(|sample| *counts.entry(sample.label).or_default() += 1);
        let count = |class: &Class| ClassCount {
            index: class.index,
            name: class.name.clone(),
            images: counts.get(&class.index).copied().unwrap_or(0),
        };
        let mut hash = blake3::Hasher::new();
        for sample in &self.samples {
            hash.update(&(sample.label as u64).to_le_bytes());
            hash.update(&sample.image.width().to_le_bytes());
            hash.update(sample.image.as_raw());
        }
        Inventory {
            name: self.name.clone(),
            images: self.samples.len(),
            classes: self.classes.iter().map(count).collect(),
            skipped: self.skipped.clone(),
            notes: self.notes.clone(),
            hash: hash.finalize().to_hex()[..32].to_string(),
        }
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
                 source's `classes`{}",
                self.name,
                class.index,
                class.name,
                outputs - 1,
                self.notes.iter().map(|note| format!("; {note}")).collect::<String>()
            ))),
        }
    }

    /// Refuses images of several sizes: a batch has one.
    ///
    /// # Errors
    /// Usage, naming two of them.
    pub fn check_size(&self) -> Result<()> {
        let size = |sample: &Sample| sample.image.dimensions();
        let Some(first) = self.samples.first() else { return Ok(()) };
        match self.samples.iter().find(|sample| size(sample) != size(first)) {
            None => Ok(()),
            Some(other) => {
                let ((w, h), (v, g)) = (size(first), size(other));
                Err(Error::usage(format!(
                    "{} is {v}x{g} after preprocessing, others are {w}x{h}: set `resize` and `crop` in [preprocessing]",
                    other.id
                )))
            }
        }
    }

    /// `count` images at random, from each class as many as from any other, or all of those that have fewer: their
    /// positions, in random order.
    pub fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut of_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        self.samples.iter().enumerate().for_each(|(i, s)| of_class.entry(s.label).or_default().push(i));
        let mut classes: Vec<Vec<usize>> = of_class.into_values().collect();
        classes.iter_mut().for_each(|members| members.shuffle(rng));
        let mut drawn = vec![];
        // One of each class in turn; which classes give one more is drawn, too.
        while drawn.len() < count.min(self.samples.len()) {
            classes.shuffle(rng);
            let turn: Vec<usize> = classes.iter_mut().filter_map(Vec::pop).collect();
            drawn.extend(turn.into_iter().take(count - drawn.len()));
        }
        drawn.shuffle(rng);
        drawn
    }

    /// `n` images of each class at random, or all of those that have fewer, classes in order of their index.
    pub fn draw_of_each(&self, n: usize, rng: &mut impl Rng) -> Vec<&Sample> {
        self.classes
            .iter()
            .flat_map(|class| {
                let mut members: Vec<&Sample> =
                    self.samples.iter().filter(|s| s.label == class.index).collect();
                members.shuffle(rng);
                members.truncate(n);
                members
            })
            .collect()
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
    /// Refuses numbers of images that can't be.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Scenes { images: 0, .. } => Err("images is 0, so that it has no images".into()),
            Self::Scenes { typical, .. } if !(0.0..=1.0).contains(typical) => {
                Err(format!("typical is {typical}; it must be between 0 and 1"))
            }
            Self::Scenes { images, .. } => within("images", *images, 1..=MANY),
            Self::Cifar10 { skip, images, .. } => {
                within("skip", *skip, 0..=MANY)?;
                within("images", images.unwrap_or(1), 1..=MANY)
            }
            Self::Folder { .. } | Self::Pictures { .. } => Ok(()),
        }
    }

    /// What tells files of one name apart: their sizes and when they were changed. Empty for what is drawn from the seed.
    ///
    /// # Errors
    /// Usage, if there is no such file or folder; failure, if it can't be read.
    pub fn fingerprint(&self, root: &Path) -> Result<String> {
        let (path, classes) = match self {
            Self::Scenes { .. } => return Ok(String::new()),
            Self::Folder { path, classes } => (path, classes.as_deref()),
            Self::Cifar10 { path, .. } | Self::Pictures { path } => (path, None),
        };
        let mut hash = blake3::Hasher::new();
        for part in std::iter::once(path.as_path()).chain(classes) {
            let full = root.join(part);
            if !full.exists() {
                let key = if Some(part) == classes { "classes" } else { "path" };
                return Err(Error::usage(format!(
                    "no file or folder {}: set the data root with --data or TROMPE_DATA, or correct `{key}`",
                    full.display()
                )));
            }
            folder::fingerprint(&full, 0, &mut hash)?;
        }
        Ok(hash.finalize().to_hex()[..32].to_string())
    }

    /// Whether some of the images of one source are also another's.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scenes { split: a, .. }, Self::Scenes { split: b, .. }) => a == b,
            (
                Self::Folder { path: a, .. } | Self::Pictures { path: a },
                Self::Folder { path: b, .. } | Self::Pictures { path: b },
            ) => a == b,
            (
                Self::Cifar10 { path: a, skip: i, images: n },
                Self::Cifar10 { path: b, skip: j, images: m },
            ) => {
                let end = |skip: usize, images: Option<usize>| {
                    images.map_or(usize::MAX, |n| skip.saturating_add(n))
                };
                a == b && *i < end(*j, *m) && *j < end(*i, *n)
            }
            _ => false,
        }
    }

    /// The same source with no more than about `images` images, where it can be told beforehand.
    pub fn at_most(&self, images: usize) -> Self {
        match self {
            Self::Scenes { split, images: all, typical } => {
                Self::Scenes { split: split.clone(), images: images.min(*all), typical: *typical }
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
            Self::Folder { path, .. }
            | Self::Pictures { path }
            | Self::Cifar10 { path, skip: 0, images: None } => {
                write!(f, "{}", path.display())
            }
            Self::Cifar10 { path, skip, images } => {
                let to = images.map_or(String::new(), |n| skip.saturating_add(n).to_string());
                write!(f, "{}[{skip}..{to}]", path.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    /// A set of three classes in which the class follows from the position, as in a folder or a file of interleaved classes.
    fn set(label: impl Fn(usize) -> usize) -> Dataset {
        let samples =
            (0..90).map(|i| Sample { id: i.to_string(), label: label(i), image: RgbImage::new(1, 1) });
        Dataset {
            name: "three".into(),
            classes: (0..3).map(|index| Class { index, name: index.to_string() }).collect(),
            samples: samples.collect(),
            skipped: vec![],
            notes: vec![],
            fingerprint: String::new(),
            surface_accuracy: None,
        }
    }

    #[test]
    fn draws_hold_every_class_alike_however_the_set_is_ordered() {
        for set in [set(|i| i % 3), set(|i| i / 30), set(|i| usize::from(i >= 80) + usize::from(i >= 85))] {
            for (count, seed) in [(30, 1), (20, 2), (9, 3)] {
                let drawn = set.draw(count, &mut seed::rng(seed, &"draw"));
                let mut distinct = drawn.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!((drawn.len(), distinct.len()), (count, count));
                let there = |class| set.samples.iter().filter(|s| s.label == class).count();
                for class in 0..3 {
                    let got = drawn.iter().filter(|&&i| set.samples[i].label == class).count();
                    assert!(got >= (count / 3).min(there(class)), "{got} of class {class} in {count}");
                }
            }
            assert_eq!(set.draw(1000, &mut seed::rng(0, &"all")).len(), 90);
            let few = set.draw_of_each(7, &mut seed::rng(0, &"each"));
            assert_eq!(
                few.len(),
                (0..3).map(|c| set.samples.iter().filter(|s| s.label == c).count().min(7)).sum::<usize>()
            );
        }
        // Another seed draws others.
        let drawn = |seed| set(|i| i % 3).draw(30, &mut seed::rng(seed, &"draw"));
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
