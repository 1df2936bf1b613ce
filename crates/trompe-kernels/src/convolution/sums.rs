//! The two inner loops: sums of shifted planes, for a convolution and its input gradient, and products of shifted planes,
//! for its weight gradient. Neither copies the input once for each place of the kernel, as im2col does.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{InstructionSet, Simd, Vector, Work};

/// Vectors of positions that one tile is wide.
pub const WIDE: usize = 3;
/// Output channels that one tile is high where there are registers for them; half as many elsewhere.
pub const HIGH: usize = 8;
/// The most positions a tile has on any processor.
const MOST: usize = 2 * WIDE * 16;
/// Tiles that a few output channels go over before the next channels do.
const BLOCK: usize = 8;

/// How many taps before they are read planes are asked for.
const AHEAD: usize = 6;

/// Sums of shifted planes: at position p, output channel m is `bias[m] + Σ weight[m, t] · planes[starts[t] + p]` over the
/// taps t. Each sum runs in the order of the taps, wherever p is.
pub struct Sums<'a> {
    pub planes: &'a [f32],
    /// By tap, the first position's place in `planes`.
    pub starts: &'a [usize],
    /// Those of the first taps, of the next ones and so on.
    pub weights: &'a [Weights<'a>],
    pub channels: usize,
    pub bias: Option<&'a [f32]>,
    /// Whether to put max(x, 0) for each sum x.
    pub rectify: bool,
    /// The positions: rows that start `pitch` apart, of which the target drops the columns beyond it.
    pub rows: usize,
    pub pitch: usize,
    pub target: Target,
}

/// Weights of some taps.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    pub values: &'a [f32],
    /// By tap, its place among an output channel's weights.
    pub columns: &'a [usize],
    /// From one output channel's weights to the next one's.
    pub stride: usize,
}

/// Where the sums go: by row and column of positions, a place in a plane of `size` for each output channel, or, with several
/// `phases`, for each that many of them: these go to neighbouring columns.
#[derive(Clone, Copy)]
pub struct Target {
    pub size: [usize; 2],
    /// Row r of positions goes to row `step · r + shift`, and likewise columns; those outside the plane are dropped.
    pub step: [usize; 2],
    pub shift: [isize; 2],
    pub phases: usize,
}

impl Target {
    /// The first, and one past the last, of `count` rows (`axis` 0) or columns (1) of positions that lie in the plane in any
    /// phase.
    fn within(&self, axis: usize, count: usize) -> [usize; 2] {
        let (step, shift, size) = (self.step[axis] as isize, self.shift[axis], self.size[axis] as isize);
        let last = shift + if axis == 1 { self.phases as isize - 1 } else { 0 };
        let first = (-last).max(0).div_euclid(step) + isize::from((-last).max(0) % step != 0);
        let end = if size > shift { (size - shift - 1).div_euclid(step) + 1 } else { 0 };
        let end = end.clamp(0, count as isize);
        [first.min(end) as usize, end as usize]
    }

    /// The row and the column of the first phase of a position in the plane, of which the column may lie before it.
    fn place(&self, row: usize, column: usize) -> [isize; 2] {
        let at = |axis: usize, n: usize| (self.step[axis] * n) as isize + self.shift[axis];
        [at(0, row), at(1, column)]
    }
}

/// Positions of a tile that go to neighbouring places.
struct Segment {
    from: usize,
    count: usize,
    /// The first one's column, and its place in the plane.
    column: isize,
    place: isize,
}

/// Where all tasks write, each to places of its own.
#[derive(Clone, Copy)]
pub struct Output(*mut f32);

impl Output {
    pub fn new(out: &mut [MaybeUninit<f32>]) -> Self {
        Self(out.as_mut_ptr().cast())
    }

    /// The place so many values on.
    ///
    /// # Safety
    /// There are as many.
    pub unsafe fn after(self, values: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { self.0.add(values) })
    }

    /// Where value `i` is.
    pub fn place(self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}

