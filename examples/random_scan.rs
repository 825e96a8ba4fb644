//! Writes the output directory of a scan that never happened, of any size, for trying out what reads scans:
//!
//! ```text
//! cargo run --release --example random_scan -- --kind sigmoid --layers 32 --heads 32 --out /data/sigmoid
//! ```
//!
//! The numbers look like those of trained models (sinks in the middle layers of a softmax model, flatter heads and
//! totals other than 1 in a sigmoid model) and fit together: a share is no larger than the largest, an entropy is one
//! that rows with this largest share can have. They mean nothing. Two scans with the same `--samples` claim the
//! same texts, whatever their `--seed`, so that they can be compared.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use attnscope::corpus::{SampleSize, indices_sha256, sample_rows};
use attnscope::metrics::{HeadSums, Measures};
use attnscope::random::PythonRandom;
use attnscope::store::{
    BatchPlan, DatasetRecord, Fingerprint, ModelRecord, Parts, RunManifest, SampleRow,
    SamplingRecord, Timings, rfc3339,
};
use clap::{Parser, ValueEnum};
use serde_json::json;

/// Writes a scan directory with random scores.
#[derive(Parser)]
struct Args {
    /// The directory to make; it must not exist, or be empty.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 32)]
    layers: usize,
    #[arg(long, default_value_t = 32)]
    heads: usize,
    /// Texts.
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    #[arg(long, value_enum, default_value = "softmax")]
    kind: Kind,
    /// The same seed and sizes give the same tables.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The model's name [default: random-softmax or random-sigmoid].
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Softmax,
    Sigmoid,
}

/// Rows of the dataset that is claimed.
const ROWS: usize = 10_000;
/// Texts are claimed to be cut here.
const MAX_SEQ_LEN: usize = 256;
/// Of the claimed draw and of the lengths of the texts.
const TEXTS_SEED: u64 = 42;

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.layers > 0 && args.heads > 0,
        "a model has at least one layer and one head"
    );
    if let Ok(mut entries) = fs::read_dir(&args.out) {
        ensure!(
            entries.next().is_none(),
            "{}: the directory is not empty",
            args.out.display()
        );
    }
    let texts = Texts::new(args.samples)?;
    let manifest = manifest(&args, &texts);
    let fingerprint = manifest.fingerprint.clone().context("set above")?;
    let mut parts = Parts::create(&args.out, &fingerprint)?;
    let mut random = Random(PythonRandom::new(args.seed));
    for layer in 0..args.layers {
        let depth = layer as f64 / (args.layers.max(2) - 1) as f64;
        let mut rows = Vec::with_capacity(args.heads * args.samples);
        for head in 0..args.heads {
            let traits = Traits::draw(args.kind, depth, &mut random);
            for (&(sample, tokens), &mood) in texts.lengths.iter().zip(&texts.moods) {
                rows.push(SampleRow {
                    sample,
                    layer: i32::try_from(layer)?,
                    head: i32::try_from(head)?,
                    sums: traits.sums(tokens, mood, &mut random),
                });
            }
        }
        parts.write(0, layer..layer + 1, rows)?;
    }
    let samples: Vec<i64> = texts.lengths.iter().map(|&(sample, _)| sample).collect();
    parts.finish(args.layers, &samples, None, &manifest.provenance())?;
    manifest.write(&args.out)?;
    parts.remove()?;
    println!("{}", args.out.display());
    Ok(())
}

/// What all scans of so many samples share.
struct Texts {
    indices_sha256: String,
    /// Row number in the dataset and tokens, ascending.
    lengths: Vec<(i64, i64)>,
    /// What a text does to all heads alike.
    moods: Vec<f64>,
}

impl Texts {
    fn new(samples: usize) -> Result<Self> {
        let indices = sample_rows(ROWS, SampleSize::Rows(samples), TEXTS_SEED)?;
        let mut random = Random(PythonRandom::new(TEXTS_SEED));
        let mut lengths: Vec<(i64, i64)> = indices
            .iter()
            .map(|&row| {
                // Most texts are longer than the limit.
                let tokens = (5.6 + 1.1 * random.normal()).exp() as i64;
                (row as i64, tokens.clamp(8, MAX_SEQ_LEN as i64))
            })
            .collect();
        lengths.sort_unstable();
        let moods = lengths.iter().map(|_| 0.25 * random.normal()).collect();
        Ok(Self {
            indices_sha256: indices_sha256(&indices),
            lengths,
            moods,
        })
    }
}

/// What a head is like, over all texts.
struct Traits {
    kind: Kind,
    /// Share of the first token, as a logit.
    sink: f64,
    /// Largest share of what the first token leaves, as a logit.
    focus: f64,
    /// Largest weight of a sigmoid row, as a logit.
    weight: f64,
    /// How much of the entropy that the largest share leaves open is there.
    spread: f64,
    /// How much texts differ.
    noise: f64,
}

