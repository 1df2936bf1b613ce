//! A convolution and its gradients as sums and products of shifted planes.
//!
//! With a stride of s, rows (and columns) of the input fall into s phases, and a place of the kernel reads one of them
//! only: what it reads moves by one position from one output to the next, as without a stride.

use std::cell::Cell;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::kernel::{Products, Sums, Target};

/// The sizes of a convolution, rows before columns.
#[derive(Clone, Debug)]
pub struct Shape {
    pub channels: [usize; 2],
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [(usize, usize); 2],
    pub dilation: [usize; 2],
}

thread_local! {
    /// Memory for planes that the next convolution on this thread uses again.
    static PLANES: Cell<Vec<f32>> = const { Cell::new(vec![]) };
}

/// Padded planes and where each tap's first position is in them.
struct Padded {
    starts: Vec<usize>,
    rows: usize,
    pitch: usize,
}

impl Shape {
    /// The size of the output.
    pub fn output(&self) -> [usize; 2] {
        std::array::from_fn(|d| {
            let padded = self.input[d] + self.padding[d].0 + self.padding[d].1;
            (padded - self.dilation[d] * (self.kernel[d] - 1) - 1) / self.stride[d] + 1
        })
    }

    /// How many positions the last place of the kernel lies from the first, by axis.
    fn reach(&self) -> [usize; 2] {
        std::array::from_fn(|d| self.dilation[d] * (self.kernel[d] - 1) / self.stride[d])
    }

    /// How many weights an output channel has.
    fn taps(&self) -> usize {
        self.channels[0] * self.kernel[0] * self.kernel[1]
    }

    /// The places of the kernel in the order of the weights: channel, row, column.
    fn places(&self) -> impl Iterator<Item = [usize; 3]> {
        let [kh, kw] = self.kernel;
        (0..self.taps()).map(move |t| [t / (kh * kw), t / kw % kh, t % kw])
    }

    /// Calls `f` with the planes that the forward pass reads, each phase of each channel padded.
    fn with_planes<R>(&self, x: &[f32], f: impl FnOnce(&[f32], Padded) -> R) -> R {
        let [height, width] = self.output();
        let reach = self.reach();
        let [rows, pitch] = [height + reach[0], width + reach[1]];
        // Phases that no place of the kernel reads are left out.
        let phases = std::array::from_fn(|d| {
            let mut read: Vec<usize> =
                (0..self.kernel[d]).map(|k| k * self.dilation[d] % self.stride[d]).collect();
            read.sort_unstable();
            read.dedup();
            read
        });
        let [down, across]: &[Vec<usize>; 2] = &phases;
        let plane = rows * pitch;
        let index = |c: usize, py: usize, px: usize| {
            let [y, x] = [(down, py), (across, px)]
                .map(|(phases, phase)| phases.binary_search(&phase).expect("a phase that is read"));
            (c * down.len() + y) * across.len() + x
        };
        let starts = self
            .places()
            .map(|[c, ky, kx]| {
                let [y, x] = [ky * self.dilation[0], kx * self.dilation[1]];
                let [sy, sx] = self.stride;
                index(c, y % sy, x % sx) * plane + y / sy * pitch + x / sx
            })
            .collect();
        let padded = Padded { starts, rows: height, pitch };
        if self.stride == [1, 1] && self.padding == [(0, 0); 2] {
            return f(x, padded);
        }
        let [h, w] = self.input;
        let fill = |i: usize, to: &mut [f32]| {
            let (c, py, px) =
                (i / (down.len() * across.len()), i / across.len() % down.len(), i % across.len());
            let image = &x[c * h * w..][..h * w];
            for (r, row) in to.chunks_mut(pitch).enumerate() {
                let y = (r * self.stride[0] + down[py]).checked_sub(self.padding[0].0).filter(|&y| y < h);
                let Some(y) = y else {
                    row.fill(0.0);
                    continue;
                };
                padded_row(row, &image[y * w..][..w], self.stride[1], across[px], self.padding[1].0);
            }
        };
        let count = self.channels[0] * down.len() * across.len();
        with_memory(count * plane, |planes| {
            planes.par_chunks_mut(plane).with_min_len(8).enumerate().for_each(|(i, to)| fill(i, to));
            f(planes, padded)
        })
    }

