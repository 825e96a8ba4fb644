//! What a comparison says, in the shape of `comparison.json`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::Measures;

use super::{Deals, Difference, Distance, Metric, Statistic};

/// What came of it; serialised, it is `comparison.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Version of attnscope that computed the numbers.
    pub attnscope_version: String,
    /// Label of the scan that the others are compared with.
    pub reference: String,
    /// Seed of the permutations and the resamples.
    pub seed: u64,
    /// Permutations that were asked for.
    pub permutations: u64,
    /// Resamples of the texts.
    pub resamples: u64,
    /// In what the scans did not measure the same thing; empty unless that was forced.
    pub differences: Vec<Difference>,
    /// What a reader should know.
    pub remarks: Vec<String>,
    /// Every scan by itself, the reference first.
    pub scans: Vec<ScanSummary>,
    /// Every scan but the reference, held against it.
    pub comparisons: Vec<ScanComparison>,
}

/// One scan by itself.
#[derive(Debug, Clone, Serialize)]
pub struct ScanSummary {
    /// The model's name; with the path where several scans have the same.
    pub label: String,
    /// As given.
    pub path: String,
    /// The model's name, Hub repository, resolved commit and weights, the element type and the attention function,
    /// as far as known.
    pub model: ModelFacts,
    /// What is known of the run: dataset, draw, lengths, as in the footers of its tables.
    pub facts: BTreeMap<String, String>,
    /// What was measured beyond the statistics of every scan.
    pub measures: Measures,
    /// Layers × heads in words.
    pub shape: String,
    /// Number of layers.
    pub layers: usize,
    /// Heads that have scores.
    pub heads: usize,
    /// Heads without a finite row; they enter no statistic.
    pub left_out: Vec<HeadName>,
    /// Heads with a first-token share above [`super::SINK`].
    pub sink_heads: usize,
    /// Texts.
    pub samples: i64,
    /// Tokens of these texts.
    pub tokens: i64,
    /// Attention rows that are not finite, over all heads.
    pub non_finite_rows: i64,
    /// The distribution of each metric over the heads.
    pub metrics: BTreeMap<Metric, BTreeMap<Statistic, Estimate>>,
}

/// Which model a scan is of; `None` is unknown or does not apply.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ModelFacts {
    /// As given to the scan.
    pub name: Option<String>,
    /// Hub repository.
    pub repo: Option<String>,
    /// Resolved commit.
    pub revision: Option<String>,
    /// Identifies the weights.
    pub weights_fingerprint: Option<String>,
    /// Element type.
    pub dtype: Option<String>,
    /// `attention_function` of the model's configuration.
    pub attention_function: Option<String>,
}

/// A head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeadName {
    /// Layer, from 0.
    pub layer: i32,
    /// Head within the layer, from 0.
    pub head: i32,
}

/// A number, and the 95 % interval from resampling the texts (`None` without samples or resamples).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// For the texts as they are.
    pub value: f64,
    /// 2.5 % quantile over the resamples.
    pub low: Option<f64>,
    /// 97.5 % quantile over the resamples.
    pub high: Option<f64>,
}

/// A scan held against the reference.
#[derive(Debug, Clone, Serialize)]
pub struct ScanComparison {
    /// The scan's label.
    pub scan: String,
    /// The reference's.
    pub reference: String,
    /// Whether both scans saw the same texts; `None` if nothing says so.
    pub same_texts: Option<bool>,
    /// How the p-values over all heads came about.
    pub permutations: Option<Deals>,
    /// The same within layers; `None` where the numbers of layers differ.
    pub permutations_within_layers: Option<Deals>,
    /// The distances of each metric.
    pub metrics: BTreeMap<Metric, BTreeMap<Distance, DistanceEstimate>>,
}

/// A distance with its interval and its p-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DistanceEstimate {
    /// The distance and its interval.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Permutation p-value, labels permuted over all heads.
    pub p_value: Option<f64>,
    /// Permutation p-value, labels permuted within each layer.
    pub p_value_within_layers: Option<f64>,
}
