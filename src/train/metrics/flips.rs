//! What a prediction does when the heaviest tokens of two samples change places.

use std::collections::BTreeMap;

use super::{BATCH_SIZE, predictions};
use crate::{
    Result, layers::PackedSequences, models::small_transformer::Network, random::PythonRandom,
    train::tasks::Sample,
};

/// Pairs of samples by which flip rates are measured, as in the paper's program.
///
/// The two have different labels. In each, the token before `CLS` that has the largest weight in the row of `CLS`, in
/// the head that is looked at, gives its place to that of the other one. The flip rate is the share of these sequences,
/// two for each pair, for which the model then says the label of the one foreign token (arXiv 2603.06248, Appendix E.3).
/// All heads are measured on the same pairs.
pub const PAIRS: usize = 500;

/// Draws pairs of different labels: two labels, then a sample of each. Numbers of samples, from 0. There are none where
/// all samples have one label.
pub fn pairs(samples: &[Sample], count: usize, random: &mut PythonRandom) -> Vec<(usize, usize)> {
    let mut by_label: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        let label = sample.targets.last().copied();
        by_label.entry(label).or_default().push(i);
    }
    let groups: Vec<Vec<usize>> = by_label.into_values().collect();
    let pair = |_| match random.sample(groups.len(), 2).as_deref() {
        Some(&[one, other]) => {
            let mut pick = |group: &[usize]| group[random.below(group.len())];
            Some((pick(&groups[one]), pick(&groups[other])))
        }
        _ => None,
    };
    (0..count).filter_map(pair).collect()
}

/// The flip rate of the head whose heaviest positions these are, one for each sample. A sample without one, and a
/// prediction that is NaN, is no flip. NaN without pairs.
pub(super) fn flip_rate(
    network: &Network,
    samples: &[Sample],
    pairs: &[(usize, usize)],
    heaviest: &[Option<usize>],
) -> Result<f64> {
    let directed = pairs
        .iter()
        .flat_map(|&(one, other)| [(one, other), (other, one)]);
    let mut mixed = Vec::new();
    for (into, from) in directed {
        if let (Some(to), Some(of)) = (heaviest[into], heaviest[from]) {
            let mut input_ids = samples[into].input_ids.clone();
            input_ids[to] = samples[from].input_ids[of];
            mixed.push((input_ids, samples[from].targets.last().copied()));
        }
    }
    let mut flipped = 0;
    for mixed in mixed.chunks(BATCH_SIZE) {
        let lengths: Vec<usize> = mixed.iter().map(|(ids, _)| ids.len()).collect();
        let sequences = PackedSequences::from_lengths(&lengths);
        let input_ids: Vec<u32> = mixed.iter().flat_map(|(ids, _)| ids).copied().collect();
        let logits = network.forward(&input_ids, &sequences, false)?.logits;
        let predicted = predictions(&logits, &sequences)?;
        flipped += predicted
            .into_iter()
            .zip(mixed)
            .filter(|(predicted, (_, label))| predicted.is_some() && predicted == label)
            .count();
    }
    Ok(flipped as f64 / (2 * pairs.len()) as f64)
}
