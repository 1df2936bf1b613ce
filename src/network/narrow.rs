//! The part of a network that a few channels of one layer are computed by: what a visualization of them needs.

use std::collections::BTreeSet;

use burn::module::{Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::{Int, Tensor};

use super::layer::{Constant, Layer};
use super::{Graph, Network, Op};
use crate::error::{Error, Result};

/// How a layer's channels depend on those of its inputs.
enum Dependence {
    /// Each on all, through filters of its own.
    Filters,
    /// Each on the same one of every input.
    Same,
    /// They are the inputs', one after another.
    Joined,
    /// In other ways: the layer is needed whole, if at all.
    Whole,
}

impl Op {
    fn dependence(&self) -> Dependence {
        match self {
            Self::Conv { groups: 1, .. } | Self::Linear { .. } | Self::Constant { .. } => Dependence::Filters,
            op if op.is_elementwise() => Dependence::Same,
            Self::BatchNorm { .. }
            | Self::MaxPool { .. }
            | Self::AvgPool { .. }
            | Self::GlobalAvgPool
            | Self::GlobalMaxPool
            | Self::Mean { channels: false, .. }
            | Self::Add
            | Self::Mul
            | Self::Sub
            | Self::Div
            | Self::Subsample { .. } => Dependence::Same,
            Self::Concat => Dependence::Joined,
            _ => Dependence::Whole,
        }
    }
}

impl Network {
    /// The network that computes these channels of this layer, as its output, and no filter, branch or layer that they do
    /// not depend on; and which of the layer's channels it has, in order. Their values are those in the whole network. It
    /// may have more than were asked for, where leaving some out would take more than leaving filters out. The network's
    /// parameters must not have gradients yet.
    ///
    /// # Errors
    /// Usage, if there is no such layer or channel.
    pub fn narrowed(&self, layer: &str, channels: &BTreeSet<usize>) -> Result<(Self, Vec<usize>)> {
        let output = self.graph.position(layer)?;
        let count = self.channels[output];
        if channels.last().is_none_or(|&last| last >= count) {
            return Err(Error::usage(format!(
                "layer {layer} of network {} has channels 0 to {}, not all of {channels:?}",
                self.name(),
                count - 1
            )));
        }
        let needed = self.needed(output, channels);
        let mut narrowed = Self {
            graph: Graph { nodes: vec![], output: layer.into(), ..self.graph.clone() },
            channels: vec![],
            layers: vec![],
            notes: self.notes.clone(),
            leak: self.leak,
        };
        for (i, node) in self.graph.nodes.iter().enumerate().filter(|(i, _)| !needed[*i].is_empty()) {
            let mut node = node.clone();
            // A layer is joined without the inputs that it has no channel of.
            let mut parts = self.parts(i, &needed[i]).into_iter();
            node.inputs.retain(|_| parts.next().is_some_and(|(_, part)| !part.is_empty()));
            let mut layer = self.layers[i].clone();
            let kept = needed[i].len();
            if kept < self.channels[i] {
                match &mut node.op {
                    Op::Conv { channels: [_, all], .. }
                    | Op::Linear { features: [_, all], .. }
                    | Op::BatchNorm { channels: all, .. }
                    | Op::Constant { shape: [all, ..] } => *all = kept,
                    _ => {}
                }
                layer = layer.with_channels(&needed[i]);
            }
            narrowed.graph.nodes.push(node);
            narrowed.channels.push(kept);
            narrowed.layers.push(layer);
        }
        Ok((narrowed, needed[output].iter().copied().collect()))
    }

    fn index(&self, name: &str) -> usize {
        self.graph.position(name).expect("a checked graph has a layer's inputs")
    }

    /// The channels that each layer must have, for the output to have these.
    fn needed(&self, output: usize, channels: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
        let all = |i: usize| (0..self.channels[i]).collect::<BTreeSet<_>>();
        let mut whole: Vec<bool> =
            self.graph.nodes.iter().map(|node| matches!(node.op.dependence(), Dependence::Whole)).collect();
        loop {
            let mut needed = vec![BTreeSet::new(); self.graph.nodes.len()];
            needed[output].clone_from(channels);
            for i in (0..=output).rev() {
                if whole[i] && !needed[i].is_empty() {
                    needed[i] = all(i);
                }
                for (j, part) in self.parts(i, &needed[i]) {
                    needed[j].extend(part);
                }
            }
            // A layer that would have to pick some of what its input has for another's sake is left whole.
            let picks = |i: usize| {
                let mut parts = self.parts(i, &needed[i]).into_iter();
                parts.any(|(j, part)| !part.is_empty() && needed[j] != part)
            };
            let more: Vec<usize> = (0..=output).filter(|&i| !whole[i] && picks(i)).collect();
            if more.is_empty() {
                return needed;
            }
            more.into_iter().for_each(|i| whole[i] = true);
        }
    }

    /// Which channels of each of its inputs a layer needs, to compute these of its own.
    fn parts(&self, i: usize, own: &BTreeSet<usize>) -> Vec<(usize, BTreeSet<usize>)> {
        let node = &self.graph.nodes[i];
        let dependence = node.op.dependence();
        let mut before = 0;
        let part = |name: &String| {
            let j = self.index(name);
            let count = self.channels[j];
            let part = match dependence {
                _ if own.is_empty() => BTreeSet::new(),
                Dependence::Joined => own.range(before..before + count).map(|c| c - before).collect(),
                // One channel is broadcast over the others'.
                Dependence::Same if count > 1 => own.clone(),
                _ => (0..count).collect(),
            };
            before += count;
            (j, part)
        };
        node.inputs.iter().map(part).collect()
    }
}

impl Layer {
    /// The layer with these of its channels.
    fn with_channels(&self, channels: &BTreeSet<usize>) -> Self {
        let picked: Vec<i32> = channels.iter().map(|&c| c as i32).collect();
        match self {
            Self::Conv(conv) => Self::Conv(Conv2d {
                weight: Param::from_tensor(pick(conv.weight.val(), 0, &picked)),
                bias: conv.bias.as_ref().map(|bias| Param::from_tensor(pick(bias.val(), 0, &picked))),
                ..conv.clone()
            }),
            Self::Linear(linear) => Self::Linear(Linear {
                weight: Param::from_tensor(pick(linear.weight.val(), 1, &picked)),
                bias: linear.bias.as_ref().map(|bias| Param::from_tensor(pick(bias.val(), 0, &picked))),
            }),
            Self::BatchNorm(norm) => {
                let [mean, var] = [&norm.running_mean, &norm.running_var]
                    .map(|state| RunningState::new(pick(state.value_sync(), 0, &picked)));
                let [gamma, beta] = [&norm.gamma, &norm.beta]
                    .map(|parameter| Param::from_tensor(pick(parameter.val(), 0, &picked)));
                Self::BatchNorm(BatchNorm {
                    gamma,
                    beta,
                    running_mean: mean,
                    running_var: var,
                    ..norm.clone()
                })
            }
            Self::Constant(constant) => {
                Self::Constant(Constant { value: Param::from_tensor(pick(constant.value.val(), 1, &picked)) })
            }
            Self::ChannelNorm(_) | Self::Plain(_) => self.clone(),
        }
    }
}

fn pick<const D: usize>(values: Tensor<D>, dim: usize, picked: &[i32]) -> Tensor<D> {
    let picked = Tensor::<1, Int>::from_ints(picked, &values.device());
    values.select(dim, picked)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;
    use crate::network::{INPUT, zoo};
    use crate::seed;

    fn network(graph: Graph) -> Network {
        Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap()
    }

    fn channels(of: &[usize]) -> BTreeSet<usize> {
        of.iter().copied().collect()
    }

    /// A branch that is not read, filters that are not, and layers after the one asked for are gone.
    #[test]
    fn a_fire_module_loses_the_branch_that_is_not_read() {
        let whole = network(zoo::squeezenet1_0(1000));
        let (part, kept) = whole.narrowed("features.5", &channels(&[3])).unwrap();
        assert_eq!(kept, [3]);
        assert_eq!(part.channels("features.5").unwrap(), 1);
        assert_eq!(part.channels("features.5.expand1x1").unwrap(), 1);
        assert!(part.channels("features.5.expand3x3").is_err());
        assert!(part.channels("features.7.squeeze").is_err());
        assert_eq!(part.channels("features.4").unwrap(), 128);
        let (part, kept) = whole.narrowed("features.5", &channels(&[3, 128, 255])).unwrap();
        assert_eq!(kept, [3, 128, 255]);
        assert_eq!(part.channels("features.5.expand3x3").unwrap(), 2);
    }

    #[test]
    fn a_sum_over_a_shortcut_is_left_whole() {
        let whole = network(zoo::resnet_cifar(20, 10));
        let (part, kept) = whole.narrowed("layer2.1", &channels(&[5])).unwrap();
        assert_eq!(kept.len(), 32);
        assert_eq!(part.graph().nodes.len(), whole.graph().position("layer2.1").unwrap() + 1);
    }

    #[test]
    fn channels_that_are_not_there_are_refused() {
        let whole = network(zoo::small_cnn(10));
        for wrong in [channels(&[]), channels(&[0, 10])] {
            let message = whole.narrowed("classifier", &wrong).err().unwrap().to_string();
            assert!(message.contains("0 to 9"), "{message}");
        }
    }

    /// Broadcast, constant, joined and shared inputs, by hand.
    fn mixed() -> Graph {
        let mut g = Graph::new("mixed", 3);
        let a = g.then("a", Op::conv(3, 8, 3, 1, 1));
        let b = g.push("b", Op::conv(3, 4, 1, 1, 0), &[INPUT]);
        let one = g.push("one", Op::conv(8, 1, 1, 1, 0), &[&a]);
        let pooled = g.push("pooled", Op::GlobalAvgPool, &[&a]);
        let weights = g.push("weights", Op::Sigmoid, &[&pooled]);
        let scaled = g.push("scaled", Op::Mul, &[&a, &weights]);
        let constant = g.push("constant", Op::Constant { shape: [8, 1, 1] }, &[]);
        let shifted = g.push("shifted", Op::Add, &[&scaled, &constant, &one]);
        let dense = g.push("dense", Op::Concat, &[&shifted, &b, &shifted]);
        let more = g.push("more", Op::conv(20, 6, 3, 1, 1), &[&dense]);
        let relu = g.push("relu", Op::Relu, &[&more]);
        g.push("all", Op::Concat, &[&dense, &relu]);
        g
    }

    /// What reads a joined layer's other inputs does not keep them from being left out.
    #[test]
    fn a_joined_layer_loses_inputs_that_others_need() {
        let whole = network(mixed());
        let (part, kept) = whole.narrowed("all", &channels(&[21])).unwrap();
        assert_eq!(kept, [21]);
        assert_eq!(part.graph().nodes.last().unwrap().inputs, ["relu"]);
        assert_eq!(part.channels("more").unwrap(), 1);
        let (part, kept) = whole.narrowed("shifted", &channels(&[2])).unwrap();
        // `one` needs all of `a`, and `scaled` would have to pick.
        assert_eq!(kept, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(part.channels("b").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Whatever the network, layer and channels: the values are those of the whole network.
        #[test]
        fn values_are_those_of_the_whole_network(
            which in 0usize..5,
            place in any::<prop::sample::Index>(),
            picked in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        ) {
            let whole = network(match which {
                0 => zoo::squeezenet1_0(20),
                1 => zoo::inception_v1(20),
                2 => zoo::resnet_cifar(20, 10),
                3 => zoo::small_cnn(10),
                _ => mixed(),
            });
            let layers: Vec<String> = whole.graph().layers().map(String::from).collect();
            let layer = &layers[place.index(layers.len())];
            let count = whole.channels(layer).unwrap();
            let picked: BTreeSet<usize> = picked.iter().map(|i| i.index(count)).collect();
            let (part, kept) = whole.narrowed(layer, &picked).unwrap();
            prop_assert!(picked.iter().all(|c| kept.contains(c)));
            let x = Tensor::<4>::random([2, 3, 64, 64], Distribution::Default, &Device::default());
            let [all, some] = [&whole, &part].map(|n| n.capture(x.clone(), &[layer]).unwrap().remove(0));
            prop_assert_eq!(some.dims()[1], kept.len());
            for (i, &c) in kept.iter().enumerate() {
                let [a, b] = [all.clone().narrow(1, c, 1), some.clone().narrow(1, i, 1)];
                let scale = a.clone().abs().max().into_scalar::<f32>().max(1.0);
                let difference = (a - b).abs().max().into_scalar::<f32>();
                prop_assert!(difference <= 1e-5 * scale, "{}:{} differs by {}", layer, c, difference);
            }
        }
    }
}
