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

    let paths = match (is_model, is_dataset) {
        (true, _) => vec![model()?.dir],
        (_, true) if args.revision.is_some() => {
            let message = format!(
                "--revision belongs to a model, and {} is a dataset",
                args.name
            );
            return Err(Error::Usage(message).into());
        }
        (_, true) => dataset()?.files,
        // A Hub id names a model or a dataset; the Hub knows which.
        _ => match model() {
            Ok(model) => vec![model.dir],
            Err(as_model @ (Error::NotOnHub { .. } | Error::Usage(_)))
                if args.revision.is_none() =>
            {
                let dataset = dataset().map_err(|as_dataset| neither(as_model, as_dataset))?;
                dataset.files
            }
            Err(error) => return Err(error.into()),
        },
    };
    let lines = paths.iter().map(|path| format!("{}\n", path.display()));
    terminal::print(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// What to say of a name that is neither a model's nor a dataset's: both reasons, as either may be meant.
fn neither(as_model: Error, as_dataset: Error) -> Error {
    match (as_model, as_dataset) {
        (Error::Usage(as_model), Error::Usage(as_dataset)) => {
            Error::Usage(format!("{as_model}\n       {as_dataset}"))
        }
        (
            Error::NotOnHub {
                repo,
                revision,
                message,
            },
            Error::NotOnHub {
                repo: dataset,
                message: as_dataset,
                ..
            },
        ) => Error::NotOnHub {
            repo,
            revision,
            message: format!("{message}; {dataset}: {as_dataset}"),
        },
        (_, as_dataset) => as_dataset,
    }
}
