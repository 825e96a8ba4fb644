//! What a scan is asked to measure beyond the statistics of every scan.

use std::fmt;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

/// Names of what can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Measure {
    /// exp(entropy) of the rows.
    EffectiveSupport,
    /// Samples in which a token receives more than ε.
    SinkRate,
    /// Share of the k largest weights.
    TopKShare,
    /// Share on the query's own position.
    DiagonalShare,
    /// Weights below 0.001 and above 0.1.
    WeightShares,
    /// Attention by distance, lags.parquet.
    Lags,
    /// Magnitudes of the hidden states, activations.parquet.
    Activations,
    /// All of these.
    All,
}

/// What a scan measures beyond the five statistics of every scan; nothing by default.
///
/// As JSON it stands in `run.json` and, where it is not empty, in the footers of the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measures {
    /// [`super::Metric::EffectiveSupport`].
    pub effective_support: bool,
    /// [`super::Metric::SinkRate`].
    pub sink_rate: Option<SinkRate>,
    /// [`super::Metric::TopKShare`].
    pub top_k_share: Option<TopK>,
    /// [`super::Metric::DiagonalShare`].
    pub diagonal_share: bool,
    /// [`super::Metric::SmallWeightShare`] and [`super::Metric::LargeWeightShare`].
    pub weight_shares: bool,
    /// [`super::LagSums`]: `lags.parquet`, and the slope over this window.
    pub lags: Option<LagWindow>,
    /// [`super::Magnitudes`]: `activations.parquet`.
    pub activations: bool,
}

/// ε and k of Gu et al.'s sink rate (arXiv 2410.10781).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SinkRate {
    /// A sample counts where the token's mean share is above this.
    pub epsilon: f64,
    /// Which token, counted from 1 as they count: 1 is the first.
    pub k: NonZeroUsize,
}

/// How many of the largest weights are added up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// That many.
    pub k: NonZeroUsize,
}

/// The lags that the slope of attention by distance is fitted to, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LagWindow {
    /// The smallest; at least 1, as 0 has no logarithm.
    pub min: NonZeroUsize,
    /// The largest.
    pub max: NonZeroUsize,
}

impl Measures {
    /// Whether nothing is measured beyond the five statistics.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the weights themselves must be seen, not only the statistics of their rows.
    pub fn needs_weights(&self) -> bool {
        self.top_k_share.is_some()
            || self.diagonal_share
            || self.weight_shares
            || self.lags.is_some()
            || self.sink_rate.is_some_and(|sink| sink.k.get() > 1)
    }
}

impl fmt::Display for Measures {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(self) {
            Ok(text) => f.write_str(&text),
            Err(_) => Err(fmt::Error),
        }
    }
}
