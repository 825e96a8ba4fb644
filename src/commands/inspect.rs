//! `attnscope inspect`: the attention maps of one text, as a page and as a table.

use std::{fmt::Write, num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;
use serde_json::json;

use super::{convert::BucketArgs, converted::Converter, progress::ScanProgress, terminal};
use crate::{
    Error,
    inspect::{self, Outcome, Request, Selection, Text},
    machine::human,
    scan::device,
};

/// Heads that are listed.
const LISTED: usize = 10;
/// Longest text that is repeated in a command.
const REPEATED: usize = 200;

/// Look at the attention maps of one text, head by head, on an interactive page
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory, manifest name (see `attnscope models`) or Hub id
    #[arg(long, env = "ATTNSCOPE_MODEL")]
    model: String,

    /// Branch, tag or commit of a model on the Hub
    #[arg(long, env = "ATTNSCOPE_REVISION")]
    revision: Option<String>,

    /// The text
    #[arg(
        long,
        env = "ATTNSCOPE_TEXT",
        required_unless_present = "file",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    text: Option<String>,

    /// A file with the text, all of it (UTF-8)
    #[arg(long, env = "ATTNSCOPE_FILE")]
    file: Option<PathBuf>,

    /// The page to write
    #[arg(long, env = "ATTNSCOPE_OUT", default_value = "attnscope-inspect.html")]
    out: PathBuf,

    /// A table to write as well, with every weight: layer, head, query, key, weight
    #[arg(long, env = "ATTNSCOPE_WEIGHTS", value_name = "FILE.parquet")]
    weights: Option<PathBuf>,

    /// Layers to look at: all, or for example 0,3,8..12 (8 to 11)
    #[arg(long, env = "ATTNSCOPE_LAYERS", default_value = "all")]
    layers: Selection,

    /// Heads to look at in each of them, in the same way
    #[arg(long, env = "ATTNSCOPE_HEADS", default_value = "all")]
    heads: Selection,

    /// Tokens of the text that are looked at; the rest is cut off
    #[arg(long, env = "ATTNSCOPE_MAX_SEQ_LEN", default_value = "2048")]
    max_seq_len: NonZeroUsize,

    /// Largest page, in MiB. Where not all exact weights fit, the sparsest heads have theirs, and the others a
    /// coarser overview
    #[arg(long, env = "ATTNSCOPE_MAX_PAGE_MIB", default_value = "64")]
    max_page_mib: NonZeroUsize,

    /// auto, cpu, cuda:N or metal
    #[arg(long, env = "ATTNSCOPE_DEVICE", default_value = "auto")]
    device: String,

    /// auto, f32, bf16 or f16: element type of weights and activations; auto is f32. Attention weights are
    /// float32 in any case
    #[arg(long, env = "ATTNSCOPE_DTYPE", default_value = "auto")]
    dtype: String,

    /// Never open a connection; use what the cache holds
    #[arg(long, env = "ATTNSCOPE_OFFLINE", value_parser = FalseyValueParser::new())]
    offline: bool,

    /// Print one JSON object instead of the table
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,

    #[command(flatten)]
    bucket: BucketArgs,
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let (device, device_name) = device::open(&args.device)?;
    let dtype = device::dtype(&args.dtype)?;
    let command = repeated(&args);
    let text = match (&args.text, &args.file) {
        (Some(text), None) => Text {
            text: text.clone(),
            path: None,
        },
        (None, Some(file)) => Text::read(file)?,
        // clap lets nothing else pass.
        _ => return Err(Error::Usage("give --text or --file".into()).into()),
    };
    let hub = || terminal::hub(args.offline, quiet);
    let converter = Converter {
        dtype: None,
        bucket: args.bucket.settings(),
        quiet,
    };
    let model = converter.model(&args.model, args.revision.as_deref(), &hub, args.offline)?;
    terminal::catch_signals();
    let request = Request {
        model,
        text,
        layers: args.layers,
        heads: args.heads,
        max_seq_len: args.max_seq_len,
        device,
        device_name,
        dtype,
        out: args.out,
        weights: args.weights,
        max_page_bytes: (args.max_page_mib.get() as u64).saturating_mul(1 << 20),
        command,
    };
    let progress = ScanProgress::new(quiet);
    let outcome = inspect::run(&request, &progress);
    progress.finish();
    let outcome = match outcome {
        Err(Error::Interrupted { .. }) => {
            terminal::say("interrupted, and nothing written; run the command again");
            return Ok(ExitCode::from(75));
        }
        outcome => outcome?,
    };
    remark(&request, &outcome);
    let text = match args.json {
        true => format!("{}\n", to_json(&request, &outcome)),
        false => to_text(&outcome),
    };
    terminal::print(&text)?;
    let non_finite: i64 = outcome
        .heads
        .iter()
        .map(|head| head.sums.non_finite_rows)
        .sum();
    Ok(terminal::finished(u64::try_from(non_finite).unwrap_or(0)))
}

