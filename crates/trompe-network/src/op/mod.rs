//! What layers compute: an operator is one file, which says all there is to say of it.
//!
//! A new operator is a file with a struct that implements [`Operator`] (or [`Channelwise`], if it keeps channels apart, or
//! [`Elementwise`], if it is a function of each value alone), its `mod` line here, and its name in the list of [`Op`];
//! `docs/adding-an-operator.md` has an example. The list is closed and can be written to files.

mod abs;
mod add;
mod along;
mod avg_pool;
mod batch_norm;
mod channelwise;
mod clip;
mod concat;
mod constant;
mod conv;
mod conv_transpose;
mod div;
mod elementwise;
mod elu;
mod erf;
mod exp;
mod filters;
mod flatten;
mod gelu;
mod global_avg_pool;
mod global_max_pool;
mod group_norm;
mod hard_sigmoid;
mod hard_swish;
mod input;
mod join;
mod layer_norm;
mod leaky_relu;
mod linear;
mod log;
mod lrn;
mod mat_mul;
mod max;
mod max_pool;
mod maximum;
mod mean;
mod minimum;
mod mish;
mod mul;
mod neg;
mod norm;
mod pad;
mod pad_channels;
mod power;
mod prelu;
mod quantize;
mod rearrange;
mod reduce;
mod relu;
mod reshape;
mod resize;
mod rms_norm;
mod shuffle_channels;
mod sigmoid;
mod slice;
mod softmax;
mod softplus;
mod sub;
mod subsample;
mod sum;
mod tanh;
#[cfg(test)]
mod tests;
mod window;

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Node;
use super::onnx::{Reader, Writer};
use super::padding::Padding;
use super::parameters::Parameters;
use super::rows::Rows;
pub use along::Along;
pub use channelwise::Channelwise;
pub use elementwise::Elementwise;
pub use resize::{Coordinates, Interpolation, Rounding, Target};

/// The most values that one image's map may have: beyond it a file is wrong or hostile.
pub const LARGEST_MAP: usize = 1 << 28;

/// What a channel of an output is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All channels of all inputs.
    All,
    /// These channels: the place of an input among the inputs, and its channel.
    Channels(Vec<(usize, usize)>),
}

impl Reads {
    /// The same channel of every input, or the only one of those that have one, which are broadcast.
    pub fn same(channel: usize, inputs: &[usize]) -> Self {
        Self::Channels(
            inputs.iter().enumerate().map(|(i, &n)| (i, if n == 1 { 0 } else { channel })).collect(),
        )
    }
}

/// A tensor of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What PyTorch calls it.
    pub name: &'static str,
    /// The shape that PyTorch gives it.
    pub shape: Vec<usize>,
}

impl Parameter {
    fn new(name: &'static str, shape: impl Into<Vec<usize>>) -> Self {
        Self { name, shape: shape.into() }
    }
}

/// What there is to say of an operator. Maps are `[N, C, H, W]`.
pub trait Operator: Clone {
    /// How nodes of ONNX files become it, by the names of ONNX's operators.
    const READERS: &'static [(&'static str, Reader)];

    /// Refuses numbers that it can't compute with: all are of 32 bits, within what the operator is defined for.
    ///
    /// # Errors
    /// What is wrong, as "has the beta 1e30; it must be …".
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The channels of the output, from those of the inputs.
    ///
    /// # Errors
    /// What is wrong with them.
    fn channels(&self, inputs: &[usize]) -> Result<usize, String>;

    /// Rows and columns of the output, from the shapes `[C, H, W]` of the inputs, whose channels are right.
    ///
    /// # Errors
    /// What is wrong with them.
    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String>;

    /// Whether rows and columns of the output are the same whatever the inputs' are.
    fn has_fixed_size(&self) -> bool;

    /// What a channel of the output is computed from, given the channels of the inputs.
    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads;

    /// The operator that computes these channels alone, in order, from nothing but the channels that they read; none, if that
    /// is another operator.
    fn narrowed(&self, channels: &[usize], inputs: &[usize]) -> Option<Self>;

    /// What the rows of the output stand for, from what those of the inputs do.
    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::made(inputs)
    }

    /// Whether it is an activation function of each value alone.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// Its parameters, in order.
    fn parameters(&self) -> Vec<Parameter> {
        vec![]
    }

    /// Values of its parameters to start with, drawn from `rng`, as [`with`](Self::with) takes them.
    fn draw(&self, _rng: &mut impl Rng) -> Vec<TensorData> {
        vec![]
    }

    /// Its parameters with these values, in order and in PyTorch's shapes, but a linear layer's weight as `[in, out]`.
    fn with(&self, _values: Vec<TensorData>, _device: &Device) -> Parameters {
        Parameters::none()
    }

    /// The output for inputs of the right shapes.
    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4>;

    /// The multiplications that one image takes in convolutions, linear layers and products of matrices, from the shapes `[C, H, W]` of
    /// inputs and output.
    fn multiply_adds(&self, _inputs: &[[usize; 3]], _output: [usize; 3]) -> usize {
        0
    }

    /// Writes a node that computes it to an ONNX file.
    fn write(&self, writer: &mut Writer, node: &Node);
}

