//! Transposed convolution.

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::ops::ConvTransposeOptions;
use burn::tensor::{Device, Tensor, TensorData, module};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::filters::Filters;
use super::{LARGEST_MAP, Operator, Parameter, Reads, one, only};
use crate::onnx::{Call, Done, Import, MAP, Reader, Writer, int, ints, read, unsupported, wrong};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// A transposed convolution: every place of the input adds its filter's values around `stride` times its place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose {
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// How far apart the places of the input are in the output, by rows and columns.
    pub stride: [usize; 2],
    /// What is cut off: above, to the left, below and to the right.
    pub cut: [usize; 4],
    /// What is added below and to the right.
    pub more: [usize; 2],
    /// From one place of the kernel to the next, by rows and columns.
    pub dilation: [usize; 2],
    /// In so many groups channels are divided, of which each reads its own alone.
    pub groups: usize,
    /// Whether there is a bias for each output channel.
    pub bias: bool,
}

impl ConvTranspose {
    fn filters(&self) -> Filters {
        let Self { channels, kernel, groups, bias, .. } = *self;
        Filters { channels, kernel, groups, bias }
    }

    /// What is added below and to the right beyond what is cut off there.
    fn beyond(&self) -> [usize; 2] {
        [0, 1].map(|d| self.more[d].saturating_sub(self.cut[d + 2]))
    }
}

impl Operator for ConvTranspose {
    const READERS: &'static [(&'static str, Reader)] = &[("ConvTranspose", from_onnx)];

    fn check(&self) -> Result<(), String> {
        for d in 0..2 {
            if self.more[d] >= self.stride[d].max(self.dilation[d]) {
                return Err(format!(
                    "has the output_padding {:?}, which has to be below the stride {:?} or the dilation {:?}",
                    self.more, self.stride, self.dilation
                ));
            }
        }
        Ok(())
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        self.filters().channels(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        let mut made = [0; 2];
        for (d, n) in [h, w].into_iter().enumerate() {
            let plausible = |n: usize| (1..=LARGEST_MAP).contains(&n);
            if ![n, self.kernel[d], self.stride[d], self.dilation[d]].into_iter().all(plausible) {
                return Err(format!(
                    "its kernel {:?}, stride {:?} or dilation {:?} cannot be",
                    self.kernel, self.stride, self.dilation
                ));
            }
            let reach = self.dilation[d].saturating_mul(self.kernel[d] - 1).saturating_add(1);
            let all = self.stride[d].saturating_mul(n - 1).saturating_add(reach).saturating_add(self.more[d]);
            let cut = self.cut[d].saturating_add(self.cut[d + 2]);
            made[d] = all
                .checked_sub(cut)
                .filter(|&n| plausible(n))
                .ok_or_else(|| format!("makes {all} rows or columns and cuts {cut} of them off"))?;
        }
        Ok(made)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, _: &[usize]) -> Reads {
        self.filters().reads(channel)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::made(inputs)
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        let [read, _] = self.channels;
        (self.groups == 1).then_some(Self { channels: [read, channels.len()], ..*self })
    }

    /// As a convolution's, output channels first.
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
            padding: PaddingConfig2d::Valid,
        })
    }

    fn forward(&self, parameters: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let [_, _, h, w] = x.dims();
        let [rows, columns] = self.size(&[[self.channels[0], h, w]]).expect("a checked graph");
        let conv = parameters.conv();
        let weight = by_input(conv.weight.val(), self.groups);
        let bias = conv.bias.as_ref().map(|bias| bias.val());
        let options =
            ConvTransposeOptions::new(self.stride, [0, 0], self.beyond(), self.dilation, self.groups);
        let all = module::conv_transpose2d(x, weight, bias, options);
        all.narrow(2, self.cut[0], rows).narrow(3, self.cut[1], columns)
    }

    fn multiply_adds(&self, _: &[[usize; 3]], output: [usize; 3]) -> usize {
        let places = output[1] * output[2] / (self.stride[0] * self.stride[1]).max(1);
        places * self.channels[0] * (self.channels[1] / self.groups) * self.kernel[0] * self.kernel[1]
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let conv = node.parameters.conv();
        let weight = writer.parameter(node.part("weight"), by_input(conv.weight.val(), self.groups));
        let bias = conv.bias.as_ref().map(|b| writer.parameter(node.part("bias"), b.val()));
        let mut inputs = vec![node.input(), weight.as_str()];
        inputs.extend(bias.as_deref());
        let attributes = vec![
            ints("kernel_shape", &self.kernel),
            ints("strides", &self.stride),
            ints("pads", &self.cut),
            ints("output_padding", &self.more),
            ints("dilations", &self.dilation),
            int("group", self.groups),
        ];
        writer.push(&node.name, "ConvTranspose", &inputs, &node.name, attributes);
    }
}

