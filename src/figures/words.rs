//! How metrics are called on axes and in titles.

use crate::compare::Metric;

/// What an axis measures, with its unit where it has one.
pub(super) fn axis_title(metric: Metric) -> &'static str {
    match metric {
        Metric::SparsityScore => "sparsity score (mean of max / total)",
        Metric::MaxWeight => "max weight (mean of max, undivided)",
        Metric::FirstTokenShare => "first-token share (mean of first / total)",
        Metric::Entropy => "entropy of a row (mean, nats)",
        Metric::TotalWeight => "total weight of a row (mean)",
        Metric::EffectiveSupport => "effective support (mean of exp(entropy), tokens)",
        Metric::SinkRate => "sink rate (share of samples)",
        Metric::TopKShare => "top-k share (mean)",
        Metric::DiagonalShare => "diagonal share (mean)",
        Metric::SmallWeightShare => "share of weights below 0.001",
        Metric::LargeWeightShare => "share of weights above 0.1",
    }
}

/// What a title begins with.
pub(super) fn subject(metric: Metric) -> &'static str {
    match metric {
        Metric::SparsityScore => "Sparsity score",
        Metric::MaxWeight => "Max weight",
        Metric::FirstTokenShare => "First-token share",
        Metric::Entropy => "Entropy",
        Metric::TotalWeight => "Total weight",
        Metric::EffectiveSupport => "Effective support",
        Metric::SinkRate => "Sink rate",
        Metric::TopKShare => "Top-k share",
        Metric::DiagonalShare => "Diagonal share",
        Metric::SmallWeightShare => "Small weights",
        Metric::LargeWeightShare => "Large weights",
    }
}

/// How a title goes on: what is averaged over a head's rows.
pub(super) fn definition(metric: Metric) -> &'static str {
    match metric {
        Metric::SparsityScore => "mean of max / total",
        Metric::MaxWeight => "mean of max, undivided",
        Metric::FirstTokenShare => "mean of first / total",
        Metric::Entropy => "mean over rows, each divided by its total",
        Metric::TotalWeight => "mean of the row total",
        Metric::EffectiveSupport => "mean of exp(entropy)",
        Metric::SinkRate => "samples with a mean share above ε on token k",
        Metric::TopKShare => "mean share of the k largest weights",
        Metric::DiagonalShare => "mean share on the query's own position",
        Metric::SmallWeightShare => "share of all weights below 0.001",
        Metric::LargeWeightShare => "share of all weights above 0.1",
    }
}

/// What a colour bar measures, with its unit where it has one.
pub(super) fn short_title(metric: Metric) -> &'static str {
    match metric {
        Metric::SparsityScore => "sparsity score",
        Metric::MaxWeight => "max weight",
        Metric::FirstTokenShare => "first-token share",
        Metric::Entropy => "entropy (nats)",
        Metric::TotalWeight => "total weight",
        Metric::EffectiveSupport => "effective support (tokens)",
        Metric::SinkRate => "sink rate",
        Metric::TopKShare => "top-k share",
        Metric::DiagonalShare => "diagonal share",
        Metric::SmallWeightShare => "small weights",
        Metric::LargeWeightShare => "large weights",
    }
}

/// `1 head`, `24 heads`, with a space at which no line is broken.
pub(super) fn heads(count: usize) -> String {
    counted(count, "head")
}

/// `1 sink`, `24 sinks`.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count}\u{a0}{what}{plural}")
}