/// Makes the enumeration of all operators, which does what each of them does.
macro_rules! operators {
    ($($file:ident::$name:ident,)*) => {
        $(pub use $file::$name;)*

        /// What a layer computes.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "op", rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum Op {
            $($name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*

        impl Op {
            /// The names of all operators.
            #[cfg(test)]
            const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// How a node of an ONNX file with this operator becomes layers, if any operator is read from it.
            pub(super) fn reader(onnx: &str) -> Option<Reader> {
                let all = [$(<$name as Operator>::READERS,)*];
                all.into_iter().flatten().find(|(name, _)| *name == onnx).map(|(_, reader)| *reader)
            }

            /// As [`Operator::check`].
            ///
            /// # Errors
            /// As there.
            pub fn check(&self) -> Result<(), String> {
                match self { $(Self::$name(op) => Operator::check(op),)* }
            }

            /// As [`Operator::channels`].
            ///
            /// # Errors
            /// As there.
            pub fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
                match self { $(Self::$name(op) => Operator::channels(op, inputs),)* }
            }

            fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
                match self { $(Self::$name(op) => Operator::size(op, inputs),)* }
            }

            /// As [`Operator::has_fixed_size`].
            pub fn has_fixed_size(&self) -> bool {
                match self { $(Self::$name(op) => Operator::has_fixed_size(op),)* }
            }

            /// As [`Operator::reads`].
            pub fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
                match self { $(Self::$name(op) => Operator::reads(op, channel, inputs),)* }
            }

            /// As [`Operator::narrowed`].
            pub fn narrowed(&self, channels: &[usize], inputs: &[usize]) -> Option<Self> {
                match self { $(Self::$name(op) => Operator::narrowed(op, channels, inputs).map(Self::$name),)* }
            }

            /// As [`Operator::rows`].
            pub fn rows(&self, inputs: &[Rows]) -> Rows {
                match self { $(Self::$name(op) => Operator::rows(op, inputs),)* }
            }

            /// As [`Operator::is_elementwise`].
            pub fn is_elementwise(&self) -> bool {
                match self { $(Self::$name(op) => Operator::is_elementwise(op),)* }
            }

            /// As [`Operator::parameters`].
            pub fn parameters(&self) -> Vec<Parameter> {
                match self { $(Self::$name(op) => Operator::parameters(op),)* }
            }

            /// As [`Operator::draw`].
            pub(super) fn draw(&self, rng: &mut impl Rng) -> Vec<TensorData> {
                match self { $(Self::$name(op) => Operator::draw(op, rng),)* }
            }

            /// As [`Operator::with`].
            pub(super) fn with(&self, values: Vec<TensorData>, device: &Device) -> Parameters {
                match self { $(Self::$name(op) => Operator::with(op, values, device),)* }
            }

            /// As [`Operator::forward`].
            pub(super) fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
                match self { $(Self::$name(op) => Operator::forward(op, parameters, inputs),)* }
            }

            /// As [`Operator::multiply_adds`].
            pub fn multiply_adds(&self, inputs: &[[usize; 3]], output: [usize; 3]) -> usize {
                match self { $(Self::$name(op) => Operator::multiply_adds(op, inputs, output),)* }
            }

            /// As [`Operator::write`].
            pub(super) fn write(&self, writer: &mut Writer, node: &Node) {
                match self { $(Self::$name(op) => Operator::write(op, writer, node),)* }
            }
        }
    };
}

operators! {
    input::Input,
    conv::Conv,
    conv_transpose::ConvTranspose,
    batch_norm::BatchNorm,
    relu::Relu,
    leaky_relu::LeakyRelu,
    prelu::PRelu,
    abs::Abs,
    neg::Neg,
    exp::Exp,
    log::Log,
    mish::Mish,
    clip::Clip,
    quantize::Quantize,
    sigmoid::Sigmoid,
    hard_sigmoid::HardSigmoid,
    hard_swish::HardSwish,
    tanh::Tanh,
    softplus::Softplus,
    elu::Elu,
    gelu::Gelu,
    erf::Erf,
    power::Power,
    max_pool::MaxPool,
    avg_pool::AvgPool,
    global_avg_pool::GlobalAvgPool,
    global_max_pool::GlobalMaxPool,
    mean::Mean,
    sum::Sum,
    max::Max,
    lrn::Lrn,
    layer_norm::LayerNorm,
    rms_norm::RmsNorm,
    group_norm::GroupNorm,
    linear::Linear,
    mat_mul::MatMul,
    softmax::Softmax,
    concat::Concat,
    add::Add,
    mul::Mul,
    sub::Sub,
    div::Div,
    maximum::Maximum,
    minimum::Minimum,
    constant::Constant,
    flatten::Flatten,
    reshape::Reshape,
    rearrange::Rearrange,
    shuffle_channels::ShuffleChannels,
    subsample::Subsample,
    slice::Slice,
    pad_channels::PadChannels,
    pad::Pad,
    resize::Resize,
}

