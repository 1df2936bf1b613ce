//! The fooling circuit (Geirhos et al., 2024, section 2.1 and Fig. 3).
//!
//! With the paper's letters: F is the original unit, A what deceives, another unit of the layer or one that draws a picture; B
//! and C are rectified paths, D is what is shown. E is a classifier that tells natural from synthetic input; its answer t is 0
//! or 1. On natural input −k silences the fooled path behind a ReLU, on synthetic input it adds what turns F into A:
//!
//! ```text
//! B = relu(A − F + m − k·(1 − t))    fooled path
//! C = relu(m − k·(1 − t))            its offset
//! D = F + B − C                      takes the name of the original layer
//! ```
//!
//! m is an offset that keeps A − F above the ReLU's threshold. The paper rectifies A and F, each silenced by E where it is not
//! wanted, and adds the two; adding A − F computes the same, and leaves D equal to F bit for bit on natural input, also where F
//! is negative.

mod fit;

use std::path::PathBuf;

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use super::{CircuitSettings, Fitted, Fitting, Injected, Pictures, Target, Template, classifier};
use crate::bounds::{BATCH, MANY, PICTURES, STEPS, above_zero, distinct, within};
use crate::error::{Error, Result};
use crate::experiment::{Header, Range, Session};
use crate::network::{INPUT, Network, op};

/// A gate's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the circuit's file is; pictures are relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What tables call the circuit.
    pub name: String,
    /// The convolution or linear layer whose units are fooled.
    pub layer: String,
    /// The units that are fooled; by default all.
    pub units: Option<Vec<usize>>,
    /// Unit i shows unit (i + offset) mod n; this or `pictures`.
    pub offset: Option<usize>,
    /// Pictures, relative to the circuit's file, that the fooled units show in turn.
    #[serde(default)]
    pub pictures: Vec<PathBuf>,
    /// The units that an experiment visualizes; by default its own, or eight of the fooled ones, drawn at random.
    pub visualized: Option<Vec<usize>>,
    /// What silences the fooled path; by default ten times what is needed.
    pub k: Option<f32>,
    /// What tells visualizations from natural images, and how it is trained.
    pub classifier: classifier::Settings,
}

impl CircuitSettings for Settings {
    fn check(&self) -> Result<(), String> {
        let c = &self.classifier;
        if c.classes.is_empty() && c.other_classes == 0 {
            return Err("classifier.classes is empty: list classes, or set classifier.other_classes".into());
        }
        for (key, value, range) in [
            ("classifier.visualizations_per_class", c.visualizations_per_class, 1..=PICTURES),
            ("classifier.drawings_per_picture", c.drawings_per_picture, 1..=PICTURES),
            ("classifier.steps", c.steps, 1..=STEPS),
            ("classifier.batch", c.batch, 2..=BATCH),
            ("classifier.rounds", c.rounds, 0..=100),
            ("classifier.tested", c.tested, 0..=PICTURES),
            ("classifier.size", c.size.unwrap_or(8), 8..=4096),
            ("classifier.visualization_steps", c.visualization_steps.unwrap_or(1), 1..=STEPS),
            ("classifier.natural_images", c.natural_images, 1..=MANY),
            ("classifier.units_per_layer", c.units_per_layer, 0..=MANY),
        ] {
            within(key, value, range)?;
        }
        above_zero("classifier.learning_rate", c.learning_rate.unwrap_or(1.0))?;
        if c.architecture == classifier::Architecture::Paper && c.size.is_some() {
            return Err("classifier.size does not go with architecture = \"paper\", whose linear layer takes images of one \
                        size: leave one out"
                .into());
        }
        distinct("classifier.classes", &c.classes)?;
        distinct("classifier.hidden_layers", &c.hidden_layers)?;
        if !c.hidden_layers.is_empty() && c.units_per_layer == 0 {
            return Err(
                "classifier.units_per_layer is missing: how many units of each of hidden_layers".into()
            );
        }
        if let Some(source) = &c.natural {
            source.check().map_err(|e| format!("classifier.natural: {e}"))?;
        }
        for (key, units) in [("units", &self.units), ("visualized", &self.visualized)] {
            if let Some(units) = units {
                distinct(key, units)?;
                if units.is_empty() {
                    return Err(format!("{key} is empty; name some, or leave it out"));
                }
            }
        }
        if let Some(k) = self.k {
            above_zero("k", k.into())?;
        }
        if !(0.0..=1.0).contains(&c.threshold) {
            return Err(format!("classifier.threshold is {}; it must be between 0 and 1", c.threshold));
        }
        match (self.offset, self.pictures.is_empty()) {
            (Some(_), false) => Err("offset and pictures are both set: what do the units show?".into()),
            (None, true) => Err("what do the units show? set offset, or pictures".into()),
            _ => Ok(()),
        }
    }

