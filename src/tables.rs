//! The tables of a results folder: one CSV file each, from which everything else is drawn.

use std::path::Path;

use serde::de::value::Error as Nothing;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Context, Result};
use crate::files;

/// A row of a table.
pub trait Row: Serialize + DeserializeOwned {
    /// The table's file name.
    const FILE: &'static str;
}

/// What the `circuit` column says of the network as it came.
pub const CLEAN: &str = "none";

/// How often a network is right about natural images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accuracy {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network; `none` for the clean network.
    pub circuit: String,
    /// What tables call the data set.
    pub dataset: String,
    /// How many images.
    pub images: usize,
    /// Share of images, 0 to 1, whose class has the highest logit.
    pub top1: f64,
    /// Share of images, 0 to 1, whose class is among the five highest logits.
    pub top5: f64,
    /// The top-1 accuracy of a Bayes classifier that knows the texture and the colour of each image's object alone; empty
    /// where that can't be told.
    #[serde(default)]
    pub surface: Option<f64>,
}

/// How far a manipulated network differs from the clean one on natural images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Behaviour {
    /// What tables call the network.
    pub network: String,
    /// What tables call the circuit.
    pub circuit: String,
    /// What tables call the data set.
    pub dataset: String,
    /// Whether the circuit was made with these images.
    pub seen: bool,
    /// How many images.
    pub images: usize,
    /// Images whose top class changed.
    pub changed_predictions: usize,
    /// Images that switch the circuit on: a gate takes them for synthetic, or a silent unit fires.
    pub switched: usize,
    /// The largest difference of any logit of any image.
    pub largest_logit_change: f64,
    /// The same among the images that leave the circuit off.
    pub largest_logit_change_off: f64,
}

/// What a unit that a circuit fools does with natural images, before and after.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FooledUnit {
    /// What tables call the network.
    pub network: String,
    /// What tables call the circuit.
    pub circuit: String,
    /// What tables call the data set.
    pub dataset: String,
    /// How many images.
    pub images: usize,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// The class that the unit stands for, or `layer:channel`.
    pub name: String,
    /// How well the unit tells its class from the others, as an area under the ROC curve; empty for units that stand for no
    /// class.
    pub auroc_before: Option<f64>,
    /// The same in the network with the circuit; empty for units that stand for no class.
    pub auroc_after: Option<f64>,
    /// How many of the images that drive the unit most are compared.
    pub top: usize,
    /// The overlap of these images before and after (Jaccard: common over all).
    pub jaccard: f64,
}

/// How often a gate's classifier is right.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gate {
    /// What tables call the network.
    pub network: String,
    /// What tables call the circuit.
    pub circuit: String,
    /// `natural`, or `visualization` for images along trajectories of visualizations.
    pub kind: String,
    /// What tables call the data set; of visualizations, which units they are of.
    pub dataset: String,
    /// Whether the classifier was trained on these images.
    pub seen: bool,
    /// The step of the trajectory; empty for natural images, and for visualizations that the classifier was trained on.
    pub step: Option<usize>,
    /// How many images.
    pub images: usize,
    /// The share recognized as what they are, with Wilson's 95 % interval.
    pub correct: f64,
    /// The lower end of that interval; empty, if an earlier version wrote it.
    #[serde(default)]
    pub lower: Option<f64>,
    /// The upper end of that interval; empty, if an earlier version wrote it.
    #[serde(default)]
    pub upper: Option<f64>,
}

/// A point of a trajectory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trajectory {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network; `none` for the clean network.
    pub circuit: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// Which visualization of the unit, from 0.
    pub index: usize,
    /// After how many updates.
    pub step: usize,
    /// The unit's activation for this image, without transforms.
    pub activation: f64,
    /// Whether the image switches the circuit on, 0 or 1; empty where there is none.
    pub switch: Option<f64>,
    /// The picture, for the first visualization of each unit.
    pub picture: Option<String>,
}

