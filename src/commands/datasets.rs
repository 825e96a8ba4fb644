//! `attnscope datasets`: the known datasets.

use std::{fmt::Write, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::terminal::{self, Cached};
use crate::{hub::RepoKind, manifest};

/// List the known datasets, and what the cache holds of them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON array instead of the table
    #[arg(long, env = "ATTNSCOPE_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let hub = terminal::hub(true, true)?;
    let mut text = format!(
        "{:<12} {:<24} {:>8}  {:<7} {:<12} {}\n",
        "name", "repository", "rows", "split", "text column", "in the cache"
    );
    let mut list = Vec::new();
    for dataset in manifest::datasets()? {
        let revision = dataset.revision.as_deref().unwrap_or("main");
        let cached = hub.cached(RepoKind::Dataset, &dataset.repo, revision);
        let cached = cached.map(|snapshot| Cached::new(snapshot, dataset.files.iter().flatten()));
        writeln!(
            text,
            "{:<12} {:<24} {:>8}  {:<7} {:<12} {}",
            dataset.name,
            dataset.repo,
            dataset.rows,
            dataset.split,
            dataset.text_column,
            Cached::describe(&cached)
        )?;
        list.push(serde_json::json!({
            "name": dataset.name,
            "description": dataset.description,
            "repo": dataset.repo,
            "revision": dataset.revision,
            "split": dataset.split,
            "text_column": dataset.text_column,
            "rows": dataset.rows,
            "licence": dataset.licence,
            "cached": cached.as_ref().map(|cached| &cached.dir),
            "complete": cached.map(|cached| cached.is_complete),
        }));
    }
    terminal::print(&if args.json {
        format!("{}\n", serde_json::json!(list))
    } else {
        text
    })?;
    Ok(ExitCode::SUCCESS)
}
