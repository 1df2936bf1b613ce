//! Geometric transforms of images, bilinear, as one operation of Burn's flex backend, with its gradient.

use std::mem::MaybeUninit;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use rayon::prelude::*;

use crate::sample::{GREY, MARGIN, Samples, surrounded};
use crate::tensor::{Primitive, dims, with_gradient, written_by_part};

/// Rows that a core takes at a time.
const SHARE: usize = 16;

/// A plane of an image, `w` pixels wide, with what is around it.
fn surround(plane: &[f32], w: usize) -> Vec<f32> {
    let [before, after] = MARGIN;
    let h = plane.len() / w;
    let [rows, pitch] = surrounded([h, w]);
    let mut around = vec![GREY; rows * pitch];
    around[(h + before + after) * pitch..].fill(0.0);
    for (row, to) in plane.chunks(w).zip(around.chunks_mut(pitch).skip(before)) {
        to[before..][..w].copy_from_slice(row);
    }
    around
}

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Resampling: Backend {
    /// The pixels at some places of each image of `[N, C, H, W]`; all results have the same size.
    fn resample(images: FloatTensor<Self>, samples: Arc<Vec<Samples>>) -> FloatTensor<Self>;
}

/// The pixels at some places of each image of `[N, C, H, W]` on the flex backend, by image and row; all results have the same
/// size.
pub fn resample(images: Tensor<4>, samples: Vec<Samples>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::resample(images.into_dispatch(), Arc::new(samples)))
}

/// The results.
fn gather(images: &Primitive, samples: &[Samples]) -> Primitive {
    let ow = samples[0][0].len();
    let [n, c, h, w] = dims(images);
    let [_, pitch] = surrounded([h, w]);
    let plane = |i: usize, plane: &[f32], out: &mut [MaybeUninit<f32>]| {
        let plane = surround(plane, w);
        let rows = out.par_chunks_mut(ow).zip(&samples[i / c]).with_min_len(SHARE);
        rows.for_each(|(out, samples)| {
            for (out, sample) in out.iter_mut().zip(samples) {
                let at = sample.at as usize;
                let [above, below] = [at, at + pitch].map(|at| &plane[at..at + 2]);
                let [a, b, c, d] = sample.shares();
                out.write(above[0] * a + above[1] * b + below[0] * c + below[1] * d);
            }
        });
    };
    // SAFETY: there is a sample for each pixel of the result.
    unsafe { written_by_part(images, n * c, [n, c, samples[0].len(), ow], plane) }
}

impl Resampling for Flex {
    fn resample(images: Primitive, samples: Arc<Vec<Samples>>) -> Primitive {
        gather(&images, &samples)
    }
}

#[derive(Debug)]
struct Spread;

impl Backward<Flex, 1> for Spread {
    /// Where the pixels lay, and the images' dimensions.
    type State = (Arc<Vec<Samples>>, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (samples, dims @ [n, c, h, w]) = ops.state;
        let [Some(images)] = ops.parents else { return };
        let [before, _] = MARGIN;
        let [rows, pitch] = surrounded([h, w]);
        let plane = |i: usize, gradient: &[f32], out: &mut [MaybeUninit<f32>]| {
            let mut sum = vec![0.0; rows * pitch];
            for (gradient, sample) in gradient.iter().zip(samples[i / c].iter().flatten()) {
                let at = sample.at as usize;
                let [a, b, c, d] = sample.shares();
                let above = &mut sum[at..at + 2];
                above[0] += gradient * a;
                above[1] += gradient * b;
                let below = &mut sum[at + pitch..at + pitch + 2];
                below[0] += gradient * c;
                below[1] += gradient * d;
            }
            for (out, row) in out.chunks_mut(w).zip(sum.chunks(pitch).skip(before)) {
                out.write_copy_of_slice(&row[before..before + w]);
            }
        };
        // SAFETY: all rows are written.
        let spread = unsafe { written_by_part(&gradient, n * c, dims, plane) };
        gradients.register::<Flex>(images.id, spread);
    }
}

impl<C: CheckpointStrategy> Resampling for Autodiff<Flex, C> {
    fn resample(images: FloatTensor<Self>, samples: Arc<Vec<Samples>>) -> FloatTensor<Self> {
        let (images, node) = images.into_parts();
        let dims = dims(&images);
        let seen = gather(&images, &samples);
        with_gradient::<C, _, 1>(Spread, [node], seen, |_| (samples, dims))
    }
}
