//! What a person reads when a dataset cannot be read.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, ListArray, RecordBatch, StringArray};
use attnscope::Error;
use attnscope::corpus::Rows;
use parquet::arrow::ArrowWriter;

use super::{file, golden};

/// The message of opening `path` and reading all of it, without the path it starts with.
fn message(path: &Path) -> String {
    message_of(path, "text")
}

fn message_of(path: &Path, text_column: &str) -> String {
    let error = Rows::open(&[path.to_path_buf()], text_column)
        .and_then(|rows| rows.read(&(0..rows.len()).collect::<Vec<_>>()))
        .unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    let message = error.to_string();
    let bare = message.strip_prefix(&format!("{}: ", path.display()));
    bare.unwrap_or_else(|| panic!("the file is not named: {message}"))
        .to_owned()
}

fn message_in(name: &str, content: impl AsRef<[u8]>) -> String {
    let (_dir, path) = file(name, content);
    message(&path)
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_missing_column_lists_the_others() {
    let expected = |columns: &str| {
        format!(
            "there is no text column `body`; columns: {columns} (choose one with --text-column)"
        )
    };
    let at = |name| message_of(&golden("rows").join(name), "body");
    assert_eq!(at("texts.parquet"), expected("id, meta, text"));
    assert_eq!(at("lines.jsonl"), expected("meta, text"));
    assert_eq!(at("lines.txt"), expected("text"));
}

#[test]
fn a_column_that_is_not_text_is_named_with_its_type() {
    let of = |column: ArrayRef| message_in("a.parquet", parquet(vec![("text", column)]));
    let suffix = "not text (choose another with --text-column)";
    assert_eq!(
        of(Arc::new(Int64Array::from(vec![1]))),
        format!("column `text` is Int64, {suffix}")
    );
    assert_eq!(
        of(Arc::new(BinaryArray::from_vec(vec![b"x"]))),
        format!("column `text` is Binary, {suffix}")
    );
    let list =
        ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>([Some([Some(1)])]);
    let found = of(Arc::new(list));
    assert!(
        found.starts_with("column `text` is List(") && found.ends_with(suffix),
        "{found}"
    );

    assert_eq!(
        message_in("a.jsonl", "{\"text\": \"x\"}\n\n{\"text\": 5}\n"),
        "line 3: field `text`: invalid type: integer `5`, expected a string (column 10)"
    );
}

#[test]
fn empty_datasets() {
    let one = "the dataset is empty: the file has no rows";
    assert_eq!(message_in("a.txt", ""), one);
    assert_eq!(message_in("a.txt", "\u{feff}"), one);
    assert_eq!(message_in("a.jsonl", "\n \t\r\n\n"), one);
    let no_rows: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    assert_eq!(
        message_in("a.parquet", parquet(vec![("text", no_rows)])),
        one
    );

    let (_dir, path) = file("a.txt", "");
    let error = Rows::open(&[path.clone(), path], "text")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("the dataset is empty: none of its 2 files has rows"),
        "{error}"
    );
    assert!(matches!(Rows::open(&[], "text"), Err(Error::Usage(_))));
}

#[test]
fn a_malformed_line_is_named_as_the_file_counts() {
    let good = "{\"text\": \"x\"}\r\n\r\n";
    assert_eq!(
        message_in("a.jsonl", format!("{good}{good}{{\"text\": \"y\"\n{good}")),
        "line 5: EOF while parsing an object (column 12)"
    );
    assert_eq!(
        message_in("a.jsonl", format!("{good}{{\"text\": \"y\"}} {{}}\n")),
        "line 3: trailing characters (column 15)"
    );
    assert_eq!(
        message_in("a.jsonl", format!("{good}[\"y\"]\n")),
        "line 3: invalid type: sequence, expected an object with the text in `text`"
    );
    let lone = message_in("a.jsonl", format!("{good}{{\"text\": \"\\ud83d\"}}\n"));
    assert!(lone.starts_with("line 3: field `text`: "), "{lone}");
    assert!(message_in("a.jsonl", "what is this\n").starts_with("line 1: expected value"));
}