// SAFETY: tasks have different positions, and two positions never have one place.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// Writes all sums to `out`, planes of the target's size one after another. Sums of the same planes at the same positions
/// that go to different places are written side by side, so that what they read is fetched once.
///
/// # Safety
/// `out` is valid, has a plane of the target's size for every `phases` output channels, and nobody else writes to these places of it.
pub unsafe fn write(set: InstructionSet, all: &[Sums], out: Output) {
    let Some(one) = all.first() else { return };
    let alike = |sums: &Sums| [sums.rows, sums.pitch, sums.channels] == [one.rows, one.pitch, one.channels];
    assert!(all.iter().all(alike));
    let ranges = all.iter().filter_map(Sums::positions);
    let Some(range) = ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)) else { return };
    set.run(Tiles { all, out, range });
}

impl Sums<'_> {
    /// The positions that go to the target's plane. Refuses weights and biases outside of what there are.
    fn positions(&self) -> Option<Range<usize>> {
        assert_eq!(
            self.starts.len(),
            self.weights.iter().map(|weights| weights.columns.len()).sum::<usize>()
        );
        for weights in self.weights {
            if let (Some(last), true) = (weights.columns.iter().max(), self.channels > 0) {
                assert!((self.channels - 1) * weights.stride + last < weights.values.len());
            }
        }
        assert!(self.bias.is_none_or(|bias| bias.len() == self.channels));
        let [_, columns] = self.target.within(1, self.pitch);
        let [first, rows] = self.target.within(0, self.rows);
        assert!(self.target.phases == 1 || self.target.step[1] > 1);
        (first < rows && columns > 0).then(|| first * self.pitch..(rows - 1) * self.pitch + columns)
    }

    /// How many vectors of positions a tile has at most.
    fn wide(&self, lanes: usize) -> usize {
        match self.channels {
            3 if lanes == 16 => 2 * WIDE,
            6 if lanes == 16 => 4,
            _ => WIDE,
        }
    }

    /// Adds the places that positions `range` go to.
    fn segments(&self, range: Range<usize>, segments: &mut Vec<Segment>) {
        let [left, right] = self.target.within(1, self.pitch);
        let [top, bottom] = self.target.within(0, self.rows);
        let before = segments.len();
        let mut p = range.start;
        while p < range.end {
            let (row, column) = (p / self.pitch, p % self.pitch);
            let end = (p - column + self.pitch).min(range.end);
            let [from, to] = [left.max(column), right.min(column + end - p)];
            if (top..bottom).contains(&row) && from < to {
                let [y, x] = self.target.place(row, from);
                let place = y * self.target.size[1] as isize + x;
                let next =
                    Segment { from: p - range.start + from - column, count: to - from, column: x, place };
                // Rows without a gap between them are one.
                match segments[before..].last_mut() {
                    Some(last)
                        if self.target.step[1] == 1
                            && last.from + last.count == next.from
                            && last.place + last.count as isize == place =>
                    {
                        last.count += next.count;
                    }
                    _ => segments.push(next),
                }
            }
            p = end;
        }
    }
}

/// The tiles of a range of positions.
struct Tiles<'a> {
    all: &'a [Sums<'a>],
    out: Output,
    range: Range<usize>,
}

impl Work for Tiles<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let length = S::LANES * self.all[0].wide(S::LANES);
        let mut segments = Vec::with_capacity(4 * BLOCK);
        let mut tiles = Vec::with_capacity(BLOCK);
        for from in self.range.clone().step_by(BLOCK * length) {
            let block = from..self.range.end.min(from + BLOCK * length);
            for sums in self.all {
                segments.clear();
                tiles.clear();
                let last = sums.starts.iter().max().copied().unwrap_or(0);
                for p in block.clone().step_by(length) {
                    let end = (p + length).min(block.end);
                    let wide = (end - p).div_ceil(S::LANES);
                    let before = segments.len();
                    sums.segments(p..end, &mut segments);
                    let range = before..segments.len();
                    if last + p + wide * S::LANES <= sums.planes.len() {
                        tiles.push(Tile { x: sums.planes[p..].as_ptr(), wide, segments: range });
                        continue;
                    }
                    // The last vector would reach over the planes' end: the same tile from a copy that has room.
                    let mut padded = vec![0.0; sums.starts.len() * length];
                    for (to, &start) in padded.chunks_mut(length).zip(sums.starts) {
                        let values = &sums.planes[start + p..(start + end).min(sums.planes.len())];
                        to[..values.len()].copy_from_slice(values);
                    }
                    let starts: Vec<usize> = (0..sums.starts.len()).map(|t| t * length).collect();
                    let tile = Tile { x: padded.as_ptr(), wide, segments: range };
                    // SAFETY: as below, with `wide` vectors of room for each tap.
                    unsafe { block_of_tiles(simd, sums, &[tile], &starts, &segments, self.out) };
                }
                // SAFETY: every vector read lies in the planes, as compared above, and every weight among the weights,
                // as `positions` has asserted; segments lie in the planes of `out`.
                unsafe { block_of_tiles(simd, sums, &tiles, sums.starts, &segments, self.out) };
            }
        }
    }
}

