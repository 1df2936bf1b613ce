//! What a forward pass does, made ready once for the layers that are wanted: the order, when a value is read for the last time,
//! and which layers are computed together.
//!
//! Passes put in steps that only plans have: a convolution with the constant that is added to it and the ReLU after it, two
//! convolutions of one map with the layer that joins them, a maximum pooling with the ReLU before it, a ReLU whose gradient leaks, an
//! attention.

#[cfg(feature = "flex")]
mod attention;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
#[cfg(feature = "flex")]
use burn::tensor::Device;
use burn::tensor::Tensor;

use super::convolution::{self, Prepared};
use super::op::{Along, Concat, Conv, MaxPool, Op};
use super::padding::Padding;
use super::parameters::Parameters;
use super::rectify::relu;
use super::{Network, Node};

/// The plans of a network, by what is wanted. A network that changes has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Plans(Arc<Mutex<HashMap<Vec<usize>, Arc<Plan>>>>);

impl Plans {
    /// The plan for these layers of a network, by their positions.
    pub fn of(&self, network: &Network, wanted: &[usize]) -> Arc<Plan> {
        let mut plans = self.0.lock().expect("nobody panics while holding it");
        if let Some(plan) = plans.get(wanted) {
            return plan.clone();
        }
        let plan = Arc::new(Plan::new(network, wanted));
        plans.insert(wanted.to_vec(), plan.clone());
        plan
    }
}

/// The steps to the wanted layers.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
    /// Where the wanted values are, and whether for the last time.
    wanted: Vec<Read>,
    /// How many values there are at most.
    values: usize,
}

/// A value that is read.
#[derive(Clone, Copy, Debug)]
struct Read {
    value: usize,
    /// Whether nobody reads it afterwards.
    last: bool,
}

/// One value, and what it is computed from.
#[derive(Debug)]
struct Step {
    value: usize,
    reads: Vec<Read>,
    task: Task,
}

/// How a value is computed.
#[derive(Clone, Debug)]
enum Task {
    /// It is the image.
    Image,
    /// A layer by itself.
    Layer(Op, Box<Parameters>),
    /// max(x, 0), with this share of the gradient where it is 0.
    Relu(f32),
    /// One or two convolutions of one map, joined.
    Convolutions {
        convs: Vec<(Conv, Conv2d, Prepared)>,
        /// Whether max(x, 0) of them is taken, and with which share of the gradient where it is 0.
        rectify: Option<f32>,
    },
    /// A maximum pooling of max(x, 0).
    RectifiedPool(MaxPool),
    /// A value times its sigmoid.
    #[cfg(feature = "flex")]
    Silu,
    /// An attention whose Q, K and V lie in one map, or in three.
    #[cfg(feature = "flex")]
    Attention(Box<trompe_kernels::Attention>),
}

impl Task {
    fn run(&self, inputs: Vec<Tensor<4>>, image: &mut Option<Tensor<4>>) -> Tensor<4> {
        let one = |mut inputs: Vec<Tensor<4>>| inputs.pop().expect("it reads a value");
        match self {
            Self::Image => image.take().expect("one input node"),
            Self::Layer(op, parameters) => op.forward(parameters, inputs),
            Self::Relu(leak) => relu(one(inputs), *leak),
            Self::Convolutions { convs, rectify } => match &convs[..] {
                [(op, conv, prepared)] => op.rectified(conv, prepared, one(inputs), *rectify),
                [(_, first, a), (_, second, b)] => {
                    convolution::convolve_pair([(first, a), (second, b)], one(inputs), *rectify)
                }
                _ => unreachable!("one or two convolutions"),
            },
            Self::RectifiedPool(pool) => pool.of(one(inputs), true),
            #[cfg(feature = "flex")]
            Self::Silu => trompe_kernels::silu(one(inputs)),
            #[cfg(feature = "flex")]
            Self::Attention(attention) => match <[_; 3]>::try_from(inputs) {
                Ok(three) => trompe_kernels::attend_between(three, *attention.clone()),
                Err(inputs) => trompe_kernels::attend_within(one(inputs), *attention.clone()),
            },
        }
    }
}