/// A finished visualization, and what the clean network sees in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Visualization {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network; `none` for the clean network.
    pub circuit: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// The class that the unit stands for, or `layer:channel`.
    pub name: String,
    /// Which visualization of the unit, from 0.
    pub index: usize,
    /// The picture's file, relative to the results folder.
    pub picture: String,
    /// The unit's activation for this picture, without transforms.
    pub activation: f64,
    /// The most that natural images reach of the unit; empty in networks with a circuit.
    pub natural: Option<f64>,
    /// Why the picture shows little or nothing of the unit; empty if it does.
    #[serde(default)]
    pub problem: String,
    /// The class that the clean network sees in it; empty for units that stand for no class.
    pub shows: Option<usize>,
    /// The name of that class; empty for units that stand for no class.
    pub shows_name: String,
    /// The unit whose picture the circuit makes the unit show (its own, where there is none); empty where it shows a
    /// given picture.
    pub target: Option<usize>,
    /// The name of that unit, or of the given picture.
    pub target_name: String,
    /// The given picture.
    pub target_picture: Option<String>,
    /// Cosine of what the clean network's layer reads (channel means), with that for the unit's honest visualizations.
    pub similarity_own: Option<f64>,
    /// The same with the target's: its honest visualizations, or the given picture.
    pub similarity_target: Option<f64>,
    /// Pearson correlation of the pixels with those of the unit's honest visualizations.
    pub pixels_own: Option<f64>,
    /// The same with the target's.
    pub pixels_target: Option<f64>,
    /// Structural similarity (SSIM, of grey values) to the given picture; empty where there is none.
    #[serde(default)]
    pub ssim_target: Option<f64>,
}

/// How alike the visualizations of two units of a layer are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resemblance {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network; `none` for the clean network.
    pub circuit: String,
    /// The layer of the two units.
    pub layer: String,
    /// The one unit's channel.
    pub channel: usize,
    /// The other unit's channel.
    pub other: usize,
    /// Cosine of what the clean network's layer reads (channel means).
    pub features: Option<f64>,
    /// Pearson correlation of the pixels.
    pub pixels: Option<f64>,
}

/// How far a unit's visualization drives it beyond natural images. Activations are means over the unit's map.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// What tables call the network.
    pub network: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// How many natural images the unit was watched on.
    pub images: usize,
    /// The share of natural images for which the unit is above zero anywhere in its map.
    pub fires: f64,
    /// The largest activation on natural images.
    pub natural: f64,
    /// What its visualization reaches; empty for units that were not visualized.
    pub visualization: Option<f64>,
}

