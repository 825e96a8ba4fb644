//! Samples that go through the model together, and their loss.

use candle_core::{D, Result, Shape, Tensor, bail};
use candle_nn::ops::log_softmax;

use super::tasks::Sample;
use crate::layers::{
    PackedSequences, cpu,
    operation::{self, Array, Operation},
};

/// Samples that go through the model together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Of all samples, one after the other.
    pub input_ids: Vec<u32>,
    /// Which of them belong to which sample.
    pub sequences: PackedSequences,
    /// What the model should say, and where, in the order of the tokens.
    pub answers: Vec<Answer>,
}

/// What the model should say at a position, and how much that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Among the tokens of the batch.
    pub token: usize,
    /// The column of the logits that should be the largest.
    pub target: u32,
    /// Of its cross-entropy in the loss.
    pub weight: f64,
}

impl Batch {
    /// `weight` is that of an answer in the loss: of that of the last position, and of those before. A sample's answers
    /// are those of its last positions.
    pub(super) fn new<'a>(
        samples: impl IntoIterator<Item = &'a Sample>,
        weights: impl Fn(usize, usize) -> (f64, f64),
    ) -> Self {
        let samples: Vec<&Sample> = samples.into_iter().collect();
        let lengths: Vec<usize> = samples.iter().map(|s| s.input_ids.len()).collect();
        let answers: usize = samples.iter().map(|s| s.targets.len()).sum();
        let (of_last, of_others) = weights(samples.len(), answers - samples.len());
        let mut batch = Self {
            input_ids: samples.iter().flat_map(|s| &s.input_ids).copied().collect(),
            sequences: PackedSequences::from_lengths(&lengths),
            answers: Vec::with_capacity(answers),
        };
        for (sample, range) in samples.iter().zip(batch.sequences.ranges()) {
            let first = range.end - sample.targets.len();
            for (token, &target) in (first..range.end).zip(&sample.targets) {
                batch.answers.push(Answer {
                    token,
                    target,
                    weight: match token + 1 == range.end {
                        true => of_last,
                        false => of_others,
                    },
                });
            }
        }
        batch
    }

    /// The batch in parts of so many tokens, or of one sample where that has more. The losses of the parts add up to
    /// that of the batch.
    pub fn parts(&self, tokens: usize) -> Vec<Batch> {
        let mut parts = Vec::new();
        let mut answers = self.answers.as_slice();
        let mut first = 0;
        let mut lengths = Vec::new();
        for (sample, range) in self.sequences.ranges().enumerate() {
            lengths.push(range.len());
            let next = match sample + 1 < self.sequences.len() {
                true => self.sequences.range(sample + 1).len(),
                false => usize::MAX,
            };
            if (range.end - first).saturating_add(next) > tokens {
                let count = answers.partition_point(|answer| answer.token < range.end);
                let (of_part, rest) = answers.split_at(count);
                parts.push(Batch {
                    input_ids: self.input_ids[first..range.end].to_vec(),
                    sequences: PackedSequences::from_lengths(&lengths),
                    answers: of_part
                        .iter()
                        .map(|answer| Answer {
                            token: answer.token - first,
                            ..*answer
                        })
                        .collect(),
                });
                (answers, first) = (rest, range.end);
                lengths.clear();
            }
        }
        parts
    }

    /// `−Σ weight · log softmax(logits)[target]` over the answers, of (tokens, output_size) logits: a scalar in their
    /// type.
    ///
    /// # Errors
    /// Logits of another batch, or targets that are no column of them.
    pub fn loss(&self, logits: &Tensor) -> Result<Tensor> {
        if operation::is_applicable(&[logits]) {
            return operation::apply1(logits, FusedLoss(self.answers.clone()));
        }
        self.likelihoods(logits)?.sum_all()?.neg()
    }

    /// The losses of `replicas` batches of one shape that were [joined](Batch::joined): (replicas,).
    pub(super) fn losses(&self, logits: &Tensor, replicas: usize) -> Result<Tensor> {
        let likelihoods = self.likelihoods(logits)?;
        let of_replica = likelihoods.elem_count() / replicas;
        likelihoods.reshape((replicas, of_replica))?.sum(1)?.neg()
    }

    /// `weight · log softmax(logits)[target]` of every answer, in candle's operations.
    fn likelihoods(&self, logits: &Tensor) -> Result<Tensor> {
        let device = logits.device();
        let all = |of: fn(&Answer) -> u32| -> Result<Tensor> {
            Tensor::new(self.answers.iter().map(of).collect::<Vec<_>>(), device)
        };
        let weights: Vec<f64> = self.answers.iter().map(|a| a.weight).collect();
        let weights = Tensor::new(weights, device)?.to_dtype(logits.dtype())?;
        let rows = logits.index_select(&all(|answer| answer.token as u32)?, 0)?;
        let targets = all(|answer| answer.target)?.unsqueeze(1)?;
        // Unlike candle's fused softmax, it carries gradients.
        log_softmax(&rows, D::Minus1)?
            .gather(&targets, 1)?
            .squeeze(1)?
            * weights
    }

    /// Batches one after the other, as one.
    pub(super) fn joined<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let (mut input_ids, mut lengths, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for batch in batches {
            let first = input_ids.len();
            answers.extend(batch.answers.iter().map(|answer| Answer {
                token: answer.token + first,
                ..*answer
            }));
            lengths.extend(batch.sequences.ranges().map(|range| range.len()));
            input_ids.extend_from_slice(&batch.input_ids);
        }
        Self {
            input_ids,
            sequences: PackedSequences::from_lengths(&lengths),
            answers,
        }
    }
}

