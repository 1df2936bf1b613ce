//! One layer: its Burn module, made from its description.

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear, PaddingConfig2d};
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData, activation, s};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::convolution;
use super::graph::Op;
#[cfg(feature = "flex")]
use super::max_pool::{Windows, max_pool};
use super::padding::Padding;
use super::shape::bounds;

/// The layers there are. Those without parameters are `Plain`.
#[derive(Module, Debug)]
pub(super) enum Layer {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Linear(Linear),
    ChannelNorm(ChannelNorm),
    Constant(Constant),
    Plain(Plain),
}

/// A layer without parameters, given by its description alone.
#[derive(Module, Debug)]
pub(super) struct Plain;

/// A scale and a shift of each channel, after normalization over the channels.
#[derive(Module, Debug)]
pub(super) struct ChannelNorm {
    pub weight: Param<Tensor<1>>,
    pub bias: Param<Tensor<1>>,
}

/// Values `[1, C, H, W]`.
#[derive(Module, Debug)]
pub(super) struct Constant {
    pub value: Param<Tensor<4>>,
}

/// He et al.'s normal initialization for a tensor whose units each read `fan_in` values.
fn he_normal(shape: &[usize], fan_in: usize, rng: &mut impl Rng) -> TensorData {
    let std = (2.0 / fan_in as f32).sqrt();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| -> f32 { StandardNormal.sample(rng) })
        .map(|x: f32| x * std)
        .collect();
    TensorData::new(values, shape.to_vec())
}

fn filled(value: f32, shape: &[usize]) -> TensorData {
    TensorData::new(vec![value; shape.iter().product()], shape.to_vec())
}

impl Layer {
    /// The layer that `op` describes, with weights drawn from `rng`.
    pub fn new(op: &Op, rng: &mut impl Rng, device: &Device) -> Self {
        let parameters = match *op {
            Op::Conv { channels: [input, output], kernel, groups, bias, .. } => {
                let shape = [output, input / groups.max(1), kernel[0], kernel[1]];
                let weight = he_normal(&shape, shape[1] * kernel[0] * kernel[1], rng);
                [weight].into_iter().chain(bias.then(|| filled(0.0, &[output]))).collect()
            }
            Op::BatchNorm { channels, .. } => [1.0, 0.0, 0.0, 1.0].map(|v| filled(v, &[channels])).into(),
            Op::LayerNorm { channels, .. } => [1.0, 0.0].map(|v| filled(v, &[channels])).into(),
            Op::Linear { features: [input, output], bias } => {
                let weight = he_normal(&[input, output], input, rng);
                [weight].into_iter().chain(bias.then(|| filled(0.0, &[output]))).collect()
            }
            Op::Constant { shape: [c, h, w] } => vec![filled(0.0, &[1, c, h, w])],
            _ => vec![],
        };
        Self::with(op, parameters, device)
    }

    /// The layer that `op` describes, with these parameters: weight `[out, in, kh, kw]` and bias of a convolution, scale,
    /// shift, mean and variance of a batch norm, scale and shift of a layer norm, weight `[in, out]` and bias of a linear
    /// layer, the values `[1, C, H, W]` of a constant.
    pub fn with(op: &Op, parameters: Vec<TensorData>, device: &Device) -> Self {
        let mut parameters = parameters.into_iter();
        let mut next = || parameters.next().expect("as many parameters as the layer has");
        match *op {
            Op::Conv { kernel, stride, padding, dilation, groups, bias, .. } => Self::Conv(Conv2d {
                weight: Param::from_data(next(), device),
                bias: bias.then(|| Param::from_data(next(), device)),
                stride,
                kernel_size: kernel,
                dilation,
                groups,
                padding: explicit(match padding {
                    // Another for every size of map.
                    Padding::Same(_) => [(0, 0); 2],
                    fixed => fixed.around([0, 0], kernel, stride, dilation),
                }),
            }),
            Op::BatchNorm { epsilon, .. } => Self::BatchNorm(BatchNorm {
                gamma: Param::from_data(next(), device),
                beta: Param::from_data(next(), device),
                training: Param::from_bool(true),
                running_mean: RunningState::new(Tensor::from_data(next(), device)),
                running_var: RunningState::new(Tensor::from_data(next(), device)),
                momentum: 0.1,
                epsilon,
            }),
            Op::LayerNorm { .. } => Self::ChannelNorm(ChannelNorm {
                weight: Param::from_data(next(), device),
                bias: Param::from_data(next(), device),
            }),
            Op::Linear { bias, .. } => Self::Linear(Linear {
                weight: Param::from_data(next(), device),
                bias: bias.then(|| Param::from_data(next(), device)),
            }),
            Op::Constant { .. } => Self::Constant(Constant { value: Param::from_data(next(), device) }),
            _ => Self::Plain(Plain),
        }
    }

