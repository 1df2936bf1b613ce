//! The architecture of a network: a directed acyclic graph of named layers, as plain data.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::padding::{self, Padding};
use super::resize::Resize;
use crate::error::{Error, Result};

/// The name of the node that stands for the image.
pub const INPUT: &str = "input";

/// What a layer computes. All activations are `[N, C, H, W]`; a linear layer's are `[N, C, 1, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The preprocessed image, `channels` deep.
    Input { channels: usize },
    /// A convolution with zero padding.
    Conv {
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
        #[serde(default = "undilated", skip_serializing_if = "is_undilated")]
        dilation: [usize; 2],
        groups: usize,
        bias: bool,
    },
    /// Batch normalization over `channels`.
    BatchNorm {
        channels: usize,
        #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
        epsilon: f64,
    },
    /// max(x, 0).
    Relu,
    /// x where it is positive, `slope`·x elsewhere.
    LeakyRelu { slope: f64 },
    /// x, but at least `min` and at most `max`.
    Clip { min: Option<f32>, max: Option<f32> },
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// `slope`·x + `offset`, but at least 0 and at most 1.
    HardSigmoid { slope: f64, offset: f64 },
    /// x times a hard sigmoid of it, with slope 1/6 and offset 1/2.
    HardSwish,
    /// The hyperbolic tangent.
    Tanh,
    /// x where it is positive, `alpha`·(exp(x) - 1) elsewhere.
    Elu { alpha: f64 },
    /// x times the normal distribution's cumulative function of it; `approximate` by a hyperbolic tangent.
    Gelu { approximate: bool },
    /// The error function.
    Erf,
    /// Maximum over windows; `ceil` rounds the output size up.
    MaxPool {
        #[serde(with = "padding::pair")]
        kernel: [usize; 2],
        #[serde(with = "padding::pair")]
        stride: [usize; 2],
        #[serde(serialize_with = "padding::of_pool")]
        padding: Padding,
        #[serde(default = "undilated", skip_serializing_if = "is_undilated")]
        dilation: [usize; 2],
        ceil: bool,
    },
    /// Mean over windows; `ceil` rounds the output size up, and `count_padding` counts the margin's zeros.
    AvgPool {
        #[serde(with = "padding::pair")]
        kernel: [usize; 2],
        #[serde(with = "padding::pair")]
        stride: [usize; 2],
        #[serde(serialize_with = "padding::of_pool")]
        padding: Padding,
        ceil: bool,
        count_padding: bool,
    },
    /// Mean of each channel, to `[N, C, 1, 1]`.
    GlobalAvgPool,
    /// Maximum of each channel, to `[N, C, 1, 1]`.
    GlobalMaxPool,
    /// Mean over channels, rows or columns, whichever are named; what is averaged has size 1 then.
    Mean { channels: bool, rows: bool, columns: bool },
    /// Local response normalization over `size` neighbouring channels (Krizhevsky et al., 2012):
    /// x / (`bias` + `alpha` / `size` · Σ x²)^`beta`.
    Lrn { size: usize, alpha: f64, beta: f64, bias: f64 },
    /// Normalization of each place's channels to mean 0 and variance 1, then a scale and a shift for each channel.
    LayerNorm { channels: usize, epsilon: f64 },
    /// A matrix product with the flattened input, to `[N, out, 1, 1]`.
    Linear { features: [usize; 2], bias: bool },
    /// exp(x) divided by its sum over the channels.
    Softmax,
    /// The inputs one after another along the channels.
    Concat,
    /// The sum of the inputs; those of size 1 in channels, rows or columns are broadcast over the others'.
    Add,
    /// The product of the inputs, broadcast as in a sum.
    Mul,
    /// The first input minus the second, broadcast as in a sum.
    Sub,
    /// The first input divided by the second, broadcast as in a sum.
    Div,
    /// Values `[C, H, W]` that are the same for every image.
    Constant { shape: [usize; 3] },
    /// The input as `[N, features, 1, 1]`.
    Flatten { features: usize },
    /// The input's values in a map of another shape `[C, H, W]`.
    Reshape { shape: [usize; 3] },
    /// Channels in `groups`, one of each group in turn (ShuffleNet's channel shuffle).
    ShuffleChannels { groups: usize },
    /// Every `stride`-th row and column.
    Subsample { stride: usize },
    /// From `start` to before `end` in steps, by channels, rows and columns. Negative numbers count from the end.
    Slice { start: [i64; 3], end: [i64; 3], step: [usize; 3] },
    /// Zero channels before and after the input's.
    PadChannels { before: usize, after: usize },
    /// A margin of `value`, by channels, rows and columns.
    Pad { before: [usize; 3], after: [usize; 3], value: f32 },
    /// The map at another resolution.
    Resize(Resize),
}

