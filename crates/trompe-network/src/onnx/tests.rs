//! Files made by hand, hostile ones among them, and networks that go to ONNX and come back.

use std::path::Path;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use prost::Message;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};
use trompe_base::seed;

use super::array::Array;
use super::proto::{self, elements};
use super::{export, from_bytes, is_onnx};
use crate::{Focus, Graph, Network, Op, Padding, Rows, Same, op, zoo};

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> proto::Tensor {
    proto::Tensor {
        dims: dims.to_vec(),
        elements: Some(elements::FLOAT),
        floats: values.to_vec(),
        name: Some(name.into()),
        ..Default::default()
    }
}

fn longs(name: &str, values: &[i64]) -> proto::Tensor {
    proto::Tensor {
        dims: vec![values.len() as i64],
        elements: Some(elements::INT64),
        longs: values.to_vec(),
        name: Some(name.into()),
        ..Default::default()
    }
}

fn value(name: &str, dims: &[i64]) -> proto::ValueInfo {
    let dim = dims.iter().map(|&d| proto::Dimension { value: Some(d), name: None }).collect();
    let tensor = proto::TensorType { elements: Some(1), shape: Some(proto::Shape { dim }) };
    proto::ValueInfo { name: Some(name.into()), kind: Some(proto::Type { tensor: Some(tensor) }) }
}

fn node(name: &str, operator: &str, inputs: &[&str], output: &str) -> proto::Node {
    proto::Node {
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: vec![output.into()],
        name: Some(name.into()),
        op_type: Some(operator.into()),
        attribute: vec![],
        domain: None,
    }
}

fn with(mut node: proto::Node, name: &str, ints: &[i64]) -> proto::Node {
    node.attribute.push(proto::Attribute {
        name: Some(name.into()),
        ints: ints.to_vec(),
        kind: Some(proto::kind::INTS),
        ..Default::default()
    });
    node
}

fn float(mut node: proto::Node, name: &str, value: f32) -> proto::Node {
    node.attribute.push(proto::Attribute {
        name: Some(name.into()),
        f: Some(value),
        kind: Some(proto::kind::FLOAT),
        ..Default::default()
    });
    node
}

fn int(mut node: proto::Node, name: &str, value: i64) -> proto::Node {
    node.attribute.push(proto::Attribute {
        name: Some(name.into()),
        i: Some(value),
        kind: Some(proto::kind::INT),
        ..Default::default()
    });
    node
}

/// A file that takes images [1, 1, 4, 4] called "x" and gives "y".
fn file(nodes: Vec<proto::Node>, parameters: Vec<proto::Tensor>) -> proto::Model {
    proto::Model {
        ir_version: Some(8),
        opset_import: vec![proto::OperatorSet { domain: None, version: Some(17) }],
        graph: Some(proto::Graph {
            node: nodes,
            name: Some("test".into()),
            initializer: parameters,
            input: vec![value("x", &[1, 1, 4, 4])],
            output: vec![value("y", &[1, 1, 4, 4])],
            sparse: vec![],
        }),
        ..Default::default()
    }
}

fn open(model: &proto::Model) -> Result<Network, String> {
    from_bytes(model.encode_to_vec(), "test", Path::new("."), None, &Device::default())
}

fn refused(model: &proto::Model, words: &[&str]) {
    let message = open(model).map(|_| ()).unwrap_err();
    for word in words {
        assert!(message.contains(word), "no \"{word}\" in: {message}");
    }
}

fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

fn ramp() -> Tensor<4> {
    let values: Vec<f32> = (0..16).map(|v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, 4, 4]), &Device::default())
}

#[test]
fn a_file_worked_by_hand() {
    let conv = with(node("first", "Conv", &["x", "w"], "a"), "pads", &[0, 0, 1, 1]);
    let conv = with(conv, "strides", &[2, 2]);
    // A 2x2 filter that takes the upper left less the lower right; the margin is below and on the right alone.
    let model = file(
        vec![
            conv,
            node("", "Relu", &["a"], "b"),
            node("halved", "Mul", &["b", "half"], "c"),
            with(node("mean", "ReduceMean", &["c"], "d"), "axes", &[2, 3]),
            int(node("flat", "Flatten", &["d"], "e"), "axis", 1),
            int(node("scores", "Gemm", &["e", "m", "n"], "y"), "transB", 1),
        ],
        vec![
            tensor("w", &[2, 1, 2, 2], &[-1., 0., 0., 1., 1., 0., 0., 0.]),
            tensor("half", &[], &[0.5]),
            tensor("m", &[1, 2], &[1., 10.]),
            tensor("n", &[1], &[0.25]),
        ],
    );
    let network = open(&model).unwrap();
    let layers: Vec<&str> = network.graph().layers().collect();
    assert_eq!(layers, ["first", "b", "half", "halved", "mean", "scores"]);
    assert_eq!((network.output(), network.graph().size), ("scores", Some([4, 4])));
    let maps = network.capture(ramp(), &["first", "mean", "scores"]).unwrap();
    let [first, mean, scores] = <[Tensor<4>; 3]>::try_from(maps).unwrap().map(numbers);
    assert_eq!(first, [5., 5., 5., 5., 0., 2., 8., 10.]);
    assert_eq!((mean, scores), (vec![2.5, 2.5], vec![27.75]));
    // Any number of images, whatever the file was made for.
    assert_eq!(network.logits(Tensor::cat(vec![ramp(); 3], 0)).dims(), [3, 1]);
}

/// PyTorch pads with eight numbers that it computes: concatenated, reshaped, reversed, transposed.
fn padded() -> proto::Model {
    let reversed = node("slice", "Slice", &["pairs", "minus1", "least", "zero", "minus1"], "back");
    file(
        vec![
            int(node("cat", "Concat", &["given", "zeros"], "all"), "axis", 0),
            node("pair", "Reshape", &["all", "two"], "pairs"),
            reversed,
            with(node("turn", "Transpose", &["back"], "turned"), "perm", &[1, 0]),
            node("flat", "Reshape", &["turned", "minus1"], "pads"),
            node("pad", "Pad", &["x", "pads", "five"], "y"),
        ],
        vec![
            longs("given", &[1, 0, 0, 2, 0, 0]),
            longs("zeros", &[0, 0]),
            longs("two", &[-1, 2]),
            longs("minus1", &[-1]),
            longs("least", &[i64::MIN + 1]),
            longs("zero", &[0]),
            tensor("five", &[], &[5.0]),
        ],
    )
}

#[test]
fn numbers_that_a_file_computes() {
    let network = open(&padded()).unwrap();
    let map = network.capture(ramp(), &["pad"]).unwrap().remove(0);
    assert_eq!(map.dims(), [1, 1, 6, 5]);
    let values = numbers(map);
    assert_eq!((values[..5].to_vec(), values[20..].to_vec()), (vec![5., 0., 1., 2., 3.], vec![5.; 10]));
}

/// A bias of parts of a table, as relative positions have it, and filters that are standardized by means and variances that are
/// computed.
fn of_newer_exporters() -> proto::Model {
    let pick = node("pick", "GatherND", &["table", "places"], "picked");
    let norm = ["filters", "ones", "shifts", "means", "variances"];
    file(
        vec![
            int(pick, "batch_dims", 0),
            float(node("standardize", "BatchNormalization", &norm, "standardized"), "epsilon", 0.0),
            node("shape", "Reshape", &["standardized", "filter"], "weights"),
            node("conv", "Conv", &["x", "weights", "picked"], "y"),
        ],
        vec![
            tensor("table", &[2, 3], &[0., 1., 2., 3., 4., 5.]),
            proto::Tensor { dims: vec![2, 2], ..longs("places", &[1, 0, -1, -1]) },
            tensor("filters", &[1, 2, 1], &[1., 3.]),
            tensor("ones", &[2], &[1., 1.]),
            tensor("shifts", &[2], &[10., 20.]),
            tensor("means", &[2], &[2., 4.]),
            tensor("variances", &[2], &[4., 1.]),
            longs("filter", &[2, 1, 1, 1]),
        ],
    )
}

/// (1, 3) less 2 and 4, divided by √4 and √1, and then 10 and 20 added.
#[test]
fn constants_that_newer_exporters_compute() {
    let network = open(&of_newer_exporters()).unwrap();
    let (weight, bias) = network.filters("conv").unwrap();
    assert_eq!(numbers(weight), [9.5, 19.0]);
    assert_eq!(numbers(bias), [3.0, 5.0]);
}

#[test]
fn channels_are_shuffled_and_transposed_back() {
    let mut model = file(
        vec![
            node("group", "Reshape", &["x", "five"], "a"),
            with(node("swap", "Transpose", &["a"], "b"), "perm", &[0, 2, 1, 3, 4]),
            node("shuffle", "Reshape", &["b", "four"], "c"),
            with(node("last", "Transpose", &["c"], "d"), "perm", &[0, 2, 3, 1]),
            node("mix", "MatMul", &["d", "m"], "e"),
            node("shift", "Add", &["e", "s"], "f"),
            with(node("first", "Transpose", &["f"], "y"), "perm", &[0, 3, 1, 2]),
        ],
        vec![
            longs("five", &[0, 2, 3, 1, 2]),
            longs("four", &[1, 6, 1, 2]),
            tensor("m", &[6, 2], &[1., 0., 0., 1., 0., 0., 0., 0., 0., 0., 0., 0.]),
            tensor("s", &[2], &[100., 200.]),
        ],
    );
    model.graph.as_mut().unwrap().input = vec![value("x", &[1, 6, 1, 2])];
    let network = open(&model).unwrap();
    let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
    let x: Tensor<4> = Tensor::from_data(TensorData::new(values, [1, 6, 1, 2]), &Device::default());
    let maps = network.capture(x, &["shuffle", "shift"]).unwrap();
    let [shuffled, shifted] = <[Tensor<4>; 2]>::try_from(maps).unwrap().map(numbers);
    assert_eq!(shuffled, [0., 1., 6., 7., 2., 3., 8., 9., 4., 5., 10., 11.]);
    assert_eq!(shifted, [100., 101., 206., 207.]);
}

