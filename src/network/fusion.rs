//! Which layers the forward pass computes together: a convolution with the ReLU after it, and two convolutions of one map
//! with the layer that joins them.

use std::collections::{HashMap, HashSet};

use super::{Graph, Op, Padding};

/// What the layers of a graph are computed from in one go, by their places in it.
pub(super) struct Fusion {
    groups: HashMap<usize, Group>,
    within: HashSet<usize>,
}

/// One or two convolutions of one map whose outputs, joined, are a layer.
pub(super) struct Group {
    pub convs: Vec<usize>,
    /// Whether the layer is max(x, 0) of them.
    pub rectified: bool,
}

impl Fusion {
    /// What can be computed in one go of the layers `order` of a graph, each read `uses` times, with inputs at `inputs`.
    pub fn new(graph: &Graph, order: &[usize], uses: &[usize], inputs: &[Vec<usize>]) -> Self {
        let mut fusion = Self { groups: HashMap::new(), within: HashSet::new() };
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

    /// Whether a layer is computed within another.
    pub fn is_within(&self, i: usize) -> bool {
        self.within.contains(&i)
    }
}
