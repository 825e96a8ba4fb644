//! `attnscope download`: fetches a model or a dataset, so that a scan can run offline.

use std::process::ExitCode;

use super::terminal;
use crate::{
    Error,
    manifest::{self, DatasetSource, ModelSource},
    scan::sources,
};

/// Fetch a model or a dataset from the Hub into the cache
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifest name or Hub id
    name: String,

    /// Branch, tag or commit of a model
    #[arg(long, env = "ATTNSCOPE_REVISION")]
    revision: Option<String>,

    /// Split of a dataset
    #[arg(long, env = "ATTNSCOPE_SPLIT")]
    split: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let hub = || terminal::hub(false, quiet);
    let model = || sources::model(&args.name, args.revision.as_deref(), &hub);
    let dataset = || sources::dataset(&args.name, None, args.split.as_deref(), &hub);
    let is_model = matches!(
        manifest::resolve_model(&args.name),
        Ok(ModelSource::Manifest(_))
    );
    let is_dataset = matches!(
        manifest::resolve_dataset(&args.name),
        Ok(DatasetSource::Manifest(_))
    );

    let fetched_model = match (is_model, is_dataset) {
        (true, _) => Some(model()?),
        (_, true) => None,
        // A Hub id names a model or a dataset; the Hub knows which.
        _ => match model() {
            Ok(model) => Some(model),
            Err(Error::NotOnHub { .. } | Error::Usage(_)) => None,
            Err(error) => return Err(error.into()),
        },
    };
    let text = match fetched_model {
        Some(model) => format!("{}\n", model.dir.display()),
        None => {
            if args.revision.is_some() {
                return Err(Error::Usage(format!(
                    "--revision belongs to a model, and {} is a dataset",
                    args.name
                ))
                .into());
            }
            let dataset = dataset()?;
            dataset
                .files
                .iter()
                .map(|file| format!("{}\n", file.display()))
                .collect()
        }
    };
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
