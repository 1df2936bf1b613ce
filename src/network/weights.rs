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
        if problems.is_empty() {
            return Ok(self);
        }
        problems.sort();
        Err(Error::failure(format!(
            "the weights in {} don't fit network {}:\n  {}",
            path.display(),
            self.name(),
            problems.join("\n  ")
        )))
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
