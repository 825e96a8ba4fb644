//! Datasets that are not there, not readable, empty, or without the text column.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::{TEXTS, World, text};

/// A parquet file of these columns.
pub fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// A column of strings.
pub fn strings(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn numbers(n: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..n))
}

impl World {
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A scan of a dataset file of this content is refused, and the file is named.
    #[track_caller]
    fn data_refused(&self, name: &str, content: impl AsRef<[u8]>, says: &[&str]) {
        let path = self.file(name, content);
        let finished = self.refused(&["--dataset", text(&path)], 3, says);
        assert!(finished.stderr.contains(text(&path)), "{finished}");
    }
}

#[test]
fn the_three_kinds_of_files_give_the_same_numbers() {
    let world = World::new();
    let one_line = TEXTS.map(|text| text.replace('\n', " "));
    let one_line = one_line.each_ref().map(String::as_str);
    let json = one_line.map(|text| serde_json::json!({ "text": text }).to_string());
    let heads = [
        ("a.jsonl", json.join("\n").into_bytes()),
        ("a.txt", one_line.join("\n").into_bytes()),
        ("a.parquet", parquet(vec![("text", strings(&one_line))])),
    ]
    .map(|(name, content)| {
        let path = world.file(name, content);
        let out = format!("out-{name}");
        let summary = world.scan(&["--dataset", text(&path), "--out", &out, "--json"]);
        let mut summary = summary.succeeds().json();
        assert_eq!(summary["skipped"], 1);
        summary["heads"].take()
    });
    assert!(heads[0].as_array().is_some_and(|heads| heads.len() == 24));
    assert_eq!(heads[0], heads[1]);
    assert_eq!(heads[0], heads[2]);
}

#[test]
fn a_text_column_that_does_not_exist_lists_those_that_do() {
    let world = World::new();
    let columns = parquet(vec![("id", numbers(6)), ("body", strings(&TEXTS))]);
    let says = "there is no text column `text`; columns: id, body (choose one with --text-column)";
    world.data_refused("a.parquet", &columns, &[says]);
    let says = "there is no text column `text`; columns: body, id (choose one with --text-column)";
    world.data_refused("a.jsonl", "{\"id\": 1, \"body\": \"x\"}\n", &[says]);
    let path = world.file("a.txt", "x\n");
    let says = ["there is no text column `body`; columns: text"];
    world.refused(
        &["--dataset", text(&path), "--text-column", "body"],
        3,
        &says,
    );

    let path = world.path("a.parquet");
    world
        .scan(&["--dataset", text(&path), "--text-column", "body"])
        .succeeds();
}

#[test]
fn a_column_that_holds_no_text() {
    let world = World::new();
    let says = ["--text-column", "Int64"];
    world.data_refused("a.parquet", parquet(vec![("text", numbers(6))]), &says);
    world.data_refused("a.jsonl", "{\"text\": 5}\n", &["line 1", "`text`"]);
}

#[test]
fn an_empty_dataset() {
    let world = World::new();
    for name in ["a.txt", "a.jsonl"] {
        world.data_refused(name, "", &["the dataset is empty"]);
    }
    world.data_refused("b.jsonl", "\n\n", &["the dataset is empty"]);
    let none = parquet(vec![("text", strings(&[]))]);
    world.data_refused("a.parquet", none, &["the dataset is empty"]);
}

#[test]
fn a_dataset_without_a_single_token() {
    let world = World::new();
    let says = ["none of the 3 sampled texts has a token", "--text-column"];
    world.data_refused("a.txt", "\n\n\n", &says);
}

#[test]
fn more_samples_than_rows() {
    let world = World::new();
    let says = [
        "7 samples were asked for, but the dataset has 6 rows",
        "--n-samples 6 or --n-samples all",
    ];
    world.refused(&["--n-samples", "7"], 2, &says);
}

#[test]
fn damaged_files() {
    let world = World::new();
    let whole = parquet(vec![("text", strings(&TEXTS))]);
    world.data_refused("a.parquet", "PAR1", &["fetch it again"]);
    world.data_refused("a.parquet", &whole[..whole.len() / 2], &["fetch it again"]);
    world.data_refused("a.parquet", "", &["fetch it again"]);
    world.data_refused("a.jsonl", "{\"text\": \"x\"}\n{\"text\": \n", &["line 2"]);
    world.data_refused("a.jsonl", "[{\"text\": \"x\"}]\n", &["one object per line"]);
    world.data_refused("a.jsonl", "no json\n", &["line 1"]);
    world.data_refused("a.txt", b"fine\n\xff\xfe\n", &["row 1", "UTF-8"]);
}

/// One wrong bit in the footer, the size of a column made negative: the parquet crate panics, which is neither
/// shown nor the end.
#[test]
fn damage_that_makes_the_parquet_crate_panic() {
    let world = World::new();
    let mut content = fs::read(crate::support::golden("rows/texts.parquet")).unwrap();
    content[3042] ^= 1;
    let says = ["not a readable parquet file: it is damaged; fetch it again"];
    world.data_refused("a.parquet", content, &says);
}

#[test]
fn paths_that_are_no_dataset() {
    let world = World::new();
    world.data_refused(
        "a.csv",
        "text\nx\n",
        &["give a .parquet, .jsonl, .txt file"],
    );
    world.refused(
        &["--dataset", "./none.jsonl"],
        3,
        &["./none.jsonl: there is no such file"],
    );
    let says = ["give a .parquet, .jsonl, .txt file"];
    world.refused(&["--dataset", text(world.model())], 3, &says);
}
