//! The processor's vectors.
//!
//! An instruction set is a value that proves that the processor has it: whoever holds one ([`Simd`]) can make vectors of it,
//! and a vector that was made can be computed with. So arithmetic is safe; what is left to promise is that there is room where
//! memory is read and written. Work that is the same on vectors of any length implements [`Work`], and
//! [`InstructionSet::run`] does it.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::sync::OnceLock;

pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// The environment variable that names the instruction set to use, for tests and comparisons.
pub const VARIABLE: &str = "TROMPE_ISA";

/// The number of floats of the longest vectors there are.
pub const MOST_LANES: usize = 16;

/// A vector of 32-bit floats in one register.
pub trait Vector: Copy {
    /// How many floats it has; at most [`MOST_LANES`].
    const LANES: usize;

    /// Writes all lanes.
    ///
    /// # Safety
    /// `to` has room for a vector. It need not be aligned.
    unsafe fn store(self, to: *mut f32);

    /// Writes the first `n` lanes, fewer than there are.
    ///
    /// # Safety
    /// `to` has room for `n` values.
    unsafe fn store_part(self, to: *mut f32, n: usize);

    /// self · factor + summand.
    #[must_use]
    fn mul_add(self, factor: Self, summand: Self) -> Self;

    /// self + other.
    #[must_use]
    fn add(self, other: Self) -> Self;

    /// self − other.
    #[must_use]
    fn sub(self, other: Self) -> Self;

    /// Where a lane of self is larger than that of `other`, the lane of `yes`, else that of `no`.
    #[must_use]
    fn where_larger(self, other: Self, yes: Self, no: Self) -> Self;

    /// Where a lane of self is that of `other`, the lane of `yes`, else that of `no`.
    #[must_use]
    fn where_equal(self, other: Self, yes: Self, no: Self) -> Self;

    /// The lanes with even numbers, and then those of `next`.
    #[must_use]
    fn even(self, next: Self) -> Self;

    /// The lanes with odd numbers, and then those of `next`.
    #[must_use]
    fn odd(self, next: Self) -> Self;

    /// The lanes in turn with those of `other`: what has them as its even and its odd ones.
    #[must_use]
    fn zip(self, other: Self) -> [Self; 2];

    /// max(self, zero), where `zero` is zeros; what is not a number stays so.
    #[inline(always)]
    #[must_use]
    fn rectify(self, zero: Self) -> Self {
        zero.where_larger(self, zero, self)
    }

    /// The sum of all lanes.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0f32; MOST_LANES];
        // SAFETY: no vector is longer.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes[..Self::LANES].iter().sum()
    }
}

/// A set of instructions on vectors. A value of it proves that the processor has it.
pub trait Simd: Copy {
    /// Its vectors.
    type Vector: Vector;

    /// How many floats a vector has.
    const LANES: usize = <Self::Vector as Vector>::LANES;

    /// Whether there are 32 registers for vectors and not 16.
    const MANY: bool;

    /// A vector whose lanes are all `value`.
    fn splat(self, value: f32) -> Self::Vector;

    /// The values at `from`.
    ///
    /// # Safety
    /// There is a vector. It need not be aligned.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// The first `n` lanes, fewer than there are, and zeros.
    ///
    /// # Safety
    /// `from` has `n` values.
    unsafe fn load_part(self, from: *const f32, n: usize) -> Self::Vector;

    /// Does work by itself: in the midst of other work, a compiler may run out of registers for it.
    fn apart(self, work: impl Work);

    /// Adds the products of M weights, each at `column` of its row, with N vectors at `x` to the sums.
    ///
    /// # Safety
    /// All of these are there.
    #[inline(always)]
    unsafe fn add_products<const M: usize, const N: usize>(
        self,
        sums: &mut [[Self::Vector; N]; M],
        x: *const f32,
        rows: &[*const f32; M],
        column: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { add_products(self, sums, x, rows, column) }
    }

    /// Asks for the line of the cache that holds `at`, which need not be readable.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}
}

