//! `attnscope report`: one or more scans as a page to look at.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::{
    compare::{ComparisonArgs, exit_code, warn},
    terminal,
};
use crate::{page, report};

/// Make one self-contained interactive page of one or more scans; the first scan is the reference
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    comparison: ComparisonArgs,

    /// The page to write, such as report.html
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: PathBuf,

    /// Print the comparison as one JSON object instead of the page's path
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    page::refuse_occupied(&args.out)?;
    let report = report::build(&args.comparison.request())?;
    let comparison = report.comparison();
    warn(comparison);
    report.write(&args.out)?;
    tracing::info!("{} written", args.out.display());
    let text = match args.json {
        true => serde_json::to_string(comparison)?,
        false => args.out.display().to_string(),
    };
    terminal::print(&format!("{text}\n"))?;
    Ok(exit_code(comparison))
}
