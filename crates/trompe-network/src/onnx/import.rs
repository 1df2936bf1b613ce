//! From an ONNX graph to a [`Network`]: what is kept of each value of the file, and the list of layers that grows.

use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, HashSet};
use std::path::Path;

use burn::tensor::{Device, TensorData};
use trompe_base::error::Result;

use super::array::{Array, Budget, Constant, Number};
use super::call::Call;
use super::view::{IMAGES, View};
use super::{proto, read};
use crate::graph::nearest;
use crate::op::{Constant as ConstantOp, Op};
use crate::{Graph, INPUT, Network, Node};

/// What an axis of a file's value is in the map `[N, C, H, W]` that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    Batch,
    Channels,
    Rows,
    Columns,
    /// None of these: its size is 1.
    One,
}

/// The axes of a map as it is.
pub const MAP: [Axis; 4] = [Axis::Batch, Axis::Channels, Axis::Rows, Axis::Columns];

/// What depends on the image: the map of a layer, with its axes as the file orders them. Axes that are missing have size
/// 1 there, so a value that is only transposed, squeezed or unsqueezed needs no layer of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The layer's position in the graph.
    pub layer: usize,
    pub axes: Vec<Axis>,
}

/// A value of the file.
#[derive(Clone, Debug)]
pub enum Value {
    Map(Map),
    /// A map whose axes are split, exchanged or joined.
    View(View),
    Constant(Constant),
    /// An output that is not computed, with a word for it.
    Absent(&'static str),
    /// What an operator that is not supported would give.
    Unknown,
}

/// Why a node does not become a layer.
pub enum Refusal {
    /// Trompe can't do it.
    Unsupported(String),
    /// The file is wrong.
    Wrong(String),
    /// It reads what a refused node would give.
    Unknown,
}

/// The network as far as it is read.
pub struct Import<'a> {
    folder: &'a Path,
    device: &'a Device,
    /// The version of the operators.
    pub opset: i64,
    /// The number of images that the file is made for, if it is fixed; Trompe takes any.
    pub batch: Option<i64>,
    graph: Graph,
    shapes: Vec<[usize; 3]>,
    /// Whether a layer's map has other rows and columns for images of another size.
    varying: Vec<bool>,
    /// The first node that computes with the image's size.
    sized_by: OnceCell<String>,
    names: HashSet<String>,
    values: HashMap<String, Value>,
    /// Parameters of whole numbers of eight bits that may be below 0.
    signed: HashSet<String>,
    /// The constants that are layers already, by their name and place in the map.
    placed: HashMap<(String, Vec<Axis>), usize>,
    budget: Budget,
    /// How many more values operators on constants may go through.
    toil: Cell<usize>,
}

/// The most values that operators on constants may go through: more than any network needs.
const TOIL: usize = 1 << 31;

/// What to do about what lies behind the layers that somebody wants.
const EARLIER: &str = "If you want layers before these, name one as the network's output: --output LAYER, or `output` in \
                       [network].";

/// The first version of the operators that means what the later ones do.
const OLDEST: i64 = 7;

/// The image sizes that are tried where a file fixes none.
pub const SIZES: [usize; 6] = [224, 32, 28, 64, 299, 512];

