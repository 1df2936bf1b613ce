//! The silence detector: an audit of the weights, with natural images run through once and none maximized.

use std::collections::{HashMap, HashSet};

use super::{Detector, Subject};
use crate::error::Result;
use crate::network::{INPUT, Network, Node, Op};

/// The number of branches added up to the unit that do not fire on natural images, each counted up to twice where its
/// filter is orthogonal to the one it is added to; plus the share of the unit's incoming weight that comes from channels
/// that do not fire. What fires on some images counts by the share of images on which it does not, since a gate may err
/// now and then.
pub(super) struct Silence;

impl Detector for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn sees(&self) -> &'static str {
        "Branches and rectified channels that feed the unit and never fire on natural images, read from the weights; no \
         image is maximized. A silent branch counts up to twice if its filter reads what the unit's own reads, in \
         directions orthogonal to it. What fires on a few images counts a little less. It can see a branch that is added \
         to the unit and kept off by a bias, at the unit's layer or at an earlier one that its channel comes from \
         unmixed. It can't see a circuit that changes weights and no architecture, a branch that is joined in another way \
         than by a sum, or one that is never quite off; and a network with many dead channels of its own looks more \
         suspicious than it is."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let network = subject.network;
        let images: HashMap<&str, &Vec<Vec<f32>>> =
            subject.nonlinear.iter().map(String::as_str).zip(&subject.natural_paths).collect();
        let all = subject.natural.len().max(1) as f64;
        // The share of natural images on which none of some channels fires; what is no activation function always does.
        // A rectified map's mean is zero only if all of it is.
        let silent = |channels: &[(String, usize)]| -> f64 {
            let fires = |image: usize| {
                channels
                    .iter()
                    .any(|(layer, c)| images.get(layer.as_str()).is_none_or(|of| of[image][*c] != 0.0))
            };
            (0..subject.natural.len()).filter(|&image| !fires(image)).count() as f64 / all
        };
        let mut rates: HashMap<&str, Vec<f64>> = HashMap::new();
        for layer in &subject.nonlinear {
            let channels = images[layer.as_str()].first().map_or(0, Vec::len);
            rates.insert(layer, (0..channels).map(|c| silent(&[(layer.clone(), c)])).collect());
        }
        subject
            .units
            .iter()
            .map(|unit| {
                let origin = origin(network, subject.layer, unit.channel)?;
                let mut beside = vec![];
                for branch in branches(network, origin)? {
                    let feeding = feeding(network, branch)?;
                    if !feeding.is_empty() {
                        beside.push((silent(&feeding), filter(network, branch)?));
                    }
                }
                let (mut off, mut total) = (0.0, 0.0);
                let (at, channel) = origin;
                for (layer, weights) in walk(network, &network.graph().nodes[at].name, channel)? {
                    for (channel, w) in weights.into_iter().enumerate() {
                        off += w * rates.get(layer.as_str()).map_or(0.0, |of| of[channel]);
                        total += w;
                    }
                }
                Ok(Some(evidence(&beside) + if total > 0.0 { off / total } else { 0.0 }))
            })
            .collect()
    }
}

/// A channel of a layer, both by position.
type Place = (usize, usize);

/// What branches that are added up say, each the share of images on which it is off, and its filter. An orthogonal
/// filter is no sign by itself, since any two are nearly so where there are many weights; but a silent branch that reads
/// the same as one that fires, and something else in it, is what hides a picture from natural images. So it counts once
/// for its silence, and once more by the sine of the angle between the two filters: the part of the hidden one that the
/// other does not answer to.
fn evidence(beside: &[(f64, Option<Filter>)]) -> f64 {
    let of_branch = |(off, own): &(f64, Option<Filter>)| {
        let orthogonal = beside
            .iter()
            .filter_map(|(other_off, other)| Some((1.0 - other_off) * own.as_ref()?.sine(other.as_ref()?)?))
            .fold(0.0, f64::max);
        off * (1.0 + orthogonal)
    };
    beside.iter().map(of_branch).sum()
}

/// Where a unit's values are from: the earliest channel that the unit is a function of alone.
fn origin(network: &Network, layer: &str, channel: usize) -> Result<Place> {
    let mut place = (network.graph().position(layer)?, channel);
    while let Some(earlier) = before(network, place)? {
        place = earlier;
    }
    Ok(place)
}

