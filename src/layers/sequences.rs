//! Where each sequence of a packed batch begins.

use std::ops::Range;

/// The boundaries of the sequences in a packed (tokens, …) tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedSequences {
    /// One more entry than sequences: sequence `i` holds tokens `offsets[i]..offsets[i + 1]`.
    offsets: Vec<usize>,
}

impl PackedSequences {
    /// Sequences of these lengths (tokens), one after the other. Empty sequences are allowed and hold no row.
    pub fn from_lengths(lengths: &[usize]) -> Self {
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for length in lengths {
            end += length;
            offsets.push(end);
        }
        Self { offsets }
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all sequences together.
    pub fn tokens(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The tokens of sequence `i`.
    pub fn range(&self, i: usize) -> Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }

    /// The tokens of every sequence, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|w| w[0]..w[1])
    }

    /// Neighbouring sequences of equal length, as (first token, number of sequences, length): what a
    /// tensor operation can treat as one (sequences, length, …) block. Empty sequences are left out.
    pub fn equal_length_runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for range in self.ranges().filter(|r| !r.is_empty()) {
            match runs.last_mut() {
                Some((_, count, length)) if *length == range.len() => *count += 1,
                _ => runs.push((range.start, 1, range.len())),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_group_neighbours_of_equal_length() {
        let s = PackedSequences::from_lengths(&[4, 4, 0, 4, 2, 3, 3]);
        assert_eq!(s.tokens(), 20);
        assert_eq!(s.range(3), 8..12);
        assert_eq!(
            s.equal_length_runs(),
            vec![(0, 3, 4), (12, 1, 2), (14, 2, 3)]
        );
    }
}
