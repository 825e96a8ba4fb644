//! The output directory of a scan: tables, parts, resume, merge, manifest.

mod atomicity;
mod manifest;
mod merging;
mod resuming;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use attnscope::corpus::Shard;
use attnscope::metrics::HeadSums;
use attnscope::store::{
    BatchPlan, DatasetRecord, Fingerprint, HeadRow, ModelRecord, Parts, Provenance, Resumed,
    RunManifest, SampleReader, SampleRow, SamplingRecord, Timings,
};
use serde_json::json;

const N_LAYERS: usize = 3;
const N_HEADS: i32 = 4;

/// A small deterministic generator (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Uniform in [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The row of one head in one sample, the same whenever it is asked for; sums use all their bits.
fn row(sample: i64, layer: i32, head: i32) -> SampleRow {
    let seed = (sample as u64) << 32 | (layer as u64) << 16 | head as u64;
    let mut random = Random(seed);
    let tokens = 1 + random.below(256) as i64;
    let mut sum = || random.fraction() * tokens as f64;
    let sums = HeadSums {
        tokens,
        max_share_sum: sum(),
        first_share_sum: sum(),
        max_weight_sum: sum(),
        total_weight_sum: sum(),
        entropy_sum: sum(),
        non_finite_rows: i64::from(sample % 5 == 0),
        ..HeadSums::default()
    };
    SampleRow {
        sample,
        layer,
        head,
        sums,
    }
}

/// All heads of the samples in the layers.
fn rows(samples: &[i64], layers: std::ops::Range<usize>) -> Vec<SampleRow> {
    let mut rows = Vec::new();
    for &sample in samples {
        for layer in layers.clone() {
            rows.extend((0..N_HEADS).map(|head| row(sample, layer as i32, head)));
        }
    }
    rows
}

/// `n` distinct sample indices in no order.
fn some_samples(n: usize, seed: u64) -> Vec<i64> {
    let mut samples: Vec<i64> = (0..n as i64).map(|i| 7 * i + 3).collect();
    Random(seed).shuffle(&mut samples);
    samples
}

/// The rows in the order of the finished file.
fn in_order(mut rows: Vec<SampleRow>) -> Vec<SampleRow> {
    rows.sort_by_key(|row| (row.layer, row.sample, row.head));
    rows
}

/// What `heads.parquet` must hold, computed the plain way.
fn heads_of(rows: &[SampleRow]) -> Vec<HeadRow> {
    let mut heads: BTreeMap<(i32, i32), (i64, HeadSums)> = BTreeMap::new();
    for row in in_order(rows.to_vec()) {
        let (samples, sums) = heads.entry((row.layer, row.head)).or_default();
        *samples += 1;
        sums.merge(&row.sums);
    }
    heads
        .into_iter()
        .map(|((layer, head), (samples, sums))| HeadRow {
            layer,
            head,
            samples,
            sums,
            lag_fit: None,
        })
        .collect()
}

fn fingerprint() -> Fingerprint {
    Fingerprint::from([
        (
            "model".to_owned(),
            json!({"name": "tiny", "weights": "ab12"}),
        ),
        ("max_seq_len".to_owned(), json!(256)),
        ("threshold".to_owned(), json!(0.5)),
    ])
}

fn provenance() -> Provenance {
    Provenance::from([("attnscope.model".to_owned(), "tiny".to_owned())])
}

fn resume(out: &Path) -> Parts {
    match Parts::resume(out, &fingerprint()).unwrap() {
        Resumed::Unfinished(parts) => parts,
        Resumed::Finished(run) => panic!("{} is finished: {run:?}", out.display()),
    }
}

/// Every row of a scan, in file order.
fn read_all(path: &Path) -> Vec<SampleRow> {
    let reader = SampleReader::open(path).unwrap();
    reader.flat_map(|rows| rows.unwrap()).collect()
}

/// A complete run in `out`, batches of three samples, all layers of a batch at once.
fn run(out: &Path, samples: &[i64], shard: Option<Shard>) -> RunManifest {
    let mut parts = Parts::create(out, &fingerprint()).unwrap();
    for (batch, samples) in samples.chunks(3).enumerate() {
        let rows = rows(samples, 0..N_LAYERS);
        parts.write(batch, 0..N_LAYERS, rows).unwrap();
    }
    let mut run = a_manifest();
    run.samples = samples.len() as u64;
    run.sampling.shard = shard;
    run.tokens = rows(samples, 0..1)
        .iter()
        .filter(|row| row.head == 0)
        .map(|row| row.sums.tokens as u64)
        .sum();
    parts
        .finish(N_LAYERS, samples, shard, &run.provenance())
        .unwrap();
    run.write(out).unwrap();
    parts.remove().unwrap();
    run
}

fn a_manifest() -> RunManifest {
    RunManifest {
        attnscope_version: "0.1.0".into(),
        model: ModelRecord {
            name: "tiny".into(),
            path: None,
            repo: Some("someone/tiny".into()),
            revision: Some("0123abcd".into()),
            model_type: "gala".into(),
            config: json!({"model_type": "gala", "num_hidden_layers": 3, "rms_norm_eps": 1e-6}),
            weights_fingerprint: Some("ab12".into()),
        },
        dataset: DatasetRecord {
            name: "texts".into(),
            files: vec!["texts.parquet".into()],
            repo: None,
            revision: None,
            config: None,
            split: Some("train".into()),
            text_column: Some("text".into()),
            rows: 1000,
        },
        sampling: SamplingRecord {
            n_samples: 30,
            seed: Some(42),
            indices_sha256: Some("cafe".into()),
            texts_sum: None,
            shard: None,
            skipped: 1,
        },
        max_seq_len: 256,
        special_tokens: "as the tokenizer says".into(),
        preprocessing: Some("newlines become <n>".into()),
        metrics: Default::default(),
        dtype: "f32".into(),
        device: "cpu".into(),
        executor: "resident".into(),
        batch_plan: Some(BatchPlan {
            samples: 3,
            tokens: 768,
        }),
        samples: 30,
        tokens: 4000,
        non_finite_rows: 0,
        started_at: "2026-03-09T11:20:05Z".into(),
        finished_at: "2026-03-09T11:21:05Z".into(),
        resumed: 0,
        timings: Timings {
            seconds_total: Some(60.5),
            seconds_compute: Some(50.0),
            ..Timings::default()
        },
        tokens_per_second: Some(66.6),
        peak_memory_bytes: Some(1 << 30),
        fingerprint: Some(fingerprint()),
        merged_from: Vec::new(),
    }
}

/// Names in the directory, hidden ones included, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Fails unless the error's message has all the `pieces`.
#[track_caller]
fn assert_says<T>(result: attnscope::Result<T>, pieces: &[&str]) -> attnscope::Error {
    let error = result.err().expect("this must fail");
    let message = error.to_string();
    for piece in pieces {
        assert!(message.contains(piece), "no `{piece}` in: {message}");
    }
    error
}
