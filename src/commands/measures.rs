//! Flags that say what a scan measures beyond the statistics of every scan.

use std::num::NonZeroUsize;

use crate::{
    Error, Result,
    metrics::{LagWindow, Measure, Measures, SinkRate, TopK},
};

/// `--metrics`, and the parameters of what it names.
#[derive(Debug, clap::Args)]
pub struct MeasureArgs {
    /// What more to measure, separated by commas: columns of samples.parquet and heads.parquet, and the tables
    /// lags.parquet and activations.parquet
    #[arg(
        long,
        env = "ATTNSCOPE_METRICS",
        value_delimiter = ',',
        value_name = "NAME,…"
    )]
    metrics: Vec<Measure>,

    /// sink_rate: a sample counts where token k receives more than this share on average (Gu et al.'s ε)
    #[arg(long, env = "ATTNSCOPE_SINK_EPSILON", default_value_t = 0.3)]
    sink_epsilon: f64,

    /// sink_rate: which token, 1 is the first (Gu et al.'s k)
    #[arg(long, env = "ATTNSCOPE_SINK_K", default_value = "1")]
    sink_k: NonZeroUsize,

    /// top_k_share: how many of a row's largest weights are added up
    #[arg(long, env = "ATTNSCOPE_TOP_K", default_value = "8")]
    top_k: NonZeroUsize,

    /// lags: the slope is fitted from this lag …
    #[arg(long, env = "ATTNSCOPE_LAG_MIN", default_value = "1")]
    lag_min: NonZeroUsize,

    /// lags: … to this one
    #[arg(long, env = "ATTNSCOPE_LAG_MAX", default_value = "128")]
    lag_max: NonZeroUsize,
}

impl MeasureArgs {
    /// What was asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] for a share outside [0, 1) and for an empty window.
    pub fn measures(&self) -> Result<Measures> {
        let wants = |measure: Measure| {
            self.metrics
                .iter()
                .any(|&m| m == measure || m == Measure::All)
        };
        if !(0.0..1.0).contains(&self.sink_epsilon) {
            return Err(Error::Usage(format!(
                "--sink-epsilon {}: a share from 0 up to, but not, 1 is needed",
                self.sink_epsilon
            )));
        }
        if self.lag_max.get() - self.lag_max.get().min(self.lag_min.get()) < 2 {
            return Err(Error::Usage(format!(
                "--lag-min {} --lag-max {}: a line needs a window of three lags at least",
                self.lag_min, self.lag_max
            )));
        }
        Ok(Measures {
            effective_support: wants(Measure::EffectiveSupport),
            sink_rate: wants(Measure::SinkRate).then_some(SinkRate {
                epsilon: self.sink_epsilon,
                k: self.sink_k,
            }),
            top_k_share: wants(Measure::TopKShare).then_some(TopK { k: self.top_k }),
            diagonal_share: wants(Measure::DiagonalShare),
            weight_shares: wants(Measure::WeightShares),
            lags: wants(Measure::Lags).then_some(LagWindow {
                min: self.lag_min,
                max: self.lag_max,
            }),
            activations: wants(Measure::Activations),
        })
    }
}
