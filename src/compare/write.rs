//! `comparison.parquet` and `comparison.json`.
//!
//! The table is tidy, a row per number: `scan`, `reference` (null for what is said of a scan by itself), `metric`,
//! `statistic`, `value`, `low` and `high` (the 95 % interval), `p_value`, `p_value_within_layers`; null where
//! there is none. Statistics are those of [`Statistic`] and [`Distance`], and the numbers `heads` and, of the
//! first-token share, `sink_heads`. Seed, permutations, resamples, version, differences (if it was
//! forced) and remarks are in the footer.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::{Comparison, Estimate, Metric};
#[cfg(doc)]
use super::{Distance, Statistic};
use crate::store::{self, AtomicFile, Provenance, TableWriter, parquet_error};
use crate::{Error, Result};

/// The two files; the second is written last.
const FILES: [&str; 2] = ["comparison.parquet", "comparison.json"];

/// Fails if `out` holds a comparison already: nothing is overwritten.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub fn refuse_occupied(out: &Path) -> Result<()> {
    store::refuse_existing(out, FILES.iter().map(|name| out.join(name)), "comparison")
}

/// Writes both files into `out`, which is created if need be. Both are complete before either gets its name.
///
/// # Errors
/// What [`refuse_occupied`] refuses, and what the disk does.
pub fn write(comparison: &Comparison, out: &Path) -> Result<()> {
    refuse_occupied(out)?;
    store::create_directory(out)?;
    let [table, json] = FILES.map(|name| out.join(name));
    let (schema, batch) = rows(comparison).map_err(|error| parquet_error(&table, error.into()))?;
    let footer = Provenance::from([
        (
            "attnscope.version".into(),
            comparison.attnscope_version.clone(),
        ),
        ("attnscope.reference".into(), comparison.reference.clone()),
        ("attnscope.seed".into(), comparison.seed.to_string()),
        (
            "attnscope.permutations".into(),
            comparison.permutations.to_string(),
        ),
        (
            "attnscope.resamples".into(),
            comparison.resamples.to_string(),
        ),
        (
            "attnscope.differences".into(),
            as_json(&json, &comparison.differences)?,
        ),
        (
            "attnscope.remarks".into(),
            as_json(&json, &comparison.remarks)?,
        ),
    ]);
    let mut writer = TableWriter::create(&table, &schema, &[], &footer)?;
    writer.write_row_group(&batch)?;
    let mut text = serde_json::to_vec_pretty(comparison)
        .map_err(|error| Error::io(&json)(io::Error::other(error)))?;
    text.push(b'\n');
    let mut file = AtomicFile::create(&json)?;
    file.write_all(&text).map_err(Error::io(&json))?;
    writer.commit()?;
    file.commit()
}

fn as_json(path: &Path, value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::io(path)(io::Error::other(error)))
}

/// A row of the table.
struct Row<'a> {
    scan: &'a str,
    reference: Option<&'a str>,
    metric: Metric,
    statistic: &'a str,
    estimate: Estimate,
    p_values: [Option<f64>; 2],
}

fn rows(comparison: &Comparison) -> Result<(Arc<Schema>, RecordBatch), arrow_schema::ArrowError> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for scan in &comparison.scans {
        for (&metric, statistics) in &scan.metrics {
            let mut push = |statistic, estimate| {
                rows.push(Row {
                    scan: &scan.label,
                    reference: None,
                    metric,
                    statistic,
                    estimate,
                    p_values: [None; 2],
                });
            };
            let count = |n: usize| Estimate {
                value: n as f64,
                low: None,
                high: None,
            };
            push("heads", count(scan.heads));
            for (statistic, &estimate) in statistics {
                push(statistic.name(), estimate);
            }
            if metric == Metric::FirstTokenShare {
                push("sink_heads", count(scan.sink_heads));
            }
        }
    }
    for pair in &comparison.comparisons {
        for (&metric, distances) in &pair.metrics {
            rows.extend(distances.iter().map(|(distance, found)| Row {
                scan: &pair.scan,
                reference: Some(&pair.reference),
                metric,
                statistic: distance.name(),
                estimate: found.estimate,
                p_values: [found.p_value, found.p_value_within_layers],
            }));
        }
    }
    let field = |name: &str, data_type: &DataType, nullable: bool| {
        Field::new(name, data_type.clone(), nullable)
    };
    let (text, number) = (DataType::Utf8, DataType::Float64);
    let schema = Arc::new(Schema::new(vec![
        field("scan", &text, false),
        field("reference", &text, true),
        field("metric", &text, false),
        field("statistic", &text, false),
        field("value", &number, false),
        field("low", &number, true),
        field("high", &number, true),
        field("p_value", &number, true),
        field("p_value_within_layers", &number, true),
    ]));
    let texts = |of: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let numbers = |of: &dyn Fn(&Row<'_>) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float64Array>())
    };
    let columns = vec![
        texts(&|row| Some(row.scan.into())),
        texts(&|row| row.reference.map(Into::into)),
        texts(&|row| Some(row.metric.name().into())),
        texts(&|row| Some(row.statistic.into())),
        numbers(&|row| Some(row.estimate.value)),
        numbers(&|row| row.estimate.low),
        numbers(&|row| row.estimate.high),
        numbers(&|row| row.p_values[0]),
        numbers(&|row| row.p_values[1]),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok((schema, batch))
}
