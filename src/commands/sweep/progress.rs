//! The progress of a sweep: a bar on a terminal, and a line for each run.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::{
    commands::{progress::bar, terminal},
    store::sweep::{EndState, RunRecord},
    train::sweep::{Grid, Plan, Watcher},
};

/// Progress on stderr.
pub struct SweepProgress<'a> {
    grid: &'a Grid,
    bar: ProgressBar,
    began: Instant,
    total: AtomicUsize,
    done: AtomicUsize,
    steps_left: AtomicUsize,
    steps_done: AtomicUsize,
}

impl<'a> SweepProgress<'a> {
    /// Of a sweep that has not begun yet.
    pub fn new(grid: &'a Grid, quiet: bool) -> Self {
        Self {
            grid,
            bar: bar(quiet),
            began: Instant::now(),
            total: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            steps_left: AtomicUsize::new(0),
            steps_done: AtomicUsize::new(0),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// How long it takes yet, by the steps that were made since it began.
    fn left(&self) -> Option<HumanDuration> {
        let done = self.steps_done.load(Ordering::Relaxed);
        let left = self.steps_left.load(Ordering::Relaxed).saturating_sub(done);
        let seconds = self.began.elapsed().as_secs_f64() * left as f64 / done as f64;
        (done > 0).then(|| HumanDuration(Duration::from_secs_f64(seconds.min(1e9))))
    }

    fn tell_counts(&self, done: usize) {
        let total = self.total.load(Ordering::Relaxed);
        self.bar.set_message(format!("{done}/{total} runs"));
    }
}

impl Watcher for SweepProgress<'_> {
    fn planned(&self, plan: &Plan) {
        let (all, done) = (plan.runs.len(), plan.done());
        match done {
            0 => tracing::info!("{all} runs"),
            _ => tracing::info!("{all} runs, {done} of them done already"),
        }
        self.total.store(all, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
        self.steps_left.store(plan.steps, Ordering::Relaxed);
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}  {eta} left");
        self.bar
            .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_length(plan.steps as u64);
        self.tell_counts(done);
    }

    fn stepped(&self, steps: usize) {
        self.steps_done.fetch_add(steps, Ordering::Relaxed);
        self.bar.inc(steps as u64);
    }

    fn spared(&self, steps: usize) {
        self.steps_left.fetch_sub(steps, Ordering::Relaxed);
        self.bar.dec_length(steps as u64);
    }

    fn ended(&self, run: &RunRecord) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell_counts(done);
        let total = self.total.load(Ordering::Relaxed);
        let steps = self.steps_done.load(Ordering::Relaxed) as f64;
        let rate = steps / self.began.elapsed().as_secs_f64();
        let left = match self.left() {
            Some(left) if done < total => format!(", {left} left"),
            _ => String::new(),
        };
        self.bar.suspend(|| {
            let end = match (run.state, run.accuracy) {
                (EndState::Finished, Some(accuracy)) => format!("accuracy {accuracy:.4}"),
                _ => format!("diverged after step {}", run.steps),
            };
            tracing::info!(
                "run {} ({}): {end}; {done} of {total} done, {rate:.0} steps/s{left}",
                run.index,
                self.grid.distinguish(run.index)
            );
        });
    }

    fn is_stopped(&self) -> bool {
        terminal::is_stopped()
    }
}
