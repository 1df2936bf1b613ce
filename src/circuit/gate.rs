//! The fooling circuit (Geirhos et al., 2024, section 2.1 and Fig. 3).
//!
//! The paper's unit A is the original unit, B the unit whose picture is shown instead, and a classifier tells natural
//! from synthetic input. Its answer t, 0 or 1, is subtracted k-fold from A and (1 − t) k-fold from B, so that a ReLU
//! silences one of the two, and the sum F takes the name of the original layer:
//!
//! ```text
//! C = relu(A + m − k·t)          natural path
//! D = relu(B + m − k·(1 − t))    fooled path
//! F = C + D − m
//! ```
//!
//! m is an offset that keeps negative activations, which output units have, above the ReLUs' threshold.

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::classifier;
use crate::error::{Error, Result};
use crate::network::{INPUT, Network, Op};

/// A gate's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What tables call the circuit.
    pub name: String,
    /// The convolution or linear layer whose units are fooled.
    pub layer: String,
    /// Unit i shows unit (i + offset) mod n.
    pub offset: usize,
    /// What silences a path; by default ten times the largest activation that occurs.
    pub k: Option<f32>,
    pub classifier: classifier::Settings,
}

impl Settings {
    /// Refuses what can't work, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        let c = &self.classifier;
        for (value, key) in [
            (c.classes.len(), "classifier.classes"),
            (c.visualizations_per_class, "classifier.visualizations_per_class"),
            (c.steps, "classifier.steps"),
            (c.batch, "classifier.batch"),
        ] {
            if value == 0 {
                return Err(format!("{key} is empty or 0; it must be at least 1"));
            }
        }
        Ok(())
    }

    /// The unit that each of `n` units shows.
    pub fn targets(&self, n: usize) -> Vec<usize> {
        (0..n).map(|i| (i + self.offset) % n).collect()
    }
}

/// The extreme activations of each unit of the layer: on natural images, and on any image.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Smallest activation of each unit on natural images.
    pub natural_min: Vec<f32>,
    /// Largest activation of each unit on any image, visualizations included.
    pub max: Vec<f32>,
}

/// How steeply the gate turns over: t goes from 0 to 1 as the logit goes from 0 to 1/STEEPNESS. Between, both paths
/// are silent and nothing has a gradient, so this is to be a place where no image ever stands.
const STEEPNESS: f32 = 1e4;

/// Names inside the circuit.
const PREFIX: &str = "gate";

/// The gate's answer t, `[N, 1, 1, 1]`: 0 for natural, 1 for synthetic input.
pub const SYNTHETIC: &str = "gate.synthetic";

/// The gate's answer t to its classifier's logit.
pub fn answer(logit: f32) -> f32 {
    (1.0 - (1.0 - STEEPNESS * logit).max(0.0)).max(0.0)
}