#[test]
fn what_is_not_supported_is_listed_whole() {
    let model = file(
        vec![
            node("memory", "LSTM", &["x"], "a"),
            node("next", "Relu", &["a"], "b"),
            proto::Node { domain: Some("com.example".into()), ..node("own", "Relu", &["b"], "c") },
            node("mirror", "Pad", &["x", "p"], "d"),
            node("loop", "Loop", &["c"], "e"),
            node("sum", "Add", &["d", "e"], "y"),
        ],
        vec![longs("p", &[0, 0, -1, 0, 0, 0, 0, 0])],
    );
    let all =
        ["LSTM \"memory\"", "com.example.Relu \"own\"", "Loop \"loop\"", "Pad \"mirror\": ", "negative"];
    refused(&model, &all);
    let message = open(&model).map(|_| ()).unwrap_err();
    assert!(!message.contains("next") && !message.contains("sum"), "{message}");
}

/// The same file for images of any size.
fn free(mut model: proto::Model) -> proto::Model {
    model.graph.as_mut().unwrap().input = vec![value("x", &[-1, 1, -1, -1])];
    model
}

/// The upper left quarter of the image, whose size is that of a map: "x", or "mean", the image's mean.
fn cropped(measured: &str) -> proto::Model {
    free(file(
        vec![
            node("average", "GlobalAveragePool", &["x"], "mean"),
            node("shape", "Shape", &[measured], "sizes"),
            node("places", "Slice", &["sizes", "two", "four"], "hw"),
            node("half", "Mul", &["hw", "two"], "double"),
            node("quarter", "Div", &["double", "four"], "ends"),
            node("crop", "Slice", &["x", "zeros", "ends", "axes"], "part"),
            node("sum", "Add", &["part", "mean"], "y"),
        ],
        vec![longs("two", &[2]), longs("four", &[4]), longs("zeros", &[0, 0]), longs("axes", &[2, 3])],
    ))
}

#[test]
fn what_is_computed_from_the_images_size_is_for_that_size_alone() {
    let network = open(&cropped("x")).unwrap();
    assert_eq!(network.graph().size, Some([224, 224]));
    let shapes = network.graph().shapes([1, 224, 224]).unwrap();
    assert_eq!(shapes[network.graph().position("crop").unwrap()], [1, 112, 112]);
    // The file that Trompe makes of it is for that size as well.
    let bytes = export::export(&network).encode_to_vec();
    let again = from_bytes(bytes, "test", Path::new("."), None, &Device::default()).unwrap();
    for network in [network, again] {
        let image = Tensor::<4>::zeros([1, 1, 64, 64], &Device::default());
        let message = network.capture(image, &["crop"]).unwrap_err().to_string();
        for word in ["Slice \"crop\"", "224x224", "64x64"] {
            assert!(message.contains(word), "no \"{word}\" in: {message}");
        }
    }
    // A mean has one row and one column, however large the image: the crop is twice as large.
    let mut model = cropped("mean");
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes.retain(|n| n.op_type.as_deref() != Some("Div"));
    nodes[3].output = vec!["ends".into()];
    let graph = open(&model).unwrap().graph().clone();
    assert_eq!((graph.size, &graph.sized_by), (None, &None));
    assert_eq!(graph.shapes([1, 64, 64]).unwrap()[2], [1, 2, 2]);
    // Halves of rows.
    let mut halves = int(node("halves", "Split", &["x"], "y"), "axis", 2);
    halves.output.push("z".into());
    assert_eq!(open(&free(file(vec![halves], vec![]))).unwrap().graph().size, Some([224, 224]));
}

/// PyTorch's `x.view(x.size(0), -1)`, and a channel shuffle with all of a map's sizes.
#[test]
fn shapes_for_reshape_leave_the_size_free() {
    let zero = proto::Tensor { dims: vec![], ..longs("zero", &[0]) };
    let model = file(
        vec![
            node("average", "GlobalAveragePool", &["x"], "mean"),
            node("shape", "Shape", &["mean"], "sizes"),
            node("first", "Gather", &["sizes", "zero"], "n"),
            with(node("row", "Unsqueeze", &["n"], "batch"), "axes", &[0]),
            int(node("target", "Concat", &["batch", "minus1"], "flat"), "axis", 0),
            node("view", "Reshape", &["mean", "flat"], "y"),
        ],
        vec![zero, longs("minus1", &[-1])],
    );
    let graph = open(&free(model)).unwrap().graph().clone();
    assert_eq!((graph.size, &graph.sized_by), (None, &None));
    let mut graph = Graph::new("shuffled", 4);
    graph.then("shuffle", Op::ShuffleChannels(op::ShuffleChannels { groups: 2 }));
    let network = Network::new(graph, &mut seed::rng(0, &0), &Device::default()).unwrap();
    let bytes = export::export(&network).encode_to_vec();
    let again = from_bytes(bytes, "shuffled", Path::new("."), None, &Device::default()).unwrap();
    assert_eq!((again.graph().size, &again.graph().sized_by), (None, &None));
    let x = Tensor::<4>::random([1, 4, 8, 8], Distribution::Normal(0.0, 1.0), &Device::default());
    let [a, b] = [network, again].map(|n| numbers(n.capture(x.clone(), &["shuffle"]).unwrap().remove(0)));
    assert_eq!(a, b);
}

/// A matrix for images of 32x32 pixels, in a file that says nothing of their size.
#[test]
fn the_size_that_goes_through_is_found() {
    let nodes =
        vec![int(node("flat", "Flatten", &["x"], "a"), "axis", 1), node("scores", "Gemm", &["a", "m"], "y")];
    let network = open(&free(file(nodes, vec![tensor("m", &[1024, 1], &[1.0; 1024])]))).unwrap();
    assert_eq!((network.graph().size, &network.graph().sized_by), (Some([32, 32]), &None));
}

/// Neighbours that there are not add nothing: y = x / (1 + Σx²)^¾ with the neighbours' sum.
#[test]
fn neighbourhoods_may_be_larger_than_there_are_channels() {
    for (size, sums) in [(4, [14.0f32, 14.0, 13.0]), (5, [14.0; 3]), (1 << 40, [14.0; 3])] {
        let lrn = float(int(node("lrn", "LRN", &["x"], "y"), "size", size), "alpha", size as f32);
        let mut model = file(vec![lrn], vec![]);
        model.graph.as_mut().unwrap().input = vec![value("x", &[1, 3, 1, 1])];
        let network = open(&model).unwrap();
        let values = [1.0f32, 2.0, 3.0];
        let x = Tensor::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &Device::default());
        let map = numbers(network.capture(x, &["lrn"]).unwrap().remove(0));
        for ((y, x), sum) in map.iter().zip(values).zip(sums) {
            assert!((y - x / (1.0 + sum).powf(0.75)).abs() < 1e-6, "{size}: {map:?}");
        }
    }
}

#[test]
fn maps_are_cast_to_fractions_alone() {
    let cast = |to: i32| {
        let nodes = vec![
            node("relu", "Relu", &["x"], "a"),
            int(node("cast", "Cast", &["a"], "y"), "to", i64::from(to)),
        ];
        file(nodes, vec![])
    };
    for to in elements::FRACTIONS {
        assert_eq!(open(&cast(to)).unwrap().output(), "relu");
    }
    for to in [elements::INT64, elements::BOOL, 0] {
        refused(&cast(to), &["Cast \"cast\"", &format!("type {to}")]);
    }
}

fn relu() -> Vec<proto::Node> {
    vec![node("relu", "Relu", &["x"], "y")]
}