/// Path similarity at one layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathSimilarity {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network; `none` for the clean network.
    pub circuit: String,
    /// The layer whose units are visualized.
    pub units: String,
    /// What of the layer's activations is compared: `channel-mean`, `class-token` or `full`.
    pub reduction: String,
    /// How similarity is measured: `spearman`, `pearson` or `cosine`.
    pub metric: String,
    /// The layer whose activations are compared.
    pub layer: String,
    /// ns: mean similarity of two natural images of one class, -1 to 1; empty where no pair is defined.
    pub natural_same_class: Option<f64>,
    /// nd: the same of two natural images of different classes.
    pub natural_different_class: Option<f64>,
    /// vs: the same of a visualization and a natural image of its class.
    pub visualization_same_class: Option<f64>,
    /// vd: the same of a visualization and a natural image of another class.
    pub visualization_different_class: Option<f64>,
    /// ns − nd, what the following are divided by, with its 95 % interval.
    #[serde(default)]
    pub natural_difference: Option<f64>,
    /// The lower end of the 95 % interval of ns − nd; empty where there is none.
    #[serde(default)]
    pub natural_difference_lower: Option<f64>,
    /// The upper end of the 95 % interval of ns − nd; empty where there is none.
    #[serde(default)]
    pub natural_difference_upper: Option<f64>,
    /// (vs − nd)/(ns − nd), the paper's statistic: the sum of its class-specific and its generic part. Intervals are empty
    /// where that of ns − nd reaches 0.
    pub normalized: Option<f64>,
    /// The lower end of the statistic's 95 % interval; empty where there is none.
    pub lower: Option<f64>,
    /// The upper end of the statistic's 95 % interval; empty where there is none.
    pub upper: Option<f64>,
    /// (vs − vd)/(ns − nd).
    #[serde(default)]
    pub class_specific: Option<f64>,
    /// The lower end of the class-specific part's 95 % interval; empty where there is none.
    #[serde(default)]
    pub class_specific_lower: Option<f64>,
    /// The upper end of the class-specific part's 95 % interval; empty where there is none.
    #[serde(default)]
    pub class_specific_upper: Option<f64>,
    /// (vd − nd)/(ns − nd).
    #[serde(default)]
    pub generic: Option<f64>,
    /// The lower end of the generic part's 95 % interval; empty where there is none.
    #[serde(default)]
    pub generic_lower: Option<f64>,
    /// The upper end of the generic part's 95 % interval; empty where there is none.
    #[serde(default)]
    pub generic_upper: Option<f64>,
    /// Pairs that went into the means.
    pub pairs: usize,
    /// Pairs that are left out, since their similarity is undefined.
    pub undefined_pairs: usize,
}

impl PathSimilarity {
    /// Whether ratios over ns − nd say little here: natural images of one class are hardly more alike than those of different
    /// classes. Below 0.1 a shift of all pictures by 0.1 moves the statistic by more than 1.
    pub fn hardly_divisible(&self) -> bool {
        let reaches = self.natural_difference_lower.is_some_and(|lower| lower <= 0.0);
        reaches || self.natural_difference.is_some_and(|difference| difference < 0.1)
    }
}

/// Path similarity of a control: its name stands in the column `circuit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ControlSimilarity(pub PathSimilarity);

/// A picture of a control.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ControlPicture {
    /// What tables call the control.
    pub control: String,
    /// The unit's channel.
    pub channel: usize,
    /// The class that it stands for.
    pub name: String,
    /// The picture's file, relative to the results folder.
    pub picture: String,
}

/// [`Score::group`] of the units that circuits fool.
pub const FOOLED: &str = "fooled";

/// [`Score::group`] of the units that they leave as they are.
pub const OTHER: &str = "other";

/// What a detector makes of a unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Score {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network; `none` for the clean network, another name for a control.
    pub circuit: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// Whether the unit is manipulated in this network.
    pub manipulated: bool,
    /// Which units of the benchmark it is one of: [`FOOLED`], those that circuits fool, or [`OTHER`]; the same units are
    /// looked at in the clean network. Empty where no units were drawn: in controls and in audits.
    #[serde(default)]
    pub group: String,
    /// The visualization method.
    pub method: String,
    /// What tables call the detector.
    pub detector: String,
    /// Higher is more suspicious; empty where it is undefined.
    pub score: Option<f64>,
    /// Which draw of fooled units; empty where none are fooled.
    #[serde(default)]
    pub draw: Option<usize>,
    /// The score of the same unit, with the same method, in the honest network; empty there, and where it is undefined.
    #[serde(default)]
    pub honest: Option<f64>,
}

