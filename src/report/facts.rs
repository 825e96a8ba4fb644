//! What a report's page is told, in the shape of its JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::samples::SampleFacts;
use crate::compare::{Comparison, Metric, Scan};
use crate::metrics::Measures;
use crate::page::Array;

/// Everything that the page shows.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The metrics that any scan has, in the order of tables. What some scans have not is not compared.
    pub metrics: Vec<MetricFacts>,
    /// A head whose first-token share is above this is a sink.
    pub sink: f64,
    /// Bins of the samples' histograms.
    pub bins: usize,
    /// Which quantiles of the samples there are.
    pub quantiles: Vec<f64>,
    /// The scans, in the order of the comparison's.
    pub scans: Vec<ScanFacts>,
    /// As in `comparison.json`.
    pub comparison: Comparison,
}

/// What a metric is.
#[derive(Debug, Clone, Serialize)]
pub struct MetricFacts {
    /// The column of `heads.parquet`.
    pub name: &'static str,
    /// In words.
    pub label: &'static str,
    /// What it is the mean of.
    pub definition: String,
    /// Whether it lies between 0 and 1.
    pub is_share: bool,
}

/// What is known of one scan beyond what the comparison says.
#[derive(Debug, Clone, Serialize)]
pub struct ScanFacts {
    /// The facts of the tables' footers, without their prefix, and some of the manifest's.
    pub facts: BTreeMap<String, String>,
    /// The heads.
    pub heads: Heads,
    /// What is known of the samples; `None` where only heads were kept.
    pub samples: Option<SampleFacts>,
}

/// The heads of a scan, in the order of layers and heads, as columns.
#[derive(Debug, Clone, Serialize)]
pub struct Heads {
    /// Layer, from 0; int32.
    pub layer: Array,
    /// Head within the layer, from 0; int32.
    pub head: Array,
    /// Attention rows that are not finite; float64.
    pub non_finite_rows: Array,
    /// The scores of each metric; float64, NaN where no row was finite.
    pub scores: BTreeMap<&'static str, Array>,
}

impl MetricFacts {
    pub(super) fn of(metric: Metric, measures: &Measures) -> Self {
        let description = metric.description();
        let (label, definition) = match description.split_once(": ") {
            Some(parts) => parts,
            None => (description, ""),
        };
        Self {
            name: metric.name(),
            label,
            definition: format!("{definition}{}", metric.parameters(measures)),
            is_share: metric.has_thresholds(),
        }
    }
}

impl ScanFacts {
    /// `is_shown` tells which metrics the page has, by name.
    pub(super) fn of(scan: Scan, is_shown: &dyn Fn(&str) -> bool) -> Self {
        let rows = &scan.heads;
        let i32s = |of: fn(&crate::store::HeadRow) -> i32| -> Array {
            Array::new(&rows.iter().map(of).collect::<Vec<_>>())
        };
        let mut metrics = Metric::of(&scan.measures);
        metrics.retain(|metric| is_shown(metric.name()));
        let scores = metrics.iter().map(|metric| {
            let scores: Vec<f64> = rows.iter().map(|row| metric.score(&row.sums)).collect();
            (metric.name(), Array::new(&scores))
        });
        let non_finite = rows.iter().map(|row| row.sums.non_finite_rows as f64);
        let heads = Heads {
            layer: i32s(|row| row.layer),
            head: i32s(|row| row.head),
            non_finite_rows: Array::new(&non_finite.collect::<Vec<f64>>()),
            scores: scores.collect(),
        };
        let mut facts = scan.facts;
        if let Some(run) = &scan.run {
            for (name, value) in [
                ("executor", &run.executor),
                ("started_at", &run.started_at),
                ("finished_at", &run.finished_at),
            ] {
                facts.insert(name.into(), value.clone());
            }
        }
        Self {
            facts,
            heads,
            samples: scan.samples.map(|sums| SampleFacts::of(sums, &metrics)),
        }
    }
}
