//! What a model is trained on: samples made up at random.

mod classification;
mod induction;

pub use classification::Classification;
pub use induction::Induction;

use super::Batch;
use crate::{Result, random::PythonRandom};

/// A task, with its sizes.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// To continue a pair of tokens as it went before.
    Induction(Induction),
    /// To tell from which group of tokens a set was drawn.
    Classification(Classification),
}

/// One sequence and its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What the model sees.
    pub input_ids: Vec<u32>,
    /// What it should say: the next token after every position (induction), or the label at the last one alone
    /// (classification).
    pub targets: Vec<u32>,
}

impl Task {
    /// `induction` or `classification`.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Induction(_) => "induction",
            Task::Classification(_) => "classification",
        }
    }

    /// Different tokens, and so rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        match self {
            Task::Induction(task) => task.symbols(),
            Task::Classification(task) => task.vocab_size,
        }
    }

    /// Different answers, and so columns of the logits.
    pub fn output_size(&self) -> usize {
        match self {
            Task::Induction(task) => task.symbols(),
            Task::Classification(task) => task.num_labels,
        }
    }

    /// Tokens that the model sees of a sample.
    pub fn tokens(&self) -> usize {
        match self {
            // The last one is only an answer.
            Task::Induction(task) => task.seq_length.saturating_sub(1),
            Task::Classification(task) => task.seq_length,
        }
    }

    /// Whether there can be such sequences.
    ///
    /// # Errors
    /// [`crate::Error::Train`] for sizes that cannot be.
    pub fn check(&self) -> Result<()> {
        match self {
            Task::Induction(task) => task.check(),
            Task::Classification(task) => task.check(),
        }
    }

    /// Draws `count` samples, independently of each other.
    ///
    /// # Errors
    /// Those of [`Task::check`].
    pub fn samples(&self, count: usize, random: &mut PythonRandom) -> Result<Vec<Sample>> {
        self.check()?;
        let sample = |_| match self {
            Task::Induction(task) => task.sample(random),
            Task::Classification(task) => task.sample(random),
        };
        (0..count).map(sample).collect()
    }

    /// The name of a token: `BOS` or `CLS` for 0, else its number; of a shifted one that of the token which it repeats,
    /// and an apostrophe.
    pub fn token(&self, id: u32) -> String {
        let (first, unshifted) = match self {
            Task::Induction(task) => ("BOS", task.vocab_size),
            Task::Classification(task) => ("CLS", task.vocab_size),
        };
        let name = |id: usize| match id {
            0 => first.to_owned(),
            id => id.to_string(),
        };
        match id as usize {
            id if (unshifted..unshifted.saturating_mul(2)).contains(&id) => {
                format!("{}'", name(id - unshifted))
            }
            id => name(id),
        }
    }

    /// A sequence as text: the names of its tokens with spaces between them.
    pub fn text(&self, input_ids: &[u32]) -> String {
        let names: Vec<String> = input_ids.iter().map(|&id| self.token(id)).collect();
        names.join(" ")
    }

    /// The samples as one batch. What training makes small is its [`Batch::loss`]: the mean cross-entropy of the last
    /// positions, and for induction `aux_loss_weight` times that of all others.
    pub fn batch<'a>(&self, samples: impl IntoIterator<Item = &'a Sample>) -> Batch {
        let of_others = match self {
            Task::Induction(task) => task.aux_loss_weight,
            Task::Classification(_) => 0.0,
        };
        Batch::new(samples, |last, others| {
            (1.0 / last as f64, of_others / others.max(1) as f64)
        })
    }
}