/// Some positions, for all output channels.
struct Tile {
    /// The first position's place in the planes, before a tap's start is added.
    x: *const f32,
    /// How many vectors they are.
    wide: usize,
    segments: Range<usize>,
}

/// All output channels of some tiles. A few channels at a time go over all of them: their weights stay in the nearest
/// cache, and what they write to is a few planes, whose next lines are foreseen.
///
/// # Safety
/// Each tile's `x` at each start has `wide` vectors; weights and segments lie within `sums`' and `out`.
#[inline(always)]
unsafe fn block_of_tiles<S: Simd>(
    simd: S,
    sums: &Sums,
    tiles: &[Tile],
    starts: &[usize],
    segments: &[Segment],
    out: Output,
) {
    let mut m = 0;
    while m < sums.channels {
        let rest = sums.channels - m;
        // 3 and 6 are the gradient of an image's colours, in one phase or two.
        let high = match (S::MANY, rest) {
            (true, 6) => 6,
            (false, 6) | (_, 3) => 3,
            (true, 5..) => HIGH,
            _ => HIGH / 2,
        };
        for Tile { x, wide, segments: range } in tiles {
            let at = Place { m, x: *x, starts, segments: &segments[range.clone()], out };
            // SAFETY: the caller's promise.
            unsafe {
                match (high, wide) {
                    (HIGH, 1) => tile::<S, HIGH, 1>(simd, sums, at),
                    (HIGH, 2) => tile::<S, HIGH, 2>(simd, sums, at),
                    (HIGH, _) => tile::<S, HIGH, WIDE>(simd, sums, at),
                    (6, 1) => tile::<S, 6, 1>(simd, sums, at),
                    (6, 2) => tile::<S, 6, 2>(simd, sums, at),
                    (6, 3) => tile::<S, 6, 3>(simd, sums, at),
                    (6, _) => tile::<S, 6, 4>(simd, sums, at),
                    (3, 1) => tile::<S, 3, 1>(simd, sums, at),
                    (3, 2) => tile::<S, 3, 2>(simd, sums, at),
                    (3, 3) => tile::<S, 3, 3>(simd, sums, at),
                    (3, 4) => tile::<S, 3, 4>(simd, sums, at),
                    (3, 5) => tile::<S, 3, 5>(simd, sums, at),
                    (3, _) => tile::<S, 3, { 2 * WIDE }>(simd, sums, at),
                    (_, 1) => tile::<S, { HIGH / 2 }, 1>(simd, sums, at),
                    (_, 2) => tile::<S, { HIGH / 2 }, 2>(simd, sums, at),
                    _ => tile::<S, { HIGH / 2 }, WIDE>(simd, sums, at),
                }
            }
        }
        m += high;
    }
}

/// Where a tile's sums come from and go to.
struct Place<'a> {
    /// The first output channel.
    m: usize,
    x: *const f32,
    starts: &'a [usize],
    segments: &'a [Segment],
    out: Output,
}

