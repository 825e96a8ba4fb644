//! Induction: a token comes a second time, and what followed it before should follow it again (arXiv 2603.06248,
//! Appendix E.1; `InductionDataset` of the paper's code).

use super::{super::invalid, Sample};
use crate::{Result, random::PythonRandom};

/// The token at the beginning of every sequence.
const BOS: u32 = 0;

/// A sequence is `BOS`, `seq_length − 3` different tokens, one of them again, and the token that followed it. If the
/// last of them comes again, it is its second occurrence that followed the first.
///
/// The model sees all but the last token and says at each position which one comes next. Only the last can be known;
/// before, every token that has not come is as likely as any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Induction {
    /// Tokens without the symbols of shifted ones, `BOS` (0) among them.
    pub vocab_size: usize,
    /// Tokens of a sequence, the answer included.
    pub seq_length: usize,
    /// Whether a token that comes again is another symbol then: itself plus `vocab_size`.
    pub shift_query_token: bool,
    /// What the other positions weigh in the loss, the last one weighing 1.
    pub aux_loss_weight: f64,
}

/// The paper's.
impl Default for Induction {
    fn default() -> Self {
        Self {
            vocab_size: 50,
            seq_length: 13,
            shift_query_token: true,
            aux_loss_weight: 0.2,
        }
    }
}

impl Induction {
    /// Different tokens.
    pub(super) fn symbols(&self) -> usize {
        self.vocab_size * if self.shift_query_token { 2 } else { 1 }
    }

    /// Tokens of a sequence that come once.
    fn distinct(&self) -> usize {
        self.seq_length.saturating_sub(3)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(2..=1 << 20).contains(&self.vocab_size) {
            return Err(invalid(
                "vocab_size",
                format!("{} is not between 2 and {}", self.vocab_size, 1 << 20),
            ));
        }
        let most = self.vocab_size + 2;
        if !(4..=most).contains(&self.seq_length) {
            return Err(invalid(
                "seq_length",
                format!(
                    "{} is not between 4 and {most}: all but three tokens differ, and a vocab_size of {} has {} to draw \
                     them from",
                    self.seq_length,
                    self.vocab_size,
                    self.vocab_size - 1
                ),
            ));
        }
        if !(self.aux_loss_weight >= 0.0 && self.aux_loss_weight.is_finite()) {
            return Err(invalid(
                "aux_loss_weight",
                format!("{} is not a number of 0 or more", self.aux_loss_weight),
            ));
        }
        Ok(())
    }

    /// Draws as CPython's `random.sample` and `random.randint` do, so that a seed gives the paper's sequences.
    pub(super) fn sample(&self, random: &mut PythonRandom) -> Result<Sample> {
        let Some(drawn) = random.sample(self.vocab_size - 1, self.distinct()) else {
            return Err(invalid(
                "seq_length",
                format!("{} is too long for the vocabulary", self.seq_length),
            ));
        };
        let distinct = drawn.into_iter().map(|i| i as u32 + 1);
        let mut sequence: Vec<u32> = [BOS].into_iter().chain(distinct).collect();
        let repeated = 1 + random.below(self.distinct());
        sequence.push(match self.shift_query_token {
            true => sequence[repeated] + self.vocab_size as u32,
            false => sequence[repeated],
        });
        sequence.push(sequence[repeated + 1]);
        Ok(Sample {
            input_ids: sequence[..sequence.len() - 1].to_vec(),
            targets: sequence[1..].to_vec(),
        })
    }
}
