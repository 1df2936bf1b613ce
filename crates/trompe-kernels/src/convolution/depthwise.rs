//! Depthwise convolutions, whose channels are computed each from its own, as an operation of Burn's flex backend with the images'
//! gradient.
//!
//! A channel's padded plane is taken apart by the strides: rows and columns with the same remainder are a phase. Rows of a phase lie one
//! after another, so that an output is a sum over the kernel of a weight times a phase shifted by a number of values, over all rows
//! at once.

use std::ops::Range;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::memory::{self, Memory};
use super::operation::{margins, parameters};
use crate::execution::Execution;
use crate::simd::{InstructionSet, Simd, Vector, Work};
use crate::tensor::{Primitive, contiguous, dims, tensor, values, with_gradient};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Depthwise: Backend {
    /// The depthwise convolution of images `[N, C, H, W]` with weights `[C, 1, kh, kw]` and a bias `[C]`, rectified if asked for,
    /// with this share of the gradient where it is 0.
    fn depthwise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        planes: Planes,
        rectify: Option<f32>,
        execution: Execution,
    ) -> FloatTensor<Self>;
}

/// Whether a convolution's channels are computed each from its own, and nothing is learned by it.
pub fn is_depthwise(conv: &Conv2d) -> bool {
    let [output, input, ..] = conv.weight.dims();
    let learned =
        conv.weight.val().is_tracked() || conv.bias.as_ref().is_some_and(|bias| bias.val().is_tracked());
    conv.groups == output && input == 1 && !learned
}

/// The convolution of images `[N, C, H, W]` on the flex backend, which [`is_depthwise`], and max(x, 0) of each value if it is to be
/// rectified, with this share of the gradient where it is 0.
pub fn convolve_depthwise(conv: &Conv2d, x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    convolve_depthwise_with(conv, x, rectify, Execution::default())
}

fn convolve_depthwise_with(
    conv: &Conv2d,
    x: Tensor<4>,
    rectify: Option<f32>,
    execution: Execution,
) -> Tensor<4> {
    let [_, channels, h, w] = x.dims();
    let [output, _, kh, kw] = conv.weight.dims();
    assert_eq!(channels, output, "a convolution of other channels");
    let planes = Planes {
        input: [h, w],
        kernel: [kh, kw],
        stride: conv.stride,
        padding: margins(conv),
        dilation: conv.dilation,
    };
    let [weight, bias] = parameters(conv);
    Tensor::from_dispatch(Dispatch::depthwise(x.into_dispatch(), weight, bias, planes, rectify, execution))
}

/// How a channel is convolved: height and width of what is read and of the kernel, and the rest by rows and columns.
#[derive(Clone, Copy, Debug)]
struct Planes {
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [(usize, usize); 2],
    dilation: [usize; 2],
}

/// A place of the kernel.
struct Tap {
    /// Which weight it is.
    weight: usize,
    /// The phase it reads, by rows and columns.
    phase: [usize; 2],
    /// How many rows and columns further.
    shift: [usize; 2],
}

/// Planes that a core takes at a time, at least.
const PLANES: usize = 4;

/// How many vectors are summed side by side.
const SIDE_BY_SIDE: usize = 4;

/// Values after the last plane, so that no vectors reach over the end.
const ROOM: usize = SIDE_BY_SIDE * crate::simd::MOST_LANES;

thread_local! {
    /// Memory for phases and sums that the next channel on this thread uses again.
    static MEMORY: Memory = const { memory::empty() };
}

/// Sums of shifted values: value q of `to` is `start` + Σ weight · `from[offset + q]`.
struct Sums<'a> {
    from: &'a [f32],
    taps: &'a [(f32, usize)],
    start: f32,
    /// With room for whole vectors after `count`.
    to: &'a mut [f32],
    count: usize,
}

impl Work for Sums<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Self { from, taps, start, to, count } = self;
        let step = SIDE_BY_SIDE * S::LANES;
        let last = count.div_ceil(step) * step;
        assert!(last <= to.len() && taps.iter().all(|(_, offset)| offset + last <= from.len()));
        // SAFETY: as just asserted.
        unsafe {
            for q in (0..count).step_by(step) {
                let mut sums = [simd.splat(start); SIDE_BY_SIDE];
                for &(weight, offset) in taps {
                    let weight = simd.splat(weight);
                    let from = from.as_ptr().add(offset + q);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = simd.load(from.add(j * S::LANES)).mul_add(weight, *sum);
                    }
                }
                for (j, sum) in sums.into_iter().enumerate() {
                    sum.store(to.as_mut_ptr().add(q + j * S::LANES));
                }
            }
        }
    }
}

