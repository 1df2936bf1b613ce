//! Maximum pooling.

use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::conv::{is_undilated, undilated};
use super::window::{seeing, windows};
use super::{Channelwise, one, only, rows_and_columns};
use crate::Node;
use crate::onnx::{Call, Done, Import, MAP, Reader, Value, Writer, int, ints, pads, read};
use crate::padding::{self, Padding};

/// Maximum over windows; `ceil` rounds the output size up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool {
    /// Height and width of a window.
    #[serde(with = "padding::pair")]
    pub kernel: [usize; 2],
    /// From one window to the next, by rows and columns.
    #[serde(with = "padding::pair")]
    pub stride: [usize; 2],
    /// The margin, of nothing.
    #[serde(serialize_with = "padding::of_pool")]
    pub padding: Padding,
    /// From one place of a window to the next, by rows and columns.
    #[serde(default = "undilated", skip_serializing_if = "is_undilated")]
    pub dilation: [usize; 2],
    /// Whether the last window may reach beyond the map.
    pub ceil: bool,
}

impl Channelwise for MaxPool {
    const READERS: &'static [(&'static str, Reader)] = &[("MaxPool", from_onnx)];

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        seeing(self.kernel, self.padding, self.dilation)?;
        windows([h, w], self.kernel, self.stride, self.padding, self.dilation, self.ceil)
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.of(one(inputs), false)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let attributes = vec![
            ints("kernel_shape", &self.kernel),
            ints("strides", &self.stride),
            pads(self.padding),
            ints("dilations", &self.dilation),
            int("ceil_mode", usize::from(self.ceil)),
        ];
        writer.plain(node, "MaxPool", attributes);
    }
}

impl MaxPool {
    /// The maxima, of max(x, 0) if what is read is to be rectified.
    pub(crate) fn of(&self, x: Tensor<4>, rectify: bool) -> Tensor<4> {
        let Self { kernel, stride, padding, dilation, ceil } = *self;
        let size = rows_and_columns(&x);
        let around = padding.around(size, kernel, stride, dilation);
        #[cfg(feature = "flex")]
        if dilation == [1, 1]
            && trompe_kernels::holds(&x)
            && let Ok(count) = windows(size, kernel, stride, padding, dilation, ceil)
        {
            let before = around.map(|(before, _)| before);
            let windows = trompe_kernels::Windows { kernel, stride, before, count, rectify };
            return trompe_kernels::max_pool(x, windows);
        }
        let options = MaxPoolOptions::new(kernel)
            .with_stride(stride)
            .with_padding_pairs(around)
            .with_dilation(dilation)
            .with_ceil_mode(ceil);
        max_pool2d(if rectify { activation::relu(x) } else { x }, options)
    }
}

fn from_onnx(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let kernel = call.pair("kernel_shape", None)?;
    let x = import.image(call, 0)?;
    let op = MaxPool {
        kernel,
        stride: call.pair("strides", Some([1, 1]))?,
        padding: read::padding(call)?,
        dilation: call.pair("dilations", Some([1, 1]))?,
        ceil: call.flag("ceil_mode")?,
    };
    let layer = import.push(call, None, op, &[x], vec![])?;
    import.set(call, 1, Value::Absent("the indices of a MaxPool"));
    read::give(import, call, layer, MAP.into())
}
