//! Whole training runs: samples, epochs, and what came of them.

use std::slice;

use candle_core::Device;
use rayon::prelude::*;
use serde::Serialize;

use super::{
    Batch, Parameters, Replicas, Settings, invalid,
    metrics::{self, Evaluation, Score},
    tasks::Sample,
    track::Track,
};
use crate::{Result, machine, random::PythonRandom};

/// An epoch that is over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Steps made since the beginning of the run.
    pub steps: usize,
    /// Mean over the steps of the epoch of their losses, each before its step; not finite if one was not, after which
    /// there was no further one.
    pub train_loss: f64,
    /// After the epoch; `None` if it ended early, with a loss that was not finite.
    pub eval: Option<Score>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// With its last epoch.
    Finished,
    /// With a loss that was not finite; nothing was learned or measured after it.
    Diverged,
    /// Because it was told to.
    Stopped,
}

/// Somebody who follows runs.
pub trait Watcher {
    /// So many of each run's steps are made.
    fn stepped(&self, done: usize, total: usize);

    /// An epoch of the run of this number, from 0, is over.
    fn epoch(&self, run: usize, epoch: &Epoch);

    /// Whether the runs should end; asked before each step.
    fn is_stopped(&self) -> bool;
}

/// What came of a run.
#[derive(Debug)]
pub struct Trained {
    /// How it ended.
    pub state: State,
    /// Its epochs; of a run that diverged, the last one ended there. One that was stopped half-way is not among them.
    pub epochs: Vec<Epoch>,
    /// The parameters after the last step.
    pub parameters: Parameters,
    /// What was measured on.
    pub eval_samples: Vec<Sample>,
    /// What was measured; `None` unless the run finished.
    pub evaluation: Option<Evaluation>,
    /// What was tracked on the way, up to the end or to where the loss was no longer finite.
    pub track: Track,
}

/// Trains a model, in float32.
///
/// Samples are drawn by CPython's generator as the paper's program draws them, first those to learn from, so that a
/// seed gives its data. It draws their order in each epoch, too, and the pairs of the flip rate. The parameters come
/// from NumPy's generator. The same settings give the same numbers, bit for bit, on the same machine.
///
/// # Errors
/// [`Error::Train`](crate::Error::Train) for settings that cannot be, and
/// [`Error::DoesNotFit`](crate::Error::DoesNotFit) for more than there is memory for. A loss that is not finite is none;
/// [`Trained::state`] says so.
pub fn run(settings: &Settings, device: &Device, watcher: &dyn Watcher) -> Result<Trained> {
    // Of one run there is one result.
    Ok(run_all(slice::from_ref(settings), device, watcher)?.remove(0))
}

/// Trains models of one shape side by side, each as [`run`] would.
///
/// # Errors
/// As [`run`], and for runs that differ in more than seed, learning rate, `aux_loss_weight` and what is tracked.
pub fn run_all(runs: &[Settings], device: &Device, watcher: &dyn Watcher) -> Result<Vec<Trained>> {
    let Some(first) = runs.first() else {
        return Ok(Vec::new());
    };
    for settings in runs {
        settings.check()?;
        if !settings.has_shape_of(first) {
            let message =
                "side by side, runs may differ in seed, learning rate and aux_loss_weight alone";
            return Err(invalid("runs", message.into()));
        }
    }
    let threads = rayon::current_num_threads();
    let needed = runs.iter().map(|settings| settings.bytes(threads));
    let needed = needed.fold(0, u64::saturating_add);
    machine::check_memory(
        needed,
        "train fewer at a time, or take a smaller model or fewer samples",
    )?;
    let mut courses = runs
        .par_iter()
        .map(Course::new)
        .collect::<Result<Vec<_>>>()?;
    let mut replicas = Replicas::new(runs, device)?;
    follow(&mut courses, &mut replicas, watcher)?;
    let mut ended = Vec::new();
    for (at, course) in courses.into_iter().enumerate() {
        ended.push((course, replicas.parameters(at)?));
    }
    ended
        .into_par_iter()
        .map(|(course, parameters)| course.end(parameters))
        .collect()
}

