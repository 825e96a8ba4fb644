//! A whole training run: samples, epochs, and what came of it.

use candle_core::{DType, Device};
use serde::Serialize;

use super::{
    Parameters, Trainer, invalid,
    metrics::{self, Evaluation, Score},
    optimizer,
    tasks::{Sample, Task},
};
use crate::{
    Error, Result,
    layers::attention::{AttentionKind, Features},
    models::small_transformer::{Config, MODEL_TYPE, PositionEmbedding},
    random::{NumpyRandom, PythonRandom},
};

/// Samples of a run, at most.
const MOST_SAMPLES: usize = 1 << 26;

/// What is trained, on what, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is learned.
    pub task: Task,
    /// By which model. Its vocabulary and its output are those of the task.
    pub config: Config,
    /// Samples to learn from.
    pub num_train: usize,
    /// Samples to measure on.
    pub num_eval: usize,
    /// Times that every sample is learned from.
    pub num_epochs: usize,
    /// Samples of a step; the last one of an epoch may have fewer.
    pub batch_size: usize,
    /// Of AdamW, constant.
    pub learning_rate: f64,
    /// Decides samples, parameters, their order and the pairs that are measured on.
    pub seed: u32,
}

impl Settings {
    /// The paper's (arXiv 2603.06248, Tables 2 and 3, and where they list several, what its program takes if nothing
    /// else is said): 2 layers, 4 heads, width 128, feed-forward blocks of 512, layer norms; 10 epochs in batches of
    /// 256, learning rate 1e-3, 1,000 samples to measure on, seed 0. Induction is causal, with positions beside tokens,
    /// and has 100,000 samples; classification is neither, and has 10,000.
    pub fn of_paper(task: Task, attention_function: AttentionKind) -> Self {
        let is_induction = matches!(task, Task::Induction(_));
        let mut settings = Self {
            config: Config {
                model_type: MODEL_TYPE.into(),
                hidden_size: 128,
                intermediate_size: 4 * 128,
                num_hidden_layers: 2,
                num_attention_heads: 4,
                vocab_size: task.vocab_size(),
                output_size: task.output_size(),
                attention_function,
                attention_intermediate_size: 0,
                position_embedding_type: match is_induction {
                    true => PositionEmbedding::Concat,
                    false => PositionEmbedding::None,
                },
                max_position_embeddings: if is_induction { task.tokens() } else { 0 },
                is_causal: is_induction,
                use_layer_norm: true,
                layer_norm_eps: 1e-5,
            },
            num_train: if is_induction { 100_000 } else { 10_000 },
            num_eval: 1000,
            num_epochs: 10,
            batch_size: 256,
            learning_rate: 1e-3,
            seed: 0,
            task,
        };
        // Four times what goes in, as in the feed-forward blocks.
        settings.config.attention_intermediate_size = match attention_function.features() {
            Features::Mlp => 4 * settings.config.head_dim(),
            Features::Identity | Features::Elu => 0,
        };
        settings
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> usize {
        let per_epoch = self.num_train.div_ceil(self.batch_size.max(1));
        per_epoch.saturating_mul(self.num_epochs)
    }

    /// Whether there can be such a run; the sizes of the task are checked where samples are drawn.
    fn check(&self) -> Result<()> {
        for (field, count, most) in [
            ("num_train", self.num_train, MOST_SAMPLES),
            ("num_eval", self.num_eval, MOST_SAMPLES),
            ("num_epochs", self.num_epochs, MOST_SAMPLES),
            ("batch_size", self.batch_size, MOST_SAMPLES),
        ] {
            if !(1..=most).contains(&count) {
                let message = format!("{count} is not between 1 and {most}");
                return Err(invalid(field, message));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            let message = format!("{} is not a number above 0", self.learning_rate);
            return Err(invalid("lr", message));
        }
        // There is no file yet that could be named.
        self.config
            .check("config.json".as_ref())
            .map_err(|error| match error {
                Error::Config { field, message, .. } => {
                    invalid("model", format!("{field}: {message}"))
                }
                other => other,
            })?;
        for (field, found, needed) in [
            ("vocab_size", self.config.vocab_size, self.task.vocab_size()),
            (
                "output_size",
                self.config.output_size,
                self.task.output_size(),
            ),
        ] {
            if found != needed {
                let message = format!("the model has {found}, and the task needs {needed}");
                return Err(invalid(field, message));
            }
        }
        let (positions, tokens) = (self.config.max_position_embeddings, self.task.tokens());
        let has_positions = self.config.position_embedding_type != PositionEmbedding::None;
        if has_positions && positions < tokens {
            let message = format!("the model has {positions}, and a sample {tokens} tokens");
            return Err(invalid("max_position_embeddings", message));
        }
        Ok(())
    }
}

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

/// Somebody who follows a run.
pub trait Watcher {
    /// So many of the run's steps are made.
    fn stepped(&self, done: usize, total: usize);

    /// An epoch is over.
    fn epoch(&self, epoch: &Epoch);

    /// Whether the run should end; asked before each step.
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
}

/// Trains a model, in float32.
///
/// Samples are drawn by CPython's generator as the paper's program draws them, first those to learn from, so that a
/// seed gives its data. It draws their order in each epoch, too, and the pairs of the flip rate. The parameters come
/// from NumPy's generator. The same settings give the same numbers, bit for bit, on the same machine with the same
/// number of threads.
///
/// # Errors
/// [`Error::Train`] for settings that cannot be. A loss that is not finite is none;
/// [`Trained::state`] says so.
pub fn run(settings: &Settings, device: &Device, watcher: &dyn Watcher) -> Result<Trained> {
    let mut random = PythonRandom::new(settings.seed.into());
    settings.check()?;
    let train_samples = settings.task.samples(settings.num_train, &mut random)?;
    let eval_samples = settings.task.samples(settings.num_eval, &mut random)?;
    let parameters = Parameters::random(
        settings.config.clone(),
        &mut NumpyRandom::new(settings.seed),
        DType::F32,
        device,
    )?;
    let mut course = Course {
        settings,
        watcher,
        trainer: Trainer::new(parameters, optimizer::settings(settings.learning_rate))?,
        steps: 0,
        epochs: Vec::new(),
    };
    let state = course.follow(&train_samples, &eval_samples, &mut random)?;
    let Course {
        trainer, epochs, ..
    } = course;
    let parameters = trainer.parameters().clone();
    let evaluation = match state {
        State::Finished => Some(metrics::evaluate(
            &parameters,
            &settings.task,
            &eval_samples,
            &mut random,
        )?),
        State::Diverged | State::Stopped => None,
    };
    Ok(Trained {
        state,
        epochs,
        parameters,
        eval_samples,
        evaluation,
    })
}

/// A run on its way.
struct Course<'a> {
    settings: &'a Settings,
    watcher: &'a dyn Watcher,
    trainer: Trainer,
    steps: usize,
    epochs: Vec<Epoch>,
}

impl Course<'_> {
    fn follow(
        &mut self,
        train_samples: &[Sample],
        eval_samples: &[Sample],
        random: &mut PythonRandom,
    ) -> Result<State> {
        let mut order: Vec<usize> = (0..train_samples.len()).collect();
        for epoch in 1..=self.settings.num_epochs {
            random.shuffle(&mut order);
            let (train_loss, ended) = self.epoch(train_samples, &order)?;
            if ended == Some(State::Stopped) {
                return Ok(State::Stopped);
            }
            let eval = match ended {
                None => {
                    let network = self.trainer.parameters().frozen_network()?;
                    let task = &self.settings.task;
                    Some(metrics::score(&network, task, eval_samples)?)
                }
                Some(_) => None,
            };
            let epoch = Epoch {
                epoch,
                steps: self.steps,
                train_loss,
                eval,
            };
            self.epochs.push(epoch);
            self.watcher.epoch(&epoch);
            // The last step of an epoch shows in no loss but that of the evaluation.
            let is_finite = eval.is_none_or(|score| score.loss.is_finite());
            match ended {
                Some(state) => return Ok(state),
                None if !is_finite => return Ok(State::Diverged),
                None => (),
            }
        }
        Ok(State::Finished)
    }

    /// The mean loss of its steps, and why it ended early, if it did.
    fn epoch(&mut self, samples: &[Sample], order: &[usize]) -> Result<(f64, Option<State>)> {
        let task = &self.settings.task;
        let (mut sum, mut steps) = (0.0, 0);
        for order in order.chunks(self.settings.batch_size) {
            if self.watcher.is_stopped() {
                return Ok((sum / f64::from(steps), Some(State::Stopped)));
            }
            let samples: Vec<Sample> = order.iter().map(|&i| samples[i].clone()).collect();
            let loss = self.trainer.step(task, &task.batch(&samples))?;
            sum += loss;
            steps += 1;
            self.steps += 1;
            self.watcher.stepped(self.steps, self.settings.steps());
            if !loss.is_finite() {
                return Ok((loss, Some(State::Diverged)));
            }
        }
        Ok((sum / f64::from(steps), None))
    }
}
