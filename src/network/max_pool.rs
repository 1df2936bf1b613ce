//! Maximum pooling as an operation of Burn's flex backend, with its gradient: rows first and then columns, without a list
//! of where each maximum came from.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use crate::flex::{Primitive, by_part, contiguous, dims, values};

/// Windows, rows before columns. What lies outside the map does not count.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Rows above, columns before the map.
    pub before: [usize; 2],
    /// How many windows.
    pub count: [usize; 2],
}

impl Windows {
    /// The rows or columns of a map of `size` that window `i` covers.
    fn range(&self, axis: usize, i: usize, size: usize) -> std::ops::Range<usize> {
        let from = i * self.stride[axis];
        let end = (from + self.kernel[axis]).saturating_sub(self.before[axis]).min(size);
        from.saturating_sub(self.before[axis]).min(end)..end
    }

    /// The maxima of one map.
    fn forward(&self, [h, w]: [usize; 2], map: &[f32], out: &mut [f32]) {
        let columns: Vec<_> = (0..self.count[1]).map(|x| self.range(1, x, w)).collect();
        let mut highest = vec![0.0; w];
        for (y, out) in out.chunks_mut(self.count[1]).enumerate() {
            highest.fill(f32::NEG_INFINITY);
            for row in self.range(0, y, h) {
                for (highest, &value) in highest.iter_mut().zip(&map[row * w..][..w]) {
                    *highest = if value > *highest { value } else { *highest };
                }
            }
            for (out, columns) in out.iter_mut().zip(&columns) {
                *out = highest[columns.clone()]
                    .iter()
                    .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            }
        }
    }

    /// Adds each maximum's gradient to a place that has it.
    fn backward(&self, [h, w]: [usize; 2], map: &[f32], gradient: &[f32], out: &mut [f32]) {
        let columns: Vec<_> = (0..self.count[1]).map(|x| self.range(1, x, w)).collect();
        let (mut highest, mut places) = (vec![0.0; w], vec![0u32; w]);
        for (y, gradient) in gradient.chunks(self.count[1]).enumerate() {
            highest.fill(f32::NEG_INFINITY);
            for row in self.range(0, y, h) {
                let values = &map[row * w..][..w];
                for ((highest, place), &value) in highest.iter_mut().zip(&mut places).zip(values) {
                    let higher = u32::from(value > *highest).wrapping_neg();
                    *place = (row as u32 & higher) | (*place & !higher);
                    *highest = highest.max(value);
                }
            }
            for (columns, &gradient) in columns.iter().zip(gradient) {
                // By masks instead of branches: where the maximum is can't be predicted.
                let (mut maximum, mut column) = (f32::NEG_INFINITY, usize::MAX);
                for x in columns.clone() {
                    let higher = usize::from(highest[x] > maximum).wrapping_neg();
                    column = (x & higher) | (column & !higher);
                    maximum = maximum.max(highest[x]);
                }
                if column < w {
                    out[places[column] as usize * w + column] += gradient;
                }
            }
        }
    }
}

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait MaxPool: Backend {
    /// The maximum of each window in each map of `[N, C, H, W]`.
    fn max_of_windows(maps: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self>;
}

/// The maximum of each window in each map of `[N, C, H, W]` on the flex backend.
pub(super) fn max_pool(maps: Tensor<4>, windows: Windows) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::max_of_windows(maps.into_dispatch(), windows))
}

impl MaxPool for Flex {
    fn max_of_windows(maps: Primitive, windows: Windows) -> Primitive {
        let [n, c, h, w] = dims(&maps);
        let [oh, ow] = windows.count;
        by_part(&maps, n * c, [n, c, oh, ow], |_, map, out| windows.forward([h, w], map, out))
    }
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    type State = (Primitive, Windows);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (maps, windows) = ops.state;
        let [Some(node)] = ops.parents else { return };
        let dims @ [n, c, h, w] = dims(&maps);
        let maps = values(&maps);
        let back = by_part(&gradient, n * c, dims, |i, gradient, out| {
            windows.backward([h, w], &maps[i * h * w..][..h * w], gradient, out);
        });
        gradients.register::<Flex>(node.id, back);
    }
}

impl<C: CheckpointStrategy> MaxPool for Autodiff<Flex, C> {
    fn max_of_windows(maps: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self> {
        let (maps, node) = maps.into_parts();
        let maps = contiguous(&maps);
        let maxima = Flex::max_of_windows(maps.clone(), windows.clone());
        match Gradient.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((maps, windows), maxima),
            OpsKind::UnTracked(prep) => prep.finish(maxima),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::max_pool2d;
    use burn::tensor::ops::MaxPoolOptions;
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Maxima and gradients are those of Burn's own pooling.
        #[test]
        fn maxima_agree_with_burns(
            (kernel, stride) in ([1usize..5, 1usize..5], [1usize..4, 1usize..4]),
            fractions in [0usize..5, 0usize..5],
            size in [5usize..17, 5usize..17],
            ceil: bool,
        ) {
            // A margin is at most half of a window.
            let before: [usize; 2] = std::array::from_fn(|d| fractions[d].min(kernel[d] / 2));
            let device = Device::flex().autodiff();
            let x = Tensor::<4>::random([2, 3, size[0], size[1]], Distribution::Normal(0.0, 1.0), &device);
            let options = MaxPoolOptions::new(kernel)
                .with_stride(stride)
                .with_padding_pairs(before.map(|b| (b, b)))
                .with_ceil_mode(ceil);
            let [a, b] = [true, false].map(|ours| {
                let x = x.clone().require_grad();
                let burns = max_pool2d(x.clone(), options.clone());
                let [_, _, h, w] = burns.dims();
                let y = if ours { max_pool(x.clone(), Windows { kernel, stride, before, count: [h, w] }) } else { burns };
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            });
            for (a, b) in [(a.0, b.0), (a.1, b.1)] {
                prop_assert_eq!(a.dims(), b.dims());
                prop_assert!((a - b).abs().max().into_scalar::<f32>() < 1e-5);
            }
        }
    }
}
