//! The scan: from a checkpoint and texts to per-head scores on disk.
//!
//! [`run`] does it all: it opens the model, samples and tokenises the texts, plans ([`plan`]), runs one of the
//! two executors ([`resident`], [`streamed`]), and writes the tables. What is done is on disk as soon as it
//! is done; a run that was interrupted, or killed, continues where it was.

pub mod device;
mod engine;
mod hidden_states;
pub mod memory;
mod observer;
pub mod plan;
mod resident;
pub mod sources;
mod streamed;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use candle_core::{DType, Device};
use serde_json::json;
use sha2::{Digest, Sha256};

pub use engine::Progress;
use engine::{Clock, Work};
use hidden_states::HiddenStates;
use plan::{Demand, Executor, Memory, Plan};
use sources::{DatasetFiles, ModelFiles};

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Weights},
    corpus::{
        Batch, BatchLimit, Preprocessing, Rows, SampleSize, Shard, TextTokenizer, TokenLimits,
        TokenizedSamples, indices_sha256, plan_batches, sample_rows,
    },
    manifest,
    models::{self, DecoderModel},
    store::{
        BatchPlan, Fingerprint, HeadRow, Parts, Resumed, RunManifest, SamplingRecord, Timings,
        read_heads, rfc3339,
    },
};

/// What to scan, and how.
#[derive(Debug, Clone)]
pub struct Request {
    pub model: ModelFiles,
    pub dataset: DatasetFiles,
    pub n_samples: SampleSize,
    pub seed: u64,
    pub max_seq_len: usize,
    /// Samples per batch; `None` lets the plan choose by tokens.
    pub batch_size: Option<NonZeroUsize>,
    pub device: Device,
    /// How the device is called in `run.json`: `cpu`, `cuda:0`, `metal`.
    pub device_name: String,
    pub dtype: DType,
    pub memory: Memory,
    pub out: PathBuf,
    /// Continue what is in `out`.
    pub resume: bool,
    pub shard: Option<Shard>,
}

/// Told how a scan proceeds.
pub trait Watcher: Progress {
    /// `done` of `total` texts are tokenised.
    fn tokenized(&self, done: usize, total: usize);

    /// The plan is made; `token_layers` are to be computed, of which `done` are on disk already.
    fn planned(&self, plan: &Plan, token_layers: u64, done: u64);

    /// Whether the scan should stop; asked between layers.
    fn is_stopped(&self) -> bool;
}

/// What a scan leaves.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub run: RunManifest,
    pub heads: Vec<HeadRow>,
    /// Whether the run had been finished before, and nothing was computed.
    pub was_finished: bool,
}

