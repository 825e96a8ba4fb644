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
