//! The Gaussian error linear unit as one operation of Burn's flex backend, with its gradient, on the processor's vectors.

use std::f32::consts::FRAC_1_SQRT_2;
use std::mem::MaybeUninit;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use crate::execution::Execution;
use crate::sigmoid::exp;
use crate::simd::{Simd, Work};
use crate::tensor::{Primitive, contiguous, with_gradient, written_each, written_pairs};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Gelu: Backend {
    /// x times the normal distribution's cumulative function of x, of each value.
    fn gelu(x: FloatTensor<Self>, execution: Execution) -> FloatTensor<Self>;
}

/// x times the normal distribution's cumulative function of x, of each value on the flex backend.
pub fn gelu(x: Tensor<4>) -> Tensor<4> {
    gelu_with(x, Execution::default())
}

fn gelu_with(x: Tensor<4>, execution: Execution) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::gelu(x.into_dispatch(), execution))
}

/// The normal distribution's cumulative function, to 1e-7 (Abramowitz & Stegun, 1964, 7.1.26), and its density.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const TERMS: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6];
    const DENSITY: f32 = 0.398_942_3;
    let e = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * FRAC_1_SQRT_2 * x.abs());
    let tail = 0.5 * e * TERMS.iter().fold(0.0, |sum, term| (sum + term) * t);
    (if x < 0.0 { tail } else { 1.0 - tail }, DENSITY * e)
}

/// The function of some values.
struct Forward<'a> {
    x: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            out.write(x * normal(*x).0);
        }
    }
}

/// The gradient of some values, from that of what they became.
struct Back<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for Back<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        for ((out, x), gradient) in self.out.iter_mut().zip(self.x).zip(self.gradient) {
            let (below, density) = normal(*x);
            out.write(gradient * (below + x * density));
        }
    }
}

impl Gelu for Flex {
    fn gelu(x: Primitive, execution: Execution) -> Primitive {
        let set = execution.set;
        // SAFETY: every value is written.
        unsafe { written_each(&x, |x, out| set.run(Forward { x, out })) }
    }
}

#[derive(Debug)]
struct Gradient {
    execution: Execution,
}

impl Backward<Flex, 1> for Gradient {
    /// What the function is of.
    type State = Primitive;

    fn backward(self, ops: Ops<Primitive, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let set = self.execution.set;
        let write =
            |gradient: &[f32], x: &[f32], out: &mut [MaybeUninit<f32>]| set.run(Back { x, gradient, out });
        // SAFETY: every gradient is written.
        let back = unsafe { written_pairs(&gradient, &ops.state, write) };
        gradients.register::<Flex>(parent.id, back);
    }
}

impl<C: CheckpointStrategy> Gelu for Autodiff<Flex, C> {
    fn gelu(x: FloatTensor<Self>, execution: Execution) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = contiguous(&x);
        with_gradient::<C, _, 1>(Gradient { execution }, [node], Flex::gelu(x.clone(), execution), |_| x)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, activation};

    use super::*;
    use crate::simd::InstructionSet;

    /// From tables of the normal distribution.
    #[test]
    fn the_cumulative_function_is_the_tables() {
        for (x, below) in
            [(0.0, 0.5), (1.0, 0.841_344_7), (-1.0, 0.158_655_3), (1.96, 0.975_002_1), (-3.0, 0.001_349_9)]
        {
            assert!((normal(x).0 - below).abs() < 2e-7, "{x}");
        }
        assert!(normal(-40.0).0.abs() < 1e-30);
        assert!(normal(f32::NAN).0.is_nan());
    }

    #[test]
    fn values_and_gradients_are_burns() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::random([2, 3, 70, 50], Distribution::Normal(0.0, 3.0), &device);
        let result = |gelu: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            // As a rearranged map has it: not in the order of its axes.
            let x = x.clone().require_grad();
            let y = gelu(x.clone().swap_dims(1, 2));
            let gradients = (y.clone() * y.clone().cos()).sum().backward();
            [y.without_autodiff(), x.grad(&gradients).unwrap()]
        };
        let burns = result(&activation::gelu);
        for set in InstructionSet::available() {
            let execution = Execution { set, ..Execution::default() };
            let ours = result(&|x| gelu_with(x, execution));
            for (a, b) in ours.into_iter().zip(burns.clone()) {
                assert_eq!(a.dims(), b.dims());
                let error = (a - b).abs().max().into_scalar::<f32>();
                assert!(error < 1e-5, "{set}: {error}");
            }
        }
    }
}