/// The rows or columns of a map of `n` that have places in a phase: their places in it, counted from 0, and the first of them.
fn of_phase(phase: usize, stride: usize, before: usize, n: usize, places: usize) -> (Range<usize>, usize) {
    // Place i is row i · stride + phase - before.
    let first = before.saturating_sub(phase).div_ceil(stride).min(places);
    let row = (first * stride + phase).saturating_sub(before);
    let count = n.saturating_sub(row).div_ceil(stride).min(places - first);
    (first..first + count, row)
}

impl Planes {
    fn output(&self) -> [usize; 2] {
        std::array::from_fn(|d| {
            let reach = self.dilation[d] * (self.kernel[d] - 1) + 1;
            (self.input[d] + self.padding[d].0 + self.padding[d].1 - reach) / self.stride[d] + 1
        })
    }

    /// How many rows and columns of a phase the kernel reaches over.
    fn reach(&self) -> [usize; 2] {
        std::array::from_fn(|d| (self.kernel[d] - 1) * self.dilation[d] / self.stride[d])
    }

    fn taps(&self) -> impl Iterator<Item = Tap> {
        let [_, kw] = self.kernel;
        (0..self.kernel[0] * kw).map(move |weight| {
            let at = [weight / kw * self.dilation[0], weight % kw * self.dilation[1]];
            Tap {
                weight,
                phase: std::array::from_fn(|d| at[d] % self.stride[d]),
                shift: std::array::from_fn(|d| at[d] / self.stride[d]),
            }
        })
    }

    fn phases(&self) -> impl Iterator<Item = [usize; 2]> {
        let [down, across] = self.stride;
        (0..down * across).map(move |i| [i / across, i % across])
    }

    /// Convolves a channel.
    fn forward(
        &self,
        set: InstructionSet,
        x: &[f32],
        weights: &[f32],
        bias: f32,
        rectify: bool,
        out: &mut [f32],
    ) {
        let ([oh, ow], [down, across], [_, width]) = (self.output(), self.reach(), self.input);
        let (rows, pitch) = (oh + down, ow + across);
        let plane = rows * pitch;
        let phases = self.stride[0] * self.stride[1];
        let count = (oh - 1) * pitch + ow;
        memory::with(&MEMORY, phases * plane + 2 * ROOM + count, |memory| {
            let (planes, sums) = memory.split_at_mut(phases * plane + ROOM);
            planes[phases * plane..].fill(0.0);
            for (at, plane) in self.phases().zip(planes.chunks_exact_mut(plane)) {
                let (down, row) = of_phase(at[0], self.stride[0], self.padding[0].0, self.input[0], rows);
                let (across, column) = of_phase(at[1], self.stride[1], self.padding[1].0, width, pitch);
                plane[..down.start * pitch].fill(0.0);
                plane[down.end * pitch..].fill(0.0);
                for (i, to) in plane[down.start * pitch..down.end * pitch].chunks_exact_mut(pitch).enumerate()
                {
                    to[..across.start].fill(0.0);
                    to[across.end..].fill(0.0);
                    let from = &x[(row + i * self.stride[0]) * width..][..width];
                    let to = &mut to[across.clone()];
                    match self.stride[1] {
                        1 => to.copy_from_slice(&from[column..column + to.len()]),
                        step => to
                            .iter_mut()
                            .zip(from[column.min(width)..].iter().step_by(step))
                            .for_each(|(to, v)| *to = *v),
                    }
                }
            }
            let taps: Vec<(f32, usize)> = self
                .taps()
                .map(|Tap { weight, phase, shift }| {
                    let phase = phase[0] * self.stride[1] + phase[1];
                    (weights[weight], phase * plane + shift[0] * pitch + shift[1])
                })
                .collect();
            set.run(Sums { from: planes, taps: &taps, start: bias, to: sums, count });
            for (out, sums) in out.chunks_exact_mut(ow).zip(sums.chunks(pitch)) {
                match rectify {
                    true => out.iter_mut().zip(sums).for_each(|(out, v)| *out = v.max(0.0)),
                    false => out.copy_from_slice(&sums[..ow]),
                }
            }
        });
    }