/// Runs a scan to its end.
///
/// # Errors
/// [`Error::Interrupted`] when the watcher stops it: what was done stays in `out`, and a run with `resume`
/// continues it. Everything else names what is wrong with the model, the data, the plan or the disk; nothing
/// is written before all of them have been checked.
pub fn run(request: &Request, watcher: &dyn Watcher) -> Result<Outcome> {
    let started = Instant::now();
    let model = models::open(&request.model.dir)?;
    let checkpoint = Checkpoint::open(&request.model.dir)?;
    checkpoint.check(&model.tensors())?;
    let texts = Texts::read(request, &*model, watcher)?;
    let seconds_tokenize = started.elapsed().as_secs_f64();

    let (plan, limit) = make_plan(request, &*model, &texts)?;
    let lengths: Vec<usize> = texts
        .tokenized
        .samples
        .iter()
        .map(|s| s.input_ids.len())
        .collect();
    let batches = plan_batches(&lengths, limit);
    let weights_fingerprint = checkpoint.fingerprint()?;
    let fingerprint = fingerprint(request, &*model, &texts, &weights_fingerprint, limit);
    let mut parts = match request.resume {
        false => Parts::create(&request.out, &fingerprint)?,
        true => match Parts::resume(&request.out, &fingerprint)? {
            Resumed::Unfinished(parts) => parts,
            Resumed::Finished(run) => {
                let heads = read_heads(&request.out)?;
                return Ok(Outcome {
                    run: *run,
                    heads,
                    was_finished: true,
                });
            }
        },
    };

    let weights = Weights {
        checkpoint: &checkpoint,
        device: request.device.clone(),
        dtype: request.dtype,
    };
    let clock = Clock::default();
    let work = Work {
        model: &*model,
        weights: &weights,
        samples: &texts.tokenized.samples,
        batches: &batches,
        stop: &|| watcher.is_stopped(),
        progress: watcher,
        clock: &clock,
    };
    let layers = work.layers() as u64;
    let done: u64 = (0..batches.len())
        .map(|batch| {
            (0..work.layers())
                .filter(|&layer| parts.is_done(batch, layer))
                .count()
                * batches[batch].tokens
        })
        .map(|n| n as u64)
        .sum();
    watcher.planned(&plan, texts.tokenized.tokens as u64 * layers, done);
    let executed = match plan.executor {
        Executor::Resident => resident::run(&work, &mut parts),
        Executor::Streamed => {
            check_disk(&request.out, &plan)?;
            streamed::run(&work, &mut parts, &parts_dir(&request.out))
        }
    };
    executed.map_err(|error| match error {
        Error::Interrupted { .. } => Error::Interrupted {
            out: request.out.clone(),
        },
        other => other,
    })?;

    let mut run = manifest_of(
        request,
        &*model,
        &texts,
        weights_fingerprint,
        &plan,
        &batches,
    );
    let samples: Vec<i64> = texts.tokenized.samples.iter().map(|s| s.sample).collect();
    let heads =
        clock.write(|| parts.finish(work.layers(), &samples, request.shard, &run.provenance()))?;
    let (load, compute, write) = clock.totals();
    let seconds_total = started.elapsed().as_secs_f64();
    run.tokens = heads.first().map_or(0, |head| head.sums.tokens as u64);
    run.non_finite_rows = heads
        .iter()
        .map(|head| head.sums.non_finite_rows as u64)
        .sum();
    run.started_at = parts.started_at().to_string();
    run.finished_at = rfc3339(SystemTime::now());
    run.resumed = parts.resumed();
    run.timings = Timings {
        seconds_total: Some(seconds_total),
        seconds_load: Some(load.as_secs_f64()),
        seconds_tokenize: Some(seconds_tokenize),
        seconds_compute: Some(compute.as_secs_f64()),
        seconds_write: Some(write.as_secs_f64()),
    };
    // Whole tokens of this process's share of the work.
    let scanning = seconds_total - seconds_tokenize;
    run.tokens_per_second = Some(clock.token_layers() as f64 / layers as f64 / scanning.max(1e-9));
    run.peak_memory_bytes = memory::peak();
    run.fingerprint = Some(fingerprint);
    // Before run.json says that the run is finished: nobody looks for them afterwards.
    HiddenStates::remove_all(&parts_dir(&request.out))?;
    run.write(&request.out)?;
    parts.remove()?;
    Ok(Outcome {
        run,
        heads,
        was_finished: false,
    })
}

/// Where the hidden states of a streamed run are kept: among its parts, and removed with them.
fn parts_dir(out: &Path) -> PathBuf {
    out.join("parts")
}

fn check_disk(out: &Path, plan: &Plan) -> Result<()> {
    match memory::available_on_disk(out) {
        Some(free) if free < plan.hidden_states_on_disk => Err(Error::DoesNotFit(format!(
            "{}: the streamed executor keeps {} of hidden states there while it runs, and the disk has {} left: \
             choose another --out, fewer samples, or --memory resident",
            out.display(),
            memory::human(plan.hidden_states_on_disk),
            memory::human(free),
        ))),
        _ => Ok(()),
    }
}

