//! Row statistics, and the mergeable per-head sums that scores are made of.
//!
//! The unit is the *row*: one query position of one head. A layer reports five numbers for each
//! ([`RowStatistics`]); a scan adds them up per sample, layer and head ([`HeadSums`]); means are taken
//! only at the very end, so that samples, batches and shards merge exactly.

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
}

/// A sigmoid row whose total is below this carries no weight that float32 could tell from none: it has no
/// shape, and its entropy is defined as 0.
pub const NO_WEIGHT: f32 = 1e-30;

/// Added to a row's total before dividing by it, as the program does that the paper's numbers come from
/// (`jnp.max(probs, -1) / (jnp.sum(probs, -1) + 1e-9)` in the authors' fork of axlearn). It only shows in
/// sigmoid rows that carry almost no weight at all.
pub const TOTAL_EPSILON: f64 = 1e-9;

/// Sums over the attention rows of one head: of one sample, or of many.
///
/// Rows with a statistic that is not finite are counted in `non_finite_rows` and enter no sum;
/// `tokens` counts every valid query position, theirs included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HeadSums {
    /// Valid query positions (rows), finite or not.
    pub tokens: i64,
    /// Σ `max / total`.
    pub max_share_sum: f64,
    /// Σ `first / total`.
    pub first_share_sum: f64,
    /// Σ `max`.
    pub max_weight_sum: f64,
    /// Σ `total`.
    pub total_weight_sum: f64,
    /// Σ entropy, in nats.
    pub entropy_sum: f64,
    /// Rows with a NaN or infinite statistic.
    pub non_finite_rows: i64,
}

impl HeadSums {
    /// Adds one row.
    pub fn add_row(&mut self, max: f32, total: f32, first: f32, entropy: f32) {
        self.tokens += 1;
        if !(max.is_finite() && total.is_finite() && first.is_finite() && entropy.is_finite()) {
            self.non_finite_rows += 1;
            return;
        }
        let total_weight = f64::from(total);
        self.max_share_sum += f64::from(max) / (total_weight + TOTAL_EPSILON);
        self.first_share_sum += f64::from(first) / (total_weight + TOTAL_EPSILON);
        self.max_weight_sum += f64::from(max);
        self.total_weight_sum += total_weight;
        self.entropy_sum += f64::from(entropy);
    }

    /// Adds the rows that `other` has seen.
    pub fn merge(&mut self, other: &HeadSums) {
        self.tokens += other.tokens;
        self.max_share_sum += other.max_share_sum;
        self.first_share_sum += other.first_share_sum;
        self.max_weight_sum += other.max_weight_sum;
        self.total_weight_sum += other.total_weight_sum;
        self.entropy_sum += other.entropy_sum;
        self.non_finite_rows += other.non_finite_rows;
    }

    /// Rows that entered the sums.
    pub fn finite_rows(&self) -> i64 {
        self.tokens - self.non_finite_rows
    }

    /// The means people read; NaN where no finite row was seen.
    pub fn means(&self) -> HeadMeans {
        let rows = self.finite_rows() as f64;
        let mean = |sum: f64| if rows > 0.0 { sum / rows } else { f64::NAN };
        HeadMeans {
            sparsity_score: mean(self.max_share_sum),
            first_token_share: mean(self.first_share_sum),
            max_weight: mean(self.max_weight_sum),
            total_weight: mean(self.total_weight_sum),
            entropy: mean(self.entropy_sum),
        }
    }
}

/// Means over the finite rows of a head (arXiv 2603.06248, Appendix E.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadMeans {
    /// Mean of `max / total`: how much of a row's weight sits on one token.
    pub sparsity_score: f64,
    /// Mean of `first / total`: how much sits on the first token.
    pub first_token_share: f64,
    /// Mean of `max`, undivided: what the paper's published script plots in Figure 7.
    pub max_weight: f64,
    /// Mean of the row total.
    pub total_weight: f64,
    /// Mean entropy of the normalised rows, in nats.
    pub entropy: f64,
}
