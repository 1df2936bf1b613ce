//! The pass that computes an attention, which files have in pieces, as one step: a product, what is added to it, a softmax, and the
//! product with that, with the splitting, scaling and rearranging of what they read and give.

use std::sync::Arc;

use trompe_kernels::{Attention, Matrices};

use super::{Draft, Task};
use crate::op::{Along, Op, Rearrange};

/// What the heads' matrices are read from.
struct Traced {
    /// The layer in whose map they lie.
    source: usize,
    /// The layers between.
    within: Vec<usize>,
    /// What they are multiplied by.
    scale: f32,
    /// The place of the first value.
    first: usize,
    /// How far it is to the next of each axis.
    strides: [usize; 3],
    /// How many there are along each axis.
    sizes: [usize; 3],
}

/// The stride of an axis that is made of these parts, each a size and a stride, the slowest first; none, if it has no single one.
fn stride(parts: impl DoubleEndedIterator<Item = (usize, usize)>) -> Option<usize> {
    let mut parts = parts.filter(|&(size, _)| size > 1).rev();
    let Some((mut size, stride)) = parts.next() else { return Some(1) };
    for (next, own) in parts {
        if own != stride * size {
            return None;
        }
        size *= next;
    }
    Some(stride)
}

/// How far it is from a place of each part to the next, where the parts lie in this order.
fn dense(sizes: &[usize], order: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; sizes.len()];
    let mut step = 1;
    for &part in order.iter().rev() {
        strides[part] = step;
        step *= sizes[part];
    }
    strides
}

impl Rearrange {
    /// The strides, in the map that is read, of the channels, rows and columns that are made.
    fn strides_read(&self) -> Option<[usize; 3]> {
        let sizes = self.from.concat();
        let strides = dense(&sizes, &(0..sizes.len()).collect::<Vec<_>>());
        let of = |axis: &Vec<usize>| stride(axis.iter().map(|&part| (sizes[part], strides[part])));
        let [a, b, c] = self.to.each_ref().map(of);
        Some([a?, b?, c?])
    }

    /// The strides, in the map that is made, of the channels, rows and columns that are read.
    fn strides_made(&self) -> Option<[usize; 3]> {
        let sizes = self.from.concat();
        let strides = dense(&sizes, &self.to.concat());
        let mut parts = sizes.into_iter().zip(strides);
        let [a, b, c] = self.from.each_ref().map(|axis| parts.by_ref().take(axis.len()).collect::<Vec<_>>());
        let of = |axis: Vec<(usize, usize)>| stride(axis.into_iter());
        Some([of(a)?, of(b)?, of(c)?])
    }

    /// How many channels, rows and columns there are before and after.
    fn shapes(&self) -> [[usize; 3]; 2] {
        let sizes = self.from.concat();
        let made = |axis: &Vec<usize>| axis.iter().map(|&part| sizes[part]).product();
        [self.from.each_ref().map(|axis| axis.iter().product()), self.to.each_ref().map(made)]
    }
}

