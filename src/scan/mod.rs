//! The scan: from a checkpoint and texts to per-head scores on disk.
//!
//! [`run`] does it all: it opens the model, samples and tokenises the texts, plans ([`plan`]), runs one of the
//! two executors (`resident`, `streamed`), and writes the tables. What is done is on disk as soon as it
//! is done; a run that was interrupted, or killed, continues where it was.

pub mod device;
mod engine;
mod hidden_states;
pub(crate) mod layers;
pub(crate) mod observer;
pub mod plan;
mod record;
mod resident;
pub mod sources;
mod streamed;
pub(crate) mod texts;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use candle_core::{DType, Device};

pub use engine::Progress;
use engine::{Clock, Work};
use hidden_states::HiddenStates;
use plan::{Demand, Executor, Memory, Plan};
use sources::{DatasetFiles, ModelFiles};
use texts::Texts;

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Weights},
    corpus::{BatchLimit, SampleSize, Shard, plan_batches},
    machine,
    metrics::Measures,
    models::{self, DecoderModel},
    observe::bytes_for_maps,
    store::{
        Fingerprint, HeadRow, Parts, RUN_JSON, Resumed, RunManifest, Timings, heads_file_name,
        read_heads, rfc3339,
    },
};

/// What to scan, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The checkpoint.
    pub model: ModelFiles,
    /// The texts.
    pub dataset: DatasetFiles,
    /// How many of them.
    pub n_samples: SampleSize,
    /// Seed of the draw.
    pub seed: u64,
    /// Tokens of a text that are looked at.
    pub max_seq_len: usize,
    /// Samples per batch; `None` lets the plan choose by tokens.
    pub batch_size: Option<NonZeroUsize>,
    /// Where it is computed.
    pub device: Device,
    /// How the device is called in `run.json`: `cpu`, `cuda:0`, `metal`.
    pub device_name: String,
    /// Element type of weights and activations.
    pub dtype: DType,
    /// Which executor.
    pub memory: Memory,
    /// The directory for the results.
    pub out: PathBuf,
    /// Continue what is in `out`.
    pub resume: bool,
    /// The part of the samples to take; none for all.
    pub shard: Option<Shard>,
    /// What to measure beyond the statistics of every scan.
    pub measures: Measures,
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
    /// `run.json`.
    pub run: RunManifest,
    /// `heads.parquet`.
    pub heads: Vec<HeadRow>,
    /// Whether the run had been finished before, and nothing was computed.
    pub was_finished: bool,
}

/// Runs a scan to its end.
///
/// # Errors
/// [`Error::Interrupted`] when the watcher stops it: what was done stays in `out`, and a run with `resume`
/// continues it. Everything else names what is wrong with the model, the data, the plan or the disk; all of
/// them are checked before anything is written.
pub fn run(request: &Request, watcher: &dyn Watcher) -> Result<Outcome> {
    let started = Instant::now();
    let model = models::open(&request.model.dir)?;
    models::refuse_signed_weights(&*model, &request.model.dir)?;
    let checkpoint = Checkpoint::open(&request.model.dir)?;
    checkpoint.check(&model.tensors())?;
    let texts = Texts::read(request, &*model, watcher)?;
    models::check_length(&*model, texts.lengths().into_iter().max().unwrap_or(0))?;
    let seconds_tokenize = started.elapsed().as_secs_f64();

    let limit = batch_limit(request)?;
    let plan = make_plan(request, &*model, &texts, limit)?;
    let limit = limit.unwrap_or_else(|| {
        tokens(plan.batch_tokens).unwrap_or(BatchLimit::Samples(NonZeroUsize::MIN))
    });
    let batches = plan_batches(&texts.lengths(), limit);
    let weights_fingerprint = checkpoint.fingerprint()?;
    let fingerprint = record::fingerprint(request, &*model, &texts, &weights_fingerprint, limit);
    let mut parts = match open_parts(request, &fingerprint, &plan)? {
        Resumed::Unfinished(parts) => parts,
        Resumed::Finished(run) => {
            let heads = read_heads(&request.out.join(heads_file_name(request.shard)))?;
            return Ok(Outcome {
                run: *run,
                heads,
                was_finished: true,
            });
        }
    };
    // The hidden states of a streamed run are kept among its parts.
    let dir = Parts::dir(&request.out);
    if parts.resumed() == 0 {
        // Whatever lies there is not of this run.
        HiddenStates::remove_all(&dir)?;
    }

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
        measures: &request.measures,
        batches: &batches,
        out: &request.out,
        stop: &|| watcher.is_stopped(),
        progress: watcher,
        clock: &clock,
    };
    let layers = work.layers() as u64;
    let all = texts.tokenized.tokens as u64 * layers;
    match plan.executor {
        Executor::Resident => {
            watcher.planned(&plan, all, all - resident::pending(&work, &parts));
            resident::run(&work, &mut parts)?;
        }
        Executor::Streamed => {
            watcher.planned(&plan, all, all - streamed::pending(&work, &parts, &dir));
            streamed::run(&work, &mut parts, &dir)?;
        }
    }

    let mut run = record::run_manifest(
        request,
        &*model,
        &texts,
        weights_fingerprint,
        &plan,
        &batches,
    );
    let heads = clock.write(|| {
        parts.finish(
            work.layers(),
            &texts.samples(),
            request.shard,
            &run.provenance(),
        )
    })?;
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
    run.peak_memory_bytes = machine::peak();
    run.fingerprint = Some(fingerprint);
    // Before run.json says that the run is finished: nobody looks for them afterwards.
    HiddenStates::remove_all(&dir)?;
    run.write(&request.out)?;
    parts.remove()?;
    Ok(Outcome {
        run,
        heads,
        was_finished: false,
    })
}

