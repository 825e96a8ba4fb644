//! What is in the files, and how they are read.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch};
use attnscope::metrics::HeadSums;
use attnscope::store::{Parts, Provenance, SampleReader, SampleRow, read_heads, samples_file_name};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::reader::{FileReader, SerializedFileReader};
use tempfile::tempdir;

use super::*;

#[test]
fn finished_tables_hold_exactly_what_was_written() {
    let out = tempdir().unwrap();
    let samples = some_samples(17, 1);
    let mut parts = Parts::create(out.path(), &fingerprint()).unwrap();
    // Batches cut the samples, layers are written together, one by one, and in no order.
    for (batch, chunk) in samples.chunks(4).enumerate().rev() {
        let mut together = rows(chunk, 0..2);
        Random(batch as u64).shuffle(&mut together);
        parts.write(batch, 2..3, rows(chunk, 2..3)).unwrap();
        parts.write(batch, 0..2, together).unwrap();
    }
    let heads = parts
        .finish(N_LAYERS, &samples, None, &provenance())
        .unwrap();

    let expected = in_order(rows(&samples, 0..N_LAYERS));
    assert_eq!(read_all(out.path()), expected);
    assert_eq!(read_all(&out.path().join("samples.parquet")), expected);
    assert_eq!(heads, heads_of(&expected));
    assert_eq!(read_heads(out.path()).unwrap(), heads);
    let reader = SampleReader::open(out.path()).unwrap();
    assert_eq!(reader.provenance(), provenance());
    let layers: Vec<i32> = reader.map(|rows| rows.unwrap()[0].layer).collect();
    assert_eq!(layers, [0, 1, 2]);

    parts.remove().unwrap();
    assert_eq!(names(out.path()), ["heads.parquet", "samples.parquet"]);
}

#[test]
fn the_files_have_the_documented_columns() {
    let out = tempdir().unwrap();
    run(out.path(), &[5, 1, 9], None);
    let expected = [
        (
            "samples.parquet",
            "sample INT64, layer INT32, head INT32, tokens INT64, max_share_sum DOUBLE, \
             first_share_sum DOUBLE, max_weight_sum DOUBLE, total_weight_sum DOUBLE, \
             entropy_sum DOUBLE, non_finite_rows INT64",
            N_LAYERS,
        ),
        (
            "heads.parquet",
            "layer INT32, head INT32, samples INT64, tokens INT64, max_share_sum DOUBLE, \
             first_share_sum DOUBLE, max_weight_sum DOUBLE, total_weight_sum DOUBLE, \
             entropy_sum DOUBLE, sparsity_score DOUBLE, first_token_share DOUBLE, \
             max_weight DOUBLE, total_weight DOUBLE, entropy DOUBLE, non_finite_rows INT64",
            1,
        ),
    ];
    for (name, columns, row_groups) in expected {
        let file = File::open(out.path().join(name)).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let metadata = reader.metadata();
        let footer = metadata.file_metadata();
        let found: Vec<String> = footer
            .schema_descr()
            .columns()
            .iter()
            .map(|column| {
                // Required columns have no definition level: they cannot be null.
                assert_eq!(column.max_def_level(), 0, "{name}: {}", column.name());
                format!("{} {}", column.name(), column.physical_type())
            })
            .collect();
        assert_eq!(found.join(", "), columns, "{name}");

        let pairs: Provenance = footer
            .key_value_metadata()
            .unwrap()
            .iter()
            .map(|pair| (pair.key.clone(), pair.value.clone().unwrap()))
            .collect();
        assert_eq!(pairs, a_manifest().provenance(), "{name}");

        assert_eq!(metadata.num_row_groups(), row_groups, "{name}");
        for group in metadata.row_groups() {
            for column in group.columns() {
                let of = format!("{name}: {}", column.column_path());
                assert!(matches!(column.compression(), Compression::ZSTD(_)), "{of}");
                assert!(column.statistics().is_some(), "{of}");
                let dictionary = column.encodings().any(|it| it == Encoding::RLE_DICTIONARY);
                let is_float = column.column_type().to_string() == "DOUBLE";
                assert_eq!(dictionary, !is_float, "{of}");
            }
        }
    }
}

