//! Weights from safetensors and PyTorch files, and to safetensors files, by torchvision's parameter names.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use trompe_base::error::{Context, Error, Result};
use trompe_base::files;
use trompe_base::seed;

use super::checkpoint::{self, Checkpoint, Format};
use super::op::{BatchNorm, Linear, Op, Parameter};
use super::{Graph, Network, Node, onnx};

/// The metadata key under which a saved network keeps its graph: the format's first version. A later one has its number after
/// it, as `trompe.graph.2`, so that an earlier Trompe can say so.
const GRAPH: &str = "trompe.graph";

/// What files keep of a batch norm beside its parameters; no inference needs it.
const COUNTERS: [&str; 2] = [".num_batches_tracked", ".training"];

/// What is wrong with the weights of a file, by kind.
#[derive(Default)]
struct Misfit {
    wrong: Vec<String>,
    missing: Vec<String>,
    extra: Vec<String>,
    /// Parameters whose values can't be.
    values: Vec<String>,
    /// What would mend it.
    hint: Option<String>,
}

impl Misfit {
    /// Compares a network's parameters with the shapes that a file has under a prefix.
    fn compare(&mut self, wanted: &[(String, Vec<usize>)], checkpoint: &Checkpoint, prefix: &str) {
        for (name, shape) in wanted {
            match checkpoint.shape(&format!("{prefix}{name}")) {
                None => self.missing.push(name.clone()),
                Some(found) if found != shape => {
                    self.wrong.push(format!("{name} is {found:?}, the network has {shape:?}"));
                }
                Some(_) if shape.contains(&0) => self.values.push(format!("{name} is {shape:?}")),
                Some(_) => {}
            }
        }
    }

