//! The architecture of a network: a directed acyclic graph of named layers, as plain data.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of the node that stands for the image.
pub const INPUT: &str = "input";

/// What a layer computes. All activations are `[N, C, H, W]`; a linear layer's are `[N, C, 1, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The preprocessed image, `channels` deep.
    Input { channels: usize },
    /// A convolution with symmetric zero padding.
    Conv {
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        groups: usize,
        bias: bool,
    },
    /// Batch normalization over `channels`, eps 1e-5.
    BatchNorm { channels: usize },
    /// max(x, 0).
    Relu,
    /// Maximum over windows; `ceil` rounds the output size up.
    MaxPool { kernel: usize, stride: usize, padding: usize, ceil: bool },
    /// Mean of each channel, to `[N, C, 1, 1]`.
    GlobalAvgPool,
    /// Maximum of each channel, to `[N, C, 1, 1]`.
    GlobalMaxPool,
    /// A matrix product with the flattened input, to `[N, out, 1, 1]`.
    Linear { features: [usize; 2], bias: bool },
    /// The inputs one after another along the channels.
    Concat,
    /// The sum of the inputs; those with a 1x1 map are broadcast over the map of the others.
    Add,
    /// Every `stride`-th row and column.
    Subsample { stride: usize },
    /// Zero channels before and after the input's.
    PadChannels { before: usize, after: usize },
}

impl Op {
    /// A square convolution with bias.
    pub fn conv(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Self {
        Self::Conv {
            channels: [input, output],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            groups: 1,
            bias: true,
        }
    }

    /// The same convolution without bias, as used before batch norm.
    pub fn without_bias(mut self) -> Self {
        if let Self::Conv { bias, .. } | Self::Linear { bias, .. } = &mut self {
            *bias = false;
        }
        self
    }
}

/// A named layer and the layers it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The name a user observes the layer by, and the prefix of its parameters' names.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// The names of the layers it reads, all of them earlier in the graph.
    pub inputs: Vec<String>,
}

/// A network's architecture, in evaluation order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// What the network is called in tables.
    pub name: String,
    /// The layers; each one's inputs stand before it.
    pub nodes: Vec<Node>,
    /// The layer whose channels are the class scores.
    pub output: String,
}

impl Graph {
    /// A graph with nothing but an image of `channels` channels.
    pub fn new(name: &str, channels: usize) -> Self {
        Self {
            name: name.into(),
            nodes: vec![Node { name: INPUT.into(), op: Op::Input { channels }, inputs: vec![] }],
            output: INPUT.into(),
        }
    }

    /// Appends a layer that reads `inputs` and makes it the output; gives its name back.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        self.nodes.push(Node {
            name: name.clone(),
            op,
            inputs: inputs.iter().map(|s| s.to_string()).collect(),
        });
        self.output = name.clone();
        name
    }

    /// Appends a layer that reads the latest one.
    pub fn then(&mut self, name: impl Into<String>, op: Op) -> String {
        let last = self.output.clone();
        self.push(name, op, &[&last])
    }

    /// The position of the layer called `name`.
    ///
    /// # Errors
    /// Usage, with the names there are, if there is none.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.nodes.iter().position(|n| n.name == name).ok_or_else(|| {
            Error::usage(format!(
                "network {} has no layer \"{name}\"; its layers are: {}",
                self.name,
                self.layers().collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// The names of all layers but the input.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().skip(1).map(|n| n.name.as_str())
    }

    /// The number of channels that every layer gives, in the order of the nodes.
    ///
    /// # Errors
    /// Failure, naming the layer, where the graph does not fit together: a duplicate name, an input
    /// that is not there or comes later, channel counts that disagree.
    pub fn channels(&self) -> Result<Vec<usize>> {
        let mut seen = HashMap::<&str, usize>::new();
        let mut all = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let bad =
                |what: String| Error::failure(format!("network {}, layer {}: {what}", self.name, node.name));
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for name in &node.inputs {
                inputs.push(
                    *seen
                        .get(name.as_str())
                        .ok_or_else(|| bad(format!("reads \"{name}\", which is no earlier layer")))?,
                );
            }
            let one = || match inputs[..] {
                [c] => Ok(c),
                _ => Err(bad(format!("takes one input, has {}", inputs.len()))),
            };
            let expect = |want: usize| match one()? {
                c if c == want => Ok(()),
                c => Err(bad(format!("expects {want} channels, gets {c}"))),
            };
            let channels = match &node.op {
                Op::Input { channels } => *channels,
                Op::Conv { channels, .. } => {
                    expect(channels[0])?;
                    channels[1]
                }
                Op::BatchNorm { channels } => {
                    expect(*channels)?;
                    *channels
                }
                // The map's size is not known here; the product is checked when the layer runs.
                Op::Linear { features, .. } => {
                    if one()? == 0 || !features[0].is_multiple_of(one()?) {
                        expect(features[0])?;
                    }
                    features[1]
                }
                Op::Relu
                | Op::MaxPool { .. }
                | Op::GlobalAvgPool
                | Op::GlobalMaxPool
                | Op::Subsample { .. } => one()?,
                Op::PadChannels { before, after } => before + one()? + after,
                Op::Concat => inputs.iter().sum(),
                Op::Add => match inputs.iter().collect::<HashSet<_>>().len() {
                    1 => inputs[0],
                    _ => return Err(bad(format!("adds different channel counts {inputs:?}"))),
                },
            };
            if seen.insert(&node.name, channels).is_some() {
                return Err(bad("is there twice".into()));
            }
            all.push(channels);
        }
        self.position(&self.output)?;
        Ok(all)
    }

    /// The nodes needed to compute the `wanted` ones, in evaluation order.
    pub(crate) fn ancestors(&self, wanted: &[usize]) -> Vec<usize> {
        let index: HashMap<&str, usize> =
            self.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
        let mut needed = vec![false; self.nodes.len()];
        for &w in wanted {
            needed[w] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if needed[i] {
                for name in &self.nodes[i].inputs {
                    needed[index[name.as_str()]] = true;
                }
            }
        }
        (0..self.nodes.len()).filter(|&i| needed[i]).collect()
    }
}