#[test]
fn a_head_without_a_finite_row_has_nan_means_in_the_file() {
    let out = tempdir().unwrap();
    let mut sums = HeadSums::default();
    sums.add_row(f32::NAN, 1.0, 0.5, 0.0);
    let broken = SampleRow {
        sample: 0,
        layer: 0,
        head: 0,
        sums,
    };
    let mut parts = Parts::create(out.path(), &fingerprint()).unwrap();
    parts.write(0, 0..1, vec![broken, row(0, 0, 1)]).unwrap();
    parts.finish(1, &[0], None, &provenance()).unwrap();

    let file = File::open(out.path().join("heads.parquet")).unwrap();
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let batch = batches.next().unwrap().unwrap();
    let means = row(0, 0, 1).sums.means();
    for (name, expected) in [
        ("sparsity_score", means.sparsity_score),
        ("first_token_share", means.first_token_share),
        ("max_weight", means.max_weight),
        ("total_weight", means.total_weight),
        ("entropy", means.entropy),
    ] {
        let column = batch.column_by_name(name).unwrap();
        let column = column.as_primitive::<Float64Type>();
        assert!(column.value(0).is_nan(), "{name}");
        assert_eq!(column.value(1), expected, "{name}");
    }
    let head = read_heads(out.path()).unwrap()[0];
    assert_eq!((head.sums.tokens, head.sums.non_finite_rows), (1, 1));
}

#[test]
fn equal_runs_write_equal_bytes_however_the_work_was_cut() {
    let [one, other] = [tempdir().unwrap(), tempdir().unwrap()];
    let samples = some_samples(11, 2);
    run(one.path(), &samples, None);

    let mut parts = Parts::create(other.path(), &fingerprint()).unwrap();
    for layer in (0..N_LAYERS).rev() {
        for (batch, chunk) in samples.chunks(2).enumerate() {
            let rows = rows(chunk, layer..layer + 1);
            parts.write(batch, layer..layer + 1, rows).unwrap();
        }
    }
    let provenance = a_manifest().provenance();
    parts.finish(N_LAYERS, &samples, None, &provenance).unwrap();
    for name in ["samples.parquet", "heads.parquet"] {
        let read = |dir: &Path| fs::read(dir.join(name)).unwrap();
        assert!(read(one.path()) == read(other.path()), "{name}");
    }
}

#[test]
fn a_large_layer_is_decoded_in_pieces_and_read_as_one() {
    let out = tempdir().unwrap();
    let samples: Vec<i64> = (0..30_000).collect();
    let mut parts = Parts::create(out.path(), &fingerprint()).unwrap();
    parts.write(0, 0..1, rows(&samples, 0..1)).unwrap();
    parts.finish(1, &samples, None, &provenance()).unwrap();
    let mut reader = SampleReader::open(out.path()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap(), rows(&samples, 0..1));
    assert!(reader.next().is_none());
}