    /// The values of its parameters, in the order of [`with`](Self::with), but a linear layer's weight as
    /// `[out, in]`, as files have it.
    pub fn parameters(&self) -> Vec<Vec<f32>> {
        fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
            tensor.into_data().try_to_vec().expect("weights are 32-bit floats")
        }
        match self {
            Self::Conv(conv) => {
                let bias = conv.bias.as_ref().map(|b| values(b.val()));
                [values(conv.weight.val())].into_iter().chain(bias).collect()
            }
            Self::BatchNorm(norm) => vec![
                values(norm.gamma.val()),
                values(norm.beta.val()),
                values(running(&norm.running_mean)),
                values(running(&norm.running_var)),
            ],
            Self::Linear(linear) => {
                let bias = linear.bias.as_ref().map(|b| values(b.val()));
                [values(linear.weight.val().transpose())].into_iter().chain(bias).collect()
            }
            Self::ChannelNorm(norm) => vec![values(norm.weight.val()), values(norm.bias.val())],
            Self::Constant(constant) => vec![values(constant.value.val())],
            Self::Plain(_) => vec![],
        }
    }

    /// Applies the layer that `op` describes to its inputs, each `[N, C, H, W]`.
    pub fn forward(&self, op: &Op, mut inputs: Vec<Tensor<4>>) -> Tensor<4> {
        match self {
            Self::Plain(_) => {}
            Self::Conv(conv) => return convolve(conv, op, one(inputs), None),
            Self::BatchNorm(norm) => return norm.forward(one(inputs)),
            Self::ChannelNorm(norm) => {
                let Op::LayerNorm { channels, epsilon } = *op else {
                    unreachable!("{op:?} is no layer norm")
                };
                let x = one(inputs);
                let centred = x.clone() - x.mean_dim(1);
                let variance = centred.clone().powi_scalar(2).mean_dim(1);
                let [scale, shift] = [&norm.weight, &norm.bias].map(|p| p.val().reshape([1, channels, 1, 1]));
                return centred / (variance + epsilon).sqrt() * scale + shift;
            }
            Self::Linear(linear) => {
                let y = linear.forward(one(inputs).flatten::<2>(1, 3));
                let [n, c] = y.dims();
                return y.reshape([n, c, 1, 1]);
            }
            Self::Constant(constant) => return constant.value.val(),
        }
        match *op {
            Op::Relu => super::rectify::relu(one(inputs), 0.0),
            Op::LeakyRelu { slope } => activation::leaky_relu(one(inputs), slope),
            Op::Clip { min, max } => {
                let x = one(inputs);
                let x = if let Some(min) = min { x.clamp_min(min) } else { x };
                if let Some(max) = max { x.clamp_max(max) } else { x }
            }
            Op::Sigmoid => activation::sigmoid(one(inputs)),
            Op::HardSigmoid { slope, offset } => (one(inputs) * slope + offset).clamp(0.0, 1.0),
            Op::HardSwish => {
                let x = one(inputs);
                x.clone() * (x / 6.0 + 0.5).clamp(0.0, 1.0)
            }
            Op::Tanh => one(inputs).tanh(),
            Op::Elu { alpha } => activation::elu(one(inputs), alpha),
            Op::Gelu { approximate: false } => activation::gelu(one(inputs)),
            Op::Gelu { approximate: true } => activation::gelu_approximate(one(inputs)),
            Op::Erf => one(inputs).erf(),
            Op::MaxPool { .. } => max_pooling(op, one(inputs), false),
            Op::AvgPool { kernel, stride, padding, ceil, count_padding } => {
                let x = one(inputs);
                let around = padding.around(size(&x), kernel, stride, [1, 1]);
                let options = AvgPoolOptions::new(kernel)
                    .with_stride(stride)
                    .with_padding_pairs(around)
                    .with_count_include_pad(count_padding)
                    .with_ceil_mode(ceil);
                avg_pool2d(x, options)
            }
            Op::GlobalAvgPool => one(inputs).mean_dims(&[2, 3]),
            Op::GlobalMaxPool => {
                let x = one(inputs);
                let [n, c, h, w] = x.dims();
                x.reshape([n, c, h * w]).max_dim(2).reshape([n, c, 1, 1])
            }
            Op::Mean { channels, rows, columns } => {
                let dims = [(channels, 1), (rows, 2), (columns, 3)];
                dims.iter().filter(|(averaged, _)| *averaged).fold(one(inputs), |x, (_, d)| x.mean_dim(*d))
            }
            Op::Lrn { size, alpha, beta, bias } => {
                let x = one(inputs);
                let channels = x.dims()[1];
                let squares = x.clone().powi_scalar(2);
                let sum = if size >= 2 * channels - 1 {
                    // All are every channel's neighbours, however many more there could be.
                    squares.sum_dim(1)
                } else {
                    // Each channel's neighbours are slices of the squares with empty channels on both sides.
                    let before = (size - 1) / 2;
                    let padded =
                        squares.pad([(before, size - 1 - before), (0, 0), (0, 0)], PadMode::Constant(0.0));
                    (1..size).fold(padded.clone().narrow(1, 0, channels), |sum, i| {
                        sum + padded.clone().narrow(1, i, channels)
                    })
                };
                x / (sum * (alpha / size as f64) + bias).powf_scalar(beta)
            }
            Op::Softmax => activation::softmax(one(inputs), 1),
            Op::Concat => Tensor::cat(inputs, 1),
            Op::Add => {
                let first = inputs.remove(0);
                inputs.into_iter().fold(first, |sum, x| sum + x)
            }
            Op::Mul => {
                let first = inputs.remove(0);
                inputs.into_iter().fold(first, |product, x| product * x)
            }
            Op::Sub => {
                let first = inputs.remove(0);
                first - one(inputs)
            }
            Op::Div => {
                let first = inputs.remove(0);
                first / one(inputs)
            }
            Op::Flatten { features } => {
                let x = one(inputs);
                let n = x.dims()[0];
                x.reshape([n, features, 1, 1])
            }
            Op::Reshape { shape: [c, h, w] } => {
                let x = one(inputs);
                let n = x.dims()[0];
                x.reshape([n, c, h, w])
            }
            Op::ShuffleChannels { groups } => {
                let x = one(inputs);
                let [n, c, h, w] = x.dims();
                x.reshape([n, groups, c / groups, h * w]).swap_dims(1, 2).reshape([n, c, h, w])
            }
            Op::Subsample { stride } => {
                let x = one(inputs);
                let [rows, columns] = size(&x).map(|n| stride.min(n) as isize);
                x.slice(s![.., .., ..;rows, ..;columns])
            }
            Op::Slice { start, end, step } => {
                let x = one(inputs);
                let [_, c, h, w] = x.dims();
                let range = |d: usize, n: usize| {
                    let (from, to) = bounds(n, start[d], end[d]);
                    burn::tensor::Slice::new(from as isize, Some(to as isize), step[d].min(n) as isize)
                };
                x.slice([burn::tensor::Slice::full(), range(0, c), range(1, h), range(2, w)])
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
            Op::Pad { before, after, value } => {
                let sides: [(usize, usize); 3] = std::array::from_fn(|d| (before[d], after[d]));
                one(inputs).pad(sides, PadMode::Constant(value))
            }
            Op::Resize(ref resize) => resize.apply(one(inputs)),
            _ => unreachable!("{op:?} is not a plain layer"),
        }
    }
}

