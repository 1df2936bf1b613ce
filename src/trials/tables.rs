//! The tables of a study's folder.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// What a picture shows. One may be about several units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stimulus {
    /// The picture's file, in the folder `stimuli`.
    pub file: String,
    /// `exemplar` or `visualization` to be matched; `natural`, `visualization`, `blurred` or `query` with occluders.
    pub kind: String,
    /// The circuit in the network whose visualization it is; `none` for the honest network, and for natural images.
    pub circuit: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// The image it was made from, or the visualization's number.
    pub source: String,
}

/// How diverse the images of a unit are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diversity {
    /// The name of the depth.
    pub depth: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// `visualizations`; `without the term`, for one unit a depth; `natural`: those that activate the unit most.
    pub kind: String,
    /// How many images.
    pub images: usize,
    /// The mean over pairs of the cosine of Gram matrices, which the diversity term lowers.
    pub features: Option<f64>,
    /// The mean over pairs of the correlation of pixels.
    pub pixels: Option<f64>,
    /// The unit's mean activation.
    pub activation: f64,
}

/// What a circuit makes of the pictures that its trials show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fooled {
    /// What tables call the circuit.
    pub circuit: String,
    /// The layer whose units the circuit fools.
    pub layer: String,
    /// `exemplar`, `natural`, `query`, or `visualization` (of the fooled network).
    pub kind: String,
    /// How many images.
    pub images: usize,
    /// How many switch the circuit on.
    pub switched: usize,
}

/// How often an observer is right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Who answered; `people` for all people together.
    pub observer: String,
    /// `person`, `model` or `simulated`.
    pub kind: String,
    /// `exemplar`, `visualization` or `occlusion`.
    pub task: String,
    /// Whose visualizations are shown: a circuit's network, or the honest one (`none`).
    pub circuit: String,
    /// `main` or `catch`.
    pub purpose: String,
    /// `all`, or a depth's name.
    pub depth: String,
    /// What the rows divide the trials by: `all`, `condition` (number of images, kind of references), `layer`,
    /// `occluder`, or `difference` (of the two activations relative to the unit's standard deviation over natural
    /// images: thirds of the trials).
    pub by: String,
    /// Which part of the trials: a condition, a layer, an occluder's side, `small`, `middle` or `large`, or `all`.
    pub level: String,
    /// Answers to trials; of all people together, everybody's.
    pub trials: usize,
    /// Matching asks three questions a trial, occlusion one.
    pub questions: usize,
    /// How many questions were answered right.
    pub right: usize,
    /// Share of questions that were answered right, 0 to 1.
    pub accuracy: f64,
    /// The lower end of the share's 95 % interval.
    pub lower: f64,
    /// The upper end of the share's 95 % interval.
    pub upper: f64,
    /// Share of right answers that guessing gives, 0 to 1.
    pub chance: f64,
}

/// Whether visualizations help: the same questions without them, with the honest network's, and with a fooled one's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Who answered; `people` for all people together.
    pub observer: String,
    /// `person`, `model` or `simulated`.
    pub kind: String,
    /// The circuit in the fooled network.
    pub circuit: String,
    /// `visualization` or `occlusion`.
    pub task: String,
    /// `without`, `honest` or `fooled`.
    pub shown: String,
    /// Answers to trials; of all people together, everybody's.
    pub trials: usize,
    /// Matching asks three questions a trial, occlusion one.
    pub questions: usize,
    /// How many questions were answered right.
    pub right: usize,
    /// Share of questions that were answered right, 0 to 1.
    pub accuracy: f64,
    /// The lower end of the share's 95 % interval.
    pub lower: f64,
    /// The upper end of the share's 95 % interval.
    pub upper: f64,
    /// How much larger the share is with the fooled network's visualizations, paired by unit, with its 95 % interval;
    /// empty where the same units were not asked about in both.
    pub change: Option<f64>,
    /// The lower end of that interval; empty where there is none.
    pub change_lower: Option<f64>,
    /// The upper end of that interval; empty where there is none.
    pub change_upper: Option<f64>,
}

impl Row for Stimulus {
    const FILE: &'static str = "stimuli.csv";
}
impl Row for Diversity {
    const FILE: &'static str = "diversity.csv";
}
impl Row for Fooled {
    const FILE: &'static str = "fooled.csv";
}
impl Row for Accuracy {
    const FILE: &'static str = "accuracy.csv";
}
impl Row for Trust {
    const FILE: &'static str = "trust.csv";
}