/// The network of a file called `name` that lies in `folder`.
pub fn import(
    model: &proto::Model,
    name: &str,
    folder: &Path,
    wanted: Option<&str>,
    device: &Device,
) -> Result<Network, String> {
    let graph = model.graph.as_ref().ok_or("holds no ONNX graph")?;
    let opset = model
        .opset_import
        .iter()
        .find(|set| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")))
        .and_then(|set| set.version)
        .ok_or("does not say which version of the ONNX operators it uses")?;
    if opset < OLDEST {
        return Err(format!(
            "uses version {opset} of the ONNX operators, and Trompe reads {OLDEST} and later: convert it with \
             onnx.version_converter, or export it again"
        ));
    }
    let output = output_of(graph, wanted)?;
    let needed = needed(graph, output)?;
    let image = Image::of(model, graph, output, &needed)?;
    let mut first = None;
    let sizes = image.sizes();
    for &size in &sizes {
        let mut import = Import {
            folder,
            device,
            opset,
            batch: image.batch,
            graph: Graph { size: image.size, ..Graph::new(name, image.channels) },
            shapes: vec![],
            varying: vec![],
            sized_by: OnceCell::new(),
            names: [INPUT.to_string()].into(),
            values: HashMap::new(),
            signed: HashSet::new(),
            placed: HashMap::new(),
            budget: Budget::default(),
            toil: Cell::new(TOIL),
        };
        match import.run(graph, &needed, output, &image, size) {
            Ok(()) => {
                let mut built = import.graph;
                built.sized_by = import.sized_by.into_inner().or(image.sized_by);
                // A size that is not the first has been found by trying.
                if built.sized_by.is_some() || size != sizes[0] {
                    built.size = Some(size);
                }
                let mut network = Network::assemble(built).map_err(|e| e.to_string())?;
                let outputs: Vec<&str> = graph_outputs(graph).collect();
                if wanted.is_none() && outputs.len() > 1 {
                    network.notes.push(format!(
                        "\"{output}\" is taken for the output of {name}; the file gives {}: name another with --output",
                        outputs.join(", ")
                    ));
                }
                return Ok(network);
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| "takes images of no size".into()))
}

/// The image that a file takes.
struct Image<'a> {
    name: &'a str,
    batch: Option<i64>,
    channels: usize,
    /// Height and width, if they are fixed.
    size: Option<[usize; 2]>,
    /// The node that made the size matter before Trompe wrote the file.
    sized_by: Option<String>,
    axes: Vec<Axis>,
}

impl<'a> Image<'a> {
    fn of(
        model: &proto::Model,
        graph: &'a proto::Graph,
        output: &str,
        needed: &[usize],
    ) -> Result<Self, String> {
        let parameters: HashSet<&str> = graph.initializer.iter().filter_map(|t| t.name.as_deref()).collect();
        let read: HashSet<&str> =
            needed.iter().flat_map(|&i| &graph.node[i].input).map(String::as_str).collect();
        let inputs: Vec<&proto::ValueInfo> = graph
            .input
            .iter()
            .filter(|i| {
                let name = i.name.as_deref().unwrap_or("");
                !parameters.contains(name) && (read.contains(name) || output == name)
            })
            .collect();
        if !graph.sparse.is_empty() {
            return Err("has sparse parameters, which are not read: export it with dense ones".into());
        }
        if inputs.is_empty() {
            return Err(format!(
                "computes \"{output}\" from no input that is read: operators with graphs of their own, as If and Loop, \
                 can't be followed\n{EARLIER}"
            ));
        }
        let [input] = inputs[..] else {
            let names: Vec<&str> = inputs.iter().filter_map(|i| i.name.as_deref()).collect();
            return Err(format!(
                "takes {} inputs ({}); a CNN takes one, the image",
                names.len(),
                names.join(", ")
            ));
        };
        let name = input.name.as_deref().unwrap_or("");
        let dims = input.kind.as_ref().and_then(|k| k.tensor.as_ref()).and_then(|t| t.shape.as_ref());
        let dims = &dims.ok_or_else(|| format!("does not say what shape its input \"{name}\" has"))?.dim;
        if !(1..=4).contains(&dims.len()) {
            return Err(format!(
                "takes an input \"{name}\" of {} dimensions; images are [N, channels, height, width]",
                dims.len()
            ));
        }
        let mut fixed = [None; 4];
        for (fixed, dim) in fixed.iter_mut().zip(dims) {
            // Some exporters write 0 or -1 for what is not fixed.
            *fixed = dim.value.filter(|&v| v > 0);
        }
        // As TensorFlow has them, and exporters that keep its order.
        let side = |d: usize| fixed[d].is_none_or(|n: i64| n >= 8);
        let channels_last = dims.len() == 4 && matches!(fixed[3], Some(1 | 3)) && side(1) && side(2);
        let axes = match channels_last {
            true => {
                fixed = [fixed[0], fixed[3], fixed[1], fixed[2]];
                vec![Axis::Batch, Axis::Rows, Axis::Columns, Axis::Channels]
            }
            false => MAP[..dims.len()].to_vec(),
        };
        let size = |d: usize| match fixed[d] {
            Some(v) => Some(usize::try_from(v).unwrap_or(usize::MAX)),
            None if d >= dims.len() => Some(1),
            None => None,
        };
        let channels =
            size(1).ok_or_else(|| {
                format!(
                    "does not say how many channels its input \"{name}\" has: fix its second size when you export it"
                )
            })?;
        let own = |key: &str| {
            model
                .metadata_props
                .iter()
                .find(|e| e.key.as_deref() == Some(key))
                .and_then(|e| e.value.as_deref())
        };
        let written = own(super::SIZE).and_then(|text| text.split_once('x'));
        let written = written.and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
        let size = size(2).zip(size(3)).map(|(h, w)| [h, w]).or(written);
        let sized_by = own(super::SIZED_BY).map(String::from);
        Ok(Self { name, batch: fixed[0], channels, size, sized_by, axes })
    }

    /// The sizes that shapes in the file may be computed for.
    fn sizes(&self) -> Vec<[usize; 2]> {
        self.size.map_or_else(|| SIZES.map(|s| [s, s]).to_vec(), |size| vec![size])
    }
}

/// The names of what a file gives.
fn graph_outputs(graph: &proto::Graph) -> impl Iterator<Item = &str> {
    graph.output.iter().filter_map(|o| o.name.as_deref())
}

/// The value that is the network's output: the one of this name, or the first that the node of this name makes; by
/// default the first that the file gives.
pub fn output_of<'a>(graph: &'a proto::Graph, wanted: Option<&'a str>) -> Result<&'a str, String> {
    let Some(wanted) = wanted else {
        return graph_outputs(graph).next().ok_or_else(|| "has no output".into());
    };
    let made = |name: &str| graph.node.iter().any(|node| node.output.iter().any(|o| o == name));
    if made(wanted) || graph_outputs(graph).any(|name| name == wanted) {
        return Ok(wanted);
    }
    let node = graph.node.iter().find(|node| node.name.as_deref() == Some(wanted));
    if let Some(output) = node.and_then(|node| node.output.first()) {
        return Ok(output);
    }
    let names = graph.node.iter().filter_map(|node| node.name.as_deref());
    let near = nearest(wanted, graph_outputs(graph).chain(names));
    Err(format!("has neither an output nor a node \"{wanted}\"{near}"))
}

/// The nodes that the output depends on, in the file's order.
fn needed(graph: &proto::Graph, output: &str) -> Result<Vec<usize>, String> {
    let mut made: HashMap<&str, usize> = HashMap::new();
    let parameters = graph.initializer.iter().filter_map(|t| t.name.as_deref());
    let mut known: HashSet<&str> = HashSet::new();
    for name in parameters {
        if !known.insert(name) {
            return Err(format!("has two parameters called \"{name}\""));
        }
    }
    known.extend(graph.input.iter().filter_map(|i| i.name.as_deref()));
    for (i, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if known.contains(name.as_str()) || made.insert(name, i).is_some() {
                return Err(format!("makes the value \"{name}\" twice"));
            }
        }
    }
    let mut wanted = vec![output];
    let mut needed = vec![false; graph.node.len()];
    while let Some(name) = wanted.pop() {
        match made.get(name) {
            Some(&i) if !needed[i] => {
                needed[i] = true;
                wanted.extend(graph.node[i].input.iter().map(String::as_str));
            }
            _ => {}
        }
    }
    Ok(in_order(graph, &made, (0..needed.len()).filter(|&i| needed[i])))
}