/// Applies one or two convolutions to the same input and joins what comes out, and then max(x, 0) if it is to be rectified,
/// in one pass over memory. Two must have margins that are the same for maps of any size.
pub(super) fn convolutions(layers: &[(&Layer, &Op)], x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    match *layers {
        [(Layer::Conv(conv), op)] => convolve(conv, op, x, rectify),
        [(Layer::Conv(first), _), (Layer::Conv(second), _)] => {
            convolution::convolve_pair([first, second], x, rectify)
        }
        _ => unreachable!("one or two convolutions"),
    }
}

/// Applies a maximum pooling of max(x, 0) if what it reads is to be rectified.
pub(super) fn max_pooling(op: &Op, x: Tensor<4>, rectify: bool) -> Tensor<4> {
    let Op::MaxPool { kernel, stride, padding, dilation, ceil } = *op else {
        unreachable!("{op:?} is no maximum pooling")
    };
    let around = padding.around(size(&x), kernel, stride, dilation);
    #[cfg(feature = "flex")]
    if dilation == [1, 1]
        && crate::flex::holds(&x)
        && let Ok(count) = super::shape::windows(size(&x), kernel, stride, padding, dilation, ceil)
    {
        let before = around.map(|(before, _)| before);
        return max_pool(x, Windows { kernel, stride, before, count, rectify });
    }
    let options = MaxPoolOptions::new(kernel)
        .with_stride(stride)
        .with_padding_pairs(around)
        .with_dilation(dilation)
        .with_ceil_mode(ceil);
    max_pool2d(if rectify { activation::relu(x) } else { x }, options)
}

fn convolve(conv: &Conv2d, op: &Op, x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    let Op::Conv { kernel, stride, padding: padding @ Padding::Same(_), dilation, .. } = *op else {
        return convolution::convolve(conv, x, rectify);
    };
    let padding = explicit(padding.around(size(&x), kernel, stride, dilation));
    convolution::convolve(&Conv2d { padding, ..conv.clone() }, x, rectify)
}

fn one(mut inputs: Vec<Tensor<4>>) -> Tensor<4> {
    inputs.pop().expect("a checked graph gives this layer an input")
}

fn size(x: &Tensor<4>) -> [usize; 2] {
    let [_, _, h, w] = x.dims();
    [h, w]
}

fn explicit([(top, bottom), (left, right)]: [(usize, usize); 2]) -> PaddingConfig2d {
    PaddingConfig2d::Explicit(top, left, bottom, right)
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
