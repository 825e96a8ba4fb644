//! The contracts on a scan's results: the tables, `run.json`, `--json`, and rows that are not finite.

use std::fs::File;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::{RESULTS, SAMPLES, World, checkpoint, names, text};

/// A table, whole, with its columns as `name type`, and its footer.
struct Table {
    rows: RecordBatch,
    columns: Vec<String>,
    footer: Vec<(String, String)>,
}

fn table(world: &World, path: &str) -> Table {
    let file = File::open(world.path(path)).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let metadata = builder.metadata().file_metadata();
    let columns = metadata.schema_descr().columns().iter();
    let columns = columns
        .map(|column| format!("{} {}", column.name(), column.physical_type()).to_lowercase())
        .collect();
    let footer = metadata.key_value_metadata().into_iter().flatten();
    let footer = footer
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap()))
        .collect();
    let mut batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    assert_eq!(
        batches.len(),
        1,
        "the tables of these tests fit into one batch"
    );
    Table {
        rows: batches.remove(0),
        columns,
        footer,
    }
}

impl Table {
    fn floats(&self, name: &str) -> Vec<f64> {
        let column = self.rows.column_by_name(name).unwrap();
        column.as_primitive::<Float64Type>().values().to_vec()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let column = self.rows.column_by_name(name).unwrap();
        match column.as_primitive_opt::<Int64Type>() {
            Some(column) => column.values().to_vec(),
            None => {
                let column = column.as_primitive::<Int32Type>().values();
                column.iter().map(|&n| n.into()).collect()
            }
        }
    }
}

const SUMS: &str = "max_share_sum double, first_share_sum double, max_weight_sum double, total_weight_sum double, \
                    entropy_sum double";

#[test]
fn the_tables_are_as_documented_and_agree() {
    let world = World::new();
    let summary = world.scan(&["--json"]).succeeds().json();
    assert_eq!(names(&world.out()), RESULTS);
    let samples = table(&world, "out/samples.parquet");
    let heads = table(&world, "out/heads.parquet");
    let expected = format!(
        "sample int64, layer int32, head int32, tokens int64, {SUMS}, non_finite_rows int64"
    );
    assert_eq!(samples.columns.join(", "), expected);
    let expected = format!(
        "layer int32, head int32, samples int64, tokens int64, {SUMS}, sparsity_score double, first_token_share \
         double, max_weight double, total_weight double, entropy double, non_finite_rows int64"
    );
    assert_eq!(heads.columns.join(", "), expected);
    assert!(samples.rows.columns().iter().all(|c| c.null_count() == 0));

    // A row per (sample, layer, head), and per (layer, head); row 3 of the dataset has no token.
    assert_eq!(samples.rows.num_rows(), SAMPLES * 4 * 6);
    assert_eq!(heads.rows.num_rows(), 4 * 6);
    let mut rows = samples.integers("sample");
    rows.sort();
    rows.dedup();
    assert_eq!(rows, [0, 1, 2, 4, 5]);

    let sums = |name: &str| -> Vec<f64> {
        let mut sums = vec![0.0; 24];
        let (layers, of_head) = (samples.integers("layer"), samples.integers("head"));
        let values = match name {
            "tokens" => samples.integers(name).iter().map(|&n| n as f64).collect(),
            _ => samples.floats(name),
        };
        for ((layer, head), value) in layers.iter().zip(of_head).zip(values) {
            sums[(6 * layer + head) as usize] += value;
        }
        sums
    };
    let tokens = sums("tokens");
    for (sum, mean) in [
        ("max_share_sum", "sparsity_score"),
        ("first_share_sum", "first_token_share"),
        ("max_weight_sum", "max_weight"),
        ("total_weight_sum", "total_weight"),
        ("entropy_sum", "entropy"),
    ] {
        for (i, total) in sums(sum).into_iter().enumerate() {
            let context = format!("{mean} of head {i}");
            assert!((heads.floats(sum)[i] - total).abs() < 1e-9, "{context}");
            let found = heads.floats(mean)[i];
            assert!((found - total / tokens[i]).abs() < 1e-12, "{context}");
            let printed = &summary["heads"][i];
            assert_eq!(printed["layer"], heads.integers("layer")[i], "{context}");
            assert_eq!(printed["head"], heads.integers("head")[i], "{context}");
            assert!(
                (printed[mean].as_f64().unwrap() - found).abs() < 1e-12,
                "{context}"
            );
        }
    }
    assert!(
        heads
            .integers("samples")
            .iter()
            .all(|&n| n == SAMPLES as i64)
    );
    assert_eq!(summary["tokens"].as_f64(), Some(tokens[0]));
}

