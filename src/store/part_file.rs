//! One part: the rows of one batch and a range of layers, as small parquet files.
//!
//! The part itself has the columns of `samples.parquet` and a row group per layer; lags and activations, where they are
//! measured, lie beside it and are written before it. Its footer carries a SHA-256 of the rows of each, so that a part
//! that a crash or a disk has damaged anywhere is noticed before it is trusted.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::assemble::{check_activations, check_lags, check_layer, check_samples, sort};
use super::columns::{TableRow, sha256};
use super::reader::TableFile;
use super::table::{RowWriter, damaged};
use super::{ActivationRow, LagRow, Provenance, Rows, SampleRow};
use crate::Result;
use crate::metrics::Measures;

const ROWS_SHA256: &str = "attnscope.rows_sha256";
const LAGS_SHA256: &str = "attnscope.lags_sha256";
const ACTIVATIONS_SHA256: &str = "attnscope.activations_sha256";
const METRICS: &str = "attnscope.metrics";

/// Ends of the names of the files beside a part.
const BESIDE: [&str; 2] = ["lags.parquet", "activations.parquet"];

/// `batch-00012-layers-003-004.parquet`: the first and the last layer.
pub(super) fn file_name(batch: usize, layers: &Range<i32>) -> String {
    let last = layers.end - 1;
    format!(
        "batch-{batch:05}-layers-{:03}-{last:03}.parquet",
        layers.start
    )
}

/// The batch and the layers that a file name stands for; `None` for any other file.
pub(super) fn parse_file_name(name: &str) -> Option<(usize, Range<i32>)> {
    let numbers = name.strip_prefix("batch-")?.strip_suffix(".parquet")?;
    let (batch, layers) = numbers.split_once("-layers-")?;
    let (first, last) = layers.split_once('-')?;
    let batch = batch.parse().ok()?;
    let first: i32 = first.parse().ok()?;
    let last: i32 = last.parse().ok()?;
    let layers = first..last.checked_add(1)?;
    (!layers.is_empty() && file_name(batch, &layers) == name).then_some((batch, layers))
}

/// The files that may lie beside the part `path`: lags and activations.
pub(super) fn beside(path: &Path) -> [PathBuf; 2] {
    BESIDE.map(|end| path.with_extension(end))
}

/// Whether this is the name of a file beside a part.
pub(super) fn is_beside(name: &str) -> bool {
    BESIDE.iter().any(|end| {
        let part = name.strip_suffix(end).map(|part| format!("{part}parquet"));
        part.is_some_and(|part| parse_file_name(&part).is_some())
    })
}

/// Writes the part; `rows` come in any order and must hold every layer of `layers` for the same samples.
pub(super) fn write(
    path: &Path,
    layers: &Range<i32>,
    mut rows: Rows,
    measures: &Measures,
) -> Result<()> {
    sort(&mut rows);
    check(layers, &rows, measures).map_err(|message| damaged(path, message))?;
    let [lags, activations] = beside(path);
    let mut footer = Provenance::from([(ROWS_SHA256.into(), sha256(&rows.samples, measures))]);
    if !measures.is_empty() {
        footer.insert(METRICS.into(), measures.to_string());
    }
    let none = Provenance::new();
    if measures.lags.is_some() {
        footer.insert(LAGS_SHA256.into(), sha256(&rows.lags, measures));
        write_table(&lags, layers, &rows.lags, |row| row.layer, measures, &none)?;
    }
    if measures.activations {
        footer.insert(
            ACTIVATIONS_SHA256.into(),
            sha256(&rows.activations, measures),
        );
        let layer = |row: &ActivationRow| row.layer;
        write_table(
            &activations,
            layers,
            &rows.activations,
            layer,
            measures,
            &none,
        )?;
    }
    write_table(
        path,
        layers,
        &rows.samples,
        |row| row.layer,
        measures,
        &footer,
    )
}

/// A row group per layer.
fn write_table<R: TableRow>(
    path: &Path,
    layers: &Range<i32>,
    rows: &[R],
    layer_of: impl Fn(&R) -> i32,
    measures: &Measures,
    footer: &Provenance,
) -> Result<()> {
    let mut table = RowWriter::create::<R>(path, measures, footer)?;
    let mut rest = rows;
    for layer in layers.clone() {
        let len = rest.partition_point(|row| layer_of(row) <= layer);
        let (group, after) = rest.split_at(len);
        table.write(group)?;
        rest = after;
    }
    table.commit()
}

/// The rows of one layer of the part, which is the `row_group`th of it.
pub(super) fn read(path: &Path, row_group: usize, measures: &Measures) -> Result<Rows> {
    let [lags, activations] = beside(path);
    Ok(Rows {
        samples: TableFile::open(path)?.rows(row_group)?,
        lags: match measures.lags {
            Some(_) => TableFile::open(&lags)?.rows(row_group)?,
            None => Vec::new(),
        },
        activations: match measures.activations {
            true => TableFile::open(&activations)?.rows(row_group)?,
            false => Vec::new(),
        },
    })
}

