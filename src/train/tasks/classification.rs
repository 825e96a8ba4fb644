//! Classification: the vocabulary falls into groups, and every token of a set comes from one of them (arXiv
//! 2603.06248, Appendix E.3; `ToyClsDataset` of the paper's code).

use super::{super::invalid, Sample};
use crate::{Result, random::PythonRandom};

/// The token at the end of every sequence, at which the label is said.
const CLS: u32 = 0;

/// A sequence is `seq_length − 1` different tokens of one group, in random order, and `CLS`. Group g of G holds the
/// tokens from `1 + g · (vocab_size − 1) / G` on, and g is the label. Any one token tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    /// Tokens of all groups, and `CLS` (0).
    pub vocab_size: usize,
    /// Tokens of a sequence, `CLS` included.
    pub seq_length: usize,
    /// Groups, of equal size.
    pub num_labels: usize,
}

/// The paper's; there are vocabularies of 81 and 161, too.
impl Default for Classification {
    fn default() -> Self {
        Self {
            vocab_size: 41,
            seq_length: 11,
            num_labels: 4,
        }
    }
}

impl Classification {
    fn group_size(&self) -> usize {
        (self.vocab_size - 1) / self.num_labels
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(2..=1 << 20).contains(&self.vocab_size) {
            return Err(invalid(
                "vocab_size",
                format!("{} is not between 2 and {}", self.vocab_size, 1 << 20),
            ));
        }
        let tokens = self.vocab_size - 1;
        if self.num_labels < 1 || !tokens.is_multiple_of(self.num_labels) {
            return Err(invalid(
                "num_labels",
                format!(
                    "{} groups cannot share the {tokens} tokens beside CLS equally; choose another vocab_size",
                    self.num_labels
                ),
            ));
        }
        let most = self.group_size() + 1;
        if !(2..=most).contains(&self.seq_length) {
            return Err(invalid(
                "seq_length",
                format!(
                    "{} is not between 2 and {most}: the tokens before CLS differ, and a group has {}",
                    self.seq_length,
                    self.group_size()
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn sample(&self, random: &mut PythonRandom) -> Result<Sample> {
        let label = random.below(self.num_labels);
        let Some(drawn) = random.sample(self.group_size(), self.seq_length - 1) else {
            return Err(invalid(
                "seq_length",
                format!("{} is too long for a group", self.seq_length),
            ));
        };
        let first = 1 + label * self.group_size();
        let tokens = drawn.into_iter().map(|i| (first + i) as u32);
        Ok(Sample {
            input_ids: tokens.chain([CLS]).collect(),
            targets: vec![label as u32],
        })
    }
}
