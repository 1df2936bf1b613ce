//! Maximum pooling as an operation of Burn's flex backend, with its gradient: rows first and then columns, on the
//! processor's vectors.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{self, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::execution::Execution;
use crate::simd::{Simd, Vector, Work};
use crate::tensor::{Primitive, contiguous, dims, tensor, values, with_gradient, written_by_part};

/// Windows, rows before columns. What lies outside the map does not count, nor does what is not a number.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// Rows above, columns before the map.
    pub before: [usize; 2],
    /// How many windows.
    pub count: [usize; 2],
    /// Whether to take max(x, 0) of each maximum x, of which one that is not above 0 has no place.
    pub rectify: bool,
}

impl Windows {
    /// The rows or columns of a map of `size` that window `i` covers.
    fn range(&self, axis: usize, i: usize, size: usize) -> Range<usize> {
        let from = i * self.stride[axis];
        let end = (from + self.kernel[axis]).saturating_sub(self.before[axis]).min(size);
        from.saturating_sub(self.before[axis]).min(end)..end
    }

    /// What covers each value of a map of this size, if that is at most `few` windows.
    fn covering(&self, [h, w]: [usize; 2], few: usize) -> Option<Covering> {
        let most: usize = (0..2).map(|axis| self.kernel[axis].div_ceil(self.stride[axis])).product();
        if most > few {
            return None;
        }
        let [height, width] = self.kernel;
        let [down, across] = self.stride;
        let columns = (self.before[1] + w).div_ceil(across).next_multiple_of(16);
        let around = (width - 1) / across;
        let pitch = around + columns.max(self.count[1]);
        let row = |y: usize| {
            let y = y + self.before[0];
            let windows = (y + 1).saturating_sub(height).div_ceil(down)..self.count[0].min(y / down + 1);
            let phase = |phase: usize| {
                let before = (phase..width).step_by(across).rev();
                let in_row = |window: usize| {
                    before.clone().map(move |x| {
                        let first = window * pitch + around - x / across;
                        (first, ((y - window * down) * w + x) as f32)
                    })
                };
                windows.clone().flat_map(in_row).collect()
            };
            (0..across).map(phase).collect()
        };
        Some(Covering { columns, around, pitch, rows: (0..h).map(row).collect() })
    }

    /// Adds the gradients of the maxima to a map `w` wide where the maxima are.
    fn scatter(&self, w: usize, gradient: &[f32], places: &[f32], map: &mut [f32]) {
        let [down, across] = self.stride;
        let [above, left] = self.before.map(|before| before as isize);
        let rows = gradient.chunks(self.count[1]).zip(places.chunks(self.count[1]));
        for (y, (gradient, places)) in rows.enumerate() {
            // The window's, which may be before the map.
            let mut corner = ((y * down) as isize - above) * w as isize - left;
            for (gradient, &place) in gradient.iter().zip(places) {
                if place >= 0.0 {
                    map[(corner + place as isize) as usize] += gradient;
                }
                corner += across as isize;
            }
        }
    }

    /// The maxima of one map `[H, W]` and how far from its window's corner each of them is, [`NOWHERE`] for a window without
    /// one. Every value of `maxima` and `places` is written.
    #[inline(always)]
    fn forward<S: Simd>(
        &self,
        simd: S,
        [h, w]: [usize; 2],
        map: &[f32],
        maxima: &mut [MaybeUninit<f32>],
        places: &mut [MaybeUninit<f32>],
    ) {
        let [_, width] = self.kernel;
        // As far as the windows reach, and the map.
        let reach = (self.count[1].saturating_sub(1) * self.stride[1] + width).max(self.before[1] + w);
        // Of each column, over the rows of a window, and of the window that would start there.
        let mut column = Maxima::new(reach);
        let mut window = Maxima::new(reach + 1 - width);
        let mut rows = vec![];
        let columns: Vec<Candidate> = (0..width).map(|x| Candidate { from: x, shift: x as f32 }).collect();
        for y in 0..self.count[0] {
            rows.clear();
            rows.extend(self.range(0, y, h).map(|row| Candidate {
                from: row * w,
                shift: ((row + self.before[0] - y * self.stride[0]) * w) as f32,
            }));
            column.take(simd, self.before[1]..self.before[1] + w, &rows, map, None);
            window.take(simd, 0..reach + 1 - width, &columns, &column.values, Some(&column.places));
            let row = y * self.count[1]..(y + 1) * self.count[1];
            let floor = if self.rectify { 0.0 } else { f32::NEG_INFINITY };
            window.pick(simd, self.stride[1], floor, &mut maxima[row.clone()], &mut places[row]);
        }
    }
}