/// The layers on the way to the wanted ones: what each reads and is, while passes change that.
struct Draft<'n> {
    nodes: &'n [Node],
    order: Vec<usize>,
    reads: Vec<Vec<usize>>,
    /// How often each is read or wanted.
    uses: Vec<usize>,
    tasks: HashMap<usize, Task>,
    /// Those that are computed within others.
    within: HashSet<usize>,
    leak: f32,
}

impl Plan {
    fn new(network: &Network, wanted: &[usize]) -> Self {
        let mut draft = Draft::new(network, wanted);
        draft.add_constants();
        draft.rectify_convolutions();
        draft.join_convolutions();
        draft.rectify_after_pools();
        #[cfg(feature = "flex")]
        if network.device().without_autodiff() == Device::flex() {
            draft.attend();
            draft.silu();
        }
        draft.finish(wanted)
    }

    /// The wanted values for images. Every other value is dropped after its last use.
    pub fn run(&self, image: Tensor<4>) -> Vec<Tensor<4>> {
        let mut image = Some(image);
        let mut values: Vec<Option<Tensor<4>>> = vec![None; self.values];
        let take = |values: &mut Vec<Option<Tensor<4>>>, read: &Read| {
            let value = if read.last { values[read.value].take() } else { values[read.value].clone() };
            value.expect("computed in order and kept until its last use")
        };
        for step in &self.steps {
            let inputs = step.reads.iter().map(|read| take(&mut values, read)).collect();
            values[step.value] = Some(step.task.run(inputs, &mut image));
        }
        self.wanted.iter().map(|read| take(&mut values, read)).collect()
    }
}

impl<'n> Draft<'n> {
    fn new(network: &'n Network, wanted: &[usize]) -> Self {
        let nodes = &network.graph.nodes[..];
        let order = network.graph.ancestors(wanted);
        let index: HashMap<&str, usize> = order.iter().map(|&i| (nodes[i].name.as_str(), i)).collect();
        let mut reads = vec![vec![]; nodes.len()];
        let mut uses = vec![0; nodes.len()];
        for &i in &order {
            reads[i] = nodes[i].inputs.iter().map(|name| index[name.as_str()]).collect();
            reads[i].iter().for_each(|&read| uses[read] += 1);
        }
        wanted.iter().for_each(|&w| uses[w] += 1);
        let leak = network.leak;
        let task = |i: usize| match (&nodes[i].op, &nodes[i].parameters) {
            (Op::Input(_), _) => Task::Image,
            (Op::Relu(_), _) => Task::Relu(leak),
            (Op::Conv(op), Parameters::Conv(conv)) => {
                Task::Convolutions { convs: vec![(*op, conv.clone(), Prepared::default())], rectify: None }
            }
            (op, parameters) => Task::Layer(op.clone(), Box::new(parameters.clone())),
        };
        let tasks = order.iter().map(|&i| (i, task(i))).collect();
        Self { nodes, order, reads, uses, tasks, within: HashSet::new(), leak }
    }

    /// Whether nothing but one layer reads a value.
    fn alone(&self, i: usize) -> bool {
        self.uses[i] == 1
    }

    /// The layers of a kind, in order.
    fn all(&self, kind: impl Fn(&Op) -> bool) -> Vec<usize> {
        self.order.iter().copied().filter(|&i| kind(&self.nodes[i].op)).collect()
    }

    /// Computes layers within another, which does a task that reads what is given.
    fn put(&mut self, i: usize, within: &[usize], task: Task, reads: Vec<usize>) {
        self.within.extend(within);
        self.tasks.insert(i, task);
        self.reads[i] = reads;
    }

