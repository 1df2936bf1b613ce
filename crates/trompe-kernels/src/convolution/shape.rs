//! A convolution and its gradients, or several of one input whose outputs are joined, as sums and products of shifted
//! planes.
//!
//! With a stride of s, rows (and columns) of the input fall into s phases, and a place of the kernel reads one of them
//! only: what it reads moves by one position from one output to the next, as without a stride.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::memory::{self, Memory};
use super::prepared::Prepared;
use super::sums::{self, Output, Products, Rectified, Rows, Sums, Target, Weights};
use super::winograd::{self, Factors, TILE, Windows};
use crate::execution::{Execution, Tiling};
use crate::simd::InstructionSet;

/// The sizes of a convolution, rows before columns.
#[derive(Clone, Debug)]
pub struct Shape {
    pub channels: [usize; 2],
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [(usize, usize); 2],
    /// How much of the padding only other convolutions need, which this one is joined with.
    pub unused: [(usize, usize); 2],
    pub dilation: [usize; 2],
}

/// One of the convolutions of an image that are joined. They differ in their kernels and output channels only.
pub struct Branch<'a> {
    pub shape: &'a Shape,
    /// `[out, C, kh, kw]`
    pub weights: &'a [f32],
    /// `[out]`
    pub bias: &'a [f32],
    /// What the weights are multiplied as where that is done by tiles. Without it, that is not done.
    pub prepared: Option<&'a Prepared>,
}

impl<'a> Branch<'a> {
    /// What the image is multiplied with if that goes by tiles.
    fn forward(&self, tiling: &Tiling) -> Option<&'a Factors> {
        let prepared = self.prepared.filter(|_| self.shape.pays_by_tiles(tiling))?;
        Some(prepared.forward(|| Factors::new(self.weights, self.shape.channels, false)))
    }
}

thread_local! {
    /// Memory for planes that the next convolution on this thread uses again.
    static PLANES: Memory = const { memory::empty() };
}

/// Values after the last plane, so that no vector reaches over the end.
const ROOM: usize = 48;

/// The planes that sums read: rows of positions that start `pitch` apart, and as many rows more as the kernel reaches.
struct Planes {
    count: usize,
    rows: usize,
    pitch: usize,
    reach: usize,
}

impl Planes {
    /// How many rows a core takes, and of these sums at a time, with `work` multiplications in each.
    fn bands(&self, work: usize, tiling: &Tiling) -> [usize; 2] {
        let fitting = (tiling.band / (self.count * self.pitch).max(1)).saturating_sub(self.reach);
        // Of fewer, too much would be filled in twice.
        let fitting = fitting.max(2 * self.reach).max(1);
        [fitting.min(self.share(work, tiling)); 2]
    }

    /// How many rows a core takes at a time.
    fn share(&self, work: usize, tiling: &Tiling) -> usize {
        match rayon::current_num_threads() {
            1 => self.rows,
            threads => self.rows.div_ceil(2 * threads).max(tiling.task.div_ceil(work.max(1))),
        }
        .clamp(1, self.rows.max(1))
    }

    /// As [`bands`](Self::bands), for sums of `columns` columns. Where they go by tiles, given how many values a row of
    /// transformed tiles has, the planes get rows and columns for whole tiles.
    fn divided(
        self,
        columns: usize,
        work: usize,
        tiles: Option<usize>,
        tiling: &Tiling,
    ) -> (Self, [usize; 2]) {
        let Some(tiles) = tiles else {
            let bands = self.bands(work, tiling);
            return (self, bands);
        };
        let margin = self.pitch - columns;
        let planes = Self {
            rows: self.rows.next_multiple_of(TILE),
            pitch: columns.next_multiple_of(TILE) + margin,
            ..self
        };
        let share = (planes.rows / TILE).div_ceil(rayon::current_num_threads());
        let values = tiles + TILE * planes.count * planes.pitch;
        let fitting = (tiling.winograd_band / values.max(1)).clamp(1, share.max(1));
        // As high as each other.
        let band = share.div_ceil(share.div_ceil(fitting).max(1));
        (planes, [share * TILE, band * TILE])
    }