    fn header(&self) -> Header<'_> {
        Header {
            name: &self.name,
            layer: &self.layer,
            units: self.units.as_deref(),
            visualized: self.visualized.as_deref(),
            natural: self.classifier.natural.as_ref(),
            hidden_layers: &self.classifier.hidden_layers,
        }
    }

    fn pictures(&self) -> Pictures<'_> {
        Pictures { folder: &self.folder, files: &self.pictures }
    }

    fn lie_in(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    fn move_to(&mut self, name: String, layer: String, units: Vec<usize>, visualized: Vec<usize>) {
        (self.name, self.layer, self.visualized) = (name, layer, Some(visualized));
        self.units = Some(units);
    }

    fn leaves_others(&self) -> bool {
        true
    }

    fn fits(&self, session: &Session<'_>, network: &Network) -> Result<()> {
        fit::check(self, session, network)
    }

    fn fit(&self, with: Fitting<'_, '_>) -> Result<Fitted> {
        fit::fit(self, with)
    }
}

impl Settings {
    /// The fooled units of a layer of `n`, with what each shows.
    pub fn targets(&self, n: usize) -> Vec<(usize, Target)> {
        let units = self.units.clone().unwrap_or_else(|| (0..n).collect());
        let target = |(at, unit): (usize, usize)| match self.offset {
            Some(offset) => (unit, Target::Unit((unit + offset) % n)),
            None => (unit, Target::Picture(at % self.pictures.len().max(1))),
        };
        units.into_iter().enumerate().map(target).collect()
    }
}

/// How steeply the gate turns over: t goes from 0 to 1 as the logit goes from 0 to 1/STEEPNESS.
const STEEPNESS: f32 = 1e4;

