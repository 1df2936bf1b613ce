//! The part of a network that a few channels of one layer are computed by: what a visualization of them needs.

use std::collections::BTreeSet;

use trompe_base::error::{Error, Result};

use super::op::Reads;
use super::plan::Plans;
use super::{Graph, Network};

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
        let (needed, whole) = self.needed(output, channels);
        let mut graph = Graph { nodes: vec![], output: layer.into(), ..self.graph.clone() };
        let mut counts = vec![];
        for (i, node) in self.graph.nodes.iter().enumerate().filter(|(i, _)| !needed[*i].is_empty()) {
            let mut node = node.clone();
            // A layer is joined without the inputs that it has no channel of.
            let mut parts = self.parts(i, &needed[i], whole[i]).into_iter();
            node.inputs.retain(|_| parts.next().is_some_and(|(_, part)| !part.is_empty()));
            if !whole[i] {
                let own: Vec<usize> = needed[i].iter().copied().collect();
                node.op = node.op.narrowed(&own, &self.inputs(i)).expect("asked before");
                if own.len() < self.channels[i] {
                    node.parameters = node.parameters.picked(&needed[i]);
                }
            }
            graph.nodes.push(node);
            counts.push(needed[i].len());
        }
        let narrowed = Self {
            graph,
            channels: counts,
            notes: self.notes.clone(),
            leak: self.leak,
            plans: Plans::default(),
        };
        Ok((narrowed, needed[output].iter().copied().collect()))
    }

    /// The channels of a layer's inputs.
    fn inputs(&self, i: usize) -> Vec<usize> {
        self.graph.nodes[i].inputs.iter().map(|name| self.channels[self.index(name)]).collect()
    }

    /// The channels that each layer must have, for the output to have these; and which layers are left as they are.
    fn needed(&self, output: usize, channels: &BTreeSet<usize>) -> (Vec<BTreeSet<usize>>, Vec<bool>) {
        let all = |i: usize| (0..self.channels[i]).collect::<BTreeSet<_>>();
        let mut whole = vec![false; self.graph.nodes.len()];
        loop {
            let mut needed = vec![BTreeSet::new(); self.graph.nodes.len()];
            needed[output].clone_from(channels);
            for i in (0..=output).rev() {
                if whole[i] && !needed[i].is_empty() {
                    needed[i] = all(i);
                }
                for (j, part) in self.parts(i, &needed[i], whole[i]) {
                    needed[j].extend(part);
                }
            }
            // A layer that would have to pick some of what its input has for another's sake is left whole, and one that
            // would be another operator.
            let stays = |i: usize| {
                let own: Vec<usize> = needed[i].iter().copied().collect();
                let mut parts = self.parts(i, &needed[i], false).into_iter();
                !own.is_empty()
                    && (self.graph.nodes[i].op.narrowed(&own, &self.inputs(i)).is_none()
                        || parts.any(|(j, part)| !part.is_empty() && needed[j] != part))
            };
            let more: Vec<usize> = (0..=output).filter(|&i| !whole[i] && stays(i)).collect();
            if more.is_empty() {
                return (needed, whole);
            }
            more.into_iter().for_each(|i| whole[i] = true);
        }
    }

    /// Which channels of each of its inputs a layer needs, to compute these of its own, or to be computed as it is.
    fn parts(&self, i: usize, own: &BTreeSet<usize>, whole: bool) -> Vec<(usize, BTreeSet<usize>)> {
        let node = &self.graph.nodes[i];
        let inputs = self.inputs(i);
        let mut parts = vec![BTreeSet::new(); inputs.len()];
        let all = |parts: &mut Vec<BTreeSet<usize>>| {
            parts.iter_mut().zip(&inputs).for_each(|(part, &count)| part.extend(0..count));
        };
        if whole && !own.is_empty() {
            all(&mut parts);
        }
        for &channel in own.iter().take(if whole { 0 } else { own.len() }) {
            match node.op.reads(channel, &inputs) {
                Reads::Channels(read) => read.into_iter().for_each(|(input, c)| {
                    parts[input].insert(c);
                }),
                Reads::All => {
                    all(&mut parts);
                    break;
                }
            }
        }
        node.inputs.iter().map(|name| self.index(name)).zip(parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};
    use proptest::prelude::*;
    use trompe_base::seed;

    use super::*;
    use crate::{INPUT, Op, op, zoo};

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
        let pooled = g.push("pooled", op::GlobalAvgPool, &[&a]);
        let weights = g.push("weights", op::Sigmoid, &[&pooled]);
        let scaled = g.push("scaled", op::Mul, &[&a, &weights]);
        let constant = g.push("constant", Op::Constant(op::Constant { shape: [8, 1, 1] }), &[]);
        let shifted = g.push("shifted", op::Add, &[&scaled, &constant, &one]);
        let dense = g.push("dense", op::Concat::default(), &[&shifted, &b, &shifted]);
        let more = g.push("more", Op::conv(20, 6, 3, 1, 1), &[&dense]);
        let relu = g.push("relu", op::Relu, &[&more]);
        g.push("all", op::Concat::default(), &[&dense, &relu]);
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
