//! 3x3 convolutions, 2 x 2 outputs at a time with 16 multiplications instead of 36: Winograd's minimal filtering
//! F(2x2, 3x3), Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A (Lavin & Gray, CVPR 2016, section 4.1), summed over the channels before the
//! last transform.

use std::mem::MaybeUninit;

use super::memory::{self, Memory};
use super::sums::{self, HIGH, Output, Taps, WIDE, Weights};
use crate::simd::{InstructionSet, Simd, Vector, Work};

/// Outputs of a tile on a side.
pub const TILE: usize = 2;
/// Values of a transformed tile, row by row.
const PLACES: usize = 16;
/// Those of them that a kernel with nothing but its middle is not 0 at.
const MIDDLE: [usize; 4] = [5, 6, 9, 10];

/// Values between those of one place and those of the next, which would be in one set of the cache without them.
const GAP: usize = 5 * 16;

thread_local! {
    /// Memory for transformed tiles that the next convolution on this thread uses again.
    static TILES: Memory = const { memory::empty() };
}

/// What planes are multiplied with, in the order in which that is done: `[places, ⌈outputs / 8⌉, planes, 8]`.
#[derive(Clone, Debug)]
pub struct Factors {
    values: Vec<f32>,
    /// Places of a tile that are multiplied at all.
    places: &'static [usize],
    planes: usize,
    outputs: usize,
}

const ALL: [usize; PLACES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

impl Factors {
    /// The transforms G g Gᵀ of the kernels of a convolution with weights `[out, C, 3, 3]`, given C and out: of the input
    /// channels, or, of kernels turned by half a turn, of the output channels to give the gradient of the input.
    pub fn new(weights: &[f32], [input, output]: [usize; 2], backward: bool) -> Self {
        let kernel = |m: usize, c: usize, all: &mut [f32; PLACES]| {
            let kernel = &weights[9 * (m * input + c)..][..9];
            let at = |i: usize| if backward { kernel[8 - i] } else { kernel[i] };
            // G g, by column.
            let columns = [0, 1, 2].map(|x| half_transformed([at(x), at(3 + x), at(6 + x)]));
            let rows = [0, 1, 2, 3].map(|y| half_transformed([columns[0][y], columns[1][y], columns[2][y]]));
            all.copy_from_slice(rows.as_flattened());
        };
        Self::packed([input, output], backward, &ALL, kernel)
    }

    /// The same for a gradient by weights `[out, C, 1, 1]`, as those in the middle of kernels that are 0 elsewhere.
    pub fn middle(weights: &[f32], [input, output]: [usize; 2]) -> Self {
        Self::packed([input, output], true, &MIDDLE, |m, c, all| all.fill(weights[m * input + c]))
    }

    fn packed(
        [input, output]: [usize; 2],
        backward: bool,
        places: &'static [usize],
        kernel: impl Fn(usize, usize, &mut [f32; PLACES]),
    ) -> Self {
        let [planes, outputs] = if backward { [output, input] } else { [input, output] };
        let blocks = outputs.div_ceil(HIGH);
        let mut values = vec![0.0; places.len() * blocks * planes * HIGH];
        let mut all = [0.0; PLACES];
        for i in 0..outputs {
            for t in 0..planes {
                let [m, c] = if backward { [t, i] } else { [i, t] };
                kernel(m, c, &mut all);
                for (place, &value) in all[..places.len()].iter().enumerate() {
                    values[((place * blocks + i / HIGH) * planes + t) * HIGH + i % HIGH] = value;
                }
            }
        }
        Self { values, places, planes, outputs }
    }

    fn reach(&self, place: usize) -> bool {
        self.places.contains(&place)
    }

    /// Those of one place, from an output on that a block begins or halves with.
    fn of(&self, place: usize, output: usize) -> &[f32] {
        let place = self.places.iter().position(|&p| p == place).expect("a place that is multiplied");
        let blocks = self.outputs.div_ceil(HIGH);
        let block = self.planes * HIGH;
        &self.values[(place * blocks + output / HIGH) * block..][..block][output % HIGH..]
    }
}

/// G times a column.
fn half_transformed([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
}

/// Sums over 3x3 windows of planes: those of each factors' planes, one after another.
pub struct Windows<'a> {
    /// Planes with a margin: the window of output (y, x) is at row y and column x. There are rows and columns for whole tiles,
    /// and the last plane has room after it for whole vectors of them.
    pub planes: &'a [f32],
    /// From one plane to the next, and from row to row.
    pub plane: usize,
    pub pitch: usize,
    pub factors: &'a [&'a Factors],
    pub bias: Option<&'a [f32]>,
    /// Whether to put max(x, 0) for each sum x.
    pub rectify: bool,
    /// How many rows of windows.
    pub rows: usize,
    /// Where the first row goes to in output planes of `size`.
    pub first: usize,
    pub size: [usize; 2],
}

