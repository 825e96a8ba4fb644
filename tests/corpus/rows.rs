//! Texts out of parquet, JSON lines and plain text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, StructArray,
};
use arrow_schema::{DataType, Field};
use attnscope::corpus::Rows;
use attnscope::random::PythonRandom;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use super::{file, golden, json};

fn open(path: &Path) -> Rows {
    Rows::open(&[path.to_path_buf()], "text").unwrap()
}

fn read_all(rows: &Rows) -> Vec<String> {
    rows.read(&(0..rows.len()).collect::<Vec<_>>()).unwrap()
}

fn write_parquet(path: &Path, texts: ArrayRef, properties: WriterPropertiesBuilder) {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    let meta: ArrayRef = Arc::new(StructArray::from(vec![(
        Arc::new(Field::new("text", DataType::Int64, false)),
        ids.clone(),
    )]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", ids, false),
        ("meta", meta, false),
        ("text", texts, true),
    ])
    .unwrap();
    let out = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Texts of many lengths, with characters of one to four bytes; some of them repeat, every ninth is null.
fn texts(n: usize) -> Vec<Option<String>> {
    let text = |i: usize| format!("{} {}\n", i % 40, "aé€😀".repeat(i * 37 % 101));
    (0..n).map(|i| (i % 9 != 4).then(|| text(i))).collect()
}

#[test]
fn rows_are_numbered_as_datasets_numbers_them() {
    let mut expected = json(&golden("rows/expected.json"));
    expected["gzip.parquet"] = expected["texts.parquet"].clone();
    for name in ["lines.txt", "lines.jsonl", "texts.parquet", "gzip.parquet"] {
        let rows = open(&golden("rows").join(name));
        let expected: Vec<String> = expected[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(rows.len(), expected.len(), "{name}");
        assert_eq!(read_all(&rows), expected, "{name}");
    }
}

#[test]
fn every_kind_of_string_column_and_compression() {
    let texts = texts(200);
    let columns: [(&str, ArrayRef); 4] = [
        ("plain", Arc::new(StringArray::from(texts.clone()))),
        ("large", Arc::new(LargeStringArray::from(texts.clone()))),
        ("view", Arc::new(StringViewArray::from(texts.clone()))),
        (
            "dictionary",
            Arc::new(DictionaryArray::<Int32Type>::from_iter(
                texts.iter().map(|text| text.as_deref()),
            )),
        ),
    ];
    let expected: Vec<String> = texts.into_iter().map(Option::unwrap_or_default).collect();
    let dir = tempfile::tempdir().unwrap();
    for (kind, column) in columns {
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            let path = dir.path().join(format!("{kind}.parquet"));
            let properties = WriterProperties::builder()
                .set_compression(compression)
                .set_max_row_group_row_count(Some(30));
            write_parquet(&path, column.clone(), properties);
            assert_eq!(read_all(&open(&path)), expected, "{kind} {compression}");
        }
    }
}

/// Row groups and pages of many sizes, with and without a page index and a dictionary: whichever rows are
/// asked for, in whatever order, once or twice, they are the right ones.
#[test]
fn any_selection_of_a_parquet_file() {
    let texts = texts(700);
    let column: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let dir = tempfile::tempdir().unwrap();
    let mut random = PythonRandom::new(5);
    for (group, page, dictionary, index) in [
        (1000, 1000, true, true),
        (100, 7, true, true),
        (64, 10, false, true),
        (33, 5, false, false),
        (1, 1, true, false),
    ] {
        let path = dir.path().join(format!("{group}-{page}.parquet"));
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(group))
            .set_data_page_row_count_limit(page)
            .set_write_batch_size(page)
            .set_dictionary_enabled(dictionary)
            .set_offset_index_disabled(!index)
            .set_statistics_enabled(match index {
                true => EnabledStatistics::Page,
                false => EnabledStatistics::None,
            });
        write_parquet(&path, column.clone(), properties);
        let rows = open(&path);
        for _ in 0..20 {
            let n = random.below(150);
            let wanted: Vec<usize> = (0..n).map(|_| random.below(texts.len())).collect();
            let found = rows.read(&wanted).unwrap();
            for (&row, text) in wanted.iter().zip(&found) {
                assert_eq!(text, texts[row].as_deref().unwrap_or_default(), "row {row}");
            }
        }
    }
}