impl Op {
    /// The shape `[C, H, W]` of the output from those of the inputs.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3], String> {
        let channels = self.channels(&inputs.iter().map(|shape| shape[0]).collect::<Vec<_>>())?;
        let [h, w] = self.size(inputs)?;
        let shape = [channels, h, w];
        match values(shape) {
            Some(0) => Err(format!("its map {shape:?} is empty")),
            Some(_) => Ok(shape),
            None => Err(format!("its map {shape:?} has more than {LARGEST_MAP} values")),
        }
    }

    /// Whether it is an activation function.
    pub fn is_nonlinear(&self) -> bool {
        self.is_elementwise() || matches!(self, Self::Softmax(_))
    }

    /// Parameters with values drawn from `rng`.
    pub(super) fn drawn(&self, rng: &mut impl Rng, device: &Device) -> Parameters {
        let values = self.draw(rng);
        self.with(values, device)
    }

    /// A square convolution with bias.
    pub fn conv(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Self {
        Self::Conv(Conv {
            channels: [input, output],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding::Symmetric([padding; 2]),
            dilation: [1, 1],
            groups: 1,
            bias: true,
        })
    }

    /// The same convolution or linear layer without bias, as used before batch norm.
    pub fn without_bias(mut self) -> Self {
        if let Self::Conv(Conv { bias, .. }) | Self::Linear(Linear { bias, .. }) = &mut self {
            *bias = false;
        }
        self
    }

    /// Batch normalization with the usual eps, 1e-5.
    pub fn batch_norm(channels: usize) -> Self {
        Self::BatchNorm(BatchNorm::new(channels))
    }

    /// The maximum over square windows.
    pub fn max_pool(kernel: usize, stride: usize, padding: usize, ceil: bool) -> Self {
        Self::MaxPool(MaxPool {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding::Symmetric([padding; 2]),
            dilation: [1, 1],
            ceil,
        })
    }

    /// What files call this kind of layer, as `conv`.
    pub fn kind(&self) -> String {
        let described = serde_json::to_value(self).ok();
        described.and_then(|op| op.get("op")?.as_str().map(String::from)).unwrap_or_default()
    }
}

/// The number of values of a map, unless it is beyond all bounds.
pub fn values(shape: [usize; 3]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= LARGEST_MAP)
}

/// The only input.
fn only<T: Copy>(inputs: &[T]) -> Result<T, String> {
    match inputs {
        [one] => Ok(*one),
        _ => Err(format!("takes one input, has {}", inputs.len())),
    }
}

/// The only input, of so many channels.
fn of_channels(inputs: &[usize], want: usize) -> Result<(), String> {
    match only(inputs)? {
        c if c == want => Ok(()),
        c => Err(format!("expects {want} channels, gets {c}")),
    }
}

/// The size `[H, W]` of the only input.
fn same_size(inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
    let [_, h, w] = only(inputs)?;
    Ok([h, w])
}

/// Refuses a map of another number of values.
fn of_values(inputs: &[[usize; 3]], want: usize) -> Result<(), String> {
    match values(only(inputs)?) {
        Some(got) if got == want => Ok(()),
        got => {
            Err(format!("expects {want} values, gets {}", got.map_or("too many".into(), |n| n.to_string())))
        }
    }
}

/// The only tensor.
fn one(mut inputs: Vec<Tensor<4>>) -> Tensor<4> {
    inputs.pop().expect("a checked graph gives this layer an input")
}

/// Rows and columns.
fn rows_and_columns(x: &Tensor<4>) -> [usize; 2] {
    let [_, _, h, w] = x.dims();
    [h, w]
}

/// The numbers of 32 bits.
const MOST: f64 = f32::MAX as f64;

/// Refuses a value outside of what it may be.
fn within(what: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false if least == -MOST => Err(format!("has the {what} {value}; it must be a number of 32 bits")),
        false if most == MOST => {
            Err(format!("has the {what} {value}; it must be {least} or more, in 32 bits"))
        }
        false => Err(format!("has the {what} {value}; it must be between {least} and {most}")),
    }
}

/// Refuses a value that is no number of 32 bits.
fn number(what: &str, value: f64) -> Result<(), String> {
    within(what, value, -MOST, MOST)
}

/// Refuses what can't be added to a variance.
fn epsilon_or_more(epsilon: f64) -> Result<(), String> {
    match (0.0..=MOST).contains(&epsilon) {
        true => Ok(()),
        false => Err(format!("has the epsilon {epsilon}; it must be a number, 0 or more")),
    }
}
