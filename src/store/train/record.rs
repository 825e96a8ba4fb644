//! `run.json` of a training run: what was trained, how, what came of it, and how long it took.

use serde::Serialize;

use super::unfinished::Progress;
use crate::{
    machine::Machine,
    models::small_transformer::Config,
    store::Provenance,
    train::{
        Settings,
        metrics::Evaluation,
        run::{State, Trained},
        tasks::{Sample, Task},
    },
};

/// Everything needed to repeat a run, how it ended, and what it cost.
#[derive(Debug, Clone, Serialize)]
pub struct TrainManifest {
    /// Version of attnscope that computed the numbers.
    pub attnscope_version: String,
    /// The command that repeats the run, with every choice in it.
    pub command: String,
    /// What was learned.
    pub task: TaskRecord,
    /// By which model; `config.json` of a run that finished.
    pub model: Config,
    /// Samples to learn from.
    pub num_train: usize,
    /// Samples to measure on.
    pub num_eval: usize,
    /// Times that every sample was to be learned from.
    pub num_epochs: usize,
    /// Samples of a step.
    pub batch_size: usize,
    /// Of AdamW.
    pub learning_rate: f64,
    /// Decided samples, parameters, their order and the pairs that were measured on.
    pub seed: u32,
    /// How it ended: `finished` or `diverged`.
    pub state: State,
    /// Steps that were made.
    pub steps: usize,
    /// On the evaluation samples; null unless it finished.
    pub loss: Option<f64>,
    /// On the evaluation samples; null unless it finished.
    pub accuracy: Option<f64>,
    /// Whether the accuracy is 0.95 or more; null unless it finished.
    pub has_learned: Option<bool>,
    /// The largest of all heads (classification); null unless it finished.
    pub flip_rate: Option<f64>,
    /// Steps between two looks at the tracked samples; 0 if there were none.
    pub track_every: usize,
    /// The samples that were tracked.
    pub tracked: Vec<TrackedSample>,
    /// `cpu`, `cuda:N` or `metal`.
    pub device: String,
    /// On what it ran.
    pub machine: Machine,
    /// Largest resident set of the process.
    pub peak_memory_bytes: Option<u64>,
    /// The files beside this one.
    pub files: Vec<String>,
    /// When the run began (RFC 3339, UTC).
    pub started_at: String,
    /// When it finished.
    pub finished_at: String,
    /// How often it was resumed.
    pub resumed: u64,
    /// Drawing samples, training and measuring, in seconds, up to where it was kept before it was resumed included.
    pub seconds_training: f64,
    /// Writing checkpoint, tables and figures, in seconds.
    pub seconds_writing: f64,
}

/// A task and its sizes.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum TaskRecord {
    /// To continue a pair of tokens as it went before.
    Induction {
        /// Tokens without the symbols of shifted ones, `BOS` among them.
        vocab_size: usize,
        /// Tokens of a sequence, the answer included.
        seq_length: usize,
        /// Whether a token that comes again is another symbol then.
        shift_query_token: bool,
        /// What the other positions weigh in the loss.
        aux_loss_weight: f64,
    },
    /// To tell from which group of tokens a set was drawn.
    Classification {
        /// Tokens of all groups, and `CLS`.
        vocab_size: usize,
        /// Tokens of a sequence, `CLS` included.
        seq_length: usize,
        /// Groups.
        num_labels: usize,
    },
}

/// A sample that was tracked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackedSample {
    /// Its number among the evaluation samples, from 0, and so its line of `texts.jsonl`.
    pub sample: usize,
    /// What the model saw.
    pub text: String,
    /// What it should say at the end: a token, or a label.
    pub answer: String,
}

impl From<&Task> for TaskRecord {
    fn from(task: &Task) -> Self {
        match task {
            Task::Induction(task) => TaskRecord::Induction {
                vocab_size: task.vocab_size,
                seq_length: task.seq_length,
                shift_query_token: task.shift_query_token,
                aux_loss_weight: task.aux_loss_weight,
            },
            Task::Classification(task) => TaskRecord::Classification {
                vocab_size: task.vocab_size,
                seq_length: task.seq_length,
                num_labels: task.num_labels,
            },
        }
    }
}

impl TrackedSample {
    /// Those of a run; none if it was not tracked.
    pub fn of(task: &Task, trained: &Trained) -> Vec<Self> {
        if trained.track.records.is_empty() {
            return Vec::new();
        }
        let samples = trained.track.samples.iter();
        samples
            .map(|&sample| {
                let Sample { input_ids, targets } = &trained.eval_samples[sample];
                let answer = targets.last().map(|&answer| match task {
                    Task::Induction(_) => task.token(answer),
                    Task::Classification(_) => answer.to_string(),
                });
                Self {
                    sample,
                    text: task.text(input_ids),
                    answer: answer.unwrap_or_default(),
                }
            })
            .collect()
    }
}

impl TrainManifest {
    /// Of this run; what is not known yet (files, when it finished, how long writing took) is empty.
    pub fn of(settings: &Settings, trained: &Trained, command: String) -> Self {
        let evaluation = trained.evaluation.as_ref();
        Self {
            attnscope_version: env!("CARGO_PKG_VERSION").into(),
            command,
            task: TaskRecord::from(&settings.task),
            model: settings.config.clone(),
            num_train: settings.num_train,
            num_eval: settings.num_eval,
            num_epochs: settings.num_epochs,
            batch_size: settings.batch_size,
            learning_rate: settings.learning_rate,
            seed: settings.seed,
            state: trained.state,
            steps: trained.epochs.last().map_or(0, |epoch| epoch.steps),
            loss: evaluation.map(|evaluation| evaluation.score.loss),
            accuracy: evaluation.map(|evaluation| evaluation.score.accuracy),
            has_learned: evaluation.map(Evaluation::has_learned),
            flip_rate: evaluation.and_then(Evaluation::max_flip_rate),
            track_every: settings.tracking.every(settings),
            tracked: TrackedSample::of(&settings.task, trained),
            device: "cpu".into(),
            machine: Machine::here(),
            peak_memory_bytes: crate::machine::peak(),
            files: Vec::new(),
            started_at: String::new(),
            finished_at: String::new(),
            resumed: 0,
            seconds_training: 0.0,
            seconds_writing: 0.0,
        }
    }

    /// Says when the run began, and how it came to its end.
    pub fn came_here(&mut self, progress: Progress) {
        self.started_at = progress.started_at;
        self.seconds_training = progress.seconds;
        self.resumed = progress.resumed;
    }

    /// Facts for the footers of the tables; no times and no paths.
    pub fn provenance(&self) -> Provenance {
        Provenance::from([
            (
                "attnscope.version".to_owned(),
                self.attnscope_version.clone(),
            ),
            ("attnscope.command".to_owned(), self.command.clone()),
        ])
    }
}
