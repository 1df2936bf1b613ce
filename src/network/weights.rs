//! Weights from safetensors and PyTorch files, and to safetensors files, by torchvision's parameter names.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::{
    ApplyError, BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore,
};

use burn::tensor::Tensor;

use super::{Graph, Network, Op, onnx};
use crate::error::{Context, Error, Result};
use crate::seed;

/// The metadata key under which a saved network keeps its graph.
const GRAPH: &str = "trompe.graph";

/// What PyTorch counts beside the parameters; no inference needs it.
const COUNTER: &str = "num_batches_tracked";

/// A layer's parameters in a file, as PyTorch calls and shapes them.
fn stored(op: &Op) -> Vec<(&'static str, Vec<usize>)> {
    match *op {
        Op::Conv { channels: [input, output], kernel: [h, w], groups, bias, .. } => {
            let weight = ("weight", vec![output, input / groups.max(1), h, w]);
            [weight].into_iter().chain(bias.then(|| ("bias", vec![output]))).collect()
        }
        Op::Linear { features: [input, output], bias } => {
            let weight = ("weight", vec![output, input]);
            [weight].into_iter().chain(bias.then(|| ("bias", vec![output]))).collect()
        }
        Op::BatchNorm { channels, .. } => {
            ["weight", "bias", "running_mean", "running_var"].map(|part| (part, vec![channels])).into()
        }
        Op::LayerNorm { channels, .. } => ["weight", "bias"].map(|part| (part, vec![channels])).into(),
        Op::Constant { shape: [c, h, w] } => vec![("value", vec![1, c, h, w])],
        _ => vec![],
    }
}

/// Refuses the weights of a file that has any problems.
fn fit(mut problems: Vec<String>, path: &Path, graph: &Graph) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    Err(Error::failure(format!(
        "the weights in {} don't fit network {}:\n  {}",
        path.display(),
        graph.name,
        problems.join("\n  ")
    )))
}

impl Network {
    /// The network with the weights of a safetensors or PyTorch (`.pth`, `.pt`) file.
    ///
    /// # Errors
    /// Failure, if the file can't be read or doesn't fit: one message that lists every missing, extra and
    /// misshapen parameter.
    pub fn load(mut self, path: &Path) -> Result<Self> {
        let pytorch = path.extension().is_some_and(|e| e == "pth" || e == "pt");
        let result = if pytorch {
            let mut store = PytorchStore::from_file(path)
                .map_indices_contiguous(false)
                .skip_enum_variants(true)
                .allow_partial(true)
                .validate(false);
            self.load_from(&mut store).on("read the weights of", path)?
        } else {
            // The header is checked first: Burn's reader would take a cut file for one with few tensors.
            let file = std::fs::read(path).on("read", path)?;
            safetensors::SafeTensors::deserialize(&file).map_err(|e| {
                Error::failure(format!(
                    "{} is no whole safetensors file ({e}); fetch or export it again",
                    path.display()
                ))
            })?;
            let mut store = SafetensorsStore::from_bytes(Some(file))
                .with_from_adapter(PyTorchToBurnAdapter)
                .skip_enum_variants(true)
                .allow_partial(true)
                .validate(false);
            self.load_from(&mut store).on("read the weights of", path)?
        };
        let mut problems: Vec<String> =
            result.missing.iter().map(|(name, _)| format!("missing: {name}")).collect();
        problems.extend(
            result.unused.iter().filter(|name| !name.ends_with(COUNTER)).map(|name| format!("extra: {name}")),
        );
        problems.extend(result.errors.iter().map(|error| match error {
            ApplyError::ShapeMismatch { path, expected, found } => {
                format!("wrong shape: {path} is {found:?}, the network has {expected:?}")
            }
            other => other.to_string(),
        }));
        fit(problems, path, &self.graph)?;
        Ok(self)
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
        let mut store = SafetensorsStore::from_file(path)
            .with_to_adapter(BurnToPyTorchAdapter)
            .skip_enum_variants(true)
            .metadata(GRAPH, graph)
            .overwrite(true);
        self.save_into(&mut store).on("write", path)
    }

    /// The network in a file that [`save`](Self::save) wrote, or in any ONNX file.
    ///
    /// # Errors
    /// Failure, if the file can't be read, has no graph in it or does not fit its own graph.
    pub fn open(path: &Path, device: &burn::tensor::Device) -> Result<Self> {
        if onnx::is_onnx(path) {
            return onnx::read(path, device);
        }
        let bytes = std::fs::read(path).on("read", path)?;
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).on("read the header of", path)?;
        let graph = metadata.metadata().as_ref().and_then(|m| m.get(GRAPH)).ok_or_else(|| {
            Error::failure(format!(
                "{} holds weights but no network: name a builder that they belong to",
                path.display()
            ))
        })?;
        let graph: Graph = serde_json::from_str(graph).on("read the graph in", path)?;
        // Memory is taken for what the graph declares, so the file has to hold as much.
        let mut problems = vec![];
        for node in &graph.nodes {
            for (part, shape) in stored(&node.op) {
                let name = format!("{}.{part}", node.name);
                match metadata.info(&name) {
                    None => problems.push(format!("missing: {name}")),
                    Some(info) if info.shape != shape => problems
                        .push(format!("wrong shape: {name} is {:?}, the network has {shape:?}", info.shape)),
                    Some(_) if shape.contains(&0) => problems.push(format!("empty: {name} is {shape:?}")),
                    Some(_) => {}
                }
            }
        }
        fit(problems, path, &graph)?;
        Self::new(graph, &mut seed::rng(0, &"weights"), device)?.load(path)
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
        (0..self.layers.len()).map(|i| self.parameters_of(i)).sum()
    }

    /// The number of trainable parameters of the layer at a position of the graph.
    pub fn parameters_of(&self, position: usize) -> usize {
        let running = match self.graph.nodes[position].op {
            Op::BatchNorm { channels, .. } => 2 * channels,
            _ => 0,
        };
        self.layers[position].num_params() - running
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use serde_json::json;

    use super::*;
    use crate::network::{Padding, Same};

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
            Op::Conv {
                channels: [3, 0],
                kernel: [1 << 60, 1 << 60],
                stride: [1, 1],
                padding: Padding::Same(Same::SameUpper),
                dilation: [1 << 60, 1],
                groups: 1,
                bias: false,
            },
        );
        write(&path, &graph, &[("none.weight", &[0, 3, 1, 1])]);
        let message = Network::open(&path, &Device::default()).unwrap_err().to_string();
        assert!(message.contains("none.weight"), "{message}");
        // What fits is opened, dilated however much.
        let mut graph = Graph::new("good", 3);
        graph.then("small", Op::conv(3, 4, 1, 1, 0));
        let mut wide = Op::conv(4, 1, 3, 1, 0).without_bias();
        if let Op::Conv { padding, dilation, .. } = &mut wide {
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