/// Output channels m to m + M at N vectors of positions. Channels past the last one repeat it and are not written.
///
/// # Safety
/// As for [`block_of_tiles`].
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(simd: S, sums: &Sums, at: Place) {
    let Place { m, x, starts, segments, out } = at;
    let mut buffer = MaybeUninit::<[[f32; MOST]; M]>::uninit();
    let buffer = buffer.as_mut_ptr().cast::<f32>();
    let Target { size: [height, width], step: [_, step], phases, .. } = sums.target;
    // A tile whose positions are all neighbours in the output goes there straight.
    let whole = matches!(segments, [all] if step == 1 && all.count == N * S::LANES);
    // SAFETY: the caller's promise, for every pointer here.
    unsafe {
        // The lines that the sums go to come in while these are computed.
        for segment in segments {
            for i in (m..sums.channels.min(m + M)).step_by(phases) {
                let to = out.0.wrapping_add(i / phases * height * width).wrapping_offset(segment.place);
                for k in (0..segment.count * step).step_by(16) {
                    simd.prefetch(to.wrapping_add(k));
                }
            }
        }
        let Sums { weights, channels, .. } = *sums;
        let mut starts = starts;
        for (i, all) in weights.iter().enumerate() {
            let (these, rest) = starts.split_at(all.columns.len());
            let weights = &Weights { values: &all.values[m * all.stride..], ..*all };
            let last = (M - 1).min(channels - m - 1);
            let more = i > 0;
            simd.apart(Taps::<M, N>::new(weights, last, x, these, (buffer, MOST), more));
            starts = rest;
        }
        let zero = simd.splat(0.0);
        for i in 0..M.min(sums.channels - m) {
            let values = buffer.add(i * MOST);
            let bias = simd.splat(sums.bias.map_or(0.0, |bias| bias[m + i]));
            let (plane, phase) = ((m + i) / phases, (m + i) % phases);
            let plane = out.0.add(plane * height * width);
            let to = if whole { plane.offset(segments[0].place) } else { values };
            for j in 0..N {
                let sum = simd.load(values.add(j * S::LANES)).add(bias);
                if sums.rectify { sum.rectify(zero) } else { sum }.store(to.add(j * S::LANES));
            }
            if whole {
                continue;
            }
            let values = std::slice::from_raw_parts(values, N * S::LANES);
            for segment in segments {
                let values = &values[segment.from..segment.from + segment.count];
                if step == 1 {
                    copy(simd, values, plane.offset(segment.place));
                    continue;
                }
                for (k, &v) in values.iter().enumerate() {
                    let right = (k * step + phase) as isize;
                    if (0..width as isize).contains(&(segment.column + right)) {
                        plane.offset(segment.place + right).write(v);
                    }
                }
            }
        }
    }
}

/// Writes values to `to`: a call of the library's copy would take as long as the few there are.
///
/// # Safety
/// There is room for them.
#[inline(always)]
pub unsafe fn copy<S: Simd>(simd: S, values: &[f32], to: *mut f32) {
    let n = values.len();
    // SAFETY: the caller's promise; the last vector ends with the last value.
    unsafe {
        if n < S::LANES {
            simd.load_part(values.as_ptr(), n).store_part(to, n);
            return;
        }
        for k in (0..n - S::LANES).step_by(S::LANES) {
            simd.load(values.as_ptr().add(k)).store(to.add(k));
        }
        simd.load(values.as_ptr().add(n - S::LANES)).store(to.add(n - S::LANES));
    }
}

/// The sums over taps at N vectors of positions for the first M output channels of `weights`, without bias.
pub struct Taps<'a, const M: usize, const N: usize> {
    weights: &'a Weights<'a>,
    /// Channels past this one repeat it.
    last: usize,
    /// The first position's place in the planes, before a tap's start is added.
    x: *const f32,
    starts: &'a [usize],
    /// Where the sums go, those of one channel `pitch` after those of the one before.
    to: *mut f32,
    pitch: usize,
    /// Whether they are added to what is there.
    more: bool,
}

impl<'a, const M: usize, const N: usize> Taps<'a, M, N> {
    /// The sums for taps that start at `starts` after `x`; channels past `last` repeat it. They go to `to`, those of one channel
    /// `pitch` after those of the one before, and are added to what is there if there is `more`.
    ///
    /// # Safety
    /// While this is worked on, `x` has N vectors at each start, there are weights up to the last channel, and `to` has room.
    pub unsafe fn new(
        weights: &'a Weights<'a>,
        last: usize,
        x: *const f32,
        starts: &'a [usize],
        (to, pitch): (*mut f32, usize),
        more: bool,
    ) -> Self {
        Self { weights, last, x, starts, to, pitch, more }
    }
}