    /// The convolution of one image `[C, H, W]` with weights `[out, C, kh, kw]`, and max(x, 0) of it if it is to be
    /// rectified; every value of it is written.
    pub fn forward(
        &self,
        x: &[f32],
        weights: &[f32],
        bias: &[f32],
        rectify: bool,
        out: &mut [MaybeUninit<f32>],
    ) {
        let columns: Vec<usize> = (0..self.taps()).collect();
        self.with_planes(x, |planes, padded| {
            Sums {
                planes,
                starts: &padded.starts,
                weights,
                columns: &columns,
                stride: self.taps(),
                channels: self.channels[1],
                bias: Some(bias),
                rectify,
                rows: padded.rows,
                pitch: padded.pitch,
                target: Target { size: self.output(), step: [1, 1], shift: [0, 0] },
            }
            .write(out);
        });
    }

    /// The gradient of one image, given that of the output. Where the output was rectified, it is given too: the gradient
    /// is that of its positive values only. Every value is written.
    pub fn input_gradient(
        &self,
        weights: &[f32],
        gradient: &[f32],
        rectified: Option<&[f32]>,
        out: &mut [MaybeUninit<f32>],
    ) {
        let [h, w] = self.output();
        // Row y of the padded input is row y div s of phase y mod s; place k of the kernel adds to it from output row
        // (y - k · dilation) / s, if that is whole.
        let back = self.reach();
        let first = |d: usize| self.padding[d].0 / self.stride[d];
        let count = |d: usize| (self.padding[d].0 + self.input[d] - 1) / self.stride[d] + 1 - first(d);
        let [rows, columns] = [count(0), count(1)];
        let [height, pitch] = [rows + back[0], columns + back[1]];
        let plane = height * pitch;
        let direct = rectified.is_none() && [height, pitch] == [h, w] && back == [first(0), first(1)];
        let fill = |m: usize, to: &mut [f32]| {
            let range = m * h * w..(m + 1) * h * w;
            let gradient = &gradient[range.clone()];
            let rectified = rectified.map(|values| &values[range]);
            for (r, row) in to.chunks_mut(pitch).enumerate() {
                let Some(y) = (r + first(0)).checked_sub(back[0]).filter(|&y| y < h) else {
                    row.fill(0.0);
                    continue;
                };
                // Column q holds output column q + first - back.
                let before = back[1].saturating_sub(first(1)).min(pitch);
                let skipped = first(1).saturating_sub(back[1]);
                let n = (pitch - before).min(w.saturating_sub(skipped));
                row[..before].fill(0.0);
                row[before + n..].fill(0.0);
                let from = y * w + skipped;
                let to = &mut row[before..before + n];
                match rectified {
                    None => to.copy_from_slice(&gradient[from..from + n]),
                    Some(values) => {
                        for ((to, &g), &v) in
                            to.iter_mut().zip(&gradient[from..]).zip(&values[from..from + n])
                        {
                            *to = if v > 0.0 { g } else { 0.0 };
                        }
                    }
                }
            }
        };
        let mut sum = |planes: &[f32]| {
            for py in 0..self.stride[0].min(self.input[0] + self.padding[0].0) {
                for px in 0..self.stride[1].min(self.input[1] + self.padding[1].0) {
                    self.phase_gradient(
                        [py, px],
                        planes,
                        plane,
                        [rows, pitch],
                        [first(0), first(1)],
                        weights,
                        out,
                    );
                }
            }
        };
        if direct {
            return sum(gradient);
        }
        with_memory(self.channels[1] * plane, |planes| {
            planes.par_chunks_mut(plane).with_min_len(8).enumerate().for_each(|(m, to)| fill(m, to));
            sum(planes);
        });
    }

