//! CNNs as directed acyclic graphs of named layers, with one forward pass.

mod checkpoint;
mod convolution;
mod focus;
mod graph;
mod names;
mod narrow;
pub mod onnx;
pub mod op;
mod padding;
mod parameters;
mod plan;
mod rectify;
mod rewrite;
mod rows;
mod weights;
pub mod zoo;

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use trompe_base::error::{Error, Result};

pub use convolution::pointwise;
pub use focus::{Focus, Reading};
pub use graph::{Graph, INPUT, Node};
pub use op::Op;
pub use padding::{Padding, Same};
use parameters::Parameters;
use plan::Plans;
pub use rewrite::Insertion;
pub use rows::Rows;

/// A CNN: the graph of its layers, each with its parameters.
///
/// As a Burn module its parameters are named by layer (`features.3.squeeze.weight`), as torchvision's are.
#[derive(Clone, Debug)]
pub struct Network {
    graph: Graph,
    /// By layer.
    channels: Vec<usize>,
    notes: Vec<String>,
    /// The share of the gradient that ReLUs let through where they are 0.
    leak: f32,
    plans: Plans,
}

impl Network {
    /// The network of this architecture with random weights (He et al., 2015) from `rng`.
    ///
    /// # Errors
    /// Failure, naming the layer, if the graph does not fit together.
    pub fn new(mut graph: Graph, rng: &mut impl Rng, device: &Device) -> Result<Self> {
        let channels = graph.channels()?;
        for node in &mut graph.nodes {
            node.parameters = node.op.drawn(rng, device);
        }
        Ok(Self { graph, channels, notes: vec![], leak: 0.0, plans: Plans::default() })
    }

    /// The network of a graph whose layers have their parameters.
    fn of(graph: Graph) -> Result<Self> {
        let channels = graph.channels()?;
        Ok(Self { graph, channels, notes: vec![], leak: 0.0, plans: Plans::default() })
    }

    /// Notes that layers have come, gone or changed.
    fn changed(&mut self) -> Result<()> {
        self.plans = Plans::default();
        self.channels = self.graph.channels()?;
        Ok(())
    }

    /// The same network whose ReLUs let a share of the gradient through where they are 0. What it computes stays.
    pub fn leaking(self, leak: f32) -> Self {
        // A plan is for one share: where it stays, plans do.
        if leak == self.leak { self } else { Self { leak, plans: Plans::default(), ..self } }
    }