#[test]
fn files_that_are_wrong_are_refused_by_name() {
    let conv = |weight: proto::Tensor| file(vec![node("c", "Conv", &["x", "w"], "y")], vec![weight]);
    refused(&conv(tensor("w", &[1, 3, 1, 1], &[1.0; 3])), &["Conv \"c\"", "[1, 3, 1, 1]", "1 channels"]);
    refused(&conv(tensor("w", &[1, 1, 2, 2], &[1.0; 3])), &["\"w\"", "3 values"]);
    refused(&conv(tensor("w", &[1, 1, 9, 9], &[1.0; 81])), &["\"c\"", "larger than the map"]);
    refused(&conv(tensor("w", &[1 << 40, 1 << 40, 1, 1], &[])), &["\"w\"", "shape"]);
    refused(&conv(tensor("w", &[1 << 31, 1 << 30, 1, 1], &[])), &["\"w\""]);
    refused(&conv(tensor("w", &[1, 1, -1, 1], &[1.0])), &["\"w\"", "-1"]);
    refused(&conv(tensor("w", &[0, 1, 1, 1], &[])), &["\"c\""]);
    refused(&conv(tensor("w", &[1, 1, 0, 0], &[])), &["\"c\""]);
    refused(&conv(tensor("w", &[0, 1 << 40, 1 << 40, 1], &[])), &["\"w\""]);
    refused(
        &file(vec![with(node("p", "MaxPool", &["x"], "y"), "kernel_shape", &[2, -2])], vec![]),
        &["\"p\"", "-2"],
    );
    let pool = with(node("p", "MaxPool", &["x"], "y"), "kernel_shape", &[2, 2]);
    refused(&file(vec![with(pool.clone(), "strides", &[0, 1])], vec![]), &["\"p\"", "strides"]);
    refused(&file(vec![with(pool.clone(), "pads", &[-1, 0, 0, 0])], vec![]), &["\"p\"", "padding"]);
    refused(&file(vec![with(pool, "pads", &[1 << 27; 4])], vec![]), &["\"p\""]);
    let cycle = vec![node("a", "Add", &["x", "z"], "y"), node("b", "Relu", &["y"], "z")];
    refused(&file(cycle, vec![]), &["\"b\"", "\"y\"", "cycle"]);
    let twice = vec![node("a", "Relu", &["x"], "y"), node("b", "Relu", &["x"], "y")];
    refused(&file(twice, vec![]), &["\"y\" twice"]);
    refused(&file(vec![node("a", "Relu", &["x"], "x")], vec![]), &["\"x\" twice"]);
    let parameter = || tensor("w", &[1], &[1.0]);
    refused(&file(relu(), vec![parameter(), parameter()]), &["\"w\""]);
    refused(&file(vec![node("a", "Relu", &["nothing"], "y")], vec![]), &["no input that is read"]);
    refused(&file(vec![], vec![]), &["no input that is read"]);
    let size = |dims: &[i64]| {
        let mut model = file(relu(), vec![]);
        model.graph.as_mut().unwrap().input = vec![value("x", dims)];
        model
    };
    refused(&size(&[1, 3, 1 << 40, 1 << 40]), &["too large"]);
    refused(&size(&[1, i64::MAX, i64::MAX, i64::MAX]), &["too large"]);
    refused(&size(&[1, 3, 4, 4, 4]), &["5 dimensions"]);
    refused(&size(&[1, 0, 4, 4]), &["channels"]);
    assert!(open(&size(&[-1, 3, 0, -1])).is_ok(), "sizes that are not fixed");
    let pad = vec![node("p", "Pad", &["x", "n"], "y")];
    refused(&file(pad, vec![longs("n", &[0, 0, 1 << 40, 0, 0, 0, 1 << 40, 0])]), &["\"p\""]);
    let fill = vec![node("f", "ConstantOfShape", &["n"], "c"), node("s", "Add", &["x", "c"], "y")];
    refused(&file(fill, vec![longs("n", &[1 << 20, 1 << 20])]), &["\"f\"", "too large"]);
    refused(&proto::Model::default(), &["no ONNX graph"]);
    // Each layer is small, all together are not.
    let mut nodes = vec![node("c0", "Conv", &["x", "w"], "v0")];
    nodes.extend((1..400).map(|i| {
        let (from, to) = (format!("v{}", i - 1), if i == 399 { "y".into() } else { format!("v{i}") });
        node(&format!("c{i}"), "Conv", &[&from, "v"], &to)
    }));
    let weights =
        vec![tensor("w", &[256, 1, 1, 1], &[0.0; 256]), tensor("v", &[256, 256, 1, 1], &[0.0; 65536])];
    refused(&file(nodes, weights), &["far more parameters than the file holds"]);
}

/// Files that ask for a slice along one axis twice, of a constant and of a map.
fn sliced_twice() -> [proto::Model; 2] {
    ["k", "x"].map(|of| {
        file(
            vec![node("cut", "Slice", &[of, "from", "to", "twice"], "c"), node("s", "Add", &["x", "c"], "y")],
            vec![
                tensor("k", &[2, 2], &[1.0; 4]),
                longs("from", &[0, 1]),
                longs("to", &[1, 2]),
                longs("twice", &[-1, if of == "k" { 1 } else { 3 }]),
            ],
        )
    })
}

/// Files whose constants have no values, but huge sizes beside the 0.
fn hollow() -> Vec<proto::Model> {
    let cut = node("cut", "Slice", &["k", "from", "to", "second"], "c");
    let joined = |axis| int(node("cut", "Concat", &["k", "k", "k"], "c"), "axis", axis);
    let sums = node("cut", "Add", &["k", "one"], "c");
    let all: [(&proto::Node, [i64; 2]); 5] = [
        (&cut, [0, 1 << 40]),
        (&sums, [0, 1 << 40]),
        (&joined(1), [1 << 40, 0]),
        (&joined(0), [i64::MAX, 0]),
        // No more than may be, but three times that.
        (&joined(0), [1 << 22, 0]),
    ];
    let made = all.map(|(computed, dims)| {
        file(
            vec![computed.clone(), node("s", "Add", &["x", "c"], "y")],
            vec![
                tensor("k", &dims, &[]),
                tensor("one", &[1, 1], &[1.0]),
                longs("from", &[0]),
                longs("to", &[i64::MAX]),
                longs("second", &[1]),
            ],
        )
    });
    made.into()
}

#[test]
fn constants_that_ask_for_too_much_are_refused_by_name() {
    for model in sliced_twice() {
        refused(&model, &["Slice \"cut\"", "an axis twice"]);
    }
    let hollow = hollow();
    for model in &hollow[..4] {
        refused(model, &["\"k\"", "shape"]);
    }
    refused(&hollow[4], &["Concat \"cut\"", "too large"]);
    // Small in itself, but read again and again.
    let fill = node("fill", "ConstantOfShape", &["n"], "k");
    let sum = node("sum", "Sum", &["k"; 600], "c");
    let model = file(vec![fill, sum, node("s", "Add", &["x", "c"], "y")], vec![longs("n", &[1 << 22])]);
    refused(&model, &["Sum \"sum\"", "more constants"]);
    // The result is small, what comes between rows and columns is not.
    let resize = node("resize", "Resize", &["x", "", "", "sizes"], "y");
    let mut model = file(vec![resize], vec![longs("sizes", &[1, 64, 1 << 17, 1])]);
    model.graph.as_mut().unwrap().input = vec![value("x", &[1, 64, 1, 64])];
    refused(&model, &["Resize \"resize\"", "cannot resample"]);
}

/// Twelve parameters, one region: a few may share it, all of them would take twelve times the memory of the file.
#[test]
fn bytes_that_parameters_share_count_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("shared.bin")).unwrap().set_len(1 << 24).unwrap();
    let open = |count: usize| {
        let names: Vec<String> = (0..count).map(|i| format!("w{i}")).collect();
        let weights = names.iter().map(|name| proto::Tensor {
            dims: vec![1 << 22],
            elements: Some(elements::FLOAT),
            name: Some(name.clone()),
            external: vec![proto::Entry { key: Some("location".into()), value: Some("shared.bin".into()) }],
            location: Some(1),
            ..Default::default()
        });
        let sizes = names.iter().map(|name| node(name, "Shape", &[name], &format!("{name}.shape")));
        let shapes: Vec<String> = names.iter().map(|name| format!("{name}.shape")).collect();
        let all: Vec<&str> = shapes.iter().map(String::as_str).collect();
        let mut nodes: Vec<proto::Node> = sizes.collect();
        nodes.push(node("most", "Sum", &all, "sum"));
        // As many images as there are, and 16 values each.
        nodes.push(node("none", "Sub", &["sum", "sum"], "n"));
        nodes.push(int(node("target", "Concat", &["n", "sixteen"], "to"), "axis", 0));
        nodes.push(node("view", "Reshape", &["x", "to"], "y"));
        let mut parameters: Vec<proto::Tensor> = weights.collect();
        parameters.push(longs("sixteen", &[16]));
        let model = file(nodes, parameters);
        from_bytes(model.encode_to_vec(), "test", folder.path(), None, &Device::default())
    };
    open(2).unwrap();
    let message = open(12).map(|_| ()).unwrap_err();
    for word in ["parameter \"w", "shared.bin", "far more than the file holds"] {
        assert!(message.contains(word), "no \"{word}\" in: {message}");
    }
}

#[test]
fn values_in_other_files_are_read_from_the_models_folder_alone() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    let bytes: Vec<u8> = [0.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.join("weights.bin"), &bytes).unwrap();
    std::fs::write(root.path().join("secret.bin"), &bytes).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path().join("secret.bin"), folder.join("link.bin")).unwrap();
    let open = |entries: &[(&str, &str)]| {
        let entry = |&(k, v): &(&str, &str)| proto::Entry { key: Some(k.into()), value: Some(v.into()) };
        let weight = proto::Tensor {
            dims: vec![1, 1, 1, 1],
            elements: Some(elements::FLOAT),
            name: Some("w".into()),
            external: entries.iter().map(entry).collect(),
            location: Some(1),
            ..Default::default()
        };
        let model = file(vec![node("c", "Conv", &["x", "w"], "y")], vec![weight]);
        from_bytes(model.encode_to_vec(), "test", &folder, None, &Device::default())
    };
    let network = open(&[("location", "weights.bin"), ("offset", "4"), ("length", "4")]).unwrap();
    assert_eq!(numbers(network.capture(ramp(), &["c"]).unwrap().remove(0))[3], 6.0);
    let secret = root.path().join("secret.bin");
    let inside = "not in the model's folder";
    for (location, words) in [
        ("../secret.bin", inside),
        ("sub/../../secret.bin", inside),
        (secret.to_str().unwrap(), inside),
        ("link.bin", "cp -L"),
    ] {
        let message = open(&[("location", location)]).map(|_| ()).unwrap_err();
        assert!(message.contains("\"w\"") && message.contains(words), "{message}");
    }
    for (entries, words) in [
        (&[("location", "none.bin")][..], "cannot be read"),
        (&[("location", "weights.bin"), ("offset", "5")], "too short"),
        (&[("location", "weights.bin"), ("offset", "18446744073709551615")], "too short"),
        (&[("location", "weights.bin"), ("length", "8")], "8 bytes"),
        (&[("location", "weights.bin"), ("offset", "-1")], "offset"),
        (&[("location", ".")], "no file"),
        (&[], "which"),
    ] {
        let message = open(entries).map(|_| ()).unwrap_err();
        assert!(message.contains("\"w\"") && message.contains(words), "no \"{words}\" in: {message}");
    }
    #[cfg(unix)]
    {
        // Nobody writes to this pipe: who reads from it waits for ever.
        let made = std::process::Command::new("mkfifo").arg(folder.join("pipe.bin")).status().unwrap();
        assert!(made.success());
        let message = open(&[("location", "pipe.bin")]).map(|_| ()).unwrap_err();
        assert!(message.contains("\"w\"") && message.contains("no file"), "{message}");
    }
}

