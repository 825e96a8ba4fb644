//! Scans of small transformers.

use std::{collections::HashMap, fs, path::Path};

use attnscope::{
    Error, inspect,
    layers::{PackedSequences, attention::AttentionKind},
    models::small_transformer::Config,
    random::{NumpyRandom, PythonRandom},
    scan::{
        self, Progress, Watcher,
        plan::{Memory, Plan},
        sources::ModelFiles,
    },
    store::{SampleReader, SampleRow},
    train::{
        Parameters,
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::config;
use crate::scan::{request, spelled, word_tokenizer};

pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _: u64) {}
}

impl Watcher for Silent {
    fn tokenized(&self, _: usize, _: usize) {}

    fn planned(&self, _: &Plan, _: u64, _: u64) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// A random model, written as a checkpoint directory.
fn write(dir: &Path, config: &Config) -> Parameters {
    let mut random = NumpyRandom::new(4);
    let parameters = Parameters::random(config.clone(), &mut random, DType::F32, &Device::Cpu);
    let parameters = parameters.unwrap();
    fs::create_dir_all(dir).unwrap();
    let json = serde_json::to_vec(config).unwrap();
    fs::write(dir.join("config.json"), json).unwrap();
    fs::write(
        dir.join("tokenizer.json"),
        word_tokenizer(config.vocab_size),
    )
    .unwrap();
    let tensors: HashMap<String, Tensor> = parameters
        .variables()
        .iter()
        .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()))
        .collect();
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
    parameters
}

fn write_texts(path: &Path, texts: &[Vec<u32>]) {
    let lines: String = texts
        .iter()
        .map(|ids| format!("{}\n", json!({ "text": spelled(ids) })))
        .collect();
    fs::write(path, lines).unwrap();
}

/// Sums of a head over the rows of a map, in float64 and in the plainest form: largest share, share of key 0, largest
/// weight, total, entropy.
pub fn sums(map: &Tensor, head: usize, causal: bool) -> [f64; 5] {
    let map: Vec<Vec<Vec<f32>>> = map.to_vec3().unwrap();
    let mut sums = [0f64; 5];
    for (query, row) in map[head].iter().enumerate() {
        let seen = if causal { query + 1 } else { row.len() };
        let row: Vec<f64> = row[..seen].iter().map(|&w| f64::from(w)).collect();
        let total: f64 = row.iter().sum();
        let largest = row.iter().fold(0.0f64, |m, &w| m.max(w));
        let shares = row.iter().map(|w| w / total);
        let entropy: f64 = shares
            .map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 })
            .sum();
        for (sum, x) in
            sums.iter_mut()
                .zip([largest / total, row[0] / total, largest, total, entropy])
        {
            *sum += x;
        }
    }
    sums
}

fn found(row: &SampleRow) -> [f64; 5] {
    let s = &row.sums;
    [
        s.max_share_sum,
        s.first_share_sum,
        s.max_weight_sum,
        s.total_weight_sum,
        s.entropy_sum,
    ]
}

