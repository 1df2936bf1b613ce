//! Convolution.

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::filters::Filters;
use super::window::windows;
use super::{Operator, Parameter, Reads, one, only, rows_and_columns};
use crate::convolution::{self, Prepared};
use crate::onnx::{Call, Done, Import, MAP, Reader, Writer, int, ints, pads, read, unsupported, wrong};
use crate::padding::Padding;
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// A convolution with zero padding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// From one window to the next, by rows and columns.
    pub stride: [usize; 2],
    /// The margin of zeros.
    pub padding: Padding,
    /// From one place of the kernel to the next, by rows and columns.
    #[serde(default = "undilated", skip_serializing_if = "is_undilated")]
    pub dilation: [usize; 2],
    /// In so many groups channels are divided, of which each reads its own alone.
    pub groups: usize,
    /// Whether there is a bias for each output channel.
    pub bias: bool,
}

pub(super) fn undilated() -> [usize; 2] {
    [1, 1]
}

pub(super) fn is_undilated(dilation: &[usize; 2]) -> bool {
    *dilation == undilated()
}

impl Operator for Conv {
    const READERS: &'static [(&'static str, Reader)] = &[("Conv", from_onnx)];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        self.filters().channels(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        windows([h, w], self.kernel, self.stride, self.padding, self.dilation, false)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, _: &[usize]) -> Reads {
        self.filters().reads(channel)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        let pointwise = self.kernel[0] == 1 && self.stride[0] == 1 && self.padding.is_none();
        if pointwise { Rows::kept(inputs) } else { Rows::made(inputs) }
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        let [read, _] = self.channels;
        (self.groups == 1).then_some(Self { channels: [read, channels.len()], ..*self })
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.filters().parameters()
    }

    fn draw(&self, rng: &mut impl Rng) -> Vec<TensorData> {
        self.filters().draw(rng)
    }

    fn with(&self, values: Vec<TensorData>, device: &Device) -> Parameters {
        let mut values = values.into_iter().map(|values| (values, device));
        let (weight, device) = values.next().expect("a weight");
        Parameters::Conv(Conv2d {
            weight: Param::from_data(weight, device),
            bias: values.next().map(|(bias, device)| Param::from_data(bias, device)),
            stride: self.stride,
            kernel_size: self.kernel,
            dilation: self.dilation,
            groups: self.groups,
            padding: explicit(match self.padding {
                // Another for every size of map.
                Padding::Same(_) => [(0, 0); 2],
                fixed => fixed.around([0, 0], self.kernel, self.stride, self.dilation),
            }),
        })
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.rectified(parameters.conv(), &Prepared::default(), one(inputs), None)
    }

    fn multiply_adds(&self, _: &[[usize; 3]], output: [usize; 3]) -> usize {
        output.iter().product::<usize>() * (self.channels[0] / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let conv = node.parameters.conv();
        let weight = writer.parameter(node.part("weight"), conv.weight.val());
        let bias = conv.bias.as_ref().map(|b| writer.parameter(node.part("bias"), b.val()));
        let mut inputs = vec![node.input(), weight.as_str()];
        inputs.extend(bias.as_deref());
        let attributes = vec![
            ints("kernel_shape", &self.kernel),
            ints("strides", &self.stride),
            pads(self.padding),
            ints("dilations", &self.dilation),
            int("group", self.groups),
        ];
        writer.push(&node.name, "Conv", &inputs, &node.name, attributes);
    }
}

impl Conv {
    fn filters(&self) -> Filters {
        let Self { channels, kernel, groups, bias, .. } = *self;
        Filters { channels, kernel, groups, bias }
    }

    /// The output, and max(x, 0) of it if it is to be rectified, with this share of the gradient where it is 0.
    pub(crate) fn rectified(
        &self,
        conv: &Conv2d,
        prepared: &Prepared,
        x: Tensor<4>,
        rectify: Option<f32>,
    ) -> Tensor<4> {
        let Padding::Same(_) = self.padding else {
            return convolution::convolve(conv, prepared, x, rectify);
        };
        let padding =
            explicit(self.padding.around(rows_and_columns(&x), self.kernel, self.stride, self.dilation));
        convolution::convolve(&Conv2d { padding, ..conv.clone() }, prepared, x, rectify)
    }
}

fn explicit([(top, bottom), (left, right)]: [(usize, usize); 2]) -> PaddingConfig2d {
    PaddingConfig2d::Explicit(top, left, bottom, right)
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let Some(weight) = import.floats(call, 1)? else { return wrong("has no weights") };
    // Over one dimension, as over rows alone.
    let single = weight.dims.len() == 3;
    let dims = if single { [&weight.dims[..], &[1]].concat() } else { weight.dims.clone() };
    let Ok([output, input, kh, kw]) = <[usize; 4]>::try_from(&dims[..]) else {
        return unsupported(format!("over {} dimensions instead of 2", weight.dims.len().saturating_sub(2)));
    };
    let view = import.view(call, 0)?;
    let x = match (single, view.axes.len()) {
        (true, 3) => {
            let layout = [view.parts([1]), view.parts([2]), vec![]];
            import.arranged(call, 0, &view, layout)?.layer
        }
        _ => import.image(call, 0)?,
    };
    let weight = import.floats(call, 1)?.expect("it was there");
    let pair = |name: &str, default: [usize; 2]| match call.ints(name) {
        Some(&[n]) if single && (1..1 << 28).contains(&n) => Ok([n as usize, 1]),
        _ => call.pair(name, Some(default)),
    };
    let kernel = pair("kernel_shape", [kh.max(1), kw.max(1)])?;
    if kernel != [kh, kw] {
        return wrong(format!("has the kernel_shape {kernel:?}, and weights of shape {:?}", weight.dims));
    }
    let groups = call.int("group")?.unwrap_or(1);
    let channels = import.shape(x)[0];
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0 && input.checked_mul(g) == Some(channels));
    let Some(groups) = groups else {
        return wrong(format!(
            "has weights of shape {:?} in {} groups for {channels} channels",
            weight.dims,
            call.int("group")?.unwrap_or(1)
        ));
    };
    let bias = import.floats(call, 2)?;
    if let Some(bias) = bias
        && bias.dims != [output]
    {
        return wrong(format!("has a bias of shape {:?} for {output} channels", bias.dims));
    }
    let op = Conv {
        channels: [channels, output],
        kernel,
        stride: pair("strides", [1, 1])?,
        padding: match call.ints("pads") {
            Some(&[before, after]) if single && before >= 0 && after >= 0 && before.max(after) < 1 << 28 => {
                Padding::Sides([before as usize, 0, after as usize, 0]).plain()
            }
            _ => read::padding(call)?,
        },
        dilation: pair("dilations", [1, 1])?,
        groups,
        bias: bias.is_some(),
    };
    let filters = TensorData::new(weight.values.clone(), dims);
    let parameters = std::iter::once(filters).chain(bias.map(read::data)).collect();
    let layer = import.push(call, None, op, &[x], parameters)?;
    // Of three axes, columns are not there.
    read::give(import, call, layer, MAP[..if single { 3 } else { 4 }].into())
}