/// Writes all sums to `out`, planes of the output's size one after another.
///
/// # Safety
/// `out` is valid, has a plane for every channel, and nobody else writes to these rows of it.
pub unsafe fn write(set: InstructionSet, windows: &Windows, out: Output) {
    let [height, width] = windows.size;
    let channels = windows.factors[0].outputs;
    assert!(windows.factors.iter().all(|factors| factors.outputs == channels));
    assert!(windows.bias.is_none_or(|bias| bias.len() == channels));
    assert!(windows.first + windows.rows <= height && width.next_multiple_of(TILE) + 2 <= windows.pitch);
    let across = width.div_ceil(TILE);
    let counts: [usize; PLACES] = std::array::from_fn(|place| {
        windows.factors.iter().filter(|f| f.reach(place)).map(|f| f.planes).sum()
    });
    let total: usize = counts.iter().sum();
    let rows = windows.rows.div_ceil(TILE);
    // Vectors reach beyond the last tile, and an odd number of lines is spread over the cache.
    let pitch = (rows * across).next_multiple_of(16) + 16;
    let pitch = if (pitch / 16).is_multiple_of(2) { pitch + 16 } else { pitch };
    let room = total * pitch + PLACES * GAP;
    memory::with(&TILES, room + PLACES * GROUP * WIDE * 16 + 16, |memory| {
        let aligned = memory.as_ptr().align_offset(64).min(16);
        let (tiles, sums) = memory[aligned..].split_at_mut(room);
        set.run(Tiles { windows, channels, counts, rows, across, pitch, tiles, sums, out });
    });
}

/// How many values of transformed tiles a row of tiles, `width` outputs wide, has.
pub fn tiles(factors: &[&Factors], width: usize) -> usize {
    factors.iter().map(|f| f.planes * f.places.len()).sum::<usize>() * width.div_ceil(TILE)
}

/// Output channels that are summed at one place before the next: each block of them reads what the one before it has read.
const GROUP: usize = 4 * HIGH;

/// Rows of tiles.
struct Tiles<'a> {
    windows: &'a Windows<'a>,
    channels: usize,
    /// By place in a tile, how many planes have values there.
    counts: [usize; PLACES],
    rows: usize,
    across: usize,
    /// Values of one place and plane.
    pitch: usize,
    tiles: &'a mut [f32],
    /// Room for the sums of a group of output channels.
    sums: &'a mut [f32],
    out: Output,
}

/// Neighbouring tiles of one row.
struct Segment {
    from: usize,
    count: usize,
    row: usize,
    column: usize,
}

impl Work for Tiles<'_> {
    #[inline(always)]
    fn with<S: Simd>(mut self, simd: S) {
        let most = self.counts.iter().max().copied().unwrap_or(0);
        let columns: Vec<usize> = (0..most).map(|t| t * HIGH).collect();
        let starts: Vec<usize> = (0..most).map(|t| t * self.pitch).collect();
        let count = self.rows * self.across;
        // Blocks as wide as each other.
        let vectors = count.div_ceil(S::LANES);
        let wide = vectors.div_ceil(vectors.div_ceil(WIDE).max(1)) * S::LANES;
        let mut segments = vec![];
        // SAFETY: tiles have room for whole ones, and there are at most [`WIDE`] at a time;
        // `write` has compared the rest.
        unsafe {
            self.transform(simd);
            for from in (0..count).step_by(wide) {
                let end = count.min(from + wide);
                segments.clear();
                let mut tile = from;
                while tile < end {
                    let (row, column) = (tile / self.across, tile % self.across);
                    let count = (self.across - column).min(end - tile);
                    segments.push(Segment { from: tile - from, count, row, column });
                    tile += count;
                }
                let at = Stretch { from, columns: &columns, starts: &starts, segments: &segments };
                match (S::MANY, (end - from).div_ceil(S::LANES)) {
                    (true, 1) => self.blocks::<S, HIGH, 1>(simd, at),
                    (true, 2) => self.blocks::<S, HIGH, 2>(simd, at),
                    (true, _) => self.blocks::<S, HIGH, WIDE>(simd, at),
                    (false, 1) => self.blocks::<S, { HIGH / 2 }, 1>(simd, at),
                    (false, 2) => self.blocks::<S, { HIGH / 2 }, 2>(simd, at),
                    (false, _) => self.blocks::<S, { HIGH / 2 }, WIDE>(simd, at),
                }
            }
        }
    }
}

