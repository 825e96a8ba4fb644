//! Progress of long work on stderr: a bar on a terminal, a line now and then elsewhere.

use std::{
    fmt::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::terminal;
use crate::{
    convert::{self, Stage},
    machine::human,
    scan::{Progress, Watcher, plan::Plan},
};

/// How often a line says how far the work is where no progress bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(30);

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
        let now = Instant::now();
        Self {
            quiet,
            bar: bar(quiet),
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
        .with_key("rate", move |state: &ProgressState, w: &mut dyn Write| {
            // Nowhere to report a failure to draw.
            let _ = write!(w, "{:.0} tokens/s", state.per_sec() / layers);
        });
        self.bar.set_style(style);
        self.bar.set_length(token_layers);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    fn is_stopped(&self) -> bool {
        terminal::is_stopped()
    }
}

/// A conversion's progress, by bytes.
pub struct ConvertProgress {
    quiet: bool,
    bar: ProgressBar,
    state: Mutex<ConvertState>,
}

struct ConvertState {
    stage: Stage,
    start: Instant,
    last: Instant,
    total: u64,
    done: u64,
    done_before: u64,
}

impl ConvertProgress {
    /// Progress of a conversion that has not begun yet.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            bar: bar(quiet),
            state: Mutex::new(ConvertState {
                stage: Stage::Converting,
                start: now,
                last: now,
                total: 0,
                done: 0,
                done_before: 0,
            }),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Converting => "converting",
        Stage::Verifying => "verifying",
        Stage::Hashing => "SHA-256",
    }
}

impl convert::Watcher for ConvertProgress {
    fn planned(&self, plan: &convert::Plan) {
        // Not before: until here nothing has been written, and whoever stops it need not wait.
        terminal::catch_signals();
        let how = match plan.is_remote {
            true => "to download",
            false => "to read",
        };
        tracing::info!(
            "{}: {} of {} layers, {} {how}, {} to write",
            plan.checkpoint,
            plan.layers,
            plan.num_hidden_layers,
            human(plan.read_bytes),
            human(plan.written_bytes)
        );
    }

    fn begin(&self, stage: Stage, total: u64, done: u64) {
        if done > 0 {
            tracing::info!("resuming: {} is done already", human(done));
        }
        if let Ok(mut state) = self.state.lock() {
            let now = Instant::now();
            *state = ConvertState {
                stage,
                start: now,
                last: now,
                total,
                done,
                done_before: done,
            };
        }
        let template =
            "{prefix} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}{msg}  {eta} left";
        let style = ProgressStyle::with_template(template);
        self.bar
            .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_prefix(stage_name(stage));
        self.bar.set_message("");
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    fn advance(&self, bytes: u64, received: u64) {
        self.bar.inc(bytes);
        if received > 0 {
            self.bar
                .set_message(format!(", {} fetched", human(received)));
        }
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        state.done += bytes;
        if self.quiet || !self.bar.is_hidden() || state.last.elapsed() < LINE_EVERY {
            return;
        }
        state.last = Instant::now();
        let mut line = format!(
            "{}: {} of {}, {:.0} MB/s",
            stage_name(state.stage),
            human(state.done),
            human(state.total),
            (state.done - state.done_before) as f64 / 1e6 / state.start.elapsed().as_secs_f64()
        );
        if received > 0 {
            // Writing to a string does not fail.
            let _ = write!(line, ", {} fetched", human(received));
        }
        tracing::info!("{line}");
    }

    fn is_stopped(&self) -> bool {
        terminal::is_stopped()
    }
}

/// A bar over so many of `what`.
fn counting_bar(total: usize, what: &str, quiet: bool) -> ProgressBar {
    let bar = bar(quiet);
    let template = format!("{{elapsed_precise}} {{wide_bar}} {{pos}}/{{len}} {what}  {{eta}} left");
    let style = ProgressStyle::with_template(&template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_length(total as u64);
    bar
}

/// Progress of runs that are followed, by number.
pub struct RunProgress {
    quiet: bool,
    bar: ProgressBar,
    total: usize,
    last: Mutex<Instant>,
}

impl RunProgress {
    /// Of so many runs.
    pub fn new(total: usize, quiet: bool) -> Self {
        let bar = counting_bar(total, "runs", quiet);
        Self {
            quiet,
            bar,
            total,
            last: Mutex::new(Instant::now()),
        }
    }

    /// So many are done.
    pub fn done(&self, runs: usize) {
        // Threads may come here in another order than that of their numbers.
        self.bar.set_position(self.bar.position().max(runs as u64));
        if self.quiet || !self.bar.is_hidden() {
            return;
        }
        if let Ok(mut last) = self.last.lock()
            && last.elapsed() >= LINE_EVERY
        {
            *last = Instant::now();
            tracing::info!("{runs} of {} runs done", self.total);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of a training run: a bar on a terminal, and the lines of its epochs.
pub struct StepProgress(ProgressBar);

impl StepProgress {
    /// Of so many steps.
    pub fn new(total: usize, quiet: bool) -> Self {
        Self(counting_bar(total, "steps", quiet))
    }

    /// So many are done.
    pub fn done(&self, steps: usize) {
        self.0.set_position(steps as u64);
    }

    /// Lets `say` write lines, with the bar out of their way.
    pub fn above(&self, say: impl FnOnce()) {
        self.0.suspend(say);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar on stderr, unless quiet.
pub(super) fn bar(quiet: bool) -> ProgressBar {
    let target = if quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    ProgressBar::with_draw_target(None, target)
}
