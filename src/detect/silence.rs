//! The silence detector: an audit of the weights, with natural images run through once and none maximized.

use std::collections::{HashMap, HashSet};

use super::{Detector, Subject};
use crate::error::Result;
use crate::network::op::{self, Reads};
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

/// What a channel of a layer is computed from. A normalization over neighbours only scales each channel, and what goes through
/// filters is mixed, in groups or not.
fn reads(node: &Node, channel: usize, inputs: &[usize]) -> Reads {
    match node.op {
        Op::Lrn(_) => Reads::same(channel, inputs),
        Op::Conv(_) => Reads::All,
        _ => node.op.reads(channel, inputs),
    }
}

/// The channels of a layer's inputs.
fn widths(network: &Network, node: &Node) -> Result<Vec<usize>> {
    node.inputs.iter().map(|input| network.channels(input)).collect()
}

/// The channel that a channel is a function of alone, in a layer that its own reads; none where channels are mixed or
/// several layers are joined.
fn before(network: &Network, (at, channel): Place) -> Result<Option<Place>> {
    let graph = network.graph();
    let node = &graph.nodes[at];
    let Reads::Channels(read) = reads(node, channel, &widths(network, node)?) else { return Ok(None) };
    let constant = |place: &Place| matches!(graph.nodes[place.0].op, Op::Constant(_));
    let places = read.into_iter().map(|(input, c)| Ok((graph.position(&node.inputs[input])?, c)));
    let varying: Vec<Place> =
        places.filter(|place| !place.as_ref().is_ok_and(constant)).collect::<Result<_>>()?;
    Ok(match (&node.op, &varying[..]) {
        (_, &[one]) => Some(one),
        // x·sigmoid(x) is a function of x alone.
        (Op::Mul(_) | Op::Sub(_) | Op::Div(_), all) => {
            let of = |(input, c): Place, x: Place| {
                let Node { op, inputs, .. } = &graph.nodes[input];
                (input, c) == x || (c == x.1 && op.is_elementwise() && inputs[0] == graph.nodes[x.0].name)
            };
            all.iter().copied().find(|&x| all.iter().all(|&input| of(input, x)))
        }
        _ => None,
    })
}

