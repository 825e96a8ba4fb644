//! From rows in any order to the two tables of a finished run.

use std::path::Path;

use super::atomic::create_directory;
use super::directory::{heads_file_name, listing, samples_file_name};
use super::table::{self, TableWriter, damaged};
use super::{HeadRow, Provenance, SampleRow};
use crate::Result;
use crate::corpus::Shard;
use crate::metrics::HeadSums;

/// Writes `samples.parquet` and `heads.parquet` (or this shard's) in `dir` and returns the heads.
///
/// `layers` gives each layer's rows, from layer 0 up, in any order within the layer; each must hold all heads
/// of exactly the `samples` (ascending). Row groups are layers, sorted by (sample, head), and heads add up
/// their samples in that order, so that the result depends on nothing but the rows. `source` is what errors
/// in the rows are reported against.
pub(super) fn assemble(
    dir: &Path,
    shard: Option<Shard>,
    provenance: &Provenance,
    source: &Path,
    samples: &[i64],
    layers: impl Iterator<Item = Result<Vec<SampleRow>>>,
) -> Result<Vec<HeadRow>> {
    create_directory(dir)?;
    let samples_path = dir.join(samples_file_name(shard));
    let heads_path = dir.join(heads_file_name(shard));
    let mut samples_table = TableWriter::create(
        &samples_path,
        &table::SAMPLES,
        &["layer", "sample", "head"],
        provenance,
    )?;
    let mut heads = Vec::new();
    for (layer, rows) in (0..).zip(layers) {
        let mut rows = rows?;
        sort(&mut rows);
        let found = check_layer(layer, &rows).map_err(|message| damaged(source, message))?;
        check_samples(layer, samples, &found).map_err(|message| damaged(source, message))?;
        if !rows.is_empty() {
            samples_table.write_row_group(&table::samples_batch(&samples_path, &rows)?)?;
            heads.extend(sum_heads(layer, &rows));
        }
    }
    let mut heads_table =
        TableWriter::create(&heads_path, &table::HEADS, &["layer", "head"], provenance)?;
    if !heads.is_empty() {
        heads_table.write_row_group(&table::heads_batch(&heads_path, &heads)?)?;
    }
    // Both files are complete before either gets its name.
    samples_table.commit()?;
    heads_table.commit()?;
    Ok(heads)
}

/// The canonical order: layer, sample, head.
pub(super) fn sort(rows: &mut [SampleRow]) {
    rows.sort_by_key(|row| (row.layer, row.sample, row.head));
}

/// Checks that sorted `rows` are of one layer, with heads 0, 1, … of every sample exactly once and equally many
/// in each; returns the samples, ascending, or what is wrong.
pub(super) fn check_layer(layer: i32, rows: &[SampleRow]) -> Result<Vec<i64>, String> {
    if let Some(stray) = rows.iter().find(|row| row.layer != layer) {
        return Err(format!(
            "a row of layer {} (sample {}, head {}) stands where layer {layer} belongs",
            stray.layer, stray.sample, stray.head
        ));
    }
    let mut samples = Vec::new();
    let mut first: Option<(i64, usize)> = None;
    for group in rows.chunk_by(|a, b| a.sample == b.sample) {
        let sample = group[0].sample;
        for (expected, row) in (0..).zip(group) {
            if row.head < expected {
                return Err(format!(
                    "layer {layer}, sample {sample}: head {} occurs more than once",
                    row.head
                ));
            }
            if row.head > expected {
                return Err(format!(
                    "layer {layer}, sample {sample}: head {expected} is missing"
                ));
            }
        }
        let (first_sample, heads) = *first.get_or_insert((sample, group.len()));
        if group.len() != heads {
            return Err(format!(
                "layer {layer}: sample {sample} has {} heads, sample {first_sample} has {heads}",
                group.len()
            ));
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// Checks that `found` are the `expected` samples; both ascend.
pub(super) fn check_samples(layer: i32, expected: &[i64], found: &[i64]) -> Result<(), String> {
    let without = |these: &[i64], those: &[i64]| -> Vec<i64> {
        let missing = |sample: &&i64| those.binary_search(sample).is_err();
        these.iter().filter(missing).copied().collect()
    };
    let missing = without(expected, found);
    if !missing.is_empty() {
        return Err(format!(
            "layer {layer}: {} of {} samples have no rows: {}",
            missing.len(),
            expected.len(),
            listing(&missing)
        ));
    }
    let surplus = without(found, expected);
    if !surplus.is_empty() {
        return Err(format!(
            "layer {layer}: {} samples do not belong to this run: {}",
            surplus.len(),
            listing(&surplus)
        ));
    }
    Ok(())
}

/// The heads of one layer, from rows that are sorted, checked and not empty.
fn sum_heads(layer: i32, rows: &[SampleRow]) -> Vec<HeadRow> {
    let mut heads: Vec<HeadRow> = rows
        .iter()
        .take_while(|row| row.sample == rows[0].sample)
        .map(|row| HeadRow {
            layer,
            head: row.head,
            samples: 0,
            sums: HeadSums::default(),
        })
        .collect();
    for sample in rows.chunks(heads.len()) {
        for (head, row) in heads.iter_mut().zip(sample) {
            head.samples += 1;
            head.sums.merge(&row.sums);
        }
    }
    heads
}