/// Neighbouring tiles, whatever their rows.
struct Stretch<'a> {
    /// The first one.
    from: usize,
    columns: &'a [usize],
    starts: &'a [usize],
    segments: &'a [Segment],
}

impl Tiles<'_> {
    /// Bᵀ d B of all tiles.
    ///
    /// # Safety
    /// The tiles have room.
    #[inline(always)]
    unsafe fn transform<S: Simd>(&mut self, simd: S) {
        let Windows { planes, plane, pitch, factors, .. } = *self.windows;
        let mut bases = [0; PLACES];
        for place in 1..PLACES {
            bases[place] = bases[place - 1] + self.counts[place - 1];
        }
        let reach = TILE * self.across.next_multiple_of(S::LANES) + 2;
        let last = (TILE * self.rows + 1) * pitch + reach;
        let count: usize = factors.iter().map(|f| f.planes).sum();
        assert!(count == 0 || (count - 1) * plane + last <= planes.len());
        let mut first = 0;
        for factors in factors {
            let offsets = std::array::from_fn(|place| bases[place] * self.pitch + place * GAP);
            for i in 0..factors.planes {
                for row in 0..self.rows {
                    for column in (0..self.across).step_by(S::LANES) {
                        let from = (first + i) * plane + TILE * (row * pitch + column);
                        let to = i * self.pitch + row * self.across + column;
                        // SAFETY: as just asserted.
                        unsafe {
                            let x = planes.as_ptr().add(from);
                            let tiles = self.tiles.as_mut_ptr().add(to);
                            if factors.places.len() == MIDDLE.len() {
                                transform_middle(simd, x, pitch, tiles, &offsets);
                            } else {
                                transform(simd, x, pitch, tiles, &offsets);
                            }
                        }
                    }
                }
            }
            first += factors.planes;
            for &place in factors.places {
                bases[place] += factors.planes;
            }
        }
    }

    /// All output channels of N vectors of tiles, at most [`WIDE`], M at a time. Channels past the last one are 0 and not
    /// written.
    ///
    /// # Safety
    /// The tiles are transformed.
    #[inline(always)]
    unsafe fn blocks<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, at: Stretch) {
        let Stretch { from, columns, starts, segments } = at;
        let Windows { factors, bias, rectify, rows, first, size: [height, width], .. } = *self.windows;
        // From one channel's sums to the next one's.
        let wide = N * S::LANES;
        let mut lines = MaybeUninit::<[[f32; TILE * WIDE * 16]; TILE]>::uninit();
        let lines = lines.as_mut_ptr().cast::<f32>();
        for start in (0..self.channels).step_by(GROUP) {
            let group = start..self.channels.min(start + GROUP);
            // From one place's sums to the next one's.
            let next = group.len().next_multiple_of(M) * wide;
            assert!(N <= WIDE && PLACES * next <= self.sums.len() && from + wide <= self.pitch);
            let sums = self.sums.as_mut_ptr();
            // SAFETY: the caller's promise.
            unsafe {
                let mut x = self.tiles.as_ptr().add(from);
                for place in 0..PLACES {
                    for m in group.clone().step_by(M) {
                        let to = sums.add(place * next + (m - start) * wide);
                        let mut starts = starts;
                        for (i, factors) in factors.iter().filter(|factors| factors.reach(place)).enumerate()
                        {
                            let (these, rest) = starts.split_at(factors.planes);
                            let columns = &columns[..factors.planes];
                            let weights = &Weights { values: factors.of(place, m), columns, stride: 1 };
                            let (last, pitch, more) = (M - 1, wide, i > 0);
                            simd.apart(Taps::<M, N>::new(weights, last, x, these, (to, pitch), more));
                            starts = rest;
                        }
                    }
                    x = x.add(self.counts[place] * self.pitch + GAP);
                }
                for m in group {
                    let bias = simd.splat(bias.map_or(0.0, |bias| bias[m]));
                    for j in 0..N {
                        let x = sums.add((m - start) * wide + j * S::LANES);
                        let y = lines.add(TILE * j * S::LANES);
                        write_tiles(simd, x, next, bias, rectify, y, TILE * wide);
                    }
                    for segment in segments {
                        let [y, x] = [segment.row, segment.column].map(|tile| TILE * tile);
                        let n = (TILE * segment.count).min(width - x);
                        for row in 0..TILE.min(rows - y) {
                            let values = lines.add(row * TILE * wide + TILE * segment.from);
                            let to = self.out.place((m * height + first + y + row) * width + x);
                            sums::copy(simd, std::slice::from_raw_parts(values, n), to);
                        }
                    }
                }
            }
        }
    }
}