impl<const M: usize, const N: usize> Work for Taps<'_, M, N> {
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Self { weights, last, x, starts, to, pitch, more } = self;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = [[simd.splat(0.0); N]; M];
            if more {
                for i in 0..M {
                    for j in 0..N {
                        sum[i][j] = simd.load(to.add(i * pitch + j * S::LANES));
                    }
                }
            }
            let mut rows = [weights.values.as_ptr(); M];
            for i in 0..M {
                rows[i] = rows[i].add(i.min(last) * weights.stride);
            }
            for t in 0..starts.len() {
                let ahead = x.add(*starts.get_unchecked(t.wrapping_add(AHEAD).min(starts.len() - 1)));
                let from = x.add(*starts.get_unchecked(t));
                let column = *weights.columns.get_unchecked(t);
                for j in 0..N {
                    simd.prefetch(ahead.add(j * S::LANES));
                }
                simd.add_products(&mut sum, from, &rows, column);
            }
            for i in 0..M {
                for j in 0..N {
                    sum[i][j].store(to.add(i * pitch + j * S::LANES));
                }
            }
        }
    }
}

/// What a gradient goes through on its way back before a ReLU.
#[derive(Clone, Copy)]
pub struct Rectified<'a> {
    /// The ReLU's values.
    pub values: &'a [f32],
    /// The share of the gradient that goes on where these are 0.
    pub leak: f32,
}

/// Rows to be copied, and what is put around them.
pub struct Rows<'a> {
    /// The ReLU, if any, that these are the gradient of, as long as `chosen`.
    pub rectified: Option<Rectified<'a>>,
    pub chosen: &'a [f32],
    /// Every value is written.
    pub to: &'a mut [f32],
    pub count: usize,
    pub width: usize,
    /// From one row that is read to the next.
    pub read: usize,
    /// How many zeros come before a row.
    pub before: usize,
    /// How many values a row has with these and with zeros after it.
    pub pitch: usize,
}

/// Copies rows.
pub fn copy_rows(set: InstructionSet, rows: Rows) {
    set.run(rows);
}

impl Work for Rows<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Self { rectified, chosen, to, count, width, read, before, pitch } = self;
        assert!(count > 0 && (count - 1) * read + width <= chosen.len() && count * pitch == to.len());
        assert!(before + width <= pitch && rectified.is_none_or(|r| r.values.len() == chosen.len()));
        // SAFETY: as just asserted.
        unsafe {
            let mut to = to.as_mut_ptr();
            zeros(simd, to, before);
            to = to.add(before);
            for row in 0..count {
                let from = row * read;
                match rectified {
                    None => copy(simd, &chosen[from..from + width], to),
                    Some(Rectified { values, leak }) => {
                        let (values, chosen) = (values.as_ptr().add(from), chosen.as_ptr().add(from));
                        if leak == 0.0 {
                            copy_positive(simd, values, chosen, width, to, |_| simd.splat(0.0));
                        } else {
                            let leak = simd.splat(leak);
                            let zero = simd.splat(0.0);
                            copy_positive(simd, values, chosen, width, to, |chosen| {
                                chosen.mul_add(leak, zero)
                            });
                        }
                    }
                }
                // Those after this row and before the next.
                let last = row + 1 == count;
                zeros(simd, to.add(width), pitch - width - if last { before } else { 0 });
                to = to.wrapping_add(pitch);
            }
        }
    }
}

/// Writes `n` zeros.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn zeros<S: Simd>(simd: S, to: *mut f32, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = simd.splat(0.0);
        let mut at = 0;
        while at + S::LANES <= n {
            zero.store(to.add(at));
            at += S::LANES;
        }
        if at < n {
            zero.store_part(to.add(at), n - at);
        }
    }
}

