//! What the fused CPU operations share: vectorised exp and ln, lane-wise reductions, and access to tensors
//! as rows of float32.
//!
//! The functions are plain Rust that the compiler vectorises. They are `#[inline(always)]` so that a caller
//! inside [`with_simd`] compiles them for the instruction set found at run time (AVX-512, AVX2 or the
//! baseline), whatever the build targeted.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Lanes of the explicit accumulators: one AVX-512 register, two AVX2 ones.
pub const LANES: usize = 16;

/// Runs `f` compiled for the best instruction set of this machine.
#[inline(always)]
pub fn with_simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// e^x for float32, relative error below 2e-7 (Cephes' polynomial); exactly 0 below −87.3 and ∞ above 88.3,
/// NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5·2^23 rounds to the nearest integer and leaves it in the low bits of the sum.
    const MAGIC: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if clamped < -88.0 { -88.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * LN2_HI - n * LN2_LO;
    let mut p = 1.987_569_1e-4f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    // 2^n by its exponent bits; n is in −127..=127, and −127 gives zero.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    let y = if x < -87.3 { 0.0 } else { e * power };
    if x > 88.3 { f32::INFINITY } else { y }
}

/// ln x for positive, finite, normal float32, relative error below 2e-7 (Cephes); NaN stays NaN.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let bits = x.to_bits();
    let exponent = ((bits >> 23) as i32 - 126) as f32;
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000); // in [0.5, 1)
    let small = mantissa < SQRT_HALF;
    let e = if small { exponent - 1.0 } else { exponent };
    let m = if small { mantissa + mantissa } else { mantissa } - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2f32;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_7e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let y = m * z * p + e * LN2_LO - 0.5 * z;
    let y = m + y + e * LN2_HI;
    if x.is_nan() { x } else { y }
}

/// 1 / (1 + e^−x), for any x; NaN stays NaN.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Σ f(x) over the slice, in [`LANES`] partial sums.
#[inline(always)]
pub fn sum_by(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    let mut sum = 0.0;
    for &x in tail {
        sum += f(x);
    }
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// Σ x_i y_i, in [`LANES`] partial sums.
#[inline(always)]
pub fn dot(xs: &[f32], ys: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (x_chunks, y_chunks) = (xs.chunks_exact(LANES), ys.chunks_exact(LANES));
    let mut sum = 0.0;
    for (x, y) in x_chunks.remainder().iter().zip(y_chunks.remainder()) {
        sum += x * y;
    }
    for (xs, ys) in x_chunks.zip(y_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(xs).zip(ys) {
            *lane += x * y;
        }
    }
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// Whether every value is finite.
pub fn is_finite(xs: &[f32]) -> bool {
    // 0 · x is 0 for a finite x and NaN otherwise, and a sum with a NaN in it is NaN.
    with_simd(
        #[inline(always)]
        || sum_by(xs, |x| x * 0.0),
    ) == 0.0
}

/// The largest value; NaN if any value is NaN, −∞ for an empty slice.
#[inline(always)]
pub fn max(xs: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = xs.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            // A NaN, once taken, stays: `f32::max` would drop it.
            *lane = if *lane >= x || lane.is_nan() {
                *lane
            } else {
                x
            };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for &x in tail.iter().chain(&lanes) {
        max = if max >= x || max.is_nan() { max } else { x };
    }
    max
}

/// A float32 CPU tensor of two dimensions whose rows are contiguous, as memory.
pub struct Rows<'a> {
    /// Everything from the first element of row 0.
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// Elements from one row's start to the next one's.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// The (rows, columns) tensor behind `storage` and `layout`.
    pub fn new(storage: &'a CpuStorage, layout: &candle_core::Layout) -> Result<Self> {
        let CpuStorage::F32(data) = storage else {
            bail!("a float32 tensor is needed, found {:?}", storage.dtype())
        };
        let (&[rows, columns], &[stride, 1]) = (layout.dims(), layout.stride()) else {
            bail!(
                "a matrix with contiguous rows is needed, found shape {:?} with strides {:?}",
                layout.dims(),
                layout.stride()
            )
        };
        Ok(Self {
            data: &data[layout.start_offset()..],
            rows,
            columns,
            stride,
        })
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..i * self.stride + self.columns]
    }
}

/// Calls `f(i, row)` for every row of `out` (rows of `columns` elements), in parallel, compiled for this
/// machine's instruction set.
pub fn for_each_row(out: &mut [f32], columns: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    /// Elements a thread takes at once: enough to outweigh the hand-over, few enough to share.
    const TASK: usize = 1 << 15;
    if columns == 0 {
        return;
    }
    let rows_per_task = (TASK / columns).max(1);
    out.par_chunks_mut(rows_per_task * columns)
        .enumerate()
        .for_each(|(task, rows)| {
            with_simd(
                #[inline(always)]
                || {
                    for (i, row) in rows.chunks_exact_mut(columns).enumerate() {
                        f(task * rows_per_task + i, row);
                    }
                },
            )
        });
}

/// Whether the fused CPU form may be used for `x`: float32 on the CPU, and nobody wants gradients of it.
pub fn is_fusable(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && !x.track_op()
}

/// The CPU storage of a tensor that [`is_fusable`] has accepted.
pub fn cpu_storage(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("a tensor in main memory is needed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_against_float64() {
        let (mut worst_exp, mut worst_ln) = (0f64, 0f64);
        for i in -870_000..=883_000 {
            let x = i as f32 * 1e-4;
            let expected = f64::from(x).exp();
            worst_exp = worst_exp.max((f64::from(exp(x)) - expected).abs() / expected);
            if expected as f32 >= f32::MIN_POSITIVE {
                let y = expected as f32;
                let exact = f64::from(y).ln();
                let error = (f64::from(ln(y)) - exact).abs() / exact.abs().max(1.0);
                worst_ln = worst_ln.max(error);
            }
        }
        println!("largest relative difference: exp {worst_exp:.2e}, ln {worst_ln:.2e}");
        assert!(worst_exp < 3e-7, "{worst_exp}");
        assert!(worst_ln < 3e-7, "{worst_ln}");
    }

    #[test]
    fn extremes() {
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!(sigmoid(-1e30), 0.0);
        assert_eq!(sigmoid(1e30), 1.0);
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn max_keeps_nan_wherever_it_stands() {
        let n = 3 * LANES + 5;
        for at in 0..n {
            let mut xs: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(max(&xs), (n - 1) as f32);
            xs[at] = f32::NAN;
            assert!(max(&xs).is_nan(), "position {at}");
        }
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
