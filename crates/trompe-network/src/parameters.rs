//! A layer's parameters, as modules of Burn.

use std::collections::BTreeSet;

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// The kinds of parameters that layers have.
#[derive(Module, Debug)]
pub enum Parameters {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Linear(Linear),
    ChannelNorm(ChannelNorm),
    Values(Values),
    Nothing(Nothing),
}

/// No parameters.
#[derive(Module, Debug)]
pub struct Nothing;

/// A scale and a shift of each channel.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    pub weight: Param<Tensor<1>>,
    pub bias: Param<Tensor<1>>,
}

/// Values `[1, C, H, W]`.
#[derive(Module, Debug)]
pub struct Values {
    pub value: Param<Tensor<4>>,
}

/// Makes a function that gives one kind of parameters.
macro_rules! kind {
    ($name:ident, $kind:ident, $module:ty) => {
        /// Those of a layer that has this kind.
        pub fn $name(&self) -> &$module {
            match self {
                Self::$kind(module) => module,
                other => unreachable!("parameters of another kind: {other:?}"),
            }
        }
    };
}

impl Parameters {
    /// None.
    pub fn none() -> Self {
        Self::Nothing(Nothing)
    }

    /// One value for each channel, as `[1, C, 1, 1]`.
    pub fn of_channels(values: TensorData, device: &Device) -> Self {
        let values = Tensor::<1>::from_data(values, device);
        let channels = values.dims()[0];
        Self::Values(Values { value: Param::from_tensor(values.reshape([1, channels, 1, 1])) })
    }

    kind!(conv, Conv, Conv2d);
    kind!(batch_norm, BatchNorm, BatchNorm);
    kind!(linear, Linear, Linear);
    kind!(channel_norm, ChannelNorm, ChannelNorm);
    kind!(values, Values, Values);

    /// The values, in the order and the shapes that files have.
    pub fn stored(&self) -> Vec<Vec<f32>> {
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
                values(norm.running_mean.value_sync()),
                values(norm.running_var.value_sync()),
            ],
            Self::Linear(linear) => {
                let bias = linear.bias.as_ref().map(|b| values(b.val()));
                [values(linear.weight.val().transpose())].into_iter().chain(bias).collect()
            }
            Self::ChannelNorm(norm) => vec![values(norm.weight.val()), values(norm.bias.val())],
            Self::Values(constant) => vec![values(constant.value.val())],
            Self::Nothing(_) => vec![],
        }
    }

    /// Those of some of the layer's channels.
    pub fn picked(&self, channels: &BTreeSet<usize>) -> Self {
        let picked: Vec<i32> = channels.iter().map(|&c| c as i32).collect();
        match self {
            Self::Conv(conv) => Self::Conv(Conv2d {
                weight: Param::from_tensor(pick(conv.weight.val(), 0, &picked)),
                bias: conv.bias.as_ref().map(|bias| Param::from_tensor(pick(bias.val(), 0, &picked))),
                ..conv.clone()
            }),
            Self::Linear(linear) => Self::Linear(Linear {
                weight: Param::from_tensor(pick(linear.weight.val(), 1, &picked)),
                bias: linear.bias.as_ref().map(|bias| Param::from_tensor(pick(bias.val(), 0, &picked))),
            }),
            Self::BatchNorm(norm) => {
                let [mean, var] = [&norm.running_mean, &norm.running_var]
                    .map(|state| RunningState::new(pick(state.value_sync(), 0, &picked)));
                let [gamma, beta] = [&norm.gamma, &norm.beta]
                    .map(|parameter| Param::from_tensor(pick(parameter.val(), 0, &picked)));
                Self::BatchNorm(BatchNorm {
                    gamma,
                    beta,
                    running_mean: mean,
                    running_var: var,
                    ..norm.clone()
                })
            }
            Self::ChannelNorm(norm) => {
                let [weight, bias] =
                    [&norm.weight, &norm.bias].map(|p| Param::from_tensor(pick(p.val(), 0, &picked)));
                Self::ChannelNorm(ChannelNorm { weight, bias })
            }
            Self::Values(constant) => {
                Self::Values(Values { value: Param::from_tensor(pick(constant.value.val(), 1, &picked)) })
            }
            Self::Nothing(_) => Self::none(),
        }
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::none()
    }
}

fn pick<const D: usize>(values: Tensor<D>, dim: usize, picked: &[i32]) -> Tensor<D> {
    let picked = Tensor::<1, Int>::from_ints(picked, &values.device());
    values.select(dim, picked)
}

/// He et al.'s normal initialization for a tensor whose units each read `fan_in` values.
pub fn he_normal(shape: &[usize], fan_in: usize, rng: &mut impl Rng) -> TensorData {
    let std = (2.0 / fan_in as f32).sqrt();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| -> f32 { StandardNormal.sample(rng) })
        .map(|x: f32| x * std)
        .collect();
    TensorData::new(values, shape.to_vec())
}

/// A tensor of one value.
pub fn filled(value: f32, shape: &[usize]) -> TensorData {
    TensorData::new(vec![value; shape.iter().product()], shape.to_vec())
}