#[test]
fn shards_read_as_one_and_must_be_complete() {
    let out = tempdir().unwrap();
    let samples = some_samples(12, 3);
    for index in 0..3 {
        let shard = Shard::new(index, 3).unwrap();
        let own = tempdir().unwrap();
        run(own.path(), &samples[4 * index..4 * index + 4], Some(shard));
        for name in names(own.path()) {
            fs::copy(own.path().join(&name), out.path().join(&name)).unwrap();
        }
    }
    let all = rows(&samples, 0..N_LAYERS);
    assert_eq!(in_order(read_all(out.path())), in_order(all.clone()));
    let heads = read_heads(out.path()).unwrap();
    for (head, expected) in heads.iter().zip(heads_of(&all)) {
        assert_eq!((head.layer, head.head), (expected.layer, expected.head));
        assert_eq!((head.samples, head.sums.tokens), (12, expected.sums.tokens));
        let relative = head.sums.entropy_sum / expected.sums.entropy_sum - 1.0;
        assert!(relative.abs() < 1e-12, "{relative}");
    }
    assert_eq!(heads.len(), N_LAYERS * N_HEADS as usize);

    let second = samples_file_name(Some(Shard::new(1, 3).unwrap()));
    let whole = out.path().join("samples.parquet");
    fs::copy(out.path().join(&second), &whole).unwrap();
    assert_says(
        SampleReader::open(out.path()),
        &["both samples.parquet and shards"],
    );
    fs::remove_file(whole).unwrap();
    fs::remove_file(out.path().join(&second)).unwrap();
    assert_says(
        SampleReader::open(out.path()),
        &["1 of 3 shards missing", &second, "attnscope merge"],
    );
    // A shard named by itself is what was asked for.
    let first = out.path().join("samples-00000-of-00003.parquet");
    assert_eq!(read_all(&first), in_order(rows(&samples[..4], 0..N_LAYERS)));
    fs::copy(&first, out.path().join("samples-00000-of-00004.parquet")).unwrap();
    assert_says(SampleReader::open(out.path()), &["shards of 3 and of 4"]);
}

#[test]
fn what_is_no_scan_is_refused_with_a_hint() {
    let out = tempdir().unwrap();
    assert_says(
        SampleReader::open(out.path()),
        &["no samples.parquet", "output directory of a scan"],
    );
    assert_says(
        SampleReader::open(&out.path().join("nowhere")),
        &["nowhere", "No such file"],
    );
    let _parts = Parts::create(out.path(), &fingerprint()).unwrap();
    assert_says(read_heads(out.path()), &["unfinished", "--resume --out"]);

    let text = out.path().join("notes.txt");
    fs::write(&text, "no parquet at all").unwrap();
    let error = assert_says(SampleReader::open(&text), &["notes.txt", "Parquet"]);
    assert!(matches!(error, attnscope::Error::Parquet { .. }));
}

/// A samples table with `change` made to its columns.
fn foreign(path: &Path, change: impl Fn(&mut Vec<(&str, ArrayRef)>)) {
    let float = || Arc::new(Float64Array::from(vec![0.5, 0.25])) as ArrayRef;
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        // Not our order, and one column more than we know.
        ("layer", Arc::new(Int32Array::from(vec![0, 0]))),
        ("sample", Arc::new(Int64Array::from(vec![3, 3]))),
        ("head", Arc::new(Int32Array::from(vec![0, 1]))),
        ("tokens", Arc::new(Int64Array::from(vec![7, 8]))),
        ("added_later", Arc::new(Int32Array::from(vec![1, 1]))),
        ("max_share_sum", float()),
        ("first_share_sum", float()),
        ("max_weight_sum", float()),
        ("total_weight_sum", float()),
        ("entropy_sum", float()),
        ("non_finite_rows", Arc::new(Int64Array::from(vec![0, 0]))),
    ];
    change(&mut columns);
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn columns_are_found_by_name_and_checked() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    foreign(&path, |_| {});
    let rows = read_all(&path);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[1].head, rows[1].sums.tokens), (1, 8));
    assert_eq!(rows[1].sums.entropy_sum, 0.25);

    foreign(&path, |columns| {
        columns.retain(|(name, _)| *name != "tokens")
    });
    assert_says(
        SampleReader::open(&path),
        &[
            "samples.parquet",
            "no column `tokens`",
            "layer, sample, head",
            "attnscope scan",
        ],
    );
    foreign(&path, |columns| {
        columns[5].1 = Arc::new(Float32Array::from(vec![0.5, 0.5]))
    });
    assert_says(
        SampleReader::open(&path),
        &[
            "`max_share_sum`",
            "expected Float64, found Float32",
            "cast it",
        ],
    );
    foreign(&path, |columns| {
        columns[3].1 = Arc::new(Int64Array::from(vec![Some(7), None]))
    });
    let mut reader = SampleReader::open(&path).unwrap();
    assert_says(reader.next().unwrap(), &["`tokens`", "1 nulls"]);
    assert!(reader.next().is_none(), "an error ends the stream");
}