    /// The values of a constant that is not learned.
    fn constant(&self, i: usize) -> Option<Tensor<4>> {
        match (&self.nodes[i].op, &self.nodes[i].parameters) {
            (Op::Constant(_), Parameters::Values(values)) if !values.value.is_require_grad() => {
                Some(values.value.val())
            }
            _ => None,
        }
    }

    /// A convolution to which nothing but a constant for each channel is added: its bias. Where none of them is learned.
    fn add_constants(&mut self) {
        for i in self.all(|op| matches!(op, Op::Add(_))) {
            let [a, b] = self.reads[i][..] else { continue };
            let (conv, constant) = if self.constant(b).is_some() { (a, b) } else { (b, a) };
            let Some(value) = self.constant(constant) else { continue };
            let Some(Task::Convolutions { convs, rectify: None }) = self.tasks.get(&conv) else { continue };
            let [(op, of, _)] = &convs[..] else { continue };
            let [output, ..] = of.weight.val().dims();
            if !self.alone(conv) || of.weight.is_require_grad() || value.dims() != [1, output, 1, 1] {
                continue;
            }
            let value = value.reshape([output]);
            let bias = match &of.bias {
                Some(bias) => bias.val() + value,
                None => value,
            };
            let of = Conv2d { bias: Some(Param::from_tensor(bias)), ..of.clone() };
            let convs = vec![(*op, of.freeze(), Prepared::default())];
            self.put(i, &[conv], Task::Convolutions { convs, rectify: None }, self.reads[conv].clone());
        }
    }

    /// A convolution whose ReLU alone reads it.
    fn rectify_convolutions(&mut self) {
        for i in self.all(|op| matches!(op, Op::Relu(_))) {
            let conv = self.reads[i][0];
            if let Task::Convolutions { convs, .. } = &self.tasks[&conv]
                && self.alone(conv)
            {
                let task = Task::Convolutions { convs: convs.clone(), rectify: Some(self.leak) };
                self.put(i, &[conv], task, self.reads[conv].clone());
            }
        }
    }

    /// Two convolutions of one map, both rectified or neither, that nothing but the layer that joins them reads.
    fn join_convolutions(&mut self) {
        for i in self.all(|op| matches!(op, Op::Concat(Concat { along: Along::Channels }))) {
            let [first, second] = self.reads[i][..] else { continue };
            let both = [first, second].map(|part| match &self.tasks[&part] {
                Task::Convolutions { convs, rectify } if self.alone(part) => Some((convs, *rectify)),
                _ => None,
            });
            let [Some((a, rectify)), Some((b, other))] = both else { continue };
            let fixed = |(op, ..): &(Conv, Conv2d, Prepared)| !matches!(op.padding, Padding::Same(_));
            let convs: Vec<_> = a.iter().chain(b).cloned().collect();
            let one_map = self.reads[first] == self.reads[second];
            if rectify == other && one_map && convs.len() == 2 && convs.iter().all(fixed) {
                let reads = self.reads[first].clone();
                self.put(i, &[first, second], Task::Convolutions { convs, rectify }, reads);
            }
        }
    }

    /// A value times its sigmoid, which nothing else reads.
    #[cfg(feature = "flex")]
    fn silu(&mut self) {
        for i in self.all(|op| matches!(op, Op::Mul(_))) {
            let [a, b] = self.reads[i][..] else { continue };
            for (x, sigmoid) in [(a, b), (b, a)] {
                let squashed = matches!(self.nodes[sigmoid].op, Op::Sigmoid(_)) && self.reads[sigmoid] == [x];
                if squashed && self.alone(sigmoid) && !self.within.contains(&sigmoid) {
                    self.put(i, &[sigmoid], Task::Silu, vec![x]);
                    break;
                }
            }
        }
    }

