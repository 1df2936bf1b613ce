//! Linear layers.

use burn::module::Param;
use burn::nn;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Op, Operator, Parameter, Reads, mat_mul, of_values, one, only};
use crate::onnx::{
    Array, Axis, Call, Done, IMAGES, Import, Reader, Refusal, Value, View, Writer, int, read, unsupported,
    whole_axis, wrong,
};
use crate::parameters::{Parameters, filled, he_normal};
use crate::{Node, Rows};

/// A matrix product with the flattened input, to `[N, out, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Values that are read, and outputs.
    pub features: [usize; 2],
    /// Whether there is a bias for each output.
    pub bias: bool,
}

impl Operator for Linear {
    const READERS: &'static [(&'static str, Reader)] = &[("Gemm", gemm), ("MatMul", mat_mul)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        // The map's size is not known here.
        match only(inputs)? {
            c if c > 0 && self.features[0].is_multiple_of(c) => Ok(self.features[1]),
            c => Err(format!("expects {} channels, gets {c}", self.features[0])),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        of_values(inputs, self.features[0])?;
        Ok([1, 1])
    }

    fn has_fixed_size(&self) -> bool {
        true
    }

    fn reads(&self, _: usize, _: &[usize]) -> Reads {
        Reads::All
    }

    fn rows(&self, _: &[Rows]) -> Rows {
        Rows::Tokens(1)
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        Some(Self { features: [self.features[0], channels.len()], ..*self })
    }

    fn parameters(&self) -> Vec<Parameter> {
        let [input, output] = self.features;
        let weight = Parameter::new("weight", [output, input]);
        [weight].into_iter().chain(self.bias.then(|| Parameter::new("bias", [output]))).collect()
    }

    fn draw(&self, rng: &mut impl Rng) -> Vec<TensorData> {
        let [input, output] = self.features;
        let weight = he_normal(&[input, output], input, rng);
        [weight].into_iter().chain(self.bias.then(|| filled(0.0, &[output]))).collect()
    }

    fn with(&self, values: Vec<TensorData>, device: &Device) -> Parameters {
        let mut values = values.into_iter();
        let weight = values.next().expect("a weight");
        Parameters::Linear(nn::Linear {
            weight: Param::from_data(weight, device),
            bias: values.next().map(|bias| Param::from_data(bias, device)),
        })
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let y = parameters.linear().forward(one(inputs).flatten::<2>(1, 3));
        let [n, c] = y.dims();
        y.reshape([n, c, 1, 1])
    }

    fn multiply_adds(&self, _: &[[usize; 3]], _: [usize; 3]) -> usize {
        self.features[0] * self.features[1]
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let linear = node.parameters.linear();
        let weight = writer.parameter(node.part("weight"), linear.weight.val());
        let bias = linear.bias.as_ref().map(|b| writer.parameter(node.part("bias"), b.val()));
        let flat = writer.aside(node.part("input"), "Flatten", &[node.input()], vec![int("axis", 1)]);
        let mut inputs = vec![flat.as_str(), &weight];
        inputs.extend(bias.as_deref());
        let product = writer.free(&node.part("flat"));
        writer.push(&node.name, "Gemm", &inputs, &product, vec![]);
        writer.map(&node.name, &product);
    }
}

/// A matrix of parameters.
fn matrix<'a>(import: &'a Import<'_>, call: &Call<'_>) -> Result<&'a Array<f32>, Refusal> {
    match import.floats(call, 1)? {
        Some(array) if array.dims.len() == 2 && !array.values.is_empty() => Ok(array),
        Some(array) => unsupported(format!("with parameters of shape {:?}", array.dims)),
        None => wrong("has no second input"),
    }
}

fn gemm(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if call.flag("transA")? || import.view(call, 0)?.axes.len() != 2 {
        return unsupported("on other than [N, features]");
    }
    let x = import.with_channels(call, 0, 1)?;
    // For each image, or for each of its places, too.
    let flat = x.axes[0] == [IMAGES];
    let (alpha, beta) = (call.float("alpha", 1.0)? as f32, call.float("beta", 1.0)? as f32);
    let weight = matrix(import, call)?;
    let weight = if call.flag("transB")? { weight.transposed(&[1, 0]) } else { weight.clone() };
    let [input, output] = [weight.dims[0], weight.dims[1]];
    let mut parameters =
        vec![TensorData::new(weight.values.iter().map(|w| alpha * w).collect(), weight.dims.clone())];
    let bias = import.floats(call, 2)?;
    if let Some(bias) = bias {
        let per_output = bias.values.len() == output && bias.dims.last() == Some(&output);
        let values: Vec<f32> = match bias.values[..] {
            [one] => vec![beta * one; output],
            ref all if per_output => all.iter().map(|b| beta * b).collect(),
            _ => return unsupported(format!("with a bias of shape {:?} for {output} outputs", bias.dims)),
        };
        parameters.push(TensorData::new(values, [output]));
    }
    let bias = bias.is_some();
    let op = if flat {
        Linear { features: [input, output], bias }.into()
    } else {
        parameters[0] = filters(&parameters[0]);
        pointwise([input, output], bias)
    };
    of_channels(import, call, x, op, output, parameters)
}

/// Over features, a linear layer; over the channels of every place, a 1x1 convolution.
fn mat_mul(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let count = import.view(call, 0)?.axes.len();
    if !matches!(import.value(call, 1)?, Value::Constant(_)) {
        return mat_mul::of_maps(import, call);
    }
    if count < 2 {
        return unsupported("of a value of one axis");
    }
    let weight = matrix(import, call)?;
    let [input, output] = [weight.dims[0], weight.dims[1]];
    let weight = read::data(weight);
    let x = import.with_channels(call, 0, count - 1)?;
    let flat = count == 2 && x.axes[0] == [IMAGES];
    let (op, weight): (Op, _) = match flat {
        true => (Linear { features: [input, output], bias: false }.into(), weight),
        false => (pointwise([input, output], false), filters(&weight)),
    };
    of_channels(import, call, x, op, output, vec![weight])
}

/// A linear layer at each place.
fn pointwise([input, output]: [usize; 2], bias: bool) -> Op {
    let conv = Op::conv(input, output, 1, 1, 0);
    if bias { conv } else { conv.without_bias() }
}

/// A matrix `[in, out]` as the filters of a 1x1 convolution.
fn filters(matrix: &TensorData) -> TensorData {
    let [input, output] = [matrix.shape()[0], matrix.shape()[1]];
    let values: Vec<f32> = matrix.iter::<f32>().collect();
    let weight = Array { dims: vec![input, output], values }.transposed(&[1, 0]);
    TensorData::new(weight.values, [output, input, 1, 1])
}

/// Appends the layer, and keeps what it gives: as what it reads, with other channels as the last axis.
fn of_channels(
    import: &mut Import<'_>,
    call: &Call<'_>,
    mut x: View,
    op: Op,
    output: usize,
    parameters: Vec<TensorData>,
) -> Done {
    let layer = import.push(call, None, op, &[x.layer], parameters)?;
    *x.axes.last_mut().expect("it has two or more") = whole_axis(Axis::Channels, output);
    import.set_view(call, 0, View { layer, ..x });
    Ok(())
}