/// Reads the whole part and checks it; an `Error::Parquet` means that it cannot be used.
pub(super) fn verify(path: &Path, layers: &Range<i32>) -> Result<()> {
    let table = TableFile::<SampleRow>::open(path)?;
    let footer = table.provenance();
    let measures = match footer.get(METRICS) {
        None => Measures::default(),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| damaged(path, format!("`{METRICS}` cannot be read: {error}")))?,
    };
    let [lags, activations] = beside(path);
    let beside = |is_measured: bool, path: &Path| match path.is_file() {
        false if is_measured => Err(damaged(path, "is missing")),
        _ => Ok(()),
    };
    beside(measures.lags.is_some(), &lags)?;
    beside(measures.activations, &activations)?;
    if table.row_groups() != layers.len() {
        let message = format!(
            "{} layers of rows where {} belong",
            table.row_groups(),
            layers.len()
        );
        return Err(damaged(path, message));
    }
    let mut rows = Rows::default();
    for row_group in 0..layers.len() {
        rows.append(read(path, row_group, &measures)?);
    }
    check(layers, &rows, &measures).map_err(|message| damaged(path, message))?;
    let mut expected = vec![(ROWS_SHA256, sha256(&rows.samples, &measures))];
    if measures.lags.is_some() {
        expected.push((LAGS_SHA256, sha256::<LagRow>(&rows.lags, &measures)));
    }
    if measures.activations {
        let sum = sha256::<ActivationRow>(&rows.activations, &measures);
        expected.push((ACTIVATIONS_SHA256, sum));
    }
    for (key, sum) in expected {
        if footer.get(key) != Some(&sum) {
            return Err(damaged(path, "the rows do not match their checksum"));
        }
    }
    Ok(())
}

/// Checks that sorted `rows` are the `layers`, one after the other, for the same samples.
fn check(layers: &Range<i32>, rows: &Rows, measures: &Measures) -> Result<(), String> {
    let groups: Vec<&[SampleRow]> = rows.samples.chunk_by(|a, b| a.layer == b.layer).collect();
    if groups.len() != layers.len() {
        return Err(format!(
            "{} layers of rows where {} belong",
            groups.len(),
            layers.len()
        ));
    }
    let mut samples: Option<Vec<i64>> = None;
    for (layer, rows) in layers.clone().zip(&groups) {
        let found = check_layer(layer, rows)?;
        if found.is_empty() {
            return Err(format!("layer {layer} has no rows"));
        }
        check_samples(layer, samples.get_or_insert_with(|| found.clone()), &found)?;
    }
    let samples = samples.unwrap_or_default();
    if measures.activations {
        let groups = rows.activations.chunk_by(|a, b| a.layer == b.layer);
        if groups.clone().count() != layers.len() {
            return Err("layers without activations".into());
        }
        for (layer, rows) in layers.clone().zip(groups) {
            check_activations(layer, &samples, rows)?;
        }
    }
    if measures.lags.is_some() {
        let mut rest = rows.lags.as_slice();
        for (layer, samples) in layers.clone().zip(&groups) {
            let len = rest.partition_point(|row| row.layer <= layer);
            let (lags, after) = rest.split_at(len);
            check_lags(layer, samples, lags)?;
            rest = after;
        }
        if let Some(stray) = rest.first() {
            return Err(format!("lags of layer {} do not belong here", stray.layer));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Error;
    use crate::metrics::HeadSums;

    /// Bytes that no reader looks at (padding, statistics) may change, values may not; and whatever the damage,
    /// it is an error and not a panic.
    #[test]
    fn no_damage_goes_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file_name(0, &(0..2)));
        let mut rows = Vec::new();
        for at in 0..20 {
            let mut sums = HeadSums::default();
            sums.add_row(0.7 / (1.0 + at as f32), 1.0, 0.1, 2.5);
            rows.push(SampleRow {
                sample: i64::from(at / 2 % 5),
                layer: at / 10,
                head: at % 2,
                sums,
            });
        }
        write(&path, &(0..2), rows.into(), &Measures::default()).unwrap();
        let whole = fs::read(&path).unwrap();
        let read = |path: &Path| -> Result<Vec<SampleRow>> {
            let table = TableFile::open(path)?;
            Ok([table.rows(0)?, table.rows(1)?].concat())
        };
        let expected = read(&path).unwrap();

        let mut noticed = 0;
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x55, 0xFF][at % 2 + at % 7 / 6];
            fs::write(&path, &bytes).unwrap();
            match verify(&path, &(0..2)) {
                Ok(()) => assert_eq!(read(&path).unwrap(), expected, "byte {at}"),
                Err(Error::Parquet { .. }) => noticed += 1,
                Err(error) => panic!("byte {at}: {error:?}"),
            }
        }
        println!("{noticed} of {} changes noticed", whole.len() / 3);
        assert!(noticed > whole.len() / 6);
    }

    #[test]
    fn file_names_read_back_and_nothing_else_does() {
        assert_eq!(file_name(12, &(3..5)), "batch-00012-layers-003-004.parquet");
        for (batch, layers) in [(0, 0..1), (12, 3..5), (123_456, 0..1200)] {
            let name = file_name(batch, &layers);
            assert_eq!(parse_file_name(&name), Some((batch, layers)), "{name}");
        }
        for other in [
            "batch-00012-layers-004-003.parquet",
            "batch-12-layers-3-4.parquet",
            "batch-00012-layers-003-004.parquet.tmp",
            "batch-00012-layers-003-2147483647.parquet",
            "batch-00012-layers-0-3-004.parquet",
            "plan.json",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