impl Traits {
    fn draw(kind: Kind, depth: f64, random: &mut Random) -> Self {
        // Few sinks in the first and the last layers.
        let middle = (-((depth - 0.55) / 0.28).powi(2)).exp();
        let (sink, focus) = match kind {
            Kind::Softmax => (-4.0 + 5.0 * middle, -1.2),
            Kind::Sigmoid => (-3.6 + 0.8 * middle, -1.9),
        };
        Self {
            kind,
            sink: sink + 1.3 * random.normal(),
            focus: focus + 0.9 * random.normal(),
            weight: -1.0 + 1.4 * random.normal() - depth,
            spread: 0.55 + 0.3 * random.uniform(),
            noise: 0.15 + 0.45 * random.uniform(),
        }
    }

    fn sums(&self, tokens: i64, mood: f64, random: &mut Random) -> HeadSums {
        let rows = tokens as f64;
        let mut logistic = |logit: f64| {
            let noisy = logit + mood + self.noise * random.normal();
            1.0 / (1.0 + (-noisy).exp())
        };
        let first = logistic(self.sink);
        let rest = logistic(self.focus);
        let weight = logistic(self.weight);
        // The first row sees only itself: its share is 1.
        let own = 1.0 / rows;
        let first = own + (1.0 - own) * first;
        let largest = first + (1.0 - first) * rest;
        // Of n keys, one with the share m: the entropy lies between −ln m and that of the others being equal.
        let keys = (0.5 * rows).max(2.0);
        let others = 1.0 - largest;
        let lowest = -largest.ln();
        let highest = -largest * largest.ln() - others * (others / (keys - 1.0)).ln();
        let entropy = lowest + self.spread * (highest - lowest).max(0.0);
        let (max_weight, total) = match self.kind {
            Kind::Softmax => (largest, 1.0),
            Kind::Sigmoid => (weight, weight / largest),
        };
        HeadSums {
            tokens,
            max_share_sum: rows * largest,
            first_share_sum: rows * first,
            max_weight_sum: rows * max_weight,
            total_weight_sum: rows * total,
            entropy_sum: rows * entropy,
            non_finite_rows: 0,
            ..HeadSums::default()
        }
    }
}

struct Random(PythonRandom);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// Near enough to a standard normal number: twelve uniform ones are more exact, four are quicker.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.uniform()).sum();
        (sum - 2.0) * 3f64.sqrt()
    }
}

fn manifest(args: &Args, texts: &Texts) -> RunManifest {
    let kind = match args.kind {
        Kind::Softmax => "softmax",
        Kind::Sigmoid => "sigmoid",
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => format!("random-{kind}"),
    };
    let config = json!({
        "model_type": "gala",
        "attention_function": kind,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.heads,
    });
    let now = rfc3339(std::time::SystemTime::now());
    let fingerprint = Fingerprint::from([
        ("model".into(), json!(name)),
        ("seed".into(), json!(args.seed)),
        ("n_samples".into(), json!(args.samples)),
    ]);
    RunManifest {
        attnscope_version: env!("CARGO_PKG_VERSION").into(),
        model: ModelRecord {
            name,
            path: None,
            repo: None,
            revision: None,
            model_type: "gala".into(),
            config,
            weights_fingerprint: Some(format!("random {}", args.seed)),
        },
        dataset: DatasetRecord {
            name: "random-texts".into(),
            files: Vec::new(),
            repo: None,
            revision: None,
            config: None,
            split: Some("train".into()),
            text_column: Some("text".into()),
            rows: ROWS as u64,
        },
        sampling: SamplingRecord {
            n_samples: args.samples as u64,
            seed: Some(TEXTS_SEED),
            indices_sha256: Some(texts.indices_sha256.clone()),
            texts_sum: None,
            shard: None,
            skipped: 0,
        },
        max_seq_len: MAX_SEQ_LEN as u64,
        special_tokens: "none".into(),
        preprocessing: None,
        metrics: Measures::default(),
        dtype: "f32".into(),
        device: "cpu".into(),
        executor: "resident".into(),
        batch_plan: Some(BatchPlan {
            samples: args.samples as u64,
            tokens: (args.samples * MAX_SEQ_LEN) as u64,
        }),
        samples: args.samples as u64,
        tokens: texts.lengths.iter().map(|&(_, tokens)| tokens as u64).sum(),
        non_finite_rows: 0,
        started_at: now.clone(),
        finished_at: now,
        resumed: 0,
        timings: Timings::default(),
        tokens_per_second: None,
        peak_memory_bytes: None,
        fingerprint: Some(fingerprint),
        merged_from: Vec::new(),
    }
}
