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

    /// self · factor + summand.
    ///
    /// # Safety
    /// As above.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;

    /// # Safety
    /// As above.
    unsafe fn add(self, other: Self) -> Self;

    /// Where a lane of self is larger than that of `other`, the lane of `yes`, else that of `no`.
    ///
    /// # Safety
    /// As above.
    unsafe fn where_larger(self, other: Self, yes: Self, no: Self) -> Self;

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
    unsafe fn where_larger(self, other: Self, yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for i in 0..4 {
            chosen[i] = if self[i] > other[i] { yes[i] } else { no[i] };
        }
        chosen
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
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

    macro_rules! vector {
        ($vector:ty, $lanes:expr, $many:expr, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $where_larger:ident) => {
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
                unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
                    unsafe { $fma(self, factor, summand) }
                }

                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                fn prefetch(at: *const f32) {
                    // SAFETY: a prefetch of any address is allowed.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
                }

                #[inline(always)]
                unsafe fn where_larger(self, other: Self, yes: Self, no: Self) -> Self {
                    unsafe { $where_larger(self, other, yes, no) }
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
        _mm512_fmadd_ps,
        _mm512_add_ps,
        where_larger_512
    );
    vector!(
        __m256,
        8,
        false,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        where_larger_256
    );
}