impl Draft<'_> {
    /// Attentions whose pieces nothing else reads.
    pub(super) fn attend(&mut self) {
        for product in self.all(|op| matches!(op, Op::MatMul(_))) {
            if let Some((layer, within, attention, reads)) = self.attention(product) {
                self.put(layer, &within, Task::Attention(Box::new(attention)), reads);
            }
        }
    }

    /// The attention that ends with a product: its last layer, those before that, and what it reads.
    fn attention(&self, product: usize) -> Option<(usize, Vec<usize>, Attention, Vec<usize>)> {
        let Op::MatMul(last) = &self.nodes[product].op else { return None };
        let [softmax, values] = self.reads[product][..] else { return None };
        if last.scale != 1.0 || !self.is_softmax(softmax) {
            return None;
        }
        let mut within = vec![softmax];
        let mut scores = self.reads[softmax][0];
        let mut bias = None;
        if let (Op::Add(_), [a, b]) = (&self.nodes[scores].op, &self.reads[scores][..])
            && self.alone(scores)
        {
            let (sum, constant) = if self.constant(*b).is_some() { (*a, *b) } else { (*b, *a) };
            bias = Some(self.constant(constant)?);
            within.push(scores);
            scores = sum;
        }
        let Op::MatMul(first) = &self.nodes[scores].op else { return None };
        let [queries, keys] = self.reads[scores][..] else { return None };
        if !self.alone(scores) {
            return None;
        }
        within.push(scores);
        let [q, k, v] = [self.traced(queries)?, self.traced(keys)?, self.traced(values)?];
        let [heads, rows, features] = q.sizes;
        let [_, _, columns] = k.sizes;
        let [_, _, outputs] = v.sizes;
        if k.sizes != [heads, features, columns] || v.sizes != [heads, columns, outputs] || v.scale != 1.0 {
            return None;
        }
        let bias = match bias {
            Some(value) => {
                let [_, c, h, w] = value.dims();
                if ![1, heads].contains(&c) || [h, w] != [rows, columns] {
                    return None;
                }
                Some(Arc::new(value.into_data().try_to_vec().ok()?))
            }
            None => None,
        };
        let place = |traced: &Traced, [head, row, column]: [usize; 3]| Matrices {
            first: traced.first,
            head: traced.strides[head],
            row: traced.strides[row],
            column: traced.strides[column],
        };
        let [plain, turned] = [[0, 1, 2], [0, 2, 1]];
        let mut attention = Attention {
            heads,
            queries: rows,
            keys: columns,
            features,
            outputs,
            scale: first.scale * q.scale * k.scale,
            bias,
            q: place(&q, plain),
            k: place(&k, turned),
            v: place(&v, plain),
            to: Matrices { first: 0, head: rows * outputs, row: outputs, column: 1 },
            shape: [heads, rows, outputs],
        };
        let mut layer = product;
        if let Some((next, rearrange)) = self.rearranged(product)
            && let Some([head, row, column]) = rearrange.strides_made()
        {
            within.push(product);
            layer = next;
            attention.to = Matrices { first: 0, head, row, column };
            attention.shape = rearrange.shapes()[1];
        }
        let reads = [q.source, k.source, v.source];
        let reads = if reads == [reads[0]; 3] { vec![reads[0]] } else { reads.to_vec() };
        within.extend([q.within, k.within, v.within].concat());
        Some((layer, within, attention, reads))
    }

    fn is_softmax(&self, i: usize) -> bool {
        matches!(&self.nodes[i].op, Op::Softmax(softmax) if softmax.over == Along::Columns) && self.alone(i)
    }

    /// The layer that alone reads a product and rearranges it.
    fn rearranged(&self, product: usize) -> Option<(usize, &Rearrange)> {
        if !self.alone(product) {
            return None;
        }
        let next = self.order.iter().copied().find(|&i| self.reads[i].contains(&product))?;
        match &self.nodes[next].op {
            Op::Rearrange(rearrange) => Some((next, rearrange)),
            _ => None,
        }
    }

    /// Where the matrices of a rearranged map lie in what that was made of.
    fn traced(&self, i: usize) -> Option<Traced> {
        let Op::Rearrange(rearrange) = &self.nodes[i].op else { return None };
        let [[_, h, w], sizes] = rearrange.shapes();
        let [_, rows, columns] = sizes;
        let own = Traced {
            source: i,
            within: vec![],
            scale: 1.0,
            first: 0,
            strides: [rows * columns, columns, 1],
            sizes,
        };
        let Some(strides) = rearrange.strides_read().filter(|_| self.alone(i)) else { return Some(own) };
        let mut traced = Traced { strides, source: self.reads[i][0], within: vec![i], ..own };
        loop {
            let i = traced.source;
            if !self.alone(i) {
                return Some(traced);
            }
            match (&self.nodes[i].op, &self.reads[i][..]) {
                (Op::Mul(_), &[a, b]) => {
                    let number = |i: usize| {
                        let value = self.constant(i)?;
                        (value.dims() == [1; 4]).then(|| value.into_scalar::<f32>())
                    };
                    let (source, number) = match (number(a), number(b)) {
                        (_, Some(number)) => (a, number),
                        (Some(number), None) => (b, number),
                        (None, None) => return Some(traced),
                    };
                    traced.scale *= number;
                    traced.source = source;
                }
                (Op::Slice(slice), &[source]) => {
                    let whole = |axis: usize, n: usize| slice.start[axis] == 0 && slice.end[axis] >= n as i64;
                    let [from, ..] = slice.start;
                    if slice.step != [1; 3] || from < 0 || !whole(1, h) || !whole(2, w) {
                        return Some(traced);
                    }
                    traced.first += from as usize * h * w;
                    traced.source = source;
                }
                _ => return Some(traced),
            }
            traced.within.push(i);
        }
    }
}
