//! What is measured of a row of the attention map itself.

use super::{Extra, HeadSums, LARGE_WEIGHT, LagSums, Measures, SMALL_WEIGHT, TOTAL_EPSILON};

/// Looks at the rows of one head in one sample, one after the other, and adds up what [`Measures`] ask for.
#[derive(Debug)]
pub struct RowMeasures<'a> {
    measures: &'a Measures,
    /// Σ of token k's shares, and the rows that see it.
    sink: (f64, u64),
    /// Scratch: the row's weights, of which the largest are picked.
    row: Vec<f32>,
}

impl<'a> RowMeasures<'a> {
    /// Begins a head of a sample.
    pub fn new(measures: &'a Measures) -> Self {
        Self {
            measures,
            sink: (0.0, 0),
            row: Vec::new(),
        }
    }

    /// Adds the finite row of query position `query`: its entropy, total and first weight, and if
    /// [`Measures::needs_weights`] the `weights` on the keys that it sees, key 0 first (else they may be empty).
    pub fn add(
        &mut self,
        sums: &mut HeadSums,
        lags: Option<&mut LagSums>,
        query: usize,
        (entropy, total, first): (f32, f32, f32),
        weights: &[f32],
    ) {
        let divisor = f64::from(total) + TOTAL_EPSILON;
        let share = |weight: f32| f64::from(weight) / divisor;
        let extras = &mut sums.extras;
        if self.measures.effective_support {
            extras[Extra::EffectiveSupportSum] += f64::from(entropy).exp();
        }
        if let Some(sink) = self.measures.sink_rate {
            let token = sink.k.get() - 1;
            let weight = match token {
                0 => Some(first),
                _ => weights.get(token).copied(),
            };
            if let Some(weight) = weight.filter(|_| query >= token) {
                self.sink.0 += share(weight);
                self.sink.1 += 1;
            }
        }
        if let Some(top) = self.measures.top_k_share {
            let sum = self.sum_of_largest(weights, top.k.get());
            extras[Extra::TopKShareSum] += sum / divisor;
        }
        if self.measures.diagonal_share
            && let Some(&own) = weights.get(query)
        {
            extras[Extra::DiagonalShareSum] += share(own);
        }
        if self.measures.weight_shares {
            let count = |is_in: fn(f32) -> bool| {
                weights.iter().filter(|weight| is_in(**weight)).count() as f64
            };
            extras[Extra::SmallWeights] += count(|weight| weight < SMALL_WEIGHT);
            extras[Extra::LargeWeights] += count(|weight| weight > LARGE_WEIGHT);
            extras[Extra::Weights] += weights.len() as f64;
        }
        if let Some(lags) = lags {
            lags.add(query, weights, divisor);
        }
    }

    /// Ends the head of the sample.
    pub fn finish(self, sums: &mut HeadSums) {
        let (Some(sink), (share, rows)) = (self.measures.sink_rate, self.sink) else {
            return;
        };
        if rows > 0 {
            let is_sink = share / rows as f64 > sink.epsilon;
            sums.extras[Extra::SinkSamples] += f64::from(u8::from(is_sink));
            sums.extras[Extra::SinkMeasuredSamples] += 1.0;
        }
    }

    fn sum_of_largest(&mut self, weights: &[f32], k: usize) -> f64 {
        let sum = |weights: &[f32]| weights.iter().map(|&w| f64::from(w)).sum();
        if k >= weights.len() {
            return sum(weights);
        }
        self.row.clear();
        self.row.extend_from_slice(weights);
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        self.row.select_nth_unstable_by(k - 1, descending);
        // In a fixed order, so that the sum does not depend on how they were picked.
        let largest = &mut self.row[..k];
        largest.sort_unstable_by(descending);
        sum(largest)
    }
}
