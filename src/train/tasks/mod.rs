//! What a model is trained on: samples made up at random, batches of them, and the loss.

mod classification;
mod induction;

use candle_core::{D, Tensor};
use candle_nn::ops::log_softmax;

pub use classification::Classification;
pub use induction::Induction;

use crate::{Result, layers::PackedSequences, random::PythonRandom};

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

/// Samples that go through the model together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Of all samples, one after the other.
    pub input_ids: Vec<u32>,
    /// Which of them belong to which sample.
    pub sequences: PackedSequences,
    /// Of all samples, one after the other.
    pub targets: Vec<u32>,
}

impl Task {
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

    /// The samples as one batch.
    pub fn batch<'a>(&self, samples: impl IntoIterator<Item = &'a Sample>) -> Batch {
        let samples: Vec<&Sample> = samples.into_iter().collect();
        let lengths: Vec<usize> = samples.iter().map(|s| s.input_ids.len()).collect();
        let all = |part: fn(&Sample) -> &[u32]| {
            let parts = samples.iter().flat_map(|sample| part(sample));
            parts.copied().collect()
        };
        Batch {
            input_ids: all(|sample| &sample.input_ids),
            sequences: PackedSequences::from_lengths(&lengths),
            targets: all(|sample| &sample.targets),
        }
    }

    /// What training makes small, of (tokens, output_size) logits: the mean cross-entropy of the last positions, and
    /// for induction `aux_loss_weight` times that of all others. A scalar in the type of the logits.
    ///
    /// # Errors
    /// Logits of another batch, or targets that are no column of them.
    pub fn loss(&self, logits: &Tensor, batch: &Batch) -> candle_core::Result<Tensor> {
        let last: Vec<u32> = batch
            .sequences
            .ranges()
            .filter(|range| !range.is_empty())
            .map(|range| range.end as u32 - 1)
            .collect();
        match self {
            Task::Induction(task) => {
                let others = batch.sequences.tokens() - last.len();
                let of_last = 1.0 / last.len() as f64;
                let of_others = task.aux_loss_weight / others.max(1) as f64;
                let mut weights = vec![of_others; batch.sequences.tokens()];
                for &token in &last {
                    weights[token as usize] = of_last;
                }
                cross_entropy(logits, &batch.targets, &weights)
            }
            Task::Classification(_) => {
                let weights = vec![1.0 / last.len() as f64; last.len()];
                let last = Tensor::new(last, logits.device())?;
                cross_entropy(&logits.index_select(&last, 0)?, &batch.targets, &weights)
            }
        }
    }
}

/// `−Σ w_i log softmax(logits_i)[target_i]` over the rows of (rows, classes) logits.
fn cross_entropy(logits: &Tensor, targets: &[u32], weights: &[f64]) -> candle_core::Result<Tensor> {
    let device = logits.device();
    let targets = Tensor::new(targets, device)?.unsqueeze(1)?;
    let weights = Tensor::new(weights, device)?
        .to_dtype(logits.dtype())?
        .unsqueeze(1)?;
    // Unlike candle's fused softmax, it carries gradients.
    let log_likelihood = log_softmax(logits, D::Minus1)?.gather(&targets, 1)?;
    (log_likelihood * weights)?.sum_all()?.neg()
}
