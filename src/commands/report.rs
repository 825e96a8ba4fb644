//! `attnscope report`: one or more scans as a page to look at.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::terminal;
use crate::{compare::Request, page, report};

/// Make one self-contained interactive page of one or more scans; the first scan is the reference
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scan directories, or single parquet files of scans
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,

    /// The page to write, such as report.html
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: PathBuf,

    /// Show scans of other texts, draws or lengths together all the same
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

    /// Print the comparison as one JSON object instead of the page's path
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    page::refuse_occupied(&args.out)?;
    let report = report::build(&Request {
        scans: args.scans,
        force: args.force,
        seed: args.seed,
        permutations: args.permutations,
        resamples: args.resamples,
    })?;
    let comparison = report.comparison();
    for difference in &comparison.differences {
        tracing::warn!("{difference}: they are shown together because of --force");
    }
    for remark in &comparison.remarks {
        tracing::warn!("{remark}");
    }
    report.write(&args.out)?;
    tracing::info!("{} written", args.out.display());
    let text = match args.json {
        true => serde_json::to_string(comparison)?,
        false => args.out.display().to_string(),
    };
    terminal::print(&format!("{text}\n"))?;
    let non_finite = comparison.scans.iter().map(|scan| scan.non_finite_rows);
    let non_finite: i64 = non_finite.sum();
    Ok(terminal::finished(u64::try_from(non_finite).unwrap_or(0)))
}
