//! Attention as one operation of Burn's flex backend, with its gradient: softmax(scale · Q·Kᵀ + bias) · V, without a matrix of all
//! pairs in memory.

use std::mem::MaybeUninit;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use crate::execution::Execution;
use crate::sigmoid::exp;
use crate::simd::{InstructionSet, Simd, Work};
use crate::tensor::{Pointer, Primitive, contiguous, dims, tensor, values, with_gradient};

/// Where the matrices of all heads lie in one image's map: the place of the first value, and how far it is to that of the next
/// head, row and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// The place of the first head's first value.
    pub first: usize,
    /// From a head to the next.
    pub head: usize,
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub column: usize,
}

/// What attention is computed from, and how large it is. Places are checked against the maps when it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// How many heads there are.
    pub heads: usize,
    /// How many rows Q has.
    pub queries: usize,
    /// How many rows K and V have.
    pub keys: usize,
    /// How many columns Q and K have.
    pub features: usize,
    /// How many columns V has.
    pub outputs: usize,
    /// What products are multiplied by.
    pub scale: f32,
    /// What is added to them, `[heads or 1, queries, keys]`.
    pub bias: Option<Arc<Vec<f32>>>,
    /// `[queries, features]` in the first map.
    pub q: Matrices,
    /// `[keys, features]` in the second.
    pub k: Matrices,
    /// `[keys, outputs]` in the third.
    pub v: Matrices,
    /// `[queries, outputs]` in the result.
    pub to: Matrices,
    /// Channels, rows and columns of the result, which has these values and no others.
    pub shape: [usize; 3],
}

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Attend: Backend {
    /// Attention whose Q, K and V lie in one map.
    fn attend_within(x: FloatTensor<Self>, attention: Attention, execution: Execution) -> FloatTensor<Self>;

    /// Attention whose Q, K and V lie in three.
    fn attend_between(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        attention: Attention,
        execution: Execution,
    ) -> FloatTensor<Self>;
}

/// The attention of images `[N, C, H, W]` on the flex backend, whose Q, K and V lie in one map.
pub fn attend_within(x: Tensor<4>, attention: Attention) -> Tensor<4> {
    let execution = Execution::default();
    Tensor::from_dispatch(Dispatch::attend_within(x.into_dispatch(), attention, execution))
}

/// The attention of images on the flex backend, whose Q, K and V lie in a map `[N, C, H, W]` each.
pub fn attend_between([q, k, v]: [Tensor<4>; 3], attention: Attention) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::attend_between(q, k, v, attention, Execution::default()))
}

/// Queries whose products are in memory at a time.
const ROWS: usize = 32;

impl Matrices {
    /// Whether all places lie within so many values.
    fn within(&self, heads: usize, rows: usize, columns: usize, count: usize) -> bool {
        let last = |step: usize, n: usize| step.checked_mul(n.saturating_sub(1));
        let places = [last(self.head, heads), last(self.row, rows), last(self.column, columns)];
        let sum = places.into_iter().try_fold(self.first, |sum, place| sum.checked_add(place?));
        sum.is_some_and(|last| last < count)
    }

    /// Where a row of a head begins.
    fn at(&self, head: usize, row: usize) -> usize {
        self.first + head * self.head + row * self.row
    }
}

/// A matrix in memory.
#[derive(Clone, Copy)]
struct Matrix {
    at: *const f32,
    row: usize,
    column: usize,
}

impl Matrix {
    fn of(values: &[f32], place: &Matrices, head: usize, row: usize) -> Self {
        Self { at: values[place.at(head, row)..].as_ptr(), row: place.row, column: place.column }
    }

    /// Rows of a matrix whose values lie one after another.
    fn rows(values: &[f32], columns: usize) -> Self {
        Self { at: values.as_ptr(), row: columns, column: 1 }
    }

    fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// Where a product goes.
#[derive(Clone, Copy)]
struct Room {
    at: *mut f32,
    row: usize,
    column: usize,
}

/// to = a·b·scale, `[m, k]` times `[k, n]`, or that added to it.
///
/// # Safety
/// The matrices have such sizes, and nobody else writes to `to` or reads it.
unsafe fn multiply([m, k, n]: [usize; 3], a: Matrix, b: Matrix, scale: f32, to: Room, add: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.at,
            to.column as isize,
            to.row as isize,
            add,
            a.at,
            a.column as isize,
            a.row as isize,
            b.at,
            b.column as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Turns rows of products into their softmax.
struct Softmax<'a> {
    products: &'a mut [f32],
    bias: Option<&'a [f32]>,
    columns: usize,
}

/// How many sums are made side by side.
const LANES: usize = 16;

/// What `f` makes of all values, `LANES` of them side by side.
#[inline(always)]
fn fold(values: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, *v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, *v);
    }
    lanes.into_iter().fold(start, f)
}

impl Work for Softmax<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        for (i, row) in self.products.chunks_exact_mut(self.columns).enumerate() {
            if let Some(bias) = self.bias {
                let bias = &bias[i * self.columns..][..self.columns];
                row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
            let largest = fold(row, f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|v| *v = exp(*v - largest));
            let factor = 1.0 / fold(row, 0.0, |sum, v| sum + v);
            row.iter_mut().for_each(|v| *v *= factor);
        }
    }
}

/// Turns gradients of a softmax's rows into those of what it was taken of.
struct SoftmaxGradient<'a> {
    softmax: &'a [f32],
    gradients: &'a mut [f32],
    columns: usize,
}

impl Work for SoftmaxGradient<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, _: S) {
        let rows = self.gradients.chunks_exact_mut(self.columns).zip(self.softmax.chunks_exact(self.columns));
        for (gradients, softmax) in rows {
            gradients.iter_mut().zip(softmax).for_each(|(g, p)| *g *= p);
            let sum = fold(gradients, 0.0, |sum, v| sum + v);
            gradients.iter_mut().zip(softmax).for_each(|(g, p)| *g -= p * sum);
        }
    }
}

impl Attention {
    /// Refuses places outside the maps.
    fn check(&self, counts: [usize; 3]) {
        let Self { heads, queries, keys, features, outputs, .. } = *self;
        let [q, k, v] = counts;
        let shape: usize = self.shape.iter().product();
        assert!(self.q.within(heads, queries, features, q), "Q lies in its map");
        assert!(self.k.within(heads, keys, features, k), "K lies in its map");
        assert!(self.v.within(heads, keys, outputs, v), "V lies in its map");
        assert!(self.to.within(heads, queries, outputs, shape), "the result is as large as it says");
        assert_eq!(shape, heads * queries * outputs, "the result has all of its values");
        if let Some(bias) = &self.bias {
            assert!([1, heads].map(|h| h * queries * keys).contains(&bias.len()), "a bias for each product");
        }
    }

    /// What is added to the products of rows of a head.
    fn bias(&self, head: usize, first: usize, rows: usize) -> Option<&[f32]> {
        let all = self.bias.as_ref()?;
        let own = if all.len() == self.queries * self.keys { 0 } else { head * self.queries * self.keys };
        Some(&all[own + first * self.keys..][..rows * self.keys])
    }

    /// The softmax of the products of some rows of a head.
    ///
    /// # Safety
    /// The places have been checked.
    unsafe fn softmax(
        &self,
        set: InstructionSet,
        [q, k]: [&[f32]; 2],
        head: usize,
        first: usize,
        products: &mut [f32],
    ) {
        let rows = products.len() / self.keys;
        let [a, b] = [Matrix::of(q, &self.q, head, first), Matrix::of(k, &self.k, head, 0).transposed()];
        let to = Room { at: products.as_mut_ptr(), row: self.keys, column: 1 };
        // SAFETY: the caller's promise, and there is room for so many rows.
        unsafe { multiply([rows, self.features, self.keys], a, b, self.scale, to, false) };
        set.run(Softmax { products, bias: self.bias(head, first, rows), columns: self.keys });
    }

