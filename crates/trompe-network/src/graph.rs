//! The architecture of a network: a directed acyclic graph of named layers, as plain data.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use trompe_base::error::{Error, Result};

use super::op::{Input, Op};
use super::parameters::Parameters;
use super::rows::Rows;

/// The name of the node that stands for the image.
pub const INPUT: &str = "input";

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

/// A named layer and the layers it reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The name a user observes the layer by, and the prefix of its parameters' names.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// The names of the layers it reads, all of them earlier in the graph.
    pub inputs: Vec<String>,
    /// Its parameters, in a network; none, in an architecture.
    #[serde(skip)]
    pub(super) parameters: Parameters,
}

/// Parameters aside.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.op, &self.inputs) == (&other.name, &other.op, &other.inputs)
    }
}

impl Node {
    /// A layer without parameters yet.
    pub(super) fn new(name: impl Into<String>, op: impl Into<Op>, inputs: Vec<String>) -> Self {
        Self { name: name.into(), op: op.into(), inputs, parameters: Parameters::none() }
    }

    /// The name of the first layer that it reads; nothing, if it reads none.
    pub(super) fn input(&self) -> &str {
        self.inputs.first().map_or("", String::as_str)
    }

    /// A name for a part of it.
    pub(super) fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }
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
            nodes: vec![Node::new(INPUT, Input { channels }, vec![])],
            output: INPUT.into(),
            size: None,
            sized_by: None,
        }
    }

    /// Appends a layer that reads `inputs` and makes it the output; gives its name back.
    pub fn push(&mut self, name: impl Into<String>, op: impl Into<Op>, inputs: &[&str]) -> String {
        let name = name.into();
        self.nodes.push(Node::new(&name, op, inputs.iter().map(|s| s.to_string()).collect()));
        self.output = name.clone();
        name
    }

    /// Appends a layer that reads the latest one.
    pub fn then(&mut self, name: impl Into<String>, op: impl Into<Op>) -> String {
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
            Some(Op::Input(Input { channels })) => *channels,
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
            if matches!(node.op, Op::Input(_)) && std::mem::replace(&mut image, true) {
                return Err(bad("is a second image".into()));
            }
            let channels = node.op.channels(&inputs).map_err(&bad)?;
            if seen.insert(&node.name, channels).is_some() {
                return Err(bad("is there twice".into()));
            }
            all.push(channels);
        }
        self.position(&self.output)?;
        Ok(all)
    }

    /// The nodes needed to compute the `wanted` ones, in evaluation order.
    pub fn ancestors(&self, wanted: &[usize]) -> Vec<usize> {
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

    /// The shape `[C, H, W]` of every layer's map for one image of this shape, in the order of the nodes.
    ///
    /// # Errors
    /// Usage, naming the layer, where images of that size don't go through the network.
    pub fn shapes(&self, image: [usize; 3]) -> Result<Vec<[usize; 3]>> {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.shapes_of(&all, image)
    }

    /// The multiplications that one image takes in each layer, in the order of the nodes, where maps have these shapes.
    pub fn multiply_adds(&self, shapes: &[[usize; 3]]) -> Vec<usize> {
        let names = self.nodes.iter().map(|node| node.name.as_str());
        let known: HashMap<&str, [usize; 3]> = names.zip(shapes.iter().copied()).collect();
        let count = |(node, &shape): (&Node, &[usize; 3])| {
            let inputs: Vec<[usize; 3]> =
                node.inputs.iter().filter_map(|name| known.get(name.as_str()).copied()).collect();
            node.op.multiply_adds(&inputs, shape)
        };
        self.nodes.iter().zip(shapes).map(count).collect()
    }

    /// The shape `[C, H, W]` of one layer's map, whatever lies behind it.
    ///
    /// # Errors
    /// As [`shapes`](Self::shapes)'s; usage, if there is no such layer.
    pub fn shape_of(&self, layer: &str, image: [usize; 3]) -> Result<[usize; 3]> {
        let position = self.position(layer)?;
        Ok(self.shapes_of(&self.ancestors(&[position]), image)?[position])
    }

    /// What the rows of a layer's maps stand for.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn rows(&self, layer: &str) -> Result<Rows> {
        let position = self.position(layer)?;
        let mut known: HashMap<&str, Rows> = HashMap::new();
        for i in self.ancestors(&[position]) {
            let node = &self.nodes[i];
            let inputs: Vec<Rows> =
                node.inputs.iter().filter_map(|name| known.get(name.as_str()).copied()).collect();
            known.insert(&node.name, node.op.rows(&inputs));
        }
        Ok(known[layer])
    }

    /// Whether a layer's map is another for another image.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn depends_on_image(&self, layer: &str) -> Result<bool> {
        let ancestors = self.ancestors(&[self.position(layer)?]);
        Ok(ancestors.iter().any(|&i| matches!(self.nodes[i].op, Op::Input(_))))
    }

    /// The same for some nodes, in evaluation order; those left out are `[0, 0, 0]`.
    pub(super) fn shapes_of(&self, order: &[usize], image: [usize; 3]) -> Result<Vec<[usize; 3]>> {
        if let (Some([h, w]), Some(node)) = (self.size, &self.sized_by)
            && image[1..] != [h, w]
        {
            return Err(Error::usage(format!(
                "network {}: {node} computes with the size of the image, which was {w}x{h} pixels when the file was \
                 read; make images of that size, or export the network for images of {}x{} pixels",
                self.name, image[2], image[1]
            )));
        }
        let mut shapes = vec![[0; 3]; self.nodes.len()];
        let mut index = HashMap::new();
        for &i in order {
            let node = &self.nodes[i];
            let inputs: Vec<[usize; 3]> = node
                .inputs
                .iter()
                .map(|name| index.get(name.as_str()).map_or([0; 3], |&at: &usize| shapes[at]))
                .collect();
            shapes[i] = match &node.op {
                Op::Input(Input { channels }) if *channels == image[0] => Ok(image),
                Op::Input(Input { channels }) => {
                    Err(format!("takes images of {channels} channels, gets {}", image[0]))
                }
                op => op.shape(&inputs),
            }
            .map_err(|what| {
                Error::usage(format!(
                    "network {}, layer {}: {what} (for images of {}x{} pixels)",
                    self.name, node.name, image[2], image[1]
                ))
            })?;
            index.insert(node.name.as_str(), i);
        }
        Ok(shapes)
    }
}