/// [`Simd::add_products`] as a compiler arranges it. Loops with constant bounds and nothing else keep the sums in registers;
/// closures would be compiled without the processor's vectors.
///
/// # Safety
/// As there.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn add_products<S: Simd, const M: usize, const N: usize>(
    simd: S,
    sums: &mut [[S::Vector; N]; M],
    x: *const f32,
    rows: &[*const f32; M],
    column: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [simd.splat(0.0); N];
        for j in 0..N {
            values[j] = simd.load(x.add(j * S::LANES));
        }
        for i in 0..M {
            let weight = simd.splat(*rows[i].add(column));
            for j in 0..N {
                sums[i][j] = weight.mul_add(values[j], sums[i][j]);
            }
        }
    }
}

/// Work that is the same on any vectors. It must be `#[inline(always)]`, so that it is compiled for each instruction set.
pub trait Work {
    /// Does it with an instruction set.
    fn with<S: Simd>(self, simd: S);
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstructionSet(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl InstructionSet {
    /// Those that this processor has, the one with the longest vectors first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::new().map(|_| Self(Kind::Avx512)));
            all.extend(Avx2::new().map(|_| Self(Kind::Avx2)));
        }
        all.push(Self(Kind::Portable));
        all
    }

    /// The one with the longest vectors.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// The one that the environment variable [`VARIABLE`] names, or else the best.
    ///
    /// # Errors
    /// What is wrong with the variable: this processor has no instruction set of that name.
    pub fn chosen() -> Result<Self, String> {
        static CHOSEN: OnceLock<Result<InstructionSet, String>> = OnceLock::new();
        let choose = || {
            match std::env::var(VARIABLE) {
            Err(_) => Ok(Self::best()),
            Ok(name) => Self::available().into_iter().find(|set| set.name() == name).ok_or_else(|| {
                let all = Self::available();
                let names = all.iter().map(|set| set.name()).collect::<Vec<_>>().join(", ");
                format!("{VARIABLE} is \"{name}\"; this processor has {names}: set it to one of these, or not at all")
            }),
        }
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// Its name: `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
        }
    }

    /// Does work with it.
    pub fn run(self, work: impl Work) {
        match self.0 {
            // SAFETY: there is such a value only if the processor has it.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { x86::avx512(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { x86::avx2(work) },
            Kind::Portable => work.with(Portable),
        }
    }

    /// How many floats a vector has.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => Avx2::LANES,
            Kind::Portable => Portable::LANES,
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts what each operation makes of the numbers 0, 1, 2, … into a list.
    struct All<'a>(&'a mut Vec<Vec<f32>>);

    impl Work for All<'_> {
        #[inline(always)]
        fn with<S: Simd>(self, simd: S) {
            let numbers: Vec<f32> = (0..2 * S::LANES).map(|i| i as f32).collect();
            // SAFETY: there are two vectors of numbers, and room for one.
            unsafe {
                let [a, b] = [0, S::LANES].map(|from| simd.load(numbers.as_ptr().add(from)));
                let limit = simd.splat(1.5);
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
                    a.where_equal(simd.splat(2.0), b, a),
                    simd.load_part(numbers.as_ptr().add(1), 3),
                    a.sub(limit).rectify(simd.splat(0.0)),
                ] {
                    let mut lanes = vec![0.0; S::LANES];
                    result.store(lanes.as_mut_ptr());
                    self.0.push(lanes);
                }
                let mut lanes = numbers[..S::LANES].to_vec();
                b.store_part(lanes.as_mut_ptr(), 3);
                self.0.push(lanes);
                self.0.push(vec![a.sum()]);
            }
        }
    }

    #[test]
    fn all_vectors_do_the_same() {
        for set in InstructionSet::available() {
            let mut results = vec![];
            set.run(All(&mut results));
            let lanes = set.lanes();
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
                all(&|i| (number(i) - 1.5).max(0.0)),
                all(&|i| number(if i < 3 { i + lanes } else { i })),
                vec![number(lanes * (lanes - 1) / 2)],
            ];
            assert_eq!(results, want, "{set}");
        }
    }

    #[test]
    fn the_best_is_the_longest() {
        let lanes: Vec<usize> = InstructionSet::available().iter().map(|set| set.lanes()).collect();
        assert!(lanes.is_sorted_by(|a, b| a > b), "{lanes:?}");
        assert_eq!(InstructionSet::best().lanes(), lanes[0]);
    }
}