    /// The part of the network that computes a layer, which becomes its output.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn up_to(mut self, layer: &str) -> Result<Self> {
        let position = self.graph.position(layer)?;
        // The image stays, though a constant does without it.
        let needed: HashSet<usize> = self.graph.ancestors(&[position]).into_iter().chain([0]).collect();
        let mut at = 0..;
        self.graph.nodes.retain(|_| at.next().is_some_and(|i| needed.contains(&i)));
        self.graph.output = layer.into();
        self.changed()?;
        Ok(self)
    }

    /// What there is to say of how it was read: which of a file's weights or outputs it has.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The architecture.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What the network is called in tables.
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// The layer that is the network's answer.
    pub fn output(&self) -> &str {
        &self.graph.output
    }

    /// The layer whose channels are the classes' scores: the output, or what goes into it where that is a softmax, in which a
    /// class wins by what others lose as well.
    pub fn scores(&self) -> &str {
        self.before_softmax(self.output()).unwrap_or(self.output())
    }

    /// What goes into a layer, if that is a softmax over channels.
    pub fn before_softmax(&self, layer: &str) -> Option<&str> {
        let node = &self.graph.nodes[self.graph.position(layer).ok()?];
        match node.op {
            Op::Softmax(op::Softmax { over: op::Along::Channels }) => Some(&node.inputs[0]),
            _ => None,
        }
    }

    /// The number of channels of a layer.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn channels(&self, layer: &str) -> Result<usize> {
        Ok(self.channels[self.graph.position(layer)?])
    }

    /// What the rows of a layer's maps stand for: places of the image, or class tokens before them.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn rows(&self, layer: &str) -> Result<Rows> {
        self.graph.rows(layer)
    }

    /// The class scores of images, `[N, C, H, W]` as the network takes them (after preprocessing), as `[N, classes]`.
    pub fn logits(&self, input: Tensor<4>) -> Tensor<2> {
        let output = self.graph.position(&self.graph.output).expect("a checked graph has its output");
        self.evaluate(input, &[output]).remove(0).flatten::<2>(1, 3)
    }

    /// The activations `[N, C, H, W]` of the named layers, in the order asked for. Only what they depend on is
    /// computed, and every other activation is dropped after its last use.
    ///
    /// # Errors
    /// Usage, if there is no such layer, or if images of this size don't go through the network.
    pub fn capture(&self, input: Tensor<4>, layers: &[impl AsRef<str>]) -> Result<Vec<Tensor<4>>> {
        let wanted =
            layers.iter().map(|name| self.graph.position(name.as_ref())).collect::<Result<Vec<_>>>()?;
        let [_, channels, height, width] = input.dims();
        self.graph.shapes_of(&self.graph.ancestors(&wanted), [channels, height, width])?;
        Ok(self.evaluate(input, &wanted))
    }

    /// The one forward pass.
    fn evaluate(&self, input: Tensor<4>, wanted: &[usize]) -> Vec<Tensor<4>> {
        self.plans.of(self, wanted).run(input)
    }

    /// The convolutions of these names that a batch norm follows, sorted.
    pub fn convolutions_before_norms(&self, names: &HashSet<String>) -> Vec<String> {
        let nodes = &self.graph.nodes;
        let normalized = |name: &str| {
            let reads = |n: &&Node| n.inputs.iter().any(|i| i == name);
            nodes.iter().filter(reads).any(|n| matches!(n.op, Op::BatchNorm(_)))
        };
        let named = nodes.iter().filter(|n| matches!(n.op, Op::Conv(_)) && names.contains(&n.name));
        let mut found: Vec<String> = named.map(|n| n.name.clone()).filter(|name| normalized(name)).collect();
        found.sort_unstable();
        found
    }

    /// The same network with every batch norm that follows a convolution folded into it (for inference).
    ///
    /// The merged layer keeps the batch norm's name, since it computes what the batch norm did; the
    /// convolution's own name is gone. A convolution that anything else reads is left as it is.
    pub fn fold_batch_norm(&self) -> Self {
        self.fold_batch_norm_but(&HashSet::new())
    }

    /// The same, but for convolutions whose names are among those to `keep`.
    pub fn fold_batch_norm_but(&self, keep: &HashSet<String>) -> Self {
        let nodes = &self.graph.nodes;
        let readers = |name: &str| {
            nodes.iter().filter(|n| n.inputs.iter().any(|i| i == name)).count()
                + usize::from(self.graph.output == name)
                + usize::from(keep.contains(name))
        };
        let mut folded: Vec<Node> = vec![];
        for node in nodes {
            let mut node = node.clone();
            if let Parameters::BatchNorm(norm) = &node.parameters {
                let before = folded.iter().position(|n| n.name == node.inputs[0]);
                let conv = before.and_then(|p| match &folded[p].parameters {
                    Parameters::Conv(conv) if readers(&node.inputs[0]) == 1 => Some((p, fold(conv, norm))),
                    _ => None,
                });
                if let Some((p, parameters)) = conv {
                    let conv = folded.remove(p);
                    node = Node { name: node.name, parameters: Parameters::Conv(parameters), ..conv };
                    if let Op::Conv(conv) = &mut node.op {
                        conv.bias = true;
                    }
                }
            }
            folded.push(node);
        }
        let channels = folded.iter().map(|n| self.channels[self.index(&n.name)]).collect();
        let graph = Graph { nodes: folded, ..self.graph.clone() };
        Self { graph, channels, plans: Plans::default(), ..self.clone() }
    }

    fn index(&self, name: &str) -> usize {
        self.graph.position(name).expect("a checked graph has a layer's inputs")
    }

    /// Weight and bias of a convolution or linear layer, as `[out, in, kh, kw]` and `[out]`.
    ///
    /// # Errors
    /// Usage, if the layer is neither.
    pub fn filters(&self, layer: &str) -> Result<(Tensor<4>, Tensor<1>)> {
        let position = self.graph.position(layer)?;
        let (weight, bias) = match &self.graph.nodes[position].parameters {
            Parameters::Conv(conv) => (conv.weight.val(), conv.bias.as_ref().map(|b| b.val())),
            Parameters::Linear(linear) => {
                let weight = linear.weight.val().transpose();
                let [o, i] = weight.dims();
                (weight.reshape([o, i, 1, 1]), linear.bias.as_ref().map(|b| b.val()))
            }
            _ => {
                return Err(Error::usage(format!(
                    "layer \"{layer}\" of network {} has no filters: name a convolution or a linear layer",
                    self.name()
                )));
            }
        };
        let [out, ..] = weight.dims();
        let bias = bias.unwrap_or_else(|| Tensor::zeros([out], &weight.device()));
        Ok((weight, bias))
    }

    /// The layer that has the features a layer is computed from: the input of the last layer with filters at or before
    /// it.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn reads(&self, layer: &str) -> Result<String> {
        let mut name = layer.to_string();
        loop {
            let node = &self.graph.nodes[self.graph.position(&name)?];
            let Some(input) = node.inputs.first() else {
                return Ok(INPUT.into());
            };
            if self.filters(&name).is_ok() {
                return Ok(input.clone());
            }
            name = input.clone();
        }
    }

    /// Sets weight `[out, in, kh, kw]` and bias `[out]` of a convolution or linear layer.
    ///
    /// # Errors
    /// Usage, if the layer is neither.
    pub fn set_filters(&mut self, layer: &str, weight: TensorData, bias: TensorData) -> Result<()> {
        let position = self.graph.position(layer)?;
        let device = self.device();
        let node = &mut self.graph.nodes[position];
        match (&mut node.op, &mut node.parameters) {
            (Op::Conv(op), Parameters::Conv(conv)) => {
                conv.weight = Param::from_data(weight, &device);
                conv.bias = Some(Param::from_data(bias, &device));
                op.bias = true;
            }
            (Op::Linear(op), Parameters::Linear(linear)) => {
                let weight: Tensor<4> = Tensor::from_data(weight, &device);
                let weight: Tensor<2> = weight.flatten::<2>(1, 3).transpose();
                linear.weight = Param::from_tensor(weight);
                linear.bias = Some(Param::from_data(bias, &device));
                op.bias = true;
            }
            _ => {
                self.filters(layer)?;
            }
        }
        self.plans = Plans::default();
        Ok(())
    }

    /// The device the parameters are on.
    pub fn device(&self) -> Device {
        self.devices().into_iter().next().unwrap_or_default()
    }
}