/// Writes `n` of `chosen`, and what `other` makes of those whose value is not above 0.
///
/// # Safety
/// There are as many, and room for them.
#[inline(always)]
unsafe fn copy_positive<S: Simd>(
    simd: S,
    values: *const f32,
    chosen: *const f32,
    n: usize,
    to: *mut f32,
    other: impl Fn(S::Vector) -> S::Vector,
) {
    // SAFETY: the caller's promise; the last vector ends with the last value.
    unsafe {
        let zero = simd.splat(0.0);
        if n < S::LANES {
            let chosen = simd.load_part(chosen, n);
            let kept = simd.load_part(values, n).where_larger(zero, chosen, other(chosen));
            kept.store_part(to, n);
            return;
        }
        let mut at = 0;
        while at < n {
            let i = at.min(n - S::LANES);
            let chosen = simd.load(chosen.add(i));
            let kept = simd.load(values.add(i)).where_larger(zero, chosen, other(chosen));
            kept.store(to.add(i));
            at += S::LANES;
        }
    }
}

/// Products of shifted planes: weight `m · starts.len() + t` is Σ `gradients[m · positions + p] · planes[starts[t] + p]` over
/// the positions p.
pub struct Products<'a> {
    pub gradients: &'a [f32],
    pub positions: usize,
    pub planes: &'a [f32],
    pub starts: &'a [usize],
}

impl Products<'_> {
    /// Adds all products to `weights`.
    pub fn add(&self, set: InstructionSet, weights: &mut [f32]) {
        let taps = self.starts.len();
        assert_eq!(weights.len() * self.positions, self.gradients.len() * taps);
        assert!(self.starts.iter().all(|start| start + self.positions <= self.planes.len()));
        let high = 4;
        weights.par_chunks_mut(high * taps).enumerate().for_each(|(i, weights)| {
            let gradients = &self.gradients[i * high * self.positions..];
            set.run(OutputChannels { products: self, gradients, weights });
        });
    }
}

/// The products of a few output channels.
struct OutputChannels<'a> {
    products: &'a Products<'a>,
    gradients: &'a [f32],
    weights: &'a mut [f32],
}

impl Work for OutputChannels<'_> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        let Self { products, gradients, weights } = self;
        let taps = products.starts.len();
        let high = weights.len() / taps;
        for m in (0..high).step_by(if S::MANY { 4 } else { 2 }) {
            for t in (0..taps).step_by(if S::MANY { 6 } else { 4 }) {
                if S::MANY {
                    block::<S, 4, 6>(simd, products, gradients, weights, m, t);
                } else {
                    block::<S, 2, 4>(simd, products, gradients, weights, m, t);
                }
            }
        }
    }
}

/// The products of M output channels from m with T taps from t. Those past the last repeat it and are not added.
///
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn block<S: Simd, const M: usize, const T: usize>(
    simd: S,
    products: &Products,
    gradients: &[f32],
    weights: &mut [f32],
    m: usize,
    t: usize,
) {
    let n = products.positions;
    let taps = products.starts.len();
    let high = weights.len() / taps;
    let (mut rows, mut columns): ([&[f32]; M], [&[f32]; T]) = ([&[]; M], [&[]; T]);
    for i in 0..M {
        rows[i] = &gradients[(m + i).min(high - 1) * n..][..n];
    }
    for j in 0..T {
        columns[j] = &products.planes[products.starts[(t + j).min(taps - 1)]..][..n];
    }
    let whole = n - n % S::LANES;
    let mut totals = [[0f32; T]; M];
    // SAFETY: rows and columns have n values each, and p + a vector's length is at most n.
    unsafe {
        let zero = simd.splat(0.0);
        let mut sum = [[zero; T]; M];
        let mut values = [zero; T];
        let mut p = 0;
        while p < whole {
            for j in 0..T {
                values[j] = simd.load(columns[j].as_ptr().add(p));
            }
            for i in 0..M {
                let row = simd.load(rows[i].as_ptr().add(p));
                for j in 0..T {
                    sum[i][j] = row.mul_add(values[j], sum[i][j]);
                }
            }
            p += S::LANES;
        }
        for i in 0..M {
            for j in 0..T {
                totals[i][j] = sum[i][j].sum();
            }
        }
    }
    for i in 0..M.min(high - m) {
        for j in 0..T.min(taps - t) {
            let rest: f32 = rows[i][whole..].iter().zip(&columns[j][whole..]).map(|(a, b)| a * b).sum();
            weights[(m + i) * taps + t + j] += totals[i][j] + rest;
        }
    }
}