/// Weights with input channels first, `[in, out / groups, rows, columns]`, as PyTorch and ONNX have them, of `[out, in / groups,
/// rows, columns]`; or the other way round.
fn by_input(weight: Tensor<4>, groups: usize) -> Tensor<4> {
    let [first, second, h, w] = weight.dims();
    let each = first / groups;
    weight.reshape([groups, each, second, h * w]).swap_dims(1, 2).reshape([groups * second, each, h, w])
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.image(call, 0)?;
    let Some(weight) = import.floats(call, 1)? else { return wrong("has no weights") };
    let Ok([input, each, kh, kw]) = <[usize; 4]>::try_from(&weight.dims[..]) else {
        return unsupported(format!("over {} dimensions instead of 2", weight.dims.len().saturating_sub(2)));
    };
    let [channels, h, w] = import.shape(x);
    let kernel = call.pair("kernel_shape", Some([kh.max(1), kw.max(1)]))?;
    let groups = call.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0 && input.is_multiple_of(g));
    let (true, Some(groups), Some(output)) =
        (input == channels && kernel == [kh, kw], groups, groups.and_then(|g| each.checked_mul(g)))
    else {
        return wrong(format!("has weights of shape {:?} for {channels} channels", weight.dims));
    };
    let bias = import.floats(call, 2)?;
    if let Some(bias) = bias
        && bias.dims != [output]
    {
        return wrong(format!("has a bias of shape {:?} for {output} channels", bias.dims));
    }
    let more = match call.ints("output_padding") {
        None => [0, 0],
        Some(&[y, x]) if (0..1 << 28).contains(&y.min(x)) && y.max(x) < 1 << 28 => [y as usize, x as usize],
        Some(other) => return wrong(format!("has the output_padding {other:?}")),
    };
    let mut op = ConvTranspose {
        channels: [channels, output],
        kernel,
        stride: call.pair("strides", Some([1, 1]))?,
        cut: [0; 4],
        more,
        dilation: call.pair("dilations", Some([1, 1]))?,
        groups,
        bias: bias.is_some(),
    };
    let mode = call.text("auto_pad")?;
    let same = match mode.as_deref() {
        Some("SAME_UPPER") => Some(false),
        Some("SAME_LOWER") => Some(true),
        _ => None,
    };
    if same.is_some() || call.has("output_shape") {
        // So much is cut off that the output has this size: the file says it, or `stride` times the input's.
        let wanted = match call.ints("output_shape") {
            None => [h.saturating_mul(op.stride[0]), w.saturating_mul(op.stride[1])],
            Some(&[.., y, x]) if y > 0 && x > 0 => [y as usize, x as usize],
            Some(other) => return wrong(format!("has the output_shape {other:?}")),
        };
        if call.has("output_shape") {
            import.settle(call);
        }
        let all = op.size(&[[channels, h, w]]).map_err(crate::onnx::Refusal::Wrong)?;
        for d in 0..2 {
            let Some(cut) = all[d].checked_sub(wanted[d]) else {
                return unsupported(format!("to the size {wanted:?}, of which it makes {all:?}"));
            };
            // The odd one is cut off at the end, or with SAME_LOWER at the beginning.
            let less = cut / 2;
            (op.cut[d], op.cut[d + 2]) =
                if same == Some(true) { (cut - less, less) } else { (less, cut - less) };
        }
    } else if let Some(pads) = call.ints("pads") {
        let [top, left, bottom, right] = match *pads {
            [a, b, c, d] if [a, b, c, d].iter().all(|n| (0..1 << 28).contains(n)) => [a, b, c, d],
            _ => return wrong(format!("has the pads {pads:?}")),
        };
        op.cut = [top, left, bottom, right].map(|n| n as usize);
    }
    // Output channels first.
    let [second, places] = [each, kh * kw];
    let read = input / groups;
    let mut filters = vec![0f32; weight.values.len()];
    for (at, value) in weight.values.iter().enumerate() {
        let (place, rest) = (at % places, at / places);
        let (own, from) = (rest % second, rest / second);
        let (group, inside) = (from / read, from % read);
        filters[((group * second + own) * read + inside) * places + place] = *value;
    }
    let filters = TensorData::new(filters, [output, read, kh, kw]);
    let parameters = std::iter::once(filters).chain(bias.map(read::data)).collect();
    let layer = import.push(call, None, op, &[x], parameters)?;
    read::give(import, call, layer, MAP.into())
}
