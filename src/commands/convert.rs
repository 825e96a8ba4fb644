//! `attnscope convert`: checkpoints of other programs into checkpoint directories.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Subcommand, ValueEnum, builder::FalseyValueParser};

use super::{progress::ConvertProgress, terminal};
use crate::{
    Error, Result,
    convert::{self, Location, Outcome, OutputType, Request},
    hub::bucket::BucketSettings,
    machine::{self, human},
    manifest::{self, ModelManifest},
    models::gala,
};

/// Convert a checkpoint of another program into a checkpoint directory
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    Axlearn(Axlearn),
}

/// From a training checkpoint of axlearn (gala decoders)
#[derive(Debug, clap::Args)]
struct Axlearn {
    /// Step directory (…/checkpoints/step_00250000), on this machine or gs://…
    checkpoint: Location,

    /// Manifest that says what the checkpoint is (see `attnscope models`)
    #[arg(
        long,
        env = "ATTNSCOPE_CONFIG",
        required_unless_present = "attention_function"
    )]
    config: Option<String>,

    /// Attention function of a checkpoint that no manifest describes
    #[arg(long, env = "ATTNSCOPE_ATTENTION_FUNCTION", value_parser = ["softmax", "sigmoid"], conflicts_with = "config", requires = "tokenizer")]
    attention_function: Option<String>,

    /// SentencePiece model, on this machine or gs://… [default: what the manifest says]
    #[arg(long, env = "ATTNSCOPE_TOKENIZER", value_name = "FILE.model")]
    tokenizer: Option<Location>,

    /// Directory for the result
    #[arg(long, env = "ATTNSCOPE_OUT", required_unless_present = "dry_run")]
    out: Option<PathBuf>,

    /// Element type of the result: f32 is exact, bf16 rounds to nearest and takes half the space
    #[arg(long, env = "ATTNSCOPE_DTYPE", default_value = "f32")]
    dtype: Dtype,

    /// Convert the first layers only, 0..N; the result is a model with N layers
    #[arg(long, env = "ATTNSCOPE_LAYERS", value_name = "0..N", value_parser = first_layers)]
    layers: Option<usize>,

    /// Print what would be read, written and downloaded, and do nothing
    #[arg(long, env = "ATTNSCOPE_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,

    /// Read the result back and compare a checksum of every tensor with the source
    #[arg(long, env = "ATTNSCOPE_VERIFY", value_parser = FalseyValueParser::new())]
    verify: bool,

    /// Print one JSON object instead of the text
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,

    #[command(flatten)]
    bucket: BucketArgs,
}

/// Where buckets are.
#[derive(Debug, clap::Args)]
pub struct BucketArgs {
    /// Server that gs:// URLs are read from, in place of Google's: a mirror
    #[arg(long, env = "ATTNSCOPE_BUCKET_ENDPOINT", value_name = "URL")]
    bucket_endpoint: Option<String>,
}

impl BucketArgs {
    /// As the library takes it.
    pub fn settings(&self) -> BucketSettings {
        BucketSettings {
            endpoint: self.bucket_endpoint.clone().filter(|url| !url.is_empty()),
            ..BucketSettings::default()
        }
    }
}

/// Element types of a result.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Dtype {
    /// float32
    Auto,
    /// float32: every bit of the source
    F32,
    /// bfloat16: rounded to nearest, ties to even
    Bf16,
}

impl Dtype {
    /// As the library takes it.
    pub fn output(self) -> OutputType {
        match self {
            Self::Auto | Self::F32 => OutputType::F32,
            Self::Bf16 => OutputType::Bf16,
        }
    }
}

