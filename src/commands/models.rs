//! `attnscope models`: the known checkpoints.

use std::{fmt::Write, process::ExitCode};

use clap::builder::FalseyValueParser;

use super::terminal::{self, Cached};
use crate::{convert, hub::RepoKind, manifest};

/// List the known models, and what the cache holds of them
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
        "{:<20} {:<9} {:>14} {:>11}  {:<42} {}\n",
        "name", "attention", "layers × heads", "parameters", "weights", "in the cache"
    );
    let mut list = Vec::new();
    for model in manifest::models()? {
        let cached = match &model.hub {
            Some(files) => hub
                .cached(RepoKind::Model, &files.repo, &files.revision)
                .map(|snapshot| Cached::new(snapshot, files.files.keys())),
            None => convert::cached(&hub.settings().assets, &model.name).map(Cached::whole),
        };
        let weights = match (&model.hub, &model.axlearn) {
            (Some(files), _) => files.repo.clone(),
            (None, Some(_)) => "axlearn checkpoint, converted by `download`".into(),
            (None, None) => "unknown".into(),
        };
        writeln!(
            text,
            "{:<20} {:<9} {:>14} {:>10.2}B  {:<42} {}",
            model.name,
            model.attention_function,
            format!(
                "{} × {}",
                model.sizes.num_hidden_layers, model.sizes.num_attention_heads
            ),
            model.sizes.parameters as f64 / 1e9,
            weights,
            Cached::describe(&cached)
        )?;
        list.push(serde_json::json!({
            "name": model.name,
            "description": model.description,
            "model_type": model.model_type,
            "attention_function": model.attention_function,
            "num_hidden_layers": model.sizes.num_hidden_layers,
            "num_attention_heads": model.sizes.num_attention_heads,
            "parameters": model.sizes.parameters,
            "repo": model.hub.map(|files| files.repo),
            "axlearn": model.axlearn.map(|checkpoint| checkpoint.checkpoint),
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
