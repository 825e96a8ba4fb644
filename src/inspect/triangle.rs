//! The map of one head: what each query sees, and nothing of what it does not.

/// Weights of a causal head, row by row: row `q` holds the keys 0 to `q`.
#[derive(Debug, Clone, PartialEq)]
pub struct Triangle {
    side: usize,
    weights: Vec<f32>,
}

/// Elements of a triangle with so many rows.
pub fn elements(side: usize) -> usize {
    side * (side + 1) / 2
}

impl Triangle {
    /// The lower triangle of a (side, side) map, diagonal included.
    pub fn of_map(map: &[f32], side: usize) -> Self {
        let mut weights = Vec::with_capacity(elements(side));
        for (q, row) in map.chunks_exact(side.max(1)).take(side).enumerate() {
            weights.extend_from_slice(&row[..=q]);
        }
        Self { side, weights }
    }

    /// Queries, and keys.
    pub fn side(&self) -> usize {
        self.side
    }

    /// All weights, row by row.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// What query `q` sees: keys 0 to `q`.
    pub fn row(&self, q: usize) -> &[f32] {
        &self.weights[elements(q)..elements(q + 1)]
    }

    /// The largest weights of blocks of `n` × `n` cells: a triangle of ⌈side / n⌉ rows. The blocks of the last row and
    /// the last column are smaller where `n` does not divide the side. A NaN makes its whole block NaN.
    pub fn pool(&self, n: usize) -> Self {
        let n = n.max(1);
        let side = self.side.div_ceil(n);
        let mut weights = vec![0f32; elements(side)];
        for q in 0..self.side {
            let pooled = &mut weights[elements(q / n)..];
            for (block, keys) in pooled.iter_mut().zip(self.row(q).chunks(n)) {
                for &weight in keys {
                    if weight > *block || weight.is_nan() {
                        *block = weight;
                    }
                }
            }
        }
        Self { side, weights }
    }

    /// The largest weight; NaN if there is one.
    pub fn max(&self) -> f32 {
        self.weights.iter().fold(0.0, |max: f32, &weight| {
            if weight > max || weight.is_nan() {
                weight
            } else {
                max
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triangle(side: usize) -> Triangle {
        let map: Vec<f32> = (0..side * side)
            .map(|i| ((i * 7919 + 13) % 1009) as f32 / 1009.0)
            .collect();
        Triangle::of_map(&map, side)
    }

    #[test]
    fn rows_are_those_of_the_map() {
        let map: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let triangle = Triangle::of_map(&map, 3);
        assert_eq!(triangle.weights(), [0., 3., 4., 6., 7., 8.]);
        assert_eq!(triangle.row(2), [6., 7., 8.]);
        assert_eq!(triangle.max(), 8.0);
    }

    #[test]
    fn a_pooled_cell_is_the_plain_maximum_of_its_block() {
        for (side, n) in [(1, 1), (7, 1), (7, 2), (12, 3), (13, 3), (5, 9), (64, 8)] {
            let (whole, pooled) = (triangle(side), triangle(side).pool(n));
            assert_eq!(pooled.side(), side.div_ceil(n));
            for i in 0..pooled.side() {
                for j in 0..=i {
                    let mut max = f32::MIN;
                    for q in i * n..((i + 1) * n).min(side) {
                        for k in j * n..((j + 1) * n).min(q + 1) {
                            max = max.max(whole.row(q)[k]);
                        }
                    }
                    assert_eq!(pooled.row(i)[j], max, "side {side}, n {n}, cell {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn a_nan_is_not_pooled_away() {
        let mut map = vec![0.5f32; 16];
        map[2 * 4] = f32::NAN;
        let pooled = Triangle::of_map(&map, 4).pool(2);
        assert!(pooled.row(1)[0].is_nan() && pooled.max().is_nan());
        assert_eq!(pooled.row(1)[1], 0.5);
    }
}
