//! Layer normalization over the channels of maps as one operation of Burn's flex backend, with its gradient, on the processor's
//! vectors.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::execution::Execution;
use crate::simd::{Simd, Work};
use crate::tensor::{Pointer, Primitive, contiguous, dims, tensor, values, with_gradient};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait LayerNorm: Backend {
    /// Each place's channels with mean 0 and variance 1, scaled and shifted by channel.
    fn layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
        execution: Execution,
    ) -> FloatTensor<Self>;
}

/// Images `[N, C, H, W]` on the flex backend, each place's channels with mean 0 and variance 1 (to which `epsilon` is added), scaled
/// and shifted by channel. The scales and shifts `[C]` have no gradients.
pub fn layer_norm(x: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>, epsilon: f32) -> Tensor<4> {
    layer_norm_with(x, scale, shift, epsilon, Execution::default())
}

fn layer_norm_with(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f32,
    execution: Execution,
) -> Tensor<4> {
    let [scale, shift] = [scale, shift].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::layer_norm(x.into_dispatch(), scale, shift, epsilon, execution))
}

/// Places that a core takes at a time: so many rows of them, one a channel, fit its cache.
const PLACES: usize = 64;

/// Some places of an image: values `first .. first + count` of each of its channels.
struct Places<'a> {
    x: &'a [f32],
    first: usize,
    count: usize,
    /// How many places a channel has.
    all: usize,
    epsilon: f32,
}

impl Places<'_> {
    fn channel(&self, values: &[f32], c: usize) -> std::ops::Range<usize> {
        debug_assert!((c + 1) * self.all <= values.len());
        c * self.all + self.first..c * self.all + self.first + self.count
    }

    /// The means of the places, and one over their standard deviations.
    #[inline(always)]
    fn statistics(&self) -> [[f32; PLACES]; 2] {
        let channels = self.x.len() / self.all;
        let [mut means, mut deviations] = [[0f32; PLACES]; 2];
        for c in 0..channels {
            let x = &self.x[self.channel(self.x, c)];
            means[..self.count].iter_mut().zip(x).for_each(|(mean, x)| *mean += x);
        }
        means.iter_mut().for_each(|mean| *mean /= channels as f32);
        for c in 0..channels {
            let x = &self.x[self.channel(self.x, c)];
            let sums = deviations[..self.count].iter_mut().zip(&means);
            sums.zip(x).for_each(|((sum, mean), x)| *sum += (x - mean) * (x - mean));
        }
        deviations.iter_mut().for_each(|sum| *sum = 1.0 / (*sum / channels as f32 + self.epsilon).sqrt());
        [means, deviations]
    }
}

struct Forward<'a> {
    places: Places<'a>,
    scale: &'a [f32],
    shift: &'a [f32],
    /// Where the image goes.
    out: Pointer,
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        let Self { places, scale, shift, out } = self;
        let [means, deviations] = places.statistics();
        for (c, (scale, shift)) in scale.iter().zip(shift).enumerate() {
            let range = places.channel(places.x, c);
            // SAFETY: the output is as large as the image, and these places are this task's.
            let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(range.start), range.len()) };
            let x = &places.x[range];
            for (((out, x), mean), deviation) in out.iter_mut().zip(x).zip(&means).zip(&deviations) {
                *out = (x - mean) * deviation * scale + shift;
            }
        }
    }
}

struct Back<'a> {
    places: Places<'a>,
    scale: &'a [f32],
    gradient: &'a [f32],
    /// Where the image's gradient goes.
    out: Pointer,
}

impl Work for Back<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        let Self { places, scale, gradient, out } = self;
        let [means, deviations] = places.statistics();
        // The means, over channels, of the gradient of what is normal, and of its product with that.
        let [mut plain, mut along] = [[0f32; PLACES]; 2];
        for (c, scale) in scale.iter().enumerate() {
            let range = places.channel(places.x, c);
            let (x, g) = (&places.x[range.clone()], &gradient[range]);
            let sums = plain.iter_mut().zip(&mut along).zip(means.iter().zip(&deviations));
            for (((plain, along), (mean, deviation)), (x, g)) in sums.zip(x.iter().zip(g)) {
                let g = g * scale;
                *plain += g;
                *along += g * (x - mean) * deviation;
            }
        }
        let share = 1.0 / scale.len() as f32;
        plain.iter_mut().chain(&mut along).for_each(|sum| *sum *= share);
        for (c, scale) in scale.iter().enumerate() {
            let range = places.channel(places.x, c);
            // SAFETY: the gradient is as large as the image, and these places are this task's.
            let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(range.start), range.len()) };
            let (x, g) = (&places.x[range.clone()], &gradient[range]);
            let of = plain.iter().zip(&along).zip(means.iter().zip(&deviations));
            for ((out, ((plain, along), (mean, deviation))), (x, g)) in
                out.iter_mut().zip(of).zip(x.iter().zip(g))
            {
                *out = (g * scale - plain - (x - mean) * deviation * along) * deviation;
            }
        }
    }
}