/// What a person should know of the page, on stderr.
fn remark(request: &Request, outcome: &Outcome) {
    if outcome.uncut > outcome.tokens {
        tracing::warn!(
            "the text has {} tokens; the first {} were looked at (--max-seq-len)",
            outcome.uncut,
            outcome.tokens
        );
    }
    let missing: Vec<_> = outcome.heads.iter().filter(|head| !head.is_exact).collect();
    if let Some(first) = missing.first() {
        tracing::warn!(
            "the page has the exact weights of the {} sparsest of {} heads, and of the others an overview (each cell is the \
             largest of {} × {} weights){}. A page with some of the others: `{} --layers {} --heads {} --out …`; with all \
             of them: --max-page-mib {}",
            outcome.heads.len() - missing.len(),
            outcome.heads.len(),
            outcome.block,
            outcome.block,
            match outcome.top {
                0 => String::new(),
                1 => " and the largest weight of every query".into(),
                top => format!(" and the {top} largest weights of every query"),
            },
            request.command,
            first.layer,
            first.head,
            outcome.whole_page_bytes.div_ceil(1 << 20),
        );
    }
    tracing::info!(
        "{} written: {}",
        request.out.display(),
        human(outcome.page_bytes)
    );
    if let Some(weights) = &request.weights {
        tracing::info!("{} written", weights.display());
    }
}

/// The command that gives another page of this text; a shell reads it as it stands, but for a long text.
fn repeated(args: &Args) -> String {
    let mut command = format!("attnscope inspect --model {}", quoted(&args.model));
    let mut add = |flag: &str, value: &str| {
        command.push_str(&format!(" {flag} {}", quoted(value)));
    };
    if let Some(revision) = &args.revision {
        add("--revision", revision);
    }
    if let Some(file) = &args.file {
        add("--file", &file.display().to_string());
    }
    match &args.text {
        Some(text) if text.len() <= REPEATED => add("--text", text),
        Some(_) => command.push_str(" --text …"),
        None => {}
    }
    let mut add = |flag: &str, value: &str| {
        command.push_str(&format!(" {flag} {}", quoted(value)));
    };
    add("--max-seq-len", &args.max_seq_len.to_string());
    for (flag, value) in [("--device", &args.device), ("--dtype", &args.dtype)] {
        if value != "auto" {
            add(flag, value);
        }
    }
    command
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn to_json(request: &Request, outcome: &Outcome) -> serde_json::Value {
    let heads: Vec<_> = outcome
        .heads
        .iter()
        .map(|head| {
            let means = head.sums.means();
            json!({
                "layer": head.layer,
                "head": head.head,
                "sparsity_score": means.sparsity_score,
                "first_token_share": means.first_token_share,
                "max_weight": means.max_weight,
                "total_weight": means.total_weight,
                "entropy": means.entropy,
                "largest_weight": head.largest,
                "non_finite_rows": head.sums.non_finite_rows,
                "exact": head.is_exact,
            })
        })
        .collect();
    json!({
        "model": request.model.name,
        "revision": request.model.revision,
        "text_sha256": outcome.text_sha256,
        "tokens": outcome.tokens,
        "text_tokens": outcome.uncut,
        "page": request.out,
        "page_bytes": outcome.page_bytes,
        "whole_page_bytes": outcome.whole_page_bytes,
        "overview_block": outcome.block,
        "top_weights": outcome.top,
        "weights": request.weights,
        "heads": heads,
    })
}

fn to_text(outcome: &Outcome) -> String {
    let mut text = format!(
        "{} tokens, {} heads; the sparsest:\nlayer  head  sparsity  first token  max weight  total weight  entropy\n",
        outcome.tokens,
        outcome.heads.len()
    );
    let mut heads: Vec<_> = outcome.heads.iter().collect();
    heads.sort_by(|a, b| {
        let score = |head: &inspect::Head| head.sums.means().sparsity_score;
        score(b)
            .total_cmp(&score(a))
            .then((a.layer, a.head).cmp(&(b.layer, b.head)))
    });
    for head in heads.iter().take(LISTED) {
        let means = head.sums.means();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:>5}  {:>4}  {:>8.4}  {:>11.4}  {:>10.4}  {:>12.4}  {:>7.4}",
            head.layer,
            head.head,
            means.sparsity_score,
            means.first_token_share,
            means.max_weight,
            means.total_weight,
            means.entropy
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_is_quoted() {
        for (word, expected) in [
            ("models/demo-softmax", "models/demo-softmax"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