/// The place of a maximum that is not there.
const NOWHERE: f32 = -1.0;

/// Highest values and where they were found, as floats, which hold the places of a window exactly (up to 16 million). There is
/// one more than asked for, so that they come in pairs.
struct Maxima {
    values: Vec<f32>,
    places: Vec<f32>,
}

/// Values that may be the highest: those from a place on, found `shift` places further than they were.
struct Candidate {
    from: usize,
    shift: f32,
}

impl Maxima {
    fn new(n: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; n + 1], places: vec![0.0; n + 1] }
    }

    /// The highest of the candidates among `values` for each place of `range`, and of equal ones the first.
    #[inline(always)]
    fn take<S: Simd>(
        &mut self,
        simd: S,
        range: Range<usize>,
        candidates: &[Candidate],
        values: &[f32],
        places: Option<&[f32]>,
    ) {
        let [highest, found] = [&mut self.values, &mut self.places].map(|all| &mut all[range.clone()]);
        let n = highest.len();
        assert!(candidates.iter().all(|c| c.from + n <= values.len()));
        assert!(places.is_none_or(|places| places.len() == values.len()));
        if n < S::LANES {
            for i in 0..n {
                (highest[i], found[i]) = (f32::NEG_INFINITY, 0.0);
                for c in candidates {
                    if values[c.from + i] > highest[i] {
                        highest[i] = values[c.from + i];
                        found[i] = places.map_or(0.0, |places| places[c.from + i]) + c.shift;
                    }
                }
            }
            return;
        }
        // The last vector overlaps the one before it.
        for at in (0..n - S::LANES).step_by(S::LANES).chain([n - S::LANES]) {
            // SAFETY: all have n values.
            unsafe {
                let zero = simd.splat(0.0);
                let (mut value, mut place) = (simd.splat(f32::NEG_INFINITY), zero);
                for c in candidates {
                    let new = simd.load(values.as_ptr().add(c.from + at));
                    let before = match places {
                        Some(places) => simd.load(places.as_ptr().add(c.from + at)),
                        None => zero,
                    };
                    place = new.where_larger(value, before.add(simd.splat(c.shift)), place);
                    value = new.where_larger(value, new, value);
                }
                value.store(highest.as_mut_ptr().add(at));
                place.store(found.as_mut_ptr().add(at));
            }
        }
    }

    /// Every `stride`-th of them, as many as there is room for; maxima that are not above `floor` are that and are nowhere.
    #[inline(always)]
    fn pick<S: Simd>(
        &self,
        simd: S,
        stride: usize,
        floor: f32,
        maxima: &mut [MaybeUninit<f32>],
        places: &mut [MaybeUninit<f32>],
    ) {
        let n = maxima.len();
        if n < S::LANES || stride > 2 {
            for (i, (maximum, place)) in maxima.iter_mut().zip(places).enumerate() {
                let (value, found) = (self.values[i * stride], self.places[i * stride]);
                maximum.write(if value > f32::NEG_INFINITY { value.max(floor) } else { value });
                place.write(if value > floor { found } else { NOWHERE });
            }
            return;
        }
        assert!(self.values.len() >= n * stride && self.places.len() >= n * stride && places.len() == n);
        for at in (0..n - S::LANES).step_by(S::LANES).chain([n - S::LANES]) {
            // SAFETY: as just asserted.
            unsafe {
                let from = at * stride;
                let [value, place] = if stride == 1 {
                    [simd.load(self.values.as_ptr().add(from)), simd.load(self.places.as_ptr().add(from))]
                } else {
                    let next = from + S::LANES;
                    [
                        simd.load(self.values.as_ptr().add(from))
                            .even(simd.load(self.values.as_ptr().add(next))),
                        simd.load(self.places.as_ptr().add(from))
                            .even(simd.load(self.places.as_ptr().add(next))),
                    ]
                };
                let floor = simd.splat(floor);
                let place = value.where_larger(floor, place, simd.splat(NOWHERE));
                let none = simd.splat(f32::NEG_INFINITY);
                let value = value.where_larger(none, value.where_larger(floor, value, floor), none);
                value.store(maxima.as_mut_ptr().cast::<f32>().add(at));
                place.store(places.as_mut_ptr().cast::<f32>().add(at));
            }
        }
    }
}

/// The maxima of one map, on the processor's vectors.
struct Forward<'a> {
    windows: &'a Windows,
    size: [usize; 2],
    map: &'a [f32],
    maxima: &'a mut [MaybeUninit<f32>],
    places: &'a mut [MaybeUninit<f32>],
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        self.windows.forward(simd, self.size, self.map, self.maxima, self.places);
    }
}

