//! Numbers of several independent problems side by side, one per lane of a vector register.
//!
//! [`Lanes<N>`] is N float64 numbers on which every operation works lane by lane. The same generic code is the
//! program for one problem (`N = 1`) and for as many as a register holds ([`WIDTH`]), and because there is no fused
//! multiply-add in it and [`exp`] is its own, a lane has the same bits as the problem alone, on every processor.
//!
//! The functions are `#[inline(always)]` so that a caller inside [`with_simd`](super::cpu::with_simd) compiles them
//! for the instruction set found at run time.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// Lanes that fill a vector register (of AVX-512; two of AVX2).
pub(crate) const WIDTH: usize = 8;

/// N numbers, one per problem.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(transparent)]
pub(crate) struct Lanes<const N: usize>(pub(crate) [f64; N]);

impl<const N: usize> Lanes<N> {
    pub(crate) const ZERO: Self = Self([0.0; N]);
    pub(crate) const ONE: Self = Self([1.0; N]);

    #[inline(always)]
    pub(crate) fn splat(x: f64) -> Self {
        Self([x; N])
    }

    #[inline(always)]
    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        let mut out = self.0;
        for x in &mut out {
            *x = f(*x);
        }
        Self(out)
    }

    #[inline(always)]
    pub(crate) fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let mut out = self.0;
        for (x, y) in out.iter_mut().zip(other.0) {
            *x = f(*x, y);
        }
        Self(out)
    }

    /// The larger of two numbers; NaN if either is.
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        self.zip(other, |x, y| if x >= y || x.is_nan() { x } else { y })
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        self.map(f64::abs)
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        self.map(f64::sqrt)
    }

    #[inline(always)]
    pub(crate) fn exp(self) -> Self {
        self.map(exp)
    }
}

/// To stand in every loop over [`Lanes`]: the compiler shall put the N lanes into a register, not the same lane of N
/// rounds of the loop, which it would have to gather from memory. It vectorises no loop with an assembler statement in
/// it, however empty.
#[inline(always)]
pub(crate) fn keep_lanes_together<const N: usize>() {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if N > 1 {
        // SAFETY: it does nothing.
        unsafe { std::arch::asm!("", options(nomem, nostack, preserves_flags)) };
    }
}

macro_rules! lane_by_lane {
    ($($trait:ident $method:ident $operator:tt),*) => {$(
        impl<const N: usize> $trait for Lanes<N> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, |x, y| x $operator y)
            }
        }
    )*};
}
lane_by_lane!(Add add +, Sub sub -, Mul mul *, Div div /);

impl<const N: usize> Neg for Lanes<N> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(|x| -x)
    }
}

