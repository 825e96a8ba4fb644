//! The whole scan: from a checkpoint and texts to the tables, uninterrupted and otherwise.
//!
//! Models are random and tiny, and their tokenizer knows one word per id (`t0`, `t1`, …), so that a test decides
//! every token and every length.

mod executors;
pub mod float64;
mod golden;
#[cfg(unix)]
mod kill;
mod long;
mod measures;
#[cfg(unix)]
mod memory;
mod non_finite;
mod plan;
mod reference;
mod resume;
mod shards;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use attnscope::{
    corpus::SampleSize,
    metrics::HeadSums,
    random::PythonRandom,
    scan::{
        self, Outcome, Progress, Request, Watcher,
        plan::{Memory, Plan},
        sources::{self, ModelFiles},
    },
    store::{RunManifest, SampleReader, SampleRow},
};
use candle_core::{DType, Device};
use serde_json::json;
use tempfile::TempDir;

use crate::gala::generator::{AttentionFunction, Dtype, GalaConfig, write_checkpoint};

const FUNCTIONS: [AttentionFunction; 2] = [AttentionFunction::Softmax, AttentionFunction::Sigmoid];

/// Layers, hidden size, heads, intermediate size, vocabulary; six heads are no power of two.
const SMALL: [usize; 5] = [3, 48, 6, 96, 64];

/// A checkpoint and texts in a directory that goes when this does.
struct Fixture {
    dir: TempDir,
    model: PathBuf,
    texts: PathBuf,
}

impl Fixture {
    /// A random model of these sizes, with texts that are exactly these ids.
    fn new(function: AttentionFunction, sizes: [usize; 5], texts: &[Vec<u32>]) -> Self {
        let fixture = Self::of_model(texts, |dir| {
            let config = GalaConfig::new(function, sizes);
            let tokenizer = word_tokenizer(config.vocab_size);
            write_checkpoint(dir, &config, Dtype::F32, 7, u64::MAX, &tokenizer).unwrap();
        });
        assert!(fixture.model.join("config.json").is_file());
        fixture
    }

    /// Any model that `write` puts into the directory it is given.
    fn of_model(texts: &[Vec<u32>], write: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (model, path) = (dir.path().join("model"), dir.path().join("texts.jsonl"));
        write(&model);
        let lines: String = texts
            .iter()
            .map(|ids| format!("{}\n", json!({ "text": spelled(ids) })))
            .collect();
        fs::write(&path, lines).unwrap();
        Self {
            dir,
            model,
            texts: path,
        }
    }

    /// A directory for the results of a run.
    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All texts, float32 on the CPU, all layers in memory.
    fn request(&self, out: &str) -> Request {
        request(&self.model, &self.texts, &self.out(out))
    }
}

pub fn request(model: &Path, texts: &Path, out: &Path) -> Request {
    let no_hub = || panic!("nothing here is on the Hub");
    Request {
        model: ModelFiles {
            path: None,
            dir: model.to_path_buf(),
            preprocessing: None,
            name: "tiny".into(),
            repo: None,
            revision: None,
        },
        dataset: sources::dataset(&texts.display().to_string(), None, None, &no_hub).unwrap(),
        n_samples: SampleSize::All,
        seed: 42,
        max_seq_len: 256,
        batch_size: None,
        device: Device::Cpu,
        device_name: "cpu".into(),
        dtype: DType::F32,
        memory: Memory::Resident,
        out: out.to_path_buf(),
        resume: false,
        shard: None,
        measures: Default::default(),
    }
}

/// A `tokenizer.json` in which the word `t7` is token 7, and so on for `size` tokens.
pub fn word_tokenizer(size: usize) -> Vec<u8> {
    let vocab: BTreeMap<String, usize> = (0..size).map(|id| (format!("t{id}"), id)).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "t2" },
    });
    serde_json::to_vec(&tokenizer).unwrap()
}

/// The text that [`word_tokenizer`] turns into these ids.
pub fn spelled(ids: &[u32]) -> String {
    let words: Vec<String> = ids.iter().map(|id| format!("t{id}")).collect();
    words.join(" ")
}

/// Texts of these lengths, of random ids that are no padding.
fn random_texts(lengths: &[usize], vocab_size: usize) -> Vec<Vec<u32>> {
    let mut random = PythonRandom::new(1);
    let mut id = || 1 + random.below(vocab_size - 1) as u32;
    lengths
        .iter()
        .map(|&length| (0..length).map(|_| id()).collect())
        .collect()
}

fn batch_size(samples: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(samples)
}

/// Lets a scan run, and keeps its plan.
#[derive(Default)]
struct Silent {
    plan: std::sync::Mutex<Option<Plan>>,
}

