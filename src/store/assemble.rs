//! From rows in any order to the tables of a finished run.

use std::collections::BTreeMap;
use std::path::Path;

use super::atomic::create_directory;
use super::directory::{
    activations_file_name, heads_file_name, lags_file_name, listing, samples_file_name,
};
use super::table::{RowWriter, damaged};
use super::{ActivationRow, HeadRow, LagRow, Provenance, Rows, SampleRow};
use crate::Result;
use crate::corpus::Shard;
use crate::metrics::{HeadSums, LagSums, Measures};

/// Where the tables go, and what is known of them.
pub(super) struct Target<'a> {
    pub(super) dir: &'a Path,
    pub(super) shard: Option<Shard>,
    pub(super) measures: &'a Measures,
    pub(super) provenance: &'a Provenance,
}

/// Writes `samples.parquet` and `heads.parquet` (or this shard's), and what else is measured, and returns the heads.
///
/// `layers` gives each layer's rows, from layer 0 up, in any order within the layer; each must hold all heads
/// of exactly the `samples` (ascending). Row groups are layers, sorted by (sample, head), and heads add up
/// their samples in that order, so that the result depends on nothing but the rows. `source` is what errors
/// in the rows are reported against.
pub(super) fn assemble(
    target: &Target<'_>,
    source: &Path,
    samples: &[i64],
    layers: impl Iterator<Item = Result<Rows>>,
) -> Result<Vec<HeadRow>> {
    let (shard, measures) = (target.shard, target.measures);
    create_directory(target.dir)?;
    let path = |name: String| target.dir.join(name);
    let samples_path = path(samples_file_name(shard));
    let mut samples_table =
        RowWriter::create::<SampleRow>(&samples_path, measures, target.provenance)?;
    let mut lags_table = match measures.lags {
        Some(_) => Some(RowWriter::create::<LagRow>(
            &path(lags_file_name(shard)),
            measures,
            target.provenance,
        )?),
        None => None,
    };
    let mut activations_table = match measures.activations {
        true => Some(RowWriter::create::<ActivationRow>(
            &path(activations_file_name(shard)),
            measures,
            target.provenance,
        )?),
        false => None,
    };
    let mut heads = Vec::new();
    for (layer, rows) in (0..).zip(layers) {
        let mut rows = rows?;
        sort(&mut rows);
        let wrong = |message: String| damaged(source, message);
        let found = check_layer(layer, &rows.samples).map_err(wrong)?;
        check_samples(layer, samples, &found).map_err(wrong)?;
        if rows.samples.is_empty() {
            continue;
        }
        samples_table.write(&rows.samples)?;
        let mut layer_heads = sum_heads(layer, &rows.samples);
        if let (Some(table), Some(window)) = (&mut lags_table, measures.lags) {
            let lags = sum_lags(&rows.lags).map_err(wrong)?;
            for head in &mut layer_heads {
                head.lag_fit = lags.get(&head.head).and_then(|lags| lags.fit(window));
            }
            let rows = lags
                .iter()
                .flat_map(|(&head, lags)| LagRow::of_head(layer, head, lags));
            table.write(&rows.collect::<Vec<_>>())?;
        }
        if let Some(table) = &mut activations_table {
            check_activations(layer, samples, &rows.activations).map_err(wrong)?;
            table.write(&rows.activations)?;
        }
        heads.extend(layer_heads);
    }
    let heads_path = path(heads_file_name(shard));
    let mut heads_table = RowWriter::create::<HeadRow>(&heads_path, measures, target.provenance)?;
    if !heads.is_empty() {
        heads_table.write(&heads)?;
    }
    // All files are complete before any gets its name.
    samples_table.commit()?;
    for table in [lags_table, activations_table].into_iter().flatten() {
        table.commit()?;
    }
    heads_table.commit()?;
    Ok(heads)
}

/// The canonical order: layer, sample, head. Lags of one head keep the order of their batches.
pub(super) fn sort(rows: &mut Rows) {
    sort_samples(&mut rows.samples);
    rows.lags.sort_by_key(|row| (row.layer, row.head, row.lag));
    rows.activations.sort_by_key(|row| (row.layer, row.sample));
}

