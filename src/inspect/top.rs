//! The largest weights of every query: what the page has of a head whose map is too large for it.

use std::cmp::Ordering;

use super::triangle::Triangle;

/// For each query its `k` largest weights (or all, where it sees fewer keys), one query after the other: the largest
/// first, of equal ones the earlier key. A NaN is larger than any number.
#[derive(Debug, Clone, PartialEq)]
pub struct TopWeights {
    /// Query minus key. Most weight is near, so these shrink better than the keys.
    pub distances: Vec<u32>,
    /// The weights.
    pub weights: Vec<f32>,
}

/// Entries of `k` weights per query.
pub fn entries(queries: usize, k: usize) -> usize {
    let short = k.min(queries);
    short * (short + 1) / 2 + (queries - short) * k
}

impl TopWeights {
    /// Those of a map.
    pub fn of(map: &Triangle, k: usize) -> Self {
        let count = entries(map.side(), k);
        let mut top = Self {
            distances: Vec::with_capacity(count),
            weights: Vec::with_capacity(count),
        };
        let mut order: Vec<u32> = Vec::with_capacity(map.side());
        for query in 0..map.side() {
            let row = map.row(query);
            let before = |a: &u32, b: &u32| -> Ordering {
                let (x, y) = (row[*a as usize], row[*b as usize]);
                let weights = match (x.is_nan(), y.is_nan()) {
                    (false, false) => y.total_cmp(&x),
                    (x_is_nan, y_is_nan) => y_is_nan.cmp(&x_is_nan),
                };
                weights.then(a.cmp(b))
            };
            order.clear();
            order.extend(0..row.len() as u32);
            if (1..order.len()).contains(&k) {
                order.select_nth_unstable_by(k - 1, before);
            }
            order.truncate(k);
            order.sort_unstable_by(before);
            top.distances
                .extend(order.iter().map(|key| query as u32 - key));
            top.weights
                .extend(order.iter().map(|key| row[*key as usize]));
        }
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let nan = f32::NAN;
        #[rustfmt::skip]
        let map = [
            0.9, 0.0, 0.0, 0.0, 0.0,
            0.1, 0.5, 0.0, 0.0, 0.0,
            0.3, 0.3, 0.2, 0.0, 0.0,
            0.1, 0.2, 0.4, 0.3, 0.0,
            0.0, nan, 0.7, 0.0, 0.0,
        ];
        let top = TopWeights::of(&Triangle::of_map(&map, 5), 2);
        assert_eq!(top.distances, [0, 0, 1, 2, 1, 1, 0, 3, 2]);
        let bits = |weights: &[f32]| weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        let expected = [0.9, 0.5, 0.1, 0.3, 0.3, 0.4, 0.3, nan, 0.7];
        assert_eq!(bits(&top.weights), bits(&expected));
        for (queries, k) in [(5, 2), (5, 5), (5, 9), (1, 1), (5, 0)] {
            let map = Triangle::of_map(&map[..queries * queries], queries);
            assert_eq!(TopWeights::of(&map, k).weights.len(), entries(queries, k));
        }
    }
}