    /// Calls `f` with each band of rows and the planes of `band` rows that `fill` has written for it, given the plane, its
    /// rows and where they go. A core takes `share` rows.
    fn each_band(
        &self,
        [share, band]: [usize; 2],
        fill: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
        f: impl Fn(Range<usize>, &[f32]) + Sync,
    ) {
        let plane = (band + self.reach) * self.pitch;
        in_bands(self.rows, share, |all| {
            memory::with(&PLANES, self.count * plane + ROOM, |planes| {
                for start in all.clone().step_by(band.max(1)) {
                    let rows = start..all.end.min(start + band);
                    let read = rows.start..rows.end + self.reach;
                    for (i, plane) in planes.chunks_mut(plane).take(self.count).enumerate() {
                        fill(i, read.clone(), &mut plane[..read.len() * self.pitch]);
                    }
                    f(rows, planes);
                }
            });
        });
    }
}

/// Calls `f` with each band of so many rows.
fn in_bands(rows: usize, band: usize, f: impl Fn(Range<usize>) + Sync) {
    let f = |i: usize| f(i * band..((i + 1) * band).min(rows));
    let bands = rows.div_ceil(band);
    if bands > 1 && rayon::current_num_threads() > 1 {
        (0..bands).into_par_iter().for_each(f);
    } else {
        (0..bands).for_each(f);
    }
}

/// The most channels, over all phases of the columns, that are summed side by side.
const FEW: usize = 6;

/// What adds to one phase of the rows of the padded input, in one phase of its columns or in all.
struct Phase {
    /// The phases of the rows and, the first, of the columns.
    at: [usize; 2],
    /// How many phases of the columns.
    across: usize,
    /// Places in the planes of the output's gradient, by tap.
    starts: Vec<usize>,
    /// By branch, places among the weights by tap, and from one input channel's weights to the next one's.
    columns: Vec<(Vec<usize>, usize)>,
    /// Weights in another order than the convolution's.
    packed: Option<Vec<f32>>,
}

impl Shape {
    /// The size of the output.
    pub fn output(&self) -> [usize; 2] {
        std::array::from_fn(|d| {
            let padded = self.input[d] + self.padding[d].0 + self.padding[d].1;
            let padded = padded - self.unused[d].0 - self.unused[d].1;
            (padded - self.dilation[d] * (self.kernel[d] - 1) - 1) / self.stride[d] + 1
        })
    }

    /// Where a place of the kernel reads the padded input for the first row (`axis` 0) or column (1) of the output.
    fn reads(&self, axis: usize, k: usize) -> usize {
        self.unused[axis].0 + k * self.dilation[axis]
    }

    /// How many positions after the first the last place of the kernel reads, by axis.
    fn reach(&self) -> [usize; 2] {
        std::array::from_fn(|d| self.reads(d, self.kernel[d] - 1) / self.stride[d])
    }

    /// The shapes of convolutions of one image without strides, as they are when joined: with the padding that any of them
    /// needs.
    pub fn joined<const N: usize>(shapes: [Self; N]) -> [Self; N] {
        let padding: [(usize, usize); 2] = std::array::from_fn(|d| {
            let most = |side: fn(&(usize, usize)) -> usize| {
                shapes.iter().map(|shape| side(&shape.padding[d])).max().unwrap_or(0)
            };
            (most(|p| p.0), most(|p| p.1))
        });
        let with_padding = |shape: Self| Self {
            unused: std::array::from_fn(|d| {
                (padding[d].0 - shape.padding[d].0, padding[d].1 - shape.padding[d].1)
            }),
            padding,
            ..shape
        };
        shapes.map(with_padding)
    }