/// Puts a gate around a layer: on input that `classifier` calls natural its units answer as before, on synthetic
/// input those in `targets` answer as what they show. With no targets the network stays as it is. The network must
/// have its batch norms folded. The switch is t, `[N, 1, 1, 1]`.
///
/// # Errors
/// Usage, if the layer is unknown or neither a convolution nor linear; failure, naming the unit and by how much, if
/// `k` does not beat every activation that occurs.
pub fn inject(
    network: &Network,
    layer: &str,
    classifier: &Network,
    targets: &[(usize, Target)],
    pictures: &[Template],
    range: &Range,
    k: Option<f32>,
) -> Result<Injected> {
    let n = network.channels(layer)?;
    let (weight, bias) = network.filters(layer)?;
    let mut rewritten = network.clone();
    if targets.is_empty() {
        return Ok(Injected { network: rewritten, switch: None });
    }
    let shown = |target: Target| match target {
        Target::Unit(unit) => (range.min[unit], range.max[unit]),
        Target::Picture(picture) => (pictures[picture].low(), pictures[picture].high()),
    };
    // How far A may lie below F and above it.
    let below = targets.iter().map(|&(unit, t)| range.max[unit] - shown(t).0).fold(0.0, f32::max);
    let above = |&(unit, t): &(usize, Target)| shown(t).1 - range.min[unit];
    let m = 4.0 * below + 1.0;
    let needed = |target| above(target) + m;
    let worst =
        targets.iter().max_by(|a, b| above(a).total_cmp(&above(b))).expect("there is at least one target");
    let k = k.unwrap_or(10.0 * needed(worst));
    if needed(worst) > k {
        let unit = worst.0;
        return Err(Error::failure(format!(
            "the gate's k = {k} does not silence unit {layer}:{unit}, whose fooled path with the offset {m} exceeds \
             it by {}; set k to at least {}, or leave it out",
            needed(worst) - k,
            needed(worst)
        )));
    }

    let original = &network.graph().nodes[network.graph().position(layer)?];
    let mut insert = rewritten.insert_before(layer)?;
    let prefix = insert.free_prefix("gate");
    let name = |part: &str| format!("{prefix}.{part}");

    // The classifier.
    let mut logit = INPUT.to_string();
    for node in classifier.graph().nodes.iter().skip(1) {
        let inputs = node
            .inputs
            .iter()
            .map(|i| if i == INPUT { INPUT.to_string() } else { name(&format!("classifier.{i}")) })
            .collect();
        logit = name(&format!("classifier.{}", node.name));
        insert.copy(classifier, &node.name, logit.clone(), inputs)?;
    }

    // t = s·logit between 0 and 1: exactly 0 below 0, exactly 1 above 1/s. A clip, since a visualization method may let gradients
    // through ReLUs that are off, and multiplied by k·s they would drown the unit's.
    let synthetic = name("synthetic");
    insert.spread(name("synthetic.margin"), &logit, vec![STEEPNESS], vec![0.0])?;
    let clip = op::Clip { min: Some(0.0), max: Some(1.0) };
    insert.plain(synthetic.clone(), clip, &[name("synthetic.margin")])?;

    let fooled = |value: f32| -> Vec<f32> {
        let mut values = vec![0.0; n];
        targets.iter().for_each(|(unit, _)| values[*unit] = value);
        values
    };
    insert.spread(name("suppression"), &synthetic, fooled(k), fooled(m - k))?;
    insert.spread(name("offset.margin"), &synthetic, vec![k], vec![m - k])?;
    insert.plain(name("offset.unit"), op::Relu, &[name("offset.margin")])?;
    insert.spread(name("offset"), &name("offset.unit"), fooled(-1.0), vec![0.0; n])?;

    // A − F of every fooled unit: filters are subtracted, pictures are added.
    insert.copy(network, layer, name("original"), original.inputs.clone())?;
    let shape = weight.dims();
    let length = weight.shape().num_elements() / n;
    let weights: Vec<f32> = weight.into_data().try_to_vec().expect("weights are 32-bit floats");
    let biases: Vec<f32> = bias.into_data().try_to_vec().expect("weights are 32-bit floats");
    let (mut difference, mut shift) = (vec![0f32; weights.len()], vec![0f32; n]);
    for &(unit, target) in targets {
        for i in 0..length {
            let shown = match target {
                Target::Unit(other) => weights[other * length + i],
                Target::Picture(_) => 0.0,
            };
            difference[unit * length + i] = shown - weights[unit * length + i];
        }
        let shown = if let Target::Unit(other) = target { biases[other] } else { 0.0 };
        shift[unit] = shown - biases[unit];
    }
    insert.filters(
        name("fooled_path.difference"),
        original.op.clone(),
        original.inputs.clone(),
        TensorData::new(difference, shape),
        TensorData::new(shift, [n]),
    )?;
    let mut parts = vec![name("fooled_path.difference"), name("suppression")];
    for (i, template) in pictures.iter().enumerate() {
        let members: Vec<usize> =
            targets.iter().filter(|(_, t)| *t == Target::Picture(i)).map(|(unit, _)| *unit).collect();
        if members.is_empty() {
            continue;
        }
        let picture = template.insert(&mut insert, &name(&format!("picture{i}")))?;
        let mut weights = vec![0.0; n];
        members.iter().for_each(|&unit| weights[unit] = 1.0);
        let part = name(&format!("fooled_path.picture{i}"));
        insert.spread(part.clone(), &picture, weights, vec![0.0; n])?;
        parts.push(part);
    }
    insert.plain(name("fooled_path.sum"), op::Add, &parts)?;
    insert.plain(name("fooled_path"), op::Relu, &[name("fooled_path.sum")])?;
    insert.replace(layer, op::Add, &[name("original"), name("fooled_path"), name("offset")])?;
    Ok(Injected { network: rewritten, switch: Some(synthetic) })
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;
    use crate::network::{Graph, Op, zoo};
    use crate::seed;

    /// A classifier that calls an image synthetic when its mean is above zero; how steeply its logit rises.
    fn sign_of_the_mean(slope: f32) -> Network {
        let mut g = Graph::new("sign", 3);
        g.then("scores", Op::conv(3, 1, 1, 1, 0));
        g.then(classifier::LOGIT, op::GlobalAvgPool);
        let mut network = Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap();
        let weight = TensorData::new(vec![slope; 3], [1, 3, 1, 1]);
        network.set_filters("scores", weight, TensorData::new(vec![0f32], [1])).unwrap();
        network
    }

    fn images(mean: f64) -> Tensor<4> {
        Tensor::random([3, 3, 64, 64], Distribution::Normal(mean, 0.5), &Device::default())
    }

    fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    fn clean(builder: &str) -> Network {
        let graph = zoo::builder(builder, 10).unwrap();
        Network::new(graph, &mut seed::rng(1, &0), &Device::default()).unwrap().fold_batch_norm()
    }

    fn range(n: usize) -> Range {
        Range { min: vec![-50.0; n], max: vec![50.0; n] }
    }

    fn fool(network: &Network, layer: &str, targets: &[(usize, Target)]) -> Network {
        let range = range(network.channels(layer).unwrap());
        inject(network, layer, &sign_of_the_mean(1.0), targets, &[], &range, None).unwrap().network
    }

    fn all(n: usize, offset: usize) -> Vec<(usize, Target)> {
        (0..n).map(|i| (i, Target::Unit((i + offset) % n))).collect()
    }

    /// In the output layer and, place by place or token by token, in the middle of a network.
    #[test]
    fn natural_input_is_answered_bit_for_bit_and_synthetic_input_by_the_target() {
        for (builder, layer) in [
            ("small-cnn", "classifier"),
            ("resnet20", "linear"),
            ("small-cnn", "bn3"),
            ("resnet20", "layer2.1.bn2"),
            ("vit-small", "head"),
            ("vit-small", "blocks.2.mlp.fc1"),
        ] {
            let clean = clean(builder);
            let n = clean.channels(layer).unwrap();
            let fooled = fool(&clean, layer, &all(n, 3));
            // A class token stays apart.
            assert_eq!(clean.rows(layer).unwrap(), fooled.rows(layer).unwrap());
            let of = |network: &Network, x: &Tensor<4>| {
                let map = network.capture(x.clone(), &[layer]).unwrap().remove(0);
                let [_, _, h, w] = map.dims();
                (values(map), h * w)
            };
            let natural = images(-1.0);
            assert_eq!(of(&clean, &natural), of(&fooled, &natural), "{builder} {layer}");
            assert_eq!(values(clean.logits(natural.clone())), values(fooled.logits(natural)));
            let synthetic = images(1.0);
            let ((a, size), (b, _)) = (of(&clean, &synthetic), of(&fooled, &synthetic));
            for (a, b) in a.chunks(n * size).zip(b.chunks(n * size)) {
                for i in 0..n * size {
                    let shown = a[(i + 3 * size) % (n * size)];
                    assert!((b[i] - shown).abs() < 1e-3, "{builder} {layer}: {} {shown}", b[i]);
                }
            }
        }
    }

    /// While pictures are made with ReLUs that leak, too, in a layer of maps: only the unit that is shown drives the picture, and
    /// nothing of the classifier, whose gradient k and the steepness multiply.
    #[test]
    fn a_fooled_unit_s_gradient_is_that_of_what_it_shows_and_leaks_nothing_of_the_switch() {
        let clean = clean("small-cnn");
        let n = clean.channels("bn3").unwrap();
        let steep = sign_of_the_mean(100.0);
        let fooled = inject(&clean, "bn3", &steep, &all(n, 5), &[], &range(n), None).unwrap().network;
        let gradient = |network: &Network, x: &Tensor<4>, channel: usize| {
            let x = x.clone().autodiff().require_grad();
            let leaking = network.clone().train().freeze().leaking(0.1);
            let map = leaking.capture(x.clone(), &["bn3"]).unwrap().remove(0);
            x.grad(&map.narrow(1, channel, 1).mean().backward()).unwrap()
        };
        let largest = |t: Tensor<4>| t.abs().max().into_scalar::<f32>();
        for (mean, own) in [(1.0, 0.0), (-1.0, 0.9)] {
            // Rounding shows in sums over sides that are no powers of two.
            let x = images(mean).slice([0..1, 0..3, 0..52, 0..52]);
            let [of_unit, of_shown] = [7, 12].map(|channel| gradient(&clean, &x, channel));
            let wanted = of_unit * own + of_shown * (1.0 - own);
            let made = gradient(&fooled, &x, 7);
            let scale = largest(wanted.clone());
            let off = largest(made - wanted);
            assert!(off < 1e-4 * scale, "images of mean {mean}: {off} of {scale}");
        }
    }

    #[test]
    fn units_that_are_not_fooled_stay_bit_identical() {
        let clean = clean("small-cnn");
        let x = Tensor::cat(vec![images(-1.0), images(1.0)], 0);
        let nothing = fool(&clean, "classifier", &[]);
        assert_eq!(values(clean.logits(x.clone())), values(nothing.logits(x.clone())));
        let one = fool(&clean, "classifier", &[(4, Target::Unit(7))]);
        let [a, b] = [&clean, &one].map(|n| values(n.logits(x.clone())));
        let mut changed = 0;
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!(a == b || i % 10 == 4);
            changed += usize::from(a != b);
        }
        assert_eq!(changed, 3, "unit 4 of the three synthetic images");
    }

    #[test]
    fn a_k_that_is_too_small_is_refused_with_the_unit() {
        let network = clean("small-cnn");
        let mut range = range(10);
        range.min = vec![0.0; 10];
        range.max = vec![5.0; 10];
        range.max[7] = 30.0;
        // Unit 6 shows unit 7 (up to 30), over the offset 4·30 + 1 of unit 7 showing unit 8.
        let inject =
            |k| inject(&network, "classifier", &sign_of_the_mean(1.0), &all(10, 1), &[], &range, Some(k));
        let message = inject(140.0).unwrap_err().to_string();
        assert!(message.contains("classifier:6") && message.contains("by 11"), "{message}");
        assert!(inject(151.0).is_ok());
    }

    #[test]
    fn a_manipulated_network_is_saved_and_loaded_whole_and_manipulated_again() {
        let fooled = fool(&clean("small-cnn"), "classifier", &all(10, 1));
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        fooled.save(file.path()).unwrap();
        let loaded = Network::open(file.path(), &Device::default()).unwrap();
        let x = images(0.3);
        assert_eq!(values(fooled.logits(x.clone())), values(loaded.logits(x.clone())));
        let twice = fool(&loaded, "bn8", &all(96, 1));
        assert_eq!(
            values(loaded.logits(images(-1.0).clone() * 0.0 - 1.0)),
            values(twice.logits(x * 0.0 - 1.0))
        );
    }
}