/// The end of a message about a wrong name: those of some names that are most like it, or a few of them.
pub(super) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 6;
    const ALIKE: f64 = 0.5;
    let lower = wrong.to_lowercase();
    let like = |name: &str| strsim::normalized_damerau_levenshtein(&lower, &name.to_lowercase());
    let mut all: Vec<(f64, &str)> = names.map(|name| (like(name), name)).collect();
    if all.is_empty() {
        return String::new();
    }
    let some = |names: &[(f64, &str)]| {
        names.iter().take(SHOWN).map(|(_, name)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    };
    let first = some(&all);
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    match all.partition_point(|(like, _)| *like >= ALIKE) {
        0 => format!("; it has {first}{}", if all.len() > SHOWN { ", …" } else { "" }),
        n => format!("; did you mean {}?", some(&all[..n])),
    }
}

fn undilated() -> [usize; 2] {
    [1, 1]
}

fn is_undilated(dilation: &[usize; 2]) -> bool {
    *dilation == undilated()
}

fn epsilon() -> f64 {
    1e-5
}

fn is_epsilon(value: &f64) -> bool {
    *value == epsilon()
}

impl Op {
    /// Whether it is an activation function.
    pub fn is_nonlinear(&self) -> bool {
        self.is_elementwise() || *self == Self::Softmax
    }

