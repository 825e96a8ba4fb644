//! Which samples go through the model together.

use std::cmp::Reverse;
use std::num::NonZeroUsize;

/// How large a batch may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchLimit {
    /// At most so many tokens; a sample that is longer gets a batch of its own.
    Tokens(NonZeroUsize),
    /// So many samples, whatever their length (`--batch-size N`).
    Samples(NonZeroUsize),
}

/// Samples that go through the model together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Positions in the list of lengths that the plan was made for; the longest sample first.
    pub samples: Vec<usize>,
    /// Their tokens, all together.
    pub tokens: usize,
}

/// Groups samples of the given lengths (in tokens) into batches, every sample in exactly one.
///
/// Samples are taken in order of decreasing length, equal lengths in order of position, so that the plan
/// depends on nothing but its arguments. Hence the first batch is the one with the longest samples: if
/// memory does not suffice, it shows at once. And a batch holds samples of nearly equal length, which is
/// what a device needs that pads them; where sequences are packed one behind the other, it costs nothing.
pub fn plan_batches(lengths: &[usize], limit: BatchLimit) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_unstable_by_key(|&position| (Reverse(lengths[position]), position));

    let mut batches: Vec<Batch> = Vec::new();
    for position in order {
        let length = lengths[position];
        let open = batches.last_mut().filter(|batch| match limit {
            BatchLimit::Tokens(most) => batch.tokens.saturating_add(length) <= most.get(),
            BatchLimit::Samples(most) => batch.samples.len() < most.get(),
        });
        match open {
            Some(batch) => {
                batch.samples.push(position);
                batch.tokens += length;
            }
            None => batches.push(Batch {
                samples: vec![position],
                tokens: length,
            }),
        }
    }
    batches
}
