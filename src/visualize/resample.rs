//! Transforms as one operation of Burn's flex backend, with its gradient.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::transform::{GREY, Warp};
use crate::flex::{Primitive, by_part, dims};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Resampling: Backend {
    /// One warp of each image of `[N, C, H, W]`; all warps have the same size.
    fn resample(images: FloatTensor<Self>, warps: Vec<Warp>) -> FloatTensor<Self>;
}

/// Applies one warp to each image of `[N, C, H, W]` on the flex backend.
pub(super) fn resample(images: Tensor<4>, warps: &[Warp]) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::resample(images.into_dispatch(), warps.to_vec()))
}

impl Resampling for Flex {
    fn resample(images: Primitive, warps: Vec<Warp>) -> Primitive {
        let [n, c, h, w] = dims(&images);
        let [oh, ow] = warps[0].size();
        by_part(&images, n, [n, c, oh, ow], |i, image, out| {
            let places = warps[i].size().iter().product();
            warps[i].each_pixel([h, w], |to, from, weights| {
                let outside = GREY * (1.0 - weights.iter().sum::<f32>());
                for (image, out) in image.chunks(h * w).zip(out.chunks_mut(places)) {
                    let inside: f32 = from.iter().zip(weights).map(|(&p, weight)| image[p] * weight).sum();
                    out[to] = inside + outside;
                }
            });
        })
    }
}

#[derive(Debug)]
struct Spread;

impl Backward<Flex, 1> for Spread {
    type State = (Vec<Warp>, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (warps, dims @ [n, _, h, w]) = ops.state;
        let [Some(images)] = ops.parents else { return };
        let spread = by_part(&gradient, n, dims, |i, gradient, out| {
            let places = warps[i].size().iter().product();
            warps[i].each_pixel([h, w], |to, from, weights| {
                for (gradient, out) in gradient.chunks(places).zip(out.chunks_mut(h * w)) {
                    for (&p, weight) in from.iter().zip(weights) {
                        out[p] += gradient[to] * weight;
                    }
                }
            });
        });
        gradients.register::<Flex>(images.id, spread);
    }
}

impl<C: CheckpointStrategy> Resampling for Autodiff<Flex, C> {
    fn resample(images: FloatTensor<Self>, warps: Vec<Warp>) -> FloatTensor<Self> {
        let (images, node) = images.into_parts();
        let dims = dims(&images);
        let seen = Flex::resample(images, warps.clone());
        match Spread.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((warps, dims), seen),
            OpsKind::UnTracked(prep) => prep.finish(seen),
        }
    }
}
