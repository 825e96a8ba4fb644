//! Pure functions of one or two distributions of scores.

use serde::Serialize;

use crate::metrics::Metric;

/// The two thresholds above which heads are counted.
pub const THRESHOLDS: [f64; 2] = [0.5, 0.9];

/// What is said of one distribution. The order is that of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Statistic {
    /// Arithmetic mean.
    #[serde(rename = "mean")]
    Mean,
    /// The 0.5 quantile.
    #[serde(rename = "median")]
    Median,
    /// The 0.05 quantile.
    #[serde(rename = "quantile_0.05")]
    Quantile05,
    /// The 0.25 quantile.
    #[serde(rename = "quantile_0.25")]
    Quantile25,
    /// The 0.75 quantile.
    #[serde(rename = "quantile_0.75")]
    Quantile75,
    /// The 0.95 quantile.
    #[serde(rename = "quantile_0.95")]
    Quantile95,
    /// Share of heads above 0.5; only of metrics that are shares or weights.
    #[serde(rename = "share_above_0.5")]
    ShareAbove05,
    /// Share of heads above 0.9; only of metrics that are shares or weights.
    #[serde(rename = "share_above_0.9")]
    ShareAbove09,
}

impl Statistic {
    /// All that apply to a metric, in the order of tables.
    pub fn of_metric(metric: Metric) -> &'static [Statistic] {
        const ALL: [Statistic; 8] = [
            Statistic::Mean,
            Statistic::Median,
            Statistic::Quantile05,
            Statistic::Quantile25,
            Statistic::Quantile75,
            Statistic::Quantile95,
            Statistic::ShareAbove05,
            Statistic::ShareAbove09,
        ];
        match metric.has_thresholds() {
            true => &ALL,
            false => &ALL[..6],
        }
    }

    /// As it is called in files.
    pub fn name(self) -> &'static str {
        match self {
            Statistic::Mean => "mean",
            Statistic::Median => "median",
            Statistic::Quantile05 => "quantile_0.05",
            Statistic::Quantile25 => "quantile_0.25",
            Statistic::Quantile75 => "quantile_0.75",
            Statistic::Quantile95 => "quantile_0.95",
            Statistic::ShareAbove05 => "share_above_0.5",
            Statistic::ShareAbove09 => "share_above_0.9",
        }
    }

    /// Its value for ascending, finite scores; NaN for none.
    pub(super) fn value(self, sorted: &[f64]) -> f64 {
        match self {
            Statistic::Mean => sorted.iter().sum::<f64>() / sorted.len() as f64,
            Statistic::Median => quantile(sorted, 0.5),
            Statistic::Quantile05 => quantile(sorted, 0.05),
            Statistic::Quantile25 => quantile(sorted, 0.25),
            Statistic::Quantile75 => quantile(sorted, 0.75),
            Statistic::Quantile95 => quantile(sorted, 0.95),
            Statistic::ShareAbove05 => share_above(sorted, THRESHOLDS[0]),
            Statistic::ShareAbove09 => share_above(sorted, THRESHOLDS[1]),
        }
    }
}

/// The quantile of ascending values, linear between neighbours: NumPy's default, type 7 of Hyndman and Fan
/// (1996). NaN for no values.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

fn share_above(sorted: &[f64], threshold: f64) -> f64 {
    let above = sorted.len() - sorted.partition_point(|&score| score <= threshold);
    above as f64 / sorted.len() as f64
}

/// How far two distributions are apart. The order is that of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Mean of the scan less mean of the reference.
    MeanDifference,
    /// Wasserstein-1 distance, `scipy.stats.wasserstein_distance`: the area between the two distribution
    /// functions, in units of the metric.
    Wasserstein,
    /// Kolmogorov–Smirnov statistic D, `scipy.stats.ks_2samp`: the largest vertical distance of the two
    /// distribution functions.
    KolmogorovSmirnov,
}

impl Distance {
    /// All, in the order of tables.
    pub const ALL: [Distance; 3] = [
        Distance::MeanDifference,
        Distance::Wasserstein,
        Distance::KolmogorovSmirnov,
    ];

    /// As it is called in files.
    pub fn name(self) -> &'static str {
        match self {
            Distance::MeanDifference => "mean_difference",
            Distance::Wasserstein => "wasserstein",
            Distance::KolmogorovSmirnov => "kolmogorov_smirnov",
        }
    }
}

/// The [`Distance::ALL`] of two distributions, from their `pooled` scores in ascending order, each with
/// whether it is of the reference (which has `n_reference` scores, the other `n_other`). NaN where one has none.
pub(super) fn distances(
    pooled: impl Iterator<Item = (f64, bool)>,
    n_reference: usize,
    n_other: usize,
) -> [f64; 3] {
    if n_reference == 0 || n_other == 0 {
        return [f64::NAN; 3];
    }
    let (n_reference, n_other) = (n_reference as f64, n_other as f64);
    let (mut seen_reference, mut seen_other) = (0.0, 0.0);
    let (mut sum_reference, mut sum_other) = (0.0, 0.0);
    let (mut area, mut largest) = (0.0, 0.0f64);
    let mut previous = f64::NEG_INFINITY;
    for (score, is_reference) in pooled {
        // The distribution functions are constant between two different scores.
        if score > previous && previous.is_finite() {
            let height = f64::abs(seen_reference / n_reference - seen_other / n_other);
            area += height * (score - previous);
            largest = largest.max(height);
        }
        previous = score;
        if is_reference {
            seen_reference += 1.0;
            sum_reference += score;
        } else {
            seen_other += 1.0;
            sum_other += score;
        }
    }
    [
        sum_other / n_other - sum_reference / n_reference,
        area,
        largest,
    ]
}

/// Two ascending lists as one, each score with whether it is of the first.
pub(super) fn merged<'a>(
    reference: &'a [f64],
    other: &'a [f64],
) -> impl Iterator<Item = (f64, bool)> + use<'a> {
    let (mut i, mut j) = (0, 0);
    std::iter::from_fn(move || match (reference.get(i), other.get(j)) {
        (Some(&a), Some(&b)) if a <= b => {
            i += 1;
            Some((a, true))
        }
        (Some(&a), None) => {
            i += 1;
            Some((a, true))
        }
        (_, Some(&b)) => {
            j += 1;
            Some((b, false))
        }
        (None, None) => None,
    })
}
