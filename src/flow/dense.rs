//! Products of small row-major matrices, in an order of additions that is fixed.

/// Partial sums of a dot product: enough for the compiler to use vector registers.
const LANES: usize = 4;

/// Σ x_i y_i, as [`LANES`] interleaved sums and the rest.
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (x_chunks, y_chunks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f64 = x_chunks
        .remainder()
        .iter()
        .zip(y_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in x_chunks.zip(y_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// `out = M x` for M of `out.len()` rows.
pub(super) fn multiply(matrix: &[f64], x: &[f64], out: &mut [f64]) {
    for (out, row) in out.iter_mut().zip(matrix.chunks_exact(x.len())) {
        *out = dot(row, x);
    }
}

/// `out = Mᵀ x` for M of `x.len()` rows.
pub(super) fn multiply_transposed(matrix: &[f64], x: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for (x, row) in x.iter().zip(matrix.chunks_exact(out.len())) {
        for (out, entry) in out.iter_mut().zip(row) {
            *out += x * entry;
        }
    }
}

/// `M −= rate · x yᵀ`, multiplied in the notebook's order.
pub(super) fn subtract_outer(matrix: &mut [f64], rate: f64, x: &[f64], y: &[f64]) {
    for (x, row) in x.iter().zip(matrix.chunks_exact_mut(y.len())) {
        for (entry, y) in row.iter_mut().zip(y) {
            *entry -= rate * (x * y);
        }
    }
}
