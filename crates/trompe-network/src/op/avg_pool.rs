//! Average pooling.

use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use serde::{Deserialize, Serialize};

use super::window::{seeing, windows};
use super::{Channelwise, one, only, rows_and_columns};
use crate::Node;
use crate::onnx::{Call, Done, Import, MAP, Reader, Writer, int, ints, pads, read, unsupported};
use crate::padding::{self, Padding};

/// Mean over windows; `ceil` rounds the output size up, and `count_padding` counts the margin's zeros.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvgPool {
    /// Height and width of a window.
    #[serde(with = "padding::pair")]
    pub kernel: [usize; 2],
    /// From one window to the next, by rows and columns.
    #[serde(with = "padding::pair")]
    pub stride: [usize; 2],
    /// The margin.
    #[serde(serialize_with = "padding::of_pool")]
    pub padding: Padding,
    /// Whether the last window may reach beyond the map.
    pub ceil: bool,
    /// Whether the margin counts, as zeros.
    pub count_padding: bool,
}

impl Channelwise for AvgPool {
    const READERS: &'static [(&'static str, Reader)] = &[("AveragePool", from_onnx)];

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        seeing(self.kernel, self.padding, [1, 1])?;
        windows([h, w], self.kernel, self.stride, self.padding, [1, 1], self.ceil)
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let around = self.padding.around(rows_and_columns(&x), self.kernel, self.stride, [1, 1]);
        let options = AvgPoolOptions::new(self.kernel)
            .with_stride(self.stride)
            .with_padding_pairs(around)
            .with_count_include_pad(self.count_padding)
            .with_ceil_mode(self.ceil);
        avg_pool2d(x, options)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let attributes = vec![
            ints("kernel_shape", &self.kernel),
            ints("strides", &self.stride),
            pads(self.padding),
            int("ceil_mode", usize::from(self.ceil)),
            int("count_include_pad", usize::from(self.count_padding)),
        ];
        writer.plain(node, "AveragePool", attributes);
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let kernel = call.pair("kernel_shape", None)?;
    let x = import.image(call, 0)?;
    if call.pair("dilations", Some([1, 1]))? != [1, 1] {
        return unsupported("with dilation");
    }
    let op = AvgPool {
        kernel,
        stride: call.pair("strides", Some([1, 1]))?,
        padding: read::padding(call)?,
        ceil: call.flag("ceil_mode")?,
        count_padding: call.flag("count_include_pad")?,
    };
    let layer = import.push(call, None, op, &[x], vec![])?;
    read::give(import, call, layer, MAP.into())
}
