//! Maps whose axes are split, exchanged and joined.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Operator, Reads, one, only};
use crate::onnx::{Reader, Writer, ints};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// The most parts that a map's axes may be split into, those taken together that stay side by side.
const MOST: usize = 11;

/// The same values in another order: channels, rows and columns are split into parts, and these joined to channels, rows and
/// columns anew. What the heads of an attention are made by, for instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rearrange {
    /// The sizes of the parts of channels, rows and columns, the slowest first; an axis without parts has size 1.
    pub from: [Vec<usize>; 3],
    /// Which parts, counted through all axes from 0, make up channels, rows and columns, the slowest first.
    pub to: [Vec<usize>; 3],
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |n: usize, &size| n.saturating_mul(size))
}

impl Rearrange {
    fn sizes(&self) -> Vec<usize> {
        self.from.concat()
    }

    /// The size that one of the new axes has.
    fn made(&self, axis: usize) -> usize {
        let sizes = self.sizes();
        product(&self.to[axis].iter().map(|&part| sizes[part]).collect::<Vec<_>>())
    }

    /// Whether the channels are what they were.
    fn keeps_channels(&self) -> bool {
        self.to[0].iter().copied().eq(0..self.from[0].len())
    }

    /// The sizes of parts, and their new order, with those taken together that stay side by side.
    fn joined(&self) -> (Vec<usize>, Vec<usize>) {
        let (sizes, order) = (self.sizes(), self.to.concat());
        // Runs of the new order, each by its first part.
        let mut runs: Vec<(usize, usize)> = vec![];
        for &part in &order {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == part => *count += 1,
                _ => runs.push((part, 1)),
            }
        }
        let mut firsts: Vec<(usize, usize)> = runs.clone();
        firsts.sort_unstable();
        let size = |&(first, count): &(usize, usize)| product(&sizes[first..first + count]);
        let place = |run: &(usize, usize)| firsts.iter().position(|other| other == run).expect("it is there");
        (firsts.iter().map(size).collect(), runs.iter().map(place).collect())
    }
}

/// The axes after the images' in another order.
fn permuted<const D: usize>(x: Tensor<4>, sizes: &[usize], order: &[usize]) -> Tensor<D> {
    let n = x.dims()[0];
    let shape: [usize; D] = std::array::from_fn(|d| if d == 0 { n } else { sizes[d - 1] });
    let order: [isize; D] = std::array::from_fn(|d| if d == 0 { 0 } else { order[d - 1] as isize + 1 });
    x.reshape(shape).permute(order)
}

impl Operator for Rearrange {
    const READERS: &'static [(&'static str, Reader)] = &[];

    fn check(&self) -> Result<(), String> {
        let count = self.sizes().len();
        let mut parts = self.to.concat();
        parts.sort_unstable();
        if !parts.into_iter().eq(0..count) {
            return Err(format!("puts {count} parts in the order {:?}", self.to));
        }
        match self.joined().0.len() {
            0..=MOST => Ok(()),
            n => Err(format!("puts a map's axes in an order that takes {n} parts; it may take {MOST}")),
        }
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        match only(inputs)? {
            c if c == product(&self.from[0]) => Ok(self.made(0)),
            c => Err(format!("splits {} channels, gets {c}", product(&self.from[0]))),
        }
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        let [_, h, w] = only(inputs)?;
        let want = [product(&self.from[1]), product(&self.from[2])];
        match [h, w] == want {
            true => Ok([self.made(1), self.made(2)]),
            false => Err(format!("splits maps of {}x{} places, gets {w}x{h}", want[1], want[0])),
        }
    }

    fn has_fixed_size(&self) -> bool {
        true
    }

    fn reads(&self, channel: usize, _: &[usize]) -> Reads {
        let (sizes, own) = (self.sizes(), self.from[0].len());
        // What is known of the place of each part; of the others, all are read.
        let mut known = vec![None; sizes.len()];
        let mut rest = channel;
        for &part in self.to[0].iter().rev() {
            known[part] = Some(rest % sizes[part]);
            rest /= sizes[part];
        }
        let mut read = vec![0];
        for part in 0..own {
            let size = sizes[part];
            let at = known[part].map_or(0..size, |at| at..at + 1);
            read = read.iter().flat_map(|&c| at.clone().map(move |i| c * size + i)).collect();
        }
        Reads::Channels(read.into_iter().map(|c| (0, c)).collect())
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        let [channels, rows, _] = [0, 1, 2].map(|axis| self.from[axis].len());
        let same = self.to[1].iter().copied().eq(channels..channels + rows);
        match Rows::kept(inputs) {
            Rows::Tokens(_) => Rows::Tokens(self.made(1)),
            kept if same => kept,
            _ => Rows::default(),
        }
    }

    fn narrowed(&self, channels: &[usize], _: &[usize]) -> Option<Self> {
        if !self.keeps_channels() {
            return None;
        }
        // All of the channels are one part then, or none, where there is only one.
        let own = self.from[0].len();
        let mut narrowed = self.clone();
        let part = usize::from(channels.len() > 1);
        narrowed.from[0] = vec![channels.len(); part];
        narrowed.to[0] = (0..part).collect();
        for axis in &mut narrowed.to[1..] {
            axis.iter_mut().for_each(|at| *at = *at - own + part);
        }
        Some(narrowed)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let x = one(inputs);
        let shape = [x.dims()[0], self.made(0), self.made(1), self.made(2)];
        let (sizes, order) = self.joined();
        match sizes.len() {
            0 | 1 => x.reshape(shape),
            2 => permuted::<3>(x, &sizes, &order).reshape(shape),
            3 => permuted::<4>(x, &sizes, &order).reshape(shape),
            4 => permuted::<5>(x, &sizes, &order).reshape(shape),
            5 => permuted::<6>(x, &sizes, &order).reshape(shape),
            6 => permuted::<7>(x, &sizes, &order).reshape(shape),
            7 => permuted::<8>(x, &sizes, &order).reshape(shape),
            8 => permuted::<9>(x, &sizes, &order).reshape(shape),
            9 => permuted::<10>(x, &sizes, &order).reshape(shape),
            10 => permuted::<11>(x, &sizes, &order).reshape(shape),
            _ => permuted::<12>(x, &sizes, &order).reshape(shape),
        }
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let whole = |list: &[usize]| -> Vec<i64> { list.iter().map(|&n| n as i64).collect() };
        // 0 copies the number of images.
        let parts = writer.numbers(node.part("sizes"), &[vec![0], whole(&self.sizes())].concat());
        let split = writer.aside(node.part("parts"), "Reshape", &[node.input(), &parts], vec![]);
        let order: Vec<usize> = [vec![0], self.to.concat().iter().map(|part| part + 1).collect()].concat();
        let moved = writer.aside(node.part("moved"), "Transpose", &[&split], vec![ints("perm", &order)]);
        let made = whole(&[0, self.made(0), self.made(1), self.made(2)]);
        let shape = writer.numbers(node.part("shape"), &made);
        writer.push(&node.name, "Reshape", &[&moved, &shape], &node.name, vec![]);
    }
}