/// A file that normalizes batches.
fn normalizing(opset: i64, variance: f32, more: &[&str]) -> proto::Model {
    let mut norm = node("norm", "BatchNormalization", &["x", "s", "b", "m", "v"], "y");
    norm.output.extend(more.iter().map(|o| o.to_string()));
    let parameter = |name: &str, value: f32| tensor(name, &[1], &[value]);
    let parameters =
        vec![parameter("s", 1.0), parameter("b", 0.0), parameter("m", 0.5), parameter("v", variance)];
    let mut model = file(vec![norm], parameters);
    model.opset_import[0].version = Some(opset);
    model
}

#[test]
fn batch_norms_in_training_mode_are_refused_in_every_version() {
    for opset in 7..=17 {
        assert!(open(&normalizing(opset, 2.0, &[])).is_ok(), "opset {opset}");
    }
    for opset in [7, 9, 13] {
        refused(&normalizing(opset, 2.0, &["m2", "v2", "m3", "v3"]), &["norm", "training mode"]);
    }
    refused(&normalizing(6, 2.0, &[]), &["version 6", "7 and later", "version_converter"]);
    refused(&normalizing(17, -2.0, &[]), &["norm", "variance -2"]);
}

/// Numbers that a layer can't compute with are refused by the node's and the number's name.
#[test]
fn numbers_out_of_a_file_are_within_what_operators_take() {
    let lrn = |name: &str, value: f32| {
        file(vec![float(int(node("lrn", "LRN", &["x"], "y"), "size", 3), name, value)], vec![])
    };
    assert!(open(&lrn("beta", 0.75)).is_ok());
    for (name, value) in [
        ("beta", 1e30),
        ("beta", -1.0),
        ("alpha", -1e-4),
        ("bias", -2.0),
        ("beta", f32::NAN),
        ("alpha", f32::INFINITY),
    ] {
        refused(&lrn(name, value), &["LRN \"lrn\"", name]);
    }
    for (operator, name) in [("LeakyRelu", "alpha"), ("Elu", "alpha"), ("HardSigmoid", "beta")] {
        let model = file(vec![float(node("a", operator, &["x"], "y"), name, f32::INFINITY)], vec![]);
        refused(&model, &[operator, "\"a\"", name]);
    }
    for value in [f32::NAN, f32::NEG_INFINITY] {
        let conv = node("c", "Conv", &["x", "w"], "y");
        refused(&file(vec![conv], vec![tensor("w", &[1, 1, 1, 1], &[value])]), &["Conv \"c\"", "numbers"]);
    }
    let norm = |epsilon| {
        let mut model = normalizing(17, 2.0, &[]);
        let graph = model.graph.as_mut().unwrap();
        graph.node[0] = float(graph.node[0].clone(), "epsilon", epsilon);
        model
    };
    refused(&norm(-1e-3), &["BatchNormalization", "epsilon"]);
    assert!(open(&norm(0.0)).is_ok() && open(&norm(1e-3)).is_ok());
    // A margin before a maximum is as small as can be.
    let pad = node("p", "Pad", &["x", "pads", "least"], "y");
    let margin = |value: f32| vec![longs("pads", &[0, 0, 0, 0, 0, 0, 1, 1]), tensor("least", &[], &[value])];
    assert!(open(&file(vec![pad.clone()], margin(f32::NEG_INFINITY))).is_ok());
    refused(&file(vec![pad], margin(f32::NAN)), &["Pad", "no number"]);
}

#[test]
fn of_several_outputs_one_is_taken_and_the_others_are_told() {
    let nodes = vec![node("first", "Relu", &["x"], "y"), node("second", "Tanh", &["y"], "z")];
    let mut model = file(nodes, vec![]);
    model.graph.as_mut().unwrap().output.push(value("z", &[1, 1, 4, 4]));
    let up_to = |output: Option<&str>| {
        from_bytes(model.encode_to_vec(), "test", Path::new("."), output, &Device::default())
    };
    let network = up_to(None).unwrap();
    assert_eq!(network.output(), "first");
    assert!(network.notes()[0].contains("y, z") && network.notes()[0].contains("--output"));
    // By the value's name or the node's.
    for output in ["z", "second"] {
        assert_eq!(up_to(Some(output)).unwrap().output(), "second");
    }
    let message = up_to(Some("secnd")).unwrap_err();
    assert!(message.contains("did you mean \"second\"?"), "{message}");
    // What lies behind the output is not asked for.
    let strange = vec![node("first", "Relu", &["x"], "y"), node("head", "NonMaxSuppression", &["y"], "z")];
    let mut model = file(strange, vec![]);
    model.graph.as_mut().unwrap().output = vec![value("z", &[1])];
    refused(&model, &["NonMaxSuppression", "--output LAYER"]);
    let bytes = model.encode_to_vec();
    let network = from_bytes(bytes, "test", Path::new("."), Some("first"), &Device::default()).unwrap();
    assert_eq!(network.output(), "first");
}

/// A map is `[N, channels, rows, columns]`: an output with other axes is put in that order.
#[test]
fn an_output_with_its_axes_exchanged_is_put_in_order() {
    for perm in [[0, 2, 3, 1], [0, 1, 3, 2], [0, 2, 1, 3], [0, 3, 1, 2]] {
        let turn = with(node("t", "Transpose", &["a"], "y"), "perm", &perm);
        let network = open(&file(vec![node("r", "Relu", &["x"], "a"), turn], vec![])).unwrap();
        let output = network.output().to_string();
        let got = network.capture(ramp(), &[output]).unwrap().remove(0);
        let array = Array { dims: vec![1, 1, 4, 4], values: (0..16).map(|v| v as f32).collect::<Vec<_>>() };
        let want = array.transposed(&perm.map(|d| d as usize));
        // Channels that are last are not moved.
        let want = if perm == [0, 2, 3, 1] { array } else { want };
        assert_eq!((got.dims().to_vec(), numbers(got)), (want.dims, want.values), "{perm:?}");
    }
}

/// Attention as PyTorch's own module writes it: heads go with the images, as many as these times the heads.
#[test]
fn heads_may_be_counted_with_images_of_any_number() {
    let attention = |images: i64| {
        let nodes = vec![
            node("s", "Shape", &["x"], "shape"),
            node("n", "Gather", &["shape", "zero"], "images"),
            node("h", "Mul", &["images", "two"], "both"),
            int(node("to", "Concat", &["six", "both", "two"], "apart"), "axis", 0),
            int(node("back", "Concat", &["six", "images", "four"], "together"), "axis", 0),
            node("flat", "Reshape", &["x", "flatten"], "a"),
            with(node("t", "Transpose", &["a"], "b"), "perm", &[2, 0, 1]),
            node("r", "Reshape", &["b", "apart"], "c"),
            with(node("q", "Transpose", &["c"], "d"), "perm", &[1, 0, 2]),
            with(node("k", "Transpose", &["d"], "e"), "perm", &[0, 2, 1]),
            node("scores", "MatMul", &["d", "e"], "f"),
            int(node("pattern", "Softmax", &["f"], "g"), "axis", -1),
            node("o", "MatMul", &["g", "d"], "h"),
            with(node("u", "Transpose", &["h"], "i"), "perm", &[1, 0, 2]),
            node("m", "Reshape", &["i", "together"], "j"),
            with(node("v", "Transpose", &["j"], "y"), "perm", &[1, 2, 0]),
        ];
        let number = |name: &str, n: i64| longs(name, &[n]);
        let parameters = vec![
            number("zero", 0),
            number("two", 2),
            number("four", 4),
            number("six", 6),
            longs("flatten", &[0, 4, 6]),
        ];
        let mut model = file(nodes, parameters);
        model.graph.as_mut().unwrap().input = vec![value("x", &[images, 4, 2, 3])];
        open(&model).unwrap()
    };
    let x = TensorData::new((0..72).map(|v| (v as f32).sin()).collect::<Vec<_>>(), [3, 4, 2, 3]);
    let x = Tensor::<4>::from_data(x, &Device::default());
    let (free, one) = (attention(-1), attention(1));
    let (a, b) = (free.logits(x.clone()), one.logits(x));
    assert_eq!(a.dims(), b.dims());
    assert!((a - b).abs().max().into_scalar::<f32>() < 1e-6);
    assert_eq!(free.channels("scores").unwrap(), 2);
}

/// As converters to half precision leave them.
#[test]
fn nodes_may_come_before_what_they_read() {
    let nodes = vec![node("b", "Relu", &["a"], "y"), node("a", "Tanh", &["x"], "a")];
    let network = open(&file(nodes, vec![])).unwrap();
    let layers: Vec<&str> = network.graph().layers().collect();
    assert_eq!(layers, ["a", "b"]);
}

