//! `attnscope compare`: two or more scans, held against each other.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::{comparison_text::to_text, terminal};
use crate::compare::{self, Comparison, Request};

/// Compare how the heads of two or more scans are distributed; the first scan is the reference
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    comparison: ComparisonArgs,

    /// Directory for comparison.parquet and comparison.json [default: they are not written]
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: Option<PathBuf>,

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Which scans are held against each other, and how; of every command that does.
#[derive(Debug, clap::Args)]
pub struct ComparisonArgs {
    /// Scan directories, or single parquet files of scans
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,

    /// Go on with scans of other texts, draws or lengths; what differs is said
    #[arg(long, env = "ATTNSCOPE_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,

    /// Seed of the permutations and the resamples
    #[arg(long, env = "ATTNSCOPE_SEED", default_value_t = 42)]
    seed: u64,

    /// Permutations for the p-values; all there are if they are no more; 0 for none
    #[arg(long, env = "ATTNSCOPE_PERMUTATIONS", default_value_t = 10_000)]
    permutations: u64,

    /// Resamples of the texts for the 95 % intervals; 0 for none
    #[arg(long, env = "ATTNSCOPE_RESAMPLES", default_value_t = 2_000)]
    resamples: u64,
}

impl ComparisonArgs {
    /// The same for the library.
    pub fn request(&self) -> Request {
        Request {
            scans: self.scans.clone(),
            force: self.force,
            seed: self.seed,
            permutations: self.permutations,
            resamples: self.resamples,
        }
    }
}

/// Tells what differs and what a reader should know, on stderr.
pub fn warn(comparison: &Comparison) {
    for difference in &comparison.differences {
        tracing::warn!("{difference}: they are taken together because of --force");
    }
    for remark in &comparison.remarks {
        tracing::warn!("{remark}");
    }
}

/// 0, or 6 where rows were not finite.
pub fn exit_code(comparison: &Comparison) -> ExitCode {
    let non_finite = comparison.scans.iter().map(|scan| scan.non_finite_rows);
    terminal::finished(u64::try_from(non_finite.sum::<i64>()).unwrap_or(0))
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(out) = &args.out {
        compare::refuse_occupied(out)?;
    }
    let comparison = compare::compare(&args.comparison.request())?;
    // Without --json they stand below the tables.
    if args.json {
        warn(&comparison);
    }
    if let Some(out) = &args.out {
        compare::write(&comparison, out)?;
        tracing::info!("{} written", out.display());
    }
    terminal::print(&match args.json {
        true => format!("{}\n", serde_json::to_string(&comparison)?),
        false => to_text(&comparison),
    })?;
    Ok(exit_code(&comparison))
}
