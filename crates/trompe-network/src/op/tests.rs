//! What must hold of every operator.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use trompe_base::seed;

use super::*;
use crate::{Graph, INPUT, Network, Same, onnx};

/// Operators of every kind, with the shapes `[C, H, W]` of inputs that they take.
fn examples() -> Vec<(Op, Vec<[usize; 3]>)> {
    let map = [6, 5, 7];
    let conv = |groups: usize, padding: Padding, dilation: usize| {
        let Op::Conv(conv) = Op::conv(6, 4, 3, 1, 1) else { unreachable!() };
        Conv { padding, dilation: [dilation, 1], groups, stride: [2, 1], ..conv }
    };
    let transposed = |groups, stride, cut, more, dilation| ConvTranspose {
        channels: [6, 4],
        kernel: [3, 2],
        stride,
        cut,
        more,
        dilation,
        groups,
        bias: true,
    };
    let resize = |target, interpolation, coordinates| Resize { target, interpolation, coordinates };
    vec![
        (Input { channels: 3 }.into(), vec![]),
        (conv(1, Padding::Symmetric([1, 0]), 1).into(), vec![map]),
        (conv(2, Padding::Sides([1, 0, 2, 1]), 2).into(), vec![map]),
        (conv(1, Padding::Same(Same::SameUpper), 1).into(), vec![map]),
        (Op::conv(6, 4, 1, 1, 0).without_bias(), vec![map]),
        (transposed(1, [2, 1], [1, 0, 1, 0], [1, 0], [1, 1]).into(), vec![map]),
        (transposed(2, [3, 2], [0, 1, 2, 0], [0, 1], [1, 2]).into(), vec![map]),
        (transposed(2, [1, 2], [0, 0, 0, 0], [0, 1], [1, 1]).into(), vec![map]),
        (BatchNorm::new(6).into(), vec![map]),
        (Relu.into(), vec![map]),
        (LeakyRelu { slope: 0.1 }.into(), vec![map]),
        (PRelu { channels: 6 }.into(), vec![map]),
        (Abs.into(), vec![map]),
        (Neg.into(), vec![map]),
        (Exp.into(), vec![map]),
        (Log.into(), vec![map]),
        (Mish.into(), vec![map]),
        (Clip { min: Some(-0.5), max: None }.into(), vec![map]),
        (Clip { min: None, max: Some(0.5) }.into(), vec![map]),
        (Quantize { scale: 0.02, zero: 7, signed: true }.into(), vec![map]),
        (Quantize { scale: 0.01, zero: 120, signed: false }.into(), vec![map]),
        (Sigmoid.into(), vec![map]),
        (HardSigmoid { slope: 0.2, offset: 0.5 }.into(), vec![map]),
        (HardSwish.into(), vec![map]),
        (Tanh.into(), vec![map]),
        (Softplus.into(), vec![map]),
        (Elu { alpha: 0.5 }.into(), vec![map]),
        (Gelu { approximate: false }.into(), vec![map]),
        (Gelu { approximate: true }.into(), vec![map]),
        (Erf.into(), vec![map]),
        (Power { exponent: 3.0 }.into(), vec![map]),
        (Power { exponent: -1.0 }.into(), vec![map]),
        (Op::max_pool(3, 2, 1, true), vec![map]),
        (
            AvgPool {
                kernel: [2, 3],
                stride: [2, 1],
                padding: Padding::Symmetric([0, 1]),
                ceil: false,
                count_padding: false,
            }
            .into(),
            vec![map],
        ),
        (GlobalAvgPool.into(), vec![map]),
        (GlobalMaxPool.into(), vec![map]),
        (Mean { channels: true, rows: false, columns: false }.into(), vec![map]),
        (Mean { channels: false, rows: false, columns: true }.into(), vec![map]),
        (Sum { over: vec![Along::Channels, Along::Columns] }.into(), vec![map]),
        (Sum { over: vec![Along::Rows] }.into(), vec![map]),
        (Max { over: vec![Along::Columns] }.into(), vec![map]),
        (Lrn { size: 3, alpha: 0.5, beta: 0.75, bias: 1.0 }.into(), vec![map]),
        (LayerNorm { channels: 6, epsilon: 1e-5 }.into(), vec![map]),
        (RmsNorm { channels: 6, epsilon: 1e-5 }.into(), vec![map]),
        (GroupNorm { channels: 6, groups: 2, epsilon: 1e-5 }.into(), vec![map]),
        (GroupNorm { channels: 6, groups: 6, epsilon: 1e-5 }.into(), vec![map]),
        (Linear { features: [210, 4], bias: true }.into(), vec![map]),
        (MatMul::default().into(), vec![[4, 3, 5], [4, 5, 2]]),
        (MatMul { scale: 0.25 }.into(), vec![[4, 3, 5], [4, 5, 2]]),
        (Softmax { over: Along::Channels }.into(), vec![map]),
        (Softmax { over: Along::Columns }.into(), vec![map]),
        (Concat { along: Along::Channels }.into(), vec![map, [2, 5, 7], [1, 5, 7]]),
        (Concat { along: Along::Rows }.into(), vec![map, [6, 2, 7]]),
        (Add.into(), vec![map, [6, 1, 1], [1, 5, 7]]),
        (Mul.into(), vec![map, map]),
        (Sub.into(), vec![map, [6, 1, 7]]),
        (Div.into(), vec![map, map]),
        (Maximum.into(), vec![map, [6, 1, 1], [1, 5, 7]]),
        (Minimum.into(), vec![map, map]),
        (Constant { shape: [4, 2, 3] }.into(), vec![]),
        (Flatten { features: 210 }.into(), vec![map]),
        (Reshape { shape: [3, 10, 7] }.into(), vec![map]),
        (Reshape { shape: [6, 35, 1] }.into(), vec![map]),
        (Reshape { shape: [30, 1, 7] }.into(), vec![map]),
        (
            Rearrange { from: [vec![2, 3], vec![5], vec![7]], to: [vec![1, 3], vec![0], vec![2]] }.into(),
            vec![map],
        ),
        (Rearrange { from: [vec![6], vec![5], vec![7]], to: [vec![0], vec![2], vec![1]] }.into(), vec![map]),
        (
            Rearrange { from: [vec![3, 2], vec![5], vec![7]], to: [vec![1], vec![0, 2], vec![3]] }.into(),
            vec![map],
        ),
        (ShuffleChannels { groups: 2 }.into(), vec![map]),
        (Subsample { stride: 2 }.into(), vec![map]),
        (Slice { start: [-5, 1, 0], end: [i64::MAX, -1, 5], step: [2, 1, 2] }.into(), vec![map]),
        (PadChannels { before: 2, after: 1 }.into(), vec![map]),
        (Pad { before: [1, 0, 2], after: [2, 1, 0], value: 0.5 }.into(), vec![map]),
        (resize(Target::Size([3, 9]), Interpolation::Linear, Coordinates::HalfPixel).into(), vec![map]),
        (
            resize(
                Target::Scale([2.0, 2.0]),
                Interpolation::Nearest(Rounding::Floor),
                Coordinates::Asymmetric,
            )
            .into(),
            vec![map],
        ),
    ]
}