    /// Whether it is an activation function of each value alone.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Self::Relu
                | Self::LeakyRelu { .. }
                | Self::Clip { .. }
                | Self::Sigmoid
                | Self::HardSigmoid { .. }
                | Self::HardSwish
                | Self::Tanh
                | Self::Elu { .. }
                | Self::Gelu { .. }
                | Self::Erf
        )
    }

    /// Refuses fractions that it can't compute with: all of them are numbers of 32 bits, within what the operator is
    /// defined for.
    ///
    /// # Errors
    /// What is wrong, as "has the beta 1e30; it must be …".
    pub fn check(&self) -> Result<(), String> {
        const MOST: f64 = f32::MAX as f64;
        let within = |what: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false if least == -MOST => Err(format!("has the {what} {value}; it must be a number of 32 bits")),
            false if most == MOST => {
                Err(format!("has the {what} {value}; it must be {least} or more, in 32 bits"))
            }
            false => Err(format!("has the {what} {value}; it must be between {least} and {most}")),
        };
        let number = |what: &str, value: f64| within(what, value, -MOST, MOST);
        match self {
            Self::LeakyRelu { slope } => number("slope (alpha)", *slope),
            Self::Elu { alpha } => number("alpha", *alpha),
            Self::HardSigmoid { slope, offset } => {
                number("slope (alpha)", *slope)?;
                number("offset (beta)", *offset)
            }
            Self::Clip { min, max } => {
                min.map_or(Ok(()), |v| number("min", v.into()))?;
                max.map_or(Ok(()), |v| number("max", v.into()))
            }
            Self::Lrn { size, alpha, beta, bias } => {
                within("size", *size as f64, 1.0, MOST)?;
                within("alpha", *alpha, 0.0, MOST)?;
                // x^-100 is beyond 32 bits for most x; a greater exponent is no network's.
                within("beta", *beta, 0.0, 100.0)?;
                within("bias", *bias, 0.0, MOST)
            }
            Self::BatchNorm { epsilon, .. } | Self::LayerNorm { epsilon, .. } => {
                match *epsilon >= 0.0 && *epsilon <= MOST {
                    true => Ok(()),
                    false => Err(format!("has the epsilon {epsilon}; it must be a number, 0 or more")),
                }
            }
            // Before a maximum, a margin may be infinitely small.
            Self::Pad { value, .. } if value.is_nan() => {
                Err("has a value that is no number; it must be one, or infinite".into())
            }
            Self::Resize(resize) => resize.check(),
            _ => Ok(()),
        }
    }

    /// A square convolution with bias.
    pub fn conv(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Self {
        Self::Conv {
            channels: [input, output],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding::Symmetric([padding; 2]),
            dilation: undilated(),
            groups: 1,
            bias: true,
        }
    }

    /// Batch normalization with the usual eps, 1e-5.
    pub fn batch_norm(channels: usize) -> Self {
        Self::BatchNorm { channels, epsilon: epsilon() }
    }

    /// The maximum over square windows.
    pub fn max_pool(kernel: usize, stride: usize, padding: usize, ceil: bool) -> Self {
        Self::MaxPool {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding::Symmetric([padding; 2]),
            dilation: undilated(),
            ceil,
        }
    }

    /// What files call this kind of layer, as `conv`.
    pub fn kind(&self) -> String {
        let described = serde_json::to_value(self).ok();
        described.and_then(|op| op.get("op")?.as_str().map(String::from)).unwrap_or_default()
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
    /// Height and width of the images it was made for, where a file says so or goes through at these alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// The node of a file that computes with the image's size: images of another than `size` are refused then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sized_by: Option<String>,
}

impl Graph {
    /// A graph with nothing but an image of `channels` channels.
    pub fn new(name: &str, channels: usize) -> Self {
        Self {
            name: name.into(),
            nodes: vec![Node { name: INPUT.into(), op: Op::Input { channels }, inputs: vec![] }],
            output: INPUT.into(),
            size: None,
            sized_by: None,
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
    /// Usage, with the names that are most like it, if there is none.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.nodes.iter().position(|n| n.name == name).ok_or_else(|| {
            Error::usage(format!(
                "network {} has no layer \"{name}\"{} (`trompe layers` lists all {})",
                self.name,
                nearest(name, self.layers()),
                self.nodes.len().saturating_sub(1)
            ))
        })
    }

    /// The number of channels of the image that it takes.
    pub fn image_channels(&self) -> usize {
        match self.nodes.first().map(|node| &node.op) {
            Some(Op::Input { channels }) => *channels,
            _ => 0,
        }
    }

    /// The names of all layers but the input.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().skip(1).map(|n| n.name.as_str())
    }

    /// Refuses numbers that layers can't compute with.
    ///
    /// # Errors
    /// Failure, naming the layer.
    pub fn check(&self) -> Result<()> {
        for node in &self.nodes {
            let named = |what| Error::failure(format!("network {}, layer {} {what}", self.name, node.name));
            node.op.check().map_err(named)?;
        }
        Ok(())
    }

    /// The number of channels that every layer gives, in the order of the nodes.
    ///
    /// # Errors
    /// Failure, naming the layer, where the graph does not fit together: a duplicate name, an input
    /// that is not there or comes later, channel counts that disagree.
    pub fn channels(&self) -> Result<Vec<usize>> {
        self.check()?;
        let mut seen = HashMap::<&str, usize>::new();
        let mut image = false;
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
                Op::Input { .. } if image => return Err(bad("is a second image".into())),
                Op::Input { channels } => {
                    image = true;
                    *channels
                }
                Op::Conv { channels, .. } => {
                    expect(channels[0])?;
                    channels[1]
                }
                Op::BatchNorm { channels, .. } | Op::LayerNorm { channels, .. } => {
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
                Op::PadChannels { before, after } => before.saturating_add(one()?).saturating_add(*after),
                Op::Concat => inputs.iter().fold(0, |sum, c| c.saturating_add(sum)),
                Op::Add | Op::Mul | Op::Sub | Op::Div => {
                    let wide: HashSet<_> = inputs.iter().filter(|&&c| c != 1).collect();
                    match (inputs.len(), wide.len()) {
                        (1.., 0) => 1,
                        (1.., 1) => **wide.iter().next().expect("there is one"),
                        _ => return Err(bad(format!("joins different channel counts {inputs:?}"))),
                    }
                }
                Op::Constant { shape } => shape[0],
                Op::Flatten { features } => {
                    one()?;
                    *features
                }
                Op::Reshape { shape } => {
                    one()?;
                    shape[0]
                }
                Op::Mean { channels: true, .. } => {
                    one()?;
                    1
                }
                // Their channels don't depend on the map's size.
                op @ (Op::Slice { .. } | Op::Pad { .. } | Op::ShuffleChannels { .. }) => {
                    op.channels_of(one()?).map_err(&bad)?
                }
                Op::Relu
                | Op::LeakyRelu { .. }
                | Op::Clip { .. }
                | Op::Sigmoid
                | Op::HardSigmoid { .. }
                | Op::HardSwish
                | Op::Tanh
                | Op::Elu { .. }
                | Op::Gelu { .. }
                | Op::Erf
                | Op::MaxPool { .. }
                | Op::AvgPool { .. }
                | Op::GlobalAvgPool
                | Op::GlobalMaxPool
                | Op::Mean { .. }
                | Op::Lrn { .. }
                | Op::Softmax
                | Op::Resize { .. }
                | Op::Subsample { .. } => one()?,
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
