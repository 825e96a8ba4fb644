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

use super::{Plan, Request, Watcher};
use crate::{
    Error, Result, machine,
    store::sweep::{EndState, HeadRecord, RunRecord, SweepDirectory},
    train::{
        Settings,
        metrics::{Evaluation, Heads},
        run::{self, Epoch, State, check_memory, run_all},
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
    let mut batches = batches(request, plan)?;
    let mut room = Room::of(request.jobs.get());
    let has_failed = AtomicBool::new(false);
    let (mut ended, mut tables) = (0, Instant::now());
    let mut failure = None;
    thread::scope(|scope| {
        let (answers, heard) = mpsc::channel::<(Batch, Answer)>();
        loop {
            let is_over =
                |failed: &AtomicBool| failed.load(Ordering::Relaxed) || watcher.is_stopped();
            while let Some(&next) = batches.front()
                && room.takes(&next)
                && !is_over(&has_failed)
            {
                batches.pop_front();
                let (answers, has_failed) = (answers.clone(), &has_failed);
                let work = move || {
                    let follower = Follower::new(watcher, has_failed, next.runs.len());
                    let train = || train_batch(request, next.runs, device, &follower);
                    let answer = panic::catch_unwind(AssertUnwindSafe(train));
                    // Nobody listens only after a panic elsewhere.
                    let _ = answers.send((next, answer));
                };
                match thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(_) => room.enter(&next),
                    Err(error) => {
                        has_failed.store(true, Ordering::Relaxed);
                        let message =
                            format!("no thread can be started ({error}); take a smaller --jobs");
                        failure.get_or_insert(Error::Usage(message));
                    }
                }
            }
            if room.is_empty() {
                return;
            }
            let Ok((batch, answer)) = heard.recv() else {
                return;
            };
            room.leave(&batch);
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
            if tables.elapsed() >= TABLES_EVERY {
                // What cannot be written now may be at the end, which says so otherwise.
                if let Err(error) = directory.publish() {
                    tracing::warn!("the tables are not made anew for now: {error}");
                }
                tables = Instant::now();
            }
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

/// Runs of one shape that are trained side by side.
#[derive(Debug, Clone, Copy)]
struct Batch<'a> {
    runs: &'a [usize],
    /// What they need, about.
    bytes: u64,
}

/// In the order in which they are trained.
///
/// # Errors
/// [`Error::DoesNotFit`] if one of them needs more than there is, before anything is trained.
fn batches<'a>(request: &Request<'_>, plan: &'a Plan) -> Result<VecDeque<Batch<'a>>> {
    let threads = rayon::current_num_threads();
    let mut batches = VecDeque::new();
    for shape in &plan.shapes {
        // Those of one shape need the same.
        let of_run = request.grid.settings(shape[0])?.bytes(threads);
        for runs in shape.chunks(request.jobs.get()) {
            let bytes = of_run.saturating_mul(runs.len() as u64);
            batches.push_back(Batch { runs, bytes });
        }
    }
    check_memory(batches.iter().map(|batch| batch.bytes).max().unwrap_or(0))?;
    Ok(batches)
}

/// What there is still room for, beside the batches that are on their way.
#[derive(Debug)]
struct Room {
    /// Of the batches on their way, their number, their runs and their bytes.
    taken: (usize, usize, u64),
    /// The most that there may be of each.
    most: (usize, usize, u64),
}

impl Room {
    /// For so many runs at a time, within the memory that there is now.
    fn of(runs: usize) -> Self {
        Self {
            taken: (0, 0, 0),
            // Each has a thread. More than these would only wait for each other.
            most: (
                4 * rayon::current_num_threads(),
                runs,
                machine::available(&Device::Cpu).unwrap_or(u64::MAX),
            ),
        }
    }

    fn is_empty(&self) -> bool {
        self.taken.0 == 0
    }

    /// Alone, every batch has room.
    fn takes(&self, batch: &Batch<'_>) -> bool {
        let (batches, runs, bytes) = self.taken;
        let is_within = batches < self.most.0
            && runs + batch.runs.len() <= self.most.1
            && bytes.saturating_add(batch.bytes) <= self.most.2;
        self.is_empty() || is_within
    }

    fn enter(&mut self, batch: &Batch<'_>) {
        let (batches, runs, bytes) = self.taken;
        self.taken = (batches + 1, runs + batch.runs.len(), bytes + batch.bytes);
    }

    fn leave(&mut self, batch: &Batch<'_>) {
        let (batches, runs, bytes) = self.taken;
        self.taken = (batches - 1, runs - batch.runs.len(), bytes - batch.bytes);
    }
}

/// Trains runs of one shape side by side; of those that were stopped there is no record.
fn train_batch(
    request: &Request<'_>,
    runs: &[usize],
    device: &Device,
    follower: &Follower<'_>,
) -> Result<Vec<RunRecord>> {
    let grid = request.grid;
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
            State::Finished => (EndState::Finished, heads(trained.evaluation.as_ref())),
        };
        let evaluation = trained.evaluation.as_ref();
        Some(RunRecord {
            index: run,
            configuration: grid.identity(run),
            attnscope_version: env!("CARGO_PKG_VERSION").into(),
            device: request.device_name.into(),
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

/// Numbers that are not finite are not kept: those of heads with no row that is, and flip rates where all samples have
/// one label.
fn heads(evaluation: Option<&Evaluation>) -> Vec<HeadRecord> {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    match evaluation.map(|found| &found.heads) {
        None => Vec::new(),
        Some(Heads::Induction(heads)) => heads
            .iter()
            .map(|head| HeadRecord {
                layer: head.layer,
                head: head.head,
                sink_score: finite(head.sink_score),
                sink_score_of_means: finite(head.sink_score_of_means),
                is_sink: head.is_sink(),
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
    /// Runs that are on their way.
    runs: AtomicUsize,
    /// Steps that each of these has made, and has to make.
    done: AtomicUsize,
    total: AtomicUsize,
}

impl<'a> Follower<'a> {
    fn new(watcher: &'a dyn Watcher, has_failed: &'a AtomicBool, runs: usize) -> Self {
        Self {
            watcher,
            has_failed,
            runs: AtomicUsize::new(runs),
            done: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
        }
    }
}

impl run::Watcher for Follower<'_> {
    fn stepped(&self, done: usize, total: usize) {
        self.total.store(total, Ordering::Relaxed);
        let before = self.done.swap(done, Ordering::Relaxed);
        let runs = self.runs.load(Ordering::Relaxed);
        self.watcher.stepped((done - before.min(done)) * runs);
    }

    fn epoch(&self, _run: usize, epoch: &Epoch) {
        let has_diverged = epoch.eval.is_none_or(|score| !score.loss.is_finite());
        if has_diverged {
            self.runs.fetch_sub(1, Ordering::Relaxed);
            let total = self.total.load(Ordering::Relaxed);
            self.watcher.spared(total.saturating_sub(epoch.steps));
        }
    }

    fn is_stopped(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.watcher.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::{ClassificationHead, Score};

    #[test]
    fn batches_wait_for_room() {
        let mut room = Room {
            taken: (0, 0, 0),
            most: (3, 4, 100),
        };
        let batch = |runs: &'static [usize], bytes: u64| Batch { runs, bytes };
        // Alone it may be tried, whatever it needs.
        assert!(room.takes(&batch(&[1], 1000)));
        let (two, one) = (batch(&[1, 2], 60), batch(&[3], 30));
        room.enter(&two);
        assert!(room.takes(&one));
        assert!(!room.takes(&two), "it needs 60 of 40 bytes");
        assert!(
            !room.takes(&batch(&[1, 2, 3], 1)),
            "it has 3 runs for 2 places"
        );
        room.enter(&one);
        room.enter(&batch(&[4], 0));
        assert!(!room.takes(&batch(&[], 0)), "there are 3 threads");
        room.leave(&two);
        assert!(room.takes(&two));
        room.leave(&one);
        room.leave(&batch(&[4], 0));
        assert!(room.is_empty());
    }

    #[test]
    fn what_is_no_number_is_not_kept() {
        let head = ClassificationHead {
            layer: 0,
            head: 1,
            sparsity_score: 0.5,
            flip_rate: f64::NAN,
            max_weight: 0.5,
            total_weight: 1.0,
            non_finite_rows: 0,
        };
        let score = Score {
            loss: 0.0,
            accuracy: 1.0,
        };
        let heads = heads(Some(&Evaluation {
            score,
            heads: Heads::Classification(vec![head]),
        }));
        assert_eq!((heads[0].head, heads[0].sparsity_score), (1, Some(0.5)));
        assert_eq!(heads[0].flip_rate, None);
    }
}