    /// The gradient of a channel, given that of the output, and what this was where it was rectified.
    fn backward(
        &self,
        set: InstructionSet,
        gradient: &[f32],
        rectified: Option<(&[f32], f32)>,
        weights: &[f32],
        out: &mut [f32],
    ) {
        let ([oh, ow], [down, across], [height, width]) = (self.output(), self.reach(), self.input);
        // The places of a phase of the padded input up to its last row and column.
        let [rows, columns] =
            std::array::from_fn(|d| (self.padding[d].0 + self.input[d] - 1) / self.stride[d] + 1);
        let (all, pitch) = (rows + down, columns + across);
        let count = (rows - 1) * pitch + columns;
        memory::with(&MEMORY, all * pitch + 2 * ROOM + count, |memory| {
            let (plane, sums) = memory.split_at_mut(all * pitch + ROOM);
            // Row and column q hold output row and column q - reach.
            plane.fill(0.0);
            let n = ow.min(columns);
            for y in 0..oh.min(rows) {
                let to = &mut plane[(down + y) * pitch + across..][..n];
                let from = &gradient[y * ow..][..n];
                match rectified {
                    None => to.copy_from_slice(from),
                    Some((output, leak)) => {
                        for ((to, g), v) in to.iter_mut().zip(from).zip(&output[y * ow..][..n]) {
                            *to = if *v > 0.0 { *g } else { leak * g };
                        }
                    }
                }
            }
            for at in self.phases() {
                let taps: Vec<(f32, usize)> = self
                    .taps()
                    .filter(|tap| tap.phase == at)
                    .map(|Tap { weight, shift, .. }| {
                        (weights[weight], (down - shift[0]) * pitch + across - shift[1])
                    })
                    .collect();
                set.run(Sums { from: plane, taps: &taps, start: 0.0, to: sums, count });
                let (own, row) = of_phase(at[0], self.stride[0], self.padding[0].0, height, rows);
                let (across, column) = of_phase(at[1], self.stride[1], self.padding[1].0, width, columns);
                for (i, place) in own.enumerate() {
                    let sums = &sums[place * pitch..][across.clone()];
                    let to = &mut out[(row + i * self.stride[0]) * width..][..width];
                    match self.stride[1] {
                        1 => to[column..column + sums.len()].copy_from_slice(sums),
                        step => to[column.min(width)..]
                            .iter_mut()
                            .step_by(step)
                            .zip(sums)
                            .for_each(|(to, v)| *to = *v),
                    }
                }
            }
        });
    }
}

/// Planes of `to` values each, `n` images of `c` channels, that `f` writes, given their number.
fn by_plane(
    n: usize,
    c: usize,
    to: [usize; 2],
    beside: &Primitive,
    f: impl Fn(usize, &mut [f32]) + Sync,
) -> Primitive {
    let size = to[0] * to[1];
    let mut all = vec![0.0; n * c * size];
    all.par_chunks_mut(size.max(1)).with_min_len(PLANES).enumerate().for_each(|(i, plane)| f(i, plane));
    tensor(all, [n, c, to[0], to[1]], beside)
}

fn forward(
    x: &Primitive,
    [weight, bias]: [&Primitive; 2],
    planes: &Planes,
    rectify: bool,
    execution: Execution,
) -> Primitive {
    let [x, weight, bias] = [x, weight, bias].map(contiguous);
    let [n, c, h, w] = dims(&x);
    let taps = planes.kernel[0] * planes.kernel[1];
    by_plane(n, c, planes.output(), &x, |i, out| {
        let (weights, bias) = (&values(&weight)[i % c * taps..][..taps], values(&bias)[i % c]);
        planes.forward(execution.set, &values(&x)[i * h * w..][..h * w], weights, bias, rectify, out);
    })
}

