//! All scores of a head.

use serde::Serialize;

use super::{Extra, HeadSums, Measures};

/// A score of a head: one of its sums, divided by what it is a sum of.
///
/// The first five are of every scan, the others of those that were asked for them ([`Measures`]). A *share* is a
/// weight divided by the total of its row (plus [`super::TOTAL_EPSILON`]); means are over finite rows.
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
    /// Mean of exp(entropy): to how many tokens a row would attend if it attended to all of them alike (the
    /// perplexity of the row; Hill's number of order 1).
    EffectiveSupport,
    /// Share of the samples in which token k receives, on average over the rows from k on, a share above ε: the head
    /// is a sink there. Gu et al., "When Attention Sink Emerges in Language Models" (arXiv 2410.10781):
    /// α_k = Σ_{i ≥ k} A_{i,k} / (T − k + 1) and 𝕀(α_k > ε), with ε = 0.3 and k = 1 (the first token); the mean over
    /// all heads is their Sink_k^ε. Shares, not weights, are taken here, so that it means the same for sigmoid.
    SinkRate,
    /// Mean of the k largest weights' share of the row.
    TopKShare,
    /// Mean of the share on the query's own position.
    DiagonalShare,
    /// Share of all weights that are below 0.001, as they are, not divided by the total (the paper's fork of axlearn
    /// records the same). A causal row of query `i` has `i + 1` weights; what is masked does not count.
    SmallWeightShare,
    /// The same, above 0.1.
    LargeWeightShare,
}

impl Metric {
    /// All, in the order of tables.
    pub const ALL: [Metric; 11] = [
        Metric::SparsityScore,
        Metric::MaxWeight,
        Metric::FirstTokenShare,
        Metric::Entropy,
        Metric::TotalWeight,
        Metric::EffectiveSupport,
        Metric::SinkRate,
        Metric::TopKShare,
        Metric::DiagonalShare,
        Metric::SmallWeightShare,
        Metric::LargeWeightShare,
    ];

    /// Those that every scan has, in the order of `heads.parquet`.
    pub const BASE: [Metric; 5] = [
        Metric::SparsityScore,
        Metric::FirstTokenShare,
        Metric::MaxWeight,
        Metric::TotalWeight,
        Metric::Entropy,
    ];

    /// Those that a scan of these measures has, in the order of tables.
    pub fn of(measures: &Measures) -> Vec<Metric> {
        Self::ALL
            .into_iter()
            .filter(|metric| metric.is_measured(measures))
            .collect()
    }