fn bytes(name: &str, elements: i32, dims: &[i64], values: &[i32]) -> proto::Tensor {
    proto::Tensor {
        dims: dims.to_vec(),
        elements: Some(elements),
        name: Some(name.into()),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// Weights with a scale for each output channel, and a map that is rounded to steps of 2 around the zero point 3.
#[test]
fn quantized_networks_are_computed_as_what_they_stand_for() {
    let nodes = vec![
        int(node("dw", "DequantizeLinear", &["w", "s", "z"], "weights"), "axis", 0),
        node("q", "QuantizeLinear", &["x", "step", "zero"], "quantized"),
        node("dq", "DequantizeLinear", &["quantized", "step", "zero"], "rounded"),
        node("c", "Conv", &["rounded", "weights"], "y"),
    ];
    let int8 = proto::elements::INT8;
    let parameters = vec![
        bytes("w", int8, &[2, 1, 1, 1], &[4, -5]),
        tensor("s", &[2], &[0.5, 2.0]),
        bytes("z", int8, &[2], &[0, 1]),
        tensor("step", &[], &[2.0]),
        bytes("zero", proto::elements::UINT8, &[], &[3]),
    ];
    let network = open(&file(nodes.clone(), parameters.clone())).unwrap();
    // From (0 − 3)·2 to (255 − 3)·2, halves to the even number of steps.
    let x = TensorData::new(vec![-9f32, -1.0, 0.9, 5.0, 7.0, 600.0, 2.2, 3.5], [1, 1, 2, 4]);
    let x = Tensor::<4>::from_data(x, &Device::default());
    let rounded = [-6f32, 0.0, 0.0, 4.0, 8.0, 504.0, 2.0, 4.0];
    assert_eq!(numbers(network.capture(x.clone(), &["q"]).unwrap().remove(0)), rounded);
    // 4·0.5, and (−5 − 1)·2.
    let want: Vec<f32> = [2.0, -12.0].iter().flat_map(|w| rounded.map(|x| w * x)).collect();
    assert_eq!(numbers(network.capture(x, &["c"]).unwrap().remove(0)), want);
    // The gradient goes through where nothing is cut off.
    let x = TensorData::new(vec![-9f32, 0.9, 600.0, 2.2], [1, 1, 2, 2]);
    let x = Tensor::<4>::from_data(x, &Device::default().autodiff()).require_grad();
    let frozen = burn::module::Module::freeze(burn::module::Module::train(network));
    let y = frozen.capture(x.clone(), &["q"]).unwrap().remove(0);
    assert_eq!(numbers(x.grad(&y.sum().backward()).unwrap()), [0.0, 1.0, 0.0, 1.0]);
    let mut other = nodes;
    other[2].input[1] = "s".into();
    refused(&file(other, parameters), &["\"dq\"", "several scales"]);
}

/// Channels 0 to 7 of one place, as places of two channels.
#[test]
fn channels_become_places_and_back() {
    for (mode, want) in [
        ("DCR", [0f32, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]),
        ("CRD", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
    ] {
        let mut spread = int(node("d", "DepthToSpace", &["x"], "a"), "blocksize", 2);
        spread.attribute.push(super::text("mode", mode));
        let mut model = file(vec![spread, node("r", "Relu", &["a"], "y")], vec![]);
        model.graph.as_mut().unwrap().input = vec![value("x", &[1, 8, 1, 1])];
        let x = TensorData::new((0..8).map(|v| v as f32).collect::<Vec<_>>(), [1, 8, 1, 1]);
        let x = Tensor::<4>::from_data(x, &Device::default());
        let network = open(&model).unwrap();
        let y = network.logits(x.clone());
        assert_eq!(numbers(y), want, "{mode}");
        // Blocks go to the slowest of the channels, as in DCR.
        let mut back = model;
        let graph = back.graph.as_mut().unwrap();
        graph.node.truncate(1);
        graph.node.push(int(node("s", "SpaceToDepth", &["a"], "b"), "blocksize", 2));
        graph.node.push(node("r", "Relu", &["b"], "y"));
        let again = numbers(open(&back).unwrap().logits(x.clone()));
        if mode == "DCR" {
            assert_eq!(again, numbers(x));
        }
    }
}

/// As tf2onnx writes them.
#[test]
fn images_with_channels_last_are_understood() {
    let nodes = vec![
        with(node("t", "Transpose", &["x"], "a"), "perm", &[0, 3, 1, 2]),
        node("c", "Conv", &["a", "w"], "y"),
    ];
    let mut model = file(nodes, vec![tensor("w", &[1, 3, 1, 1], &[1.0, 10.0, 100.0])]);
    for side in [16, -1] {
        model.graph.as_mut().unwrap().input = vec![value("x", &[-1, side, side, 3])];
        let network = open(&model).unwrap();
        assert_eq!(network.graph().image_channels(), 3);
        let x = Tensor::from_data(TensorData::new(vec![1f32, 2.0, 3.0], [1, 3, 1, 1]), &Device::default());
        let x = x.repeat_dim(2, 16).repeat_dim(3, 16);
        assert_eq!(numbers(network.capture(x, &["c"]).unwrap().remove(0))[0], 321.0);
    }
}

/// A map that is the output keeps its size free on the way through a file.
#[test]
fn a_fully_convolutional_network_stays_free_in_size() {
    let mut g = Graph::new("fully", 3);
    g.then("conv", Op::conv(3, 5, 3, 2, 1));
    let network = Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap();
    let bytes = export::export(&network).encode_to_vec();
    let again = from_bytes(bytes, "fully", Path::new("."), None, &Device::default()).unwrap();
    assert_eq!(again.graph().layers().collect::<Vec<_>>(), ["conv"]);
    for side in [100, 224] {
        assert_eq!(again.graph().shape_of("conv", [3, side, side]).unwrap(), [5, side / 2, side / 2]);
    }
}

/// Every kind of layer.
fn menagerie() -> Graph {
    let mut g = Graph::new("menagerie", 3);
    let mut conv = Op::conv(3, 8, 3, 1, 0);
    if let Op::Conv(op::Conv { padding, .. }) = &mut conv {
        *padding = Padding::Sides([0, 1, 2, 1]);
    }
    g.then("sides", conv);
    g.then("norm", Op::BatchNorm(op::BatchNorm { channels: 8, epsilon: 1e-3 }));
    let mut same = Op::conv(8, 8, 3, 2, 0);
    if let Op::Conv(op::Conv { padding, dilation, groups, .. }) = &mut same {
        (*padding, *dilation, *groups) = (Padding::Same(Same::SameLower), [2, 1], 4);
    }
    let x = g.then("same", same);
    let mut parts = vec![];
    for (i, op) in [
        op::Relu.into(),
        Op::LeakyRelu(op::LeakyRelu { slope: 0.1 }),
        Op::Clip(op::Clip { min: Some(-0.5), max: None }),
        Op::Clip(op::Clip { min: None, max: Some(0.5) }),
        op::Sigmoid.into(),
        Op::HardSigmoid(op::HardSigmoid { slope: 0.25, offset: 0.4 }),
        op::HardSwish.into(),
        op::Tanh.into(),
        Op::Elu(op::Elu { alpha: 0.5 }),
        Op::Gelu(op::Gelu { approximate: false }),
        Op::Gelu(op::Gelu { approximate: true }),
        op::Erf.into(),
        op::Softmax::default().into(),
        Op::Lrn(op::Lrn { size: 5, alpha: 1e-2, beta: 0.75, bias: 1.0 }),
        Op::LayerNorm(op::LayerNorm { channels: 8, epsilon: 1e-6 }),
        Op::ShuffleChannels(op::ShuffleChannels { groups: 4 }),
    ]
    .into_iter()
    .enumerate()
    {
        parts.push(g.push(format!("unit{i}"), op, &[&x]));
    }
    let all: Vec<&str> = parts.iter().map(String::as_str).collect();
    g.push("sum", op::Add, &all);
    g.push("product", op::Mul, &["sum", "unit4", "unit7"]);
    g.push("difference", op::Sub, &["product", "unit1"]);
    g.push("scale", Op::Constant(op::Constant { shape: [8, 1, 1] }), &[]);
    g.push("scaled", op::Mul, &["difference", "scale"]);
    g.push("one", Op::Mean(op::Mean { channels: true, rows: false, columns: false }), &["unit4"]);
    g.push("quotient", op::Div, &["scaled", "one"]);
    let pooled = |padding, ceil| {
        Op::MaxPool(op::MaxPool { kernel: [3, 2], stride: [2, 1], padding, dilation: [1, 2], ceil })
    };
    g.push("most", pooled(Padding::Sides([1, 0, 0, 1]), true), &["quotient"]);
    for (name, ceil, count_padding) in [("mean", false, false), ("mean_all", true, true)] {
        let op = Op::AvgPool(op::AvgPool {
            kernel: [3, 2],
            stride: [2, 1],
            padding: Padding::Symmetric([1, 0]),
            ceil,
            count_padding,
        });
        g.push(name, op, &["quotient"]);
    }
    g.push("padded", Op::Pad(op::Pad { before: [1, 0, 2], after: [0, 3, 1], value: 0.5 }), &["mean"]);
    g.then("channels", Op::PadChannels(op::PadChannels { before: 2, after: 1 }));
    g.then("cut", Op::Slice(op::Slice { start: [1, -5, 0], end: [-1, i64::MAX, 7], step: [2, 1, 2] }));
    let coordinates = op::Coordinates::HalfPixel;
    let resized =
        |target, interpolation, coordinates| Op::Resize(op::Resize { target, interpolation, coordinates });
    g.then("large", resized(op::Target::Scale([2.0, 1.5]), op::Interpolation::Linear, coordinates));
    let nearest = op::Interpolation::Nearest(op::Rounding::PreferFloor);
    g.then("sized", resized(op::Target::Size([5, 4]), nearest, op::Coordinates::Asymmetric));
    g.then("cubic", resized(op::Target::Scale([1.6, 2.0]), op::Interpolation::Cubic(-0.5), coordinates));
    g.then("every", Op::Subsample(op::Subsample { stride: 2 }));
    g.push("both", op::Concat::default(), &["every", "every"]);
    g.then("reshaped", Op::Reshape(op::Reshape { shape: [16, 5, 4] }));
    g.then("flat", Op::Flatten(op::Flatten { features: 320 }));
    g.push("average", op::GlobalAvgPool, &["quotient"]);
    g.push("peak", op::GlobalMaxPool, &["most"]);
    g.push("ends", op::Concat::default(), &["average", "peak", "flat"]);
    g.then("scores", Op::Linear(op::Linear { features: [336, 7], bias: true }));
    g
}

/// Sizes that the menagerie's reshapes fit are found, not assumed.
fn fitting() -> (Network, [usize; 2]) {
    let mut graph = menagerie();
    for side in 8..40 {
        let size = [side, side + 1];
        let Ok(shapes) =
            Graph { nodes: graph.nodes[..graph.position("both").unwrap() + 1].to_vec(), ..graph.clone() }
                .shapes([3, size[0], size[1]])
        else {
            continue;
        };
        let [c, h, w] = *shapes.last().unwrap();
        let position = graph.position("reshaped").unwrap();
        graph.nodes[position].op = Op::Reshape(op::Reshape { shape: [h, c, w] });
        graph.nodes[position + 1].op = Op::Flatten(op::Flatten { features: c * h * w });
        let position = graph.position("scores").unwrap();
        graph.nodes[position].op = Op::Linear(op::Linear { features: [16 + c * h * w, 7], bias: true });
        graph.size = Some(size);
        let network = Network::new(graph, &mut seed::rng(3, &0), &Device::default()).unwrap();
        return (burn::module::Module::valid(&network), size);
    }
    panic!("no size fits");
}

/// The values of all layers are the same again; where ONNX has no such layer, at least what follows is.
#[test]
fn networks_go_to_onnx_and_come_back() {
    let device = Device::default();
    let (network, size) = fitting();
    let mut all = vec![(network, size)];
    for builder in ["small-cnn", "resnet20", "squeezenet1_0", "inception_v1"] {
        let classes = if builder == "inception_v1" { 1008 } else { 10 };
        let graph = zoo::builder(builder, classes).unwrap();
        let network = Network::new(graph, &mut seed::rng(1, &0), &device).unwrap();
        all.push((burn::module::Module::valid(&network), [64, 64]));
    }
    for (network, [h, w]) in all {
        let bytes = export::export(&network).encode_to_vec();
        let again = from_bytes(bytes, network.name(), Path::new("."), None, &device).unwrap();
        assert_eq!(again.graph().sized_by, None);
        let x = Tensor::<4>::random([2, 3, h, w], Distribution::Normal(0.0, 1.0), &device);
        let names: Vec<&str> =
            network.graph().layers().filter(|l| again.graph().position(l).is_ok()).collect();
        assert!(2 * names.len() > network.graph().nodes.len(), "{names:?}");
        let pairs = network
            .capture(x.clone(), &names)
            .unwrap()
            .into_iter()
            .zip(again.capture(x.clone(), &names).unwrap());
        for ((a, b), name) in pairs.zip(&names) {
            assert_eq!(a.dims(), b.dims(), "{name}");
            let (a, b) = (numbers(a), numbers(b));
            let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= 1e-5 * largest, "{} {name}: {worst} of {largest}", network.name());
        }
        let [a, b] = [&network, &again].map(|n| n.logits(x.clone()).into_data().try_to_vec::<f32>().unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0)), "{a:?} {b:?}");
    }
}