    /// The attention of images of which maps have these values.
    fn forward(&self, set: InstructionSet, n: usize, maps: [&[f32]; 3], out: &mut [MaybeUninit<f32>]) {
        let counts = maps.map(|map| map.len() / n);
        self.check(counts);
        let size = out.len() / n;
        let out = Pointer::new(out.as_mut_ptr().cast::<f32>());
        let blocks = self.queries.div_ceil(ROWS);
        (0..n * self.heads * blocks).into_par_iter().for_each(|task| {
            let (image, head, first) =
                (task / blocks / self.heads, task / blocks % self.heads, task % blocks * ROWS);
            let rows = ROWS.min(self.queries - first);
            let [q, k, v]: [&[f32]; 3] = std::array::from_fn(|i| &maps[i][image * counts[i]..][..counts[i]]);
            let mut products = vec![0.0; rows * self.keys];
            // SAFETY: places were checked; each task writes rows of its own.
            unsafe {
                self.softmax(set, [q, k], head, first, &mut products);
                let at = out.get().add(image * size + self.to.at(head, first));
                let to = Room { at, row: self.to.row, column: self.to.column };
                let [a, b] = [Matrix::rows(&products, self.keys), Matrix::of(v, &self.v, head, 0)];
                multiply([rows, self.keys, self.outputs], a, b, 1.0, to, false);
            }
        });
    }

    /// Adds the gradients of the maps, given that of the result, to zeros. `gradients` are rooms for them, each image's after that of
    /// the one before; those of one map may be one room.
    ///
    /// # Safety
    /// There is room for so many values.
    unsafe fn backward(
        &self,
        set: InstructionSet,
        n: usize,
        maps: [&[f32]; 3],
        gradient: &[f32],
        gradients: [Pointer; 3],
    ) {
        let Self { heads, queries, keys, features, outputs, scale, .. } = *self;
        let counts = maps.map(|map| map.len() / n);
        self.check(counts);
        let size = gradient.len() / n;
        (0..n * heads).into_par_iter().for_each(|task| {
            let (image, head) = (task / heads, task % heads);
            let [q, k, v]: [&[f32]; 3] = std::array::from_fn(|i| &maps[i][image * counts[i]..][..counts[i]]);
            let gradient = &gradient[image * size..][..size];
            let places = [&self.q, &self.k, &self.v];
            let room = |i: usize, row: usize| {
                let Matrices { row: step, column, .. } = *places[i];
                // SAFETY: places were checked.
                let at = unsafe { gradients[i].get().add(image * counts[i] + places[i].at(head, row)) };
                Room { at, row: step, column }
            };
            let [mut softmax, mut products] = [(); 2].map(|()| vec![0.0; ROWS.min(queries) * keys]);
            for first in (0..queries).step_by(ROWS) {
                let rows = ROWS.min(queries - first);
                let [softmax, products] = [&mut softmax[..rows * keys], &mut products[..rows * keys]];
                // SAFETY: places were checked; a head's gradients are written by one task.
                unsafe {
                    self.softmax(set, [q, k], head, first, softmax);
                    let above = Matrix::of(gradient, &self.to, head, first);
                    let to = Room { at: products.as_mut_ptr(), row: keys, column: 1 };
                    let values = Matrix::of(v, &self.v, head, 0);
                    multiply([rows, outputs, keys], above, values.transposed(), 1.0, to, false);
                    set.run(SoftmaxGradient { softmax, gradients: products, columns: keys });
                    let [p, s] = [&*softmax, &*products].map(|all| Matrix::rows(all, keys));
                    multiply([keys, rows, outputs], p.transposed(), above, 1.0, room(2, 0), true);
                    let [q, k] = [Matrix::of(q, &self.q, head, first), Matrix::of(k, &self.k, head, 0)];
                    multiply([rows, keys, features], s, k, scale, room(0, first), true);
                    multiply([keys, rows, features], s.transposed(), q, scale, room(1, 0), true);
                }
            }
        });
    }

    /// The dimensions of the result.
    fn dims(&self, n: usize) -> [usize; 4] {
        let [c, h, w] = self.shape;
        [n, c, h, w]
    }