/// The channel that a channel is a function of alone, in a layer that its own reads; none where channels are mixed or
/// several layers are joined. A local response normalization only scales each channel.
fn before(network: &Network, (at, channel): Place) -> Result<Option<Place>> {
    let graph = network.graph();
    let width = |position: usize| network.channels(&graph.nodes[position].name);
    let node = &graph.nodes[at];
    let inputs = node.inputs.iter().map(|input| graph.position(input)).collect::<Result<Vec<_>>>()?;
    let Some(&first) = inputs.first() else { return Ok(None) };
    let channels = width(first)?;
    Ok(match &node.op {
        op if op.is_elementwise() => Some((first, channel)),
        Op::BatchNorm { .. }
        | Op::MaxPool { .. }
        | Op::AvgPool { .. }
        | Op::GlobalAvgPool
        | Op::GlobalMaxPool
        | Op::Mean { channels: false, .. }
        | Op::Lrn { .. }
        | Op::Subsample { .. }
        | Op::Resize(_) => Some((first, channel)),
        Op::Reshape { shape } if shape[0] == channels => Some((first, channel)),
        Op::Flatten { features } => Some((first, channel / (features / channels.max(1)).max(1))),
        Op::ShuffleChannels { groups } => {
            Some((first, channel % groups * (channels / groups) + channel / groups))
        }
        Op::Slice { start, step, .. } => {
            let n = channels as i64;
            let from = if start[0] < 0 { start[0].saturating_add(n) } else { start[0] };
            Some((first, from.clamp(0, n) as usize + channel * step[0]))
        }
        Op::PadChannels { before, .. } | Op::Pad { before: [before, ..], .. } => {
            channel.checked_sub(*before).filter(|c| *c < channels).map(|c| (first, c))
        }
        Op::Concat => {
            let mut offset = 0;
            for input in inputs {
                let channels = width(input)?;
                if channel < offset + channels {
                    return Ok(Some((input, channel - offset)));
                }
                offset += channels;
            }
            None
        }
        Op::Add | Op::Mul | Op::Sub | Op::Div => {
            let constant = |&input: &usize| matches!(graph.nodes[input].op, Op::Constant { .. });
            let varying: Vec<usize> = inputs.into_iter().filter(|input| !constant(input)).collect();
            // x·sigmoid(x) is a function of x alone.
            let of = |input: usize, x: usize| {
                let Node { op, inputs, .. } = &graph.nodes[input];
                input == x || (op.is_elementwise() && inputs[0] == graph.nodes[x].name)
            };
            let x = match node.op {
                Op::Add => varying.first().copied().filter(|_| varying.len() == 1),
                _ => varying.iter().copied().find(|&x| varying.iter().all(|&input| of(input, x))),
            };
            match x {
                Some(x) => Some((x, if width(x)? == 1 { 0 } else { channel })),
                None => None,
            }
        }
        _ => None,
    })
}

/// What is added up to a channel, through sums of sums: each branch as far back as it is neither rectified nor mixed of
/// several channels. Empty if the channel is no sum.
fn branches(network: &Network, sum: Place) -> Result<Vec<Place>> {
    let graph = network.graph();
    let (mut open, mut seen, mut all) = (vec![], HashSet::new(), vec![]);
    if graph.nodes[sum.0].op == Op::Add {
        open.push(sum);
    }
    while let Some((at, channel)) = open.pop() {
        let node = &graph.nodes[at];
        if !seen.insert((at, channel)) || matches!(node.op, Op::Constant { .. }) {
            continue;
        }
        if node.op == Op::Add {
            for input in node.inputs.iter().rev() {
                let own = if network.channels(input)? == 1 { 0 } else { channel };
                open.push((graph.position(input)?, own));
            }
            continue;
        }
        let earlier = if node.op.is_nonlinear() { None } else { before(network, (at, channel))? };
        match earlier {
            Some(earlier) => open.push(earlier),
            None => all.push((at, channel)),
        }
    }
    Ok(all)
}