    /// Refuses the weights of a file, if anything is wrong with them.
    fn refuse(self, path: &Path, graph: &Graph) -> Result<()> {
        /// So many of a kind are listed.
        const LISTED: usize = 8;
        let mut lines = vec![];
        for (kind, mut names) in [
            ("wrong shape", self.wrong),
            ("missing", self.missing),
            ("extra", self.extra),
            ("no weights", self.values),
        ] {
            names.sort();
            lines.extend(names.iter().take(LISTED).map(|name| format!("{kind}: {name}")));
            if names.len() > LISTED {
                lines.push(format!("{kind}: {} more", names.len() - LISTED));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        lines.extend(self.hint);
        Err(Error::failure(format!(
            "the weights in {} don't fit network {}:\n  {}",
            path.display(),
            graph.name,
            lines.join("\n  ")
        )))
    }
}

/// The parameters that a graph's layers hold, with their shapes as PyTorch has them.
fn wanted(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    let of = |node: &Node| {
        let name = node.name.clone();
        node.op.parameters().into_iter().map(move |part| (format!("{name}.{}", part.name), part.shape))
    };
    graph.nodes.iter().flat_map(of).collect()
}

impl Network {
    /// The network with the weights of a safetensors or PyTorch file, whatever it is called.
    ///
    /// Weights of 16 and 64 bits are turned into 32; a checkpoint that has them one level deeper (under `state_dict`,
    /// behind `module.`) is understood.
    ///
    /// # Errors
    /// Failure, if the file can't be read or doesn't fit: one message that names missing, extra and misshapen
    /// parameters, as PyTorch calls and shapes them, and values that are no numbers.
    pub fn load(mut self, path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let wanted = wanted(&self.graph);
        let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let prefix = checkpoint.prefix(&names);
        let own: HashSet<&str> = names.iter().map(String::as_str).collect();
        let (within, beside): (Vec<&str>, Vec<&str>) =
            checkpoint.shapes().map(|(name, _)| name).partition(|name| name.starts_with(&prefix));
        let extra = within
            .iter()
            .map(|name| &name[prefix.len()..])
            .filter(|name| !own.contains(name) && COUNTERS.iter().all(|counter| !name.ends_with(counter)));
        let mut misfit = Misfit { extra: extra.map(String::from).collect(), ..Misfit::default() };
        misfit.compare(&wanted, &checkpoint, &prefix);
        if misfit.missing.len() == wanted.len() {
            let some = |names: &mut dyn Iterator<Item = &str>| names.take(3).collect::<Vec<_>>().join(", ");
            return Err(Error::failure(format!(
                "the weights in {} are none of network {}'s: the file has {} tensors ({}, …), the network has {} ({}, …); \
                 name the architecture that they belong to in network.builder",
                path.display(),
                self.graph.name,
                within.len() + beside.len(),
                some(&mut within.iter().copied()),
                wanted.len(),
                some(&mut names.iter().map(String::as_str))
            )));
        }
        // The last layer alone is another: the weights are for other classes.
        if misfit.missing.is_empty()
            && misfit.wrong.len() <= 2
            && let Some((name, shape)) = wanted.iter().rev().find(|(name, _)| name.ends_with(".weight"))
            && let Some(found) = checkpoint.shape(&format!("{prefix}{name}"))
            && found[0] != shape[0]
            && found[1..] == shape[1..]
        {
            misfit.hint =
                Some(format!("these weights are for other classes: set network.classes = {}", found[0]));
        }
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains("-of-0")) {
            misfit.hint = Some("this is one of several files of a model: save its state_dict in one".into());
        }
        misfit.refuse(path, &self.graph)?;
        if !prefix.is_empty() {
            let others = match &beside[..] {
                [] => String::new(),
                [first, ..] => format!("; {} other tensors are not read ({first}, …)", beside.len()),
            };
            self.notes
                .push(format!("the weights are those under \"{prefix}\" in {}{others}", path.display()));
        }
        self.with_values(&checkpoint, &prefix, path)
    }

    /// The same with the values that a file has, whose shapes are right.
    fn with_values(mut self, checkpoint: &Checkpoint, prefix: &str, path: &Path) -> Result<Self> {
        let device = self.device();
        let mut misfit = Misfit::default();
        for node in &mut self.graph.nodes {
            let mut parameters = vec![];
            for Parameter { name: part, shape } in node.op.parameters() {
                let name = format!("{}.{part}", node.name);
                let values = checkpoint.values(&format!("{prefix}{name}")).and_then(|values| {
                    match values.iter().find(|&&v| part == "running_var" && v < 0.0) {
                        None => Ok(values),
                        Some(v) => Err(format!("has the value {v}, and a variance is never below 0")),
                    }
                });
                match values {
                    Err(what) => misfit.values.push(format!("{name} {what}")),
                    Ok(values) => parameters.push(TensorData::new(values, shape)),
                }
            }
            if misfit.values.is_empty() && !parameters.is_empty() {
                if let Op::Linear(Linear { features: [input, output], .. }) = node.op {
                    let weight = parameters[0].as_slice::<f32>().expect("it was just read");
                    let transposed = (0..input * output).map(|i| weight[i % output * input + i / output]);
                    parameters[0] = TensorData::new(transposed.collect::<Vec<f32>>(), [input, output]);
                }
                node.parameters = node.op.with(parameters, &device);
            }
        }
        misfit.refuse(path, &self.graph)?;
        // For inference: batch norms keep their statistics.
        Ok(self.valid())
    }

    /// Writes graph and weights to one file, safetensors or, if its name ends so, ONNX, replacing it only once all is
    /// written.
    ///
    /// # Errors
    /// Failure, if the file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if onnx::is_onnx(path) {
            return onnx::write(self, path);
        }
        let graph = serde_json::to_string(&self.graph).on("describe the network for", path)?;
        let mut tensors = vec![];
        for node in &self.graph.nodes {
            for (Parameter { name: part, shape }, values) in
                node.op.parameters().into_iter().zip(node.parameters.stored())
            {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{}.{part}", node.name), shape, bytes));
            }
        }
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.expect("a parameter has as many values as its shape says"))
        });
        let metadata = HashMap::from([(GRAPH.to_string(), graph)]);
        let bytes = safetensors::serialize(views, Some(metadata)).on("write", path)?;
        files::write(path, &bytes)
    }

    /// The network in a file that [`save`](Self::save) wrote, or in any ONNX file; what the file is, its content says.
    ///
    /// # Errors
    /// Usage, if it is not there; failure, if it can't be read, has no graph in it or does not fit its own graph.
    pub fn open(path: &Path, device: &burn::tensor::Device) -> Result<Self> {
        Self::open_up_to(path, None, device)
    }

    /// The same, up to the layer (or, in an ONNX file, the value) that is to be its output.
    ///
    /// # Errors
    /// As [`open`](Self::open)'s; usage, if there is no such layer.
    pub fn open_up_to(path: &Path, output: Option<&str>, device: &burn::tensor::Device) -> Result<Self> {
        match (Format::of(path)?, output) {
            (Format::Other(what), _) => Err(checkpoint::other(path, what)),
            (Format::Unknown, _) if path.extension().is_some_and(|e| e == "pb") => Err(checkpoint::other(
                path,
                "is a TensorFlow graph: turn the model into ONNX with tf2onnx (--inputs-as-nchw)",
            )),
            (Format::Unknown, output) => onnx::read(path, output, device),
            (Format::Pytorch, _) => Err(checkpoint::other(
                path,
                "holds weights but no network: name it in network.weights and the architecture that they belong to in \
                 network.builder, or export the model with torch.onnx.export",
            )),
            (Format::Safetensors, None) => Self::saved(path, device),
            (Format::Safetensors, Some(output)) => Self::saved(path, device)?.up_to(output),
        }
    }

    fn saved(path: &Path, device: &burn::tensor::Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let later = || checkpoint.metadata.keys().find_map(|key| key.strip_prefix(GRAPH)?.strip_prefix('.'));
        let graph = checkpoint.metadata.get(GRAPH).ok_or_else(|| match later() {
            Some(version) => Error::failure(format!(
                "{} holds a network as version {version} of the format has it, and this Trompe reads version 1: use the \
                 Trompe that wrote it, or a later one",
                path.display()
            )),
            None => Error::failure(format!(
                "{} holds weights but no network: name it in network.weights and the architecture that they belong to in \
                 network.builder",
                path.display()
            )),
        })?;
        let graph: Graph = serde_json::from_str(graph).on("read the graph in", path)?;
        graph.check().map_err(|e| Error::failure(format!("{}: {e}", path.display())))?;
        // Memory is taken for what the graph declares, so the file has to hold as much.
        let mut misfit = Misfit::default();
        misfit.compare(&wanted(&graph), &checkpoint, "");
        misfit.refuse(path, &graph)?;
        Self::new(graph, &mut seed::rng(0, &"weights"), device)?.with_values(&checkpoint, "", path)
    }

    /// A hash of graph and weights: what tells networks apart.
    pub fn digest(&self) -> String {
        struct Weights(blake3::Hasher);
        impl ModuleVisitor for Weights {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.update(param.val().into_data().bytes());
            }
        }
        let graph = serde_json::to_vec(&self.graph).expect("a graph is plain data");
        let mut weights = Weights(blake3::Hasher::new());
        weights.0.update(&graph);
        self.visit(&mut weights);
        weights.0.finalize().to_hex().to_string()
    }

    /// The number of trainable parameters: without batch norm's running mean and variance, which Burn counts.
    pub fn parameters(&self) -> usize {
        (0..self.graph.nodes.len()).map(|i| self.parameters_of(i)).sum()
    }

    /// The number of trainable parameters of the layer at a position of the graph.
    pub fn parameters_of(&self, position: usize) -> usize {
        let node = &self.graph.nodes[position];
        let running = match node.op {
            Op::BatchNorm(BatchNorm { channels, .. }) => 2 * channels,
            _ => 0,
        };
        node.parameters.num_params() - running
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use serde_json::json;

    use super::*;
    use crate::{Padding, Same, op};

    /// Writes a file with this graph and, for each tensor, its name and shape.
    fn write(path: &Path, graph: &Graph, tensors: &[(&str, &[usize])]) {
        let mut header = json!({ "__metadata__": { GRAPH: serde_json::to_string(graph).unwrap() } });
        let mut end = 0;
        for (name, shape) in tensors {
            let begin = end;
            end += 4 * shape.iter().product::<usize>();
            header[name] = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] });
        }
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + end, 0);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_graph_that_declares_more_than_the_file_holds_is_refused_before_memory_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostile.safetensors");
        let mut graph = Graph::new("hostile", 3);
        graph.then("large", Op::conv(3, 1 << 40, 1, 1, 0));
        let whole: [(&str, &[usize]); 2] = [("large.weight", &[4, 3, 1, 1]), ("large.bias", &[4])];
        for (tensors, words) in [
            (
                &whole[..],
                "wrong shape: large.weight is [4, 3, 1, 1], the network has [1099511627776, 3, 1, 1]",
            ),
            (&whole[..1], "missing: large.bias"),
            (&[], "missing: large.weight"),
        ] {
            write(&path, &graph, tensors);
            let message = Network::open(&path, &Device::default()).unwrap_err().to_string();
            assert!(message.contains("hostile.safetensors") && message.contains(words), "{message}");
        }
        // A huge product may hide behind a 0.
        let mut graph = Graph::new("hostile", 3);
        graph.then(
            "none",
            Op::Conv(op::Conv {
                channels: [3, 0],
                kernel: [1 << 60, 1 << 60],
                stride: [1, 1],
                padding: Padding::Same(Same::SameUpper),
                dilation: [1 << 60, 1],
                groups: 1,
                bias: false,
            }),
        );
        write(&path, &graph, &[("none.weight", &[0, 3, 1, 1])]);
        let message = Network::open(&path, &Device::default()).unwrap_err().to_string();
        assert!(message.contains("none.weight"), "{message}");
        // What fits is opened, dilated however much.
        let mut graph = Graph::new("good", 3);
        graph.then("small", Op::conv(3, 4, 1, 1, 0));
        let mut wide = Op::conv(4, 1, 3, 1, 0).without_bias();
        if let Op::Conv(op::Conv { padding, dilation, .. }) = &mut wide {
            *padding = Padding::Same(Same::SameUpper);
            *dilation = [usize::MAX; 2];
        }
        graph.then("wide", wide);
        let tensors: [(&str, &[usize]); 3] =
            [("small.weight", &[4, 3, 1, 1]), ("small.bias", &[4]), ("wide.weight", &[1, 4, 3, 3])];
        write(&path, &graph, &tensors);
        let network = Network::open(&path, &Device::default()).unwrap();
        let message = network.graph().shapes([3, 8, 8]).unwrap_err().to_string();
        assert!(message.contains("layer wide") && message.contains("dilation"), "{message}");
    }
}
