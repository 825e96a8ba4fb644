//! Which scores of a head are compared.

use serde::Serialize;

use crate::metrics::HeadSums;

/// A score of a head: a sum over its finite rows, divided by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean of `max / total` (arXiv 2603.06248, Appendix E.2).
    SparsityScore,
    /// Mean of `max`, undivided: what the paper's published script plots in its Figure 7. For softmax the two
    /// are the same, for sigmoid they are not.
    MaxWeight,
    /// Mean of `first / total`; a head above 0.9 is a sink.
    FirstTokenShare,
    /// Mean entropy of the rows divided by their totals, in nats.
    Entropy,
    /// Mean of the row total.
    TotalWeight,
}

impl Metric {
    /// All, in the order of tables.
    pub const ALL: [Metric; 5] = [
        Metric::SparsityScore,
        Metric::MaxWeight,
        Metric::FirstTokenShare,
        Metric::Entropy,
        Metric::TotalWeight,
    ];

    /// The column of `heads.parquet`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::SparsityScore => "sparsity_score",
            Metric::MaxWeight => "max_weight",
            Metric::FirstTokenShare => "first_token_share",
            Metric::Entropy => "entropy",
            Metric::TotalWeight => "total_weight",
        }
    }

    /// Whether the metric lies between 0 and 1, so that heads above a threshold can be counted.
    pub fn has_thresholds(self) -> bool {
        !matches!(self, Metric::Entropy | Metric::TotalWeight)
    }

    /// The sum that the score is made of.
    pub(super) fn sum(self, sums: &HeadSums) -> f64 {
        match self {
            Metric::SparsityScore => sums.max_share_sum,
            Metric::MaxWeight => sums.max_weight_sum,
            Metric::FirstTokenShare => sums.first_share_sum,
            Metric::Entropy => sums.entropy_sum,
            Metric::TotalWeight => sums.total_weight_sum,
        }
    }

    /// The score; NaN where no row was finite.
    pub(crate) fn score(self, sums: &HeadSums) -> f64 {
        match sums.finite_rows() {
            rows if rows > 0 => self.sum(sums) / rows as f64,
            _ => f64::NAN,
        }
    }
}