    /// Of the fewer maxima instead: max(x, 0) of a maximum is the maximum of max(x, 0). Not where the gradient leaks.
    fn rectify_after_pools(&mut self) {
        if self.leak != 0.0 {
            return;
        }
        for i in self.all(|op| matches!(op, Op::MaxPool(_))) {
            let read = self.reads[i][0];
            let Op::MaxPool(pool) = self.nodes[i].op else { continue };
            let alone = self.alone(read);
            if let Some(Task::Convolutions { rectify: rectify @ Some(_), .. }) = self.tasks.get_mut(&read)
                && alone
            {
                *rectify = None;
                self.tasks.insert(i, Task::RectifiedPool(pool));
            }
        }
    }

    fn finish(mut self, wanted: &[usize]) -> Plan {
        let mut left = vec![0; self.nodes.len()];
        let kept: Vec<usize> = self.order.iter().copied().filter(|i| !self.within.contains(i)).collect();
        kept.iter().flat_map(|&i| &self.reads[i]).chain(wanted).for_each(|&read| left[read] += 1);
        let mut read = |value: usize| {
            left[value] -= 1;
            Read { value, last: left[value] == 0 }
        };
        let steps = kept
            .iter()
            .map(|&i| Step {
                value: i,
                reads: self.reads[i].iter().map(|&value| read(value)).collect(),
                task: self.tasks.remove(&i).expect("one for each layer"),
            })
            .collect();
        Plan { steps, wanted: wanted.iter().map(|&w| read(w)).collect(), values: self.nodes.len() }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Distribution, Tensor};
    use trompe_base::seed;

    use super::*;
    use crate::{Graph, INPUT, op, zoo};

    fn network(graph: Graph) -> Network {
        Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap()
    }

    /// Branches that can be computed together, and some that cannot: read elsewhere, rectified differently, of two maps.
    fn branches() -> Graph {
        let mut g = Graph::new("branches", 3);
        let pair = |g: &mut Graph, name: &str, of: [&str; 2], rectified: [bool; 2]| {
            let parts = [0, 1].map(|i| {
                let conv = g.push(format!("{name}.{i}"), Op::conv(3, 3, 1 + 2 * i, 1, i), &[of[i]]);
                if rectified[i] { g.push(format!("{name}.{i}_relu"), op::Relu, &[&conv]) } else { conv }
            });
            let joined = g.push(name, op::Concat::default(), &[&parts[0], &parts[1]]);
            g.push(format!("{name}.small"), Op::conv(6, 3, 1, 1, 0), &[&joined])
        };
        let both = pair(&mut g, "both", [INPUT; 2], [true; 2]);
        let plain = pair(&mut g, "plain", [&both, &both], [false; 2]);
        let mixed = pair(&mut g, "mixed", [&plain, &plain], [true, false]);
        let apart = pair(&mut g, "apart", [&mixed, &both], [true; 2]);
        let shared = pair(&mut g, "shared", [&apart, &apart], [true; 2]);
        g.push("last", op::Concat::default(), &[&shared, "shared.1_relu", "plain.0"]);
        g
    }

    /// A value times its sigmoid, and a convolution of each channel by itself with a ReLU.
    fn gated() -> Graph {
        let mut g = Graph::new("gated", 3);
        g.then("conv", Op::conv(3, 6, 3, 2, 1));
        let sigmoid = g.then("sigmoid", op::Sigmoid);
        g.push("silu", op::Mul, &[&sigmoid, "conv"]);
        let depthwise = Conv {
            channels: [6, 6],
            kernel: [3, 5],
            stride: [2, 1],
            padding: Padding::Sides([1, 2, 1, 1]),
            dilation: [1, 1],
            groups: 6,
            bias: true,
        };
        g.then("depthwise", depthwise);
        g.then("depthwise_relu", op::Relu);
        g
    }

    #[test]
    fn a_value_times_its_sigmoid_is_one_step() {
        let network = network(gated());
        let position = |name: &str| network.graph.position(name).unwrap();
        let plan = Plan::new(&network, &[position("depthwise_relu")]);
        let step = |name: &str| plan.steps.iter().find(|step| step.value == position(name));
        assert!(matches!(step("silu").unwrap().task, Task::Silu) && step("sigmoid").is_none());
    }

