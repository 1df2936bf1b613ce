//! Maximum pooling as an operation of Burn's flex backend, with its gradient: rows first and then columns, on the
//! processor's vectors.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::vector::{self, Vector, Work};
use crate::flex::{Primitive, by_part, contiguous, dims, tensor, values};

/// Windows, rows before columns. What lies outside the map does not count, nor does what is not a number.
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
    fn range(&self, axis: usize, i: usize, size: usize) -> Range<usize> {
        let from = i * self.stride[axis];
        let end = (from + self.kernel[axis]).saturating_sub(self.before[axis]).min(size);
        from.saturating_sub(self.before[axis]).min(end)..end
    }

    /// The maxima of one map `[H, W]` and the places in it that they are at, [`NOWHERE`] for a window without one. Every
    /// value of `maxima` and `places` is written.
    #[inline(always)]
    fn forward<V: Vector>(
        &self,
        [h, w]: [usize; 2],
        map: &[f32],
        maxima: &mut [MaybeUninit<f32>],
        places: &mut [MaybeUninit<u32>],
    ) {
        let [_, width] = self.kernel;
        // As far as the windows reach, and the map.
        let reach = (self.count[1].saturating_sub(1) * self.stride[1] + width).max(self.before[1] + w);
        // Of each column, over the rows of a window, and of the window that would start there; their places from the
        // window's corner on.
        let mut column = Maxima::new(reach);
        let mut window = Maxima::new(reach + 1 - width);
        for y in 0..self.count[0] {
            let rows = self.range(0, y, h).map(|row| Candidate {
                values: &map[row * w..][..w],
                places: None,
                shift: ((row + self.before[0] - y * self.stride[0]) * w) as f32,
            });
            column.take::<V>(self.before[1]..self.before[1] + w, &rows.collect::<Vec<_>>());
            let starts = 0..window.values.len();
            let columns = (0..width).map(|x| Candidate {
                values: &column.values[x..][..starts.len()],
                places: Some(&column.places[x..][..starts.len()]),
                shift: x as f32,
            });
            window.take::<V>(starts.clone(), &columns.collect::<Vec<_>>());
            let corner = (y * self.stride[0] * w).wrapping_sub(self.before[0] * w + self.before[1]);
            let row = y * self.count[1]..(y + 1) * self.count[1];
            let mut x = 0;
            for (maximum, to) in maxima[row.clone()].iter_mut().zip(&mut places[row]) {
                let value = window.values[x];
                maximum.write(value);
                let at = corner.wrapping_add(x).wrapping_add(window.places[x] as i32 as usize);
                to.write(if value == f32::NEG_INFINITY { NOWHERE } else { at as u32 });
                x = x.wrapping_add(self.stride[1]);
            }
        }
    }
}

/// The place of a maximum that is not there.
const NOWHERE: u32 = u32::MAX;

/// Highest values and where they were found, as floats, which hold the places of a window exactly (up to 16 million).
struct Maxima {
    values: Vec<f32>,
    places: Vec<f32>,
}

impl Maxima {
    fn new(n: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; n], places: vec![0.0; n] }
    }

    /// The highest of the candidates for each place of `range`, and of equal ones the first.
    #[inline(always)]
    fn take<V: Vector>(&mut self, range: Range<usize>, candidates: &[Candidate]) {
        let [highest, found] = [&mut self.values, &mut self.places].map(|all| &mut all[range.clone()]);
        let n = highest.len();
        let fits = |c: &Candidate| c.values.len() == n && c.places.is_none_or(|places| places.len() == n);
        assert!(candidates.iter().all(fits));
        if n < V::LANES {
            for i in 0..n {
                (highest[i], found[i]) = (f32::NEG_INFINITY, 0.0);
                for c in candidates {
                    if c.values[i] > highest[i] {
                        highest[i] = c.values[i];
                        found[i] = c.places.map_or(0.0, |places| places[i]) + c.shift;
                    }
                }
            }
            return;
        }
        // The last vector overlaps the one before it.
        for at in (0..n - V::LANES).step_by(V::LANES).chain([n - V::LANES]) {
            // SAFETY: all have n values, and the processor these vectors, or `run` had not chosen them.
            unsafe {
                let zero = V::splat(0.0);
                let (mut value, mut place) = (V::splat(f32::NEG_INFINITY), zero);
                for c in candidates {
                    let new = V::load(c.values.as_ptr().add(at));
                    let before = c.places.map_or(zero, |places| V::load(places.as_ptr().add(at)));
                    place = new.where_larger(value, before.add(V::splat(c.shift)), place);
                    value = new.where_larger(value, new, value);
                }
                value.store(highest.as_mut_ptr().add(at));
                place.store(found.as_mut_ptr().add(at));
            }
        }
    }
}

/// Values that may be the highest, found at `shift` places after `places`, or at `shift`.
struct Candidate<'a> {
    values: &'a [f32],
    places: Option<&'a [f32]>,
    shift: f32,
}

/// The maxima of one map, on the processor's vectors.
struct Forward<'a> {
    windows: &'a Windows,
    size: [usize; 2],
    map: &'a [f32],
    maxima: &'a mut [MaybeUninit<f32>],
    places: &'a mut [MaybeUninit<u32>],
}

impl Work for Forward<'_> {
    #[inline(always)]
    unsafe fn with<V: Vector>(self) {
        self.windows.forward::<V>(self.size, self.map, self.maxima, self.places);
    }
}

/// The maxima `[N, C, rows, columns]` of maps `[N, C, H, W]`, and the place of each in its map.
fn pool(maps: &Primitive, windows: &Windows) -> (Primitive, Vec<u32>) {
    let maps = contiguous(maps);
    let [n, c, h, w] = dims(&maps);
    let [rows, columns] = windows.count;
    let count = n * c * rows * columns;
    let (mut maxima, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    values(&maps)
        .par_chunks(h * w)
        .zip(maxima.spare_capacity_mut()[..count].par_chunks_mut(rows * columns))
        .zip(places.spare_capacity_mut()[..count].par_chunks_mut(rows * columns))
        .for_each(|((map, maxima), places)| {
            vector::run(Forward { windows, size: [h, w], map, maxima, places });
        });
    // SAFETY: `forward` writes every value of every map's part.
    unsafe {
        maxima.set_len(count);
        places.set_len(count);
    }
    (tensor(maxima, [n, c, rows, columns], &maps), places)
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
        pool(&maps, &windows).0
    }
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    /// The place of each maximum in its map, and the maps' dimensions.
    type State = (Arc<Vec<u32>>, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (places, dims @ [n, c, ..]) = ops.state;
        let [Some(node)] = ops.parents else { return };
        let back = by_part(&gradient, n * c, dims, |i, gradient, out| {
            for (&place, gradient) in places[i * gradient.len()..].iter().zip(gradient) {
                if place != NOWHERE {
                    out[place as usize] += gradient;
                }
            }
        });
        gradients.register::<Flex>(node.id, back);
    }
}

impl<C: CheckpointStrategy> MaxPool for Autodiff<Flex, C> {
    fn max_of_windows(maps: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self> {
        let (maps, node) = maps.into_parts();
        let (maxima, places) = pool(&maps, &windows);
        match Gradient.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((Arc::new(places), dims(&maps)), maxima),
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
            size in [5usize..17, 5usize..60],
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