    /// Whether multiplying tiles saves time.
    pub fn pays_by_tiles(&self, tiling: &Tiling) -> bool {
        let fits = self.kernel == [3, 3] && self.stride == [1, 1] && self.dilation == [1, 1];
        let [h, w] = self.output();
        fits && self.channels.iter().all(|&c| c >= tiling.winograd_channels)
            && h * w >= tiling.winograd_outputs
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

    /// The phases, by axis, that a place of the kernel reads.
    fn phases_read(&self) -> [Vec<usize>; 2] {
        std::array::from_fn(|d| {
            let mut read: Vec<usize> =
                (0..self.kernel[d]).map(|k| self.reads(d, k) % self.stride[d]).collect();
            read.sort_unstable();
            read.dedup();
            read
        })
    }

    /// The planes that the forward pass reads, each phase of each channel padded.
    fn input_planes(&self) -> Planes {
        let [rows, columns] = self.output();
        let reach = self.reach();
        let [down, across] = self.phases_read();
        let count = self.channels[0] * down.len() * across.len();
        Planes { count, rows, pitch: columns + reach[1], reach: reach[0] }
    }

    /// Whether these planes are the image.
    fn reads_image(&self) -> bool {
        self.stride == [1, 1] && self.padding == [(0, 0); 2]
    }

    /// Where in such planes, of `plane` values each, every tap's first position is.
    fn input_starts(&self, plane: usize, pitch: usize) -> Vec<usize> {
        let [down, across] = self.phases_read();
        let [sy, sx] = self.stride;
        let index = |phases: &[usize], phase| phases.binary_search(&phase).expect("a phase that is read");
        self.places()
            .map(|[c, ky, kx]| {
                let [y, x] = [self.reads(0, ky), self.reads(1, kx)];
                let i = (c * down.len() + index(&down, y % sy)) * across.len() + index(&across, x % sx);
                i * plane + y / sy * pitch + x / sx
            })
            .collect()
    }

    /// What writes rows of such a plane of the image `x`.
    fn fill_input<'a>(
        &'a self,
        set: InstructionSet,
        x: &'a [f32],
        pitch: usize,
    ) -> impl Fn(usize, Range<usize>, &mut [f32]) + Sync + 'a {
        let [h, w] = self.input;
        let [down, across] = self.phases_read();
        move |i, rows, to| {
            if self.stride == [1, 1] {
                let before = self.padding.map(|(before, _)| before as isize);
                let map = &x[i * h * w..(i + 1) * h * w];
                return fill_rows(set, map, None, self.input, before, rows, pitch, to);
            }
            let (c, py, px) = (
                i / (down.len() * across.len()),
                down[i / across.len() % down.len()],
                across[i % across.len()],
            );
            for (r, row) in rows.zip(to.chunks_mut(pitch)) {
                let y = (r * self.stride[0] + py).checked_sub(self.padding[0].0).filter(|&y| y < h);
                match y {
                    Some(y) => {
                        let values = &x[(c * h + y) * w..][..w];
                        padded_row(row, values, self.stride[1], px, self.padding[1].0);
                    }
                    None => row.fill(0.0),
                }
            }
        }
    }

    /// By axis: the places of the kernel that add to a phase, and how many output rows or columns each reaches back.
    fn places_of_phase(&self, axis: usize, phase: usize) -> Vec<(usize, usize)> {
        (0..self.kernel[axis])
            .map(|k| (k, self.reads(axis, k)))
            .filter(|(_, y)| y % self.stride[axis] == phase)
            .map(|(k, y)| (k, y / self.stride[axis]))
            .collect()
    }

    /// All phases of the columns, for one of the rows: each input channel once for each of them, with weights of 0 where a
    /// place of the kernel adds to others only. A gradient that is not finite reaches these, too.
    fn phases_of_row(&self, row: usize, across: usize, weights: &[f32], plane: usize, pitch: usize) -> Phase {
        let [kh, kw] = self.kernel;
        let down = self.places_of_phase(0, row);
        let places: Vec<_> = (0..across).map(|phase| self.places_of_phase(1, phase)).collect();
        let back = self.reach();
        let taps = self.channels[1] * down.len() * (back[1] + 1);
        let mut starts = Vec::with_capacity(taps);
        let mut packed = vec![0.0; self.channels[0] * across * taps];
        for m in 0..self.channels[1] {
            for &(ky, y) in &down {
                for x in 0..=back[1] {
                    for (phase, places) in places.iter().enumerate() {
                        let Some((kx, _)) = places.iter().find(|(_, reach)| *reach == x) else { continue };
                        for c in 0..self.channels[0] {
                            packed[(c * across + phase) * taps + starts.len()] =
                                weights[((m * self.channels[0] + c) * kh + ky) * kw + kx];
                        }
                    }
                    starts.push(m * plane + (back[0] - y) * pitch + back[1] - x);
                }
            }
        }
        let columns = (0..taps).collect();
        Phase { at: [row, 0], across, starts, columns: vec![(columns, taps)], packed: Some(packed) }
    }

    /// Adds the gradient of the weights for one image to `weights`.
    pub fn add_weight_gradient(&self, set: InstructionSet, x: &[f32], gradient: &[f32], weights: &mut [f32]) {
        let [h, w] = self.output();
        let planes = self.input_planes();
        let pitch = planes.pitch;
        let add = |planes: &[f32], plane: usize, weights: &mut [f32]| {
            let starts = self.input_starts(plane, pitch);
            let positions = (h - 1) * pitch + w;
            if pitch == w {
                return Products { gradients: gradient, positions, planes, starts: &starts }
                    .add(set, weights);
            }
            let mut spread = vec![0.0; self.channels[1] * positions];
            for (to, from) in spread.chunks_mut(positions).zip(gradient.chunks(h * w)) {
                for (to, from) in to.chunks_mut(pitch).zip(from.chunks(w)) {
                    to[..w].copy_from_slice(from);
                }
            }
            Products { gradients: &spread, positions, planes, starts: &starts }.add(set, weights);
        };
        if self.reads_image() {
            return add(x, x.len() / self.channels[0], weights);
        }
        let plane = (planes.rows + planes.reach) * pitch;
        let fill = self.fill_input(set, x, pitch);
        memory::with(&PLANES, planes.count * plane, |memory| {
            memory.par_chunks_mut(plane).with_min_len(8).enumerate().for_each(|(i, plane)| {
                fill(i, 0..planes.rows + planes.reach, plane);
            });
            add(memory, plane, weights);
        });
    }
}