    /// The gradient of the rows and columns of one phase.
    #[allow(clippy::too_many_arguments)]
    fn phase_gradient(
        &self,
        phase: [usize; 2],
        planes: &[f32],
        plane: usize,
        [rows, pitch]: [usize; 2],
        first: [usize; 2],
        weights: &[f32],
        out: &mut [MaybeUninit<f32>],
    ) {
        let [kh, kw] = self.kernel;
        // By axis: the places of the kernel that add to this phase, and how many output rows each reaches back.
        let places: [Vec<(usize, usize)>; 2] = std::array::from_fn(|d| {
            (0..self.kernel[d])
                .map(|k| (k, k * self.dilation[d]))
                .filter(|(_, y)| y % self.stride[d] == phase[d])
                .map(|(k, y)| (k, y / self.stride[d]))
                .collect()
        });
        let back = self.reach();
        let (mut starts, mut columns) = (vec![], vec![]);
        for m in 0..self.channels[1] {
            for &(ky, y) in &places[0] {
                for &(kx, x) in &places[1] {
                    starts.push(m * plane + (back[0] - y) * pitch + back[1] - x);
                    columns.push((m * self.channels[0] * kh + ky) * kw + kx);
                }
            }
        }
        Sums {
            planes,
            starts: &starts,
            weights,
            columns: &columns,
            stride: kh * kw,
            channels: self.channels[0],
            bias: None,
            rectify: false,
            rows,
            pitch,
            target: Target {
                size: self.input,
                step: self.stride,
                shift: std::array::from_fn(|d| {
                    (first[d] * self.stride[d] + phase[d]) as isize - self.padding[d].0 as isize
                }),
            },
        }
        .write(out);
    }

    /// Adds the gradient of the weights for one image to `weights`.
    pub fn add_weight_gradient(&self, x: &[f32], gradient: &[f32], weights: &mut [f32]) {
        let [h, w] = self.output();
        self.with_planes(x, |planes, padded| {
            let positions = (h - 1) * padded.pitch + w;
            if padded.pitch == w {
                return Products { gradients: gradient, positions, planes, starts: &padded.starts }
                    .add(weights);
            }
            let mut spread = vec![0.0; self.channels[1] * positions];
            for (to, from) in spread.chunks_mut(positions).zip(gradient.chunks(h * w)) {
                for (to, from) in to.chunks_mut(padded.pitch).zip(from.chunks(w)) {
                    to[..w].copy_from_slice(from);
                }
            }
            Products { gradients: &spread, positions, planes, starts: &padded.starts }.add(weights);
        });
    }
}

/// Every `stride`-th value of `values` from column `phase` of its padded row on; zeros outside it.
fn padded_row(row: &mut [f32], values: &[f32], stride: usize, phase: usize, before: usize) {
    // Column q of the row is column q · stride + phase - before of the values.
    let start = before.saturating_sub(phase).div_ceil(stride).min(row.len());
    let values = values.get((start * stride + phase).saturating_sub(before)..).unwrap_or(&[]);
    let n = values.len().div_ceil(stride).min(row.len() - start);
    row[..start].fill(0.0);
    row[start + n..].fill(0.0);
    let to = &mut row[start..start + n];
    if stride == 1 {
        to.copy_from_slice(&values[..n]);
    } else {
        for (to, &v) in to.iter_mut().zip(values.iter().step_by(stride)) {
            *to = v;
        }
    }
}

/// Calls `f` with memory for `n` values, whatever they are.
fn with_memory<R>(n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken, not borrowed: while this thread waits for others, rayon may give it another convolution.
    let mut memory = PLANES.take();
    if memory.len() < n {
        memory.resize(n, 0.0);
    }
    let result = f(&mut memory[..n]);
    PLANES.set(memory);
    result
}
