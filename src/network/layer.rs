//! One layer: its Burn module, made from its description.

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData, activation, s};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::graph::Op;

/// The layers there are. Those without parameters are `Plain`.
#[derive(Module, Debug)]
pub(super) enum Layer {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Linear(Linear),
    MaxPool(MaxPool2d),
    Plain(Plain),
}

/// A layer without parameters, given by its description alone.
#[derive(Module, Debug)]
pub(super) struct Plain {
    #[module(skip)]
    op: Op,
}

/// He et al.'s normal initialization for a tensor whose units each read `fan_in` values.
fn he_normal<const D: usize>(
    shape: [usize; D],
    fan_in: usize,
    rng: &mut impl Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    let std = (2.0 / fan_in as f32).sqrt();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| -> f32 { StandardNormal.sample(rng) })
        .map(|x: f32| x * std)
        .collect();
    Param::from_data(TensorData::new(values, shape), device)
}

fn zeros(n: usize, device: &Device) -> Param<Tensor<1>> {
    Param::from_data(TensorData::new(vec![0f32; n], [n]), device)
}

impl Layer {
    /// The layer that `op` describes, with weights drawn from `rng`.
    pub fn new(op: &Op, rng: &mut impl Rng, device: &Device) -> Self {
        match *op {
            Op::Conv { channels: [input, output], kernel, stride, padding: [py, px], groups, bias } => {
                let shape = [output, input / groups, kernel[0], kernel[1]];
                let fan_in = shape[1] * kernel[0] * kernel[1];
                Self::Conv(Conv2d {
                    weight: he_normal(shape, fan_in, rng, device),
                    bias: bias.then(|| zeros(output, device)),
                    stride,
                    kernel_size: kernel,
                    dilation: [1, 1],
                    groups,
                    padding: PaddingConfig2d::Explicit(py, px, py, px),
                })
            }
            Op::BatchNorm { channels } => {
                Self::BatchNorm(BatchNormConfig::new(channels).init(device).materialize())
            }
            Op::Linear { features: [input, output], bias } => {
                let mut linear = LinearConfig::new(input, output).with_bias(bias).init(device);
                linear.weight = he_normal([input, output], input, rng, device);
                linear.bias = bias.then(|| zeros(output, device));
                Self::Linear(linear)
            }
            Op::MaxPool { kernel, stride, padding, ceil } => Self::MaxPool(
                MaxPool2dConfig::new([kernel; 2])
                    .with_strides([stride; 2])
                    .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                    .with_ceil_mode(ceil)
                    .init(),
            ),
            _ => Self::Plain(Plain { op: op.clone() }),
        }
    }

    /// Applies the layer to its inputs, each `[N, C, H, W]`.
    pub fn forward(&self, mut inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let op = match self {
            Self::Plain(plain) => &plain.op,
            Self::Conv(conv) => return conv.forward(one(inputs)),
            Self::BatchNorm(norm) => return norm.forward(one(inputs)),
            Self::MaxPool(pool) => return pool.forward(one(inputs)),
            Self::Linear(linear) => {
                let y = linear.forward(one(inputs).flatten::<2>(1, 3));
                let [n, c] = y.dims();
                return y.reshape([n, c, 1, 1]);
            }
        };
        match *op {
            Op::Relu => activation::relu(one(inputs)),
            Op::GlobalAvgPool => one(inputs).mean_dims(&[2, 3]),
            Op::GlobalMaxPool => {
                let x = one(inputs);
                let [n, c, h, w] = x.dims();
                x.reshape([n, c, h * w]).max_dim(2).reshape([n, c, 1, 1])
            }
            Op::Concat => Tensor::cat(inputs, 1),
            Op::Add => {
                let first = inputs.remove(0);
                inputs.into_iter().fold(first, |sum, x| sum + x)
            }
            Op::Subsample { stride } => {
                let step = stride as isize;
                one(inputs).slice(s![.., .., ..;step, ..;step])
            }
            Op::PadChannels { before, after } => {
                let x = one(inputs);
                let [n, _, h, w] = x.dims();
                let zeros = |c| Tensor::zeros([n, c, h, w], &x.device());
                let mut parts = vec![x.clone()];
                if before > 0 {
                    parts.insert(0, zeros(before));
                }
                if after > 0 {
                    parts.push(zeros(after));
                }
                Tensor::cat(parts, 1)
            }
            _ => unreachable!("{op:?} is not a plain layer"),
        }
    }
}

fn one(mut inputs: Vec<Tensor<4>>) -> Tensor<4> {
    inputs.pop().expect("a checked graph gives this layer an input")
}

/// The convolution that computes what `conv` and then `norm` (at inference) compute.
pub(super) fn fold(conv: &Conv2d, norm: &BatchNorm) -> Conv2d {
    let scale = norm.gamma.val() / (running(&norm.running_var) + norm.epsilon).sqrt();
    let shift = norm.beta.val() - running(&norm.running_mean) * scale.clone();
    let [c] = scale.dims();
    let weight = conv.weight.val() * scale.clone().reshape([c, 1, 1, 1]);
    let bias = match &conv.bias {
        Some(bias) => shift + bias.val() * scale,
        None => shift,
    };
    Conv2d { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)), ..conv.clone() }
}

fn running(state: &RunningState<Tensor<1>>) -> Tensor<1> {
    state.value_sync()
}
