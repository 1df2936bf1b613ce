//! The sigmoid, and its product with what it is taken of, as operations of Burn's flex backend with their gradients, on the
//! processor's vectors.

use std::f32::consts::LOG2_E;
use std::mem::MaybeUninit;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use crate::execution::Execution;
use crate::simd::{Simd, Work};
use crate::tensor::{Primitive, contiguous, with_gradient, written_each, written_pairs};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Sigmoid: Backend {
    /// 1 / (1 + exp(-x)) of each value.
    fn squash(x: FloatTensor<Self>, execution: Execution) -> FloatTensor<Self>;

    /// x / (1 + exp(-x)) of each value.
    fn silu(x: FloatTensor<Self>, execution: Execution) -> FloatTensor<Self>;
}

/// 1 / (1 + exp(-x)) of each value on the flex backend.
pub fn sigmoid(x: Tensor<4>) -> Tensor<4> {
    sigmoid_with(x, Execution::default())
}

/// x / (1 + exp(-x)) of each value on the flex backend.
pub fn silu(x: Tensor<4>) -> Tensor<4> {
    silu_with(x, Execution::default())
}

fn silu_with(x: Tensor<4>, execution: Execution) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::silu(x.into_dispatch(), execution))
}

fn sigmoid_with(x: Tensor<4>, execution: Execution) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::squash(x.into_dispatch(), execution))
}

/// 2^n · exp(x - n · ln 2) with a polynomial, in operations that a compiler can do on vectors. To 2 units in the last place;
/// x is cut off at ±87, beyond which sigmoids are 0 or 1.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// A number that leaves no digits after the point, and those before it in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    /// ln 2 in two parts, of which the first has few digits, so that a product with n is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let terms = [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0];
    let power = terms.iter().fold(0.0, |sum, term| sum * r + 1.0 / term);
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The sigmoids of some values.
struct Forward<'a> {
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            out.write(1.0 / (1.0 + exp(-x)));
        }
    }
}

/// What values are times their sigmoids.
struct Silu<'a> {
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for Silu<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            out.write(x / (1.0 + exp(-x)));
        }
    }
}

/// The gradient of values, from that of what they are times their sigmoids.
struct SiluBack<'a> {
    gradient: &'a [f32],
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for SiluBack<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        for ((out, gradient), x) in self.out.iter_mut().zip(self.gradient).zip(self.x) {
            let s = 1.0 / (1.0 + exp(-x));
            out.write(gradient * (s + x * s * (1.0 - s)));
        }
    }
}

impl Sigmoid for Flex {
    fn silu(x: Primitive, execution: Execution) -> Primitive {
        let set = execution.set;
        // SAFETY: every product is written.
        unsafe { written_each(&x, |x, out| set.run(Silu { x, out })) }
    }

    fn squash(x: Primitive, execution: Execution) -> Primitive {
        let set = execution.set;
        // SAFETY: every sigmoid is written.
        unsafe { written_each(&x, |x, out| set.run(Forward { x, out })) }
    }
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    /// The sigmoids.
    type State = Primitive;

    fn backward(self, ops: Ops<Primitive, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [Some(x)] = ops.parents else { return };
        let write = |gradient: &[f32], sigmoids: &[f32], out: &mut [MaybeUninit<f32>]| {
            for ((out, gradient), s) in out.iter_mut().zip(gradient).zip(sigmoids) {
                out.write(gradient * s * (1.0 - s));
            }
        };
        // SAFETY: every gradient is written.
        let back = unsafe { written_pairs(&gradient, &ops.state, write) };
        gradients.register::<Flex>(x.id, back);
    }
}

#[derive(Debug)]
struct SiluGradient;

impl Backward<Flex, 1> for SiluGradient {
    /// The values, and how the work is done.
    type State = (Primitive, Execution);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let (x, execution) = ops.state;
        let write = |gradient: &[f32], x: &[f32], out: &mut [MaybeUninit<f32>]| {
            execution.set.run(SiluBack { gradient, x, out });
        };
        // SAFETY: every gradient is written.
        let back = unsafe { written_pairs(&gradient, &x, write) };
        gradients.register::<Flex>(parent.id, back);
    }
}

impl<C: CheckpointStrategy> Sigmoid for Autodiff<Flex, C> {
    fn silu(x: FloatTensor<Self>, execution: Execution) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = contiguous(&x);
        let output = Flex::silu(x.clone(), execution);
        with_gradient::<C, _, 1>(SiluGradient, [node], output, |_| (x, execution))
    }

    fn squash(x: FloatTensor<Self>, execution: Execution) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        with_gradient::<C, _, 1>(Gradient, [node], Flex::squash(x, execution), Primitive::clone)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, activation};

    use super::*;
    use crate::simd::InstructionSet;

    #[test]
    fn exponentials_are_those_of_the_library() {
        for i in -87_000..=87_000 {
            let x = i as f32 / 1000.0;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoids_and_gradients_are_burns() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::random([2, 3, 70, 50], Distribution::Normal(0.0, 20.0), &device);
        let result = |function: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            let x = x.clone().require_grad();
            let y = function(x.clone());
            let gradients = y.clone().cos().sum().backward();
            [y.without_autodiff(), x.grad(&gradients).unwrap()]
        };
        let burns = [result(&activation::sigmoid), result(&activation::silu)];
        for set in InstructionSet::available() {
            let execution = Execution { set, ..Execution::default() };
            let ours = [result(&|x| sigmoid_with(x, execution)), result(&|x| silu_with(x, execution))];
            for (a, b) in ours.into_iter().flatten().zip(burns.clone().into_iter().flatten()) {
                assert_eq!(a.dims(), b.dims());
                let error = (a - b.clone()).abs() / (b.abs() + 1.0);
                assert!(error.max().into_scalar::<f32>() < 1e-5, "{set}");
            }
        }
    }
}