/// Begins the run in the output directory, or continues it.
fn open_parts(request: &Request, fingerprint: &Fingerprint, plan: &Plan) -> Result<Resumed> {
    if plan.executor == Executor::Streamed {
        check_disk(&request.out, plan)?;
    }
    let found = match request.resume {
        true => Parts::resume(&request.out, fingerprint)?,
        false => Parts::create(&request.out, fingerprint).map(Resumed::Unfinished)?,
    };
    Ok(match found {
        Resumed::Unfinished(parts) => Resumed::Unfinished(parts.measuring(request.measures)),
        finished => finished,
    })
}

fn check_disk(out: &Path, plan: &Plan) -> Result<()> {
    // What an interrupted run has left there is written over.
    let there = HiddenStates::size_on_disk(&Parts::dir(out))?;
    match machine::available_on_disk(out) {
        Some(free) if free + there < plan.hidden_states_on_disk => Err(Error::DoesNotFit(format!(
            "{}: the streamed executor keeps {} of hidden states there while it runs, and the disk has {} left: \
             choose another --out, fewer samples, or --memory resident",
            out.display(),
            machine::human(plan.hidden_states_on_disk),
            machine::human(free),
        ))),
        _ => Ok(()),
    }
}

/// The user's batch limit, or that of the run that is resumed: an automatic choice depends on the memory of
/// the moment, and a resumed run keeps the first one.
fn batch_limit(request: &Request) -> Result<Option<BatchLimit>> {
    if let Some(samples) = request.batch_size {
        return Ok(Some(BatchLimit::Samples(samples)));
    }
    if !request.resume {
        return Ok(None);
    }
    let finished = || {
        RunManifest::read(&request.out)
            .ok()
            .and_then(|run| run.fingerprint)
    };
    let before = match request.out.join(RUN_JSON).is_file() {
        true => finished(),
        false => Parts::unfinished(&request.out)?,
    };
    let before = before
        .as_ref()
        .and_then(|before| before.get(record::BATCH_TOKENS)?.as_u64());
    Ok(before.and_then(tokens))
}

fn make_plan(
    request: &Request,
    model: &dyn DecoderModel,
    texts: &Texts,
    limit: Option<BatchLimit>,
) -> Result<Plan> {
    let longest = texts.lengths().into_iter().max().unwrap_or(0) as u64;
    let demand = Demand {
        element_bytes: request.dtype.size_in_bytes() as u64,
        is_fused: request.device.is_cpu()
            && request.dtype == DType::F32
            && model.attention().has_fused_form(),
        tokens: texts.tokenized.tokens as u64,
        longest,
        batch_tokens: limit.map(|limit| match limit {
            BatchLimit::Samples(samples) => (samples.get() as u64).saturating_mul(longest),
            BatchLimit::Tokens(tokens) => tokens.get() as u64,
        }),
        beside: match request.measures.needs_weights() {
            true => bytes_for_maps(longest as usize, model.sizes().num_attention_heads),
            false => 0,
        },
        available: machine::available(&request.device),
    };
    Plan::new(model, demand, request.memory)
}

fn tokens(n: u64) -> Option<BatchLimit> {
    NonZeroUsize::new(n as usize).map(BatchLimit::Tokens)
}