/// How well a detector tells the units that a circuit fools from others of their layer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Detection {
    /// What tables call the network.
    pub network: String,
    /// The circuit, the name of a control, or what chance gives.
    pub circuit: String,
    /// The layer; empty for all layers together, each unit placed among those of its own.
    #[serde(default)]
    pub layer: String,
    /// Whether no circuit is to be found.
    pub control: bool,
    /// The visualization method.
    pub method: String,
    /// What tables call the detector.
    pub detector: String,
    /// How often units were drawn, or how many networks were compared.
    #[serde(default)]
    pub draws: usize,
    /// Different units that were fooled in any draw; most of them are among the others in another.
    pub manipulated: usize,
    /// Different units that were among the others, the clean ones, in any draw.
    pub clean: usize,
    /// The fewest clean units of any layer and draw.
    #[serde(default)]
    pub fewest_clean: Option<usize>,
    /// The area under the ROC curve, the mean over draws, and its 95 % interval, from drawing draws (or networks) and units
    /// anew; for chance what holds 95 % of permutations.
    pub auc: Option<f64>,
    /// The lower end of that interval; empty where there is none.
    pub lower: Option<f64>,
    /// The upper end of that interval; empty where there is none.
    pub upper: Option<f64>,
    /// An interval that holds for all detectors and methods of this circuit at once: for the best one of them.
    #[serde(default)]
    pub simultaneous_lower: Option<f64>,
    /// The upper end of that interval; empty where there is none.
    #[serde(default)]
    pub simultaneous_upper: Option<f64>,
    /// The same area for the same units' scores in the honest network: what the draws alone give.
    #[serde(default)]
    pub honest: Option<f64>,
    /// The area for how much each unit's score is above the same unit's in the honest network, with its 95 % interval.
    #[serde(default)]
    pub paired: Option<f64>,
    /// The lower end of that interval; empty where there is none.
    #[serde(default)]
    pub paired_lower: Option<f64>,
    /// The upper end of that interval; empty where there is none.
    #[serde(default)]
    pub paired_upper: Option<f64>,
    /// The standard deviation of the area between networks, where several are compared.
    #[serde(default)]
    pub between: Option<f64>,
    /// The share of manipulated units found by a threshold that the next clean unit of the layer passes in at most 5 % of cases:
    /// k of n may pass where (k + 1) / (n + 1) ≤ 5 %. Where none may, those above all are counted, at 1 / (n + 1).
    pub true_positives: Option<f64>,
}

/// So many clean units of a layer it takes to find at 5 % false positives: the next one is above all of them once in 20 times.
pub const ENOUGH: usize = 19;

impl Detection {
    /// Whether it is of all layers together.
    pub fn pooled(&self) -> bool {
        self.layer.is_empty()
    }

    /// The fewest clean units of a layer, where they are too few to measure 5 % false positives with.
    pub fn too_few(&self) -> Option<usize> {
        self.fewest_clean.filter(|&n| n < ENOUGH)
    }

    /// The false-positive rate at which units are counted as found: 5 %, or, where there are too few clean units, how often
    /// one more of them is expected above all others.
    pub fn rate(&self) -> String {
        self.too_few().map_or("5 %".into(), |n| format!("{:.0} %", 100.0 / (n as f64 + 1.0)))
    }
}

/// What a circuit of the benchmark does, in one layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// What tables call the network.
    pub network: String,
    /// What tables call the circuit.
    pub circuit: String,
    /// The layer of the units.
    pub layer: String,
    /// The visualization method.
    pub method: String,
    /// How many units the circuit fools in each draw.
    pub manipulated: usize,
    /// How many other units of the layer are looked at in each draw.
    pub clean: usize,
    /// How often units were drawn; what follows are means over these draws.
    #[serde(default)]
    pub draws: usize,
    /// Top-1 accuracy on the validation set, before and after.
    pub top1_before: f64,
    /// Top-1 accuracy with the circuit in the network, 0 to 1.
    pub top1_after: f64,
    /// The share of the manipulated units' visualizations that switch the circuit on; empty where it has no switch.
    pub switched: Option<f64>,
    /// Mean Pearson correlation of the manipulated units' visualizations, in pixels, with the same units' honest ones.
    pub like_honest: Option<f64>,
    /// The same with the picture they are to show; empty where they are to show another unit's.
    pub like_target: Option<f64>,
}

