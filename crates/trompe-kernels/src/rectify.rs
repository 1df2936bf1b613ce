//! The ReLU, max(x, 0), whose gradient may leak, as an operation of Burn's flex backend.

use std::mem::MaybeUninit;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::ActivationOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::tensor::{Primitive, contiguous, dims, values, with_gradient, written_by_part};

/// Values that a core takes at a time.
const CHUNK: usize = 1 << 13;

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Rectification: Backend {
    /// max(x, 0) of each value, with a share of the gradient where it is 0.
    fn rectified(x: FloatTensor<Self>, leak: f32) -> FloatTensor<Self>;
}

/// max(x, 0) of each value of `[N, C, H, W]` on the flex backend, with the share `leak` of the gradient where x is not above 0.
pub fn relu(x: Tensor<4>, leak: f32) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::rectified(x.into_dispatch(), leak))
}

/// The gradient before a ReLU, from that after it and what it gave.
pub(crate) fn before(output: &Primitive, gradient: &Primitive, leak: f32) -> Primitive {
    let output = contiguous(output);
    let write = |_, gradient: &[f32], out: &mut [MaybeUninit<f32>]| {
        let output = values(&output).par_chunks(CHUNK);
        out.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(output).for_each(
            |((out, gradient), output)| {
                for ((out, gradient), output) in out.iter_mut().zip(gradient).zip(output) {
                    out.write(if *output > 0.0 { *gradient } else { leak * gradient });
                }
            },
        );
    };
    // SAFETY: there are as many values as gradients.
    unsafe { written_by_part(gradient, 1, dims(gradient), write) }
}

impl Rectification for Flex {
    fn rectified(x: Primitive, _: f32) -> Primitive {
        Flex::relu(x)
    }
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    /// What came out, and the share of the gradient where that is 0.
    type State = (Primitive, f32);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (output, leak) = ops.state;
        let [Some(x)] = ops.parents else { return };
        gradients.register::<Flex>(x.id, before(&output, &gradient, leak));
    }
}

impl<C: CheckpointStrategy> Rectification for Autodiff<Flex, C> {
    fn rectified(x: FloatTensor<Self>, leak: f32) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = Flex::relu(x);
        with_gradient::<C, _, 1>(Gradient, [node], output, |output| (output.clone(), leak))
    }
}
