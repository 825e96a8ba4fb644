//! What the commands share of the terminal: logs, progress, signals, output.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::{
    Error, Result,
    hub::{Hub, HubSettings, Snapshot},
    scan::{Progress, Watcher, plan::Plan},
};

/// How often a line says how far a scan is where no progress bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Logs to stderr; `RUST_LOG` decides if it is set.
pub fn init_logging(quiet: bool, verbose: u8) {
    let default = match (quiet, verbose) {
        (true, _) => "error,hf_hub=off",
        // hf-hub calls every attempt that fails an error, also those that are tried again.
        (false, 0) => "warn,attnscope=info,hf_hub=off",
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

/// Makes the first SIGINT or SIGTERM end the scan at the next layer; a second one ends the process.
pub fn catch_signals() {
    let handler = || {
        if STOPPED.swap(true, Ordering::SeqCst) {
            std::process::exit(75);
        }
        say("stopping after the layer at hand; what is done is kept (once more to stop at once)");
    };
    // Fails only if a handler is there already, which is then this one.
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!("signal handler: {error}");
    }
}

/// A scan's progress on stderr: a bar on a terminal, a line now and then elsewhere.
pub struct ScanProgress {
    quiet: bool,
    bar: ProgressBar,
    token_layers: AtomicU64,
    lines: Mutex<Lines>,
}

struct Lines {
    start: Instant,
    last: Instant,
    done_before: u64,
    total: u64,
    layers: u64,
}

impl ScanProgress {
    /// Progress of a scan that has not been planned yet.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let now = Instant::now();
        Self {
            quiet,
            bar: ProgressBar::with_draw_target(None, target),
            token_layers: AtomicU64::new(0),
            lines: Mutex::new(Lines {
                start: now,
                last: now,
                done_before: 0,
                total: 0,
                layers: 1,
            }),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, done: u64) {
        if self.quiet || !self.bar.is_hidden() {
            return;
        }
        let Ok(mut lines) = self.lines.lock() else {
            return;
        };
        if lines.last.elapsed() < LINE_EVERY {
            return;
        }
        lines.last = Instant::now();
        let seconds = lines.start.elapsed().as_secs_f64();
        let rate = (done - lines.done_before) as f64 / seconds;
        let left = lines.total.saturating_sub(done) as f64 / rate;
        tracing::info!(
            "{:.1} % done, {:.0} tokens/s, {} left",
            100.0 * done as f64 / lines.total.max(1) as f64,
            rate / lines.layers as f64,
            HumanDuration(Duration::from_secs_f64(left.min(1e9)))
        );
    }
}

impl Progress for ScanProgress {
    fn advance(&self, tokens: u64) {
        let done = self.token_layers.fetch_add(tokens, Ordering::Relaxed) + tokens;
        self.bar.inc(tokens);
        self.line(done);
    }
}

impl Watcher for ScanProgress {
    fn tokenized(&self, done: usize, total: usize) {
        if done == total {
            tracing::debug!("{total} texts tokenised");
        }
    }

    fn planned(&self, plan: &Plan, token_layers: u64, done: u64) {
        tracing::info!("{plan}");
        if done > 0 {
            tracing::info!(
                "resuming: {:.1} % is done already",
                100.0 * done as f64 / token_layers.max(1) as f64
            );
        }
        self.token_layers.store(done, Ordering::Relaxed);
        if let Ok(mut lines) = self.lines.lock() {
            let now = Instant::now();
            *lines = Lines {
                start: now,
                last: now,
                done_before: done,
                total: token_layers,
                layers: plan.layers,
            };
        }
        let layers = plan.layers as f64;
        let style = ProgressStyle::with_template(
            "{elapsed_precise} {wide_bar} {percent:>3} %  {rate}  {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "rate",
            move |state: &ProgressState, w: &mut dyn std::fmt::Write| {
                // Nowhere to report a failure to draw.
                let _ = write!(w, "{:.0} tokens/s", state.per_sec() / layers);
            },
        );
        self.bar.set_style(style);
        self.bar.set_length(token_layers);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    fn is_stopped(&self) -> bool {
        STOPPED.load(Ordering::SeqCst)
    }
}
