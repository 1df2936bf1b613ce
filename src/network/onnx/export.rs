//! From a [`Network`] to an ONNX graph.

use std::collections::HashSet;

use burn::tensor::Tensor;
use prost::bytes::Bytes;

use super::import::SIZES;
use super::proto::{self, elements, kind};
use crate::network::layer::Layer;
use crate::network::{Coordinates, Interpolation, Network, Node, Op, Padding, Rounding, Same, Target};

/// The version of the operators, and of the format that goes with it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// The file as it grows. A layer's node has the layer's name, and so has the value, of four dimensions, that it gives.
struct Export {
    graph: proto::Graph,
    /// Height and width of the images, if no others do.
    size: Option<[usize; 2]>,
    names: HashSet<String>,
}

/// The file that holds a network.
pub fn export(network: &Network) -> proto::Model {
    let nodes = &network.graph.nodes;
    let mut export = Export {
        graph: proto::Graph { name: Some(network.name().into()), ..Default::default() },
        size: network.graph.size.filter(|_| network.graph.sized_by.is_some()),
        names: nodes.iter().map(|n| n.name.clone()).collect(),
    };
    for (node, layer) in nodes.iter().zip(&network.layers) {
        export.layer(node, layer);
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
        producer_name: Some("trompe".into()),
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
fn described(name: &str, dims: &[Result<usize, &str>]) -> proto::ValueInfo {
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

fn int(name: &str, value: usize) -> proto::Attribute {
    proto::Attribute { i: Some(value as i64), ..attribute(name, kind::INT) }
}

fn ints(name: &str, values: &[usize]) -> proto::Attribute {
    proto::Attribute { ints: values.iter().map(|&v| v as i64).collect(), ..attribute(name, kind::INTS) }
}

fn float(name: &str, value: f64) -> proto::Attribute {
    proto::Attribute { f: Some(value as f32), ..attribute(name, kind::FLOAT) }
}

fn text(name: &str, value: &str) -> proto::Attribute {
    proto::Attribute { s: Some(Bytes::copy_from_slice(value.as_bytes())), ..attribute(name, kind::STRING) }
}

fn pads(padding: Padding) -> proto::Attribute {
    match padding {
        Padding::Same(Same::SameUpper) => text("auto_pad", "SAME_UPPER"),
        Padding::Same(Same::SameLower) => text("auto_pad", "SAME_LOWER"),
        fixed => {
            let [(top, bottom), (left, right)] = fixed.around([0; 2], [1; 2], [1; 2], [1; 2]);
            ints("pads", &[top, left, bottom, right])
        }
    }
}

impl Export {
    /// A name like this one that nothing has yet.
    fn free(&mut self, wish: &str) -> String {
        let name = std::iter::once(wish.to_string())
            .chain((2..).map(|i| format!("{wish}_{i}")))
            .find(|name| !self.names.contains(name))
            .expect("numbers don't run out");
        self.names.insert(name.clone());
        name
    }

    fn push(
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
    fn aside(
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

    fn floats(&mut self, wish: String, dims: &[usize], values: &[f32]) -> String {
        let name = self.free(&wish);
        self.stored(&name, dims, values);
        name
    }

    fn stored(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph.initializer.push(proto::Tensor {
            dims: dims.iter().map(|&d| d as i64).collect(),
            elements: Some(elements::FLOAT),
            name: Some(name.into()),
            raw: Some(raw.into()),
            ..Default::default()
        });
    }

    fn parameter<const D: usize>(&mut self, wish: String, tensor: Tensor<D>) -> String {
        let dims = tensor.dims();
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("weights are 32-bit floats");
        self.floats(wish, &dims, &values)
    }

    fn numbers(&mut self, wish: String, values: &[i64]) -> String {
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

    /// `[N, features]` as `[N, features, 1, 1]`, which takes the layer's name.
    fn map(&mut self, layer: &str, flat: &str) {
        let axes = self.numbers(format!("{layer}.axes"), &[2, 3]);
        let name = self.free(&format!("{layer}.map"));
        self.push(&name, "Unsqueeze", &[flat, &axes], layer, vec![]);
    }

    fn layer(&mut self, node: &Node, layer: &Layer) {
        let name = node.name.as_str();
        let part = |part: &str| format!("{name}.{part}");
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        let x = inputs.first().copied().unwrap_or("");
        let mut plain = |operator: &str, attributes| self.push(name, operator, &inputs, name, attributes);
        match (&node.op, layer) {
            (Op::Input { channels }, _) => {
                let [h, w] = match self.size {
                    Some(size) => size.map(Ok),
                    None => [Err("height"), Err("width")],
                };
                let dims = [Err("batch"), Ok(*channels), h, w];
                self.graph.input.push(described(name, &dims));
            }
            (Op::Conv { kernel, stride, padding, dilation, groups, .. }, Layer::Conv(conv)) => {
                let weight = self.parameter(part("weight"), conv.weight.val());
                let bias = conv.bias.as_ref().map(|b| self.parameter(part("bias"), b.val()));
                let mut inputs = vec![x, weight.as_str()];
                inputs.extend(bias.as_deref());
                let attributes = vec![
                    ints("kernel_shape", kernel),
                    ints("strides", stride),
                    pads(*padding),
                    ints("dilations", dilation),
                    int("group", *groups),
                ];
                self.push(name, "Conv", &inputs, name, attributes);
            }
            (Op::BatchNorm { epsilon, .. }, Layer::BatchNorm(norm)) => {
                let parameters = [
                    ("weight", norm.gamma.val()),
                    ("bias", norm.beta.val()),
                    ("running_mean", norm.running_mean.value_sync()),
                    ("running_var", norm.running_var.value_sync()),
                ]
                .map(|(what, values)| self.parameter(part(what), values));
                let mut inputs = vec![x];
                inputs.extend(parameters.iter().map(String::as_str));
                self.push(name, "BatchNormalization", &inputs, name, vec![float("epsilon", *epsilon)]);
            }
            (Op::LayerNorm { epsilon, .. }, Layer::ChannelNorm(norm)) => {
                let weight = self.parameter(part("weight"), norm.weight.val());
                let bias = self.parameter(part("bias"), norm.bias.val());
                let last = self.aside(part("last"), "Transpose", &[x], vec![ints("perm", &[0, 2, 3, 1])]);
                let normal = self.free(&part("normal"));
                let attributes = vec![
                    proto::Attribute { i: Some(-1), ..attribute("axis", kind::INT) },
                    float("epsilon", *epsilon),
                ];
                self.push(name, "LayerNormalization", &[&last, &weight, &bias], &normal, attributes);
                let back = self.free(&part("map"));
                self.push(&back, "Transpose", &[&normal], name, vec![ints("perm", &[0, 3, 1, 2])]);
            }
            (Op::Linear { .. }, Layer::Linear(linear)) => {
                let weight = self.parameter(part("weight"), linear.weight.val());
                let bias = linear.bias.as_ref().map(|b| self.parameter(part("bias"), b.val()));
                let flat = self.aside(part("input"), "Flatten", &[x], vec![int("axis", 1)]);
                let mut inputs = vec![flat.as_str(), &weight];
                inputs.extend(bias.as_deref());
                let product = self.free(&part("flat"));
                self.push(name, "Gemm", &inputs, &product, vec![]);
                self.map(name, &product);
            }
            (Op::Constant { shape: [c, h, w] }, Layer::Constant(constant)) => {
                let values: Vec<f32> =
                    constant.value.val().into_data().try_to_vec().expect("weights are 32-bit floats");
                self.stored(name, &[1, *c, *h, *w], &values);
            }
            (Op::Relu, _) => plain("Relu", vec![]),
            (Op::LeakyRelu { slope }, _) => plain("LeakyRelu", vec![float("alpha", *slope)]),
            (Op::Sigmoid, _) => plain("Sigmoid", vec![]),
            (Op::HardSigmoid { slope, offset }, _) => {
                plain("HardSigmoid", vec![float("alpha", *slope), float("beta", *offset)]);
            }
            (Op::HardSwish, _) => plain("HardSwish", vec![]),
            (Op::Tanh, _) => plain("Tanh", vec![]),
            (Op::Elu { alpha }, _) => plain("Elu", vec![float("alpha", *alpha)]),
            (Op::Erf, _) => plain("Erf", vec![]),
            (Op::Softmax, _) => plain("Softmax", vec![int("axis", 1)]),
            (Op::Concat, _) => plain("Concat", vec![int("axis", 1)]),
            (Op::Sub, _) => plain("Sub", vec![]),
            (Op::Div, _) => plain("Div", vec![]),
            (Op::GlobalAvgPool, _) => plain("GlobalAveragePool", vec![]),
            // The same as GlobalMaxPool, which fewer tools read.
            (Op::GlobalMaxPool, _) => plain("ReduceMax", vec![ints("axes", &[2, 3])]),
            (Op::Lrn { size, alpha, beta, bias }, _) => {
                let numbers = [("alpha", alpha), ("beta", beta), ("bias", bias)];
                let mut attributes = vec![int("size", *size)];
                attributes.extend(numbers.map(|(name, &value)| float(name, value)));
                plain("LRN", attributes);
            }
            (Op::MaxPool { kernel, stride, padding, dilation, ceil }, _) => {
                let attributes = vec![
                    ints("kernel_shape", kernel),
                    ints("strides", stride),
                    pads(*padding),
                    ints("dilations", dilation),
                    int("ceil_mode", usize::from(*ceil)),
                ];
                plain("MaxPool", attributes);
            }
            (Op::AvgPool { kernel, stride, padding, ceil, count_padding }, _) => {
                let attributes = vec![
                    ints("kernel_shape", kernel),
                    ints("strides", stride),
                    pads(*padding),
                    int("ceil_mode", usize::from(*ceil)),
                    int("count_include_pad", usize::from(*count_padding)),
                ];
                plain("AveragePool", attributes);
            }
            (Op::Mean { channels, rows, columns }, _) => {
                let dims = [(*channels, 1), (*rows, 2), (*columns, 3)];
                let dims: Vec<usize> =
                    dims.iter().filter(|(averaged, _)| *averaged).map(|(_, d)| *d).collect();
                match dims.is_empty() {
                    true => plain("Identity", vec![]),
                    false => plain("ReduceMean", vec![ints("axes", &dims)]),
                }
            }
            // One node, so that it is one layer when it is read again.
            (Op::Add, _) if inputs.len() > 2 => plain("Sum", vec![]),
            (Op::Add | Op::Mul, _) => {
                let operator = if node.op == Op::Add { "Add" } else { "Mul" };
                let [first, middle @ .., last] = &inputs[..] else { return plain("Identity", vec![]) };
                let mut sum = first.to_string();
                for (i, input) in middle.iter().enumerate() {
                    sum = self.aside(part(&format!("part{i}")), operator, &[&sum, input], vec![]);
                }
                self.push(name, operator, &[&sum, last], name, vec![]);
            }
            (Op::Clip { min, max }, _) => {
                let [low, high] = [("min", min), ("max", max)].map(|(what, bound)| match bound {
                    Some(bound) => self.floats(part(what), &[], &[*bound]),
                    None => String::new(),
                });
                let all = [x, &low, &high];
                let given = if high.is_empty() { &all[..2] } else { &all[..] };
                self.push(name, "Clip", given, name, vec![]);
            }
            (Op::Gelu { approximate }, _) => self.gelu(name, x, *approximate),
            (Op::Flatten { .. }, _) => {
                let flat = self.free(&part("flat"));
                self.push(name, "Flatten", &[x], &flat, vec![int("axis", 1)]);
                self.map(name, &flat);
            }
            (Op::Reshape { shape: [c, h, w] }, _) => {
                let shape = self.numbers(part("shape"), &[0, *c as i64, *h as i64, *w as i64]);
                self.push(name, "Reshape", &[x, &shape], name, vec![]);
            }
            (Op::ShuffleChannels { groups }, _) => self.shuffle(name, x, *groups),
            (Op::Subsample { stride }, _) => {
                self.slice(name, x, &[2, 3], [&[0; 2], &[i64::MAX; 2], &[*stride as i64; 2]]);
            }
            (Op::Slice { start, end, step }, _) => {
                self.slice(name, x, &[1, 2, 3], [start, end, &step.map(|s| s as i64)]);
            }
            (Op::PadChannels { before, after }, _) => self.pad(name, x, [*before, 0, 0], [*after, 0, 0], 0.0),
            (Op::Pad { before, after, value }, _) => self.pad(name, x, *before, *after, *value),
            (Op::Resize(resize), _) => {
                let coordinates = match resize.coordinates {
                    Coordinates::HalfPixel => "half_pixel",
                    Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
                    Coordinates::AlignCorners => "align_corners",
                    Coordinates::Asymmetric => "asymmetric",
                };
                let mut attributes = vec![text("coordinate_transformation_mode", coordinates)];
                match resize.interpolation {
                    Interpolation::Nearest(rounding) => {
                        attributes.push(text("mode", "nearest"));
                        let rounding = match rounding {
                            Rounding::PreferFloor => "round_prefer_floor",
                            Rounding::PreferCeil => "round_prefer_ceil",
                            Rounding::Floor => "floor",
                            Rounding::Ceil => "ceil",
                        };
                        attributes.push(text("nearest_mode", rounding));
                    }
                    Interpolation::Linear => attributes.push(text("mode", "linear")),
                    Interpolation::Cubic(a) => {
                        attributes.push(text("mode", "cubic"));
                        attributes.push(float("cubic_coeff_a", a.into()));
                    }
                }
                match resize.target {
                    Target::Scale([y, x_scale]) => {
                        let scales = self.floats(part("scales"), &[4], &[1.0, 1.0, y, x_scale]);
                        self.push(name, "Resize", &[x, "", &scales], name, attributes);
                    }
                    Target::Size([h, w]) => {
                        let own = self.leading(name, x, [0, 2]);
                        let size = self.numbers(part("size"), &[h as i64, w as i64]);
                        let sizes = self.aside(part("sizes"), "Concat", &[&own, &size], vec![int("axis", 0)]);
                        self.push(name, "Resize", &[x, "", "", &sizes], name, attributes);
                    }
                }
            }
            (op, _) => unreachable!("{op:?} has another kind of layer"),
        }
    }

    /// Some of the sizes of a value.
    fn leading(&mut self, name: &str, x: &str, [from, to]: [i64; 2]) -> String {
        let shape = self.aside(format!("{name}.shape"), "Shape", &[x], vec![]);
        let from = self.numbers(format!("{name}.from"), &[from]);
        let to = self.numbers(format!("{name}.to"), &[to]);
        self.aside(format!("{name}.dims"), "Slice", &[&shape, &from, &to], vec![])
    }

    fn slice(&mut self, name: &str, x: &str, axes: &[i64], bounds: [&[i64]; 3]) {
        let [starts, ends, steps] = bounds;
        let inputs = [("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps)]
            .map(|(what, values)| self.numbers(format!("{name}.{what}"), values));
        self.push(name, "Slice", &[x, &inputs[0], &inputs[1], &inputs[2], &inputs[3]], name, vec![]);
    }

    fn pad(&mut self, name: &str, x: &str, before: [usize; 3], after: [usize; 3], value: f32) {
        let [a, b] = [before, after].map(|side| side.map(|n| n as i64));
        let pads = self.numbers(format!("{name}.pads"), &[0, a[0], a[1], a[2], 0, b[0], b[1], b[2]]);
        let value = self.floats(format!("{name}.value"), &[], &[value]);
        self.push(name, "Pad", &[x, &pads, &value], name, vec![text("mode", "constant")]);
    }

    /// In five dimensions: [N, groups, C / groups, H, W] with two axes exchanged.
    fn shuffle(&mut self, name: &str, x: &str, groups: usize) {
        let part = |part: &str| format!("{name}.{part}");
        let dims = self.leading(name, x, [2, 4]);
        let first = self.numbers(part("groups"), &[0, groups as i64, -1]);
        let target = self.aside(part("target"), "Concat", &[&first, &dims], vec![int("axis", 0)]);
        let grouped = self.aside(part("grouped"), "Reshape", &[x, &target], vec![]);
        let perm = vec![ints("perm", &[0, 2, 1, 3, 4])];
        let shuffled = self.aside(part("shuffled"), "Transpose", &[&grouped], perm);
        let whole = self.aside(part("whole"), "Shape", &[x], vec![]);
        self.push(name, "Reshape", &[&shuffled, &whole], name, vec![]);
    }

    /// ½·x·(1 + f(x)), which has an operator of its own only in later versions.
    fn gelu(&mut self, name: &str, x: &str, approximate: bool) {
        let part = |part: &str| format!("{name}.{part}");
        let mut number = |what: &str, value: f32| self.floats(part(what), &[], &[value]);
        let (half, one) = (number("half", 0.5), number("one", 1.0));
        let curve = if approximate {
            let (cubic, scale) =
                (number("cubic", 0.044_715), number("scale", (2.0 / std::f32::consts::PI).sqrt()));
            let square = self.aside(part("square"), "Mul", &[x, x], vec![]);
            let cube = self.aside(part("cube"), "Mul", &[&square, x], vec![]);
            let small = self.aside(part("small"), "Mul", &[&cube, &cubic], vec![]);
            let sum = self.aside(part("sum"), "Add", &[x, &small], vec![]);
            let scaled = self.aside(part("scaled"), "Mul", &[&sum, &scale], vec![]);
            self.aside(part("curve"), "Tanh", &[&scaled], vec![])
        } else {
            let scale = number("scale", std::f32::consts::FRAC_1_SQRT_2);
            let scaled = self.aside(part("scaled"), "Mul", &[x, &scale], vec![]);
            self.aside(part("curve"), "Erf", &[&scaled], vec![])
        };
        let raised = self.aside(part("raised"), "Add", &[&curve, &one], vec![]);
        let halved = self.aside(part("halved"), "Mul", &[x, &half], vec![]);
        self.push(name, "Mul", &[&halved, &raised], name, vec![]);
    }
}
