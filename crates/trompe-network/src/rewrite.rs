//! Changing a network's graph: what circuits are made with.

use burn::tensor::TensorData;
use trompe_base::error::Result;
use trompe_base::seed;

use super::op::Op;
use super::plan::Plans;
use super::{Network, Node};

/// A place in a network, before one of its layers, where others are put in.
pub struct Insertion<'a> {
    network: &'a mut Network,
    at: usize,
}

impl Network {
    /// The place before a layer.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn insert_before(&mut self, layer: &str) -> Result<Insertion<'_>> {
        let at = self.graph.position(layer)?;
        Ok(Insertion { network: self, at })
    }
}

impl Insertion<'_> {
    fn put(&mut self, node: Node) -> Result<()> {
        self.network.graph.nodes.insert(self.at, node);
        self.at += 1;
        self.network.changed()
    }

    /// A layer whose parameters, if it has any, are still to be set.
    fn fresh(&mut self, name: String, op: Op, inputs: Vec<String>) -> Result<()> {
        let parameters = op.drawn(&mut seed::rng(0, &name), &self.network.device());
        self.put(Node { parameters, ..Node::new(name, op, inputs) })
    }

    /// Puts in a layer without parameters.
    ///
    /// # Errors
    /// Failure, if it does not fit the graph.
    pub fn plain(&mut self, name: String, op: impl Into<Op>, inputs: &[String]) -> Result<()> {
        self.fresh(name, op.into(), inputs.to_vec())
    }

    /// Puts in a convolution or linear layer with this weight `[out, in, kh, kw]` and bias `[out]`.
    ///
    /// # Errors
    /// Failure, if it does not fit the graph.
    pub fn filters(
        &mut self,
        name: String,
        op: Op,
        inputs: Vec<String>,
        weight: TensorData,
        bias: TensorData,
    ) -> Result<()> {
        self.fresh(name.clone(), op, inputs)?;
        self.network.set_filters(&name, weight, bias)
    }

    /// Puts in a 1x1 convolution that turns the one channel x of `from` into `weights[i]`·x + `biases[i]`.
    ///
    /// # Errors
    /// Failure, if it does not fit the graph.
    pub fn spread(&mut self, name: String, from: &str, weights: Vec<f32>, biases: Vec<f32>) -> Result<()> {
        let n = weights.len();
        self.filters(
            name,
            Op::conv(1, n, 1, 1, 0),
            vec![from.into()],
            TensorData::new(weights, [n, 1, 1, 1]),
            TensorData::new(biases, [n]),
        )
    }

    /// Puts in a copy, weights and all, of a layer of some network.
    ///
    /// # Errors
    /// Usage, if there is no such layer; failure, if it does not fit the graph.
    pub fn copy(&mut self, of: &Network, layer: &str, name: String, inputs: Vec<String>) -> Result<()> {
        let node = &of.graph.nodes[of.graph.position(layer)?];
        self.put(Node { name, inputs, ..node.clone() })
    }

    /// A prefix for the names of new layers: `name`, with a number where the network has layers of that prefix.
    pub fn free_prefix(&self, name: &str) -> String {
        let taken = |prefix: &str| {
            self.network
                .graph
                .layers()
                .any(|l| l.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')))
        };
        std::iter::once(name.to_string())
            .chain((2..).map(|i| format!("{name}{i}")))
            .find(|prefix| !taken(prefix))
            .expect("numbers don't run out")
    }

    /// Exchanges the layer called `name` for one without parameters that reads other layers.
    ///
    /// # Errors
    /// Usage, if there is no such layer; failure, if the new one does not fit the graph.
    pub fn replace(&mut self, name: &str, op: impl Into<Op>, inputs: &[String]) -> Result<()> {
        let position = self.network.graph.position(name)?;
        self.network.graph.nodes.remove(position);
        if position < self.at {
            self.at -= 1;
        }
        self.plain(name.into(), op, inputs)
    }

    /// Takes the layer called `name` out; what read it reads `instead`.
    pub fn remove(&mut self, name: &str, instead: &str) {
        let graph = &mut self.network.graph;
        if let Some(position) = graph.nodes.iter().position(|n| n.name == name) {
            graph.nodes.remove(position);
            self.network.channels.remove(position);
        }
        for input in graph.nodes.iter_mut().flat_map(|n| &mut n.inputs) {
            if input == name {
                *input = instead.into();
            }
        }
        if graph.output == name {
            graph.output = instead.into();
        }
        self.network.plans = Plans::default();
    }
}
