//! What `train --out` leaves, held against the checkpoint beside it.

use std::{collections::BTreeMap, fs, path::Path};

use attnscope::{
    layers::PackedSequences,
    models::small_transformer::{Config, Network},
};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::{
    World,
    flow::frame::{Cell, Frame},
    names,
};

/// Two layers of two heads, 5 steps in each of 3 epochs.
const SMALL: [&str; 9] = [
    "--num-layers=2",
    "--num-heads=2",
    "--embed-dim=8",
    "--num-train=90",
    "--num-eval=30",
    "--num-epochs=3",
    "--batch-size=20",
    "--lr=0.01",
    "--seed=5",
];

/// A checkpoint, and the evaluation samples beside it.
struct Model {
    network: Network,
    tensors: std::collections::HashMap<String, Tensor>,
    texts: Vec<Vec<u32>>,
}

impl Model {
    fn read(dir: &Path) -> Self {
        let json: Value =
            serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        let config = Config::read("config.json".as_ref(), &json).unwrap();
        let path = dir.join("model.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let source = |name: &str, _: &[usize]| Ok(tensors[name].clone());
        let network = Network::new(&config, &source).unwrap();
        let tokenizer: Value =
            serde_json::from_slice(&fs::read(dir.join("tokenizer.json")).unwrap()).unwrap();
        let vocabulary: BTreeMap<String, u32> =
            serde_json::from_value(tokenizer["model"]["vocab"].clone()).unwrap();
        let lines = fs::read_to_string(dir.join("texts.jsonl")).unwrap();
        let texts = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let words = line["text"].as_str().unwrap().split(' ');
            words.map(|word| vocabulary[word]).collect()
        });
        Self {
            network,
            texts: texts.collect(),
            tensors,
        }
    }

    /// Layer by layer and head by head.
    fn maps(&self, sample: usize) -> Vec<Vec<Vec<Vec<f32>>>> {
        let ids = &self.texts[sample];
        let sequences = PackedSequences::from_lengths(&[ids.len()]);
        let output = self.network.forward(ids, &sequences, true).unwrap();
        let layers = output.attn_weights.iter();
        layers.map(|maps| maps[0].to_vec3().unwrap()).collect()
    }
}

fn total(row: &[f32]) -> f64 {
    row.iter().map(|&w| f64::from(w)).sum()
}

fn largest(row: &[f32]) -> f64 {
    row.iter().fold(f64::MIN, |most, &w| most.max(w.into()))
}