/// Of the logits.
struct FusedLoss(Vec<Answer>);

impl FusedLoss {
    /// The row of an answer, and where in it the target is.
    fn row<'a>(logits: Array<'a>, answer: &Answer) -> Result<(&'a [f32], usize)> {
        let (columns, target) = (logits.columns(), answer.target as usize);
        match logits
            .entries
            .get(answer.token * columns..(answer.token + 1) * columns)
        {
            Some(row) if target < columns => Ok((row, target)),
            _ => bail!(
                "loss: there is no column {target} for token {} in logits of shape {:?}",
                answer.token,
                logits.dims
            ),
        }
    }

    /// The largest entry, and the sum of the exponentials of all of them after it was subtracted.
    #[inline(always)]
    fn moments(row: &[f32]) -> (f32, f32) {
        let largest = cpu::max(row);
        (largest, cpu::sum_by(row, |x| cpu::exp(x - largest)))
    }
}

impl Operation<1> for FusedLoss {
    const NAME: &'static str = "cross_entropy";

    fn forward(&self, [logits]: [Array; 1]) -> Result<(Vec<f32>, Shape)> {
        let mut loss = 0.0;
        for answer in &self.0 {
            let (row, target) = Self::row(logits, answer)?;
            let (largest, total) = cpu::with_simd(
                #[inline(always)]
                || Self::moments(row),
            );
            let log_likelihood = f64::from(row[target] - largest) - f64::from(total).ln();
            loss -= answer.weight * log_likelihood;
        }
        Ok((vec![loss as f32], ().into()))
    }

    fn backward(&self, [logits]: [Array; 1], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 1]> {
        let columns = logits.columns();
        let mut out = vec![0f32; logits.entries.len()];
        let upstream: f32 = gradient.iter().sum();
        for answer in &self.0 {
            let (row, target) = Self::row(logits, answer)?;
            let out = &mut out[answer.token * columns..][..columns];
            let weight = upstream * answer.weight as f32;
            cpu::with_simd(
                #[inline(always)]
                || {
                    let (largest, total) = Self::moments(row);
                    let factor = weight / total;
                    for (out, x) in out.iter_mut().zip(row) {
                        *out += factor * cpu::exp(x - largest);
                    }
                },
            );
            out[target] -= weight;
        }
        Ok([Some(out)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layers::operation::tests::difference,
        random::PythonRandom,
        train::tasks::{Classification, Induction, Task},
    };

    fn batch(task: &Task, count: usize) -> Batch {
        let samples = task.samples(count, &mut PythonRandom::new(2)).unwrap();
        task.batch(&samples)
    }

    fn tasks() -> [Task; 2] {
        [
            Task::Induction(Induction::default()),
            Task::Classification(Classification::default()),
        ]
    }

    #[test]
    fn the_fused_loss_has_the_value_and_the_gradient() -> Result<()> {
        for task in tasks() {
            let mut batch = batch(&task, 9);
            // Of one token, two.
            let other = Answer {
                target: 3,
                ..batch.answers[0]
            };
            batch.answers.push(other);
            let shape = [batch.sequences.tokens(), task.output_size()];
            let worst = difference(&[&shape], |x| batch.loss(&(&x[0] * 3.0)?))?;
            println!("largest difference {worst:.1e}");
            assert!(worst < 1e-6, "{worst:e}");
        }
        Ok(())
    }

    /// Parts have all tokens and answers of the batch, at most so many tokens, and as they stand they are parts of its
    /// loss: the same rows have the same weights.
    #[test]
    fn parts_are_all_of_it() {
        for task in tasks() {
            for (count, tokens) in [(7, 30), (7, 1), (8, 1000), (8, 48), (1, 12)] {
                let batch = batch(&task, count);
                let parts = batch.parts(tokens);
                assert_eq!(Batch::joined(&parts), batch);
                let longest = task.tokens().max(tokens);
                assert!(parts.iter().all(|part| part.input_ids.len() <= longest));
                let least = batch.input_ids.len().div_ceil(longest);
                assert!(parts.len() >= least && (tokens < 1000 || parts.len() == 1));
            }
        }
    }

    /// The means over the last positions and over the others, the latter weighted.
    #[test]
    fn weights_are_those_of_means() {
        let [induction, classification] = tasks();
        let batch = batch(&induction, 5);
        assert_eq!(batch.answers.len(), 5 * 12);
        for answer in &batch.answers {
            let expected = match answer.token % 12 {
                11 => 1.0 / 5.0,
                _ => 0.2 / 55.0,
            };
            assert!((answer.weight - expected).abs() < 1e-15);
        }
        let batch = self::batch(&classification, 5);
        let tokens: Vec<usize> = batch.answers.iter().map(|answer| answer.token).collect();
        assert_eq!(tokens, [10, 21, 32, 43, 54]);
        assert!(batch.answers.iter().all(|answer| answer.weight == 0.2));
    }
}