/// The same of samples alone.
pub(super) fn sort_samples(rows: &mut [SampleRow]) {
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

/// Those of ascending samples that are not among others, which ascend, too.
pub(crate) fn only_in(these: &[i64], those: &[i64]) -> Vec<i64> {
    let missing = |sample: &&i64| those.binary_search(sample).is_err();
    these.iter().filter(missing).copied().collect()
}

/// Checks that `found` are the `expected` samples; both ascend.
pub(super) fn check_samples(layer: i32, expected: &[i64], found: &[i64]) -> Result<(), String> {
    let missing = only_in(expected, found);
    if !missing.is_empty() {
        return Err(format!(
            "layer {layer}: {} of {} samples have no rows: {}",
            missing.len(),
            expected.len(),
            listing(&missing)
        ));
    }
    let surplus = only_in(found, expected);
    if !surplus.is_empty() {
        return Err(format!(
            "layer {layer}: {} samples do not belong to this run: {}",
            surplus.len(),
            listing(&surplus)
        ));
    }
    Ok(())
}

/// Checks that sorted `lags` are of one layer and go with its `samples`: for each head all lags from 0 up once, with as
/// many rows on the diagonal as the samples have finite ones.
pub(super) fn check_lags(layer: i32, samples: &[SampleRow], lags: &[LagRow]) -> Result<(), String> {
    if let Some(stray) = lags.iter().find(|row| row.layer != layer) {
        return Err(format!(
            "lags of layer {} stand where layer {layer} belongs",
            stray.layer
        ));
    }
    let mut finite: BTreeMap<i32, i64> = BTreeMap::new();
    for row in samples {
        *finite.entry(row.head).or_default() += row.sums.finite_rows();
    }
    finite.retain(|_, rows| *rows > 0);
    for rows in lags.chunk_by(|a, b| a.head == b.head) {
        let head = rows[0].head;
        let wrong = |message: &str| format!("layer {layer}, head {head}: {message}");
        for (lag, row) in (0..).zip(rows) {
            if row.lag != lag {
                return Err(wrong(&format!(
                    "lag {lag} is missing, or another stands twice"
                )));
            }
            if row.rows <= 0 || !row.share_sum.is_finite() || row.share_sum < 0.0 {
                return Err(wrong(&format!("lag {lag} has no rows, or no sum")));
            }
        }
        if finite.remove(&head) != Some(rows[0].rows) {
            return Err(wrong("its lags are not of these samples"));
        }
    }
    match finite.first_key_value() {
        None => Ok(()),
        Some((head, _)) => Err(format!("layer {layer}, head {head} has no lags")),
    }
}

/// Checks that sorted `rows` are of one layer, with every one of the `samples` (ascending) exactly once.
pub(super) fn check_activations(
    layer: i32,
    samples: &[i64],
    rows: &[ActivationRow],
) -> Result<(), String> {
    if let Some(stray) = rows.iter().find(|row| row.layer != layer) {
        return Err(format!(
            "activations of layer {} (sample {}) stand where layer {layer} belongs",
            stray.layer, stray.sample
        ));
    }
    let found: Vec<i64> = rows.iter().map(|row| row.sample).collect();
    check_samples(layer, samples, &found)?;
    match found.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!(
            "layer {layer}: activations of sample {} occur twice",
            twice[0]
        )),
        None => Ok(()),
    }
}

/// The heads of one layer, from rows that are sorted, checked and not empty.
pub(crate) fn sum_heads(layer: i32, rows: &[SampleRow]) -> Vec<HeadRow> {
    let mut heads: Vec<HeadRow> = rows
        .iter()
        .take_while(|row| row.sample == rows[0].sample)
        .map(|row| HeadRow {
            layer,
            head: row.head,
            samples: 0,
            sums: HeadSums::default(),
            lag_fit: None,
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

/// The lags of each head of a layer, added in the order of the rows.
fn sum_lags(rows: &[LagRow]) -> Result<BTreeMap<i32, LagSums>, String> {
    let mut heads: BTreeMap<i32, LagSums> = BTreeMap::new();
    for row in rows {
        let lag = usize::try_from(row.lag).ok();
        // A head has all lags from 0 up, so that none can be larger than the number of rows.
        let lag = lag.filter(|&lag| lag < rows.len()).ok_or_else(|| {
            format!(
                "layer {}, head {}: there is no lag {}",
                row.layer, row.head, row.lag
            )
        })?;
        let sums = heads.entry(row.head).or_default();
        sums.add_sum(lag, row.rows, row.share_sum);
    }
    Ok(heads)
}