/// The texts of a run, as tokens.
struct Texts {
    tokenized: TokenizedSamples,
    rows: usize,
    drawn: usize,
    indices_sha256: String,
    special_tokens: String,
    preprocessing: Preprocessing,
    tokens_sha256: String,
}

impl Texts {
    fn read(request: &Request, model: &dyn DecoderModel, watcher: &dyn Watcher) -> Result<Self> {
        let model_type = model.config()["model_type"].as_str().unwrap_or_default();
        let preprocessing = match &request.model.preprocessing {
            Some(preprocessing) => preprocessing.clone(),
            None => manifest::preprocessing_for(model_type)?,
        };
        let tokenizer = TextTokenizer::from_file(
            &request.model.dir.join("tokenizer.json"),
            preprocessing.clone(),
        )?;
        let rows = Rows::open(&request.dataset.files, &request.dataset.text_column)?;
        let drawn = sample_rows(rows.len(), request.n_samples, request.seed)?;
        let indices = match request.shard {
            Some(shard) => shard.of(&drawn)?,
            None => &drawn,
        };
        let limits = TokenLimits {
            max_seq_len: request.max_seq_len,
            vocab_size: model.sizes().vocab_size,
        };
        let tokenized = tokenizer.tokenize_rows(&rows, indices, limits, |done| {
            watcher.tokenized(done, indices.len());
            match watcher.is_stopped() {
                true => Err(Error::Interrupted {
                    out: request.out.clone(),
                }),
                false => Ok(()),
            }
        })?;
        if tokenized.samples.is_empty() {
            return Err(Error::Dataset {
                path: request.dataset.files.first().cloned().unwrap_or_default(),
                message: format!(
                    "none of the {} sampled texts has a token; is `{}` the right --text-column?",
                    indices.len(),
                    request.dataset.text_column
                ),
            });
        }
        let special_tokens = tokenizer.special_tokens()?;
        let mut hash = Sha256::new();
        for sample in &tokenized.samples {
            hash.update(sample.sample.to_le_bytes());
            hash.update((sample.input_ids.len() as u64).to_le_bytes());
            sample
                .input_ids
                .iter()
                .for_each(|id| hash.update(id.to_le_bytes()));
        }
        Ok(Self {
            rows: rows.len(),
            indices_sha256: indices_sha256(&drawn),
            drawn: drawn.len(),
            special_tokens: match special_tokens.is_empty() {
                true => "as tokenizer.json says: none".into(),
                false => format!("as tokenizer.json says: {}", special_tokens.join(" ")),
            },
            preprocessing,
            tokens_sha256: hash.finalize().iter().map(|b| format!("{b:02x}")).collect(),
            tokenized,
        })
    }
}

/// The plan, and the batch limit: the user's, that of the run that is resumed, or the plan's own.
fn make_plan(
    request: &Request,
    model: &dyn DecoderModel,
    texts: &Texts,
) -> Result<(Plan, BatchLimit)> {
    let longest = texts
        .tokenized
        .samples
        .iter()
        .map(|s| s.input_ids.len())
        .max()
        .unwrap_or(0) as u64;
    let mut limit = request.batch_size.map(BatchLimit::Samples);
    if limit.is_none() && request.resume {
        // An automatic choice depends on the memory of the moment; a resumed run keeps the first one.
        let planned = Parts::unfinished(&request.out)?;
        limit = planned
            .as_ref()
            .and_then(|f| f.get(BATCH_TOKENS)?.as_u64())
            .and_then(tokens);
    }
    let demand = Demand {
        element_bytes: request.dtype.size_in_bytes() as u64,
        tokens: texts.tokenized.tokens as u64,
        longest,
        batch_tokens: limit.map(|limit| match limit {
            BatchLimit::Samples(samples) => samples.get() as u64 * longest,
            BatchLimit::Tokens(tokens) => tokens.get() as u64,
        }),
        available: memory::available(&request.device),
    };
    let plan = Plan::new(model, demand, request.memory)?;
    let chosen = limit.or(tokens(plan.batch_tokens));
    Ok((
        plan,
        chosen.unwrap_or(BatchLimit::Samples(NonZeroUsize::MIN)),
    ))
}

