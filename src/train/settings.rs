//! What is trained, on what, and how.

use super::{Tracking, invalid, metrics::check_guesses, tasks::Task, trainer::PART_TOKENS};
use crate::{
    Error, Result,
    layers::attention::{AttentionKind, Features},
    models::small_transformer::{Config, MODEL_TYPE, PositionEmbedding},
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
    /// When its attention and its value projections are looked at; its numbers do not depend on it.
    pub tracking: Tracking,
}

impl Settings {
    /// The paper's (arXiv 2603.06248, Tables 2 and 3, and where they list several, what its program takes if nothing
    /// else is said): 2 layers, 4 heads, width 128, feed-forward blocks of 512, layer norms; 10 epochs in batches of
    /// 256, learning rate 1e-3, 1,000 samples to measure on, seed 0, nothing is tracked. Induction is causal, with positions beside tokens,
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
            tracking: Tracking::Never,
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
        self.steps_per_epoch().saturating_mul(self.num_epochs)
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.num_train.div_ceil(self.batch_size.max(1))
    }

    /// Whether the two can be trained side by side: they differ in seed, learning rate, `aux_loss_weight`
    /// and in what is tracked at most.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let mut one = self.clone();
        one.seed = other.seed;
        one.learning_rate = other.learning_rate;
        one.tracking = other.tracking;
        if let (Task::Induction(task), Task::Induction(others)) = (&mut one.task, &other.task) {
            task.aux_loss_weight = others.aux_loss_weight;
        }
        one == *other
    }

    /// Whether there can be such a run.
    ///
    /// # Errors
    /// [`Error::Train`] naming what is wrong.
    pub fn check(&self) -> Result<()> {
        self.task.check()?;
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
        self.check_model()?;
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
        self.check_metrics()?;
        self.tracking.check(self)
    }

    /// Whether there can be such a model. There is no `config.json` yet, and what is said is in terms of what was chosen.
    fn check_model(&self) -> Result<()> {
        const CHOICES: [(&str, &str); 7] = [
            ("num_hidden_layers", "num_layers"),
            ("num_attention_heads", "num_heads"),
            // Both follow from the width.
            ("attention_intermediate_size", "embed_dim"),
            ("intermediate_size", "embed_dim"),
            ("hidden_size", "embed_dim"),
            ("max_position_embeddings", "seq_length"),
            ("position_embedding_type", "positional_type"),
        ];
        let Err(error) = self.config.check("config.json".as_ref()) else {
            return Ok(());
        };
        let Error::Config { field, message, .. } = error else {
            return Err(error);
        };
        let said = match field.ends_with("intermediate_size") {
            true => format!("{field}, which follows from it: {message}"),
            false => CHOICES
                .iter()
                .fold(message, |said, (name, chosen)| said.replace(name, chosen)),
        };
        match CHOICES.iter().find(|(name, _)| *name == field) {
            Some((_, chosen)) => Err(invalid(chosen, said)),
            None => Err(invalid("model", format!("{field}: {said}"))),
        }
    }

    /// Whether there will be something to measure.
    fn check_metrics(&self) -> Result<()> {
        match &self.task {
            Task::Induction(_) => check_guesses(self.task.tokens()),
            Task::Classification(task) if task.num_labels < 2 => Err(invalid(
                "num_labels",
                "a flip rate needs two labels; take 2 or more".into(),
            )),
            Task::Classification(_) if self.num_eval < 2 => Err(invalid(
                "num_eval",
                "a flip rate needs samples of two labels; take 2 or more".into(),
            )),
            _ => Ok(()),
        }
    }

    /// Bytes that a run takes while it is trained on a machine of so many threads, about.
    pub(super) fn bytes(&self, threads: usize) -> u64 {
        // Not integers, which sizes beyond any machine's would overflow.
        let [tokens, hidden, inner, layers, output, batch, threads] = [
            self.task.tokens(),
            self.config.hidden_size,
            self.config.intermediate_size,
            self.config.num_hidden_layers,
            self.config.output_size,
            self.batch_size,
            threads,
        ]
        .map(|size| size as f64);
        let of_part = tokens.max(PART_TOKENS as f64);
        let parts = (batch * tokens / of_part).ceil();
        let parameters = (self.config.vocab_size + self.config.max_position_embeddings) as f64
            * hidden
            + layers * (4.0 * hidden + 2.0 * inner) * hidden
            + hidden * output;
        // Values and moments, and their successors in a step; the gradients of every part, and those on the way to them.
        let of_parameters = parameters * (6.0 + parts + 3.0 * threads.min(parts));
        let of_tokens = of_part * (layers * (24.0 * hidden + 8.0 * inner) + 4.0 * output);
        // Two lists of their own for every sample.
        let samples = (self.num_train + self.num_eval) as f64 * (8.0 * tokens + 96.0);
        (4.0 * (of_parameters + threads * of_tokens) + samples) as u64
    }
}