    /// The column of `heads.parquet`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::SparsityScore => "sparsity_score",
            Metric::MaxWeight => "max_weight",
            Metric::FirstTokenShare => "first_token_share",
            Metric::Entropy => "entropy",
            Metric::TotalWeight => "total_weight",
            Metric::EffectiveSupport => "effective_support",
            Metric::SinkRate => "sink_rate",
            Metric::TopKShare => "top_k_share",
            Metric::DiagonalShare => "diagonal_share",
            Metric::SmallWeightShare => "small_weight_share",
            Metric::LargeWeightShare => "large_weight_share",
        }
    }

    /// What it is, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Metric::SparsityScore => {
                "sparsity score: mean of max / total (the paper's Appendix E.2)"
            }
            Metric::MaxWeight => {
                "max weight: mean of max, undivided (what the paper's Figure 7 plots)"
            }
            Metric::FirstTokenShare => "first-token share: mean of first / total",
            Metric::Entropy => "entropy: of the row divided by its total, nats",
            Metric::TotalWeight => "total weight: mean of the row total",
            Metric::EffectiveSupport => "effective support: mean of exp(entropy), tokens",
            Metric::SinkRate => {
                "sink rate: share of samples with a mean share above ε on token k (Gu et al.)"
            }
            Metric::TopKShare => "top-k share: mean share of the k largest weights",
            Metric::DiagonalShare => "diagonal share: mean share on the query's own position",
            Metric::SmallWeightShare => "small weights: share of all weights below 0.001",
            Metric::LargeWeightShare => "large weights: share of all weights above 0.1",
        }
    }

    /// The parameters that a scan of these measures has measured it with, as ` (ε 0.3, k 1)`; empty if it has none.
    pub fn parameters(self, measures: &Measures) -> String {
        match (self, measures.sink_rate, measures.top_k_share) {
            (Metric::SinkRate, Some(sink), _) => format!(" (ε {}, k {})", sink.epsilon, sink.k),
            (Metric::TopKShare, _, Some(top)) => format!(" (k {})", top.k),
            _ => String::new(),
        }
    }

    /// Whether the metric lies between 0 and 1, so that heads above a threshold can be counted.
    pub fn has_thresholds(self) -> bool {
        !matches!(
            self,
            Metric::Entropy | Metric::TotalWeight | Metric::EffectiveSupport
        )
    }

    /// Whether a scan of these measures has it.
    pub fn is_measured(self, measures: &Measures) -> bool {
        self.extra().is_none_or(|extra| extra.is_measured(measures))
    }

    /// Whether two scans that have it have measured the same: with the same parameters.
    pub fn is_measured_alike(self, one: &Measures, other: &Measures) -> bool {
        match self {
            Metric::SinkRate => one.sink_rate == other.sink_rate,
            Metric::TopKShare => one.top_k_share == other.top_k_share,
            _ => true,
        }
    }

    /// The name in `--metrics` that makes a scan measure it; none for what every scan measures.
    pub fn asked_for_as(self) -> Option<&'static str> {
        match self {
            Metric::SmallWeightShare | Metric::LargeWeightShare => Some("weight_shares"),
            _ => self.extra().map(|_| self.name()),
        }
    }

    /// The sum beyond the five of every scan that it is made of.
    fn extra(self) -> Option<Extra> {
        match self {
            Metric::SparsityScore
            | Metric::MaxWeight
            | Metric::FirstTokenShare
            | Metric::Entropy
            | Metric::TotalWeight => None,
            Metric::EffectiveSupport => Some(Extra::EffectiveSupportSum),
            Metric::SinkRate => Some(Extra::SinkSamples),
            Metric::TopKShare => Some(Extra::TopKShareSum),
            Metric::DiagonalShare => Some(Extra::DiagonalShareSum),
            Metric::SmallWeightShare => Some(Extra::SmallWeights),
            Metric::LargeWeightShare => Some(Extra::LargeWeights),
        }
    }

    /// The sum that the score is made of.
    pub fn sum(self, sums: &HeadSums) -> f64 {
        match (self, self.extra()) {
            (_, Some(extra)) => sums.extras[extra],
            (Metric::MaxWeight, _) => sums.max_weight_sum,
            (Metric::FirstTokenShare, _) => sums.first_share_sum,
            (Metric::Entropy, _) => sums.entropy_sum,
            (Metric::TotalWeight, _) => sums.total_weight_sum,
            _ => sums.max_share_sum,
        }
    }

    /// What the sum is divided by.
    pub fn unit(self) -> Unit {
        match self {
            Metric::SinkRate => Unit::Samples,
            Metric::SmallWeightShare | Metric::LargeWeightShare => Unit::Weights,
            _ => Unit::Rows,
        }
    }

    /// The score; NaN where there is nothing to divide by.
    pub fn score(self, sums: &HeadSums) -> f64 {
        match self.unit().count(sums) {
            count if count > 0.0 => self.sum(sums) / count,
            _ => f64::NAN,
        }
    }
}

/// What a score is a mean over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Finite rows.
    Rows,
    /// Weights of finite rows.
    Weights,
    /// Samples in which the sink could be measured.
    Samples,
}

impl Unit {
    /// How many of them there were.
    pub fn count(self, sums: &HeadSums) -> f64 {
        match self {
            Unit::Rows => sums.finite_rows() as f64,
            Unit::Weights => sums.extras[Extra::Weights],
            Unit::Samples => sums.extras[Extra::SinkMeasuredSamples],
        }
    }
}
