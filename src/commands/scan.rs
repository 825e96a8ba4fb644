//! `attnscope scan`: per-head scores of one checkpoint on one dataset.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::{
    convert::BucketArgs,
    converted::Converter,
    measures::MeasureArgs,
    progress::ScanProgress,
    summary::{self, Results},
    terminal,
};
use crate::{
    Error,
    corpus::{SampleSize, Shard},
    scan::{self, Outcome, Request, device, plan::Memory, sources},
};

/// Measure the attention of a checkpoint on the texts of a dataset
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory, manifest name (see `attnscope models`) or Hub id
    #[arg(long, env = "ATTNSCOPE_MODEL")]
    model: String,

    /// Branch, tag or commit of a model on the Hub
    #[arg(long, env = "ATTNSCOPE_REVISION")]
    revision: Option<String>,

    /// .parquet, .jsonl or .txt file, manifest name (see `attnscope datasets`) or Hub id
    #[arg(long, env = "ATTNSCOPE_DATASET", default_value = "pile-10k")]
    dataset: String,

    /// Column that holds the texts [default: what the manifest says, or text]
    #[arg(long, env = "ATTNSCOPE_TEXT_COLUMN")]
    text_column: Option<String>,

    /// Split of a dataset on the Hub [default: what the manifest says, or train]
    #[arg(long, env = "ATTNSCOPE_SPLIT")]
    split: Option<String>,

    /// Texts to draw at random, or `all`
    #[arg(long, env = "ATTNSCOPE_N_SAMPLES", default_value = "1000")]
    n_samples: SampleSize,

    /// Seed of the draw: the rows are those of Python's random.seed(S); random.sample(range(rows), N)
    #[arg(long, env = "ATTNSCOPE_SEED", default_value_t = 42)]
    seed: u64,

    /// Tokens of a text that are looked at; the rest is cut off
    #[arg(long, env = "ATTNSCOPE_MAX_SEQ_LEN", default_value = "256")]
    max_seq_len: NonZeroUsize,

    /// Texts that go through the model together, or `auto` to choose by memory
    #[arg(long, env = "ATTNSCOPE_BATCH_SIZE", default_value = "auto", value_parser = auto_or_number)]
    batch_size: AutoOrNumber,

    #[command(flatten)]
    measures: MeasureArgs,

    /// auto, cpu, cuda:N or metal
    #[arg(long, env = "ATTNSCOPE_DEVICE", default_value = "auto")]
    device: String,

    /// auto, f32, bf16 or f16: element type of weights and activations; auto is f32. Scores and statistics
    /// are float32 in any case
    #[arg(long, env = "ATTNSCOPE_DTYPE", default_value = "auto")]
    dtype: String,

    /// Hold all layers (resident) or one after the other (streamed)
    #[arg(long, env = "ATTNSCOPE_MEMORY", default_value = "auto")]
    memory: Memory,

    /// Directory for the results
    #[arg(long, env = "ATTNSCOPE_OUT", default_value = "attnscope-scan")]
    out: PathBuf,

    /// Continue the run that --out holds
    #[arg(long, env = "ATTNSCOPE_RESUME", value_parser = FalseyValueParser::new())]
    resume: bool,

    /// Take part I of N of the samples, I from 0; `attnscope merge` puts the parts together
    #[arg(long, env = "ATTNSCOPE_SHARD", value_name = "I/N")]
    shard: Option<Shard>,

    /// Never open a connection; use what the cache holds
    #[arg(long, env = "ATTNSCOPE_OFFLINE", value_parser = FalseyValueParser::new())]
    offline: bool,

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,

    #[command(flatten)]
    bucket: BucketArgs,
}

/// `auto`, or a number above 0.
type AutoOrNumber = Option<NonZeroUsize>;

fn auto_or_number(text: &str) -> Result<AutoOrNumber, String> {
    match text {
        "auto" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| "a number above 0 or `auto` is needed".into()),
    }
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let (device, device_name) = device::open(&args.device)?;
    let dtype = device::dtype(&args.dtype)?;
    let measures = args.measures.measures()?;
    let hub = || terminal::hub(args.offline, quiet);
    let converter = Converter {
        dtype: None,
        bucket: args.bucket.settings(),
        quiet,
    };
    let model = converter.model(&args.model, args.revision.as_deref(), &hub, args.offline)?;
    let dataset = sources::dataset(
        &args.dataset,
        args.text_column.as_deref(),
        args.split.as_deref(),
        &hub,
    )?;
    // Not before: a download that is interrupted ends at once, and the next one continues it.
    terminal::catch_signals();
    let request = Request {
        model,
        dataset,
        n_samples: args.n_samples,
        seed: args.seed,
        max_seq_len: args.max_seq_len.get(),
        batch_size: args.batch_size,
        device,
        device_name,
        dtype,
        memory: args.memory,
        out: args.out,
        resume: args.resume,
        shard: args.shard,
        measures,
    };
    let outcome = scan(&request, quiet)?;
    let results = Results::read(&outcome.run, &outcome.heads, &request.out)?;
    let text = match args.json {
        true => format!("{}\n", summary::to_json(&results)),
        false => summary::to_text(&results),
    };
    terminal::print(&text)?;
    Ok(terminal::finished(outcome.run.non_finite_rows))
}

/// Runs one scan with progress on stderr, and says there what came of it.
pub fn scan(request: &Request, quiet: bool) -> Result<Outcome, Error> {
    let progress = ScanProgress::new(quiet);
    let outcome = scan::run(request, &progress);
    progress.finish();
    let outcome = outcome?;
    match outcome.was_finished {
        true => tracing::info!(
            "{} holds this run, finished; nothing to do",
            request.out.display()
        ),
        false => tracing::info!(
            "{} written in {:.1} s: {:.0} tokens/s{}",
            request.out.display(),
            outcome.run.timings.seconds_total.unwrap_or(0.0),
            outcome.run.tokens_per_second.unwrap_or(0.0),
            match outcome.run.peak_memory_bytes {
                Some(bytes) => format!(", peak memory {}", crate::machine::human(bytes)),
                None => String::new(),
            }
        ),
    }
    Ok(outcome)
}
