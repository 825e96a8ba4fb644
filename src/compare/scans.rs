//! A scan as a comparison sees it: its heads, its samples if they are there, and what is known of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::metrics::{HeadSums, Measures, Metric, Unit};
use crate::store::{self, HeadRow, Provenance, RunManifest, SampleRow, TableKind};
use crate::{Error, Result};

/// One of the scans that are compared.
pub(crate) struct Scan {
    pub(crate) path: PathBuf,
    pub(crate) run: Option<RunManifest>,
    /// What is known of the run, by the names of the footers without their prefix.
    pub(crate) facts: BTreeMap<String, String>,
    /// What was measured beyond the statistics of every scan, as far as its facts say.
    pub(crate) measures: Measures,
    /// Sorted by (layer, head).
    pub(crate) heads: Vec<HeadRow>,
    /// Absent where only heads were kept.
    pub(crate) samples: Option<SampleSums>,
}

/// The sums of every sample.
#[derive(Default)]
pub(crate) struct SampleSums {
    /// Row numbers in the dataset, ascending.
    pub(crate) samples: Vec<i64>,
    pub(crate) layers: Vec<LayerSums>,
}

/// The sums of one layer: matrices of (samples × heads), row-major.
pub(crate) struct LayerSums {
    pub(crate) heads: usize,
    /// What scores are means over.
    pub(crate) counts: BTreeMap<Unit, Vec<f64>>,
    /// The sums that scores are made of, of all metrics that were measured.
    pub(crate) sums: BTreeMap<Metric, Vec<f64>>,
}

impl Scan {
    /// Reads the scan at `path`: an output directory, or one parquet file. Where samples are there, the heads'
    /// scores come from them.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let tables = store::find_tables(path)?;
        let facts = facts(&tables.provenance, tables.run.as_ref());
        let measures = measures(path, &facts)?;
        let (heads, samples) = match tables.kind {
            TableKind::Heads => (store::read_complete_heads(&tables.path)?, None),
            TableKind::Samples => {
                let (mut heads, mut sums) = (Vec::new(), SampleSums::default());
                let metrics = Metric::of(&measures);
                store::read_layers(&tables.path, &mut |layer, rows| {
                    heads.extend(store::sum_heads(layer, &rows));
                    sums.add_layer(&rows, &metrics);
                    Ok(())
                })?;
                (heads, Some(sums))
            }
        };
        if heads.is_empty() {
            return Err(Error::Parquet {
                path: path.to_path_buf(),
                message: "holds no heads, so there is nothing to compare; name a scan with samples"
                    .into(),
            });
        }
        tables.check_totals(
            heads
                .first()
                .map_or((0, 0), |head| (head.samples, head.sums.tokens)),
        )?;
        Ok(Self {
            path: path.to_path_buf(),
            facts,
            measures,
            run: tables.run,
            heads,
            samples,
        })
    }

    /// What the run says under this name.
    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// The heads of each layer.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &[HeadRow]> {
        self.heads.chunk_by(|a, b| a.layer == b.layer)
    }

    /// Samples that entered the heads' sums.
    pub(crate) fn n_samples(&self) -> i64 {
        self.heads[0].samples
    }

    /// Tokens of these samples.
    pub(crate) fn n_tokens(&self) -> i64 {
        self.heads[0].sums.tokens
    }

    /// Attention rows that are not finite, over all heads.
    pub(crate) fn non_finite_rows(&self) -> i64 {
        self.heads
            .iter()
            .map(|head| head.sums.non_finite_rows)
            .sum()
    }
}

/// Whether a head has the scores that every scan has; others are left out of every distribution.
pub(super) fn has_scores(head: &HeadRow) -> bool {
    Metric::BASE
        .iter()
        .all(|metric| metric.score(&head.sums).is_finite())
}

fn facts(provenance: &Provenance, run: Option<&RunManifest>) -> BTreeMap<String, String> {
    let known = provenance.iter().filter_map(|(key, value)| {
        let key = key.strip_prefix("attnscope.")?;
        Some((key.to_owned(), value.clone()))
    });
    let mut facts: BTreeMap<String, String> = known.collect();
    if let Some(run) = run {
        facts.insert("dataset_rows".into(), run.dataset.rows.to_string());
        let tokens = run
            .fingerprint
            .as_ref()
            .and_then(|f| f.get("tokens_sha256"));
        if let Some(tokens) = tokens.and_then(serde_json::Value::as_str) {
            facts.insert("tokens_sha256".into(), tokens.into());
        }
    }
    facts
}

/// What the facts say of it.
fn measures(path: &Path, facts: &BTreeMap<String, String>) -> Result<Measures> {
    let Some(text) = facts.get("metrics") else {
        return Ok(Measures::default());
    };
    serde_json::from_str(text).map_err(|error| Error::Parquet {
        path: path.to_path_buf(),
        message: format!(
            "`attnscope.metrics` in the footer cannot be read ({error}); was it written by a newer attnscope?"
        ),
    })
}

impl SampleSums {
    /// Adds the next layer: its rows, sorted by (sample, head) and complete.
    fn add_layer(&mut self, rows: &[SampleRow], metrics: &[Metric]) {
        if self.layers.is_empty() {
            let samples = rows.chunk_by(|a, b| a.sample == b.sample);
            self.samples = samples.map(|rows| rows[0].sample).collect();
        }
        let column = |of: &dyn Fn(&HeadSums) -> f64| -> Vec<f64> {
            rows.iter().map(|row| of(&row.sums)).collect()
        };
        let units = metrics.iter().map(|metric| metric.unit());
        let units: BTreeSet<Unit> = units.collect();
        self.layers.push(LayerSums {
            heads: rows.len() / self.samples.len().max(1),
            counts: (units.into_iter())
                .map(|unit| (unit, column(&|sums| unit.count(sums))))
                .collect(),
            sums: (metrics.iter())
                .map(|&metric| (metric, column(&|sums| metric.sum(sums))))
                .collect(),
        });
    }
}
