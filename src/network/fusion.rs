//! Which layers the forward pass computes together: a convolution with the ReLU after it, two convolutions of one map with
//! the layer that joins them, and a maximum pooling with the ReLU before it.

use std::collections::{HashMap, HashSet};

use super::{Graph, Op, Padding};

/// What the layers of a graph are computed from in one go, by their places in it.
pub(super) struct Fusion {
    groups: HashMap<usize, Group>,
    within: HashSet<usize>,
    /// Maximum poolings that take max(x, 0) of what they read.
    poolings: HashSet<usize>,
}

/// One or two convolutions of one map whose outputs, joined, are a layer.
pub(super) struct Group {
    pub convs: Vec<usize>,
    /// Whether max(x, 0) of them is to be taken here. Where a pooling alone reads the layer, it does that instead.
    pub rectified: bool,
}

impl Fusion {
    /// What can be computed in one go of the layers `order` of a graph, each read `uses` times, with inputs at `inputs`;
    /// poolings with the ReLU before them only where they may be.
    pub fn new(
        graph: &Graph,
        order: &[usize],
        uses: &[usize],
        inputs: &[Vec<usize>],
        poolings: bool,
    ) -> Self {
        let mut fusion = Self { groups: HashMap::new(), within: HashSet::new(), poolings: HashSet::new() };
        let op = |i: usize| &graph.nodes[i].op;
        let alone = |i: usize| uses[i] == 1;
        for &i in order.iter().filter(|&&i| *op(i) == Op::Relu) {
            let conv = inputs[i][0];
            if alone(conv) && matches!(op(conv), Op::Conv { .. }) {
                fusion.groups.insert(i, Group { convs: vec![conv], rectified: true });
                fusion.within.insert(conv);
            }
        }
        for &i in order.iter().filter(|&&i| *op(i) == Op::Concat) {
            let [first, second] = inputs[i][..] else { continue };
            let [Some(a), Some(b)] = [first, second].map(|part| fusion.conv(graph, part)) else { continue };
            let fixed = |conv: usize| !matches!(op(conv), Op::Conv { padding: Padding::Same(_), .. });
            let alike = inputs[a.0] == inputs[b.0] && a.1 == b.1;
            if alike && [a.0, b.0].into_iter().all(fixed) && [first, second].into_iter().all(alone) {
                for part in [first, second] {
                    fusion.groups.remove(&part);
                    fusion.within.insert(part);
                }
                fusion.groups.insert(i, Group { convs: vec![a.0, b.0], rectified: a.1 });
            }
        }
        // Of the fewer maxima instead: max(x, 0) of a maximum is the maximum of max(x, 0).
        for &i in order.iter().filter(|&&i| poolings && matches!(op(i), Op::MaxPool { .. })) {
            let read = inputs[i][0];
            if let (true, Some(group)) = (alone(read), fusion.groups.get_mut(&read))
                && group.rectified
            {
                group.rectified = false;
                fusion.poolings.insert(i);
            }
        }
        fusion
    }

    /// The convolution that a layer is, or is computed from together with its ReLU, and whether there is one.
    fn conv(&self, graph: &Graph, i: usize) -> Option<(usize, bool)> {
        match graph.nodes[i].op {
            Op::Conv { .. } => Some((i, false)),
            Op::Relu => self.groups.get(&i).map(|group| (group.convs[0], true)),
            _ => None,
        }
    }

    /// What a layer is computed from.
    pub fn group(&self, i: usize) -> Option<&Group> {
        self.groups.get(&i)
    }

    /// Whether a layer is a pooling that takes max(x, 0) of what it reads.
    pub fn rectifies(&self, i: usize) -> bool {
        self.poolings.contains(&i)
    }

    /// Whether a layer is computed within another.
    pub fn is_within(&self, i: usize) -> bool {
        self.within.contains(&i)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Distribution, Tensor};

    use crate::network::{INPUT, Network, Op, zoo};
    use crate::seed;

    fn network(graph: super::Graph) -> Network {
        Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap()
    }

    /// Branches that can be computed together, and some that cannot: read elsewhere, rectified differently, of two maps.
    fn branches() -> super::Graph {
        let mut g = super::Graph::new("branches", 3);
        let pair = |g: &mut super::Graph, name: &str, of: [&str; 2], rectified: [bool; 2]| {
            let parts = [0, 1].map(|i| {
                let conv = g.push(format!("{name}.{i}"), Op::conv(3, 3, 1 + 2 * i, 1, i), &[of[i]]);
                if rectified[i] { g.push(format!("{name}.{i}_relu"), Op::Relu, &[&conv]) } else { conv }
            });
            let joined = g.push(name, Op::Concat, &[&parts[0], &parts[1]]);
            g.push(format!("{name}.small"), Op::conv(6, 3, 1, 1, 0), &[&joined])
        };
        let both = pair(&mut g, "both", [INPUT; 2], [true; 2]);
        let plain = pair(&mut g, "plain", [&both, &both], [false; 2]);
        let mixed = pair(&mut g, "mixed", [&plain, &plain], [true, false]);
        let apart = pair(&mut g, "apart", [&mixed, &both], [true; 2]);
        let shared = pair(&mut g, "shared", [&apart, &apart], [true; 2]);
        g.push("last", Op::Concat, &[&shared, "shared.1_relu", "plain.0"]);
        g
    }

    #[test]
    fn a_fire_module_and_its_relus_are_one() {
        let whole = zoo::squeezenet1_0(10);
        let order: Vec<usize> = (0..whole.nodes.len()).collect();
        let position = |name: &str| whole.position(name).unwrap();
        let inputs: Vec<Vec<usize>> =
            whole.nodes.iter().map(|node| node.inputs.iter().map(|name| position(name)).collect()).collect();
        let mut uses = vec![0; order.len()];
        inputs.iter().flatten().for_each(|&read| uses[read] += 1);
        let fusion = super::Fusion::new(&whole, &order, &uses, &inputs, true);
        let fire = fusion.group(position("features.3")).unwrap();
        assert_eq!(fire.convs, ["features.3.expand1x1", "features.3.expand3x3"].map(position));
        assert!(fire.rectified && fusion.is_within(position("features.3.expand3x3_activation")));
        assert!(
            !fusion.group(position("features.5")).unwrap().rectified
                && fusion.rectifies(position("features.6"))
        );
        assert_eq!(fusion.group(position("features.3.squeeze_activation")).unwrap().convs.len(), 1);
        assert!(!fusion.is_within(position("features.3")));
    }

    /// What is asked for by name is computed by itself: values and gradients are the same.
    #[test]
    fn layers_together_are_what_they_are_one_by_one() {
        for (graph, last) in [(branches(), "last"), (zoo::squeezenet1_0(10), "features.8")] {
            let network = network(graph).train().freeze();
            let all: Vec<String> = network.graph().layers().map(String::from).collect();
            let x = Tensor::<4>::random([2, 3, 40, 33], Distribution::Default, &Device::default().autodiff());
            let [together, single] = [vec![last.to_string()], all].map(|layers| {
                let x = x.clone().require_grad();
                let place = layers.iter().position(|layer| layer == last).unwrap();
                let y = network.capture(x.clone(), &layers).unwrap().remove(place);
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            });
            for (a, b) in [(together.0, single.0), (together.1, single.1)] {
                let scale = b.clone().abs().max().into_scalar::<f32>().max(1.0);
                assert!((a - b).abs().max().into_scalar::<f32>() <= 1e-5 * scale);
            }
        }
    }
}