/// Values between -2 and 2, none of them near 0, nor below it where the operator takes none.
fn random(op: &Op, shape: [usize; 3], seed: u64) -> Tensor<4> {
    let mut rng = seed::rng(seed, &"values");
    let [c, h, w] = shape;
    let draw = |_| {
        let size: f32 = rng.random_range(0.2..2.0);
        if rng.random_range(0..2) == 0 || matches!(op, Op::Log(_)) { size } else { -size }
    };
    let values: Vec<f32> = (0..2 * c * h * w).map(draw).collect();
    Tensor::from_data(TensorData::new(values, [2, c, h, w]), &Device::default())
}

/// The operator's parameters, none of them 0 or alike.
fn parameters(op: &Op) -> Parameters {
    let mut rng = seed::rng(7, &"parameters");
    let mut values = op.draw(&mut rng);
    for values in &mut values {
        let shape = values.shape();
        let drawn: Vec<f32> = (0..shape.num_elements()).map(|_| rng.random_range(0.3..1.0)).collect();
        *values = TensorData::new(drawn, shape);
    }
    op.with(values, &Device::default())
}

fn inputs(op: &Op, shapes: &[[usize; 3]]) -> Vec<Tensor<4>> {
    (0..).zip(shapes).map(|(i, &shape)| random(op, shape, i)).collect()
}

fn differ(a: Tensor<4>, b: Tensor<4>) -> bool {
    (a - b).abs().max().into_scalar::<f32>() > 1e-6
}

fn channel(x: &Tensor<4>, c: usize) -> Tensor<4> {
    x.clone().narrow(1, c, 1)
}

/// Those that compute something.
fn computing() -> impl Iterator<Item = (Op, Vec<[usize; 3]>)> {
    examples().into_iter().filter(|(op, _)| !matches!(op, Op::Input(_)))
}

#[test]
fn there_is_an_example_of_every_operator() {
    let shown: BTreeSet<String> =
        examples().iter().map(|(op, _)| format!("{op:?}").split('(').next().unwrap().to_string()).collect();
    assert_eq!(shown, Op::NAMES.iter().map(|name| name.to_string()).collect());
}

#[test]
fn the_shape_that_is_said_is_the_one_that_is_made() {
    for (op, shapes) in computing() {
        let made = op.forward(&parameters(&op), inputs(&op, &shapes)).dims();
        let said = op.shape(&shapes).unwrap();
        assert_eq!(made[1..], said, "{op:?}");
        let fixed = op.has_fixed_size();
        // Larger inputs give larger outputs, unless that is said; some operators take one size only.
        let larger: Vec<[usize; 3]> = shapes.iter().map(|[c, h, w]| [*c, h + 6, w + 6]).collect();
        if let Ok(again) = op.shape(&larger) {
            assert_eq!(fixed, again[1..] == said[1..], "{op:?}");
        } else {
            assert!(fixed || shapes.len() > 1, "{op:?}");
        }
    }
}

