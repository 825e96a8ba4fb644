//! Whole training runs: samples, epochs, and what came of them.

use std::{collections::BTreeMap, slice};

use candle_core::Device;
use rayon::prelude::*;
use serde::Serialize;

use super::{
    Batch, Parameters, Replicas, Settings, Snapshot, invalid,
    metrics::{self, Evaluation, Score},
    snapshot::Keeper,
    tasks::Sample,
    track::Track,
    trainer::Trainer,
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

/// The same, handing out snapshots whenever `keeper` wants one, and if the run is stopped; and going on from the snapshot
/// of a run of the same settings, if there is one. The numbers do not depend on where a run was left, nor how often.
///
/// # Errors
/// As [`run`], those of the keeper, and a snapshot of another model.
pub fn run_kept(
    settings: &Settings,
    device: &Device,
    watcher: &dyn Watcher,
    from: Option<Snapshot>,
    keeper: &mut dyn Keeper,
) -> Result<Trained> {
    let runs = slice::from_ref(settings);
    Ok(run_from(runs, device, watcher, from, Some(keeper))?.remove(0))
}

/// Trains models of one shape side by side, each as [`run`] would.
///
/// # Errors
/// As [`run`], and for runs that differ in more than seed, learning rate, `aux_loss_weight` and what is tracked.
pub fn run_all(runs: &[Settings], device: &Device, watcher: &dyn Watcher) -> Result<Vec<Trained>> {
    run_from(runs, device, watcher, None, None)
}

/// Snapshots are of the first run.
fn run_from(
    runs: &[Settings],
    device: &Device,
    watcher: &dyn Watcher,
    from: Option<Snapshot>,
    keeper: Option<&mut dyn Keeper>,
) -> Result<Vec<Trained>> {
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
    check_memory(needed)?;
    let mut courses = runs
        .par_iter()
        .map(Course::new)
        .collect::<Result<Vec<_>>>()?;
    let mut replicas = Replicas::new(runs, device)?;
    let made = from.as_ref().map(|from| from.steps);
    if let Some(from) = from
        && let Some(trainer) = replicas.trainer(0)
    {
        trainer.go_on(&from)?;
        courses[0].go_on(from);
    }
    follow(&mut courses, &mut replicas, made, watcher, keeper)?;
    let mut ended = Vec::new();
    for (at, course) in courses.into_iter().enumerate() {
        ended.push((course, replicas.parameters(at)?));
    }
    ended
        .into_par_iter()
        .map(|(course, parameters)| course.end(parameters))
        .collect()
}

/// Fails if runs that are trained side by side need more than is free.
pub(super) fn check_memory(needed: u64) -> Result<()> {
    let remedy = "train fewer at a time, or take a smaller model or fewer samples";
    machine::check_memory(needed, remedy)
}

/// Until all runs are over, going on after so many steps if there are any.
fn follow(
    courses: &mut [Course],
    replicas: &mut Replicas,
    made: Option<usize>,
    watcher: &dyn Watcher,
    mut keeper: Option<&mut dyn Keeper>,
) -> Result<()> {
    let Some(Course { settings, .. }) = courses.first() else {
        return Ok(());
    };
    let settings = *settings;
    let of_epoch = settings.steps_per_epoch();
    if made.is_none() {
        track(courses, replicas, 0)?;
    }
    let made = made.unwrap_or(0);
    let mut steps = made;
    for epoch in 1..=settings.num_epochs {
        // Those that are over, too: the order of an epoch's samples comes from that of the one before.
        courses.par_iter_mut().for_each(Course::shuffle);
        if made >= epoch * of_epoch {
            continue;
        }
        for step in made.saturating_sub((epoch - 1) * of_epoch)..of_epoch {
            let is_stopped = watcher.is_stopped();
            if let Some(keeper) = &mut keeper
                && (is_stopped || keeper.is_due())
            {
                keep(*keeper, &courses[0], replicas, steps)?;
            }
            if is_stopped {
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

/// Hands out a snapshot, unless there is nothing to go on with.
fn keep(
    keeper: &mut dyn Keeper,
    course: &Course,
    replicas: &mut Replicas,
    steps: usize,
) -> Result<()> {
    match (course.state, replicas.trainer(0)) {
        (None, Some(trainer)) => keeper.keep(&course.snapshot(steps, trainer)?),
        _ => Ok(()),
    }
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

    /// Takes up what a snapshot has, but for parameters and moments.
    fn go_on(&mut self, from: Snapshot) {
        self.loss = from.loss;
        self.epochs = from.epochs;
        self.track.records = from.records;
    }

    fn snapshot(&self, steps: usize, trainer: &Trainer) -> Result<Snapshot> {
        let mut parameters = BTreeMap::new();
        for (name, variable) in trainer.parameters().variables() {
            // A copy: the next step writes into the variable. Moments it makes anew.
            let parameter = variable.as_tensor().detach().copy()?;
            parameters.insert(name.clone(), parameter.to_device(&Device::Cpu)?);
        }
        let mut moments = BTreeMap::new();
        for (name, (m, v)) in trainer.moments() {
            let (m, v) = (m.to_device(&Device::Cpu)?, v.to_device(&Device::Cpu)?);
            moments.insert(name.to_owned(), (m, v));
        }
        Ok(Snapshot {
            steps,
            loss: self.loss,
            epochs: self.epochs.clone(),
            records: self.track.records.clone(),
            parameters,
            moments,
        })
    }

    /// For the next epoch.
    fn shuffle(&mut self) {
        self.random.shuffle(&mut self.order);
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
        self.loss = 0.0;
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