/// Until all runs are over.
fn follow(courses: &mut [Course], replicas: &mut Replicas, watcher: &dyn Watcher) -> Result<()> {
    let Some(Course { settings, .. }) = courses.first() else {
        return Ok(());
    };
    let settings = *settings;
    let mut steps = 0;
    track(courses, replicas, steps)?;
    for epoch in 1..=settings.num_epochs {
        courses.par_iter_mut().for_each(Course::begin_epoch);
        for step in 0..settings.steps_per_epoch() {
            if watcher.is_stopped() {
                courses.iter_mut().for_each(Course::stop);
                return Ok(());
            }
            let batches: Vec<Option<Batch>> = courses.par_iter().map(|c| c.batch(step)).collect();
            if batches.iter().all(Option::is_none) {
                return Ok(());
            }
            let losses = replicas.step(&batches)?;
            steps += 1;
            watcher.stepped(steps, settings.steps());
            for (run, (course, loss)) in courses.iter_mut().zip(losses).enumerate() {
                if let Some(loss) = loss
                    && let Some(epoch) = course.stepped(loss, epoch, steps)
                {
                    watcher.epoch(run, &epoch);
                }
            }
            track(courses, replicas, steps)?;
        }
        let scores = courses
            .par_iter()
            .enumerate()
            .map(|(run, course)| match course.state {
                None => course.score(&replicas.parameters(run)?).map(Some),
                Some(_) => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        for (run, (course, score)) in courses.iter_mut().zip(scores).enumerate() {
            if let Some(score) = score {
                watcher.epoch(run, &course.end_epoch(score, epoch, steps));
            }
        }
    }
    Ok(())
}

/// Looks at the runs that are to be looked at after so many steps.
fn track(courses: &mut [Course], replicas: &Replicas, steps: usize) -> Result<()> {
    courses
        .par_iter_mut()
        .enumerate()
        .try_for_each(|(run, course)| {
            let Course { settings, .. } = course;
            if course.state.is_some() || !settings.tracking.is_due(settings, steps) {
                return Ok(());
            }
            let parameters = replicas.parameters(run)?;
            let track = &mut course.track;
            track.add(steps, &settings.task, &course.eval_samples, &parameters)
        })
}

/// A run on its way.
struct Course<'a> {
    settings: &'a Settings,
    random: PythonRandom,
    train_samples: Vec<Sample>,
    eval_samples: Vec<Sample>,
    /// Of the samples of this epoch.
    order: Vec<usize>,
    /// Sum over the steps of this epoch.
    loss: f64,
    epochs: Vec<Epoch>,
    track: Track,
    /// `None` as long as it goes on.
    state: Option<State>,
}

impl<'a> Course<'a> {
    fn new(settings: &'a Settings) -> Result<Self> {
        let mut random = PythonRandom::new(settings.seed.into());
        let train_samples = settings.task.samples(settings.num_train, &mut random)?;
        let eval_samples = settings.task.samples(settings.num_eval, &mut random)?;
        Ok(Self {
            settings,
            random,
            order: (0..train_samples.len()).collect(),
            train_samples,
            track: Track::new(&settings.task, &eval_samples),
            eval_samples,
            loss: 0.0,
            epochs: Vec::new(),
            state: None,
        })
    }

    fn begin_epoch(&mut self) {
        self.random.shuffle(&mut self.order);
        self.loss = 0.0;
    }

    /// The samples of the epoch's step of this number, from 0; `None` when the run is over.
    fn batch(&self, step: usize) -> Option<Batch> {
        if self.state.is_some() {
            return None;
        }
        let order = self.order.chunks(self.settings.batch_size).nth(step)?;
        let samples = order.iter().map(|&i| &self.train_samples[i]);
        Some(self.settings.task.batch(samples))
    }

    /// Keeps the loss of a step. If it is not finite, the run is over, and this its last epoch.
    fn stepped(&mut self, loss: f64, epoch: usize, steps: usize) -> Option<Epoch> {
        self.loss += loss;
        if loss.is_finite() {
            return None;
        }
        let epoch = Epoch {
            epoch,
            steps,
            train_loss: loss,
            eval: None,
        };
        self.epochs.push(epoch);
        self.state = Some(State::Diverged);
        Some(epoch)
    }

    fn score(&self, parameters: &Parameters) -> Result<Score> {
        let network = parameters.frozen_network()?;
        metrics::score(&network, &self.settings.task, &self.eval_samples)
    }

    fn end_epoch(&mut self, score: Score, epoch: usize, steps: usize) -> Epoch {
        let epoch = Epoch {
            epoch,
            steps,
            train_loss: self.loss / self.settings.steps_per_epoch() as f64,
            eval: Some(score),
        };
        self.epochs.push(epoch);
        // The last step of an epoch shows in no loss but that of the evaluation.
        if !score.loss.is_finite() {
            self.state = Some(State::Diverged);
        }
        epoch
    }

    fn stop(&mut self) {
        self.state.get_or_insert(State::Stopped);
    }

    /// With the parameters after its last step.
    fn end(mut self, parameters: Parameters) -> Result<Trained> {
        let state = self.state.unwrap_or(State::Finished);
        let evaluation = match state {
            State::Finished => Some(metrics::evaluate(
                &parameters,
                &self.settings.task,
                &self.eval_samples,
                &mut self.random,
            )?),
            State::Diverged | State::Stopped => None,
        };
        Ok(Trained {
            state,
            epochs: self.epochs,
            parameters,
            eval_samples: self.eval_samples,
            evaluation,
            track: self.track,
        })
    }
}
