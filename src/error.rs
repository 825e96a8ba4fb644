//! The one error type of the library.
//!
//! Every variant carries what a person needs to act: the file, the field or
//! tensor, what was expected and what was found. [`Error::exit_code`] is the
//! only place where errors become process exit codes.

use std::path::{Path, PathBuf};

/// What every fallible function of the library returns (forward passes, which speak
/// candle's own error type, aside).
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, grouped by who has to act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something impossible or contradictory.
    #[error("{0}")]
    Usage(String),

    /// The output directory holds something this run must not touch.
    #[error("{}: {message}", path.display())]
    OutDir {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A configuration file or manifest has a field that is missing, malformed or unsupported.
    #[error("{}: field `{field}`: {message}", path.display())]
    Config {
        /// The file or directory concerned.
        path: PathBuf,
        /// The key.
        field: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// `config.json` names an architecture that attnscope does not know.
    #[error("{}: unknown model_type `{model_type}`; supported: {}", path.display(), supported.join(", "))]
    UnknownModelType {
        /// The file or directory concerned.
        path: PathBuf,
        /// What it names.
        model_type: String,
        /// What it may name.
        supported: Vec<String>,
    },

    /// A checkpoint is damaged or incomplete.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// Tensors the architecture needs are absent; all of them are listed.
    #[error("{}: {} missing: {}", path.display(), count(names.len(), "tensor is", "tensors are"), names.join(", "))]
    MissingTensors {
        /// The file or directory concerned.
        path: PathBuf,
        /// The tensors.
        names: Vec<String>,
    },

    /// A tensor has another shape or element type than the configuration demands.
    #[error("{}: tensor `{tensor}`: expected {expected}, found {found}", path.display())]
    TensorMismatch {
        /// The file or directory concerned.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// What was needed.
        expected: String,
        /// What is there.
        found: String,
    },

    /// The tokenizer cannot be read or does not fit the model.
    #[error("{}: {message}", path.display())]
    Tokenizer {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A dataset cannot be read.
    #[error("{}: {message}", path.display())]
    Dataset {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// The text column does not exist.
    #[error("{}: there is no text column `{column}`; columns: {} (choose one with --text-column)", path.display(), available.join(", "))]
    MissingColumn {
        /// The file or directory concerned.
        path: PathBuf,
        /// What was asked for.
        column: String,
        /// What there is.
        available: Vec<String>,
    },

    /// The Hub has no such repository, revision or file, or does not let us see it.
    #[error("{repo} (revision {revision}): {message}")]
    NotOnHub {
        /// The repository.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A public bucket has no such object, or does not let us see it.
    #[error("{url}: {message}")]
    NotInBucket {
        /// The object or the prefix, as `gs://bucket/key`.
        url: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// The network failed, after all retries.
    #[error("{what}: {message}")]
    Network {
        /// What was being done or is needed.
        what: String,
        /// What is wrong, and what to do.
        message: String,
    },

    /// Offline mode, and the cache does not hold what is needed.
    #[error(
        "{what} is not in the cache {} and offline mode is on; run once without --offline and HF_HUB_OFFLINE",
        cache.display()
    )]
    Offline {
        /// What was being done or is needed.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
    },

    /// A downloaded file is not the file that the Hub announced.
    #[error("{}: checksum is {found}, {expected} was announced; the damaged file has been removed, run the command again", path.display())]
    Checksum {
        /// The file or directory concerned.
        path: PathBuf,
        /// What was needed.
        expected: String,
        /// What is there.
        found: String,
    },

    /// The plan needs more memory than there is.
    #[error("{0}")]
    DoesNotFit(String),

    /// The run was stopped by a signal; what was done is kept.
    #[error("interrupted; what is done is kept in {}: continue with {continue_with}", out.display())]
    Interrupted {
        /// What makes the command take up what was done.
        continue_with: &'static str,
        /// The output directory.
        out: PathBuf,
    },

    /// The operating system refused.
    #[error("{}: {source}{}", path.display(), io_remedy(path, source))]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A parquet file cannot be written or read.
    #[error("{}: {message}", path.display())]
    Parquet {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A figure cannot be drawn.
    #[error("figure {name}: {message}")]
    Figure {
        /// The figure.
        name: String,
        /// What is wrong.
        message: String,
    },

    /// A value-softmax problem, or the way to follow it, is impossible.
    #[error("flow: {field}: {message}")]
    Flow {
        /// The parameter concerned.
        field: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },

    /// A run of the flow has left the finite numbers, or cannot go on.
    #[error(
        "flow: the run ended early: {} after {after}; {}; {remedy}",
        not_finite(quantity, found),
        kept(*recorded, *last_recorded)
    )]
    Diverged {
        /// How far it came.
        after: String,
        /// What is not finite, or not as it must be.
        quantity: &'static str,
        /// Its entries.
        found: Vec<f64>,
        /// How many records were made before.
        recorded: usize,
        /// The time t of the last of them.
        last_recorded: Option<f64>,
        /// What to do.
        remedy: &'static str,
    },

    /// A task, or the way to train on it, is impossible.
    #[error("train: {field}: {message}")]
    Train {
        /// The setting concerned.
        field: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },

    /// The grid of a sweep is none, or holds a run that cannot be.
    #[error("{}: {message}", path.display())]
    Grid {
        /// The file concerned.
        path: PathBuf,
        /// Which key or run is wrong, and what to do.
        message: String,
    },

    /// The tensor library failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// The process exit code: 1 failure, 2 usage, 3 bad model, data or tokenizer, 4 network,
    /// 5 does not fit in memory, 75 interrupted. (6, non-finite rows, is no error: the scan finished.)
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_)
            | Error::OutDir { .. }
            | Error::Flow { .. }
            | Error::Train { .. }
            | Error::Grid { .. } => 2,
            Error::Config { .. }
            | Error::UnknownModelType { .. }
            | Error::Checkpoint { .. }
            | Error::MissingTensors { .. }
            | Error::TensorMismatch { .. }
            | Error::Tokenizer { .. }
            | Error::Dataset { .. }
            | Error::MissingColumn { .. }
            | Error::NotOnHub { .. }
            | Error::NotInBucket { .. } => 3,
            Error::Network { .. } | Error::Offline { .. } | Error::Checksum { .. } => 4,
            Error::DoesNotFit(_) => 5,
            Error::Tensor(error) if is_out_of_memory(error) => 5,
            Error::Interrupted { .. } => 75,
            Error::Io { .. }
            | Error::Parquet { .. }
            | Error::Figure { .. }
            | Error::Diverged { .. }
            | Error::Tensor(_) => 1,
        }
    }

    /// For `map_err`: an input or output error at `path`.
    ///
    /// An error of this type that travelled inside the `std::io::Error`, as those of a
    /// [`SpoolReader`](crate::hub::bucket::SpoolReader) do, comes out as itself: its exit code survives every
    /// reader that is put around.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| match source.downcast::<Error>() {
            Ok(own) => own,
            Err(source) => Error::Io { path, source },
        }
    }
}

