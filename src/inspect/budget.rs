//! Which heads the page holds in full.
//!
//! The exact weights of many heads fit on no page. They go to the heads with the highest sparsity score, in that
//! order, until the next one does not fit; of equal scores the earlier layer and head comes first. Heads come layer
//! by layer, and no more is held at any moment than will fit in the end.

use std::cmp::Ordering;

/// Where a head stands: the sparser the earlier, then by layer and head. A score that is no number comes last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rank {
    /// The sparsity score.
    pub score: f64,
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
}

impl Rank {
    fn compare(&self, other: &Rank) -> Ordering {
        let score = |rank: &Rank| {
            if rank.score.is_nan() {
                f64::NEG_INFINITY
            } else {
                rank.score
            }
        };
        score(other)
            .total_cmp(&score(self))
            .then((self.layer, self.head).cmp(&(other.layer, other.head)))
    }
}

/// The exact weights that are kept, packed.
#[derive(Debug)]
pub struct Kept<T> {
    budget: u64,
    used: u64,
    /// In order, with what each takes of the budget.
    heads: Vec<(Rank, u64, T)>,
    /// The first head that does not fit, as far as is known: nothing after it is kept.
    end: Option<Rank>,
}

impl<T> Kept<T> {
    /// Nothing yet, and room for `budget` bytes of the page.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            used: 0,
            heads: Vec::new(),
            end: None,
        }
    }

    /// Whether a head of this rank may still be kept.
    pub fn has_room_for(&self, rank: &Rank) -> bool {
        self.end
            .is_none_or(|end| rank.compare(&end) == Ordering::Less)
    }

    /// Keeps a head, unless those before it leave no room; those after it go where it takes their room.
    pub fn offer(&mut self, rank: Rank, bytes: u64, packed: T) {
        if !self.has_room_for(&rank) {
            return;
        }
        let at = self
            .heads
            .partition_point(|(kept, ..)| kept.compare(&rank) == Ordering::Less);
        self.used += bytes;
        self.heads.insert(at, (rank, bytes, packed));
        while self.used > self.budget
            && let Some((rank, bytes, _)) = self.heads.pop()
        {
            self.used -= bytes;
            self.end = Some(rank);
        }
    }

    /// The heads that are kept, sparsest first.
    pub fn into_heads(self) -> Vec<(Rank, T)> {
        let heads = self.heads.into_iter();
        heads.map(|(rank, _, packed)| (rank, packed)).collect()
    }
}

/// Bytes that packed data takes on the page: base64, and an element around it.
pub fn on_page(packed: usize) -> u64 {
    packed as u64 * 4 / 3 + 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(score: f64, layer: usize, head: usize) -> Rank {
        Rank { score, layer, head }
    }

    /// Whatever the order in which heads come, the result is the longest run of the sparsest that fits.
    #[test]
    fn the_sparsest_that_fit_are_kept_in_any_order() {
        let heads: Vec<(Rank, u64)> = (0..60)
            .map(|i| {
                let score = ((i * 37) % 23) as f64 / 23.0;
                (rank(score, i / 6, i % 6), 3000 + (i as u64 * 7919) % 5000)
            })
            .collect();
        for budget in [0, 4_000, 40_000, 100_000, 10_000_000] {
            let mut sorted = heads.clone();
            sorted.sort_by(|(a, _), (b, _)| {
                b.score
                    .total_cmp(&a.score)
                    .then((a.layer, a.head).cmp(&(b.layer, b.head)))
            });
            let mut left = budget;
            let expected: Vec<Rank> = sorted
                .iter()
                .take_while(|(_, bytes)| {
                    let fits = *bytes <= left;
                    left = left.saturating_sub(*bytes);
                    fits
                })
                .map(|(rank, _)| *rank)
                .collect();
            for stride in [1, 7, 11, 59] {
                let mut kept = Kept::new(budget);
                for i in 0..heads.len() {
                    let (rank, bytes) = heads[i * stride % heads.len()];
                    kept.offer(rank, bytes, ());
                }
                let found: Vec<Rank> = kept
                    .into_heads()
                    .into_iter()
                    .map(|(rank, _)| rank)
                    .collect();
                assert_eq!(found, expected, "budget {budget}, stride {stride}");
            }
        }
    }

    #[test]
    fn what_is_no_number_comes_last() {
        let mut kept = Kept::new(2000);
        kept.offer(rank(f64::NAN, 0, 0), 1000, ());
        kept.offer(rank(0.1, 0, 1), 1000, ());
        kept.offer(rank(0.2, 0, 2), 1000, ());
        assert!(!kept.has_room_for(&rank(f64::NAN, 5, 0)));
        let found: Vec<usize> = kept
            .into_heads()
            .iter()
            .map(|(rank, _)| rank.head)
            .collect();
        assert_eq!(found, [2, 1]);
    }
}
