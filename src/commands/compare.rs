//! `attnscope compare`: two or more scans, held against each other.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::{comparison_text::to_text, terminal};
use crate::compare::{self, Request};

/// Compare how the heads of two or more scans are distributed; the first scan is the reference
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scan directories, or single parquet files of scans
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,

    /// Directory for comparison.parquet and comparison.json [default: they are not written]
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: Option<PathBuf>,

    /// Compare scans of other texts, draws or lengths all the same
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

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(out) = &args.out {
        compare::refuse_occupied(out)?;
    }
    let comparison = compare::compare(&Request {
        scans: args.scans,
        force: args.force,
        seed: args.seed,
        permutations: args.permutations,
        resamples: args.resamples,
    })?;
    // Without --json they stand below the tables.
    if args.json {
        for difference in &comparison.differences {
            tracing::warn!("{difference}: they are compared because of --force");
        }
        for remark in &comparison.remarks {
            tracing::warn!("{remark}");
        }
    }
    if let Some(out) = &args.out {
        compare::write(&comparison, out)?;
        tracing::info!("{} written", out.display());
    }
    terminal::print(&match args.json {
        true => format!("{}\n", serde_json::to_string(&comparison)?),
        false => to_text(&comparison),
    })?;
    let non_finite: i64 = comparison
        .scans
        .iter()
        .map(|scan| scan.non_finite_rows)
        .sum();
    Ok(terminal::finished(u64::try_from(non_finite).unwrap_or(0)))
}