/// A tensor like `x` that `f` writes, given an image and some of its places, side by side.
///
/// # Safety
/// `f` writes these places of the image at the pointer, and nothing else.
unsafe fn by_places(x: &Primitive, epsilon: f32, f: impl Fn(usize, Places<'_>, Pointer) + Sync) -> Primitive {
    let [n, c, h, w] = dims(x);
    let (all, size, count) = (h * w, c * h * w, n * c * h * w);
    let mut result: Vec<f32> = Vec::with_capacity(count);
    // A value that is left out shows.
    #[cfg(test)]
    result.spare_capacity_mut()[..count].fill(std::mem::MaybeUninit::new(f32::NAN));
    let out = Pointer::new(result.as_mut_ptr());
    let blocks = all.div_ceil(PLACES);
    let x_values = values(x);
    (0..n * blocks).into_par_iter().for_each(|task| {
        let (image, first) = (task / blocks, task % blocks * PLACES);
        let own = &x_values[image * size..][..size];
        let places = Places { x: own, first, count: PLACES.min(all - first), all, epsilon };
        // SAFETY: there is room for all images.
        f(image, places, unsafe { out.add(image * size) });
    });
    // SAFETY: every place of every image was written.
    unsafe { result.set_len(count) };
    tensor(result, [n, c, h, w], x)
}

fn forward(x: &Primitive, [scale, shift]: [&Primitive; 2], epsilon: f32, execution: Execution) -> Primitive {
    let [scale, shift] = [scale, shift].map(contiguous);
    let [scale, shift] = [&scale, &shift].map(values);
    assert!([scale.len(), shift.len()] == [dims(x)[1]; 2], "a scale and a shift for each channel");
    // SAFETY: all channels of the places are written.
    unsafe {
        by_places(x, epsilon, |_, places, out| execution.set.run(Forward { places, scale, shift, out }))
    }
}

impl LayerNorm for Flex {
    fn layer_norm(
        x: Primitive,
        scale: Primitive,
        shift: Primitive,
        epsilon: f32,
        execution: Execution,
    ) -> Primitive {
        forward(&contiguous(&x), [&scale, &shift], epsilon, execution)
    }
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    /// The images, the scales, and what is added to variances.
    type State = (Primitive, Primitive, f32, Execution);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (x, scale, epsilon, execution) = ops.state;
        let [Some(parent)] = ops.parents else { return };
        let size = values(&x).len() / dims(&x)[0].max(1);
        let (scale, gradient) = (values(&scale), values(&gradient));
        // SAFETY: all channels of the places are written.
        let own = unsafe {
            by_places(&x, epsilon, |image, places, out| {
                let gradient = &gradient[image * size..][..size];
                execution.set.run(Back { places, scale, gradient, out });
            })
        };
        gradients.register::<Flex>(parent.id, own);
    }
}

impl<C: CheckpointStrategy> LayerNorm for Autodiff<Flex, C> {
    fn layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
        execution: Execution,
    ) -> FloatTensor<Self> {
        let [(scale, _), (shift, _)] = [scale, shift].map(|parameter| parameter.into_parts());
        let (x, node) = x.into_parts();
        let (x, scale) = (contiguous(&x), contiguous(&scale));
        let output = forward(&x, [&scale, &shift], epsilon, execution);
        with_gradient::<C, _, 1>(Gradient, [node], output, |_| (x, scale, epsilon, execution))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;
    use crate::execution::tests::executions;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Values and gradients are those of means and variances, one by one.
        #[test]
        fn channels_have_mean_0_and_variance_1(
            [n, c] in [1usize..3, 1usize..30],
            [h, w] in [1usize..20, 1usize..20],
            execution in executions(),
        ) {
            let device = Device::flex().autodiff();
            let x = Tensor::<4>::random([n, c, h, w], Distribution::Normal(3.0, 2.0), &device);
            let [scale, shift] = [1.0, -0.5].map(|mean| Tensor::<1>::random([c], Distribution::Normal(mean, 0.5), &device));
            let result = |norm: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let x = x.clone().require_grad();
                let y = norm(x.clone());
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                [y.without_autodiff(), x.grad(&gradients).unwrap()]
            };
            let ours = result(&|x| layer_norm_with(x, scale.clone(), shift.clone(), 1e-3, execution));
            let theirs = result(&|x| {
                let centred = x.clone() - x.mean_dim(1);
                let variance = centred.clone().powi_scalar(2).mean_dim(1);
                let [scale, shift] = [&scale, &shift].map(|p| p.clone().reshape([1, c, 1, 1]));
                centred / (variance + 1e-3).sqrt() * scale + shift
            });
            for (a, b) in ours.into_iter().zip(theirs) {
                prop_assert_eq!(a.dims(), b.dims());
                let scale = b.clone().abs().max().into_scalar::<f32>().max(1.0);
                prop_assert!((a - b).abs().max().into_scalar::<f32>() < 1e-4 * scale);
            }
        }
    }
}