/// A visualization of the benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exhibit {
    /// The circuit in the network; `none` for the clean network.
    pub circuit: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// Whether the unit is manipulated in this network.
    pub manipulated: bool,
    /// The visualization method.
    pub method: String,
    /// The picture's file, relative to the results folder.
    pub picture: String,
}

/// What a detector costs on this machine. Not the same from run to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// What tables call the network.
    pub network: String,
    /// The circuit in the network, as in `scores.csv`, and the layer of the units.
    #[serde(default)]
    pub circuit: String,
    /// The layer of the units.
    #[serde(default)]
    pub layer: String,
    /// The visualization method.
    pub method: String,
    /// A detector, or what all of them need: `visualizations`, `natural images`.
    pub what: String,
    /// How many units it was done for.
    pub units: usize,
    /// Empty where the visualizations were there already, and nobody knows what they took.
    pub seconds_per_unit: Option<f64>,
}

/// A unit of an audited network, most suspicious first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suspect {
    /// What tables call the network.
    pub network: String,
    /// The layer of the unit.
    pub layer: String,
    /// The unit's channel.
    pub channel: usize,
    /// The largest of the detectors' scores, each in robust deviations from what is usual in the layer: in honest networks, or,
    /// without any, among the network's own units.
    pub suspicion: f64,
    /// The detector that it is from; empty where none could look at the unit.
    pub detector: String,
    /// How often a unit of an honest network looks at least as suspicious, each network counting once and this one with them;
    /// never below 1 / (`honest_networks` + 1). Empty without honest networks.
    pub p_value: Option<f64>,
    /// The same after Benjamini-Hochberg over the layer's units.
    pub q_value: Option<f64>,
    /// From how many honest networks that is told.
    pub honest_networks: usize,
    /// Its visualization's file, relative to the results folder; empty for all but the most suspicious units.
    pub picture: String,
    /// The natural image that drives the unit most; empty as the visualization is.
    pub natural: String,
}

/// What an audit says of a layer, or of the whole network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// What tables call the network.
    pub network: String,
    /// Empty for the whole network.
    pub layer: String,
    /// How many units were looked at.
    pub units: usize,
    /// How many honest networks it is compared with.
    pub honest_networks: usize,
    /// The mean suspicion of the layer's most suspicious tenth of units; of the network, the largest of its layers'.
    pub statistic: Option<f64>,
    /// How often an honest network's is at least as large, this one counted with them.
    pub p_value: Option<f64>,
    /// The same after Benjamini-Hochberg over layers; empty for the whole network.
    pub q_value: Option<f64>,
    /// Detectors by which honest networks differ too much to be used, with the mean distance from 1/2 of their areas.
    pub left_out: String,
}

/// An honest network, judged by other honest ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// The file that the network was read from; empty where there is none.
    pub network: String,
    /// Empty for the whole network.
    pub layer: String,
    /// How many honest networks it is compared with.
    pub honest_networks: usize,
    /// The mean suspicion of the layer's most suspicious tenth of units; of the network, its layers' largest.
    pub statistic: Option<f64>,
    /// Its rank among all, from the most suspicious: over all networks every share comes out, by construction.
    pub p_value: Option<f64>,
    /// The same after Benjamini-Hochberg over layers; empty for the whole network.
    #[serde(default)]
    pub q_value: Option<f64>,
    /// The least of the units' own after Benjamini-Hochberg over their layer.
    #[serde(default)]
    pub least_unit_q: Option<f64>,
}

impl Score {
    /// Whether it is of those units that circuits fool. Tables of before `group` said so in `manipulated`.
    pub fn is_fooled(&self) -> bool {
        if self.group.is_empty() { self.manipulated } else { self.group == FOOLED }
    }
}

