//! One part: the rows of one batch and a range of layers, as a small parquet file.
//!
//! It has the columns of `samples.parquet` and a row group per layer. The footer carries a SHA-256 of the
//! rows, so that a part that a crash or a disk has damaged anywhere is noticed before it is trusted.

use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::assemble::{check_layer, check_samples, sort};
use super::reader::TableFile;
use super::table::{self, TableWriter, damaged};
use super::{Provenance, SampleRow};
use crate::Result;

const ROWS_SHA256: &str = "attnscope.rows_sha256";

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

/// Writes the part; `rows` come in any order and must hold every layer of `layers` for the same samples.
pub(super) fn write(path: &Path, layers: &Range<i32>, rows: &[SampleRow]) -> Result<()> {
    let mut rows = rows.to_vec();
    sort(&mut rows);
    let groups = check(layers, rows.chunk_by(|a, b| a.layer == b.layer))
        .map_err(|message| damaged(path, message))?;
    let footer = Provenance::from([(ROWS_SHA256.to_owned(), sha256(&rows))]);
    let sorted_by = ["layer", "sample", "head"];
    let mut table = TableWriter::create(path, &table::SAMPLES, &sorted_by, &footer)?;
    for group in groups {
        table.write_row_group(&table::samples_batch(path, group)?)?;
    }
    table.commit()
}

/// Reads the whole part and checks it; an `Error::Parquet` means that it cannot be used.
pub(super) fn verify(path: &Path, layers: &Range<i32>) -> Result<()> {
    let table = TableFile::open(path, &table::SAMPLES)?;
    let groups = (0..table.row_groups())
        .map(|row_group| table.sample_rows(row_group))
        .collect::<Result<Vec<_>>>()?;
    check(layers, groups.iter().map(Vec::as_slice)).map_err(|message| damaged(path, message))?;
    let announced = table.provenance().remove(ROWS_SHA256);
    if announced != Some(sha256(&groups.concat())) {
        return Err(damaged(path, "the rows do not match their checksum"));
    }
    Ok(())
}

/// Checks that `groups` are the `layers`, one after the other, for the same samples.
fn check<'a>(
    layers: &Range<i32>,
    groups: impl Iterator<Item = &'a [SampleRow]>,
) -> Result<Vec<&'a [SampleRow]>, String> {
    let groups: Vec<&[SampleRow]> = groups.collect();
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
    Ok(groups)
}

/// SHA-256 of the rows' values in column order, little-endian, as lower-case hexadecimal.
fn sha256(rows: &[SampleRow]) -> String {
    let mut hasher = Sha256::new();
    for row in rows {
        let sums = &row.sums;
        hasher.update(row.sample.to_le_bytes());
        hasher.update(row.layer.to_le_bytes());
        hasher.update(row.head.to_le_bytes());
        hasher.update(sums.tokens.to_le_bytes());
        for sum in [
            sums.max_share_sum,
            sums.first_share_sum,
            sums.max_weight_sum,
            sums.total_weight_sum,
            sums.entropy_sum,
        ] {
            hasher.update(sum.to_le_bytes());
        }
        hasher.update(sums.non_finite_rows.to_le_bytes());
    }
    crate::hex(&hasher.finalize())
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
        write(&path, &(0..2), &rows).unwrap();
        let whole = fs::read(&path).unwrap();
        let read = |path: &Path| -> Result<Vec<SampleRow>> {
            let table = TableFile::open(path, &table::SAMPLES)?;
            Ok([table.sample_rows(0)?, table.sample_rows(1)?].concat())
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