/// The windows that cover the values of a map, by vectors of neighbouring windows, which begin `stride` columns apart.
struct Covering {
    /// As many columns as windows begin at, for whole vectors of them.
    columns: usize,
    /// How many windows without a maximum come before a row of windows, so that each value has as many.
    around: usize,
    /// From one row of windows to the next.
    pitch: usize,
    /// By row of the map, and by how many columns come after those that windows begin at: the first windows, and how far the
    /// values are from the corners of these.
    rows: Vec<Vec<Vec<(usize, f32)>>>,
}

/// The gradient of one map, on the processor's vectors.
struct Backward<'a> {
    windows: &'a Windows,
    covering: &'a Covering,
    width: usize,
    /// Of the maxima, and how far these are from their windows' corners.
    gradient: &'a [f32],
    places: &'a [f32],
    /// Every value is written.
    out: &'a mut [MaybeUninit<f32>],
}

impl Work for Backward<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Covering { columns: n, around, pitch, rows: ref covering } = *self.covering;
        let Windows { stride: [_, stride], before: [_, before], count: [rows, columns], .. } = *self.windows;
        let padded = |values: &[f32], around_them: f32| {
            let mut padded = vec![around_them; rows * pitch];
            for (to, from) in padded.chunks_mut(pitch).zip(values.chunks(columns)) {
                to[around..around + columns].copy_from_slice(from);
            }
            padded
        };
        let (gradient, places) = (padded(self.gradient, 0.0), padded(self.places, NOWHERE));
        let mut row = vec![0.0; stride * n];
        for (out, covering) in self.out.chunks_mut(self.width).zip(covering) {
            for at in (0..n).step_by(S::LANES) {
                // SAFETY: there are columns for whole vectors in each row, before them as many as a window reaches back, and
                // room for as many values of each phase.
                unsafe {
                    let from = [gradient.as_ptr().add(at), places.as_ptr().add(at)];
                    let to = row.as_mut_ptr().add(stride * at);
                    match stride {
                        1 => sum_where(simd, from, &covering[0]).store(to),
                        2 => {
                            let even = sum_where(simd, from, &covering[0]);
                            let [first, second] = even.zip(sum_where(simd, from, &covering[1]));
                            first.store(to);
                            second.store(to.add(S::LANES));
                        }
                        _ => {
                            let mut lanes = [0.0; 16];
                            for (phase, covering) in covering.iter().enumerate() {
                                sum_where(simd, from, covering).store(lanes.as_mut_ptr());
                                for (k, lane) in lanes[..S::LANES].iter().enumerate() {
                                    to.add(stride * k + phase).write(*lane);
                                }
                            }
                        }
                    }
                }
            }
            out.write_copy_of_slice(&row[before..before + self.width]);
        }
    }
}

/// The sum of the gradients at the windows that cover some columns, where these are the places of their maxima.
///
/// # Safety
/// Gradients and places have vectors at the windows.
#[inline(always)]
unsafe fn sum_where<S: Simd>(
    simd: S,
    [gradient, places]: [*const f32; 2],
    covering: &[(usize, f32)],
) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = simd.splat(0.0);
        let mut sum = zero;
        for &(window, place) in covering {
            let gradient = simd.load(gradient.add(window));
            sum = sum.add(simd.load(places.add(window)).where_equal(simd.splat(place), gradient, zero));
        }
        sum
    }
}

/// The maxima `[N, C, rows, columns]` of maps `[N, C, H, W]`, and how far each is from its window's corner.
fn pool(maps: &Primitive, windows: &Windows, execution: Execution) -> (Primitive, Vec<f32>) {
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
            execution.set.run(Forward { windows, size: [h, w], map, maxima, places });
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
    fn max_of_windows(maps: FloatTensor<Self>, windows: Windows, execution: Execution) -> FloatTensor<Self>;
}

/// The maximum of each window in each map of `[N, C, H, W]` on the flex backend.
pub fn max_pool(maps: Tensor<4>, windows: Windows) -> Tensor<4> {
    max_pool_with(maps, windows, Execution::default())
}

fn max_pool_with(maps: Tensor<4>, windows: Windows, execution: Execution) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::max_of_windows(maps.into_dispatch(), windows, execution))
}

impl MaxPool for Flex {
    fn max_of_windows(maps: Primitive, windows: Windows, execution: Execution) -> Primitive {
        pool(&maps, &windows, execution).0
    }
}

