//! Products of small row-major matrices, of several problems side by side, in an order of additions that is fixed.

use crate::layers::lanes::{Lanes, dot, keep_lanes_together};

/// Σ x_i y_i of plain numbers, one after the other.
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
