//! Products of two maps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, number};
use crate::onnx::{Axis, Call, Done, IMAGES, Import, Part, Reader, View, Writer, unsupported, whole_axis};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// For each channel the matrix product of the two inputs' maps, `[N, C, H, K]` and `[N, C, K, W]`, times a number: what attention
/// scores and what is gathered by them are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatMul {
    /// What the product is multiplied by.
    #[serde(default = "unscaled", skip_serializing_if = "is_unscaled")]
    pub scale: f32,
}

impl Default for MatMul {
    fn default() -> Self {
        Self { scale: unscaled() }
    }
}

fn unscaled() -> f32 {
    1.0
}

fn is_unscaled(scale: &f32) -> bool {
    *scale == unscaled()
}

fn two<T: Copy>(inputs: &[T]) -> Result<[T; 2], String> {
    inputs.try_into().map_err(|_| format!("takes two inputs, has {}", inputs.len()))
}

impl Operator for MatMul {
    // Linear layers are read from the same nodes as products, which are theirs where one factor is a parameter.
    const READERS: &'static [(&'static str, Reader)] = &[("Einsum", einsum)];

    fn check(&self) -> Result<(), String> {
        number("scale", self.scale.into())
    }

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

    fn rows(&self, inputs: &[Rows]) -> Rows {
        // Those of the first factor.
        Rows::kept(&inputs[..inputs.len().min(1)])
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(*self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let [a, b]: [Tensor<4>; 2] = inputs.try_into().expect("a checked graph gives this layer two inputs");
        let product = a.matmul(b);
        if is_unscaled(&self.scale) { product } else { product * self.scale }
    }

    fn multiply_adds(&self, inputs: &[[usize; 3]], output: [usize; 3]) -> usize {
        let inner = inputs.first().map_or(0, |[_, _, k]| *k);
        output.iter().fold(inner, |product, &n| product.saturating_mul(n))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        if is_unscaled(&self.scale) {
            return writer.plain(node, "MatMul", vec![]);
        }
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        let product = writer.aside(node.part("product"), "MatMul", &inputs, vec![]);
        let scale = writer.floats(node.part("scale"), &[], &[self.scale]);
        writer.push(&node.name, "Mul", &[&product, &scale], &node.name, vec![]);
    }
}

/// Reads the product of two values that depend on the image: over their last two axes, for each place of those before them.
pub(super) fn of_maps(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let views = [import.view(call, 0)?, import.view(call, 1)?];
    let count = views[0].axes.len();
    if count < 3 || views[1].axes.len() != count {
        return unsupported("of values of two axes, or of different numbers of axes");
    }
    let sizes = [views[0].sizes(import), views[1].sizes(import)];
    if sizes[0][..count - 2] != sizes[1][..count - 2] {
        return unsupported(format!("of values of the sizes {:?} and {:?}", sizes[0], sizes[1]));
    }
    let mut layers = vec![];
    for (at, view) in views.iter().enumerate() {
        let layout = [view.parts(0..count - 2), view.parts([count - 2]), view.parts([count - 1])];
        layers.push(import.arranged(call, at, view, layout)?.layer);
    }
    let layer = import.push(call, None, MatMul::default(), &layers, vec![])?;
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

/// Reads a sum of products of two values over the axes that they share and the result lacks.
fn einsum(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let equation = call.text("equation")?.unwrap_or_default().replace(' ', "");
    let parsed = equation.split_once("->").and_then(|(inputs, output)| {
        let (a, b) = inputs.split_once(',')?;
        let letters = |text: &str| {
            text.chars().all(|c| c.is_ascii_alphabetic()).then(|| text.chars().collect::<Vec<_>>())
        };
        Some((letters(a)?, letters(b)?, letters(output)?))
    });
    let Some((a, b, output)) = parsed else { return unsupported(format!("of the equation \"{equation}\"")) };
    let views = [import.view(call, 0)?, import.view(call, 1)?];
    let once = |letters: &[char]| letters.iter().enumerate().all(|(i, c)| !letters[..i].contains(c));
    let counts = [a.len(), b.len()] == [views[0].axes.len(), views[1].axes.len()];
    if !counts || ![&a, &b, &output].into_iter().all(|letters| once(letters)) {
        return unsupported(format!("of the equation \"{equation}\" for these values"));
    }
    let of = |which: &dyn Fn(&char) -> bool, letters: &[char]| -> Vec<char> {
        letters.iter().copied().filter(|c| which(c)).collect()
    };
    let shared = of(&|c| a.contains(c) && b.contains(c), &output);
    let summed = of(&|c| b.contains(c) && !output.contains(c), &a);
    let own = [
        of(&|c| a.contains(c) && !b.contains(c), &output),
        of(&|c| b.contains(c) && !a.contains(c), &output),
    ];
    let known = shared.len() + own[0].len() + own[1].len() == output.len();
    if !known
        || shared.len() + summed.len() + own[0].len() != a.len()
        || shared.len() + summed.len() + own[1].len() != b.len()
    {
        return unsupported(format!("of the equation \"{equation}\""));
    }
    let at = |letters: &[char], wanted: &[char]| -> Vec<usize> {
        wanted.iter().filter_map(|c| letters.iter().position(|own| own == c)).collect()
    };
    let sides = [(&a, &own[0]), (&b, &own[1])];
    let mut layers = vec![];
    for (i, (letters, own)) in sides.into_iter().enumerate() {
        let [shared, summed, own] = [&shared, &summed, own].map(|wanted| views[i].parts(at(letters, wanted)));
        let layout = if i == 0 { [shared, own, summed] } else { [shared, summed, own] };
        layers.push(import.arranged(call, i, &views[i], layout)?.layer);
    }
    let layer = import.push(call, None, MatMul::default(), &layers, vec![])?;
    let shape = import.shape(layer);
    let mut axes = vec![vec![]; output.len()];
    for (axis, letters, from, view) in [
        (Axis::Channels, &shared, &a, &views[0]),
        (Axis::Rows, &own[0], &a, &views[0]),
        (Axis::Columns, &own[1], &b, &views[1]),
    ] {
        let mut stride = shape[axis as usize - 1];
        for letter in letters {
            let d = at(from, &[*letter])[0];
            let size: usize = view.parts([d]).iter().map(|part| part.size).product();
            stride /= size;
            let place = at(&output, &[*letter])[0];
            if view.axes[d].contains(&IMAGES) {
                axes[place].push(IMAGES);
            }
            if size > 1 {
                axes[place].push(Part { axis, stride, size });
            }
        }
    }
    import.set_view(call, 0, View { layer, axes });
    Ok(())
}