    fn result(&self, execution: Execution, maps: &[Primitive; 3]) -> Primitive {
        let [n, ..] = dims(&maps[0]);
        let count = n * self.shape.iter().product::<usize>();
        let mut result: Vec<f32> = Vec::with_capacity(count);
        let room = &mut result.spare_capacity_mut()[..count];
        // A value that is left out shows.
        #[cfg(test)]
        room.fill(MaybeUninit::new(f32::NAN));
        self.forward(execution.set, n, maps.each_ref().map(values), room);
        // SAFETY: a result has so many values, each of another place.
        unsafe { result.set_len(count) };
        tensor(result, self.dims(n), &maps[0])
    }
}

impl Attend for Flex {
    fn attend_within(x: Primitive, attention: Attention, execution: Execution) -> Primitive {
        let x = contiguous(&x);
        attention.result(execution, &[x.clone(), x.clone(), x])
    }

    fn attend_between(
        q: Primitive,
        k: Primitive,
        v: Primitive,
        attention: Attention,
        execution: Execution,
    ) -> Primitive {
        attention.result(execution, &[&q, &k, &v].map(contiguous))
    }
}

/// The maps that attention was computed from, and how.
type State = ([Primitive; 3], Attention, Execution);

/// The gradients of the maps, each by itself, or of the one that they all are.
fn gradients<const N: usize>((maps, attention, execution): &State, gradient: &Primitive) -> [Primitive; N] {
    let [n, ..] = dims(&maps[0]);
    let mut rooms: [Vec<f32>; N] = std::array::from_fn(|i| vec![0.0; values(&maps[i]).len()]);
    let pointers = rooms.each_mut().map(|room| Pointer::new(room.as_mut_ptr()));
    let at = std::array::from_fn(|i| pointers[i.min(N - 1)]);
    // SAFETY: a room is as large as its map.
    unsafe {
        attention.backward(execution.set, n, maps.each_ref().map(values), values(gradient), at);
    }
    let mut rooms = rooms.into_iter();
    std::array::from_fn(|i| tensor(rooms.next().unwrap_or_default(), dims(&maps[i]), &maps[i]))
}

#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 1> for Gradient {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, all: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&all.consume::<Flex>(&ops.node));
        let [Some(x)] = ops.parents else { return };
        let [own] = gradients(&ops.state, &gradient);
        all.register::<Flex>(x.id, own);
    }
}

impl Backward<Flex, 3> for Gradient {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, all: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&all.consume::<Flex>(&ops.node));
        let own: [Primitive; 3] = gradients(&ops.state, &gradient);
        for (parent, own) in ops.parents.into_iter().zip(own) {
            if let Some(parent) = parent {
                all.register::<Flex>(parent.id, own);
            }
        }
    }
}