/// How far the kernels of all branches reach.
fn reach(branches: &[Branch]) -> [usize; 2] {
    std::array::from_fn(|d| branches.iter().map(|branch| branch.shape.reach()[d]).max().unwrap_or(0))
}

/// The output channels of all branches.
fn channels(branches: &[Branch]) -> usize {
    branches.iter().map(|branch| branch.shape.channels[1]).sum()
}

/// The weights that one position of the outputs is multiplied with.
fn taps(branches: &[Branch]) -> usize {
    branches.iter().map(|Branch { shape, .. }| shape.taps() * shape.channels[1]).sum()
}

/// The convolutions of one image `[C, H, W]`, one after another, and max(x, 0) of them if they are to be rectified; every value
/// of `out` is written.
pub fn forward(
    execution: Execution,
    branches: &[Branch],
    x: &[f32],
    rectify: bool,
    out: &mut [MaybeUninit<f32>],
) {
    let Execution { set, ref tiling } = execution;
    let Some(Branch { shape, .. }) = branches.first() else { return };
    let [h, w] = shape.output();
    assert_eq!(out.len(), channels(branches) * h * w);
    let [down, across] = reach(branches);
    let planes = Planes { reach: down, pitch: w + across, ..shape.input_planes() };
    let work = planes.pitch * taps(branches);
    // One branch's tiles take the place of another's.
    let tiles =
        branches.iter().filter_map(|branch| Some(winograd::tiles(&[branch.forward(tiling)?], w))).max();
    let (planes, bands) = planes.divided(w, work, tiles, tiling);
    let columns: Vec<Vec<usize>> = branches.iter().map(|branch| (0..branch.shape.taps()).collect()).collect();
    let pitch = planes.pitch;
    let sum = |rows: Range<usize>, planes: &[f32], plane: usize, starts: &[Vec<usize>], mut out: Output| {
        for ((branch, starts), columns) in branches.iter().zip(starts).zip(&columns) {
            let Branch { shape, weights, bias, .. } = *branch;
            let next = shape.channels[1] * h * w;
            if let Some(factors) = branch.forward(tiling) {
                let windows = Windows {
                    planes: &planes[shape.unused[0].0 * pitch + shape.unused[1].0..],
                    plane,
                    pitch,
                    factors: &[factors],
                    bias: Some(bias),
                    rectify,
                    rows: rows.len().min(h - rows.start),
                    first: rows.start,
                    size: [h, w],
                };
                // SAFETY: as below.
                out = unsafe {
                    winograd::write(set, &windows, out);
                    out.after(next)
                };
                continue;
            }
            let sums = Sums {
                planes,
                starts,
                weights: &[Weights { values: weights, columns, stride: shape.taps() }],
                channels: shape.channels[1],
                bias: Some(bias),
                rectify,
                rows: rows.len(),
                pitch,
                target: Target { size: [h, w], step: [1, 1], shift: [rows.start as isize, 0], phases: 1 },
            };
            // SAFETY: no two bands have a row in common, and the next branch's planes come after this one's.
            out = unsafe {
                sums::write(set, &[sums], out);
                out.after(next)
            };
        }
    };
    let starts = |plane: usize| -> Vec<Vec<usize>> {
        branches.iter().map(|branch| branch.shape.input_starts(plane, pitch)).collect()
    };
    let out = Output::new(out);
    if shape.reads_image() && tiles.is_none() {
        let plane = x.len() / shape.channels[0];
        let starts = starts(plane);
        in_bands(h, planes.share(work, tiling), |rows| {
            let from = rows.start * pitch;
            sum(rows, &x[from..], plane, &starts, out);
        });
    } else {
        let plane = (bands[1] + planes.reach) * pitch;
        let starts = starts(plane);
        let fill = shape.fill_input(set, x, pitch);
        planes.each_band(bands, fill, |rows, planes| sum(rows, planes, plane, &starts, out));
    }
}

