//! What a compiler turns into the vectors that every processor of an architecture has.

use super::{Simd, Vector, Work};

/// Plain arrays: every processor has them.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Simd for Portable {
    type Vector = [f32; 4];

    const MANY: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> [f32; 4] {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's promise.
        lanes[..n].copy_from_slice(unsafe { std::slice::from_raw_parts(from, n) });
        lanes
    }

    #[inline(never)]
    fn apart(self, work: impl Work) {
        work.with(self);
    }
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        let part = &self[..n];
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len()) };
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        let mut sum = summand;
        for i in 0..4 {
            sum[i] += self[i] * factor[i];
        }
        sum
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let mut sum = self;
        for i in 0..4 {
            sum[i] += other[i];
        }
        sum
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let mut difference = self;
        for i in 0..4 {
            difference[i] -= other[i];
        }
        difference
    }

    #[inline(always)]
    fn where_larger(self, other: Self, yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for i in 0..4 {
            chosen[i] = if self[i] > other[i] { yes[i] } else { no[i] };
        }
        chosen
    }

    #[inline(always)]
    fn where_equal(self, other: Self, yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for i in 0..4 {
            chosen[i] = if self[i] == other[i] { yes[i] } else { no[i] };
        }
        chosen
    }

    #[inline(always)]
    fn even(self, next: Self) -> Self {
        [self[0], self[2], next[0], next[2]]
    }

    #[inline(always)]
    fn odd(self, next: Self) -> Self {
        [self[1], self[3], next[1], next[3]]
    }

    #[inline(always)]
    fn zip(self, other: Self) -> [Self; 2] {
        [[self[0], other[0], self[1], other[1]], [self[2], other[2], self[3], other[3]]]
    }
}
