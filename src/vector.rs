//! Vectors of the processor at hand.

/// A vector of 32-bit floats in one register.
pub trait Vector: Copy {
    /// How many floats it has.
    const LANES: usize;
    /// Whether there are 32 such registers and not 16.
    const MANY: bool;

    /// # Safety
    /// Here and below: the processor has these vectors.
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// `from` has room for a vector. It need not be aligned.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// `to` has room for a vector. It need not be aligned.
    unsafe fn store(self, to: *mut f32);

    /// The first `n` lanes, fewer than there are, and zeros.
    ///
    /// # Safety
    /// `from` has `n` values.
    unsafe fn load_part(from: *const f32, n: usize) -> Self;

    /// Writes the first `n` lanes, fewer than there are.
    ///
    /// # Safety
    /// `to` has room for `n` values.
    unsafe fn store_part(self, to: *mut f32, n: usize);

    /// self · factor + summand.
    ///
    /// # Safety
    /// As above.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;

    /// # Safety
    /// As above.
    unsafe fn add(self, other: Self) -> Self;

    /// # Safety
    /// As above.
    unsafe fn sub(self, other: Self) -> Self;

    /// Where a lane of self is larger than that of `other`, the lane of `yes`, else that of `no`.
    ///
    /// # Safety
    /// As above.
    unsafe fn where_larger(self, other: Self, yes: Self, no: Self) -> Self;

    /// Where a lane of self is that of `other`, the lane of `yes`, else that of `no`.
    ///
    /// # Safety
    /// As above.
    unsafe fn where_equal(self, other: Self, yes: Self, no: Self) -> Self;

    /// The lanes with even numbers, and then those of `next`.
    ///
    /// # Safety
    /// As above.
    unsafe fn even(self, next: Self) -> Self;

    /// The lanes with odd numbers, and then those of `next`.
    ///
    /// # Safety
    /// As above.
    unsafe fn odd(self, next: Self) -> Self;

    /// The lanes in turn with those of `other`: what has them as its even and its odd ones.
    ///
    /// # Safety
    /// As above.
    unsafe fn zip(self, other: Self) -> [Self; 2];

    /// max(self, 0); what is not a number stays so.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn rectify(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let zero = Self::splat(0.0);
            zero.where_larger(self, zero, self)
        }
    }

    /// Does work by itself: in the midst of other work, a compiler may run out of registers for it.
    ///
    /// # Safety
    /// As above.
    unsafe fn apart(work: impl Work);

    /// Adds the products of M weights, each at `column` of its row, with N vectors at `x` to the sums.
    ///
    /// # Safety
    /// All of these are there; the processor has these vectors.
    #[inline(always)]
    unsafe fn add_products<const M: usize, const N: usize>(
        sums: &mut [[Self; N]; M],
        x: *const f32,
        rows: &[*const f32; M],
        column: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { add_products(sums, x, rows, column) }
    }

    /// Asks for the line of the cache that holds `at`, which need not be readable.
    #[inline(always)]
    fn prefetch(_at: *const f32) {}

    /// The sum of all lanes.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut lanes = [0f32; 16];
        // SAFETY: no vector is longer.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes[..Self::LANES].iter().sum()
    }
}

/// [`Vector::add_products`] as a compiler arranges it. Loops with constant bounds and nothing else keep the sums in registers;
/// closures would be compiled without the processor's vectors.
///
/// # Safety
/// As there.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn add_products<V: Vector, const M: usize, const N: usize>(
    sums: &mut [[V; N]; M],
    x: *const f32,
    rows: &[*const f32; M],
    column: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [V::splat(0.0); N];
        for j in 0..N {
            values[j] = V::load(x.add(j * V::LANES));
        }
        for i in 0..M {
            let weight = V::splat(*rows[i].add(column));
            for j in 0..N {
                sums[i][j] = weight.mul_add(values[j], sums[i][j]);
            }
        }
    }
}

/// Work that is the same on any vectors.
pub trait Work {
    /// # Safety
    /// The processor has these vectors.
    unsafe fn with<V: Vector>(self);
}

/// Does the work on the longest vectors that the processor has.
pub fn run(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just detected.
            return unsafe { x86::avx512(work) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just detected.
            return unsafe { x86::avx2(work) };
        }
    }
    // SAFETY: arrays are everywhere.
    unsafe { work.with::<[f32; 4]>() }
}

/// The longest vectors' number of floats.
pub fn lanes() -> usize {
    struct Count<'a>(&'a mut usize);
    impl Work for Count<'_> {
        #[inline(always)]
        unsafe fn with<V: Vector>(self) {
            *self.0 = V::LANES;
        }
    }
    let mut lanes = 0;
    run(Count(&mut lanes));
    lanes
}

