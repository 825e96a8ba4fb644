//! Magnitudes of hidden states.

/// How large the elements of one sample's hidden states are after a layer.
///
/// Sun et al., "Massive Activations in Large Language Models" (arXiv 2402.17762), call an activation massive if its
/// magnitude surpasses 100 and is about 1,000 times the median magnitude of its hidden states or more.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Magnitudes {
    /// Tokens that count.
    pub tokens: i64,
    /// Largest |x| of the finite elements.
    pub largest: f64,
    /// Position of the token that has it (the first of equals), from 0.
    pub largest_token: i64,
    /// Its place in the hidden state, from 0.
    pub largest_dim: i32,
    /// Median of |x| over the finite elements; of an even number the mean of the middle two.
    pub median: f64,
    /// Elements that are NaN or infinite; they enter neither.
    pub non_finite: i64,
}

impl Magnitudes {
    /// Measures the rows of `hidden_states` (tokens, hidden_size), row-major, whose token `counts`.
    pub fn of(hidden_states: &[f32], hidden_size: usize, counts: impl Fn(usize) -> bool) -> Self {
        let mut found = Self::default();
        let mut magnitudes: Vec<f32> = Vec::with_capacity(hidden_states.len());
        let mut largest = f32::NEG_INFINITY;
        let rows = hidden_states.chunks_exact(hidden_size.max(1)).enumerate();
        for (token, row) in rows.filter(|(token, _)| counts(*token)) {
            found.tokens += 1;
            for (dim, x) in row.iter().enumerate() {
                let magnitude = x.abs();
                if !magnitude.is_finite() {
                    found.non_finite += 1;
                    continue;
                }
                if magnitude > largest {
                    largest = magnitude;
                    found.largest_token = token as i64;
                    found.largest_dim = dim as i32;
                }
                magnitudes.push(magnitude);
            }
        }
        if magnitudes.is_empty() {
            return Self {
                largest: f64::NAN,
                median: f64::NAN,
                ..found
            };
        }
        let middle = magnitudes.len() / 2;
        let is_even = magnitudes.len().is_multiple_of(2);
        let (below, &mut upper, _) = magnitudes.select_nth_unstable_by(middle, f32::total_cmp);
        let lower = match is_even {
            true => below.iter().copied().fold(0.0, f32::max),
            false => upper,
        };
        Self {
            largest: f64::from(largest),
            median: (f64::from(lower) + f64::from(upper)) / 2.0,
            ..found
        }
    }
}