const BATCH_TOKENS: &str = "batch_tokens";

fn tokens(n: u64) -> Option<BatchLimit> {
    NonZeroUsize::new(n as usize).map(BatchLimit::Tokens)
}

/// What must be the same for two processes to work on one run.
fn fingerprint(
    request: &Request,
    model: &dyn DecoderModel,
    texts: &Texts,
    weights: &str,
    limit: BatchLimit,
) -> Fingerprint {
    let (batch_size, batch_tokens) = match limit {
        BatchLimit::Samples(n) => (Some(n.get()), None),
        BatchLimit::Tokens(n) => (None, Some(n.get())),
    };
    BTreeMap::from([
        ("attnscope_version".into(), json!(env!("CARGO_PKG_VERSION"))),
        ("model".into(), json!(request.model.name)),
        ("model_revision".into(), json!(request.model.revision)),
        ("model_config".into(), model.config().clone()),
        ("weights".into(), json!(weights)),
        ("dataset".into(), json!(request.dataset.record.name)),
        (
            "dataset_revision".into(),
            json!(request.dataset.record.revision),
        ),
        ("text_column".into(), json!(request.dataset.text_column)),
        ("n_samples".into(), json!(texts.drawn)),
        ("seed".into(), json!(request.seed)),
        ("shard".into(), json!(request.shard.map(|s| s.to_string()))),
        ("max_seq_len".into(), json!(request.max_seq_len)),
        ("tokens_sha256".into(), json!(texts.tokens_sha256)),
        ("device".into(), json!(request.device_name)),
        ("dtype".into(), json!(request.dtype.as_str())),
        ("batch_size".into(), json!(batch_size)),
        (BATCH_TOKENS.into(), json!(batch_tokens)),
    ])
}

fn manifest_of(
    request: &Request,
    model: &dyn DecoderModel,
    texts: &Texts,
    weights_fingerprint: String,
    plan: &Plan,
    batches: &[Batch],
) -> RunManifest {
    let model_type = model.config()["model_type"].as_str().unwrap_or_default();
    let mut dataset = request.dataset.record.clone();
    dataset.rows = texts.rows as u64;
    RunManifest {
        attnscope_version: env!("CARGO_PKG_VERSION").into(),
        model: request
            .model
            .record(model_type, model.config().clone(), weights_fingerprint),
        dataset,
        sampling: SamplingRecord {
            n_samples: texts.drawn as u64,
            seed: matches!(request.n_samples, SampleSize::Rows(_)).then_some(request.seed),
            indices_sha256: Some(texts.indices_sha256.clone()),
            shard: request.shard,
            skipped: texts.tokenized.skipped as u64,
        },
        max_seq_len: request.max_seq_len as u64,
        special_tokens: texts.special_tokens.clone(),
        preprocessing: (texts.preprocessing != Preprocessing::default())
            .then(|| json!(texts.preprocessing).to_string()),
        dtype: request.dtype.as_str().into(),
        device: request.device_name.clone(),
        executor: plan.executor.to_string(),
        batch_plan: Some(BatchPlan {
            samples: batches.iter().map(|b| b.samples.len()).max().unwrap_or(0) as u64,
            tokens: batches.iter().map(|b| b.tokens).max().unwrap_or(0) as u64,
        }),
        samples: texts.tokenized.samples.len() as u64,
        tokens: 0,
        non_finite_rows: 0,
        started_at: String::new(),
        finished_at: String::new(),
        resumed: 0,
        timings: Timings::default(),
        tokens_per_second: None,
        peak_memory_bytes: None,
        fingerprint: None,
        merged_from: Vec::new(),
    }
}