/// Trompe's own files keep every kind of layer, too.
#[test]
fn every_kind_of_layer_is_saved_and_opened() {
    let (network, [h, w]) = fitting();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n.safetensors");
    network.save(&path).unwrap();
    let again = Network::open(&path, &Device::default()).unwrap();
    assert_eq!(network.graph(), again.graph());
    let x = Tensor::<4>::random([2, 3, h, w], Distribution::Normal(0.0, 1.0), &Device::default());
    let again = burn::module::Module::valid(&again);
    let [a, b] = [&network, &again].map(|n| n.logits(x.clone()).into_data().try_to_vec::<f32>().unwrap());
    assert_eq!(a, b);
}

/// The gradient that visualization follows, against differences, through every kind of layer.
#[test]
fn every_kind_of_layer_has_its_gradient() {
    let (network, [h, w]) = fitting();
    let drawn = |what: &str| -> Tensor<4> {
        let mut rng = seed::rng(0, &what);
        let values: Vec<f32> = (0..3 * h * w).map(|_| StandardNormal.sample(&mut rng)).collect();
        Tensor::from_data(TensorData::new(values, [1, 3, h, w]), &Device::default())
    };
    let (x, along) = (drawn("image"), drawn("direction"));
    // As a visualization does it.
    let network = network.fold_batch_norm();
    let moving = burn::module::Module::freeze(burn::module::Module::train(network.clone()));
    for node in &network.graph().nodes[1..] {
        let name = node.name.as_str();
        let at = |t: f32| -> f64 {
            let map = network.capture(x.clone() + along.clone() * t, &[name]).unwrap().remove(0);
            numbers(map).iter().map(|v| f64::from(*v).tanh()).sum()
        };
        if matches!(node.op, Op::Constant(_)) {
            continue;
        }
        let input = x.clone().autodiff().require_grad();
        let map = moving.capture(input.clone(), &[name]).unwrap().remove(0);
        let gradient = input.grad(&map.tanh().sum().backward()).unwrap();
        let slope: f32 = (gradient * along.clone()).sum().into_scalar();
        // A step may cross a kink, or be lost in rounding; not every one of them.
        let differences = [2e-3f32, 5e-4, 1e-4].map(|step| (at(step) - at(-step)) / f64::from(2.0 * step));
        let agrees = |d: &f64| (d - f64::from(slope)).abs() < 0.02 * d.abs().max(1.0);
        assert!(differences.iter().any(agrees), "{name}: {slope} {differences:?}");
    }
}

#[test]
fn files_are_told_by_their_ending() {
    assert!(is_onnx(Path::new("a/b.onnx")) && is_onnx(Path::new("B.ONNX")));
    assert!(!is_onnx(Path::new("onnx")) && !is_onnx(Path::new("a.safetensors")));
}

/// Files such as Trompe doesn't write, good ones and bad ones.
fn foreign() -> Vec<proto::Model> {
    let mixed = vec![
        int(node("lrn", "LRN", &["x"], "a"), "size", 3),
        int(node("one", "Gather", &["a", "index"], "b"), "axis", 1),
        int(node("both", "Concat", &["a", "b"], "c"), "axis", 1),
        node("large", "Resize", &["c", "", "", "sizes"], "d"),
        node("cut", "Slice", &["d", "from", "to", "axes", "steps"], "e"),
        node("scaled", "Slice", &["k", "zero", "one"], "f"),
        node("product", "Mul", &["e", "f"], "y"),
    ];
    let parameters = vec![
        longs("index", &[0]),
        longs("sizes", &[1, 2, 8, 6]),
        longs("from", &[0, -6]),
        longs("to", &[4, 6]),
        longs("axes", &[-2, 3]),
        longs("steps", &[1, 2]),
        tensor("k", &[2, 1, 1, 1], &[2.0, 3.0]),
        longs("zero", &[0]),
        longs("one", &[1]),
    ];
    let mut all =
        vec![file(mixed, parameters), padded(), cropped("x"), cropped("mean"), of_newer_exporters()];
    all.extend(sliced_twice());
    all.extend(hollow());
    all
}

#[test]
fn the_good_ones_of_the_foreign_files_open() {
    let files = foreign();
    let network = open(&files[0]).unwrap();
    let shapes = network.graph().shapes([1, 4, 4]).unwrap();
    assert_eq!(shapes.last(), Some(&[2, 4, 3]));
    assert!(files[1..3].iter().all(|file| open(file).is_ok()));
}

/// Opens a file, and runs what opens, if it is small; whether it was opened, and whether it was run.
fn tried(bytes: Vec<u8>, folder: &Path) -> (bool, bool) {
    let Ok(network) = from_bytes(bytes, "mutated", folder, None, &Device::default()) else {
        return (false, false);
    };
    let Op::Input(op::Input { channels }) = network.graph().nodes[0].op else { panic!("no image") };
    let [h, w] = network.graph().size.unwrap_or([32, 32]);
    let Ok(shapes) = network.graph().shapes([channels, h, w]) else { return (true, false) };
    let work: usize = network
        .graph()
        .multiply_adds(&shapes)
        .into_iter()
        .zip(&shapes)
        .map(|(n, s)| n.saturating_add(s.iter().product()))
        .fold(0, usize::saturating_add);
    let small = work < 1 << 24 && channels * h * w > 0;
    if small {
        let x = Tensor::<4>::ones([1, channels, h, w], &Device::default());
        network.capture(x, &[network.output()]).unwrap();
    }
    (true, small)
}

/// Where files that once failed are kept.
fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")
}

#[test]
fn files_that_once_failed_are_opened_or_refused() {
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        tried(std::fs::read(&path).unwrap(), &fixtures());
    }
}

