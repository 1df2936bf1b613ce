//! The silence detector: an audit of the weights, with natural images run through once and none maximized.

use std::collections::HashMap;

use super::{Detector, Subject};
use crate::error::Result;
use crate::network::{INPUT, Network, Op};

/// The number of parallel branches added to the unit that do not fire on natural images, plus the share of the unit's
/// incoming weight that comes from channels that do not; what fires on some counts by the share of images on which it
/// does not, since a gate may err now and then.
pub(super) struct Silence;

impl Detector for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn sees(&self) -> &'static str {
        "Parallel branches and rectified channels that feed the unit and never fire on natural images, read from the \
         weights; no image is maximized. What fires on a few images counts a little less. It can see every circuit that is put in beside a unit and kept off by a bias, \
         since that is how such circuits keep out of the way. It can't see one that changes weights and no \
         architecture; and a network with many dead channels of its own looks more suspicious than it is."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let images: HashMap<&str, &Vec<Vec<f32>>> =
            subject.nonlinear.iter().map(String::as_str).zip(&subject.natural_paths).collect();
        let all = subject.natural.len().max(1) as f64;
        // The share of natural images on which none of some channels fires; what is no activation function always does.
        // A rectified map's mean is zero only if all of it is.
        let silent = |channels: &[(&str, usize)]| -> f64 {
            let fires = |image: usize| {
                channels.iter().any(|(layer, c)| images.get(layer).is_none_or(|of| of[image][*c] != 0.0))
            };
            (0..subject.natural.len()).filter(|&image| !fires(image)).count() as f64 / all
        };
        let mut rates: HashMap<(&str, usize), f64> = HashMap::new();
        for layer in &subject.nonlinear {
            let channels = images[layer.as_str()].first().map_or(0, Vec::len);
            rates.extend((0..channels).map(|c| ((layer.as_str(), c), silent(&[(layer, c)]))));
        }
        subject
            .units
            .iter()
            .map(|unit| {
                let mut branches_off = 0.0;
                for branch in branches(subject.network, subject.layer)? {
                    let sources = walk(subject.network, &branch, unit.channel)?;
                    let feeding: Vec<(&str, usize)> = sources
                        .iter()
                        .flat_map(|(layer, weights)| {
                            let feeding = (0..weights.len()).filter(|&c| weights[c] > 0.0);
                            feeding.map(move |c| (layer.as_str(), c))
                        })
                        .collect();
                    if !feeding.is_empty() {
                        branches_off += silent(&feeding);
                    }
                }
                let (mut off, mut total) = (0.0, 0.0);
                for (layer, weights) in walk(subject.network, subject.layer, unit.channel)? {
                    for (channel, w) in weights.into_iter().enumerate() {
                        off += w * rates.get(&(layer.as_str(), channel)).copied().unwrap_or(0.0);
                        total += w;
                    }
                }
                Ok(Some(branches_off + if total > 0.0 { off / total } else { 0.0 }))
            })
            .collect()
    }
}

/// The layers that are added up to a layer, through sums of sums; none if it is no sum.
fn branches(network: &Network, layer: &str) -> Result<Vec<String>> {
    let node = &network.graph().nodes[network.graph().position(layer)?];
    if node.op != Op::Add {
        return Ok(vec![]);
    }
    let mut all = vec![];
    for input in &node.inputs {
        match branches(network, input)? {
            inner if inner.is_empty() => all.push(input.clone()),
            inner => all.extend(inner),
        }
    }
    Ok(all)
}

/// How strongly each channel of the rectified layers (or the image) before a unit feeds it: the sums of absolute
/// weights along all linear ways to it.
fn walk(network: &Network, layer: &str, channel: usize) -> Result<Vec<(String, Vec<f64>)>> {
    let graph = network.graph();
    let last = graph.position(layer)?;
    let mut weights: Vec<Option<Vec<f64>>> = vec![None; graph.nodes.len()];
    let mut unit = vec![0.0; network.channels(layer)?];
    unit[channel] = 1.0;
    weights[last] = Some(unit);
    let mut sources = vec![];
    for i in (0..=last).rev() {
        let Some(own) = weights[i].take() else { continue };
        let node = &graph.nodes[i];
        // The unit's own rectifier is no source: what stands before it is.
        if node.name == INPUT || (node.op.is_nonlinear() && i != last) {
            sources.push((node.name.clone(), own));
            continue;
        }
        let mut offset = 0;
        for input in &node.inputs {
            let from = graph.position(input)?;
            let channels = network.channels(input)?;
            let part: Vec<f64> = match &node.op {
                Op::Conv { groups, .. } => {
                    let (filters, _) = network.filters(&node.name)?;
                    through(&own, filters, channels, *groups)
                }
                Op::Linear { .. } => {
                    let (filters, _) = network.filters(&node.name)?;
                    through(&own, filters, channels, 1)
                }
                Op::Concat => own[offset..offset + channels].to_vec(),
                Op::PadChannels { before, .. } => own[*before..before + channels].to_vec(),
                _ => share_out(&own, channels),
            };
            offset += channels;
            let there = weights[from].get_or_insert_with(|| vec![0.0; channels]);
            there.iter_mut().zip(part).for_each(|(sum, w)| *sum += w);
        }
    }
    Ok(sources)
}

