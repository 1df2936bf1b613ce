//! Maximum pooling as an operation of Burn's flex backend, with its gradient: rows first and then columns, without a list
//! of where each maximum came from.

use std::mem::MaybeUninit;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::vector::{self, Vector, Work};
use crate::flex::{Primitive, by_part, contiguous, dims, values, written_by_part};

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

    /// Calls `f` for each row of windows with its number, with the highest value of its rows by column, `before` columns
    /// outside the map first, and with the highest of these from each column to the end of a window that starts there.
    #[inline(always)]
    fn each_row<V: Vector>(&self, [h, w]: [usize; 2], map: &[f32], mut f: impl FnMut(usize, &[f32], &[f32])) {
        let [_, kernel] = self.kernel;
        // As far as the windows reach, and the map.
        let reach = (self.count[1].saturating_sub(1) * self.stride[1] + kernel).max(self.before[1] + w);
        let mut highest = vec![f32::NEG_INFINITY; reach];
        let mut widest = vec![0.0; reach + 1 - kernel];
        for y in 0..self.count[0] {
            let inside = &mut highest[self.before[1]..][..w];
            inside.fill(f32::NEG_INFINITY);
            for row in self.range(0, y, h) {
                raise::<V>(inside, &map[row * w..][..w]);
            }
            widest.copy_from_slice(&highest[..reach + 1 - kernel]);
            for column in 1..kernel {
                let values = &highest[column..][..widest.len()];
                raise::<V>(&mut widest, values);
            }
            f(y, &highest, &widest);
        }
    }

    /// The maxima of one map; every value of `out` is written.
    #[inline(always)]
    fn forward<V: Vector>(&self, size: [usize; 2], map: &[f32], out: &mut [MaybeUninit<f32>]) {
        self.each_row::<V>(size, map, |y, _, widest| {
            let out = &mut out[y * self.count[1]..][..self.count[1]];
            for (out, &maximum) in out.iter_mut().zip(widest.iter().step_by(self.stride[1])) {
                out.write(maximum);
            }
        });
    }

    /// Adds each maximum's gradient to a place that has it.
    #[inline(always)]
    fn backward<V: Vector>(&self, size: [usize; 2], map: &[f32], gradient: &[f32], out: &mut [f32]) {
        let [h, w] = size;
        self.each_row::<V>(size, map, |y, highest, widest| {
            let rows = self.range(0, y, h);
            let maxima = widest.iter().enumerate().step_by(self.stride[1]);
            for ((x, &maximum), gradient) in maxima.zip(&gradient[y * self.count[1]..][..self.count[1]]) {
                if maximum == f32::NEG_INFINITY {
                    continue;
                }
                // From the last to the first, without leaving early: where the maximum is can't be predicted.
                let mut column = 0;
                for (i, &value) in highest[x..x + self.kernel[1]].iter().enumerate().rev() {
                    column = if value == maximum { i } else { column };
                }
                let column = x + column - self.before[1];
                let mut place = 0;
                for row in rows.clone().rev() {
                    let at = row * w + column;
                    place = if map[at] == maximum { at } else { place };
                }
                out[place] += gradient;
            }
        });
    }
}

/// Puts the larger of both, value by value, into `highest`.
#[inline(always)]
fn raise<V: Vector>(highest: &mut [f32], values: &[f32]) {
    let n = highest.len().min(values.len());
    if n < V::LANES {
        for (highest, &value) in highest.iter_mut().zip(values) {
            *highest = if value > *highest { value } else { *highest };
        }
        return;
    }
    // The last vector overlaps the one before it: a maximum may be taken twice.
    for at in (0..n - V::LANES).step_by(V::LANES).chain([n - V::LANES]) {
        // SAFETY: both have n values, and the processor these vectors, or `run` had not chosen them.
        unsafe {
            let to = highest.as_mut_ptr().add(at);
            V::load(values.as_ptr().add(at)).max(V::load(to)).store(to);
        }
    }
}

/// The maxima of one map, on the processor's vectors.
struct Forward<'a> {
    windows: &'a Windows,
    size: [usize; 2],
    map: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for Forward<'_> {
    #[inline(always)]
    unsafe fn with<V: Vector>(self) {
        self.windows.forward::<V>(self.size, self.map, self.out);
    }
}

/// Their gradient.
struct Backwards<'a> {
    windows: &'a Windows,
    size: [usize; 2],
    map: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [f32],
}

impl Work for Backwards<'_> {
    #[inline(always)]
    unsafe fn with<V: Vector>(self) {
        self.windows.backward::<V>(self.size, self.map, self.gradient, self.out);
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
        // SAFETY: `forward` writes every value.
        unsafe {
            written_by_part(&maps, n * c, [n, c, oh, ow], |_, map, out| {
                vector::run(Forward { windows: &windows, size: [h, w], map, out });
            })
        }
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
            let map = &maps[i * h * w..][..h * w];
            vector::run(Backwards { windows: &windows, size: [h, w], map, gradient, out });
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