/// Whatever is done to a file, it is opened or refused, and what is opened runs: no panic, nothing unbounded. Of so many
/// files as TROMPE_FUZZ_FILES says, drawn from the seed TROMPE_FUZZ_SEED. One that fails is kept among the fixtures.
#[test]
fn mutated_files_are_opened_or_refused() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (count, seed) = (number("TROMPE_FUZZ_FILES", 20_000), number("TROMPE_FUZZ_SEED", 0));
    let (network, _) = fitting();
    let mut files = vec![export::export(&network).encode_to_vec()];
    for graph in [zoo::resnet_cifar(20, 10), zoo::small_cnn(10)] {
        let network = Network::new(graph, &mut seed::rng(1, &0), &Device::default()).unwrap();
        let mut model = export::export(&network);
        // Mutations are to hit the structure, not the weights: these are in another file.
        for t in &mut model.graph.as_mut().unwrap().initializer {
            if t.elements == Some(elements::FLOAT) {
                let entry = proto::Entry { key: Some("location".into()), value: Some("w".into()) };
                (t.raw, t.location, t.external) = (None, Some(1), vec![entry]);
            }
        }
        files.push(model.encode_to_vec());
    }
    files.extend(foreign().iter().map(Message::encode_to_vec));
    files.extend(
        [attention(&[0.5; WIDTH * 3 * WIDTH], &[0.5; WIDTH * WIDTH]), windows()]
            .iter()
            .map(Message::encode_to_vec),
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w"), vec![0; 1 << 20]).unwrap();
    let (mut opened, mut run) = (0, 0);
    let mut rng = seed::rng(seed, &"mutations");
    for i in 0..count {
        let mut bytes = files[rng.random_range(0..files.len())].clone();
        mutate(&mut bytes, &mut rng);
        let copy = bytes.clone();
        match std::panic::catch_unwind(|| tried(bytes, folder.path())) {
            Ok((open, ran)) => {
                opened += usize::from(open);
                run += usize::from(ran);
            }
            Err(_) => {
                let path = fixtures().join(format!("mutated-{seed}-{i}.onnx"));
                std::fs::write(&path, copy).unwrap();
                panic!("file {i} of seed {seed} failed; it is kept as {}", path.display());
            }
        }
    }
    println!("seed {seed}: {count} mutated files, {opened} opened, {run} of them run");
    assert!(opened > 10 && run > 10);
}

/// A few bytes changed, taken out, put in, doubled or moved, mostly near one another.
fn mutate(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    if rng.random_bool(0.02) {
        bytes.truncate(rng.random_range(0..bytes.len()));
    }
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..24).min(bytes.len() - at);
        match rng.random_range(0..7) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][rng.random_range(0..6)],
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                let to = rng.random_range(0..bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let piece = bytes[at..at + length].to_vec();
                let to = rng.random_range(0..=bytes.len() - length);
                bytes[to..to + length].copy_from_slice(&piece);
            }
            // A varint of all ones: as large, or as negative, as can be.
            _ => drop(bytes.splice(at..at + 1, [0xff; 9].into_iter().chain([0x01]))),
        }
    }
}

/// A shape of so many values, of a few axes.
fn drawn_shape(rng: &mut impl Rng, values: usize) -> Vec<usize> {
    let mut shape = vec![1; rng.random_range(1..6)];
    let mut left = values;
    for prime in [2, 3] {
        while left.is_multiple_of(prime) {
            left /= prime;
            let axis = rng.random_range(0..shape.len());
            shape[axis] *= prime;
        }
    }
    shape
}

/// Whatever is reshaped and transposed, in any order, comes out as it does of an array of numbers.
#[test]
fn reshapes_and_transposes_of_any_rank_move_values_as_they_do_of_arrays() {
    const VALUES: usize = 48;
    let mut opened = 0;
    for case in 0..300 {
        let rng = &mut seed::rng(case, &"reshapes and transposes");
        let mut want = Array { dims: vec![1, 6, 4, 2], values: (0..VALUES).map(|v| v as f32).collect() };
        let (mut nodes, mut parameters) = (vec![], vec![]);
        let mut last = "x".to_string();
        let steps = rng.random_range(1..6);
        let mut said = vec![];
        for step in 0..=steps {
            let name = if step == steps { "y".to_string() } else { format!("v{step}") };
            if step < steps && rng.random_range(0..2) == 0 {
                let mut order: Vec<usize> = (0..want.dims.len()).collect();
                order.shuffle(rng);
                let perm: Vec<i64> = order.iter().map(|&d| d as i64).collect();
                nodes.push(with(node(&name, "Transpose", &[&last], &name), "perm", &perm));
                want = want.transposed(&order);
                said.push(("Transpose", order));
            } else {
                let shape = if step == steps { vec![1, VALUES] } else { drawn_shape(rng, VALUES) };
                let sizes: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
                parameters.push(longs(&format!("s{step}"), &sizes));
                nodes.push(node(&name, "Reshape", &[&last, &format!("s{step}")], &name));
                want = want.reshaped(shape.clone()).unwrap();
                said.push(("Reshape", shape));
            }
            last = name;
        }
        let mut model = file(nodes, parameters);
        model.graph.as_mut().unwrap().input = vec![value("x", &[1, 6, 4, 2])];
        match open(&model) {
            Ok(network) => {
                let x = TensorData::new((0..VALUES).map(|v| v as f32).collect(), [1, 6, 4, 2]);
                let x = Tensor::<4>::from_data(x, &Device::default());
                assert_eq!(numbers(network.logits(x.clone())), want.values, "case {case}");
                // And once more, written and read.
                let again = from_bytes(
                    export::export(&network).encode_to_vec(),
                    "again",
                    Path::new("."),
                    None,
                    &Device::default(),
                );
                assert_eq!(numbers(again.unwrap().logits(x)), want.values, "case {case}");
                opened += 1;
            }
            Err(message) => panic!("case {case} ({steps:?}): {message}", steps = said),
        }
    }
    assert_eq!(opened, 300);
}

const TOKENS: usize = 6;
const HEADS: usize = 2;
const EACH: usize = 2;
const WIDTH: usize = HEADS * EACH;

/// Self-attention as exporters write it: queries, keys and values from one product, split into heads.
fn attention(qkv: &[f32], proj: &[f32]) -> proto::Model {
    let mut nodes = vec![
        node("tokens", "Reshape", &["x", "flat"], "t0"),
        with(node("last", "Transpose", &["t0"], "t1"), "perm", &[0, 2, 1]),
        node("qkv", "MatMul", &["t1", "wqkv"], "t2"),
        node("parts", "Reshape", &["t2", "five"], "t3"),
        with(node("first", "Transpose", &["t3"], "t4"), "perm", &[2, 0, 3, 1, 4]),
    ];
    for (i, part) in ["q", "k", "v"].into_iter().enumerate() {
        nodes.push(int(node(part, "Gather", &["t4", &format!("i{i}")], part), "axis", 0));
    }
    nodes.extend([
        with(node("turned", "Transpose", &["k"], "kt"), "perm", &[0, 1, 3, 2]),
        node("scores", "MatMul", &["q", "kt"], "s0"),
        node("scaled", "Mul", &["s0", "scale"], "s1"),
        int(node("shares", "Softmax", &["s1"], "s2"), "axis", -1),
        node("gathered", "MatMul", &["s2", "v"], "g0"),
        with(node("back", "Transpose", &["g0"], "g1"), "perm", &[0, 2, 1, 3]),
        node("joined", "Reshape", &["g1", "three"], "g2"),
        node("proj", "MatMul", &["g2", "wproj"], "g3"),
        with(node("out", "Transpose", &["g3"], "y"), "perm", &[0, 2, 1]),
    ]);
    let [tokens, heads, each, width] = [TOKENS, HEADS, EACH, WIDTH].map(|n| n as i64);
    let index = |i: i64| proto::Tensor { dims: vec![], ..longs(&format!("i{i}"), &[i]) };
    let mut model = file(
        nodes,
        vec![
            longs("flat", &[0, width, -1]),
            longs("five", &[1, tokens, 3, heads, each]),
            longs("three", &[1, tokens, width]),
            tensor("wqkv", &[width, 3 * width], qkv),
            tensor("wproj", &[width, width], proj),
            tensor("scale", &[], &[0.7]),
            index(0),
            index(1),
            index(2),
        ],
    );
    model.graph.as_mut().unwrap().input = vec![value("x", &[1, width, 3, 2])];
    model
}

/// A class token before the patches, as exporters write it: known when the file is read, and when what is written of it is read
/// again.
#[test]
fn a_class_token_is_told_from_patches() {
    let (tokens, width) = (TOKENS as i64, WIDTH as i64);
    let class = [0.5, -2.0, 3.0, 0.0];
    let mut positions = vec![0.0; (TOKENS + 1) * WIDTH];
    positions[..WIDTH].copy_from_slice(&[1.0; WIDTH]);
    let mut model = file(
        vec![
            node("tokens", "Reshape", &["x", "flat"], "t0"),
            with(node("last", "Transpose", &["t0"], "t1"), "perm", &[0, 2, 1]),
            int(node("stream", "Concat", &["class", "t1"], "s0"), "axis", 1),
            node("placed", "Add", &["s0", "positions"], "s1"),
            node("relu", "Relu", &["s1"], "s2"),
            int(node("taken", "Gather", &["s2", "first"], "c0"), "axis", 1),
            node("head", "MatMul", &["c0", "w"], "y"),
        ],
        vec![
            longs("flat", &[0, width, -1]),
            tensor("class", &[1, 1, width], &class),
            tensor("positions", &[1, tokens + 1, width], &positions),
            proto::Tensor { dims: vec![], ..longs("first", &[0]) },
            tensor("w", &[width, 2], &[1.0; 2 * WIDTH]),
        ],
    );
    model.graph.as_mut().unwrap().input = vec![value("x", &[1, width, 3, 2])];
    let network = open(&model).unwrap();
    let bytes = export::export(&network).encode_to_vec();
    let again = from_bytes(bytes, "again", Path::new("."), None, &Device::default()).unwrap();
    let x: Vec<f32> = (0..WIDTH * TOKENS).map(|i| i as f32).collect();
    for network in [network, again] {
        assert_eq!(network.rows("relu").unwrap(), Rows::Places { after: 1 });
        assert_eq!(network.rows("tokens").unwrap(), Rows::default());
        let image = Tensor::<4>::from_data(TensorData::new(x.clone(), [1, WIDTH, 3, 2]), &Device::default());
        let maps = network.capture(image, &["relu"]).unwrap().remove(0);
        let read = |focus: Focus| numbers(focus.on(&network, "relu").unwrap().of(maps.clone()));
        assert_eq!(read(Focus::ClassToken), [1.5, 0.0, 4.0, 1.0]);
        assert_eq!(read(Focus::Mean), [2.5, 8.5, 14.5, 20.5]);
        assert_eq!(read(Focus::Place([0.0, 0.0])), [0.0, 6.0, 12.0, 18.0]);
        let none = Focus::ClassToken.on(&network, "tokens").unwrap_err().to_string();
        assert!(none.contains("no class token"), "{none}");
        assert!(Focus::ClassToken.on(&network, "head").is_ok());
    }
}