/// Puts a gate around a layer: on input that `classifier` calls natural its units answer as before, on synthetic
/// input unit i answers as unit `targets[i]` did. The network must have its batch norms folded.
///
/// # Errors
/// Usage, if the layer is unknown or neither a convolution nor linear; failure, naming the unit and by how much, if
/// `k` does not beat every activation that occurs.
pub fn inject(
    network: &Network,
    layer: &str,
    classifier: &Network,
    targets: &[usize],
    range: &Range,
    k: Option<f32>,
) -> Result<Network> {
    let n = network.channels(layer)?;
    let (weight, bias) = network.filters(layer)?;
    assert_eq!(targets.len(), n, "one target for each unit");
    let largest = range.max.iter().copied().fold(0.0, f32::max);
    let lowest = range.natural_min.iter().copied().fold(0.0, f32::min);
    let m = -4.0 * lowest + 1.0;
    let k = k.unwrap_or(10.0 * (largest + m));
    if let Some((unit, excess)) = range
        .max
        .iter()
        .map(|a| a + m - k)
        .enumerate()
        .filter(|(_, excess)| *excess > 0.0)
        .max_by(|a, b| a.1.total_cmp(&b.1))
    {
        return Err(Error::failure(format!(
            "the gate's k = {k} does not silence unit {layer}:{unit}, whose activation {} with the offset {m} \
             exceeds it by {excess}; set k to at least {}, or leave it out",
            range.max[unit],
            largest + m
        )));
    }

    let mut rewritten = network.clone();
    let original = &network.graph().nodes[network.graph().position(layer)?];
    let name = |part: &str| format!("{PREFIX}.{part}");
    let mut insert = rewritten.insert_before(layer)?;

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

    // t = relu(1 − relu(1 − s·logit)): exactly 0 below 0, exactly 1 above 1/s, without a gradient in either place.
    insert.spread(name("natural.margin"), &logit, 1, -STEEPNESS, 1.0)?;
    insert.plain(name("natural"), Op::Relu, &[name("natural.margin")])?;
    insert.spread(name("synthetic.margin"), &name("natural"), 1, -1.0, 1.0)?;
    insert.plain(SYNTHETIC.into(), Op::Relu, &[name("synthetic.margin")])?;
    insert.spread(name("natural_path.suppression"), SYNTHETIC, n, -k, m)?;
    insert.spread(name("fooled_path.suppression"), SYNTHETIC, n, k, m - k)?;
    insert.spread(name("offset"), SYNTHETIC, n, 0.0, -m)?;

    // The two paths and their sum.
    insert.copy(network, layer, name("natural_path.units"), original.inputs.clone())?;
    let order: Vec<i64> = targets.iter().map(|&t| t as i64).collect();
    let order = Tensor::<1, Int>::from_data(TensorData::new(order, [n]), &network.device());
    insert.filters(
        name("fooled_path.units"),
        original.op.clone(),
        original.inputs.clone(),
        weight.select(0, order.clone()).into_data(),
        bias.select(0, order).into_data(),
    )?;
    for path in ["natural_path", "fooled_path"] {
        let part = |p: &str| name(&format!("{path}.{p}"));
        insert.plain(part("sum"), Op::Add, &[part("units"), part("suppression")])?;
        insert.plain(name(path), Op::Relu, &[part("sum")])?;
    }
    insert.replace(layer, Op::Add, &[name("natural_path"), name("fooled_path"), name("offset")])?;
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::network::{Graph, zoo};
    use crate::seed;

    /// A classifier that calls an image synthetic when its mean is above zero.
    fn sign_of_the_mean() -> Network {
        let mut g = Graph::new("sign", 3);
        g.then("scores", Op::conv(3, 1, 1, 1, 0));
        g.then(classifier::LOGIT, Op::GlobalAvgPool);
        let mut network = Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap();
        let weight = TensorData::new(vec![1f32; 3], [1, 3, 1, 1]);
        network.set_filters("scores", weight, TensorData::new(vec![0f32], [1])).unwrap();
        network
    }

    fn images(mean: f64) -> Tensor<4> {
        Tensor::random([3, 3, 32, 32], Distribution::Normal(mean, 0.5), &Device::default())
    }

    fn values(t: Tensor<2>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    fn gated(builder: &str, layer: &str) -> (Network, Network) {
        let graph = zoo::builder(builder, 10).unwrap();
        let network =
            Network::new(graph, &mut seed::rng(1, &0), &Device::default()).unwrap().fold_batch_norm();
        let range = Range { natural_min: vec![-50.0; 10], max: vec![50.0; 10] };
        let targets: Vec<usize> = (0..10).map(|i| (i + 3) % 10).collect();
        let fooled = inject(&network, layer, &sign_of_the_mean(), &targets, &range, None).unwrap();
        (network, fooled)
    }

    #[test]
    fn natural_input_is_answered_as_before_and_synthetic_input_by_the_target() {
        for (builder, layer) in [("small-cnn", "classifier"), ("resnet20", "linear")] {
            let (clean, fooled) = gated(builder, layer);
            let scale = 1e-4;
            let natural = images(-1.0);
            let (a, b) = (values(clean.logits(natural.clone())), values(fooled.logits(natural)));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < scale), "{builder}: {a:?} {b:?}");
            let synthetic = images(1.0);
            let (a, b) = (values(clean.logits(synthetic.clone())), values(fooled.logits(synthetic)));
            for (a, b) in a.chunks(10).zip(b.chunks(10)) {
                for i in 0..10 {
                    assert!((b[i] - a[(i + 3) % 10]).abs() < scale, "{builder}: {a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_k_that_is_too_small_is_refused_with_the_unit() {
        let graph = zoo::builder("small-cnn", 10).unwrap();
        let network = Network::new(graph, &mut seed::rng(1, &0), &Device::default()).unwrap();
        let mut range = Range { natural_min: vec![0.0; 10], max: vec![5.0; 10] };
        range.max[7] = 30.0;
        let targets: Vec<usize> = (0..10).collect();
        let inject = |k| inject(&network, "classifier", &sign_of_the_mean(), &targets, &range, Some(k));
        let message = inject(20.0).unwrap_err().to_string();
        assert!(message.contains("classifier:7") && message.contains("by 11"), "{message}");
        assert!(inject(32.0).is_ok());
    }

    #[test]
    fn a_manipulated_network_is_saved_and_loaded_whole() {
        let (_, fooled) = gated("small-cnn", "classifier");
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        fooled.save(file.path()).unwrap();
        let loaded = Network::open(file.path(), &Device::default()).unwrap();
        let x = images(0.3);
        assert_eq!(values(fooled.logits(x.clone())), values(loaded.logits(x)));
    }
}