#[test]
fn parameters_are_as_many_and_as_large_as_is_said() {
    for (op, _) in computing() {
        let said: Vec<usize> = op.parameters().iter().map(|p| p.shape.iter().product()).collect();
        let stored: Vec<usize> = parameters(&op).stored().iter().map(Vec::len).collect();
        assert_eq!(said, stored, "{op:?}");
    }
}

/// By changing one channel of one input at a time.
#[test]
fn what_is_said_to_be_read_is_what_changes_the_output() {
    for (op, shapes) in computing() {
        let counts: Vec<usize> = shapes.iter().map(|shape| shape[0]).collect();
        let parameters = parameters(&op);
        let before = op.forward(&parameters, inputs(&op, &shapes));
        for (input, shape) in shapes.iter().enumerate() {
            for changed in 0..shape[0] {
                let mut others = inputs(&op, &shapes);
                let parts: Vec<Tensor<4>> = (0..shape[0])
                    .map(|c| {
                        let own = channel(&others[input], c);
                        if c == changed { channel(&random(&op, *shape, 99), c) * 1.3 } else { own }
                    })
                    .collect();
                others[input] = Tensor::cat(parts, 1);
                let after = op.forward(&parameters, others);
                for own in 0..before.dims()[1] {
                    let said = match op.reads(own, &counts) {
                        Reads::All => true,
                        Reads::Channels(read) => read.contains(&(input, changed)),
                    };
                    let seen = differ(channel(&before, own), channel(&after, own));
                    assert_eq!(seen, said, "{op:?}: channel {changed} of input {input} and {own}");
                }
            }
        }
    }
}

#[test]
fn a_narrowed_operator_gives_what_the_whole_one_does() {
    for (op, shapes) in computing() {
        let counts: Vec<usize> = shapes.iter().map(|shape| shape[0]).collect();
        let whole_parameters = parameters(&op);
        let whole = op.forward(&whole_parameters, inputs(&op, &shapes));
        let n = whole.dims()[1];
        for kept in [vec![0], vec![n - 1], vec![n / 2], (0..n).step_by(2).collect(), (0..n).collect()] {
            let Some(narrowed) = op.narrowed(&kept, &counts) else { continue };
            let mut read: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); counts.len()];
            for &own in &kept {
                match op.reads(own, &counts) {
                    Reads::All => (0..counts.len()).for_each(|i| read[i].extend(0..counts[i])),
                    Reads::Channels(channels) => {
                        channels.into_iter().for_each(|(i, c)| read[i].extend([c]));
                    }
                }
            }
            // Inputs that nothing is read of are left out.
            let parts: Vec<Tensor<4>> = inputs(&op, &shapes)
                .iter()
                .zip(&read)
                .filter(|(_, read)| !read.is_empty())
                .map(|(x, read)| Tensor::cat(read.iter().map(|&c| channel(x, c)).collect(), 1))
                .collect();
            let picked = whole_parameters.picked(&kept.iter().copied().collect());
            let part = narrowed.forward(&picked, parts);
            let want = Tensor::cat(kept.iter().map(|&c| channel(&whole, c)).collect(), 1);
            assert_eq!(part.dims(), want.dims(), "{op:?} {kept:?}");
            // Matrix products of other sizes add up in another order.
            let scale = want.clone().abs().max().into_scalar::<f32>().max(1.0);
            let difference = (part - want).abs().max().into_scalar::<f32>();
            assert!(difference <= 1e-6 * scale, "{op:?} {kept:?}");
        }
    }
}

/// A network of the operator alone, written and read again, computes the same.
#[test]
fn every_operator_survives_a_file() {
    for (op, shapes) in computing() {
        let mut graph = Graph::new("one", 6);
        // What it reads are parts of the image.
        let mut read = vec![];
        for (i, &[c, h, w]) in shapes.iter().enumerate() {
            let cut = Slice { start: [0; 3], end: [c, h, w].map(|n| n as i64), step: [1; 3] };
            read.push(graph.push(format!("in{i}"), cut, &[INPUT]));
        }
        graph.push("own", op.clone(), &read.iter().map(String::as_str).collect::<Vec<_>>());
        // A constant alone would not be computed from the image.
        if shapes.is_empty() {
            graph.push("part", Slice { start: [0; 3], end: [4, 2, 3], step: [1; 3] }, &[INPUT]);
            graph.push("with", Add, &["part", "own"]);
        }
        graph.size = Some([5, 7]);
        let mut network = Network::new(graph, &mut seed::rng(1, &"weights"), &Device::default()).unwrap();
        let position = network.graph.position("own").unwrap();
        network.graph.nodes[position].parameters = parameters(&op);
        // For inference: batch norms keep their statistics.
        let network = burn::module::Module::valid(&network);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.onnx");
        onnx::write(&network, &path).unwrap();
        let again = onnx::read(&path, None, &Device::default()).unwrap();
        let x = random(&op, [6, 5, 7], 3);
        let [a, b] = [&network, &again].map(|network| network.logits(x.clone()));
        assert_eq!(a.dims(), b.dims(), "{op:?}");
        assert!((a - b).abs().max().into_scalar::<f32>() < 1e-5, "{op:?}");
    }
}
