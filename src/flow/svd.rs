//! The singular value decomposition of a small dense matrix.

use super::dense::dot_product as dot;

/// Sweeps after which we give up; convergence is quadratic, and random matrices take fewer than ten.
const MAX_SWEEPS: usize = 60;
/// How near to orthogonal two columns must be, relative to their lengths.
const TOLERANCE: f64 = 1e-15;

/// One term of `M = Σ σ u vᵀ`.
pub(super) struct Triple {
    pub(super) value: f64,
    pub(super) left: Vec<f64>,
    pub(super) right: Vec<f64>,
}

/// The thin decomposition of a row-major `rows × columns` matrix: min(rows, columns) terms, largest singular
/// value first. `None` if the matrix is singular or not finite.
///
/// One-sided Jacobi (Hestenes 1958; Demmel and Veselić 1992 on its accuracy): pairs of columns are rotated until
/// all are orthogonal; their lengths are then the singular values. Each left vector comes with its right one, so
/// that the sign of a pair, which is free, cancels in every sum over σ u vᵀ.
pub(super) fn decompose(matrix: &[f64], rows: usize, columns: usize) -> Option<Vec<Triple>> {
    let transpose = rows < columns;
    let (long, short) = orthogonalize(matrix, rows, columns)?;
    let mut triples = Vec::with_capacity(long.len());
    for (mut long, short) in long.into_iter().zip(short) {
        let value = dot(&long, &long).sqrt();
        if !(value.is_finite() && value > 0.0) {
            return None;
        }
        long.iter_mut().for_each(|x| *x /= value);
        let (left, right) = if transpose {
            (short, long)
        } else {
            (long, short)
        };
        triples.push(Triple { value, left, right });
    }
    triples.sort_by(|a, b| b.value.total_cmp(&a.value));
    Some(triples)
}

/// The singular values of a row-major `rows × columns` matrix, largest first; those of a singular one may be 0.
/// `None` if the matrix is not finite.
pub(super) fn singular_values(matrix: &[f64], rows: usize, columns: usize) -> Option<Vec<f64>> {
    let (long, _) = orthogonalize(matrix, rows, columns)?;
    let mut values: Vec<f64> = long.iter().map(|long| dot(long, long).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
        .iter()
        .all(|value| value.is_finite())
        .then_some(values)
}

type Vectors = Vec<Vec<f64>>;

/// Rotates the vectors of the shorter side of a matrix until they are orthogonal: those (`σ u`, of the longer
/// side's length), and the product of the rotations. `None` if that does not come to an end.
fn orthogonalize(matrix: &[f64], rows: usize, columns: usize) -> Option<(Vectors, Vectors)> {
    let transpose = rows < columns;
    let count = rows.min(columns);
    let mut long: Vec<Vec<f64>> = (0..count)
        .map(|k| match transpose {
            true => matrix[k * columns..][..columns].to_vec(),
            false => (0..rows).map(|i| matrix[i * columns + k]).collect(),
        })
        .collect();
    let mut short: Vec<Vec<f64>> = (0..count)
        .map(|k| (0..count).map(|i| f64::from(u8::from(i == k))).collect())
        .collect();

    let mut converged = false;
    for _ in 0..MAX_SWEEPS {
        converged = true;
        for i in 0..count {
            for j in i + 1..count {
                let (alpha, beta) = (dot(&long[i], &long[i]), dot(&long[j], &long[j]));
                let gamma = dot(&long[i], &long[j]);
                // False for NaN, too, which the check of the lengths below finds.
                if gamma.abs() > TOLERANCE * (alpha * beta).sqrt() {
                    converged = false;
                    // The smaller angle that makes the two orthogonal.
                    let zeta = (beta - alpha) / (2.0 * gamma);
                    let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
                    rotate(&mut long, i, j, cosine, cosine * tangent);
                    rotate(&mut short, i, j, cosine, cosine * tangent);
                }
            }
        }
        if converged {
            break;
        }
    }
    converged.then_some((long, short))
}

fn rotate(vectors: &mut [Vec<f64>], i: usize, j: usize, cosine: f64, sine: f64) {
    let (head, tail) = vectors.split_at_mut(j);
    for (x, y) in head[i].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::NumpyRandom;

    /// Orthonormal vectors, ordered values, and the matrix again: for tall, square and wide ones.
    #[test]
    fn decomposes_random_matrices() {
        for (rows, columns) in [(1, 1), (5, 3), (20, 20), (3, 7), (1, 4)] {
            let mut random = NumpyRandom::new(7);
            let matrix: Vec<f64> = (0..rows * columns).map(|_| random.randn()).collect();
            let triples = decompose(&matrix, rows, columns).unwrap();
            assert_eq!(triples.len(), rows.min(columns));
            assert!(triples.is_sorted_by(|a, b| a.value >= b.value));
            let mut worst = 0.0f64;
            for (k, a) in triples.iter().enumerate() {
                for (l, b) in triples.iter().enumerate() {
                    let one = f64::from(u8::from(k == l));
                    worst = worst.max((dot(&a.left, &b.left) - one).abs());
                    worst = worst.max((dot(&a.right, &b.right) - one).abs());
                }
            }
            for i in 0..rows {
                for j in 0..columns {
                    let sum: f64 = triples
                        .iter()
                        .map(|t| t.value * t.left[i] * t.right[j])
                        .sum();
                    worst = worst.max((sum - matrix[i * columns + j]).abs());
                }
            }
            println!("{rows} × {columns}: {worst:.1e}");
            assert!(worst < 1e-13, "{rows} × {columns}: {worst:e}");
        }
    }

    /// [[3, 0], [4, 5]] has the singular values √45 and √5.
    #[test]
    fn values_of_a_known_matrix() {
        let triples = decompose(&[3.0, 0.0, 4.0, 5.0], 2, 2).unwrap();
        assert!((triples[0].value - 45f64.sqrt()).abs() < 1e-14);
        assert!((triples[1].value - 5f64.sqrt()).abs() < 1e-14);
    }

    /// Of 0, of x yᵀ (‖x‖ ‖y‖, then zeros), of diagonal entries with one 0, and none of NaN.
    #[test]
    fn values_of_singular_matrices() {
        assert_eq!(singular_values(&[0.0; 6], 2, 3), Some(vec![0.0; 2]));
        let (x, y) = ([3.0, 0.0, 4.0], [1e-9, 2e-9, -2e-9, 0.0]);
        let outer: Vec<f64> = x.iter().flat_map(|x| y.map(|y| x * y)).collect();
        let values = singular_values(&outer, 3, 4).unwrap();
        assert!((values[0] / 15e-9 - 1.0).abs() < 1e-15, "{values:?}");
        assert!(values[1] < 1e-15 * values[0], "{values:?}");
        let diagonal = [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -5.0];
        assert_eq!(singular_values(&diagonal, 3, 3), Some(vec![5.0, 2.0, 0.0]));
        assert_eq!(singular_values(&[f64::NAN, 0.0, 0.0, 1.0], 2, 2), None);
    }

    #[test]
    fn singular_matrices_have_none() {
        assert!(decompose(&[1.0, 2.0, 0.0, 0.0], 2, 2).is_none());
        assert!(decompose(&[f64::NAN, 0.0, 0.0, 1.0], 2, 2).is_none());
    }
}