impl<const N: usize> AddAssign for Lanes<N> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<const N: usize> SubAssign for Lanes<N> {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Partial results of a reduction: operations that need not wait for each other.
const PARTS: usize = 4;

/// Σ x_i y_i, as [`PARTS`] interleaved sums and the rest.
#[inline(always)]
pub(crate) fn dot<const N: usize>(x: &[Lanes<N>], y: &[Lanes<N>]) -> Lanes<N> {
    let mut sums = [Lanes::ZERO; PARTS];
    let (x_chunks, y_chunks) = (x.chunks_exact(PARTS), y.chunks_exact(PARTS));
    let mut rest = Lanes::ZERO;
    for (x, y) in x_chunks.remainder().iter().zip(y_chunks.remainder()) {
        keep_lanes_together::<N>();
        rest += *x * *y;
    }
    for (x, y) in x_chunks.zip(y_chunks) {
        keep_lanes_together::<N>();
        for part in 0..PARTS {
            sums[part] += x[part] * y[part];
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// Σ x_i, in the same order.
#[inline(always)]
pub(crate) fn sum<const N: usize>(x: &[Lanes<N>]) -> Lanes<N> {
    reduce(x, Lanes::ZERO, |x, y| x + y)
}

/// The largest x_i; NaN if any is.
#[inline(always)]
pub(crate) fn largest<const N: usize>(x: &[Lanes<N>]) -> Lanes<N> {
    reduce(x, Lanes::splat(f64::NEG_INFINITY), Lanes::max)
}

#[inline(always)]
fn reduce<const N: usize>(
    x: &[Lanes<N>],
    neutral: Lanes<N>,
    join: impl Fn(Lanes<N>, Lanes<N>) -> Lanes<N>,
) -> Lanes<N> {
    let mut parts = [neutral; PARTS];
    let chunks = x.chunks_exact(PARTS);
    let mut rest = neutral;
    for x in chunks.remainder() {
        keep_lanes_together::<N>();
        rest = join(rest, *x);
    }
    for x in chunks {
        keep_lanes_together::<N>();
        for part in 0..PARTS {
            parts[part] = join(parts[part], x[part]);
        }
    }
    join(
        join(join(parts[0], parts[2]), join(parts[1], parts[3])),
        rest,
    )
}

/// e^x for float64, relative error below 3e-16; exactly 0 below −707.7 and ∞ above 709.78, NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    // Adding 1.5·2^52 rounds to the nearest integer and leaves it in the low bits of the sum.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts (fdlibm's); the first has so few bits that its product with an exponent is exact.
    const LN2_HI: f64 = 6.931_471_803_691_238e-1;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    const LOWEST: f64 = -707.7;
    const HIGHEST: f64 = 709.782_712_893_384;
    let clamped = if x > HIGHEST { HIGHEST } else { x };
    let clamped = if clamped < LOWEST { LOWEST } else { clamped };
    let shifted = clamped * std::f64::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (clamped - n * LN2_HI) - n * LN2_LO;
    // Taylor's series of (e^r − 1 − r) / r² to r^13 / 13!, of which |r| ≤ ln 2 / 2 leaves 4e-18; Estrin's scheme.
    let (r2, c) = (r * r, &COEFFICIENTS);
    let (r4, pair) = (r2 * r2, |k: usize| c[k] + c[k + 1] * r);
    let low = pair(0) + pair(2) * r2;
    let middle = pair(4) + pair(6) * r2;
    let high = pair(8) + pair(10) * r2;
    let q = low + (middle + high * r4) * r4;
    let e = 1.0 + (r + r2 * q);
    // 2^(n − 1) by its exponent bits, and twice that: 2^1024 has none of its own.
    let half = f64::from_bits(shifted.to_bits().wrapping_add(1022) << 52);
    // A product, not a choice between results: that would become a branch, lane after lane.
    let twice = if x < LOWEST { 0.0 } else { 2.0 };
    let twice = if x > HIGHEST { f64::INFINITY } else { twice };
    e * half * twice
}

/// 1 / k! from k = 2 on.
const COEFFICIENTS: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// 1 / (1 + e^−x), without overflow and with full relative precision for negative x; NaN stays NaN.
#[inline(always)]
pub(crate) fn sigmoid(x: f64) -> f64 {
    let e = exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the system's e^x, over the whole range.
    #[test]
    fn exp_is_accurate() {
        let mut worst = 0.0f64;
        for k in -7_070_000..=7_097_000 {
            let x = f64::from(k) * 1e-4 + 1e-9 * f64::from(k % 977);
            let (found, expected) = (exp(x), x.exp());
            worst = worst.max(((found - expected) / expected).abs());
        }
        println!("largest relative difference {worst:.2e}");
        assert!(worst < 3e-16, "{worst:e}");
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(-708.0), 0.0);
        assert_eq!(exp(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp(710.0), f64::INFINITY);
        assert!(exp(709.78).is_finite());
        assert!(exp(f64::NAN).is_nan());
    }

    /// Against 1 − sigmoid(−x), and against e^x where that is all of it.
    #[test]
    fn sigmoid_is_accurate_on_both_sides() {
        for x in [0.0, 1e-9, 0.3, 2.0, 30.0] {
            assert!((sigmoid(x) - 1.0 / (1.0 + (-x).exp())).abs() < 3e-16);
        }
        assert!((sigmoid(-50.0) / (-50.0f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(sigmoid(800.0), 1.0);
        assert!(sigmoid(f64::NAN).is_nan());
    }

    /// Eight problems side by side have the bits of each alone.
    #[test]
    fn lanes_are_independent() {
        let xs = [-3.0, -0.5, 0.0, 0.1, 0.7, 1.0, 20.0, 700.0];
        let ys = [0.3, 0.1, 7.0, 1e-9, 3.0, 2.0, 1e9, 5.0];
        let wide = (Lanes(xs).exp() / Lanes(ys) - Lanes(xs)).max(Lanes(ys));
        for lane in 0..WIDTH {
            let (x, y) = (Lanes([xs[lane]]), Lanes([ys[lane]]));
            assert_eq!((x.exp() / y - x).max(y).0[0], wide.0[lane]);
        }
    }
}