/// Bᵀ d B of neighbouring tiles, the first at `x`: each place to `to` and its offset.
///
/// # Safety
/// Four rows, `pitch` apart, have room for two vectors and two values; there is room at each offset for a vector.
#[inline(always)]
unsafe fn transform<S: Simd>(simd: S, x: *const f32, pitch: usize, to: *mut f32, offsets: &[usize; PLACES]) {
    // SAFETY: the caller's promise.
    unsafe {
        // By row, the tiles' four columns.
        let a = columns(simd, x);
        let b = columns(simd, x.add(pitch));
        let c = columns(simd, x.add(2 * pitch));
        let d = columns(simd, x.add(3 * pitch));
        store_row([a[0].sub(c[0]), a[1].sub(c[1]), a[2].sub(c[2]), a[3].sub(c[3])], to, &offsets[..4]);
        store_row([b[0].add(c[0]), b[1].add(c[1]), b[2].add(c[2]), b[3].add(c[3])], to, &offsets[4..8]);
        store_row([c[0].sub(b[0]), c[1].sub(b[1]), c[2].sub(b[2]), c[3].sub(b[3])], to, &offsets[8..12]);
        store_row([b[0].sub(d[0]), b[1].sub(d[1]), b[2].sub(d[2]), b[3].sub(d[3])], to, &offsets[12..]);
    }
}

/// The first four columns of neighbouring tiles in a row.
///
/// # Safety
/// As for [`transform`].
#[inline(always)]
unsafe fn columns<S: Simd>(simd: S, x: *const f32) -> [S::Vector; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (simd.load(x), simd.load(x.add(S::LANES)));
        let (c, d) = (simd.load(x.add(2)), simd.load(x.add(2 + S::LANES)));
        [a.even(b), a.odd(b), c.even(d), c.odd(d)]
    }
}

/// A row of Bᵀ d, times B.
///
/// # Safety
/// As for [`transform`].
#[inline(always)]
unsafe fn store_row<V: Vector>([a, b, c, d]: [V; 4], to: *mut f32, offsets: &[usize]) {
    // SAFETY: the caller's promise.
    unsafe {
        a.sub(c).store(to.add(offsets[0]));
        b.add(c).store(to.add(offsets[1]));
        c.sub(b).store(to.add(offsets[2]));
        b.sub(d).store(to.add(offsets[3]));
    }
}

/// The same for the places in [`MIDDLE`], times the transform of a kernel whose middle is 1.
///
/// # Safety
/// As for [`transform`].
#[inline(always)]
unsafe fn transform_middle<S: Simd>(
    simd: S,
    x: *const f32,
    pitch: usize,
    to: *mut f32,
    offsets: &[usize; PLACES],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let [_, a, b, _] = columns(simd, x.add(pitch));
        let [_, c, d, _] = columns(simd, x.add(2 * pitch));
        let [plus, minus] = [[a.add(c), b.add(d)], [c.sub(a), d.sub(b)]];
        let (zero, quarter) = (simd.splat(0.0), simd.splat(0.25));
        plus[0].add(plus[1]).mul_add(quarter, zero).store(to.add(offsets[MIDDLE[0]]));
        plus[0].sub(plus[1]).mul_add(quarter, zero).store(to.add(offsets[MIDDLE[1]]));
        minus[0].add(minus[1]).mul_add(simd.splat(-0.25), zero).store(to.add(offsets[MIDDLE[2]]));
        minus[1].sub(minus[0]).mul_add(quarter, zero).store(to.add(offsets[MIDDLE[3]]));
    }
}

/// The outputs of neighbouring tiles: of sums at `x`, `next` after those of the place before, to rows at `y`.
///
/// # Safety
/// There is a vector at each place and room in two rows, `pitch` apart, for two.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn write_tiles<S: Simd>(
    simd: S,
    x: *const f32,
    next: usize,
    bias: S::Vector,
    rectify: bool,
    y: *mut f32,
    pitch: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = simd.splat(0.0);
        let mut rows = [[bias; 4]; TILE];
        for column in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|row| x.add((4 * row + column) * next));
            let sums = outputs([simd.load(a), simd.load(b), simd.load(c), simd.load(d)]);
            for row in 0..TILE {
                rows[row][column] = sums[row];
            }
        }
        for row in 0..TILE {
            let [even, odd] = outputs(rows[row]);
            let (even, odd) = (even.add(bias), odd.add(bias));
            let [first, second] =
                if rectify { even.rectify(zero).zip(odd.rectify(zero)) } else { even.zip(odd) };
            let y = y.add(row * pitch);
            first.store(y);
            second.store(y.add(S::LANES));
        }
    }
}

/// Aᵀ times a column.
#[inline(always)]
fn outputs<V: Vector>([a, b, c, d]: [V; 4]) -> [V; TILE] {
    [a.add(b.add(c)), b.sub(c.add(d))]
}