/// Every function that has shares, causal with positions and not causal without, by both executors: against the maps of
/// the network that is trained.
#[test]
fn scans_agree_with_the_maps_of_the_network_in_training() {
    let tasks = [
        Task::Induction(Induction::default()),
        Task::Classification(Classification::default()),
    ];
    let mut worst = 0.0f64;
    for task in tasks {
        let samples = task.samples(9, &mut PythonRandom::new(2)).unwrap();
        // Of several lengths, so that positions begin anew at odd places.
        let texts: Vec<Vec<u32>> = samples
            .iter()
            .enumerate()
            .map(|(i, sample)| sample.input_ids[..sample.input_ids.len() - i % 3].to_vec())
            .collect();
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        for kind in AttentionKind::ALL {
            if kind.has_signed_weights() {
                continue;
            }
            let config = config(&task, kind);
            let dir = tempfile::tempdir().unwrap();
            let (model, path) = (dir.path().join("model"), dir.path().join("texts.jsonl"));
            let parameters = write(&model, &config);
            write_texts(&path, &texts);
            let maps = parameters
                .network()
                .unwrap()
                .forward(
                    &texts.concat(),
                    &PackedSequences::from_lengths(&lengths),
                    true,
                )
                .unwrap()
                .attn_weights;
            for memory in [Memory::Resident, Memory::Streamed] {
                let out = dir.path().join(format!("{memory:?}"));
                let mut request = request(&model, &path, &out);
                request.memory = memory;
                let outcome = scan::run(&request, &Silent).unwrap();
                assert_eq!(outcome.run.non_finite_rows, 0);
                assert_eq!(outcome.run.model.config["attention_function"], kind.name());
                let rows: Vec<SampleRow> = SampleReader::open(&out)
                    .unwrap()
                    .flat_map(|layer| layer.unwrap())
                    .collect();
                assert_eq!(rows.len(), 9 * 2 * 2);
                for row in rows {
                    let (sample, head) = (row.sample as usize, row.head as usize);
                    assert_eq!(row.sums.tokens as usize, lengths[sample]);
                    let map = &maps[row.layer as usize][sample];
                    let expected = sums(map, head, config.is_causal);
                    for (found, expected) in found(&row).into_iter().zip(expected) {
                        let difference = (found - expected).abs() / expected.abs().max(1.0);
                        worst = worst.max(difference);
                        assert!(difference < 2e-5, "{}: {found} {expected}", kind.name());
                    }
                }
            }
        }
    }
    println!("largest difference {worst:.1e}");
}

/// The error of a scan of this model with texts of the task, and that nothing was written.
fn refused(task: &Task, config: &Config) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let (model, path) = (dir.path().join("model"), dir.path().join("texts.jsonl"));
    write(&model, config);
    let samples = task.samples(2, &mut PythonRandom::new(2)).unwrap();
    let texts: Vec<Vec<u32>> = samples.into_iter().map(|s| s.input_ids).collect();
    write_texts(&path, &texts);
    let out = dir.path().join("out");
    let error = scan::run(&request(&model, &path, &out), &Silent).unwrap_err();
    assert!(!out.exists());
    error
}

#[test]
fn signed_weights_are_refused() {
    let task = Task::Induction(Induction::default());
    let signed = AttentionKind::ALL
        .into_iter()
        .filter(|kind| kind.has_signed_weights());
    for kind in signed {
        let error = refused(&task, &config(&task, kind));
        let says = format!(
            "field `attention_function`: `{}` gives weights that may be negative",
            kind.name()
        );
        assert!(error.to_string().contains(&says), "{error}");
        assert_eq!(error.exit_code(), 3);
    }
}

#[test]
fn texts_longer_than_the_positions_are_refused() {
    let task = Task::Induction(Induction::default());
    let short = Config {
        max_position_embeddings: 11,
        ..config(&task, AttentionKind::ALL[0])
    };
    let error = refused(&task, &short);
    let says = "--max-seq-len: a text has 12 tokens, and the model has positions for 11 (max_position_embeddings): use \
                --max-seq-len 11";
    assert_eq!(error.to_string(), says);
}

#[test]
fn inspect_takes_causal_models_only() {
    for task in [
        Task::Induction(Induction::default()),
        Task::Classification(Classification::default()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        write(
            &model,
            &config(&task, AttentionKind::named("linear").unwrap()),
        );
        let samples = task.samples(1, &mut PythonRandom::new(2)).unwrap();
        let result = inspect::run(
            &inspect::Request {
                model: ModelFiles::directory(&model),
                text: inspect::Text {
                    text: spelled(&samples[0].input_ids),
                    path: None,
                },
                layers: inspect::Selection::All,
                heads: inspect::Selection::All,
                max_seq_len: 64.try_into().unwrap(),
                device: Device::Cpu,
                device_name: "cpu".into(),
                dtype: DType::F32,
                out: dir.path().join("page.html"),
                weights: None,
                max_page_bytes: 64 << 20,
                command: "attnscope inspect".into(),
            },
            &Silent,
        );
        match task {
            Task::Induction(_) => {
                let outcome = result.unwrap();
                assert_eq!((outcome.heads.len(), outcome.tokens), (4, 12));
            }
            Task::Classification(_) => {
                let error = result.unwrap_err().to_string();
                assert!(
                    error.contains("config.json: field `is_causal`: is false"),
                    "{error}"
                );
            }
        }
    }
}
