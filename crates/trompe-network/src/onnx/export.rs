//! From a [`Network`] to an ONNX graph.

use std::collections::HashSet;

use burn::tensor::Tensor;
use prost::bytes::Bytes;

use super::import::SIZES;
use super::proto::{self, elements, kind};
use crate::{Network, Node, Op, Padding, Same};

/// What the files that are written say of who wrote them.
pub const PRODUCER: &str = "trompe";

/// The version of the operators, and of the format that goes with it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// The file as it grows. A layer's node has the layer's name, and so has the value, of four dimensions, that it gives.
pub struct Writer {
    pub graph: proto::Graph,
    /// Height and width of the images, if no others do.
    pub size: Option<[usize; 2]>,
    names: HashSet<String>,
    /// The layers that are there once for all images.
    fixed: HashSet<String>,
}

/// The file that holds a network.
pub fn export(network: &Network) -> proto::Model {
    let nodes = &network.graph.nodes;
    let mut export = Writer {
        graph: proto::Graph { name: Some(network.name().into()), ..Default::default() },
        size: network.graph.size.filter(|_| network.graph.sized_by.is_some()),
        names: nodes.iter().map(|n| n.name.clone()).collect(),
        fixed: HashSet::new(),
    };
    for node in nodes {
        if !matches!(node.op, Op::Input(_)) && node.inputs.iter().all(|input| export.fixed.contains(input)) {
            export.fixed.insert(node.name.clone());
        }
        node.op.write(&mut export, node);
    }
    match output_shape(network) {
        // To flatten a map is to fix its size.
        Some([channels, h, w]) if h * w > 1 => {
            let dims = [Err("batch"), Ok(channels), Err("rows"), Err("columns")];
            export.graph.output.push(described(network.output(), &dims));
        }
        _ => {
            let logits = export.free("logits");
            export.push(&logits, "Flatten", &[network.output()], &logits, vec![int("axis", 1)]);
            export.graph.output.push(described(&logits, &[Err("batch"), Err("classes")]));
        }
    }
    let entry = |key: &str, value: String| proto::Entry { key: Some(key.into()), value: Some(value) };
    let size = network.graph.size.map(|[h, w]| entry(super::SIZE, format!("{h}x{w}")));
    let sized_by = network.graph.sized_by.clone().map(|node| entry(super::SIZED_BY, node));
    proto::Model {
        ir_version: Some(IR_VERSION),
        producer_name: Some(PRODUCER.into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(export.graph),
        opset_import: vec![proto::OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: size.into_iter().chain(sized_by).collect(),
    }
}

/// The shape `[C, H, W]` of the output for images of the network's size, or of the first usual one that goes through.
fn output_shape(network: &Network) -> Option<[usize; 3]> {
    let graph = &network.graph;
    let sizes = graph.size.into_iter().chain(SIZES.map(|side| [side; 2]));
    let of = |[h, w]: [usize; 2]| graph.shape_of(&graph.output, [graph.image_channels(), h, w]).ok();
    sizes.map(of).find_map(|shape| shape)
}

/// A value of 32-bit floats whose sizes are numbers or, where they are not fixed, names.
pub fn described(name: &str, dims: &[Result<usize, &str>]) -> proto::ValueInfo {
    let dim = dims
        .iter()
        .map(|dim| proto::Dimension { value: dim.ok().map(|n| n as i64), name: dim.err().map(String::from) })
        .collect();
    let tensor = proto::TensorType { elements: Some(elements::FLOAT), shape: Some(proto::Shape { dim }) };
    proto::ValueInfo { name: Some(name.into()), kind: Some(proto::Type { tensor: Some(tensor) }) }
}

fn attribute(name: &str, kind: i32) -> proto::Attribute {
    proto::Attribute { name: Some(name.into()), kind: Some(kind), ..Default::default() }
}

/// A whole number.
pub fn int(name: &str, value: usize) -> proto::Attribute {
    proto::Attribute { i: Some(value as i64), ..attribute(name, kind::INT) }
}

/// A whole number that may be below 0.
pub fn whole(name: &str, value: i64) -> proto::Attribute {
    proto::Attribute { i: Some(value), ..attribute(name, kind::INT) }
}

/// Whole numbers.
pub fn ints(name: &str, values: &[usize]) -> proto::Attribute {
    proto::Attribute { ints: values.iter().map(|&v| v as i64).collect(), ..attribute(name, kind::INTS) }
}

/// A fraction.
pub fn float(name: &str, value: f64) -> proto::Attribute {
    proto::Attribute { f: Some(value as f32), ..attribute(name, kind::FLOAT) }
}

/// A word.
pub fn text(name: &str, value: &str) -> proto::Attribute {
    proto::Attribute { s: Some(Bytes::copy_from_slice(value.as_bytes())), ..attribute(name, kind::STRING) }
}

/// The margin of a window operator.
pub fn pads(padding: Padding) -> proto::Attribute {
    match padding {
        Padding::Same(Same::SameUpper) => text("auto_pad", "SAME_UPPER"),
        Padding::Same(Same::SameLower) => text("auto_pad", "SAME_LOWER"),
        fixed => {
            let [(top, bottom), (left, right)] = fixed.around([0; 2], [1; 2], [1; 2], [1; 2]);
            ints("pads", &[top, left, bottom, right])
        }
    }
}

impl Writer {
    /// A name like this one that nothing has yet.
    pub fn free(&mut self, wish: &str) -> String {
        let name = std::iter::once(wish.to_string())
            .chain((2..).map(|i| format!("{wish}_{i}")))
            .find(|name| !self.names.contains(name))
            .expect("numbers don't run out");
        self.names.insert(name.clone());
        name
    }

    /// Whether a layer is there once for all images.
    pub fn is_fixed(&self, layer: &str) -> bool {
        self.fixed.contains(layer)
    }

    /// A node that gives one value.
    pub fn push(
        &mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<proto::Attribute>,
    ) {
        self.graph.node.push(proto::Node {
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![output.into()],
            name: Some(name.into()),
            op_type: Some(operator.into()),
            attribute,
            domain: None,
        });
    }

    /// A node beside a layer's own; gives the value it makes.
    pub fn aside(
        &mut self,
        wish: String,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<proto::Attribute>,
    ) -> String {
        let name = self.free(&wish);
        self.push(&name, operator, inputs, &name, attributes);
        name
    }

    /// A parameter; gives its name.
    pub fn floats(&mut self, wish: String, dims: &[usize], values: &[f32]) -> String {
        let name = self.free(&wish);
        self.stored(&name, dims, values);
        name
    }

    /// A parameter of this name.
    pub fn stored(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph.initializer.push(proto::Tensor {
            dims: dims.iter().map(|&d| d as i64).collect(),
            elements: Some(elements::FLOAT),
            name: Some(name.into()),
            raw: Some(raw.into()),
            ..Default::default()
        });
    }

    /// A parameter with the values of a tensor; gives its name.
    pub fn parameter<const D: usize>(&mut self, wish: String, tensor: Tensor<D>) -> String {
        let dims = tensor.dims();
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("weights are 32-bit floats");
        self.floats(wish, &dims, &values)
    }

    /// A parameter of whole numbers; gives its name.
    pub fn numbers(&mut self, wish: String, values: &[i64]) -> String {
        let name = self.free(&wish);
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph.initializer.push(proto::Tensor {
            dims: vec![values.len() as i64],
            elements: Some(elements::INT64),
            name: Some(name.clone()),
            raw: Some(raw.into()),
            ..Default::default()
        });
        name
    }

    /// A parameter of one whole number of eight bits; gives its name.
    pub fn byte(&mut self, wish: String, value: i32, signed: bool) -> String {
        let name = self.free(&wish);
        self.graph.initializer.push(proto::Tensor {
            elements: Some(if signed { elements::INT8 } else { elements::UINT8 }),
            name: Some(name.clone()),
            ints: vec![value],
            ..Default::default()
        });
        name
    }

    /// `[N, features]` as `[N, features, 1, 1]`, which takes the layer's name.
    pub fn map(&mut self, layer: &str, flat: &str) {
        let axes = self.numbers(format!("{layer}.axes"), &[2, 3]);
        let name = self.free(&format!("{layer}.map"));
        self.push(&name, "Unsqueeze", &[flat, &axes], layer, vec![]);
    }

    /// A layer's own node, which reads what the layer reads.
    pub fn plain(&mut self, node: &Node, operator: &str, attributes: Vec<proto::Attribute>) {
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        self.push(&node.name, operator, &inputs, &node.name, attributes);
    }

    /// Some of the sizes of a value.
    pub fn leading(&mut self, name: &str, x: &str, [from, to]: [i64; 2]) -> String {
        let shape = self.aside(format!("{name}.shape"), "Shape", &[x], vec![]);
        let from = self.numbers(format!("{name}.from"), &[from]);
        let to = self.numbers(format!("{name}.to"), &[to]);
        self.aside(format!("{name}.dims"), "Slice", &[&shape, &from, &to], vec![])
    }

    /// A layer's node that takes a part along some axes.
    pub fn slice(&mut self, node: &Node, axes: &[i64], bounds: [&[i64]; 3]) {
        let [starts, ends, steps] = bounds;
        let inputs = [("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps)]
            .map(|(what, values)| self.numbers(node.part(what), values));
        let [starts, ends, axes, steps] = &inputs;
        self.push(&node.name, "Slice", &[node.input(), starts, ends, axes, steps], &node.name, vec![]);
    }

    /// A layer's node that surrounds a map, by channels, rows and columns.
    pub fn pad(&mut self, node: &Node, before: [usize; 3], after: [usize; 3], value: f32) {
        let [a, b] = [before, after].map(|side| side.map(|n| n as i64));
        let pads = self.numbers(node.part("pads"), &[0, a[0], a[1], a[2], 0, b[0], b[1], b[2]]);
        let value = self.floats(node.part("value"), &[], &[value]);
        let attributes = vec![text("mode", "constant")];
        self.push(&node.name, "Pad", &[node.input(), &pads, &value], &node.name, attributes);
    }
}