    #[test]
    fn a_fire_module_and_its_relus_are_one() {
        let whole = network(zoo::squeezenet1_0(10));
        let position = |name: &str| whole.graph.position(name).unwrap();
        let plan = Plan::new(&whole, &[position(whole.output())]);
        let step = |name: &str| plan.steps.iter().find(|step| step.value == position(name));
        let Task::Convolutions { convs, rectify } = &step("features.3").unwrap().task else { panic!() };
        assert_eq!(convs.iter().map(|(op, ..)| op.kernel).collect::<Vec<_>>(), [[1, 1], [3, 3]]);
        assert_eq!(*rectify, Some(0.0));
        assert!(step("features.3.expand3x3_activation").is_none());
        // The pooling takes the ReLU of the first convolution, and of the module before it.
        assert!(matches!(step("features.2").unwrap().task, Task::RectifiedPool(_)));
        assert!(matches!(step("features.1").unwrap().task, Task::Convolutions { rectify: None, .. }));
    }
    /// What is asked for by name is computed by itself: values and gradients are the same.
    #[test]
    fn layers_together_are_what_they_are_one_by_one() {
        for (graph, last) in
            [(branches(), "last"), (zoo::squeezenet1_0(10), "features.8"), (gated(), "depthwise_relu")]
        {
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

    /// Q, K and V of one map, and of three; a bias for all heads; a result that is not rearranged.
    fn attentions() -> Graph {
        let (heads, tokens, width) = (2, 12, 8);
        let mut g = Graph::new("attentions", 3);
        g.then("embed", Op::conv(3, 3 * width, 4, 4, 0).without_bias());
        let shape = [3 * width, 1, 1];
        let shift = g.push("shift", op::Constant { shape }, &[]);
        g.push("embedded", op::Add, &["embed", &shift]);
        let tokens_of = |channels: usize| op::Rearrange {
            from: [vec![channels], vec![4], vec![3]],
            to: [vec![0], vec![1, 2], vec![]],
        };
        g.push("tokens", tokens_of(3 * width), &["embedded"]);
        let factor = g.push("factor", op::Constant { shape: [1; 3] }, &[]);
        for part in 0..3i64 {
            let (start, end) = ([part * width as i64, 0, 0], [(part + 1) * width as i64, i64::MAX, i64::MAX]);
            g.push(format!("part{part}"), op::Slice { start, end, step: [1; 3] }, &["tokens"]);
        }
        g.push("scaled", op::Mul, &["part0", &factor]);
        let parts = [vec![heads, width / heads], vec![tokens], vec![]];
        let [plain, turned] = [[vec![0], vec![2], vec![1]], [vec![0], vec![1], vec![2]]];
        let of = |to: &[Vec<usize>; 3]| op::Rearrange { from: parts.clone(), to: to.clone() };
        let back = op::Rearrange {
            from: [vec![heads], vec![tokens], vec![width / heads]],
            to: [vec![0, 2], vec![1], vec![]],
        };
        let attention =
            |g: &mut Graph, name: &str, [q, k, v]: [&str; 3], biased: bool, back: Option<&op::Rearrange>| {
                let part = |what: &str| format!("{name}.{what}");
                g.push(part("q"), of(&plain), &[q]);
                g.push(part("k"), of(&turned), &[k]);
                g.push(part("v"), of(&plain), &[v]);
                let mut scores = g.push(part("scores"), op::MatMul { scale: 0.4 }, &[&part("q"), &part("k")]);
                if biased {
                    let bias = g.push(part("bias"), op::Constant { shape: [1, tokens, tokens] }, &[]);
                    scores = g.push(part("sum"), op::Add, &[&scores, &bias]);
                }
                let softmax = g.push(part("softmax"), op::Softmax { over: Along::Columns }, &[&scores]);
                let mut made = g.push(part("product"), op::MatMul::default(), &[&softmax, &part("v")]);
                if let Some(back) = back {
                    made = g.push(part("back"), back.clone(), &[&made]);
                }
                made
            };
        let first = attention(&mut g, "within", ["scaled", "part1", "part2"], false, Some(&back));
        let convs = ["a", "b", "c"].map(|name| g.push(name, Op::conv(width, width, 1, 1, 0), &[&first]));
        attention(&mut g, "between", [&convs[0], &convs[1], &convs[2]], true, None);
        g
    }

    #[test]
    fn attentions_together_are_what_their_pieces_are() {
        let mut network = network(attentions());
        for (node, i) in network.graph.nodes.iter_mut().zip(0..) {
            if let (Op::Constant(_), Parameters::Values(values)) = (&node.op, &mut node.parameters) {
                let drawn = Tensor::random(
                    values.value.dims(),
                    Distribution::Normal(0.3 + f64::from(i % 2), 0.5),
                    &Device::default(),
                );
                values.value = burn::module::Param::from_tensor(drawn);
            }
        }
        let network = network.train().freeze();
        let names: Vec<String> = network.graph().layers().map(String::from).collect();
        for last in ["within.back", "between.product"] {
            let at = network.graph.position(last).unwrap();
            let plan = Plan::new(&network, &[at]);
            let step = plan.steps.iter().find(|step| step.value == at).unwrap();
            let Task::Attention(attention) = &step.task else { panic!("{:?}", step.task) };
            assert_eq!((attention.heads, attention.queries, attention.features), (2, 12, 4));
            assert_eq!(
                (step.reads.len(), attention.bias.is_some()),
                if last == "within.back" { (1, false) } else { (3, true) }
            );
            // The constant that is added is the convolution's bias.
            assert!(plan.steps.iter().all(|step| step.value != network.graph.position("embed").unwrap()));
            let x = Tensor::<4>::random([2, 3, 16, 12], Distribution::Default, &Device::default().autodiff());
            let [together, single] = [vec![last.to_string()], names.clone()].map(|layers| {
                let x = x.clone().require_grad();
                let place = layers.iter().position(|layer| layer == last).unwrap();
                let y = network.capture(x.clone(), &layers).unwrap().remove(place);
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            });
            for (a, b) in [(together.0, single.0), (together.1, single.1)] {
                let scale = b.clone().abs().max().into_scalar::<f32>();
                let error = (a - b).abs().max().into_scalar::<f32>();
                assert!(scale > 0.0 && error <= 1e-5 * scale.max(1.0), "{last}: {error} of {scale}");
            }
        }
    }

    /// Where its parts are learned, an attention is computed in pieces, and constants are learned, too.
    #[test]
    fn learned_constants_are_added_by_themselves() {
        let network = network(attentions()).train();
        let at = network.graph.position("between.product").unwrap();
        let plan = Plan::new(&network, &[at]);
        assert!(plan.steps.iter().any(|step| step.value == network.graph.position("embed").unwrap()));
        assert!(!plan.steps.iter().any(|step| step.value == at && matches!(step.task, Task::Attention(_))));
    }

    /// A plan is made once, and anew for a network that has changed.
    #[test]
    fn plans_are_kept_until_the_network_changes() {
        let mut network = network(zoo::small_cnn(10));
        let wanted = [network.graph.position("conv2").unwrap()];
        let [a, b] = [(); 2].map(|()| network.plans.of(&network, &wanted));
        assert!(Arc::ptr_eq(&a, &b));
        let x = Tensor::<4>::ones([1, 3, 32, 32], &Device::default());
        let before = network.capture(x.clone(), &["conv2"]).unwrap().remove(0);
        let (weight, bias) = network.filters("conv1").unwrap();
        network.set_filters("conv1", (weight * 2.0).into_data(), bias.into_data()).unwrap();
        let after = network.capture(x, &["conv2"]).unwrap().remove(0);
        assert!((after - before).abs().max().into_scalar::<f32>() > 1e-3);
        assert!(!Arc::ptr_eq(&a, &network.plans.of(&network, &wanted)));
    }
}