/// The gradient of one image, given that of the outputs, after their ReLU if they have one. Every value is written.
pub fn input_gradient(
    execution: Execution,
    branches: &[Branch],
    gradient: &[f32],
    rectified: Option<Rectified>,
    out: &mut [MaybeUninit<f32>],
) {
    let Execution { set, ref tiling } = execution;
    let Some(Branch { shape, .. }) = branches.first() else { return };
    let [h, w] = shape.output();
    // Row y of the padded input is row y div s of phase y mod s; place k of the kernel adds to it from output row
    // (y - k · dilation) / s, if that is whole.
    let back = reach(branches);
    let first: [usize; 2] = std::array::from_fn(|d| shape.padding[d].0 / shape.stride[d]);
    let [rows, columns] =
        std::array::from_fn(|d| (shape.padding[d].0 + shape.input[d] - 1) / shape.stride[d] + 1 - first[d]);
    let planes = Planes { count: channels(branches), rows, pitch: columns + back[1], reach: back[0] };
    let work = planes.pitch * taps(branches) / (shape.stride[0] * shape.stride[1]);
    let factors = factors(branches, tiling);
    let tiles = factors.as_ref().map(|factors| winograd::tiles(factors, columns));
    let (planes, bands) = planes.divided(columns, work, tiles, tiling);
    let pitch = planes.pitch;
    // Row and column q hold output row and column q + first - back.
    let before = std::array::from_fn(|d| back[d] as isize - first[d] as isize);
    let fill = |m: usize, rows: Range<usize>, to: &mut [f32]| {
        let map = m * h * w..(m + 1) * h * w;
        let rectified = rectified.map(|r| Rectified { values: &r.values[map.clone()], ..r });
        fill_rows(set, &gradient[map], rectified, [h, w], before, rows, pitch, to);
    };
    assert_eq!(out.len(), shape.channels[0] * shape.input[0] * shape.input[1]);
    let out = Output::new(out);
    let sum = |band: Range<usize>, planes: &[f32], phases: &[Phase]| {
        let weights: Vec<Vec<Weights>> = phases
            .iter()
            .map(|phase| {
                let values = branches.iter().map(|branch| phase.packed.as_deref().unwrap_or(branch.weights));
                let places = phase.columns.iter();
                values
                    .zip(places)
                    .map(|(values, &(ref columns, stride))| Weights { values, columns, stride })
                    .collect()
            })
            .collect();
        let sums: Vec<Sums> = phases
            .iter()
            .zip(&weights)
            .map(|(phase, weights)| Sums {
                planes,
                starts: &phase.starts,
                weights,
                channels: shape.channels[0] * phase.across,
                bias: None,
                rectify: false,
                rows: band.len(),
                pitch,
                target: Target {
                    size: shape.input,
                    step: shape.stride,
                    shift: std::array::from_fn(|d| {
                        let row = first[d] + if d == 0 { band.start } else { 0 };
                        (row * shape.stride[d] + phase.at[d]) as isize - shape.padding[d].0 as isize
                    }),
                    phases: phase.across,
                },
            })
            .collect();
        // SAFETY: no two bands have a row in common.
        unsafe { sums::write(set, &sums, out) };
    };
    if let Some(factors) = factors {
        let plane = (bands[1] + planes.reach) * pitch;
        return planes.each_band(bands, fill, |rows, planes| {
            let windows = Windows {
                planes,
                plane,
                pitch,
                factors: &factors,
                bias: None,
                rectify: false,
                rows: rows.len().min(shape.input[0] - rows.start),
                first: rows.start,
                size: shape.input,
            };
            // SAFETY: no two bands have a row in common.
            unsafe { winograd::write(set, &windows, out) };
        });
    }
    if rectified.is_none() && [rows + back[0], pitch] == [h, w] && back == first {
        let phases = phases(branches, h * w, pitch);
        in_bands(rows, planes.share(work, tiling), |rows| {
            let from = rows.start * pitch;
            sum(rows, &gradient[from..], &phases);
        });
    } else {
        let phases = phases(branches, (bands[1] + planes.reach) * pitch, pitch);
        planes.each_band(bands, fill, |rows, planes| sum(rows, planes, &phases));
    }
}