#[test]
fn files_of_all_kinds_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let parquet = dir.path().join("a.PARQUET");
    let column: ArrayRef = Arc::new(StringArray::from(vec!["p0", "p1"]));
    write_parquet(&parquet, column, WriterProperties::builder());
    let empty = dir.path().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    let lines = dir.path().join("b.txt");
    std::fs::write(&lines, "t2\nt3\n").unwrap();
    let objects = dir.path().join("c.ndjson");
    std::fs::write(&objects, "{\"text\":\"j4\"}\n").unwrap();

    let files: [PathBuf; 5] = [parquet.clone(), empty, lines, objects, parquet];
    let rows = Rows::open(&files, "text").unwrap();
    assert_eq!(read_all(&rows), ["p0", "p1", "t2", "t3", "j4", "p0", "p1"]);
    assert_eq!(
        rows.read(&[6, 4, 2, 4, 0]).unwrap(),
        ["p1", "j4", "t2", "j4", "p0"]
    );

    let mut order = Vec::new();
    rows.visit(&[6, 4, 2, 4, 0], |position, text| {
        order.push((position, text));
        Ok(())
    })
    .unwrap();
    order.dedup_by(|a, b| a.1 == b.1);
    let texts: Vec<&str> = order.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["p0", "t2", "j4", "p1"]);
}

#[test]
fn another_text_column() {
    let (_dir, path) = file("a.jsonl", "{\"text\": \"no\", \"content\": \"yes\"}\n");
    let rows = Rows::open(&[path], "content").unwrap();
    assert_eq!(rows.read(&[0]).unwrap(), ["yes"]);
}

#[test]
fn a_byte_order_mark_is_no_text() {
    let (_dir, path) = file("a.txt", "\u{feff}one\r\ntwo");
    assert_eq!(read_all(&open(&path)), ["one", "two"]);
    let (_dir, path) = file("a.jsonl", "\u{feff}{\"text\": \"one\"}\n");
    assert_eq!(read_all(&open(&path)), ["one"]);
}

/// Other fields may hold what no program could represent; nobody asks for them.
#[test]
fn other_json_fields_do_not_disturb() {
    let line = r#"{"a": {"text": 1e999}, "b": ["text"], "text": "\u00e4\t\"\\", "c": 123456789012345678901234567890}"#;
    let (_dir, path) = file("a.jsonl", line);
    assert_eq!(read_all(&open(&path)), ["ä\t\"\\"]);
}

/// The buffer of a line reader is 64 KiB: lines around that size, read forwards with gaps.
#[test]
fn long_lines_and_gaps_between_them() {
    let lines: Vec<String> = (0..60)
        .map(|i| format!("{i}:{}", "x".repeat(i * 7919 % 200_000)))
        .collect();
    let (_dir, path) = file("a.txt", lines.join("\n"));
    let rows = open(&path);
    let mut random = PythonRandom::new(6);
    for _ in 0..20 {
        let n = 1 + random.below(30);
        let wanted = random.sample(lines.len(), n).unwrap();
        let found = rows.read(&wanted).unwrap();
        assert!(
            wanted
                .iter()
                .zip(&found)
                .all(|(&row, text)| lines[row] == *text)
        );
    }
}

/// Line ends of all kinds on both sides of the boundary of the 1 MiB buffer in which lines are found.
#[test]
fn line_ends_across_buffer_boundaries() {
    for end in ["\n", "\r\n", "\r"] {
        for shift in 0..4 {
            let first = "y".repeat((1 << 20) - 3 + shift);
            let (_dir, path) = file("a.txt", format!("{first}{end}second{end}{end}fourth"));
            assert_eq!(
                read_all(&open(&path)),
                [&first, "second", "", "fourth"],
                "{end:?} {shift}"
            );
        }
    }
}
