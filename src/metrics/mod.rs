//! Row statistics, and the mergeable per-head sums that scores are made of.
//!
//! The unit is the *row*: one query position of one head. A layer reports five numbers for each
//! ([`RowStatistics`]); a scan adds them up per sample, layer and head ([`HeadSums`]); means are taken
//! only at the very end, so that samples, batches and shards merge exactly.
//!
//! What more a scan is asked to measure, [`Measures`] says; [`Metric`] is the list of all scores of a head, with
//! formula and source. Some follow from the five numbers, others from the row itself ([`RowMeasures`]), attention by
//! distance is a profile beside the scores ([`LagSums`]), and activations are not of heads at all ([`Magnitudes`]).

mod activations;
mod lags;
mod measures;
mod metric;
mod rows;
mod sums;

pub use activations::Magnitudes;
pub use lags::{LagFit, LagSums};
pub use measures::{LagWindow, Measure, Measures, SinkRate, TopK};
pub use metric::{Metric, Unit};
pub use rows::RowMeasures;
pub use sums::{Extra, Extras, HeadMeans, HeadSums};

/// Statistics of attention rows, as flat arrays of shape (heads, rows), row-major.
///
/// `rows` are the query positions of whatever the caller looks at, normally all tokens of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowStatistics {
    /// Largest attention weight of the row, as it is (for sigmoid rows not divided by the total).
    pub max: Vec<f32>,
    /// Key position of the largest weight, counted from the first key of the row's own sequence.
    pub argmax: Vec<u32>,
    /// Sum of the row's weights: 1 for softmax up to rounding, anything for sigmoid.
    pub total: Vec<f32>,
    /// Weight on key 0.
    pub first: Vec<f32>,
    /// Entropy of the row divided by its total, in nats; 0 where the total is below [`NO_WEIGHT`].
    pub entropy: Vec<f32>,
}

impl RowStatistics {
    /// Zeroed statistics for `rows` (heads × query positions) rows.
    pub fn zeros(rows: usize) -> Self {
        Self {
            max: vec![0.0; rows],
            argmax: vec![0; rows],
            total: vec![0.0; rows],
            first: vec![0.0; rows],
            entropy: vec![0.0; rows],
        }
    }

    /// Whether all statistics of row `at` are finite; rows that are not enter no sum.
    pub fn is_finite(&self, at: usize) -> bool {
        is_finite_row([
            self.max[at],
            self.total[at],
            self.first[at],
            self.entropy[at],
        ])
    }
}

/// Whether a row with these statistics enters any sum.
fn is_finite_row(statistics: [f32; 4]) -> bool {
    statistics.iter().all(|statistic| statistic.is_finite())
}

/// A sigmoid row whose total is below this carries no weight that float32 could tell from none: it has no
/// shape, and its entropy is defined as 0.
pub const NO_WEIGHT: f32 = 1e-30;

/// Added to a row's total before dividing by it, as the program does that the paper's numbers come from
/// (`jnp.max(probs, -1) / (jnp.sum(probs, -1) + 1e-9)` in the authors' fork of axlearn). It only shows in
/// sigmoid rows that carry almost no weight at all.
pub const TOTAL_EPSILON: f64 = 1e-9;

/// Weights below this count as small (in the paper's fork of axlearn, too).
pub const SMALL_WEIGHT: f32 = 0.001;

/// Weights above this count as large (in the paper's fork of axlearn, too).
pub const LARGE_WEIGHT: f32 = 0.1;
