//! What is measured of a trained model: how often it is right, and what its heads do (arXiv 2603.06248, Appendix E;
//! `exp_induction.py` and `exp_classification.py` of github.com/tml-epfl/softmax).
//!
//! | file | what |
//! |---|---|
//! | `shares` | shares of attention weight, by the observer of a scan |
//! | `flips` | what a prediction does when the heaviest tokens of two samples change places |
//! | `maps` | the whole attention of a sample |

mod flips;
mod maps;
mod shares;

use candle_core::{D, DType};
use serde::Serialize;

pub use flips::{PAIRS, pairs};
pub use maps::{AttentionMap, maps};
pub(super) use shares::{check_guesses, share};

use super::{
    Parameters,
    tasks::{Sample, Task},
};
use crate::{
    Result, layers::PackedSequences, models::small_transformer::Network, random::PythonRandom,
};

/// Heads with a larger sink score are sinks (the paper's Appendix E.1).
pub const SINK_THRESHOLD: f64 = 0.9;

/// Runs on induction with a lower accuracy have not learned the task; the paper discards them.
pub const LEARNED_ACCURACY: f64 = 0.95;

/// Sequences that go through the model together; results do not depend on it but for rounding.
const BATCH_SIZE: usize = 256;

/// How well a model does on samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// The loss of [`Batch::loss`](super::Batch::loss), the mean over samples.
    pub loss: f64,
    /// Share of the samples whose last position is right.
    pub accuracy: f64,
}

/// What a model does on samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// How well.
    pub score: Score,
    /// With which heads, layer by layer.
    pub heads: Heads,
}

/// The heads of a model, by task.
#[derive(Debug, Clone, PartialEq)]
pub enum Heads {
    /// Of one trained on induction.
    Induction(Vec<InductionHead>),
    /// Of one trained on classification.
    Classification(Vec<ClassificationHead>),
}

/// What a head does while no informed prediction is possible: at all positions but `BOS` and the last two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InductionHead {
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
    /// Mean over rows of the share of their weight that is on `BOS`, within [0, 1]: without the limits, weights that
    /// may be negative give shares beyond them. NaN where no row is finite.
    pub sink_score: f64,
    /// The weight of all rows on `BOS`, as a share of their total weight, within [0, 1].
    pub sink_score_of_means: f64,
    /// Mean weight on `BOS`, undivided. NaN where no row is finite.
    pub bos_weight: f64,
    /// Mean total weight of a row: 1 where weights are normalised. NaN where no row is finite.
    pub total_weight: f64,
    /// Rows with a weight or a share that is NaN or infinite; they are in no mean.
    pub non_finite_rows: u64,
}

impl InductionHead {
    /// Whether the sink score is above [`SINK_THRESHOLD`]; `None` if there is none.
    pub fn is_sink(&self) -> Option<bool> {
        (!self.sink_score.is_nan()).then_some(self.sink_score > SINK_THRESHOLD)
    }
}

/// What a head does in the row of `CLS`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassificationHead {
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
    /// Mean over samples of the largest weight's share of the row; `CLS` itself counts. NaN where no row is finite.
    pub sparsity_score: f64,
    /// How often the prediction becomes the label of a single token from elsewhere; see [`PAIRS`]. NaN where all
    /// samples have one label.
    pub flip_rate: f64,
    /// Mean over samples of the row's largest weight, undivided. NaN where no row is finite.
    pub max_weight: f64,
    /// Mean total weight of the row: 1 where weights are normalised. NaN where no row is finite.
    pub total_weight: f64,
    /// Rows with a weight or a share that is NaN or infinite; they are in no mean.
    pub non_finite_rows: u64,
}

impl Evaluation {
    /// Whether the accuracy reaches [`LEARNED_ACCURACY`]. The paper discards runs on induction that do not.
    pub fn has_learned(&self) -> bool {
        self.score.accuracy >= LEARNED_ACCURACY
    }

    /// What the paper reports of a classifier: the largest flip rate of all heads. `None` for induction, and NaN where no
    /// head has one.
    pub fn max_flip_rate(&self) -> Option<f64> {
        match &self.heads {
            Heads::Induction(_) => None,
            Heads::Classification(heads) => heads.iter().map(|h| h.flip_rate).reduce(f64::max),
        }
    }