/// What is added up to a channel, through sums of sums: each branch as far back as it is neither rectified nor mixed of
/// several channels. Empty if the channel is no sum.
fn branches(network: &Network, sum: Place) -> Result<Vec<Place>> {
    let graph = network.graph();
    let (mut open, mut seen, mut all) = (vec![], HashSet::new(), vec![]);
    if matches!(graph.nodes[sum.0].op, Op::Add(_)) {
        open.push(sum);
    }
    while let Some((at, channel)) = open.pop() {
        let node = &graph.nodes[at];
        if !seen.insert((at, channel)) || matches!(node.op, Op::Constant(_)) {
            continue;
        }
        if let Op::Add(_) = node.op {
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
                Op::Conv(op::Conv { kernel, stride, padding, dilation, .. }),
                Op::Conv(op::Conv { kernel: k, stride: s, padding: p, dilation: d, .. }),
            ) => (kernel, stride, padding, dilation) == (k, s, p, d),
            (Op::Linear(_), Op::Linear(_)) => true,
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
        if !matches!(node.op, Op::Conv(op::Conv { groups: 1, .. }) | Op::Linear(_)) {
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
        let inputs = widths(network, node)?;
        let filtered = match &node.op {
            Op::Conv(op::Conv { groups, .. }) => Some(*groups),
            Op::Linear(_) => Some(1),
            _ => None,
        };
        let mut parts: Vec<Vec<f64>> = inputs.iter().map(|&channels| vec![0.0; channels]).collect();
        match filtered {
            Some(groups) => {
                let (filters, _) = network.filters(&node.name)?;
                parts[0] = through(&own, filters, inputs[0], groups);
            }
            None => share_out(node, &own, &mut parts),
        }
        for (input, part) in node.inputs.iter().zip(parts) {
            let there = weights[graph.position(input)?].get_or_insert_with(|| vec![0.0; part.len()]);
            there.iter_mut().zip(part).for_each(|(sum, w)| *sum += w);
        }
    }
    Ok(sources)
}

/// Adds the weights of a layer's channels to those of its inputs' that they are computed from. Where all are, they are shared.
fn share_out(node: &Node, own: &[f64], parts: &mut [Vec<f64>]) {
    let inputs: Vec<usize> = parts.iter().map(Vec::len).collect();
    for (channel, &weight) in own.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
        let read = match (&node.op, reads(node, channel, &inputs)) {
            (Op::LayerNorm(_), _) => Reads::same(channel, &inputs),
            (_, read) => read,
        };
        match read {
            // Of each input, however many of its channels are read.
            Reads::Channels(read) => {
                for (input, part) in parts.iter_mut().enumerate() {
                    let count = read.iter().filter(|(i, _)| *i == input).count() as f64;
                    let of = read.iter().filter(|(i, _)| *i == input);
                    of.for_each(|&(_, c)| part[c] += weight / count);
                }
            }
            Reads::All => {
                for part in parts.iter_mut() {
                    let share = weight / part.len() as f64;
                    part.iter_mut().for_each(|sum| *sum += share);
                }
            }
        }
    }
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
        graph.then("squeezed", op::Relu);
        graph
    }

    #[test]
    fn weights_are_shared_out_among_the_channels_that_are_read() {
        let shared = |op: Op, own: &[f64], inputs: &[usize]| {
            let mut graph = Graph::new("shared", inputs[0]);
            let names: Vec<String> = inputs.iter().map(|_| INPUT.to_string()).collect();
            graph.push("layer", op, &names.iter().map(String::as_str).collect::<Vec<_>>());
            let mut parts: Vec<Vec<f64>> = inputs.iter().map(|&n| vec![0.0; n]).collect();
            share_out(&graph.nodes[1], own, &mut parts);
            parts
        };
        assert_eq!(shared(op::Relu.into(), &[1.0, 2.0], &[2]), [[1.0, 2.0]]);
        // Two channels of two places each, flattened; one channel, broadcast to four; all from all.
        assert_eq!(shared(op::Flatten { features: 4 }.into(), &[1.0, 2.0, 3.0, 4.0], &[2]), [[3.0, 7.0]]);
        let broadcast = shared(op::Mul.into(), &[1.0, 2.0, 3.0, 4.0], &[1, 4]);
        assert_eq!(broadcast, [vec![10.0], vec![1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(shared(op::Softmax::default().into(), &[1.0, 2.0, 0.0, 0.0], &[4]), [[0.75; 4]]);
        // Six channels in two groups, one of each in turn.
        let shuffled =
            shared(op::ShuffleChannels { groups: 2 }.into(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[6]);
        assert_eq!(shuffled, [[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]]);
    }

    /// Two channels, each the sum of a branch that takes 3 of a rectified channel and one that takes 5 of the other, the
    /// second only for channel 1.
    #[test]
    fn weights_are_followed_through_sums_and_filters() {
        let mut graph = Graph::new("two-branches", 2);
        graph.then("relu", op::Relu);
        graph.push("a", Op::conv(2, 2, 1, 1, 0), &["relu"]);
        graph.push("b", Op::conv(2, 2, 1, 1, 0), &["relu"]);
        graph.push("sum", op::Add, &["a", "b"]);
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
        graph.then("shuffled", Op::ShuffleChannels(op::ShuffleChannels { groups: 2 }));
        let most = i64::MAX;
        graph.then("sliced", Op::Slice(op::Slice { start: [-3, 0, 0], end: [most; 3], step: [1; 3] }));
        graph.then("relu", op::Relu);
        graph.then("padded", Op::PadChannels(op::PadChannels { before: 1, after: 1 }));
        graph.push("joined", op::Concat::default(), &["padded", INPUT]);
        graph.then("sigmoid", op::Sigmoid);
        graph.push("swish", op::Mul, &["joined", "sigmoid"]);
        graph.then("pooled", Op::max_pool(2, 2, 0, false));
        graph.then("flat", Op::Flatten(op::Flatten { features: 36 }));
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
        graph.then("expand1x1_activation", op::Relu);
        graph.push("expand3x3", Op::conv(4, 3, 3, 1, 1), &["squeezed"]);
        graph.then("expand3x3_activation", op::Relu);
        graph.push("both", op::Concat::default(), &["expand1x1_activation", "expand3x3_activation"]);
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
        graph.then("b_activation", op::Relu);
        graph.push("sum", op::Add, &["a", "b_activation"]);
        graph.then("relu", op::Relu);
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