/// The rectified channels (or those of the image) that can drive a branch: the branch itself, if it is rectified; none, if
/// all weights on the way to it are zero.
fn feeding(network: &Network, (at, channel): Place) -> Result<Vec<(String, usize)>> {
    let node = &network.graph().nodes[at];
    let mut all = vec![];
    for (layer, weights) in walk(network, &node.name, channel)? {
        let feeding = (0..weights.len()).filter(|&c| weights[c] > 0.0);
        all.extend(feeding.map(|c| (layer.clone(), c)));
    }
    Ok(if node.op.is_nonlinear() && !all.is_empty() { vec![(node.name.clone(), channel)] } else { all })
}

/// A filter: the layer that has it, and its weights.
struct Filter<'n> {
    node: &'n Node,
    weights: Vec<f32>,
}

impl Filter<'_> {
    /// The sine of the angle to a filter that reads the same places of the same layer; none for others.
    fn sine(&self, other: &Self) -> Option<f64> {
        let alike = match (&self.node.op, &other.node.op) {
            (
                Op::Conv { kernel, stride, padding, dilation, .. },
                Op::Conv { kernel: k, stride: s, padding: p, dilation: d, .. },
            ) => (kernel, stride, padding, dilation) == (k, s, p, d),
            (Op::Linear { .. }, Op::Linear { .. }) => true,
            _ => false,
        };
        if !alike || self.node.inputs != other.node.inputs {
            return None;
        }
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let (a, b) = (&self.weights, &other.weights);
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        Some((1.0 - cosine * cosine).max(0.0).sqrt())
    }
}

