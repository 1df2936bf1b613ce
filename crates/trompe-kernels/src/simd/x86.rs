//! AVX-512 and AVX2 with FMA.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Simd, Vector, Work};

/// Does work with AVX-512.
///
/// # Safety
/// The processor has it.
#[target_feature(enable = "avx512f")]
pub unsafe fn avx512(work: impl Work) {
    work.with(Avx512(()));
}

/// Does work with AVX2 and FMA.
///
/// # Safety
/// The processor has them.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn avx2(work: impl Work) {
    work.with(Avx2(()));
}

#[inline(never)]
#[target_feature(enable = "avx512f")]
fn apart_512(work: impl Work) {
    work.with(Avx512(()));
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn apart_256(work: impl Work) {
    work.with(Avx2(()));
}

/// [`Simd::add_products`] for the tile that nearly all sums are in. It takes 29 of the 32 registers: a compiler that
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

/// Makes an instruction set and its vectors of intrinsics.
macro_rules! instruction_set {
    (
        $(#[$doc:meta])* $set:ident($register:ty) = $vector:ident, $lanes:expr, $many:expr, $there:expr;
        $splat:ident, $load:ident, $store:ident, $load_part:ident, $store_part:ident, $fma:ident, $add:ident, $sub:ident,
        $where_larger:ident, $where_equal:ident, $even:path, $odd:path, $zip:ident, $apart:ident $(, $products:item)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $set(());

        impl $set {
            /// It, if the processor has it.
            pub fn new() -> Option<Self> {
                ($there).then_some(Self(()))
            }
        }

        /// Its vector. That there is one proves that the processor has them.
        #[derive(Clone, Copy, Debug)]
        #[repr(transparent)]
        pub struct $vector($register);

        // SAFETY of all blocks: whoever has a value of the instruction set or of its vectors has a processor with them, and
        // promises room where pointers are given.
        impl Simd for $set {
            type Vector = $vector;

            const MANY: bool = $many;

            #[inline(always)]
            fn splat(self, value: f32) -> $vector {
                $vector(unsafe { $splat(value) })
            }

            #[inline(always)]
            unsafe fn load(self, from: *const f32) -> $vector {
                $vector(unsafe { $load(from) })
            }

            #[inline(always)]
            unsafe fn load_part(self, from: *const f32, n: usize) -> $vector {
                $vector(unsafe { $load_part(from, n) })
            }

            #[inline(always)]
            fn apart(self, work: impl Work) {
                unsafe { $apart(work) }
            }

            #[inline(always)]
            fn prefetch(self, at: *const f32) {
                // A prefetch of any address is allowed.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
            }

            $($products)?
        }

        // SAFETY: as above.
        impl Vector for $vector {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                unsafe { $store(to, self.0) }
            }

            #[inline(always)]
            unsafe fn store_part(self, to: *mut f32, n: usize) {
                unsafe { $store_part(to, n, self.0) }
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, summand: Self) -> Self {
                Self(unsafe { $fma(self.0, factor.0, summand.0) })
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self(unsafe { $sub(self.0, other.0) })
            }

            #[inline(always)]
            fn where_larger(self, other: Self, yes: Self, no: Self) -> Self {
                Self(unsafe { $where_larger(self.0, other.0, yes.0, no.0) })
            }

            #[inline(always)]
            fn where_equal(self, other: Self, yes: Self, no: Self) -> Self {
                Self(unsafe { $where_equal(self.0, other.0, yes.0, no.0) })
            }

            #[inline(always)]
            fn even(self, next: Self) -> Self {
                Self(unsafe { $even(self.0, next.0) })
            }

            #[inline(always)]
            fn odd(self, next: Self) -> Self {
                Self(unsafe { $odd(self.0, next.0) })
            }

            #[inline(always)]
            fn zip(self, other: Self) -> [Self; 2] {
                let [first, second] = unsafe { $zip(self.0, other.0) };
                [Self(first), Self(second)]
            }
        }
    };
}

instruction_set!(
    /// AVX-512: 16 floats in each of 32 registers.
    Avx512(__m512) = F32x16, 16, true, is_x86_feature_detected!("avx512f");
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
        self,
        sums: &mut [[F32x16; N]; M],
        x: *const f32,
        rows: &[*const f32; M],
        column: usize,
    ) {
        unsafe {
            if M == 8 && N == 3 {
                let sums = &mut *std::ptr::from_mut(sums).cast();
                add_8x3_products(sums, x, &*std::ptr::from_ref(rows).cast(), column);
            } else {
                super::add_products(self, sums, x, rows, column);
            }
        }
    }
);
instruction_set!(
    /// AVX2 and FMA: 8 floats in each of 16 registers.
    Avx2(__m256) = F32x8, 8, false, is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
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