impl<C: CheckpointStrategy> Attend for Autodiff<Flex, C> {
    fn attend_within(x: FloatTensor<Self>, attention: Attention, execution: Execution) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = contiguous(&x);
        let maps = [x.clone(), x.clone(), x];
        let output = attention.result(execution, &maps);
        with_gradient::<C, _, 1>(Gradient, [node], output, |_| (maps, attention, execution))
    }

    fn attend_between(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        attention: Attention,
        execution: Execution,
    ) -> FloatTensor<Self> {
        let [(q, a), (k, b), (v, c)] = [q, k, v].map(|x| x.into_parts());
        let maps = [&q, &k, &v].map(contiguous);
        let output = attention.result(execution, &maps);
        with_gradient::<C, _, 3>(Gradient, [a, b, c], output, |_| (maps, attention, execution))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, activation};
    use proptest::prelude::*;

    use super::*;
    use crate::execution::tests::executions;

    /// Result and gradients of the maps, of the sum of the result's squares.
    fn results(maps: &[Tensor<4>], attend: impl Fn(&[Tensor<4>]) -> Tensor<4>) -> Vec<Tensor<4>> {
        let maps: Vec<_> = maps.iter().map(|map| map.clone().require_grad()).collect();
        let y = attend(&maps);
        let gradients = (y.clone() * y.clone()).sum().backward();
        let own = maps.iter().map(|map| map.grad(&gradients).unwrap());
        std::iter::once(y.clone().without_autodiff()).chain(own).collect()
    }

    fn close(ours: Vec<Tensor<4>>, theirs: Vec<Tensor<4>>) -> Result<(), TestCaseError> {
        prop_assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.into_iter().zip(theirs) {
            prop_assert_eq!(a.dims(), b.dims());
            let scale = b.clone().abs().max().into_scalar::<f32>().max(1.0);
            prop_assert!((a - b).abs().max().into_scalar::<f32>() < 1e-5 * scale);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Three maps, each with the matrices of its heads one after another.
        #[test]
        fn attention_is_a_softmax_between_two_products(
            [n, heads, queries, keys] in [1usize..3, 1usize..4, 1usize..70, 1usize..40],
            [features, outputs] in [1usize..9, 1usize..20],
            scale in 0.2f32..1.5,
            bias in 0usize..3,
            execution in executions(),
        ) {
            let device = Device::flex().autodiff();
            let random = |dims: [usize; 4]| Tensor::<4>::random(dims, Distribution::Normal(0.0, 1.5), &device);
            let maps = [
                random([n, heads, queries, features]),
                random([n, heads, keys, features]),
                random([n, heads, keys, outputs]),
            ];
            let bias = (bias > 0).then(|| random([1, [1, heads][bias - 1], queries, keys]));
            let dense = |rows: usize, columns: usize| Matrices { first: 0, head: rows * columns, row: columns, column: 1 };
            let attention = Attention {
                heads, queries, keys, features, outputs, scale,
                bias: bias.clone().map(|b| Arc::new(b.into_data().try_to_vec().unwrap())),
                q: dense(queries, features),
                k: dense(keys, features),
                v: dense(keys, outputs),
                to: dense(queries, outputs),
                shape: [heads, queries, outputs],
            };
            let ours = results(&maps, |maps| {
                let [q, k, v] = [0, 1, 2].map(|i| maps[i].clone().into_dispatch());
                Tensor::from_dispatch(Dispatch::attend_between(q, k, v, attention.clone(), execution))
            });
            let theirs = results(&maps, |maps| {
                let [q, k, v] = [0, 1, 2].map(|i| maps[i].clone());
                let products = q.matmul(k.transpose()) * scale;
                let products = match &bias { Some(bias) => products + bias.clone(), None => products };
                activation::softmax(products, 3).matmul(v)
            });
            close(ours, theirs)?;
        }

        /// One map of tokens one below another, whose channels are Q's, K's and V's, those of each by head; so is the result.
        #[test]
        fn heads_may_be_parts_of_a_map_s_channels(
            [n, heads, tokens, features] in [1usize..3, 1usize..4, 1usize..50, 1usize..9],
            execution in executions(),
        ) {
            let device = Device::flex().autodiff();
            let width = heads * features;
            let x = Tensor::<4>::random([n, 3 * width, tokens, 1], Distribution::Normal(0.0, 1.5), &device);
            let part = |i: usize| Matrices { first: i * width * tokens, head: features * tokens, row: 1, column: tokens };
            let attention = Attention {
                heads, queries: tokens, keys: tokens, features, outputs: features, scale: 0.7, bias: None,
                q: part(0), k: part(1), v: part(2), to: part(0), shape: [width, tokens, 1],
            };
            let ours = results(std::slice::from_ref(&x), |maps| {
                Tensor::from_dispatch(Dispatch::attend_within(maps[0].clone().into_dispatch(), attention.clone(), execution))
            });
            let theirs = results(&[x], |maps| {
                let [q, k, v] = [0, 1, 2].map(|i| {
                    let own = maps[0].clone().narrow(1, i * width, width);
                    own.reshape([n, heads, features, tokens]).swap_dims(2, 3)
                });
                let weights = activation::softmax(q.matmul(k.transpose()) * 0.7, 3);
                weights.matmul(v).swap_dims(2, 3).reshape([n, width, tokens, 1])
            });
            close(ours, theirs)?;
        }
    }
}
