//! What may be compared, and what is said of it.

use std::fs;

use arrow_array::RecordBatch;
use attnscope::Error;
use attnscope::compare::{Comparison, Request, compare};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;

use super::{golden, request};

fn compared(names: &[&str]) -> attnscope::Result<Comparison> {
    compare(&request(names.iter().map(|name| golden(name)).collect()))
}

#[track_caller]
fn says(text: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(text.contains(piece), "no `{piece}` in: {text}");
    }
}

#[test]
fn other_texts_are_refused_by_name_and_compared_by_force() {
    let error = compared(&["small-softmax", "other-texts"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    says(
        &error.to_string(),
        &[
            "max_seq_len is 128 in other-texts and 64 in small-softmax",
            "n_samples is 6 in other-texts and 8 in small-softmax",
            "indices_sha256 is cdcd",
            "samples is also 1, 2, 5, 8, 13 in other-texts and also 10, 11, 24, 31, 45, 52, 60 in small-softmax",
            "--force",
        ],
    );
    let forced = compare(&Request {
        force: true,
        ..request(vec![golden("small-softmax"), golden("other-texts")])
    });
    let forced = forced.unwrap();
    let mut fields: Vec<&str> = forced
        .differences
        .iter()
        .map(|d| d.field.as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["indices_sha256", "max_seq_len", "n_samples", "samples"]
    );
    assert_eq!(forced.comparisons[0].same_texts, Some(false));
}

#[test]
fn a_text_without_a_token_and_another_shape_are_remarks() {
    let comparison = compared(&["small-sigmoid", "wide"]).unwrap();
    assert!(comparison.differences.is_empty());
    let pair = &comparison.comparisons[0];
    assert_eq!(pair.same_texts, Some(true));
    assert!(pair.permutations.is_some() && pair.permutations_within_layers.is_none());
    says(
        &comparison.remarks.join("\n"),
        &[
            // Nothing but the table says so.
            "texts that small-sigmoid has and that are not in the table of wide: 31",
            "wide has 7 samples, small-sigmoid has 8",
            "wide has 3 layers × 5 heads, small-sigmoid has 2 layers × 3 heads",
        ],
    );
}

#[test]
fn what_is_not_known_is_said() {
    let comparison = compared(&["small-softmax", "no-facts"]).unwrap();
    let label = golden("no-facts").display().to_string();
    assert_eq!(comparison.scans[1].label, label);
    assert_eq!(comparison.scans[1].model.name, None);
    let remark = &comparison.remarks[0];
    says(
        remark,
        &[&label, "was not checked", "which dataset, draw and length"],
    );
    // The numbers of the rows are the same; whether the texts are, nobody knows.
    assert_eq!(comparison.comparisons[0].same_texts, None);
}

#[test]
fn a_scan_named_twice_is_said() {
    let comparison = compared(&["small-softmax", "small-softmax"]).unwrap();
    says(&comparison.remarks.join("\n"), &["exactly the same sums"]);
    let [first, second] = [0, 1].map(|i| comparison.scans[i].label.as_str());
    assert_ne!(first, second);
    let pair = &comparison.comparisons[0];
    for distances in pair.metrics.values() {
        for distance in distances.values() {
            assert_eq!(distance.estimate.value, 0.0);
            assert_eq!(
                (distance.estimate.low, distance.estimate.high),
                (Some(0.0), Some(0.0))
            );
            assert_eq!(distance.p_value, Some(1.0));
        }
    }
}

#[test]
fn one_scan_is_not_enough() {
    let error = compared(&["wide"]).unwrap_err();
    assert!(matches!(error, Error::Usage(_)));
    says(&error.to_string(), &["at least two scans"]);
}

#[test]
fn a_damaged_table_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(golden("wide")).unwrap();
    let cut = dir.path().join("cut.parquet");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = compare(&request(vec![golden("wide"), cut.clone()])).unwrap_err();
    assert!(
        matches!(&error, Error::Parquet { path, .. } if *path == cut),
        "{error:?}"
    );
    // Any byte: pages have no checksum, so that a changed number may pass, but whatever is noticed names the file.
    let mut noticed = 0;
    for at in (4..bytes.len() - 8).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        fs::write(&cut, &damaged).unwrap();
        if let Err(error) = compare(&request(vec![cut.clone(), golden("wide")])) {
            noticed += 1;
            let message = error.to_string();
            assert!(
                message.contains("cut.parquet") || message.contains("--force"),
                "{message}"
            );
        }
    }
    assert!(noticed > 0);
}

/// Tables that are sorted by layer, but whose row groups are not layers: what `pyarrow` writes if it is told to.
#[test]
fn row_groups_need_not_be_layers() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::open(golden("small-softmax")).unwrap();
    let table = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = table.schema().clone();
    let batches: Vec<RecordBatch> = table.build().unwrap().map(|batch| batch.unwrap()).collect();
    let expected = compared(&["small-softmax", "small-sigmoid"]).unwrap();
    for size in [7, 10_000] {
        let path = dir.path().join(format!("groups-of-{size}.parquet"));
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(size))
            .set_sorting_columns(Some(vec![SortingColumn {
                column_idx: schema.index_of("layer").unwrap() as i32,
                descending: false,
                nulls_first: false,
            }]))
            .build();
        let file = fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        writer.close().unwrap();
        let found = compare(&request(vec![path, golden("small-sigmoid")])).unwrap();
        assert_eq!(
            serde_json::to_value(&found.scans[0].metrics).unwrap(),
            serde_json::to_value(&expected.scans[0].metrics).unwrap()
        );
    }
}