#[test]
fn a_json_array_is_told_apart() {
    let found = message_in("a.json", "[\n{\"text\": \"x\"}\n]\n");
    assert!(
        found.starts_with("a JSON array; one object per line"),
        "{found}"
    );
}

#[test]
fn invalid_utf8_is_located() {
    let expected = "byte 7 of the file (row 1) is not UTF-8; convert the file to UTF-8";
    assert_eq!(message_in("a.txt", b"four\nab\xffcd\n"), expected);
    assert_eq!(
        message_in("a.jsonl", b"{\"text\": \"\xc3\"}\n"),
        "byte 10 of the file (row 0) is not UTF-8; convert the file to UTF-8"
    );
}

#[test]
fn files_of_another_kind() {
    assert!(message_in("a.csv", "text\nx\n").contains("supported: .parquet, .jsonl"));
    assert!(message_in("noextension", "x").contains("supported: .parquet"));
    assert!(message_in("a.jsonl.zst", "x").contains("decompress it first"));
}

#[test]
fn an_unsupported_compression_is_named() {
    assert_eq!(
        message(&golden("rows/lz4.parquet")),
        "column `text` is compressed with LZ4_RAW, which cannot be read here; \
         rewrite the file with zstd, snappy or gzip"
    );
}

#[test]
fn damaged_parquet_files() {
    let whole = std::fs::read(golden("rows/texts.parquet")).unwrap();
    for damaged in [&b""[..], b"PAR1", &whole[..whole.len() / 2], &whole[1..]] {
        let found = message_in("a.parquet", damaged);
        assert!(
            found.starts_with("not a readable parquet file: "),
            "{found}"
        );
    }
    // Wherever a single byte is wrong: an error or other texts, but never a panic or other row numbers.
    let (_dir, path) = file("a.parquet", &whole);
    let mut opened = 0;
    for at in 0..whole.len() {
        for flip in [0x01, 0x5a, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            std::fs::write(&path, damaged).unwrap();
            if let Ok(rows) = Rows::open(std::slice::from_ref(&path), "text") {
                opened += 1;
                assert_eq!(rows.len(), 10, "byte {at} ^ {flip:#x}");
                let _ = rows.read(&[0, 3, 5, 9]);
            }
        }
    }
    assert!(opened > whole.len(), "{opened}");
}

#[test]
fn a_missing_file_and_a_row_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "a.jsonl", "a.txt"] {
        let error = Rows::open(&[dir.path().join(name)], "text").unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let rows = Rows::open(&[golden("rows/lines.txt")], "text").unwrap();
    let error = rows.read(&[3, 7]).unwrap_err().to_string();
    assert!(
        error.ends_with("there is no row 7: the dataset has 7 rows, counted from 0"),
        "{error}"
    );
}

#[test]
fn a_file_that_has_become_shorter() {
    let (_dir, path) = file("a.txt", "one\ntwo\nthree\n");
    let rows = Rows::open(std::slice::from_ref(&path), "text").unwrap();
    std::fs::write(&path, "one\nt").unwrap();
    let error = rows.read(&[0, 1]).unwrap_err().to_string();
    assert!(error.contains("the file has become shorter"), "{error}");
}

#[test]
fn an_error_of_the_visitor_ends_the_reading() {
    for name in ["lines.txt", "texts.parquet"] {
        let rows = Rows::open(&[golden("rows").join(name)], "text").unwrap();
        let mut seen = 0;
        let error = rows.visit(&[0, 1, 2, 3], |position, _| {
            seen += 1;
            match position {
                2 => Err(Error::Usage("enough".into())),
                _ => Ok(()),
            }
        });
        assert_eq!(error.unwrap_err().to_string(), "enough");
        assert_eq!(seen, 3);
    }
}