impl Progress for Silent {
    fn advance(&self, _: u64) {}
}

impl Watcher for Silent {
    fn tokenized(&self, _: usize, _: usize) {}

    fn planned(&self, plan: &Plan, _: u64, _: u64) {
        *self.plan.lock().unwrap() = Some(plan.clone());
    }

    fn is_stopped(&self) -> bool {
        false
    }
}

/// Stops a scan after so many passes of a batch through a layer.
struct StopAfter {
    passes: u64,
    seen: AtomicU64,
}

impl StopAfter {
    fn new(passes: u64) -> Self {
        Self {
            passes,
            seen: AtomicU64::new(0),
        }
    }
}

impl Progress for StopAfter {
    fn advance(&self, _: u64) {
        self.seen.fetch_add(1, Ordering::SeqCst);
    }
}

impl Watcher for StopAfter {
    fn tokenized(&self, _: usize, _: usize) {}

    fn planned(&self, _: &Plan, _: u64, _: u64) {}

    fn is_stopped(&self) -> bool {
        self.seen.load(Ordering::SeqCst) >= self.passes
    }
}

fn run(request: &Request) -> Outcome {
    scan::run(request, &Silent::default()).unwrap()
}

/// Runs a scan and reads `samples.parquet` back: layer by layer, by sample and head.
fn scan_rows(request: &Request) -> Vec<SampleRow> {
    run(request);
    rows(&request.out)
}

fn rows(out: &Path) -> Vec<SampleRow> {
    SampleReader::open(out)
        .unwrap()
        .flat_map(|layer| layer.unwrap())
        .collect()
}

/// Names and bytes of all tables.
fn tables(out: &Path) -> Vec<(String, Vec<u8>)> {
    let names = names(out).into_iter();
    names
        .filter(|name| name.ends_with(".parquet"))
        .map(|name| (name.clone(), fs::read(out.join(name)).unwrap()))
        .collect()
}

/// Names in a directory, hidden ones included, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What a finished run leaves, and nothing else.
#[track_caller]
fn assert_finished(out: &Path) {
    let metrics = RunManifest::read(out).unwrap().metrics;
    let mut expected = vec!["heads.parquet", "run.json", "samples.parquet"];
    expected.extend(metrics.lags.map(|_| "lags.parquet"));
    expected.extend(metrics.activations.then_some("activations.parquet"));
    expected.sort_unstable();
    assert_eq!(names(out), expected);
}

const COLUMNS: [&str; 5] = [
    "max_share",
    "first_share",
    "max_weight",
    "total_weight",
    "entropy",
];

/// The means over a row's tokens, in the order of [`COLUMNS`].
pub fn means(sums: &HeadSums) -> [f64; 5] {
    [
        sums.max_share_sum,
        sums.first_share_sum,
        sums.max_weight_sum,
        sums.total_weight_sum,
        sums.entropy_sum,
    ]
    .map(|sum| sum / (sums.tokens as f64).max(1.0))
}

/// The largest difference of two tables, column by column, between the means over a row's tokens: in units of
/// the mean where that is more than 1, as totals of sigmoid rows are. Everything else must be equal.
#[track_caller]
fn largest_differences(found: &[SampleRow], expected: &[SampleRow]) -> [f64; 5] {
    assert_eq!(found.len(), expected.len());
    let mut largest = [0f64; 5];
    for (a, b) in found.iter().zip(expected) {
        let key = |row: &SampleRow| {
            let sums = &row.sums;
            let counts = (sums.tokens, sums.non_finite_rows);
            (row.sample, row.layer, row.head, counts)
        };
        assert_eq!(key(a), key(b));
        for ((a, b), largest) in means(&a.sums).iter().zip(means(&b.sums)).zip(&mut largest) {
            let difference = (a - b).abs() / b.abs().max(1.0);
            if difference > *largest || difference.is_nan() {
                *largest = difference;
            }
        }
    }
    largest
}

/// Prints the largest differences, and fails if one exceeds the bound.
#[track_caller]
fn assert_close(case: &str, found: &[SampleRow], expected: &[SampleRow], bound: f64) {
    let largest = largest_differences(found, expected);
    print_differences(case, &largest);
    for (column, difference) in COLUMNS.iter().zip(largest) {
        assert!(
            difference <= bound,
            "{case}: {column} differs by {difference:.3e}, more than {bound:.0e}"
        );
    }
}

fn print_differences(case: &str, largest: &[f64; 5]) {
    let columns: Vec<String> = COLUMNS
        .iter()
        .zip(largest)
        .map(|(column, difference)| format!("{column} {difference:.1e}"))
        .collect();
    println!("{case}: {}", columns.join(", "));
}