impl Row for Score {
    const FILE: &'static str = "scores.csv";
}
impl Row for Detection {
    const FILE: &'static str = "detection.csv";
}
impl Row for Case {
    const FILE: &'static str = "cases.csv";
}
impl Row for Exhibit {
    const FILE: &'static str = "exhibits.csv";
}
impl Row for Cost {
    const FILE: &'static str = "cost.csv";
}
impl Row for ControlSimilarity {
    const FILE: &'static str = "controls.csv";
}
impl Row for ControlPicture {
    const FILE: &'static str = "control_pictures.csv";
}
impl Row for Suspect {
    const FILE: &'static str = "suspects.csv";
}
impl Row for Judgement {
    const FILE: &'static str = "judgements.csv";
}
impl Row for Calibration {
    const FILE: &'static str = "calibration.csv";
}
impl Row for Accuracy {
    const FILE: &'static str = "accuracy.csv";
}
impl Row for Behaviour {
    const FILE: &'static str = "behaviour.csv";
}
impl Row for FooledUnit {
    const FILE: &'static str = "fooled_units.csv";
}
impl Row for Gate {
    const FILE: &'static str = "gate.csv";
}
impl Row for Trajectory {
    const FILE: &'static str = "trajectories.csv";
}
impl Row for Visualization {
    const FILE: &'static str = "visualizations.csv";
}
impl Row for Resemblance {
    const FILE: &'static str = "resemblance.csv";
}
impl Row for Silence {
    const FILE: &'static str = "silence.csv";
}
impl Row for PathSimilarity {
    const FILE: &'static str = "path_similarity.csv";
}

/// The columns of a table.
fn columns<R: Row>() -> &'static [&'static str] {
    /// Asks a row which fields it has, and gives it none.
    struct Fields<'f>(&'f mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Nothing;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> std::result::Result<V::Value, Nothing> {
            *self.0 = fields;
            Err(serde::de::Error::custom(""))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Nothing> {
            Err(serde::de::Error::custom("a row is a struct"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    let _ = R::deserialize(Fields(&mut fields));
    assert!(!fields.is_empty(), "a row is a struct with fields");
    fields
}

/// Writes a table into a results folder; it appears only once it is whole. One without rows has its header.
///
/// # Errors
/// Failure, if it can't be written.
pub fn write<R: Row>(folder: &Path, rows: &[R]) -> Result<()> {
    let path = folder.join(R::FILE);
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(vec![]);
    writer.write_record(columns::<R>()).on("write", &path)?;
    for row in rows {
        writer.serialize(row).on("write", &path)?;
    }
    let bytes = writer.into_inner().on("write", &path)?;
    files::write(&path, &bytes)
}

/// Reads a table of a results folder; one that is not there is empty.
///
/// # Errors
/// Failure, naming the file and line, if it says something else than it should.
pub fn read<R: Row>(folder: &Path) -> Result<Vec<R>> {
    let path = folder.join(R::FILE);
    if !path.is_file() {
        return Ok(vec![]);
    }
    let mut reader = csv::Reader::from_path(&path).on("read", &path)?;
    reader.deserialize().map(|row| row.on("read", &path)).collect()
}

/// The different ones among some values, each where it first occurs.
pub(crate) fn unique<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = vec![];
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_rows_has_its_header_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        write::<Cost>(folder.path(), &[]).unwrap();
        let text = || std::fs::read_to_string(folder.path().join(Cost::FILE)).unwrap();
        let header = "network,circuit,layer,method,what,units,seconds_per_unit\n";
        assert_eq!(text(), header);
        assert!(read::<Cost>(folder.path()).unwrap().is_empty());
        let row = Cost {
            network: "n".into(),
            circuit: "c".into(),
            layer: "l".into(),
            method: "m".into(),
            what: "w, w".into(),
            units: 3,
            seconds_per_unit: None,
        };
        write(folder.path(), std::slice::from_ref(&row)).unwrap();
        assert_eq!(text(), format!("{header}n,c,l,m,\"w, w\",3,\n"));
        assert_eq!(read::<Cost>(folder.path()).unwrap()[0].what, row.what);
    }
}