/// Nodes in the order given, but each after those that make what it reads: some converters append nodes at the end of a file that
/// others read. In a circle, one comes before what it reads, which is found when it is read.
fn in_order(
    graph: &proto::Graph,
    made: &HashMap<&str, usize>,
    nodes: impl Iterator<Item = usize>,
) -> Vec<usize> {
    let mut order = vec![];
    let mut seen = vec![false; graph.node.len()];
    for node in nodes {
        // Nodes that wait for what they read, with how many of their inputs have been looked at.
        let mut waiting = vec![(node, 0)];
        while let Some((node, looked)) = waiting.pop() {
            if looked == 0 && std::mem::replace(&mut seen[node], true) {
                continue;
            }
            match graph.node[node].input.get(looked) {
                None => order.push(node),
                Some(name) => {
                    waiting.push((node, looked + 1));
                    waiting.extend(made.get(name.as_str()).map(|&earlier| (earlier, 0)));
                }
            }
        }
    }
    order
}

impl Import<'_> {
    fn run(
        &mut self,
        graph: &proto::Graph,
        needed: &[usize],
        output: &str,
        image: &Image<'_>,
        size: [usize; 2],
    ) -> Result<(), String> {
        let shape = [image.channels, size[0], size[1]];
        if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none_or(|n| n > 1 << 28) {
            return Err(format!(
                "takes images of {} channels and {}x{} pixels, which is too large",
                shape[0], shape[2], shape[1]
            ));
        }
        self.shapes.push(shape);
        self.varying.push(true);
        self.values.insert(image.name.into(), Value::Map(Map { layer: 0, axes: image.axes.clone() }));
        let read: HashSet<&str> =
            needed.iter().flat_map(|&i| &graph.node[i].input).map(String::as_str).collect();
        for tensor in &graph.initializer {
            let name = tensor.name.as_deref().unwrap_or("");
            if read.contains(name) {
                let constant = Constant::read(tensor, self.folder, &mut self.budget)
                    .map_err(|what| format!("parameter \"{name}\" {what}"))?;
                self.values.insert(name.into(), Value::Constant(constant));
                if tensor.elements == Some(proto::elements::INT8) {
                    self.signed.insert(name.into());
                }
            }
        }
        let mut unsupported = vec![];
        for &i in needed {
            let call = Call::new(&graph.node[i], i);
            match read::apply(self, &call) {
                Ok(()) => continue,
                Err(Refusal::Unsupported(what)) => unsupported.push(match what.is_empty() {
                    true => call.to_string(),
                    false => format!("{call}: {what}"),
                }),
                Err(Refusal::Wrong(what)) => return Err(format!("{call} {what}")),
                Err(Refusal::Unknown) => {}
            }
            for name in &call.node.output {
                self.values.insert(name.clone(), Value::Unknown);
            }
        }
        if !unsupported.is_empty() {
            return Err(format!(
                "uses what Trompe cannot compute:\n  {}\n{EARLIER}",
                unsupported.join("\n  ")
            ));
        }
        let kept = |map: &Map| {
            let order: Vec<Axis> = map.axes.iter().copied().filter(|axis| *axis != Axis::One).collect();
            let last = [Axis::Batch, Axis::Rows, Axis::Columns, Axis::Channels];
            [MAP, last].iter().any(|usual| usual.iter().filter(|axis| order.contains(axis)).eq(&order))
        };
        // What nothing reads is put in order here. Of four axes, channels are the second, as everywhere in these files.
        if let Some(value @ (Value::Map(_) | Value::View(_))) = self.values.get(output)
            && !matches!(value, Value::Map(map) if kept(map))
        {
            let node =
                proto::Node { input: vec![output.into()], name: Some(output.into()), ..Default::default() };
            let call = Call::new(&node, 0);
            let ordered = match self.image(&call, 0) {
                Ok(layer) => Ok(Map { layer, axes: MAP.into() }),
                Err(_) => self.ordered(&call, 0),
            };
            match ordered {
                Ok(map) => drop(self.values.insert(output.into(), Value::Map(map))),
                Err(Refusal::Unsupported(what) | Refusal::Wrong(what)) => {
                    return Err(format!(
                        "gives \"{output}\", which Trompe can't put in order: {what}\n{EARLIER}"
                    ));
                }
                Err(Refusal::Unknown) => {}
            }
        }
        match self.values.get(output) {
            Some(Value::Map(map)) => {
                self.graph.output = self.graph.nodes[map.layer].name.clone();
            }
            _ => {
                return Err(format!("gives \"{output}\", which no layer computes from the image\n{EARLIER}"));
            }
        }
        Ok(())
    }

    /// A constant of the file.
    pub fn read(&mut self, tensor: &proto::Tensor) -> Result<Constant, String> {
        Constant::read(tensor, self.folder, &mut self.budget)
            .map_err(|what| format!("has a constant that {what}"))
    }

    /// Counts values that the file itself holds.
    pub fn hold(&mut self, values: usize) {
        self.budget.hold(values);
    }

    /// Whether a node's input is a parameter of whole numbers of eight bits that may be below 0.
    pub fn is_signed(&self, call: &Call<'_>, at: usize) -> bool {
        call.node.input.get(at).is_some_and(|name| self.signed.contains(name))
    }

    /// What a layer computes.
    pub fn op(&self, layer: usize) -> &Op {
        &self.graph.nodes[layer].op
    }

    /// Takes so many values from the budget.
    pub fn spend(&mut self, values: usize) -> Result<(), Refusal> {
        self.budget.spend(values).map_err(Refusal::Wrong)
    }

    /// Counts values that an operator on constants goes through.
    pub fn toil(&self, values: usize) -> Result<(), Refusal> {
        match self.toil.get().checked_sub(values) {
            Some(left) => {
                self.toil.set(left);
                Ok(())
            }
            None => Err(Refusal::Wrong(
                "computes with more constants than any network needs; export it with constants folded".into(),
            )),
        }
    }

    /// Whole numbers that a node computes with, if the number of images is not among them. Where some come of the
    /// image's size, the network is for that size alone.
    pub fn settled(&self, call: &Call<'_>, numbers: &[Number]) -> Option<Vec<i64>> {
        if numbers.iter().any(|n| matches!(n, Number::Image(_))) {
            self.settle(call);
        }
        let known = |n: &Number| match n {
            Number::Batch | Number::Times(_) => None,
            Number::Known(n) | Number::Image(n) => Some(*n),
        };
        numbers.iter().map(known).collect()
    }

    /// Notes a node that computes with the image's size: what it gives would be wrong for images of another.
    pub fn settle(&self, call: &Call<'_>) {
        // The first of them stays.
        let _ = self.sized_by.set(call.to_string());
    }

    /// The value that a node reads as its `at`-th input; none, where it is left out.
    pub fn optional(&self, call: &Call<'_>, at: usize) -> Result<Option<&Value>, Refusal> {
        let Some(name) = call.node.input.get(at).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        match self.values.get(name) {
            None => Err(Refusal::Wrong(format!(
                "reads \"{name}\", which nothing before it gives: the nodes are in a cycle, or incomplete"
            ))),
            Some(Value::Unknown) => Err(Refusal::Unknown),
            Some(Value::Absent(what)) => Err(Refusal::Unsupported(format!("reads {what}"))),
            Some(value) => Ok(Some(value)),
        }
    }

    /// The value that a node must have as its `at`-th input.
    pub fn value(&self, call: &Call<'_>, at: usize) -> Result<&Value, Refusal> {
        self.optional(call, at)?.ok_or_else(|| Refusal::Wrong(format!("has no input {}", at + 1)))
    }

    /// The map that a node reads, put in order by a layer where its axes are split.
    pub fn map(&mut self, call: &Call<'_>, at: usize) -> Result<Map, Refusal> {
        match self.value(call, at)? {
            Value::Map(map) => Ok(map.clone()),
            Value::View(_) => self.ordered(call, at),
            Value::Constant(Constant::Floats(array))
                if (1..=4).contains(&array.dims.len()) && array.dims[0] == 1 =>
            {
                let (shape, values) = (array.dims.clone(), array.values.clone());
                let axes = MAP[..shape.len()].to_vec();
                let shape = std::array::from_fn(|d| shape.get(d + 1).copied().unwrap_or(1));
                let layer = self.fixed(call, at, shape, values)?;
                let map = Map { layer, axes };
                self.replace(call.node.input[at].clone(), Value::Map(map.clone()));
                Ok(map)
            }
            _ => Err(Refusal::Unsupported("on a constant".into())),
        }
    }

    /// The layer that a node reads as `[N, C, H, W]`.
    pub fn image(&mut self, call: &Call<'_>, at: usize) -> Result<usize, Refusal> {
        if let Value::Map(map) = self.value(call, at)?
            && map.axes == MAP
        {
            return Ok(map.layer);
        }
        let view = self.view(call, at)?;
        match &view.axes[..] {
            [images, _, _, _] if images[..] == [IMAGES] => {
                let layout = [1, 2, 3].map(|d| view.parts([d]));
                Ok(self.arranged(call, at, &view, layout)?.layer)
            }
            _ => Err(Refusal::Unsupported("on other than [N, channels, height, width]".into())),
        }
    }

    /// The parameters that a node reads; none, where they are left out.
    pub fn floats(&self, call: &Call<'_>, at: usize) -> Result<Option<&Array<f32>>, Refusal> {
        match self.optional(call, at)? {
            None => Ok(None),
            Some(Value::Constant(Constant::Floats(array))) => Ok(Some(array)),
            Some(Value::Constant(_)) => {
                Err(Refusal::Wrong(format!("has whole numbers as its input {}", at + 1)))
            }
            Some(_) => Err(Refusal::Unsupported("with parameters that depend on the image".into())),
        }
    }

    /// The whole numbers that a node reads; none, where they are left out.
    pub fn numbers(&self, call: &Call<'_>, at: usize) -> Result<Option<&Array<Number>>, Refusal> {
        match self.optional(call, at)? {
            None => Ok(None),
            Some(Value::Constant(Constant::Numbers(array))) => Ok(Some(array)),
            Some(Value::Constant(_)) => Err(Refusal::Wrong(format!("has fractions as its input {}", at + 1))),
            Some(_) => Err(Refusal::Unsupported("with numbers that depend on the image".into())),
        }
    }

    /// The shape `[C, H, W]` of a layer's map.
    pub fn shape(&self, layer: usize) -> [usize; 3] {
        self.shapes[layer]
    }

    /// The size of an axis of a map.
    pub fn extent(&self, layer: usize, axis: Axis) -> Number {
        let known = |n: usize| Number::Known(n as i64);
        match axis {
            Axis::Batch => Number::Batch,
            Axis::Channels => known(self.shapes[layer][0]),
            Axis::Rows => known(self.shapes[layer][1]),
            Axis::Columns => known(self.shapes[layer][2]),
            Axis::One => Number::Known(1),
        }
    }

    /// Whether an axis of a map has another size for images of another size.
    pub fn varies(&self, layer: usize, axis: Axis) -> bool {
        self.varying[layer] && matches!(axis, Axis::Rows | Axis::Columns)
    }

    /// Keeps what a node gives as its `at`-th output.
    pub fn set(&mut self, call: &Call<'_>, at: usize, value: Value) {
        if let Some(name) = call.node.output.get(at).filter(|name| !name.is_empty()) {
            self.values.insert(name.clone(), value);
        }
    }

    /// Keeps a value in another order than a node gave it.
    pub fn replace(&mut self, name: String, value: Value) {
        self.values.insert(name, value);
    }

    /// Appends the layer of a node, or, with a `part`, one beside it; gives its position.
    pub fn push(
        &mut self,
        call: &Call<'_>,
        part: Option<&str>,
        op: impl Into<Op>,
        inputs: &[usize],
        parameters: Vec<TensorData>,
    ) -> Result<usize, Refusal> {
        let name = match part {
            None => self.name(&call.names()),
            Some(part) => self.name(&[format!("{}.{part}", call.name())]),
        };
        self.append(name, op.into(), inputs, parameters)
    }

    fn append(
        &mut self,
        name: String,
        op: Op,
        inputs: &[usize],
        parameters: Vec<TensorData>,
    ) -> Result<usize, Refusal> {
        let shapes: Vec<[usize; 3]> = inputs.iter().map(|&i| self.shapes[i]).collect();
        op.check().map_err(Refusal::Wrong)?;
        self.shapes.push(op.shape(&shapes).map_err(Refusal::Wrong)?);
        if let Some(value) = parameters.iter().flat_map(|p| p.iter::<f32>()).find(|value| !value.is_finite())
        {
            return Err(Refusal::Wrong(format!(
                "has a parameter with the value {value}: all have to be numbers"
            )));
        }
        self.spend(parameters.iter().map(|p| p.shape().num_elements()).sum())?;
        self.varying.push(!op.has_fixed_size() && inputs.iter().any(|&i| self.varying[i]));
        let parameters = op.with(parameters, self.device);
        let inputs = inputs.iter().map(|&i| self.graph.nodes[i].name.clone()).collect();
        self.graph.nodes.push(Node { parameters, ..Node::new(name, op, inputs) });
        Ok(self.graph.nodes.len() - 1)
    }

    /// The first of these names that is not taken, or the first with a number.
    fn name(&mut self, wishes: &[String]) -> String {
        let free = wishes.iter().find(|name| !self.names.contains(*name)).cloned();
        let name = free.unwrap_or_else(|| {
            (2..)
                .map(|i| format!("{}_{i}", wishes[0]))
                .find(|name| !self.names.contains(name))
                .expect("numbers don't run out")
        });
        self.names.insert(name.clone());
        name
    }

    /// The layer that gives a node's constant, in the shape of a map.
    pub fn fixed(
        &mut self,
        call: &Call<'_>,
        at: usize,
        shape: [usize; 3],
        values: Vec<f32>,
    ) -> Result<usize, Refusal> {
        let data = TensorData::new(values, [1, shape[0], shape[1], shape[2]]);
        let name = self.name(&[call.node.input[at].clone(), format!("{}.constant", call.name())]);
        self.append(name, ConstantOp { shape }.into(), &[], vec![data])
    }

    /// The layer that gives a constant beside a map with these axes.
    pub fn constant(&mut self, call: &Call<'_>, at: usize, axes: &[Axis]) -> Result<usize, Refusal> {
        let array = self.floats(call, at)?.expect("asked for an input that is there");
        let mut array = array.clone();
        let name = call.node.input[at].clone();
        // Positions are counted from the last axis.
        while array.dims.len() > axes.len() && array.dims[0] == 1 {
            array.dims.remove(0);
        }
        if array.dims.len() > axes.len() {
            return Err(Refusal::Unsupported(format!(
                "of a value of {} dimensions and a constant of {}",
                axes.len(),
                array.dims.len()
            )));
        }
        let axes = &axes[axes.len() - array.dims.len()..];
        let key = (name.clone(), axes.to_vec());
        if let Some(&layer) = self.placed.get(&key) {
            return Ok(layer);
        }
        let fits = |&(axis, &n): &(Axis, &usize)| n == 1 || !matches!(axis, Axis::Batch | Axis::One);
        if !axes.iter().copied().zip(&array.dims).all(|pair| fits(&pair)) {
            return Err(Refusal::Unsupported("with a constant that is another for each image".into()));
        }
        let mut order: Vec<usize> = (0..axes.len()).collect();
        order.sort_by_key(|&d| axes[d]);
        let size = |axis| axes.iter().position(|&a| a == axis).map_or(1, |d| array.dims[d]);
        let shape = [Axis::Channels, Axis::Rows, Axis::Columns].map(size);
        let values = array.transposed(&order).values;
        let data = TensorData::new(values, [1, shape[0], shape[1], shape[2]]);
        let name = self.name(&[name, format!("{}.constant", call.name())]);
        let layer = self.append(name, ConstantOp { shape }.into(), &[], vec![data])?;
        self.placed.insert(key, layer);
        Ok(layer)
    }
}

impl Network {
    /// A network of layers that are there already.
    fn assemble(graph: Graph) -> Result<Self> {
        // For inference: batch norms keep their statistics.
        Ok(burn::module::Module::valid(&Self::of(graph)?))
    }
}