    /// Rows of all heads that are not finite.
    pub fn non_finite_rows(&self) -> u64 {
        match &self.heads {
            Heads::Induction(heads) => heads.iter().map(|h| h.non_finite_rows).sum(),
            Heads::Classification(heads) => heads.iter().map(|h| h.non_finite_rows).sum(),
        }
    }
}

/// Measures everything, on samples of the task. For classification, `random` draws [`PAIRS`] pairs of them.
///
/// # Errors
/// [`crate::Error::Train`] where there is nothing to measure: sequences of induction without a position that counts,
/// or no samples at all.
pub fn evaluate(
    parameters: &Parameters,
    task: &Task,
    samples: &[Sample],
    random: &mut PythonRandom,
) -> Result<Evaluation> {
    let network = parameters.frozen_network()?;
    let score = score(&network, task, samples)?;
    let heads = match task {
        Task::Induction(_) => Heads::Induction(shares::of_bos(&network, task, samples)?),
        Task::Classification(_) => {
            let pairs = pairs(samples, PAIRS, random);
            let observed = shares::of_cls(&network, task, samples)?;
            let mut heads = Vec::new();
            for head in observed {
                heads.push(ClassificationHead {
                    layer: head.layer,
                    head: head.head,
                    sparsity_score: head.shares.mean(),
                    flip_rate: flips::flip_rate(&network, samples, &pairs, &head.heaviest)?,
                    max_weight: head.shares.mean_weight(),
                    total_weight: head.shares.mean_total(),
                    non_finite_rows: head.shares.non_finite_rows,
                });
            }
            Heads::Classification(heads)
        }
    };
    Ok(Evaluation { score, heads })
}

/// Loss and accuracy alone.
///
/// # Errors
/// [`crate::Error::Train`] without samples, and samples that do not fit the model.
pub fn score(network: &Network, task: &Task, samples: &[Sample]) -> Result<Score> {
    if samples.is_empty() {
        return Err(super::invalid(
            "num_eval",
            "there are no samples to measure on; take 1 or more".into(),
        ));
    }
    let (mut loss, mut right) = (0.0, 0);
    for samples in samples.chunks(BATCH_SIZE) {
        let batch = task.batch(samples);
        let output = network.forward(&batch.input_ids, &batch.sequences, false)?;
        let of_batch = batch.loss(&output.logits)?.to_dtype(DType::F64)?;
        loss += of_batch.to_scalar::<f64>()? * samples.len() as f64;
        let predicted = predictions(&output.logits, &batch.sequences)?;
        let expected = samples.iter().map(|sample| sample.targets.last().copied());
        right += predicted
            .into_iter()
            .zip(expected)
            .filter(|(predicted, expected)| predicted.is_some() && predicted == expected)
            .count();
    }
    let count = samples.len() as f64;
    Ok(Score {
        loss: loss / count,
        accuracy: right as f64 / count,
    })
}

/// The most likely answer at the last position of every sequence, of (tokens, output_size) logits; the first of equals,
/// and none where a logit is NaN.
fn predictions(
    logits: &candle_core::Tensor,
    sequences: &PackedSequences,
) -> Result<Vec<Option<u32>>> {
    let last: Vec<u32> = sequences
        .ranges()
        .filter(|range| !range.is_empty())
        .map(|range| range.end as u32 - 1)
        .collect();
    let last = candle_core::Tensor::new(last, logits.device())?;
    let rows = logits.index_select(&last, 0)?.to_dtype(DType::F64)?;
    let classes = rows.dim(D::Minus1)?;
    let rows: Vec<f64> = rows.flatten_all()?.to_vec1()?;
    Ok(rows.chunks(classes.max(1)).map(first_largest).collect())
}

/// Where the largest entry is, the first of equals; none where one is NaN.
fn first_largest(row: &[f64]) -> Option<u32> {
    if row.iter().any(|x| x.is_nan()) {
        return None;
    }
    let mut largest: Option<(u32, f64)> = None;
    for (at, &x) in (0..).zip(row) {
        if largest.is_none_or(|(_, most)| x > most) {
            largest = Some((at, x));
        }
    }
    largest.map(|(at, _)| at)
}