#[derive(Debug)]
struct Gradient;

impl ops::Backward<Flex, 1> for Gradient {
    /// How far each maximum is from its window's corner, the windows, the maps' dimensions, and how kernels run.
    type State = (Arc<Vec<f32>>, Windows, [usize; 4], Execution);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let (places, windows, dims @ [n, c, h, w], execution) = ops.state;
        let [Some(node)] = ops.parents else { return };
        let [rows, columns] = windows.count;
        let covering = windows.covering([h, w], execution.tiling.pooled_windows);
        let map = |i: usize, gradient: &[f32], out: &mut [MaybeUninit<f32>]| {
            let places = &places[i * rows * columns..][..rows * columns];
            match &covering {
                Some(covering) => {
                    execution.set.run(Backward {
                        windows: &windows,
                        covering,
                        width: w,
                        gradient,
                        places,
                        out,
                    });
                }
                None => {
                    out.fill(MaybeUninit::new(0.0));
                    // SAFETY: just written.
                    windows.scatter(w, gradient, places, unsafe { out.assume_init_mut() });
                }
            }
        };
        // SAFETY: every value of every map is.
        let back = unsafe { written_by_part(&gradient, n * c, dims, map) };
        gradients.register::<Flex>(node.id, back);
    }
}

impl<C: CheckpointStrategy> MaxPool for Autodiff<Flex, C> {
    fn max_of_windows(maps: FloatTensor<Self>, windows: Windows, execution: Execution) -> FloatTensor<Self> {
        let (maps, node) = maps.into_parts();
        let (maxima, places) = pool(&maps, &windows, execution);
        with_gradient::<C, _, 1>(Gradient, [node], maxima, |_| {
            (Arc::new(places), windows, dims(&maps), execution)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::max_pool2d;
    use burn::tensor::ops::MaxPoolOptions;
    use burn::tensor::{Device, Distribution, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::execution::tests::executions;

    proptest! {
        /// Maxima and gradients are those of Burn's own pooling, and of its ReLU after that.
        #[test]
        fn maxima_agree_with_burns(
            (kernel, stride) in ([1usize..5, 1usize..5], [1usize..4, 1usize..4]),
            fractions in [0usize..5, 0usize..5],
            size in [5usize..17, 5usize..60],
            ceil: bool,
            rectify: bool,
            execution in executions(),
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
                let y = if ours {
                    max_pool_with(x.clone(), Windows { kernel, stride, before, count: [h, w], rectify }, execution)
                } else if rectify {
                    burn::tensor::activation::relu(burns)
                } else {
                    burns
                };
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            });
            for (a, b) in [(a.0, b.0), (a.1, b.1)] {
                prop_assert_eq!(a.dims(), b.dims());
                prop_assert!((a - b).abs().max().into_scalar::<f32>() < 1e-5);
            }
        }
    }

    proptest! {
        /// The maxima of max(x, 0), and their gradients, whether that is taken before or after: of windows without a number or
        /// wholly in the margin, too.
        #[test]
        fn rectified_maxima_are_those_of_what_is_rectified(
            (kernel, stride) in ([1usize..5, 1usize..5], [1usize..4, 1usize..4]),
            before in [0usize..7, 0usize..7],
            size in [1usize..9, 1usize..40],
            numbers in prop::collection::vec(prop_oneof![4 => -2f32..2.0, 1 => Just(f32::NAN)], 8 * 39),
            execution in executions(),
        ) {
            let reach = |d: usize| (size[d] + 2 * before[d]).checked_sub(kernel[d]).map(|rest| rest / stride[d] + 1);
            let (Some(rows), Some(columns)) = (reach(0), reach(1)) else { return Ok(()) };
            let device = Device::flex().autodiff();
            let values = TensorData::new(numbers[..size[0] * size[1]].to_vec(), [1, 1, size[0], size[1]]);
            let x = Tensor::<4>::from_data(values, &device);
            let [a, b] = [true, false].map(|rectify| {
                let x = x.clone().require_grad();
                let read = if rectify { x.clone() } else { burn::tensor::activation::relu(x.clone()) };
                let y = max_pool_with(read, Windows { kernel, stride, before, count: [rows, columns], rectify }, execution);
                let factors = Tensor::arange(0..(rows * columns) as i64, &device).float();
                let gradients = (y.clone() * factors.reshape([1, 1, rows, columns])).sum().backward();
                [y.without_autodiff(), x.grad(&gradients).unwrap()].map(|t| t.into_data().try_to_vec::<f32>().unwrap())
            });
            prop_assert_eq!(a, b);
        }
    }
}
