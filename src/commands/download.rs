//! `attnscope download`: fetches a model or a dataset, and converts it where needed, so that a scan can run
//! offline.

use std::process::ExitCode;

use super::{
    convert::{BucketArgs, Dtype},
    converted::Converter,
    terminal,
};
use crate::{
    Error,
    manifest::{self, DatasetSource, ModelSource},
    scan::sources,
};

/// Fetch a model or a dataset into the cache, and convert it where needed
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

    /// Element type of a model that has to be converted: f32 is exact, bf16 takes half the space [default: f32]
    #[arg(long, env = "ATTNSCOPE_DTYPE")]
    dtype: Option<Dtype>,

    #[command(flatten)]
    bucket: BucketArgs,
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> anyhow::Result<ExitCode> {
    let hub = || terminal::hub(false, quiet);
    let converter = Converter {
        dtype: args.dtype.map(Dtype::output),
        bucket: args.bucket.settings(),
        quiet,
    };
    let converted = |model: &_| converter.run(model);
    let model = || sources::model(&args.name, args.revision.as_deref(), &hub, &converted);
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
