//! Products of small row-major matrices, of several problems side by side, in an order of additions that is fixed.

use crate::layers::lanes::{Lanes, keep_lanes_together};

/// Partial sums of a dot product: additions that need not wait for each other.
const PARTS: usize = 4;

/// Σ x_i y_i, as [`PARTS`] interleaved sums and the rest.
#[inline(always)]
pub(super) fn dot<const N: usize>(x: &[Lanes<N>], y: &[Lanes<N>]) -> Lanes<N> {
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

/// [`dot`] of plain numbers.
pub(super) fn dot_product(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// `out = M x` for M of `out.len()` rows.
#[inline(always)]
pub(super) fn multiply<const N: usize>(matrix: &[Lanes<N>], x: &[Lanes<N>], out: &mut [Lanes<N>]) {
    for (out, row) in out.iter_mut().zip(matrix.chunks_exact(x.len())) {
        *out = dot(row, x);
    }
}

/// `out = Mᵀ x` for M of `x.len()` rows.
#[inline(always)]
pub(super) fn multiply_transposed<const N: usize>(
    matrix: &[Lanes<N>],
    x: &[Lanes<N>],
    out: &mut [Lanes<N>],
) {
    out.fill(Lanes::ZERO);
    for (x, row) in x.iter().zip(matrix.chunks_exact(out.len())) {
        for (out, entry) in out.iter_mut().zip(row) {
            keep_lanes_together::<N>();
            *out += *x * *entry;
        }
    }
}

/// `M −= rate · x yᵀ`, multiplied in the notebook's order.
#[inline(always)]
pub(super) fn subtract_outer<const N: usize>(
    matrix: &mut [Lanes<N>],
    rate: Lanes<N>,
    x: &[Lanes<N>],
    y: &[Lanes<N>],
) {
    for (x, row) in x.iter().zip(matrix.chunks_exact_mut(y.len())) {
        for (entry, y) in row.iter_mut().zip(y) {
            keep_lanes_together::<N>();
            *entry -= rate * (*x * *y);
        }
    }
}
