//! Training the runs of a plan, several at a time.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use candle_core::Device;

use super::{Grid, Plan, Request, Watcher};
use crate::{
    Error, Result,
    store::sweep::{EndState, HeadRecord, RunRecord, SweepDirectory},
    train::{
        Settings,
        metrics::{Evaluation, Heads},
        run::{self, Epoch, State, Trained, run_all},
    },
};

/// How often the tables are made anew while runs are trained, so that a long sweep can be looked at.
const TABLES_EVERY: Duration = Duration::from_secs(600);

/// What a thread has to say of the runs that it trained: those that ended, or why it could not.
type Answer = Result<Result<Vec<RunRecord>>, Box<dyn Any + Send>>;

/// Trains the runs that are left, and keeps them in `directory`. Returns how many came to their end, which are fewer than
/// were left only if somebody said so.
pub(super) fn train(
    request: &Request<'_>,
    plan: &Plan,
    directory: &mut SweepDirectory<'_>,
    device: &Device,
    watcher: &dyn Watcher,
) -> Result<usize> {
    let jobs = request.jobs.get();
    let batches = plan.shapes.iter().flat_map(|runs| runs.chunks(jobs));
    let mut batches: VecDeque<&[usize]> = batches.collect();
    let has_failed = AtomicBool::new(false);
    let (mut free, mut ended, mut tables) = (jobs, 0, Instant::now());
    let mut failure = None;
    thread::scope(|scope| {
        let (answers, heard) = mpsc::channel::<(usize, Answer)>();
        loop {
            let is_over = has_failed.load(Ordering::Relaxed) || watcher.is_stopped();
            while let Some(&runs) = batches.front().filter(|b| !is_over && b.len() <= free) {
                batches.pop_front();
                free -= runs.len();
                let (answers, has_failed) = (answers.clone(), &has_failed);
                scope.spawn(move || {
                    let follower = Follower::new(watcher, has_failed, runs.len());
                    let train = || batch(request.grid, runs, device, &follower);
                    let answer = panic::catch_unwind(AssertUnwindSafe(train));
                    // Nobody listens only after a panic elsewhere.
                    let _ = answers.send((runs.len(), answer));
                });
            }
            if free == jobs {
                return;
            }
            let Ok((runs, answer)) = heard.recv() else {
                return;
            };
            free += runs;
            let kept = match answer {
                Ok(records) => records.and_then(|records| {
                    records.into_iter().try_for_each(|record| {
                        directory.add(record.clone())?;
                        ended += 1;
                        watcher.ended(&record);
                        Ok(())
                    })
                }),
                Err(panicked) => {
                    has_failed.store(true, Ordering::Relaxed);
                    panic::resume_unwind(panicked);
                }
            };
            let kept = kept.and_then(|()| {
                if tables.elapsed() >= TABLES_EVERY {
                    directory.publish()?;
                    tables = Instant::now();
                }
                Ok(())
            });
            if let Err(error) = kept {
                has_failed.store(true, Ordering::Relaxed);
                failure.get_or_insert(error);
            }
        }
    });
    match failure {
        None => Ok(ended),
        Some(error) => Err(error),
    }
}

/// Trains runs of one shape side by side; of those that were stopped there is no record.
fn batch(
    grid: &Grid,
    runs: &[usize],
    device: &Device,
    follower: &Follower<'_>,
) -> Result<Vec<RunRecord>> {
    let settings = runs.iter().map(|&run| grid.settings(run));
    let settings = settings.collect::<Result<Vec<Settings>>>()?;
    let began = Instant::now();
    let trained = run_all(&settings, device, follower).map_err(|error| match error {
        Error::Train { field, message } => Error::Grid {
            path: grid.path().into(),
            message: format!(
                "in one of the runs {runs:?}, the first of them {}: {field}: {message}",
                grid.describe(runs[0])
            ),
        },
        other => other,
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let records = runs.iter().zip(trained).filter_map(|(&run, trained)| {
        let (state, heads) = match trained.state {
            State::Stopped => return None,
            State::Diverged => (EndState::Diverged, Vec::new()),
            State::Finished => (EndState::Finished, heads(&trained)),
        };
        let evaluation = trained.evaluation.as_ref();
        Some(RunRecord {
            index: run,
            configuration: grid.identity(run),
            attnscope_version: env!("CARGO_PKG_VERSION").into(),
            state,
            steps: trained.epochs.last().map_or(0, |epoch| epoch.steps as u64),
            accuracy: evaluation.map(|evaluation| evaluation.score.accuracy),
            loss: evaluation.map(|evaluation| evaluation.score.loss),
            has_learned: evaluation.map(Evaluation::has_learned),
            heads,
            seconds,
            side_by_side: runs.len(),
        })
    });
    Ok(records.collect())
}

fn heads(trained: &Trained) -> Vec<HeadRecord> {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    match trained.evaluation.as_ref().map(|found| &found.heads) {
        None => Vec::new(),
        Some(Heads::Induction(heads)) => heads
            .iter()
            .map(|head| HeadRecord {
                layer: head.layer,
                head: head.head,
                sink_score: finite(head.sink_score),
                sink_score_of_means: finite(head.sink_score_of_means),
                is_sink: finite(head.sink_score).map(|_| head.is_sink()),
                non_finite_rows: head.non_finite_rows,
                ..HeadRecord::default()
            })
            .collect(),
        Some(Heads::Classification(heads)) => heads
            .iter()
            .map(|head| HeadRecord {
                layer: head.layer,
                head: head.head,
                sparsity_score: finite(head.sparsity_score),
                flip_rate: finite(head.flip_rate),
                non_finite_rows: head.non_finite_rows,
                ..HeadRecord::default()
            })
            .collect(),
    }
}

/// Tells the sweep's watcher of the steps of some runs.
struct Follower<'a> {
    watcher: &'a dyn Watcher,
    has_failed: &'a AtomicBool,
    runs: usize,
    told: AtomicUsize,
}

impl<'a> Follower<'a> {
    fn new(watcher: &'a dyn Watcher, has_failed: &'a AtomicBool, runs: usize) -> Self {
        Self {
            watcher,
            has_failed,
            runs,
            told: AtomicUsize::new(0),
        }
    }
}

impl run::Watcher for Follower<'_> {
    fn stepped(&self, done: usize, _total: usize) {
        let before = self.told.swap(done, Ordering::Relaxed);
        self.watcher.stepped((done - before.min(done)) * self.runs);
    }

    fn epoch(&self, _run: usize, _epoch: &Epoch) {}

    fn is_stopped(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.watcher.is_stopped()
    }
}
