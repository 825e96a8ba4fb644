//! `attnscope merge`: the shards of a scan become one.

use std::{path::PathBuf, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::{
    summary::{self, Results},
    terminal,
};
use crate::store;

/// Put the shards of a scan together
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scan directories
    #[arg(required = true)]
    dirs: Vec<PathBuf>,

    /// Directory for the result
    #[arg(long, env = "ATTNSCOPE_OUT")]
    out: PathBuf,

    /// Print one JSON object instead of the tables
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let run = store::merge(&args.dirs, &args.out)?;
    let heads = store::read_heads(&args.out)?;
    let results = Results::read(&run, &heads, &args.out)?;
    terminal::print(&match args.json {
        true => format!("{}\n", summary::to_json(&results)),
        false => summary::to_text(&results),
    })?;
    Ok(terminal::finished(run.non_finite_rows))
}