/// What the gradients of outputs are multiplied with if that goes by tiles: all kernels are 3x3, or lie in the middle of
/// such kernels.
fn factors<'a>(branches: &[Branch<'a>], tiling: &Tiling) -> Option<Vec<&'a Factors>> {
    let pays = branches.iter().any(|branch| branch.shape.pays_by_tiles(tiling)) && reach(branches) == [2, 2];
    let factors = |branch: &Branch<'a>| {
        let Branch { shape, weights, prepared, .. } = *branch;
        let middle = shape.kernel == [1, 1] && shape.unused.iter().all(|&(before, _)| before == 1);
        if middle {
            Some(prepared?.backward(|| Factors::middle(weights, shape.channels)))
        } else if shape.kernel == [3, 3] {
            Some(prepared?.backward(|| Factors::new(weights, shape.channels, true)))
        } else {
            None
        }
    };
    if pays { branches.iter().map(factors).collect() } else { None }
}

/// The phases of the rows and columns of the padded input, and what adds to each from such planes of the outputs'
/// gradient.
fn phases(branches: &[Branch], plane: usize, pitch: usize) -> Vec<Phase> {
    let [Branch { shape, weights, .. }, ..] = branches else { return vec![] };
    let [down, across] = std::array::from_fn(|d| shape.stride[d].min(shape.input[d] + shape.padding[d].0));
    // The few channels of an image would leave registers unused.
    if branches.len() == 1 && across > 1 && shape.channels[0] * across <= FEW {
        return (0..down).map(|y| shape.phases_of_row(y, across, weights, plane, pitch)).collect();
    }
    let phases = (0..down).flat_map(|y| (0..across).map(move |x| [y, x]));
    phases.map(|at| phase(branches, at, plane, pitch)).collect()
}

fn phase(branches: &[Branch], at: [usize; 2], plane: usize, pitch: usize) -> Phase {
    let back = reach(branches);
    let mut phase = Phase { at, across: 1, starts: vec![], columns: vec![], packed: None };
    let mut first = 0;
    for Branch { shape, .. } in branches {
        let [kh, kw] = shape.kernel;
        let [down, across] = [0, 1].map(|d| shape.places_of_phase(d, at[d]));
        let mut columns = vec![];
        for m in 0..shape.channels[1] {
            for &(ky, y) in &down {
                for &(kx, x) in &across {
                    phase.starts.push((first + m) * plane + (back[0] - y) * pitch + back[1] - x);
                    columns.push((m * shape.channels[0] * kh + ky) * kw + kx);
                }
            }
        }
        phase.columns.push((columns, kh * kw));
        first += shape.channels[1];
    }
    phase
}

/// Writes rows of a map `[h, w]` with so many rows and columns of zeros before it, or without some of its own, and zeros after
/// it up to `pitch` columns. Where it is the gradient after a ReLU, it is that before it that is written.
#[expect(clippy::too_many_arguments, reason = "a part of a map, and where it goes")]
fn fill_rows(
    set: InstructionSet,
    map: &[f32],
    rectified: Option<Rectified>,
    [h, w]: [usize; 2],
    before: [isize; 2],
    rows: Range<usize>,
    pitch: usize,
    to: &mut [f32],
) {
    let first = before[0].clamp(rows.start as isize, rows.end as isize) as usize;
    let end = (h as isize + before[0]).clamp(first as isize, rows.end as isize) as usize;
    to[..(first - rows.start) * pitch].fill(0.0);
    to[(end - rows.start) * pitch..].fill(0.0);
    if first == end {
        return;
    }
    let to = &mut to[(first - rows.start) * pitch..(end - rows.start) * pitch];
    let [column, skipped] = [before[1], -before[1]].map(|n| n.max(0) as usize);
    let n = pitch.saturating_sub(column).min(w.saturating_sub(skipped));
    let top = (first as isize - before[0]) as usize;
    let part = top * w + skipped.min(w)..(top + end - first) * w;
    let rectified = rectified.map(|r| Rectified { values: &r.values[part.clone()], ..r });
    let map = &map[part];
    // Rows without a gap between them are one.
    let [count, width, pitch] =
        if n == w && n == pitch { [1, to.len(), to.len()] } else { [end - first, n, pitch] };
    sums::copy_rows(
        set,
        Rows { rectified, chosen: map, to, count, width, read: w, before: column.min(pitch), pitch },
    );
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
    for (to, &v) in to.iter_mut().zip(values.iter().step_by(stride)) {
        *to = v;
    }
}