/// The filter that a branch comes from: before what keeps channels apart, and before filters that pass one value on. None
/// where it is no filter of an ungrouped convolution or a linear layer.
fn filter(network: &Network, mut place: Place) -> Result<Option<Filter<'_>>> {
    let graph = network.graph();
    loop {
        let (at, channel) = place;
        let node = &graph.nodes[at];
        if !matches!(node.op, Op::Conv { groups: 1, .. } | Op::Linear { .. }) {
            match before(network, place)? {
                Some(earlier) => place = earlier,
                None => return Ok(None),
            }
            continue;
        }
        let (filters, _) = network.filters(&node.name)?;
        let weights = filters.narrow(0, channel, 1).into_data().try_to_vec();
        let weights: Vec<f32> = weights.expect("weights are 32-bit floats");
        let read: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] != 0.0).collect();
        match read[..] {
            [] => return Ok(None),
            [one] => {
                let places = weights.len() / network.channels(&node.inputs[0])?.max(1);
                place = (graph.position(&node.inputs[0])?, one / places.max(1));
            }
            _ => return Ok(Some(Filter { node, weights })),
        }
    }
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
    use burn::tensor::{Device, Tensor, TensorData};
    use image::{Rgb, RgbImage};
    use rand::RngExt;

    use super::*;
    use crate::circuit::silent;
    use crate::detect::Pictured;
    use crate::device::Kind;
    use crate::executor::Executor;
    use crate::network::Graph;
    use crate::seed;
    use crate::visualize::Focus;

    fn network(graph: Graph) -> Network {
        Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap()
    }

    fn set(network: &mut Network, layer: &str, shape: [usize; 4], weights: Vec<f32>) {
        let bias = TensorData::new(vec![0f32; shape[0]], [shape[0]]);
        network.set_filters(layer, TensorData::new(weights, shape), bias).unwrap();
    }

    /// What the detector makes of some channels of a layer, given noise for natural images.
    fn scores(network: &Network, layer: &str, channels: &[usize]) -> Vec<f64> {
        let mut rng = seed::rng(0, &"noise");
        let noise: Vec<RgbImage> = (0..5)
            .map(|_| RgbImage::from_fn(8, 8, |_, _| Rgb([0; 3].map(|_: u8| rng.random_range(1..=255)))))
            .collect();
        let natural: Vec<&RgbImage> = noise.iter().collect();
        let units: Vec<Pictured> = channels
            .iter()
            .map(|&channel| Pictured { channel, pictures: vec![noise[0].clone()], reached: vec![0.0] })
            .collect();
        let preprocessing = toml::from_str("").unwrap();
        let executor = Executor::new(Kind::Flex).unwrap();
        let subject =
            Subject::observe(network, &preprocessing, &executor, Focus::Mean, layer, &units, &natural, 0);
        Silence.score(&subject.unwrap()).unwrap().into_iter().map(Option::unwrap).collect()
    }

    /// A layer whose four channels fire on every image.
    fn squeezed(name: &str) -> Graph {
        let mut graph = Graph::new(name, 3);
        graph.then("squeeze", Op::conv(3, 4, 1, 1, 0));
        graph.then("squeezed", Op::Relu);
        graph
    }

    #[test]
    fn weights_are_shared_out_among_the_channels_that_are_read() {
        assert_eq!(share_out(&[1.0, 2.0], 2), [1.0, 2.0]);
        // Two channels of two places each, flattened; one channel, broadcast to four.
        assert_eq!(share_out(&[1.0, 2.0, 3.0, 4.0], 2), [3.0, 7.0]);
        assert_eq!(share_out(&[1.0, 2.0, 3.0, 4.0], 1), [10.0]);
        assert_eq!(share_out(&[1.0, 2.0], 4), [0.75; 4]);
    }

    /// Two channels, each the sum of a branch that takes 3 of a rectified channel and one that takes 5 of the other, the
    /// second only for channel 1.
    #[test]
    fn weights_are_followed_through_sums_and_filters() {
        let mut graph = Graph::new("two-branches", 2);
        graph.then("relu", Op::Relu);
        graph.push("a", Op::conv(2, 2, 1, 1, 0), &["relu"]);
        graph.push("b", Op::conv(2, 2, 1, 1, 0), &["relu"]);
        graph.push("sum", Op::Add, &["a", "b"]);
        let mut network = network(graph);
        set(&mut network, "a", [2, 2, 1, 1], vec![3.0, 0.0, 3.0, 0.0]);
        set(&mut network, "b", [2, 2, 1, 1], vec![0.0, 0.0, 0.0, -5.0]);
        let of = |channel| walk(&network, "sum", channel).unwrap();
        assert_eq!(of(0), [("relu".to_string(), vec![3.0, 0.0])]);
        assert_eq!(of(1), [("relu".to_string(), vec![3.0, 5.0])]);
        let [relu, a, b, sum] = ["relu", "a", "b", "sum"].map(|l| network.graph().position(l).unwrap());
        assert_eq!(branches(&network, (sum, 1)).unwrap(), [(a, 1), (b, 1)]);
        assert!(branches(&network, (a, 1)).unwrap().is_empty());
        // Nothing drives the second branch of channel 0.
        assert!(feeding(&network, (b, 0)).unwrap().is_empty());
        assert_eq!(feeding(&network, (b, 1)).unwrap(), [("relu".to_string(), 1)]);
        assert_eq!(before(&network, (relu, 1)).unwrap(), Some((0, 1)));
    }

    /// Against the forward pass: which channel of the image, alone, reaches a channel of the last layer.
    #[test]
    fn a_channel_is_followed_through_what_keeps_channels_apart() {
        let mut graph = Graph::new("apart", 4);
        graph.then("shuffled", Op::ShuffleChannels { groups: 2 });
        let most = i64::MAX;
        graph.then("sliced", Op::Slice { start: [-3, 0, 0], end: [most; 3], step: [1; 3] });
        graph.then("relu", Op::Relu);
        graph.then("padded", Op::PadChannels { before: 1, after: 1 });
        graph.push("joined", Op::Concat, &["padded", INPUT]);
        graph.then("sigmoid", Op::Sigmoid);
        graph.push("swish", Op::Mul, &["joined", "sigmoid"]);
        graph.then("pooled", Op::max_pool(2, 2, 0, false));
        graph.then("flat", Op::Flatten { features: 36 });
        let network = network(graph);
        let reached: Vec<Vec<f32>> = (0..4)
            .map(|k| {
                let image: Vec<f32> = (0..4 * 16).map(|i| f32::from(u8::from(i / 16 == k))).collect();
                let image = Tensor::from_data(TensorData::new(image, [1, 4, 4, 4]), &Device::default());
                network.capture(image, &["flat"]).unwrap().remove(0).into_data().try_to_vec().unwrap()
            })
            .collect();
        for channel in 0..36 {
            let by: Vec<usize> = reached
                .iter()
                .enumerate()
                .filter(|(_, values)| values[channel] != 0.0)
                .map(|(k, _)| k)
                .collect();
            let (at, from) = origin(&network, "flat", channel).unwrap();
            // Empty channels are nobody's.
            let followed = if at == 0 { vec![from] } else { vec![] };
            assert_eq!(followed, by, "{channel}");
        }
    }

    /// Silent units as the circuit makes them, in one of the two layers that a Fire module joins once they are rectified:
    /// the module's unit has a branch that is off, with a filter at the angle whose tangent is λ.
    #[test]
    fn a_silent_unit_is_seen_behind_rectifiers_joins_and_pools() {
        let mut graph = squeezed("fire");
        graph.push("expand1x1", Op::conv(4, 2, 1, 1, 0), &["squeezed"]);
        graph.then("expand1x1_activation", Op::Relu);
        graph.push("expand3x3", Op::conv(4, 3, 3, 1, 1), &["squeezed"]);
        graph.then("expand3x3_activation", Op::Relu);
        graph.push("both", Op::Concat, &["expand1x1_activation", "expand3x3_activation"]);
        graph.then("pool", Op::max_pool(2, 2, 0, false));
        let mut honest = network(graph);
        set(&mut honest, "squeeze", [4, 3, 1, 1], vec![0.5; 12]);
        let settings: silent::Settings = toml::from_str(
            "name = 's'\nlayer = 'expand3x3'\nunits = [1]\npicture = 'p.png'\nlambda = 3.0\nscale = 10.0",
        )
        .unwrap();
        let direction: Vec<f32> = (0..36).map(|i| (i % 5) as f32 - 1.0).collect();
        let fooled = silent::inject(&honest, &settings, &direction, Some(&[1e6])).unwrap().network;
        let (filters, _) = honest.filters("expand3x3").unwrap();
        let filters: Vec<f32> = filters.into_data().try_to_vec().unwrap();
        let own: f64 = filters[36..72].iter().map(|w| f64::from(w.abs())).sum();
        let want = 1.0 + 3.0 / 10f64.sqrt() + 1.0 / (own + 1.0);
        for (layer, [other, beside, unit]) in [("pool", [0, 2, 3]), ("expand3x3", [0, 2, 1])] {
            assert_eq!(scores(&honest, layer, &[other, beside, unit]), [0.0; 3], "{layer}");
            let found = scores(&fooled, layer, &[other, beside, unit]);
            assert_eq!(found[..2], [0.0; 2], "{layer}");
            assert!((found[2] - want).abs() < 1e-4, "{layer}: {} {want}", found[2]);
        }
    }

    /// Parallel filters that fire, however orthogonal, are an architecture.
    #[test]
    fn honest_branches_are_no_evidence() {
        let mut graph = squeezed("parallel");
        graph.push("a", Op::conv(4, 2, 1, 1, 0), &["squeezed"]);
        graph.push("b", Op::conv(4, 2, 1, 1, 0), &["squeezed"]);
        graph.then("b_activation", Op::Relu);
        graph.push("sum", Op::Add, &["a", "b_activation"]);
        graph.then("relu", Op::Relu);
        let mut network = network(graph);
        set(&mut network, "squeeze", [4, 3, 1, 1], vec![0.5; 12]);
        set(&mut network, "a", [2, 4, 1, 1], vec![1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        set(&mut network, "b", [2, 4, 1, 1], vec![0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(scores(&network, "relu", &[0, 1]), [0.0; 2]);
        // Turned round, the second one never fires: it is silent, and orthogonal in channel 0 alone. A third of the
        // weight into each channel is the branch's.
        set(&mut network, "b", [2, 4, 1, 1], vec![0.0, 0.0, -1.0, -1.0, -1.0, -1.0, 0.0, 0.0]);
        let found = scores(&network, "relu", &[0, 1]);
        assert!((found[0] - (2.0 + 1.0 / 3.0)).abs() < 1e-9, "{found:?}");
        assert!((found[1] - (1.0 + 1.0 / 3.0)).abs() < 1e-6, "{found:?}");
    }
}