impl Depthwise for Flex {
    fn depthwise(
        x: Primitive,
        weight: Primitive,
        bias: Primitive,
        planes: Planes,
        rectify: Option<f32>,
        execution: Execution,
    ) -> Primitive {
        forward(&x, [&weight, &bias], &planes, rectify.is_some(), execution)
    }
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    /// The weights, how planes are convolved, and the output where it was rectified, with the share of the gradient where it is 0.
    type State = (Primitive, Planes, Option<(Primitive, f32)>, Execution);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (weight, planes, rectified, execution) = ops.state;
        let [Some(parent)] = ops.parents else { return };
        let [n, c, oh, ow] = dims(&gradient);
        let taps = planes.kernel[0] * planes.kernel[1];
        let weight = contiguous(&weight);
        let own = by_plane(n, c, planes.input, &gradient, |i, out| {
            let part = i * oh * ow..(i + 1) * oh * ow;
            let rectified = rectified.as_ref().map(|(output, leak)| (&values(output)[part.clone()], *leak));
            let weights = &values(&weight)[i % c * taps..][..taps];
            planes.backward(execution.set, &values(&gradient)[part], rectified, weights, out);
        });
        gradients.register::<Flex>(parent.id, own);
    }
}

impl<C: CheckpointStrategy> Depthwise for Autodiff<Flex, C> {
    fn depthwise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        planes: Planes,
        rectify: Option<f32>,
        execution: Execution,
    ) -> FloatTensor<Self> {
        let [(weight, _), (bias, _)] = [weight, bias].map(|parameter| parameter.into_parts());
        let (x, node) = x.into_parts();
        let output = forward(&x, [&weight, &bias], &planes, rectify.is_some(), execution);
        with_gradient::<C, _, 1>(Gradient, [node], output, |output| {
            (weight, planes, rectify.map(|leak| (output.clone(), leak)), execution)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::nn::PaddingConfig2d;
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;
    use crate::execution::tests::executions;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Values and the images' gradient are those of Burn's own convolution and ReLU.
        #[test]
        fn depthwise_kernels_agree_with_burns(
            [n, c] in [1usize..3, 1usize..7],
            kernel in [1usize..6, 1usize..6],
            stride in [1usize..4, 1usize..4],
            dilation in [1usize..3, 1usize..3],
            margins in [(0usize..4, 0usize..4), (0usize..4, 0usize..4)],
            extra in [0usize..14, 0usize..40],
            bias: bool,
            rectify in prop::sample::select(vec![None, Some(0.0), Some(0.25)]),
            execution in executions(),
        ) {
            let input: [usize; 2] = std::array::from_fn(|d| {
                let reach = dilation[d] * (kernel[d] - 1) + 1;
                reach.saturating_sub(margins[d].0 + margins[d].1).max(1) + extra[d]
            });
            let [(top, bottom), (left, right)] = margins;
            let device = Device::flex().autodiff();
            let random = |dims: [usize; 4]| Tensor::<4>::random(dims, Distribution::Normal(0.0, 1.0), &device);
            let conv = Conv2d {
                weight: Param::from_tensor(random([c, 1, kernel[0], kernel[1]])),
                bias: bias.then(|| Param::from_tensor(random([c, 1, 1, 1]).reshape([c]))),
                stride,
                kernel_size: kernel,
                dilation,
                groups: c,
                padding: PaddingConfig2d::Explicit(top, left, bottom, right),
            };
            let conv = conv.freeze();
            prop_assert!(is_depthwise(&conv));
            let x = random([n, c, input[0], input[1]]);
            let result = |convolve: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let x = x.clone().require_grad();
                let y = convolve(x.clone());
                let gradients = (y.clone() * y.clone().cos() + y.clone()).sum().backward();
                [y.without_autodiff(), x.grad(&gradients).unwrap()]
            };
            let ours = result(&|x| convolve_depthwise_with(&conv, x, rectify, execution));
            let theirs = result(&|x| {
                let y = conv.forward(x);
                let Some(leak) = rectify else { return y };
                let below = y.clone() * y.clone().lower_equal_elem(0.0).float() * leak;
                burn::tensor::activation::relu(y) + (below.clone() - below.detach())
            });
            for (a, b) in ours.into_iter().zip(theirs) {
                prop_assert_eq!(a.dims(), b.dims());
                let scale = b.clone().abs().max().into_scalar::<f32>().max(1.0);
                prop_assert!((a - b).abs().max().into_scalar::<f32>() < 1e-5 * scale);
            }
        }
    }
}