#[test]
fn attention_is_what_its_formula_says() {
    let rng = &mut seed::rng(3, &"attention");
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let (qkv, proj, x) = (draw(WIDTH * 3 * WIDTH), draw(WIDTH * WIDTH), draw(WIDTH * TOKENS));
    let network = open(&attention(&qkv, &proj)).unwrap();
    let image = Tensor::<4>::from_data(TensorData::new(x.clone(), [1, WIDTH, 3, 2]), &Device::default());
    let got = numbers(network.capture(image, &["proj"]).unwrap().remove(0));
    // token t's value of feature f of part p, and so on, by loops.
    let part = |p: usize, t: usize, f: usize| -> f32 {
        (0..WIDTH).map(|i| x[i * TOKENS + t] * qkv[i * 3 * WIDTH + p * WIDTH + f]).sum()
    };
    let mut want = vec![0f32; WIDTH * TOKENS];
    for t in 0..TOKENS {
        let mut gathered = [0f32; WIDTH];
        for h in 0..HEADS {
            let score = |other: usize| -> f32 {
                0.7 * (0..EACH).map(|e| part(0, t, h * EACH + e) * part(1, other, h * EACH + e)).sum::<f32>()
            };
            let weights: Vec<f32> = (0..TOKENS).map(|other| score(other).exp()).collect();
            let sum: f32 = weights.iter().sum();
            for e in 0..EACH {
                let of = |other: usize| weights[other] / sum * part(2, other, h * EACH + e);
                gathered[h * EACH + e] = (0..TOKENS).map(of).sum();
            }
        }
        for f in 0..WIDTH {
            want[f * TOKENS + t] = (0..WIDTH).map(|i| gathered[i] * proj[i * WIDTH + f]).sum();
        }
    }
    for (a, b) in got.iter().zip(&want) {
        assert!((a - b).abs() < 1e-5, "{got:?} instead of {want:?}");
    }
}

/// Windows of an image among the images, as hierarchical transformers have them, with what else comes with those: an equation, a
/// bias from constants, group norms, sums and values that are put in a larger shape.
fn windows() -> proto::Model {
    let mut equation = node("scores", "Einsum", &["w2", "w2"], "s0");
    equation.attribute.push(proto::Attribute {
        name: Some("equation".into()),
        s: Some(prost::bytes::Bytes::from_static(b"bic,bjc->bij")),
        kind: Some(proto::kind::STRING),
        ..Default::default()
    });
    let scalar = |name: &str, value: i64| proto::Tensor { dims: vec![], ..longs(name, &[value]) };
    let mut model = file(
        vec![
            node("split", "Reshape", &["x", "six"], "w0"),
            with(node("together", "Transpose", &["w0"], "w1"), "perm", &[0, 2, 4, 3, 5, 1]),
            node("windows", "Reshape", &["w1", "three"], "w2"),
            equation,
            node("places", "Range", &["zero", "four", "one"], "r0"),
            node("again", "Tile", &["r0", "two"], "r1"),
            int(node("as_fractions", "Cast", &["r1"], "r2"), "to", 1),
            node("bias", "Reshape", &["r2", "pairs"], "r3"),
            int(node("up_to", "CumSum", &["r3", "last"], "r4"), "exclusive", 0),
            node("biased", "Add", &["s0", "r4"], "s1"),
            int(node("shares", "Softmax", &["s1"], "s2"), "axis", -1),
            node("gathered", "MatMul", &["s2", "w2"], "g0"),
            node("apart", "Reshape", &["g0", "back"], "g1"),
            with(node("around", "Transpose", &["g1"], "g2"), "perm", &[0, 5, 1, 3, 2, 4]),
            node("image", "Reshape", &["g2", "map"], "g3"),
            node("grouped", "Reshape", &["g3", "groups"], "n0"),
            float(node("norm", "InstanceNormalization", &["n0", "ones", "ones"], "n1"), "epsilon", 1e-5),
            node("ungrouped", "Reshape", &["n1", "map"], "n2"),
            int(with(node("length", "ReduceL2", &["n2"], "l0"), "axes", &[1]), "keepdims", 1),
            node("wide", "Expand", &["l0", "map"], "l1"),
            node("y", "Div", &["n2", "l1"], "y"),
        ],
        vec![
            longs("six", &[1, 2, 2, 2, 2, 2]),
            longs("three", &[4, 4, 2]),
            longs("two", &[4]),
            longs("pairs", &[4, 4]),
            longs("back", &[1, 2, 2, 2, 2, 2]),
            longs("map", &[1, 2, 4, 4]),
            longs("groups", &[1, 2, -1]),
            tensor("ones", &[2], &[1.0; 2]),
            scalar("zero", 0),
            scalar("one", 1),
            scalar("four", 4),
            scalar("last", -1),
        ],
    );
    model.graph.as_mut().unwrap().input = vec![value("x", &[1, 2, 4, 4])];
    model
}

/// By loops over the places of each window.
#[test]
fn windows_among_the_images_are_understood() {
    let network = open(&windows()).unwrap();
    let rng = &mut seed::rng(5, &"windows");
    let x: Vec<f32> = (0..2 * 32).map(|_| rng.random_range(-1.0..1.0)).collect();
    let image = Tensor::<4>::from_data(TensorData::new(x.clone(), [2, 2, 4, 4]), &Device::default());
    let got = numbers(network.capture(image, &["y"]).unwrap().remove(0));
    let mut want = vec![0f32; 64];
    for n in 0..2 {
        let at = |c: usize, window: usize, i: usize| {
            let (row, column) = (window / 2 * 2 + i / 2, window % 2 * 2 + i % 2);
            n * 32 + c * 16 + row * 4 + column
        };
        for window in 0..4 {
            for i in 0..4 {
                // The bias of row i is 0, 1, 3, 6: the sums of 0, 1, 2, 3.
                let bias = [0.0, 1.0, 3.0, 6.0];
                let score = |j: usize| {
                    (0..2).map(|c| x[at(c, window, i)] * x[at(c, window, j)]).sum::<f32>() + bias[j]
                };
                let weights: Vec<f32> = (0..4).map(|j| score(j).exp()).collect();
                let sum: f32 = weights.iter().sum();
                for c in 0..2 {
                    want[at(c, window, i)] = (0..4).map(|j| weights[j] / sum * x[at(c, window, j)]).sum();
                }
            }
        }
        for c in 0..2 {
            let own = &mut want[n * 32 + c * 16..][..16];
            let mean = own.iter().sum::<f32>() / 16.0;
            let variance = own.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 16.0;
            own.iter_mut().for_each(|v| *v = (*v - mean) / (variance + 1e-5).sqrt() + 1.0);
        }
        for place in 0..16 {
            let [a, b] = [0, 1].map(|c| want[n * 32 + c * 16 + place]);
            let length = a.hypot(b);
            (0..2).for_each(|c| want[n * 32 + c * 16 + place] /= length);
        }
    }
    for (a, b) in got.iter().zip(&want) {
        assert!((a - b).abs() < 1e-4, "{got:?} instead of {want:?}");
    }
}

/// Two images of a file that is for two: an axis that is repeated or widened to two is not the images'.
#[test]
fn what_is_as_many_as_the_images_is_not_taken_for_them() {
    let of = |nodes: Vec<proto::Node>, numbers: Vec<proto::Tensor>| {
        let mut model = file(nodes, numbers);
        model.graph.as_mut().unwrap().input = vec![value("x", &[2, 1, 4, 4])];
        model
    };
    let tiled = of(vec![node("tile", "Tile", &["x", "times"], "y")], vec![longs("times", &[1, 2, 1, 1])]);
    refused(&tiled, &["Tile \"tile\""]);
    let wide = of(vec![node("widen", "Expand", &["x", "shape"], "y")], vec![longs("shape", &[2, 2, 4, 4])]);
    let x = Tensor::cat(vec![ramp(), ramp() * 3.0], 0);
    let got = numbers(open(&wide).unwrap().capture(x, &["widen"]).unwrap().remove(0));
    let want: Vec<f32> =
        [1.0, 1.0, 3.0, 3.0].iter().flat_map(|k| (0..16).map(move |v| k * v as f32)).collect();
    assert_eq!(got, want);
}

/// Half of the rows of an image, by splitting them: of another image it would be another part.
#[test]
fn a_piece_of_split_rows_is_for_images_of_one_size() {
    let half = file(
        vec![
            node("split", "Reshape", &["x", "five"], "a"),
            int(node("upper", "Gather", &["a", "zero"], "y"), "axis", 2),
        ],
        vec![longs("five", &[1, 1, 2, 2, 4]), proto::Tensor { dims: vec![], ..longs("zero", &[0]) }],
    );
    let network = open(&half).unwrap();
    let output = network.output().to_string();
    assert_eq!(
        numbers(network.capture(ramp(), &[output]).unwrap().remove(0)),
        [0., 1., 2., 3., 4., 5., 6., 7.]
    );
    let message = network.graph().shapes([1, 8, 8]).unwrap_err().to_string();
    assert!(message.contains("Gather \"upper\"") && message.contains("4x4"), "{message}");
}