/// `0..4`: how many layers.
fn first_layers(text: &str) -> Result<usize, String> {
    let range = text.split_once("..").and_then(|(from, to)| {
        Some(Range {
            start: from.parse().ok()?,
            end: to.parse::<usize>().ok()?,
        })
    });
    match range {
        Some(Range { start: 0, end }) if end > 0 => Ok(end),
        Some(Range { start: 1.., .. }) => {
            Err("a layer cannot be computed without those before it: begin with 0".into())
        }
        _ => Err("a range such as 0..4 is needed".into()),
    }
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let From::Axlearn(args) = args.from;
    let request = args.request()?;
    if args.dry_run {
        let plan = convert::plan(&request)?;
        let text = match args.json {
            true => format!("{}\n", serde_json::to_string(&plan)?),
            false => plan.to_string(),
        };
        terminal::print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = convert(&request, quiet)?;
    let text = match args.json {
        true => format!("{}\n", to_json(&request, &outcome)),
        false => format!("{}\n", request.out.display()),
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

impl Axlearn {
    fn request(&self) -> Result<Request> {
        // A dry run needs none.
        let out = self.out.clone().unwrap_or_default();
        let request = match (&self.config, &self.attention_function, &self.tokenizer) {
            (Some(name), ..) => self.known(name, &out)?,
            (None, Some(function), Some(tokenizer)) => Request {
                checkpoint: self.checkpoint.clone(),
                tokenizer: tokenizer.clone(),
                attention_function: function.clone(),
                preprocessing: manifest::preprocessing_for(gala::MODEL_TYPE)?,
                expected: None,
                layers: None,
                dtype: self.dtype.output(),
                out,
                verify: false,
                bucket: self.bucket.settings(),
            },
            _ => {
                return Err(Error::Usage(
                    "give --config, or --attention-function and --tokenizer".into(),
                ));
            }
        };
        Ok(Request {
            layers: self.layers,
            verify: self.verify,
            ..request
        })
    }

    /// What the manifest `name` says, for this checkpoint.
    fn known(&self, name: &str, out: &Path) -> Result<Request> {
        let models = manifest::models()?;
        let request = |model: &ModelManifest| {
            Request::of_manifest(model, self.dtype.output(), out, &self.bucket.settings())
        };
        let found = models.iter().find(|model| model.name == name);
        let Some(request) = found.and_then(request) else {
            let known = models.iter().filter(|model| model.axlearn.is_some());
            let known: Vec<&str> = known.map(|model| model.name.as_str()).collect();
            return Err(Error::Usage(format!(
                "--config {name}: no manifest of an axlearn checkpoint has this name; known: {}. For another one \
                 give --attention-function and --tokenizer",
                known.join(", ")
            )));
        };
        Ok(Request {
            checkpoint: self.checkpoint.clone(),
            tokenizer: self.tokenizer.clone().unwrap_or(request.tokenizer),
            ..request
        })
    }
}

/// Runs one conversion with progress on stderr, and says there what came of it.
pub fn convert(request: &Request, quiet: bool) -> Result<Outcome> {
    let progress = ConvertProgress::new(quiet);
    let outcome = convert::run(request, &progress);
    progress.finish();
    let outcome = outcome?;
    let out = request.out.display();
    let verified = match outcome.was_verified {
        true if outcome.was_finished => ", read back and equal to what the source was",
        true => ", read back and equal to the source",
        false => "",
    };
    match outcome.was_finished {
        true => tracing::info!("{out} holds this conversion, finished; nothing to do{verified}"),
        false => {
            let seconds = outcome.seconds.max(1e-3);
            let memory = match machine::peak() {
                Some(bytes) => format!(", peak memory {}", human(bytes)),
                None => String::new(),
            };
            tracing::info!(
                "{out} written in {seconds:.1} s: {} at {:.0} MB/s{memory}{verified}",
                human(outcome.plan.written_bytes),
                outcome.plan.written_bytes as f64 / 1e6 / seconds,
            );
        }
    }
    Ok(outcome)
}

fn to_json(request: &Request, outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "out": request.out.display().to_string(),
        "plan": outcome.plan,
        "conversion": outcome.conversion,
        "was_finished": outcome.was_finished,
        "was_verified": outcome.was_verified,
        "received_bytes": outcome.received_bytes,
        "seconds": outcome.seconds,
        "peak_memory_bytes": machine::peak(),
    })
}
