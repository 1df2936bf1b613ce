//! Tensors of Burn's flex backend as slices, for operations that extend it.

use std::mem::MaybeUninit;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, NodeGuard, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

/// A tensor of the backend.
pub type Primitive = FloatTensor<Flex>;

/// Whether a tensor is on the flex backend, with gradients or without.
pub fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().without_autodiff() == Device::flex()
}

/// The tensor with its values one after another.
pub fn contiguous(tensor: &Primitive) -> Primitive {
    if tensor.as_slice::<f32>().is_some() { tensor.clone() } else { tensor.to_contiguous() }
}

/// The values of a contiguous tensor.
pub fn values(tensor: &Primitive) -> &[f32] {
    tensor.as_slice().expect("contiguous 32-bit floats")
}

/// Values as a tensor beside another one.
pub fn tensor<const D: usize>(values: Vec<f32>, dims: [usize; D], beside: &Primitive) -> Primitive {
    Flex::float_from_data(TensorData::new(values, dims), &beside.device())
}

/// The dimensions `[N, C, H, W]`.
pub fn dims(tensor: &Primitive) -> [usize; 4] {
    std::array::from_fn(|d| tensor.shape()[d])
}

/// The output of an operation with its gradient, which needs `state` where any parent of the output has a gradient.
pub fn with_gradient<C: CheckpointStrategy, G: Backward<Flex, N>, const N: usize>(
    gradient: G,
    parents: [NodeGuard; N],
    output: Primitive,
    state: impl FnOnce(&Primitive) -> G::State,
) -> FloatTensor<Autodiff<Flex, C>> {
    match gradient.prepare::<C>(parents).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state(&output), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// A tensor of dimensions `dims` in `n` equal parts, each written by `f`, given its number and the same part of `from`, into
/// memory that nothing has been written to.
///
/// # Safety
/// `f` writes every value.
pub unsafe fn written_by_part(
    from: &Primitive,
    n: usize,
    dims: [usize; 4],
    f: impl Fn(usize, &[f32], &mut [MaybeUninit<f32>]) + Sync,
) -> Primitive {
    let from = contiguous(from);
    let count = dims.iter().product();
    let mut result: Vec<f32> = Vec::with_capacity(count);
    let room = &mut result.spare_capacity_mut()[..count];
    // A value that is left out shows.
    #[cfg(test)]
    room.fill(MaybeUninit::new(f32::NAN));
    let (before, after) = (values(&from).len() / n.max(1), count / n.max(1));
    room.par_chunks_mut(after.max(1))
        .enumerate()
        .for_each(|(i, to)| f(i, &values(&from)[i * before..][..before], to));
    // SAFETY: the caller's promise.
    unsafe { result.set_len(count) };
    tensor(result, dims, &from)
}

/// A place that several cores write to, each to its own part.
#[derive(Clone, Copy)]
pub struct Pointer(*mut f32);

// SAFETY: whoever writes to it says that no two write to one place.
unsafe impl Send for Pointer {}
// SAFETY: likewise.
unsafe impl Sync for Pointer {}

impl Pointer {
    pub fn new(at: *mut f32) -> Self {
        Self(at)
    }

    pub fn get(self) -> *mut f32 {
        self.0
    }

    /// The place so many values after it.
    ///
    /// # Safety
    /// There are as many.
    pub unsafe fn add(self, count: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.add(count) })
    }
}

/// Values that a core takes at a time.
const CHUNK: usize = 1 << 13;

/// What `f` makes of each value of `x`, a part at a time, the parts side by side.
///
/// # Safety
/// `f` writes every value.
pub unsafe fn written_each(x: &Primitive, f: impl Fn(&[f32], &mut [MaybeUninit<f32>]) + Sync) -> Primitive {
    let write = |_, x: &[f32], out: &mut [MaybeUninit<f32>]| {
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| f(x, out));
    };
    // SAFETY: there are as many values as before, and the caller's function writes them.
    unsafe { written_by_part(x, 1, dims(x), write) }
}

/// What `f` makes of each gradient and the value of `state` that goes with it, a part at a time, the parts side by side.
///
/// # Safety
/// `f` writes every value.
pub unsafe fn written_pairs(
    gradient: &Primitive,
    state: &Primitive,
    f: impl Fn(&[f32], &[f32], &mut [MaybeUninit<f32>]) + Sync,
) -> Primitive {
    let state = values(state);
    let write = |_, gradient: &[f32], out: &mut [MaybeUninit<f32>]| {
        let chunks = out.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        chunks.zip(state.par_chunks(CHUNK)).for_each(|((out, gradient), state)| f(gradient, state, out));
    };
    // SAFETY: there are as many values as gradients, and the caller's function writes them.
    unsafe { written_by_part(gradient, 1, dims(gradient), write) }
}