fn of_head(layer: usize, head: usize) -> [(&'static str, Cell); 2] {
    [
        ("layer", Cell::from(layer as f64)),
        ("head", Cell::from(head as f64)),
    ]
}

#[track_caller]
fn assert_close(found: &Cell, expected: f64) {
    let found = found.number();
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
}

/// Means over all samples of a number of each of their rows.
fn mean(model: &Model, (layer, head): (usize, usize), of: impl Fn(&[Vec<f32>]) -> Vec<f64>) -> f64 {
    let samples = 0..model.texts.len();
    let all: Vec<f64> = samples
        .flat_map(|sample| of(&model.maps(sample)[layer][head]))
        .collect();
    all.iter().sum::<f64>() / all.len() as f64
}

#[test]
fn induction_tables_are_those_of_the_checkpoint() {
    let world = World::new();
    let arguments = [
        &["train", "induction", "--json", "--out=d"],
        &SMALL[..],
        &["--attention-type=sigmoid_unnorm", "--track-every=4"],
    ]
    .concat();
    let told = world.run(&arguments).succeeds().json();
    let dir = world.path("d");
    let expected = [
        "attention-sample-0.png",
        "attention-sample-0.svg",
        "attention-sample-1.png",
        "attention-sample-1.svg",
        "config.json",
        "epochs.parquet",
        "epochs.png",
        "epochs.svg",
        "heads.parquet",
        "model.safetensors",
        "run.json",
        "texts.jsonl",
        "tokenizer.json",
        "tracking-0.png",
        "tracking-0.svg",
        "tracking-1.png",
        "tracking-1.svg",
        "tracking.parquet",
        "value-norms.png",
        "value-norms.svg",
        "value_norms.parquet",
    ];
    assert_eq!(names(&dir), expected);
    assert_eq!(told["files"], json!(expected));
    let model = Model::read(&dir);

    let heads = Frame::read(&dir.join("heads.parquet"));
    assert_eq!(
        heads.columns,
        "layer INT32 REQUIRED, head INT32 REQUIRED, sink_score DOUBLE OPTIONAL, sink_score_of_means DOUBLE OPTIONAL, \
         is_sink BOOLEAN OPTIONAL, bos_weight DOUBLE OPTIONAL, total_weight DOUBLE OPTIONAL, \
         non_finite_rows INT64 REQUIRED"
    );
    assert_eq!(heads.len(), 4);
    for (layer, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let row = heads.filter(&of_head(layer, head))[0];
        // At all positions but BOS and the last two of twelve.
        let guesses = |of: fn(&[f32]) -> f64| {
            mean(&model, (layer, head), |map| {
                map[1..10].iter().map(|row| of(row)).collect()
            })
        };
        let (bos, all) = (guesses(|row| row[0].into()), guesses(total));
        assert_close(&row["bos_weight"], bos);
        assert_close(&row["total_weight"], all);
        assert_close(&row["sink_score_of_means"], bos / all);
        let share = guesses(|row| f64::from(row[0]) / total(row));
        assert_close(&row["sink_score"], share);
        assert_eq!(row["is_sink"], Cell::from(f64::from(u8::from(share > 0.9))));
        assert_eq!(row["non_finite_rows"], Cell::from(0.0));
        let told = &told["heads"][2 * layer + head];
        assert!((told["bos_weight"].as_f64().unwrap() - bos).abs() < 1e-5);
    }

    let tracking = Frame::read(&dir.join("tracking.parquet"));
    assert_eq!(
        tracking.columns,
        "step INT64 REQUIRED, sample INT32 REQUIRED, layer INT32 REQUIRED, head INT32 REQUIRED, query INT32 REQUIRED, \
         key INT32 REQUIRED, query_token BYTE_ARRAY REQUIRED, key_token BYTE_ARRAY REQUIRED, weight DOUBLE OPTIONAL, \
         share DOUBLE OPTIONAL"
    );
    // After 0, 4, 8, 12 and 15 steps: four samples, four heads, twelve rows.
    assert_eq!(tracking.len(), 5 * 4 * 4 * 12);
    let texts = fs::read_to_string(dir.join("texts.jsonl")).unwrap();
    for sample in 0..4 {
        let maps = model.maps(sample);
        let line: Value = serde_json::from_str(texts.lines().nth(sample).unwrap()).unwrap();
        let words: Vec<&str> = line["text"].as_str().unwrap().split(' ').collect();
        for (layer, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let last = [("step", 15.0.into()), ("sample", (sample as f64).into())];
            let rows = tracking.filter(&[&last[..], &of_head(layer, head)].concat());
            assert_eq!(rows.len(), 12);
            for (query, row) in rows.iter().enumerate() {
                assert_eq!(row["query"], Cell::from(query as f64));
                assert_eq!(row["key"], Cell::from(0.0));
                assert_eq!(row["query_token"], Cell::from(words[query]));
                assert_eq!(row["key_token"], Cell::from("BOS"));
                let map = &maps[layer][head][query];
                assert_close(&row["weight"], map[0].into());
                assert_close(&row["share"], f64::from(map[0]) / total(map));
            }
        }
    }

    let norms = Frame::read(&dir.join("value_norms.parquet"));
    assert_eq!(
        norms.columns,
        "step INT64 REQUIRED, layer INT32 REQUIRED, head INT32 OPTIONAL, norm DOUBLE OPTIONAL"
    );
    assert_eq!(norms.len(), 5 * 2 * 3);
    for layer in 0..2 {
        let matrix = &model.tensors[&format!("layers.{layer}.v_proj.weight")];
        let matrix: Vec<Vec<f32>> = matrix.to_vec2().unwrap();
        let squares = |rows: &[Vec<f32>]| -> f64 {
            let entries = rows.iter().flatten();
            entries.map(|&x| f64::from(x) * f64::from(x)).sum()
        };
        // 8 × 8, of two heads with 4 rows each.
        for (head, rows) in [
            (Cell::Null, &matrix[..]),
            (0.0.into(), &matrix[..4]),
            (1.0.into(), &matrix[4..]),
        ] {
            let wanted = [
                ("step", 15.0.into()),
                ("layer", (layer as f64).into()),
                ("head", head),
            ];
            let found = norms.numbers("norm", &wanted);
            assert_eq!(found.len(), 1);
            assert!((found[0] - squares(rows).sqrt()).abs() < 1e-9);
        }
        let told = &told["value_norms"][4];
        assert_eq!(told["step"], 15);
        let whole = told["layers"][layer]["norm"].as_f64().unwrap();
        assert!((whole - squares(&matrix).sqrt()).abs() < 1e-9);
    }

    let epochs = Frame::read(&dir.join("epochs.parquet"));
    assert_eq!(
        epochs.columns,
        "epoch INT64 REQUIRED, steps INT64 REQUIRED, train_loss DOUBLE OPTIONAL, eval_loss DOUBLE OPTIONAL, \
         accuracy DOUBLE OPTIONAL"
    );
    assert_eq!(epochs.numbers("epoch", &[]), [1.0, 2.0, 3.0]);
    assert_eq!(epochs.numbers("steps", &[]), [5.0, 10.0, 15.0]);
    for (at, told) in told["epochs"].as_array().unwrap().iter().enumerate() {
        let row = &epochs.rows()[at];
        assert_close(&row["train_loss"], told["train_loss"].as_f64().unwrap());
        assert_close(&row["eval_loss"], told["eval"]["loss"].as_f64().unwrap());
        assert_close(&row["accuracy"], told["eval"]["accuracy"].as_f64().unwrap());
    }

    let run = world.run_json("d");
    assert_eq!(
        (&run["state"], &run["steps"], &run["has_learned"]),
        (&json!("finished"), &json!(15), &json!(false))
    );
    let config: Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(run["model"], config);
    assert_eq!(run["accuracy"], told["accuracy"]);
    assert_eq!(run["tracked"], told["tracked"]);
    assert_eq!(run["tracked"].as_array().unwrap().len(), 4);
    let others: Vec<&str> = expected.into_iter().filter(|n| *n != "run.json").collect();
    assert_eq!(run["files"], json!(others));
    assert_eq!(run["track_every"], 4);

    // The command that it names gives the same numbers.
    let command = run["command"].as_str().unwrap();
    assert_eq!(tracking.footer["attnscope.command"], command);
    let words = command.split(' ').skip(1).chain(["--json"]);
    let mut again = world.run(&words.collect::<Vec<_>>()).succeeds().json();
    assert_eq!(again["files"], json!([]));
    again["files"] = told["files"].clone();
    assert_eq!(again, told);
}

#[test]
fn classification_tables_are_those_of_the_checkpoint() {
    let world = World::new();
    let arguments = [
        &["train", "classification", "--out=d"],
        &SMALL[..],
        &["--attention-type=coupled_linear_unnorm"],
        &["--vocab-size=13", "--num-labels=3", "--seq-length=4"],
    ]
    .concat();
    world.run(&arguments).succeeds();
    let dir = world.path("d");
    let model = Model::read(&dir);
    let heads = Frame::read(&dir.join("heads.parquet"));
    assert_eq!(
        heads.columns,
        "layer INT32 REQUIRED, head INT32 REQUIRED, sparsity_score DOUBLE OPTIONAL, flip_rate DOUBLE OPTIONAL, \
         max_weight DOUBLE OPTIONAL, total_weight DOUBLE OPTIONAL, non_finite_rows INT64 REQUIRED"
    );
    for (layer, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let row = heads.filter(&of_head(layer, head))[0];
        let cls = |of: fn(&[f32]) -> f64| mean(&model, (layer, head), |map| vec![of(&map[3])]);
        assert_close(&row["max_weight"], cls(largest));
        assert_close(&row["total_weight"], cls(total));
        assert_close(&row["sparsity_score"], cls(|row| largest(row) / total(row)));
    }
    // After every epoch: of each label one sample, in every head the row of CLS.
    let tracking = Frame::read(&dir.join("tracking.parquet"));
    assert_eq!(tracking.len(), 4 * 3 * 4 * 4);
    let run = world.run_json("d");
    assert_eq!(run["track_every"], 5);
    let answers = run["tracked"].as_array().unwrap().iter();
    let answers: Vec<&Value> = answers.map(|tracked| &tracked["answer"]).collect();
    assert_eq!(json!(answers), json!(["0", "1", "2"]));
    for tracked in run["tracked"].as_array().unwrap() {
        let sample = tracked["sample"].as_u64().unwrap() as usize;
        // Groups of four: 1 to 4 are those of label 0.
        let label = (model.texts[sample][0] - 1) / 4;
        assert_eq!(tracked["answer"], label.to_string());
        let maps = model.maps(sample);
        let wanted = [
            &[("step", 15.0.into()), ("sample", (sample as f64).into())][..],
            &of_head(1, 1),
        ];
        let rows = tracking.filter(&wanted.concat());
        assert_eq!(rows.len(), 4);
        for (key, row) in rows.iter().enumerate() {
            assert_eq!(row["query_token"], Cell::from("CLS"));
            assert_eq!(row["key"], Cell::from(key as f64));
            assert_close(&row["weight"], maps[1][1][3][key].into());
        }
    }
    let labels = ["tracking-0.svg", "tracking-1.svg"];
    assert!(labels.iter().all(|name| dir.join(name).exists()));
}

#[test]
fn a_run_that_diverges_leaves_its_epochs_and_no_model() {
    let world = World::new();
    let flags = [
        &["train", "classification", "--out=d"],
        &SMALL[..7],
        &["--lr=1e30"],
    ]
    .concat();
    let finished = world.run(&flags).ends(1);
    for (text, says) in [
        (&finished.stdout, "diverged after step"),
        (&finished.stderr, "its epochs are in d, without a model"),
        (&finished.stderr, "take a smaller --lr"),
    ] {
        assert!(text.contains(says), "{finished}");
    }
    let expected = [
        "epochs.parquet",
        "epochs.png",
        "epochs.svg",
        "run.json",
        "texts.jsonl",
        "tracking-0.png",
        "tracking-0.svg",
        "tracking-1.png",
        "tracking-1.svg",
        "tracking.parquet",
        "value-norms.png",
        "value-norms.svg",
        "value_norms.parquet",
    ];
    assert_eq!(names(&world.path("d")), expected);
    let run = world.run_json("d");
    assert_eq!(run["state"], "diverged");
    assert_eq!(
        (&run["accuracy"], &run["has_learned"]),
        (&Value::Null, &Value::Null)
    );
    let epochs = Frame::read(&world.path("d/epochs.parquet"));
    let last = epochs.rows().last().unwrap();
    assert_eq!(last["steps"].number(), run["steps"].as_f64().unwrap());
    assert!([&last["train_loss"], &last["eval_loss"]].contains(&&Cell::Null));
    // A second one takes nothing away from it.
    world.run(&flags).fails(2, &["never overwritten"]);
    let scan = ["scan", "--model=d", "--dataset=d/texts.jsonl", "--out=s"];
    world.run(&scan).fails(3, &["config.json"]);
}

#[test]
fn nothing_is_tracked_that_is_not_wanted() {
    let world = World::new();
    let flags = [
        &["train", "induction", "--out=d", "--track-every=0", "--json"],
        &SMALL[..],
    ]
    .concat();
    let told = world.run(&flags).succeeds().json();
    assert_eq!(
        (&told["tracked"], &told["value_norms"]),
        (&json!([]), &json!([]))
    );
    let is_tracking = |name: &String| name.starts_with("tracking") || name.starts_with("value");
    assert!(!names(&world.path("d")).iter().any(is_tracking));
    assert_eq!(world.run_json("d")["track_every"], 0);
}

#[test]
fn what_is_there_is_not_overwritten_and_what_is_refused_makes_no_directory() {
    let world = World::new();
    for name in [
        "run.json",
        "heads.parquet",
        "texts.jsonl",
        "tokenizer.json",
        "value_norms.parquet",
        "epochs.svg",
        "tracking-1.png",
    ] {
        fs::create_dir(world.path("d")).unwrap();
        fs::write(world.path("d").join(name), "mine").unwrap();
        let flags = [&["train", "induction", "--out=d"], &SMALL[..]].concat();
        world.run(&flags).fails(2, &[name, "never overwritten"]);
        assert_eq!(names(&world.path("d")), [name]);
        fs::remove_dir_all(world.path("d")).unwrap();
    }
    for flag in [
        "--seq-length=99",
        "--num-heads=3",
        "--vocab-size=1",
        "--lr=0",
    ] {
        world
            .run(&["train", "induction", "--out=d", flag])
            .fails(2, &["train: "]);
        assert!(!world.path("d").exists(), "{flag}");
    }
}