/// The convolution that computes what `conv` and then `norm` (at inference) compute.
fn fold(conv: &Conv2d, norm: &BatchNorm) -> Conv2d {
    let scale = norm.gamma.val() / (norm.running_var.value_sync() + norm.epsilon).sqrt();
    let shift = norm.beta.val() - norm.running_mean.value_sync() * scale.clone();
    let [c] = scale.dims();
    let weight = conv.weight.val() * scale.clone().reshape([c, 1, 1, 1]);
    let bias = match &conv.bias {
        Some(bias) => shift + bias.val() * scale,
        None => shift,
    };
    Conv2d { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)), ..conv.clone() }
}

impl Module for Network {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.graph.nodes.iter().fold(devices, |d, node| node.parameters.collect_devices(d))
    }

    fn fork(self, device: &Device) -> Self {
        self.map_parameters(|_, parameters| parameters.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_parameters(|_, parameters| parameters.to_device(device))
    }

    fn train(self) -> Self {
        self.map_parameters(|_, parameters| parameters.train())
    }

    fn valid(&self) -> Self {
        self.clone().map_parameters(|_, parameters| parameters.valid())
    }

    fn materialize(self) -> Self {
        self.map_parameters(|_, parameters| parameters.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for node in &self.graph.nodes {
            visitor.enter_module(&node.name, "Struct:Network");
            node.parameters.visit(visitor);
            visitor.exit_module(&node.name, "Struct:Network");
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_parameters(|name, parameters| {
            mapper.enter_module(name, "Struct:Network");
            let parameters = parameters.map(mapper);
            mapper.exit_module(name, "Struct:Network");
            parameters
        })
    }
}

impl Network {
    fn map_parameters(mut self, mut f: impl FnMut(&str, Parameters) -> Parameters) -> Self {
        // Before anything changes, so that nothing else holds the parameters and they may change in place.
        self.plans = Plans::default();
        for node in &mut self.graph.nodes {
            node.parameters = f(&node.name, std::mem::take(&mut node.parameters));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use trompe_base::seed;

    use super::*;

    fn network(graph: Graph) -> Network {
        Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap()
    }

    fn values(t: Tensor<4>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    fn image(values: &[f32], channels: usize, side: usize) -> Tensor<4> {
        let shape = [1, channels, side, side];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::default())
    }

    /// Every kind of layer on a 1x2x2 image, worked by hand.
    #[test]
    fn one_forward_pass_by_hand() {
        let mut g = Graph::new("hand", 1);
        g.then("conv", Op::conv(1, 2, 1, 1, 0));
        let relu = g.then("relu", op::Relu);
        let pool = g.then("pool", Op::max_pool(2, 2, 0, false));
        let sum = g.push("sum", op::Add, &[&relu, &pool]);
        g.push("both", op::Concat::default(), &[&sum, &relu]);
        g.push("every_second", Op::Subsample(op::Subsample { stride: 2 }), &[&sum]);
        let padded = g.then("padded", Op::PadChannels(op::PadChannels { before: 1, after: 0 }));
        g.push("mean", op::GlobalAvgPool, &[&relu]);
        g.push("scores", Op::Linear(op::Linear { features: [3, 1], bias: true }), &[&padded]);
        let mut n = network(g);
        let filters = |w: &[f32], shape: [usize; 4], b: &[f32]| {
            (TensorData::new(w.to_vec(), shape), TensorData::new(b.to_vec(), [b.len()]))
        };
        let (w, b) = filters(&[1.0, -1.0], [2, 1, 1, 1], &[0.0, 3.0]);
        n.set_filters("conv", w, b).unwrap();
        let (w, b) = filters(&[5.0, 1.0, 10.0], [1, 3, 1, 1], &[0.5]);
        n.set_filters("scores", w, b).unwrap();
        let x = image(&[1.0, -2.0, 3.0, 4.0], 1, 2);
        let all = ["scores", "mean", "relu", "both", "padded"];
        let got: Vec<Vec<f32>> = n.capture(x.clone(), &all).unwrap().into_iter().map(values).collect();
        assert_eq!(got[2], [1., 0., 3., 4., 2., 5., 0., 0.]);
        assert_eq!(got[1], [2.0, 1.75]);
        // The pool's single value of each channel, 4 and 5, is added everywhere.
        assert_eq!(got[3][..8], [5., 4., 7., 8., 7., 10., 5., 5.]);
        assert_eq!(got[3][8..], got[2][..]);
        assert_eq!(got[4], [0.0, 5.0, 7.0]);
        assert_eq!(got[0], [5.0 + 70.0 + 0.5]);
        assert_eq!(n.logits(x).dims(), [1, 1]);
    }

    /// The small transformer: three heads of 32 features, 65 tokens, 192 features inside an MLP.
    #[test]
    fn multiplications_by_hand() {
        let graph = zoo::builder("vit-small", 12).unwrap();
        let shapes = graph.shapes([3, 64, 64]).unwrap();
        let counts = graph.multiply_adds(&shapes);
        let of = |layer: &str| counts[graph.position(layer).unwrap()];
        assert_eq!(of("blocks.0.attn.scores"), 3 * 65 * 65 * 32);
        assert_eq!(of("blocks.0.attn.gathered"), 3 * 65 * 32 * 65);
        assert_eq!(of("blocks.0.mlp.fc1"), 65 * 96 * 192);
        assert_eq!((of("stem.conv0"), of("blocks.0.mlp.act")), (24 * 32 * 32 * 3 * 9, 0));
    }

    #[test]
    fn graphs_that_do_not_fit_together_are_refused() {
        let build = |f: &dyn Fn(&mut Graph)| {
            let mut g = Graph::new("bad", 3);
            f(&mut g);
            Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap_err().to_string()
        };
        let twice = build(&|g| {
            g.then("a", op::Relu);
            g.then("a", op::Relu);
        });
        assert!(twice.contains("layer a") && twice.contains("twice"));
        let stranger = build(&|g| drop(g.push("a", op::Relu, &["b"])));
        assert!(stranger.contains("\"b\""));
        let channels = build(&|g| drop(g.then("a", Op::conv(4, 1, 1, 1, 0))));
        assert!(channels.contains("expects 4 channels, gets 3"));
        let sum = build(&|g| {
            let a = g.then("a", Op::conv(3, 5, 1, 1, 0));
            g.push("sum", op::Add, &[&a, INPUT]);
        });
        assert!(sum.contains("layer sum"));
    }

    /// The published numbers of parameters.
    #[test]
    fn architectures_have_their_papers_sizes() {
        for (graph, parameters) in [
            (zoo::squeezenet1_0(1000), 1_248_424),
            (zoo::inception_v1(1008), 7_066_380),
            (zoo::resnet_cifar(20, 10), 269_722),
            (zoo::resnet_cifar(32, 10), 464_154),
            (zoo::resnet_cifar(44, 10), 658_586),
            (zoo::resnet_cifar(56, 10), 853_018),
            (zoo::efficientnet_lite0(1000), 4_652_008),
        ] {
            assert_eq!(network(graph).parameters(), parameters);
        }
        assert!(network(zoo::small_cnn(10)).parameters() < 500_000);
    }

    /// A stream of tokens keeps its class token apart in every layer, and attention's rows are what asks.
    #[test]
    fn a_transformer_keeps_its_class_token_apart() {
        let n = network(zoo::vit_small(10));
        // The stem, patches, positions and the class token, four blocks of two norms, four projections and an MLP, the head.
        let stem = 9 * (3 * 24 + 24 * 48 + 48 * 48 + 48 * 96 + 96 * 96) + 2 * (24 + 48 + 48 + 96 + 96);
        let block = 2 * 2 * 96 + 4 * (96 * 96 + 96) + 2 * 96 * 192 + 192 + 96;
        assert_eq!(n.parameters(), stem + 96 * 96 + 96 + 66 * 96 + 4 * block + 192 + 970);
        let stream = Rows::Places { after: 1 };
        for layer in [
            "tokens",
            "embedding",
            "blocks.0.norm1",
            "blocks.2.attn.pattern",
            "blocks.3.attn.z",
            "blocks.1.mlp.act",
        ] {
            assert_eq!(n.rows(layer).unwrap(), stream, "{layer}");
        }
        assert_eq!(n.rows("patch_embed").unwrap(), Rows::default());
        assert_eq!(n.rows("blocks.0.attn.k_heads").unwrap(), Rows::default());
        assert_eq!(n.rows("head").unwrap(), Rows::Tokens(1));
        let shapes = n.graph().shapes([3, 64, 64]).unwrap();
        for (layer, shape) in
            [("blocks.3", [96, 65, 1]), ("blocks.1.attn.scores", [3, 65, 65]), ("head", [10, 1, 1])]
        {
            assert_eq!(shapes[n.graph().position(layer).unwrap()], shape, "{layer}");
        }
        // What each token gathers sums to one.
        let x = Tensor::<4>::random([2, 3, 64, 64], Distribution::Default, &Device::default());
        let sums = n.capture(x, &["blocks.1.attn.pattern"]).unwrap().remove(0).sum_dim(3);
        assert!(values(sums).into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        let cnn = network(zoo::small_cnn(10));
        assert_eq!(cnn.rows("bn3").unwrap(), Rows::default());
        assert_eq!(cnn.rows("output").unwrap(), Rows::Tokens(1));
    }

    #[test]
    fn maps_have_the_published_sizes() {
        let device = Device::default();
        let n = network(zoo::squeezenet1_0(1000));
        let x = Tensor::zeros([1, 3, 224, 224], &device);
        let layers = ["features.0", "features.2", "features.3", "features.6", "features.11", "classifier.1"];
        let dims: Vec<[usize; 4]> = n.capture(x, &layers).unwrap().iter().map(|t| t.dims()).collect();
        let want = [[96, 109], [96, 54], [128, 54], [256, 27], [512, 13], [1000, 13]];
        assert_eq!(dims, want.map(|[c, s]| [1, c, s, s]));
        let n = network(zoo::inception_v1(1008));
        let shapes = n.graph().shapes([3, 224, 224]).unwrap();
        for (layer, shape) in [
            ("conv2d0", [64, 112, 112]),
            ("conv2d2", [192, 56, 56]),
            ("mixed3a", [256, 28, 28]),
            ("mixed3b", [480, 28, 28]),
            ("mixed4a", [508, 14, 14]),
            ("mixed4d", [528, 14, 14]),
            ("mixed5b", [1024, 7, 7]),
            ("softmax2", [1008, 1, 1]),
        ] {
            assert_eq!(shapes[n.graph().position(layer).unwrap()], shape);
        }
        let n = network(zoo::resnet_cifar(20, 10));
        let x = Tensor::zeros([2, 3, 32, 32], &device);
        let layers = ["layer1.2", "layer2.0", "layer3.2", "linear"];
        let dims: Vec<[usize; 4]> = n.capture(x, &layers).unwrap().iter().map(|t| t.dims()).collect();
        assert_eq!(dims, [[2, 16, 32, 32], [2, 32, 16, 16], [2, 64, 8, 8], [2, 10, 1, 1]]);
    }

    #[test]
    fn folding_batch_norm_changes_no_layer_that_is_left() {
        let device = Device::default();
        for graph in [zoo::small_cnn(10), zoo::resnet_cifar(20, 10)] {
            let n = network(graph);
            // Statistics other than the fresh 0 and 1: from a few batches in training mode.
            let training = n.train();
            for _ in 0..3 {
                let x = Tensor::<4>::random([4, 3, 32, 32], Distribution::Normal(0.3, 2.0), &device);
                training.logits(x.autodiff());
            }
            let n = training.valid();
            let folded = n.fold_batch_norm();
            assert!(folded.graph().nodes.iter().all(|node| !matches!(node.op, Op::BatchNorm(_))));
            let left: Vec<String> = folded.graph().layers().map(String::from).collect();
            let x = Tensor::<4>::random([2, 3, 32, 32], Distribution::Default, &device);
            let conv = n.graph().nodes.iter().find(|node| matches!(node.op, Op::Conv(_))).unwrap();
            let kept = n.fold_batch_norm_but(&HashSet::from([conv.name.clone()]));
            let same = |n: &Network| {
                let map = n.capture(x.clone(), &[&conv.name]).unwrap().remove(0);
                values(map)
            };
            assert_eq!(same(&n), same(&kept));
            assert_eq!(kept.graph().nodes.len(), folded.graph().nodes.len() + 1);
            let pairs =
                n.capture(x.clone(), &left).unwrap().into_iter().zip(folded.capture(x, &left).unwrap());
            for ((a, b), name) in pairs.zip(&left) {
                let scale = a.clone().abs().max().into_scalar::<f32>().max(1.0);
                let difference = (a - b).abs().max().into_scalar::<f32>();
                assert!(difference < 1e-4 * scale, "{name} differs by {difference}");
            }
        }
    }

    #[test]
    fn saving_and_opening_keeps_graph_and_weights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.safetensors");
        for graph in [zoo::resnet_cifar(20, 10), zoo::small_cnn(7)] {
            let n = network(graph);
            n.save(&path).unwrap();
            let again = Network::open(&path, &Device::default()).unwrap();
            assert_eq!(n.graph(), again.graph());
            let x = Tensor::<4>::random([2, 3, 32, 32], Distribution::Default, &Device::default());
            let pair = [&n, &again].map(|n| n.logits(x.clone()).into_data().try_to_vec::<f32>().unwrap());
            assert_eq!(pair[0], pair[1]);
            assert_eq!(n.digest(), again.digest());
        }
        let [a, b] = [0, 1].map(|s| {
            Network::new(zoo::small_cnn(7), &mut seed::rng(s, &0), &Device::default()).unwrap().digest()
        });
        assert_ne!(a, b);
    }
}
