//! Trained models as checkpoint directories.

use std::fs;

use attnscope::{
    checkpoint::{Checkpoint, SINGLE_FILE},
    corpus::{Preprocessing, TextTokenizer},
    layers::PackedSequences,
    scan,
    store::{SampleReader, SampleRow},
    train::{
        Settings,
        checkpoint::{TEXTS, write, write_texts},
        metrics::Heads,
        run::{Trained, run},
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::Device;

use super::{
    run::{Follower, settings},
    scan::{Silent, sums},
};
use crate::scan::request;

fn tasks() -> [Task; 3] {
    [
        Task::Induction(Induction::default()),
        Task::Induction(Induction {
            shift_query_token: false,
            ..Induction::default()
        }),
        Task::Classification(Classification::default()),
    ]
}

fn train(task: &Task, kind: &str) -> (Settings, Trained) {
    let settings = Settings {
        num_train: 200,
        num_eval: 40,
        num_epochs: 2,
        ..settings(task.clone(), kind)
    };
    let trained = run(&settings, &Device::Cpu, &Follower::new(usize::MAX)).unwrap();
    (settings, trained)
}

#[test]
fn texts_become_the_very_ids() {
    for task in tasks() {
        let (_, trained) = train(&task, "softmax");
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("a/model");
        write(&model, &task, &trained.parameters).unwrap();
        let path = model.join("tokenizer.json");
        let tokenizer = TextTokenizer::from_file(&path, Preprocessing::default()).unwrap();
        let all: Vec<u32> = (0..task.vocab_size() as u32).collect();
        assert_eq!(tokenizer.encode(&task.text(&all)).unwrap(), all);
        for sample in &trained.eval_samples {
            let ids = tokenizer.encode(&task.text(&sample.input_ids)).unwrap();
            assert_eq!(ids, sample.input_ids);
        }
        for unknown in ["hello", "1 2 500", "-1"] {
            let error = tokenizer.encode(unknown).unwrap_err();
            assert_eq!(error.exit_code(), 3, "{unknown}");
        }
    }
    let [shifted, plain, classes] = tasks();
    assert_eq!(shifted.text(&[0, 7, 49, 57, 50]), "BOS 7 49 7' BOS'");
    assert_eq!(plain.text(&[0, 7, 49]), "BOS 7 49");
    assert_eq!(classes.text(&[40, 1, 0]), "40 1 CLS");
}

/// The model that is read is the model that was trained.
#[test]
fn weights_are_kept_bit_for_bit() {
    let (_, trained) = train(&tasks()[0], "mlp_unnorm");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &tasks()[0], &trained.parameters).unwrap();
    let path = dir.path().join(SINGLE_FILE);
    let read = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let variables = trained.parameters.variables();
    assert_eq!(read.len(), variables.len());
    for (name, variable) in variables {
        assert_eq!(read[name].dims(), variable.dims());
        let bits = |tensor: &candle_core::Tensor| -> Vec<u32> {
            let entries: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            entries.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&read[name]), bits(variable), "{name}");
    }
    let config = trained.parameters.config();
    let model = attnscope::models::open(dir.path()).unwrap();
    assert_eq!(*model.config(), serde_json::to_value(config).unwrap());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    checkpoint.check(&model.tensors()).unwrap();
}

/// A scan adds up all rows, and the sink score takes those from the second to the third from last: causal rows do not
/// change when what follows is cut off, and the first row has all its weight on the only token it sees.
#[test]
fn a_scan_finds_the_sink_scores() {
    for (task, kind) in tasks().iter().zip(["softmax", "sigmoid_unnorm"]) {
        let (_, trained) = train(task, kind);
        let dir = tempfile::tempdir().unwrap();
        let (model, texts) = (
            dir.path().join("model"),
            dir.path().join("model/texts.jsonl"),
        );
        write(&model, task, &trained.parameters).unwrap();
        write_texts(&model, task, &trained.eval_samples).unwrap();
        let mut request = request(&model, &texts, &dir.path().join("out"));
        request.max_seq_len = 10;
        let outcome = scan::run(&request, &Silent).unwrap();
        let Heads::Induction(heads) = trained.evaluation.unwrap().heads else {
            panic!("{kind}")
        };
        assert_eq!(outcome.heads.len(), heads.len());
        for (scanned, measured) in outcome.heads.iter().zip(&heads) {
            let (layer, head) = (scanned.layer as usize, scanned.head as usize);
            assert_eq!((layer, head), (measured.layer, measured.head));
            assert_eq!(scanned.sums.tokens, 400);
            let share = (scanned.sums.first_share_sum - 40.0) / 360.0;
            let difference = (share - measured.sink_score).abs();
            assert!(difference < 1e-6, "{kind}: {share} {measured:?}");
        }
    }
}

#[test]
fn a_scan_finds_the_shares_of_a_classifier() {
    let task = &tasks()[2];
    let (_, trained) = train(task, "sigmoid_norm");
    let dir = tempfile::tempdir().unwrap();
    let (model, texts) = (
        dir.path().join("model"),
        dir.path().join("model/texts.jsonl"),
    );
    write(&model, task, &trained.parameters).unwrap();
    write_texts(&model, task, &trained.eval_samples).unwrap();
    let out = dir.path().join("out");
    scan::run(&request(&model, &texts, &out), &Silent).unwrap();
    let rows: Vec<SampleRow> = SampleReader::open(&out)
        .unwrap()
        .flat_map(|layer| layer.unwrap())
        .collect();
    assert_eq!(rows.len(), 40 * 4);
    let network = trained.parameters.network().unwrap();
    for row in rows {
        let input_ids = &trained.eval_samples[row.sample as usize].input_ids;
        let sequence = PackedSequences::from_lengths(&[input_ids.len()]);
        let maps = network.forward(input_ids, &sequence, true).unwrap();
        let map = &maps.attn_weights[row.layer as usize][0];
        let [expected, ..] = sums(map, row.head as usize, false);
        let found = row.sums.max_share_sum;
        assert!(
            (found - expected).abs() < 1e-5 * expected,
            "{found} {expected}"
        );
    }
}

#[test]
fn a_checkpoint_is_never_overwritten() {
    let (_, trained) = train(&tasks()[2], "softmax");
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", SINGLE_FILE, "tokenizer.json", TEXTS] {
        let model = dir.path().join(format!("with-{name}"));
        fs::create_dir(&model).unwrap();
        fs::write(model.join(name), "mine").unwrap();
        let error = write(&model, &tasks()[2], &trained.parameters).unwrap_err();
        assert!(error.to_string().contains("never overwritten"), "{error}");
        assert_eq!(fs::read(model.join(name)).unwrap(), b"mine");
        assert_eq!(fs::read_dir(&model).unwrap().count(), 1);
    }
}
