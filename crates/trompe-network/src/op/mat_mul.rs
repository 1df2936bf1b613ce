//! Products of two maps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads};
use crate::Node;
use crate::onnx::{Axis, Call, Done, IMAGES, Import, Part, Reader, View, Writer, unsupported, whole_axis};
use crate::parameters::Parameters;

/// For each channel the matrix product of the two inputs' maps, `[N, C, H, K]` and `[N, C, K, W]`: what attention scores and what
/// is gathered by them are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatMul;

fn two<T: Copy>(inputs: &[T]) -> Result<[T; 2], String> {
    inputs.try_into().map_err(|_| format!("takes two inputs, has {}", inputs.len()))
}

impl Operator for MatMul {
    // Linear layers are read from the same nodes, which are theirs where one factor is a parameter.
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match two(inputs)? {
            [a, b] if a == b => Ok(a),
            [a, b] => Err(format!("multiplies {a} channels with {b}")),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [[_, h, k], [_, other, w]] = two(inputs)?;
        match k == other {
            true => Ok([h, w]),
            false => Err(format!("multiplies maps of {k} columns with such of {other} rows")),
        }
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::same(channel, inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let [a, b]: [Tensor<4>; 2] = inputs.try_into().expect("a checked graph gives this layer two inputs");
        a.matmul(b)
    }

    fn multiply_adds(&self, _: [usize; 3]) -> usize {
        0
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        writer.plain(node, "MatMul", vec![]);
    }
}

/// Reads the product of two values that depend on the image: over their last two axes, for each place of those before them.
pub(super) fn of_maps(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let views = [import.view(call, 0)?, import.view(call, 1)?];
    let count = views[0].axes.len();
    if count < 3 || views[1].axes.len() != count {
        return unsupported("of values of two axes, or of different numbers of axes");
    }
    let sizes = [views[0].sizes(import)?, views[1].sizes(import)?];
    if sizes[0][..count - 2] != sizes[1][..count - 2] {
        return unsupported(format!("of values of the sizes {:?} and {:?}", sizes[0], sizes[1]));
    }
    let mut layers = vec![];
    for (at, view) in views.iter().enumerate() {
        let layout = [view.parts(0..count - 2), view.parts([count - 2]), view.parts([count - 1])];
        layers.push(import.arranged(call, at, view, layout)?.layer);
    }
    let layer = import.push(call, None, MatMul, &layers, vec![])?;
    // What the channels stand for now.
    let [channels, rows, columns] = import.shape(layer);
    let mut stride = channels;
    let mut axes: Vec<Vec<Part>> = vec![];
    for d in 0..count - 2 {
        let size: usize = views[0].parts([d]).iter().map(|part| part.size).product();
        stride /= size;
        let images = views[0].axes[d].first() == Some(&IMAGES);
        if views[0].axes[d].contains(&IMAGES) && !images {
            return unsupported("of places before images");
        }
        let own = (size > 1).then_some(Part { axis: Axis::Channels, stride, size });
        axes.push(images.then_some(IMAGES).into_iter().chain(own).collect());
    }
    axes.extend([whole_axis(Axis::Rows, rows), whole_axis(Axis::Columns, columns)]);
    import.set_view(call, 0, View { layer, axes });
    Ok(())
}