/// What a compiler turns into the vectors that every processor of an architecture has.
impl Vector for [f32; 4] {
    const LANES: usize = 4;
    const MANY: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Self>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's promise.
        lanes[..n].copy_from_slice(unsafe { std::slice::from_raw_parts(from, n) });
        lanes
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize) {
        let part = &self[..n];
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len()) };
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        let mut sum = summand;
        for i in 0..4 {
            sum[i] += self[i] * factor[i];
        }
        sum
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut sum = self;
        for i in 0..4 {
            sum[i] += other[i];
        }
        sum
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        let mut difference = self;
        for i in 0..4 {
            difference[i] -= other[i];
        }
        difference
    }

    #[inline(never)]
    unsafe fn apart(work: impl Work) {
        // SAFETY: the caller's promise.
        unsafe { work.with::<Self>() }
    }

    #[inline(always)]
    unsafe fn even(self, next: Self) -> Self {
        [self[0], self[2], next[0], next[2]]
    }

    #[inline(always)]
    unsafe fn odd(self, next: Self) -> Self {
        [self[1], self[3], next[1], next[3]]
    }

    #[inline(always)]
    unsafe fn zip(self, other: Self) -> [Self; 2] {
        [[self[0], other[0], self[1], other[1]], [self[2], other[2], self[3], other[3]]]
    }

    #[inline(always)]
    unsafe fn where_larger(self, other: Self, yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for i in 0..4 {
            chosen[i] = if self[i] > other[i] { yes[i] } else { no[i] };
        }
        chosen
    }

    #[inline(always)]
    unsafe fn where_equal(self, other: Self, yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for i in 0..4 {
            chosen[i] = if self[i] == other[i] { yes[i] } else { no[i] };
        }
        chosen
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::{Vector, Work};

    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(work: impl Work) {
        // SAFETY: the caller's promise.
        unsafe { work.with::<__m512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2(work: impl Work) {
        // SAFETY: the caller's promise.
        unsafe { work.with::<__m256>() }
    }

    /// [`Vector::add_products`] for the tile that nearly all sums are in. It takes 29 of the 32 registers: a compiler that
    /// reads the weights before it needs them runs out.
    #[rustfmt::skip]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add_8x3_products(sums: &mut [[__m512; 3]; 8], x: *const f32, rows: &[*const f32; 8], column: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "vmovups {x0}, [{x}]",
                "vmovups {x1}, [{x} + 64]",
                "vmovups {x2}, [{x} + 128]",
                "vbroadcastss {w0}, [{r0} + 4 * {column}]",
                "vfmadd231ps {s00}, {w0}, {x0}",
                "vfmadd231ps {s01}, {w0}, {x1}",
                "vfmadd231ps {s02}, {w0}, {x2}",
                "vbroadcastss {w1}, [{r1} + 4 * {column}]",
                "vfmadd231ps {s10}, {w1}, {x0}",
                "vfmadd231ps {s11}, {w1}, {x1}",
                "vfmadd231ps {s12}, {w1}, {x2}",
                "vbroadcastss {w0}, [{r2} + 4 * {column}]",
                "vfmadd231ps {s20}, {w0}, {x0}",
                "vfmadd231ps {s21}, {w0}, {x1}",
                "vfmadd231ps {s22}, {w0}, {x2}",
                "vbroadcastss {w1}, [{r3} + 4 * {column}]",
                "vfmadd231ps {s30}, {w1}, {x0}",
                "vfmadd231ps {s31}, {w1}, {x1}",
                "vfmadd231ps {s32}, {w1}, {x2}",
                "vbroadcastss {w0}, [{r4} + 4 * {column}]",
                "vfmadd231ps {s40}, {w0}, {x0}",
                "vfmadd231ps {s41}, {w0}, {x1}",
                "vfmadd231ps {s42}, {w0}, {x2}",
                "vbroadcastss {w1}, [{r5} + 4 * {column}]",
                "vfmadd231ps {s50}, {w1}, {x0}",
                "vfmadd231ps {s51}, {w1}, {x1}",
                "vfmadd231ps {s52}, {w1}, {x2}",
                "vbroadcastss {w0}, [{r6} + 4 * {column}]",
                "vfmadd231ps {s60}, {w0}, {x0}",
                "vfmadd231ps {s61}, {w0}, {x1}",
                "vfmadd231ps {s62}, {w0}, {x2}",
                "vbroadcastss {w1}, [{r7} + 4 * {column}]",
                "vfmadd231ps {s70}, {w1}, {x0}",
                "vfmadd231ps {s71}, {w1}, {x1}",
                "vfmadd231ps {s72}, {w1}, {x2}",
                x = in(reg) x,
                column = in(reg) column,
                r0 = in(reg) rows[0],
                r1 = in(reg) rows[1],
                r2 = in(reg) rows[2],
                r3 = in(reg) rows[3],
                r4 = in(reg) rows[4],
                r5 = in(reg) rows[5],
                r6 = in(reg) rows[6],
                r7 = in(reg) rows[7],
                s00 = inout(zmm_reg) sums[0][0],
                s01 = inout(zmm_reg) sums[0][1],
                s02 = inout(zmm_reg) sums[0][2],
                s10 = inout(zmm_reg) sums[1][0],
                s11 = inout(zmm_reg) sums[1][1],
                s12 = inout(zmm_reg) sums[1][2],
                s20 = inout(zmm_reg) sums[2][0],
                s21 = inout(zmm_reg) sums[2][1],
                s22 = inout(zmm_reg) sums[2][2],
                s30 = inout(zmm_reg) sums[3][0],
                s31 = inout(zmm_reg) sums[3][1],
                s32 = inout(zmm_reg) sums[3][2],
                s40 = inout(zmm_reg) sums[4][0],
                s41 = inout(zmm_reg) sums[4][1],
                s42 = inout(zmm_reg) sums[4][2],
                s50 = inout(zmm_reg) sums[5][0],
                s51 = inout(zmm_reg) sums[5][1],
                s52 = inout(zmm_reg) sums[5][2],
                s60 = inout(zmm_reg) sums[6][0],
                s61 = inout(zmm_reg) sums[6][1],
                s62 = inout(zmm_reg) sums[6][2],
                s70 = inout(zmm_reg) sums[7][0],
                s71 = inout(zmm_reg) sums[7][1],
                s72 = inout(zmm_reg) sums[7][2],
                x0 = out(zmm_reg) _,
                x1 = out(zmm_reg) _,
                x2 = out(zmm_reg) _,
                w0 = out(zmm_reg) _,
                w1 = out(zmm_reg) _,
                options(readonly, nostack, preserves_flags),
            );
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    unsafe fn apart_512(work: impl Work) {
        // SAFETY: the caller's promise.
        unsafe { work.with::<__m512>() }
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn apart_256(work: impl Work) {
        // SAFETY: the caller's promise.
        unsafe { work.with::<__m256>() }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load_part_512(from: *const f32, n: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps((1 << n) - 1, from) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store_part_512(to: *mut f32, n: usize, vector: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(to, (1 << n) - 1, vector) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn first_256(n: usize) -> __m256i {
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_part_256(from: *const f32, n: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskload_ps(from, first_256(n)) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store_part_256(to: *mut f32, n: usize, vector: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskstore_ps(to, first_256(n), vector) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn where_larger_512(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn where_larger_256(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn where_equal_512(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), no, yes)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn where_equal_256(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b))
    }

    /// Every second lane of both, from lane `FIRST` on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn every_second_512<const FIRST: i32>(a: __m512, b: __m512) -> __m512 {
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(FIRST)), b)
    }

    /// The two lanes that `LANES` names of each four, of both.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn every_second_256<const LANES: i32>(a: __m256, b: __m256) -> __m256 {
        // Of either half by itself first.
        let halves = _mm256_shuffle_ps::<LANES>(a, b);
        _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(halves)))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zip_512(a: __m512, b: __m512) -> [__m512; 2] {
        let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        [_mm512_permutex2var_ps(a, first, b), _mm512_permutex2var_ps(a, second, b)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn zip_256(a: __m256, b: __m256) -> [__m256; 2] {
        let [low, high] = [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)];
        [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
    }

    macro_rules! vector {
        ($vector:ty, $lanes:expr, $many:expr, $splat:ident, $load:ident, $store:ident, $load_part:ident, $store_part:ident, $fma:ident, $add:ident, $sub:ident, $where_larger:ident, $where_equal:ident, $even:path, $odd:path, $zip:ident, $apart:ident $(, $products:item)?) => {
            // SAFETY of all blocks: the caller promises that the processor has these vectors, and room where it gives pointers.
            impl Vector for $vector {
                const LANES: usize = $lanes;
                const MANY: bool = $many;

                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn load_part(from: *const f32, n: usize) -> Self {
                    unsafe { $load_part(from, n) }
                }

                #[inline(always)]
                unsafe fn store_part(self, to: *mut f32, n: usize) {
                    unsafe { $store_part(to, n, self) }
                }

                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
                    unsafe { $fma(self, factor, summand) }
                }

                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    unsafe { $sub(self, other) }
                }

                $($products)?

                #[inline(always)]
                unsafe fn apart(work: impl Work) {
                    unsafe { $apart(work) }
                }

                #[inline(always)]
                fn prefetch(at: *const f32) {
                    // SAFETY: a prefetch of any address is allowed.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
                }

                #[inline(always)]
                unsafe fn even(self, next: Self) -> Self {
                    unsafe { $even(self, next) }
                }

                #[inline(always)]
                unsafe fn odd(self, next: Self) -> Self {
                    unsafe { $odd(self, next) }
                }

                #[inline(always)]
                unsafe fn zip(self, other: Self) -> [Self; 2] {
                    unsafe { $zip(self, other) }
                }

                #[inline(always)]
                unsafe fn where_larger(self, other: Self, yes: Self, no: Self) -> Self {
                    unsafe { $where_larger(self, other, yes, no) }
                }

                #[inline(always)]
                unsafe fn where_equal(self, other: Self, yes: Self, no: Self) -> Self {
                    unsafe { $where_equal(self, other, yes, no) }
                }
            }
        };
    }

    vector!(
        __m512,
        16,
        true,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        load_part_512,
        store_part_512,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        where_larger_512,
        where_equal_512,
        every_second_512::<0>,
        every_second_512::<1>,
        zip_512,
        apart_512,
        #[inline(always)]
        unsafe fn add_products<const M: usize, const N: usize>(
            sums: &mut [[Self; N]; M],
            x: *const f32,
            rows: &[*const f32; M],
            column: usize,
        ) {
            unsafe {
                if M == 8 && N == 3 {
                    let sums = &mut *std::ptr::from_mut(sums).cast();
                    add_8x3_products(sums, x, &*std::ptr::from_ref(rows).cast(), column);
                } else {
                    super::add_products(sums, x, rows, column);
                }
            }
        }
    );
    vector!(
        __m256,
        8,
        false,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        load_part_256,
        store_part_256,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        where_larger_256,
        where_equal_256,
        every_second_256::<0b10_00_10_00>,
        every_second_256::<0b11_01_11_01>,
        zip_256,
        apart_256
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts what each operation makes of the numbers 0, 1, 2, … into a list.
    struct All<'a>(&'a mut Vec<Vec<f32>>);

    impl Work for All<'_> {
        #[inline(always)]
        unsafe fn with<V: Vector>(self) {
            let numbers: Vec<f32> = (0..2 * V::LANES).map(|i| i as f32).collect();
            // SAFETY: there are two vectors of numbers, and room for one.
            unsafe {
                let [a, b] = [0, V::LANES].map(|from| V::load(numbers.as_ptr().add(from)));
                let limit = V::splat(1.5);
                let [first, second] = a.zip(b);
                for result in [
                    a.even(b),
                    a.odd(b),
                    first,
                    second,
                    a.add(b),
                    a.sub(limit),
                    a.mul_add(b, limit),
                    a.where_larger(limit, b, a),
                    a.where_equal(V::splat(2.0), b, a),
                    V::load_part(numbers.as_ptr().add(1), 3),
                ] {
                    let mut lanes = vec![0.0; V::LANES];
                    result.store(lanes.as_mut_ptr());
                    self.0.push(lanes);
                }
                let mut lanes = numbers[..V::LANES].to_vec();
                b.store_part(lanes.as_mut_ptr(), 3);
                self.0.push(lanes);
            }
        }
    }

    #[test]
    fn all_vectors_do_the_same() {
        let mut found = vec![];
        // SAFETY: arrays are everywhere, and the others where they are detected.
        unsafe {
            All(&mut found).with::<[f32; 4]>();
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    x86::avx2(All(&mut found));
                }
                if is_x86_feature_detected!("avx512f") {
                    x86::avx512(All(&mut found));
                }
            }
        }
        for results in found.chunks(11) {
            let lanes = results[0].len();
            let number = |i: usize| i as f32;
            let all = |f: &dyn Fn(usize) -> f32| (0..lanes).map(f).collect::<Vec<_>>();
            let zipped = |i: usize| number(i / 2 + if i % 2 == 1 { lanes } else { 0 });
            let want = [
                all(&|i| number(2 * i)),
                all(&|i| number(2 * i + 1)),
                all(&zipped),
                all(&|i| zipped(lanes + i)),
                all(&|i| number(2 * i + lanes)),
                all(&|i| number(i) - 1.5),
                all(&|i| number(i * (i + lanes)) + 1.5),
                all(&|i| number(if i > 1 { i + lanes } else { i })),
                all(&|i| number(if i == 2 { i + lanes } else { i })),
                all(&|i| if i < 3 { number(i + 1) } else { 0.0 }),
                all(&|i| number(if i < 3 { i + lanes } else { i })),
            ];
            assert_eq!(results, want);
        }
    }
}
