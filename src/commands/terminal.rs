//! What the commands share of the terminal: logs, signals, output.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    Error, Result,
    hub::{Hub, HubSettings, Snapshot},
};

/// Logs to stderr; `RUST_LOG` decides if it is set.
pub fn init_logging(quiet: bool, verbose: u8) {
    let default = match (quiet, verbose) {
        (true, _) => "error,hf_hub=off",
        // hf-hub calls every attempt that fails an error, also those that are tried again.
        (false, 0) => "warn,attnscope=info,hf_hub=off,usvg=error",
        (false, 1) => "info,attnscope=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
}

/// The Hub as the environment describes it, with progress bars unless quiet.
pub fn hub(offline: bool, quiet: bool) -> Result<Hub> {
    let mut settings = HubSettings::from_env()?;
    settings.offline |= offline;
    settings.progress &= !quiet;
    Hub::new(settings)
}

/// What the cache holds of something that a manifest names.
pub struct Cached {
    /// The snapshot's directory.
    pub dir: PathBuf,
    /// Whether every file is there that the manifest lists.
    pub is_complete: bool,
}

impl Cached {
    /// The snapshot as far as `files` go.
    pub fn new<'a>(snapshot: Snapshot, mut files: impl Iterator<Item = &'a String>) -> Self {
        Self {
            is_complete: files.all(|file| snapshot.files.contains(file)),
            dir: snapshot.dir,
        }
    }

    /// A directory with everything.
    pub fn whole(dir: PathBuf) -> Self {
        Self {
            dir,
            is_complete: true,
        }
    }

    /// `no`, the directory, or the directory with the remark that files are missing.
    pub fn describe(cached: &Option<Self>) -> String {
        match cached {
            None => "no".into(),
            Some(cached) if cached.is_complete => cached.dir.display().to_string(),
            Some(cached) => format!("{} (partly)", cached.dir.display()),
        }
    }
}

/// Writes `text` to stdout. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("stdout")(error)),
        _ => Ok(()),
    }
}

/// Writes a line to stderr. Nobody is left to be told if that fails.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit code of a finished scan: 0, or 6 with a warning if a row was not finite.
pub fn finished(non_finite_rows: u64) -> ExitCode {
    if non_finite_rows == 0 {
        return ExitCode::SUCCESS;
    }
    tracing::warn!(
        "{non_finite_rows} attention rows are not finite; column non_finite_rows says where"
    );
    ExitCode::from(6)
}

/// Set by the first SIGINT, SIGTERM or SIGHUP.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Makes the first SIGINT or SIGTERM end the work as soon as it is at a good place; a second one ends the process.
pub fn catch_signals() {
    let handler = || {
        if STOPPED.swap(true, Ordering::SeqCst) {
            std::process::exit(75);
        }
        say("stopping at the next good place (once more to stop at once)");
    };
    // Fails only if a handler is there already, which is then this one.
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!("signal handler: {error}");
    }
}

/// Whether the program has been told to stop.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