/// Whether a device has run out of memory; the drivers say so only in words.
fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let message = error.to_string().to_lowercase();
    message.contains("out_of_memory") || message.contains("out of memory")
}

fn io_remedy(path: &Path, error: &std::io::Error) -> &'static str {
    match error.kind() {
        // A table for a person, from any command.
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            if path == Path::new("stdout") =>
        {
            " (free some space, or print somewhere else)"
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            " (free some space, then run the same command again, scan and train with --resume)"
        }
        std::io::ErrorKind::FileTooLarge => {
            " (raise the limit, `ulimit -f`, then run the same command again, scan and train with --resume)"
        }
        _ => "",
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first entry that is infinite or NaN, or the only one.
fn not_finite(quantity: &str, entries: &[f64]) -> String {
    match entries.iter().position(|x| !x.is_finite()) {
        Some(0) if entries.len() == 1 => format!("{quantity} is {}", entries[0]),
        Some(at) => format!("{quantity}[{at}] is {}", entries[at]),
        None if entries.len() == 1 => format!("{quantity} is {:e}", entries[0]),
        None => format!("{quantity} is not finite"),
    }
}

fn kept(records: usize, last: Option<f64>) -> String {
    match last {
        Some(last) => format!(
            "kept: {}, the last at t = {last}",
            count(records, "record", "records")
        ),
        None => "nothing was recorded before".to_owned(),
    }
}
