//! Sums over the rows of a head.

use std::ops::{Index, IndexMut};

use super::{Measures, Metric, TOTAL_EPSILON, is_finite_row};

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
    /// What was measured beyond that; 0 where it was not.
    pub extras: Extras,
}

impl HeadSums {
    /// Adds one row.
    pub fn add_row(&mut self, max: f32, total: f32, first: f32, entropy: f32) {
        self.tokens += 1;
        if !is_finite_row([max, total, first, entropy]) {
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
        for extra in Extra::ALL {
            self.extras[extra] += other.extras[extra];
        }
    }

    /// Rows that entered the sums.
    pub fn finite_rows(&self) -> i64 {
        self.tokens - self.non_finite_rows
    }

    /// The means people read; NaN where no finite row was seen.
    pub fn means(&self) -> HeadMeans {
        HeadMeans {
            sparsity_score: Metric::SparsityScore.score(self),
            first_token_share: Metric::FirstTokenShare.score(self),
            max_weight: Metric::MaxWeight.score(self),
            total_weight: Metric::TotalWeight.score(self),
            entropy: Metric::Entropy.score(self),
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

/// A number that is added up only where a scan is asked for it; [`super::Metric`] says what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Σ exp(entropy) over rows.
    EffectiveSupportSum,
    /// Samples whose mean share on token k is above ε.
    SinkSamples,
    /// Samples that have a finite row from token k on.
    SinkMeasuredSamples,
    /// Σ over rows of the k largest weights' share of the total.
    TopKShareSum,
    /// Σ over rows of the share on the query's own position.
    DiagonalShareSum,
    /// Weights below [`super::SMALL_WEIGHT`].
    SmallWeights,
    /// Weights above [`super::LARGE_WEIGHT`].
    LargeWeights,
    /// Weights of all finite rows: a causal row of query `i` has `i + 1`.
    Weights,
}

impl Extra {
    /// All of them, in the order of columns.
    pub const ALL: [Extra; 8] = [
        Extra::EffectiveSupportSum,
        Extra::SinkSamples,
        Extra::SinkMeasuredSamples,
        Extra::TopKShareSum,
        Extra::DiagonalShareSum,
        Extra::SmallWeights,
        Extra::LargeWeights,
        Extra::Weights,
    ];

    /// The column of `samples.parquet` and `heads.parquet`.
    pub fn name(self) -> &'static str {
        match self {
            Extra::EffectiveSupportSum => "effective_support_sum",
            Extra::SinkSamples => "sink_samples",
            Extra::SinkMeasuredSamples => "sink_measured_samples",
            Extra::TopKShareSum => "top_k_share_sum",
            Extra::DiagonalShareSum => "diagonal_share_sum",
            Extra::SmallWeights => "small_weights",
            Extra::LargeWeights => "large_weights",
            Extra::Weights => "weights",
        }
    }

    /// Whether it is a whole number: an int64 column, not a float64 one.
    pub fn is_count(self) -> bool {
        !matches!(
            self,
            Extra::EffectiveSupportSum | Extra::TopKShareSum | Extra::DiagonalShareSum
        )
    }

    /// Whether a scan of these measures has it.
    pub fn is_measured(self, measures: &Measures) -> bool {
        match self {
            Extra::EffectiveSupportSum => measures.effective_support,
            Extra::SinkSamples | Extra::SinkMeasuredSamples => measures.sink_rate.is_some(),
            Extra::TopKShareSum => measures.top_k_share.is_some(),
            Extra::DiagonalShareSum => measures.diagonal_share,
            Extra::SmallWeights | Extra::LargeWeights | Extra::Weights => measures.weight_shares,
        }
    }
}

/// The values of all [`Extra`]s. Counts are whole numbers, exact up to 2⁵³.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Extras([f64; Extra::ALL.len()]);

impl Index<Extra> for Extras {
    type Output = f64;

    fn index(&self, extra: Extra) -> &f64 {
        &self.0[extra as usize]
    }
}

impl IndexMut<Extra> for Extras {
    fn index_mut(&mut self, extra: Extra) -> &mut f64 {
        &mut self.0[extra as usize]
    }
}
