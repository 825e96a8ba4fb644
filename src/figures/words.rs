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
        Metric::MaxWeight => "Max weight, undivided",
        Metric::FirstTokenShare => "First-token share",
        Metric::Entropy => "Entropy",
        Metric::TotalWeight => "Total weight",
    }
}

/// `1 head`, `24 heads`.
pub(super) fn heads(count: usize) -> String {
    match count {
        1 => "1 head".into(),
        count => format!("{count} heads"),
    }
}