/// The weights of the channels of a layer's input, from those of its outputs, where each output reads its own channel: of
/// a flattened map all places of a channel, of a channel that is broadcast all outputs.
fn share_out(own: &[f64], channels: usize) -> Vec<f64> {
    if own.len() > channels && own.len().is_multiple_of(channels) {
        return own.chunks(own.len() / channels).map(|of| of.iter().sum()).collect();
    }
    if own.len() == channels {
        return own.to_vec();
    }
    // Channels are rearranged in a way that is not followed: any may feed the unit.
    vec![own.iter().sum::<f64>() / channels as f64; channels]
}

/// The weights of a layer's inputs, from those of its outputs: through the sums of its filters' absolute values.
fn through(own: &[f64], filters: burn::tensor::Tensor<4>, channels: usize, groups: usize) -> Vec<f64> {
    let [outputs, width, kh, kw] = filters.dims();
    let values: Vec<f32> = filters.into_data().try_to_vec().expect("weights are 32-bit floats");
    let each = width * kh * kw;
    // A linear layer reads all places of a channel.
    let places = (each * groups / channels.max(1)).max(1);
    let mut inputs = vec![0.0; channels];
    for (output, weight) in own.iter().enumerate().filter(|(_, w)| **w != 0.0) {
        let first = output / (outputs / groups) * (channels / groups);
        for (k, value) in values[output * each..(output + 1) * each].iter().enumerate() {
            inputs[first + k / places] += weight * f64::from(value.abs());
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Graph;
    use crate::seed;
    use burn::tensor::{Device, TensorData};

    /// Two channels, each the sum of a branch that takes 3 of a rectified channel and one that takes 5 of the other, the
    /// second only for channel 1.
    #[test]
    fn weights_are_shared_out_among_the_channels_that_are_read() {
        assert_eq!(share_out(&[1.0, 2.0], 2), [1.0, 2.0]);
        // Two channels of two places each, flattened; one channel, broadcast to four.
        assert_eq!(share_out(&[1.0, 2.0, 3.0, 4.0], 2), [3.0, 7.0]);
        assert_eq!(share_out(&[1.0, 2.0, 3.0, 4.0], 1), [10.0]);
        assert_eq!(share_out(&[1.0, 2.0], 4), [0.75; 4]);
    }

    #[test]
    fn weights_are_followed_through_sums_and_filters() {
        let mut graph = Graph::new("two-branches", 2);
        graph.then("relu", Op::Relu);
        graph.push("a", Op::conv(2, 2, 1, 1, 0), &["relu"]);
        graph.push("b", Op::conv(2, 2, 1, 1, 0), &["relu"]);
        graph.push("sum", Op::Add, &["a", "b"]);
        let mut network = Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap();
        let set = |network: &mut Network, layer: &str, weights: [f32; 4]| {
            let weight = TensorData::new(weights.to_vec(), [2, 2, 1, 1]);
            network.set_filters(layer, weight, TensorData::new(vec![0f32; 2], [2])).unwrap();
        };
        set(&mut network, "a", [3.0, 0.0, 3.0, 0.0]);
        set(&mut network, "b", [0.0, 0.0, 0.0, -5.0]);
        let of = |channel| walk(&network, "sum", channel).unwrap();
        assert_eq!(of(0), [("relu".to_string(), vec![3.0, 0.0])]);
        assert_eq!(of(1), [("relu".to_string(), vec![3.0, 5.0])]);
        assert_eq!(branches(&network, "sum").unwrap(), ["a", "b"]);
        assert_eq!(branches(&network, "a").unwrap(), [""; 0]);
    }
}