#[test]
fn the_summary_for_programs_has_its_keys() {
    let world = World::new();
    let summary = world.scan(&["--json"]).succeeds().json();
    assert_eq!(summary["model"], text(world.model()));
    assert_eq!(summary["dataset"], text(&world.texts()));
    assert_eq!(summary["attention_function"], "softmax");
    assert_eq!(summary["samples"], SAMPLES);
    assert_eq!(summary["skipped"], 1);
    assert_eq!(summary["non_finite_rows"], 0);
    for key in [
        "tokens",
        "seconds",
        "tokens_per_second",
        "peak_memory_bytes",
    ] {
        assert!(
            summary[key].as_f64().is_some_and(|n| n > 0.0),
            "{key}: {summary}"
        );
    }
    let heads = summary["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 24);
    for head in heads {
        for key in [
            "sparsity_score",
            "first_token_share",
            "max_weight",
            "total_weight",
        ] {
            let value = head[key].as_f64().unwrap();
            assert!((0.0..=1.0 + 1e-6).contains(&value), "{key}: {head}");
        }
        assert!(head["entropy"].as_f64().is_some_and(|n| n > 0.0), "{head}");
        assert_eq!(head["non_finite_rows"], 0);
    }
}

#[test]
fn run_json_says_how_to_repeat_the_run() {
    let world = World::new();
    world.scan(&["--n-samples", "5", "--seed", "3"]).succeeds();
    let run = world.run_json("out");
    let config: Value =
        serde_json::from_slice(&std::fs::read(world.model().join("config.json")).unwrap()).unwrap();
    let expected = json!({
        "attnscope_version": env!("CARGO_PKG_VERSION"),
        "device": "cpu",
        "dtype": "f32",
        "executor": "resident",
        "max_seq_len": 24,
        "non_finite_rows": 0,
        "resumed": 0,
        "merged_from": [],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&run[key], value, "{key}");
    }
    let model = &run["model"];
    assert_eq!(model["name"], text(world.model()));
    assert_eq!(model["path"], text(world.model()));
    assert_eq!(model["repo"], Value::Null);
    assert_eq!(model["revision"], Value::Null);
    assert_eq!(model["model_type"], "gala");
    assert_eq!(model["config"], config);
    assert_eq!(run["dataset"]["files"], json!([text(&world.texts())]));
    assert_eq!(run["dataset"]["rows"], 6);
    assert_eq!(run["dataset"]["text_column"], "text");
    assert_eq!(run["sampling"]["n_samples"], 5);
    assert_eq!(run["sampling"]["seed"], 3);
    // CPython: random.seed(3); random.sample(range(6), 5) == [1, 4, 5, 3, 2]; row 3 has no token.
    let digest = attnscope::corpus::indices_sha256(&[1, 4, 5, 3, 2]);
    assert_eq!(run["sampling"]["indices_sha256"], digest);
    assert_eq!(run["sampling"]["skipped"], 1);
    assert_eq!(run["samples"], 4);
    assert_eq!(run["special_tokens"], "as tokenizer.json says: none");
    assert!(run["preprocessing"].as_str().unwrap().contains("<n>"));
    for key in ["started_at", "finished_at"] {
        let time = run[key].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{key}: {time}");
    }
    for key in [
        "seconds_total",
        "seconds_load",
        "seconds_tokenize",
        "seconds_compute",
        "seconds_write",
    ] {
        assert!(
            run["timings"][key].as_f64().is_some_and(|s| s > 0.0),
            "{key}"
        );
    }
    assert!(run["tokens_per_second"].as_f64().is_some_and(|n| n > 0.0));
    assert!(
        run["peak_memory_bytes"]
            .as_u64()
            .is_some_and(|n| n > 1 << 20)
    );

    // The footers of both tables repeat what decides the numbers.
    for name in ["out/samples.parquet", "out/heads.parquet"] {
        let footer = table(&world, name).footer;
        let value = |key: &str| {
            let key = format!("attnscope.{key}");
            let found = footer.iter().find(|(name, _)| *name == key);
            found
                .unwrap_or_else(|| panic!("{key}: {footer:?}"))
                .1
                .clone()
        };
        assert_eq!(value("model"), text(world.model()));
        assert_eq!(value("dataset"), text(&world.texts()));
        assert_eq!(value("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(value("indices_sha256"), digest);
        for (key, expected) in [
            ("model_type", "gala"),
            ("seed", "3"),
            ("n_samples", "5"),
            ("max_seq_len", "24"),
            ("dtype", "f32"),
            ("device", "cpu"),
            ("text_column", "text"),
        ] {
            assert_eq!(value(key), expected);
        }
        assert_eq!(value("weights_fingerprint").len(), 64);
    }
}

#[test]
fn the_same_command_writes_the_same_tables() {
    let world = World::new();
    world.scan(&["--out", "first"]).succeeds();
    world.scan(&["--out", "second"]).succeeds();
    let [first, second] = ["first", "second"].map(|out| super::tables(&world.path(out)));
    assert_eq!(first, second);
}

#[test]
fn the_table_for_people_names_every_layer_and_the_sparsest_heads() {
    let world = World::new();
    let finished = world
        .scan(&["--model", text(&world.files.models[1])])
        .succeeds();
    let text = &finished.stdout;
    assert!(text.contains("sigmoid, 4 layers × 6 heads"), "{finished}");
    assert!(
        text.contains("(1 texts without a token were skipped)"),
        "{finished}"
    );
    for row in ["    0  ", "    1  ", "    2  ", "    3  ", "  all  "] {
        assert!(text.lines().any(|line| line.starts_with(row)), "{finished}");
    }
    let (_, sparsest) = text.split_once("the 10 sparsest heads\n").unwrap();
    let scores: Vec<f64> = sparsest
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(2).unwrap().parse().unwrap())
        .collect();
    assert_eq!(scores.len(), 10);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}

#[test]
fn rows_that_are_not_finite_are_counted_and_the_scan_finishes() {
    let world = World::new();
    checkpoint::edit(world.model(), |tensors| {
        let o_proj = "model.layers.1.self_attn.o_proj.weight";
        let weights = &mut tensors.get_mut(o_proj).unwrap().bytes;
        weights[..2].copy_from_slice(&[0xc0, 0x7f]);
    });
    for memory in ["resident", "streamed"] {
        let finished = world
            .scan(&["--json", "--memory", memory, "--out", memory])
            .ends(6);
        let summary = finished.json();
        // Layers 0 and 1 come before the NaN, and every row of 2 and 3 after it.
        let tokens = summary["tokens"].as_u64().unwrap();
        let rows = tokens * 2 * 6;
        assert_eq!(summary["non_finite_rows"], rows);
        let says =
            format!("{rows} attention rows are not finite; column non_finite_rows says where");
        assert!(finished.stderr.contains(&says), "{finished}");
        for head in summary["heads"].as_array().unwrap() {
            let is_after = head["layer"].as_u64().unwrap() >= 2;
            assert_eq!(head["non_finite_rows"], if is_after { tokens } else { 0 });
            assert_eq!(head["sparsity_score"].is_null(), is_after, "{head}");
        }
        assert_eq!(world.run_json(memory)["non_finite_rows"], rows);
        assert_eq!(names(&world.path(memory)), RESULTS);
        let samples = table(&world, &format!("{memory}/samples.parquet"));
        assert_eq!(
            samples.integers("non_finite_rows").iter().sum::<i64>(),
            rows as i64
        );
        assert!(
            samples
                .floats("max_share_sum")
                .iter()
                .all(|sum| sum.is_finite())
        );
    }
    // Resumed, it is still not finite; and people are told, too.
    let again = world
        .scan(&["--memory", "resident", "--out", "resident", "--resume"])
        .ends(6);
    assert!(
        again
            .stdout
            .contains("attention rows in 12 of 24 heads are not finite"),
        "{again}"
    );
}
