//! Permutation tests of the distance between two distributions of heads.
//!
//! The null hypothesis is that it does not matter which model a head belongs to. The labels are dealt out anew,
//! over all heads or within each layer, and the p-value is the share of deals whose distance is at least the
//! observed one (differences of means by their absolute value), the observed deal included: `(1 + k) / (1 + n)`,
//! as `scipy.stats.permutation_test(…, alternative="greater")` computes it. Where there are no more deals than
//! were asked for, all of them are gone through and the p-value is exact, `k / n`.
//!
//! Deals are drawn as CPython's `random.Random(seed).sample(range(heads of both), heads of the reference)` for
//! each layer in turn (or once, for all heads).

use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use super::statistics::distances;
use crate::random::PythonRandom;

/// Deals drawn before they are looked at, in parallel: bounds memory, and nothing depends on it.
const CHUNK: usize = 1024;

/// How far below the observed distance a permuted one still counts as equal to it: sums in another order differ
/// in their last bits. SciPy's bound, relative to the distance; here to the scores, too.
const TOLERANCE: f64 = 100.0 * f64::EPSILON;

/// How the p-values of one comparison came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deals {
    /// Deals that were looked at.
    pub count: u64,
    /// Whether these are all there are.
    pub exact: bool,
}

/// p-values of [`super::Distance::ALL`] for each metric.
pub(super) struct PValues {
    pub(super) deals: Deals,
    pub(super) metrics: Vec<[f64; 3]>,
}

/// Heads among which labels are dealt out: of the reference, and of the other. They are consecutive in the
/// lists of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stratum {
    pub(super) reference: usize,
    pub(super) other: usize,
}

/// One metric's scores of both models, sorted, each with its place in the deal.
struct Pooled {
    scores: Vec<(f64, usize)>,
    /// The largest score, by its absolute value.
    largest: f64,
    observed: [f64; 3],
}

/// p-values for each metric, given the scores of the reference and of the other, both in the order of `strata`.
/// The same deals serve all metrics. `None` if no permutations are wanted or a model has no heads.
pub(super) fn p_values(
    metrics: &[(&[f64], &[f64])],
    strata: &[Stratum],
    permutations: u64,
    seed: u64,
) -> Option<PValues> {
    let n_reference: usize = strata.iter().map(|stratum| stratum.reference).sum();
    let n_other: usize = strata.iter().map(|stratum| stratum.other).sum();
    if permutations == 0 || n_reference == 0 || n_other == 0 {
        return None;
    }
    let layout = Layout::new(strata);
    let pooled: Vec<Pooled> = metrics
        .iter()
        .map(|(reference, other)| Pooled::new(&layout, reference, other))
        .collect();

    let exact = layout
        .count()
        .is_some_and(|count| count <= u128::from(permutations));
    let mut random = PythonRandom::new(seed);
    let mut deals: Box<dyn Iterator<Item = Vec<bool>>> = match exact {
        true => Box::new(layout.all()),
        false => Box::new((0..permutations).map(|_| layout.draw(&mut random))),
    };
    let mut count = 0;
    let mut extreme = vec![[0u64; 3]; metrics.len()];
    loop {
        let chunk: Vec<Vec<bool>> = deals.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        count += chunk.len() as u64;
        for (pooled, extreme) in pooled.iter().zip(&mut extreme) {
            // Counts are whole numbers: their sum does not depend on the order of the threads.
            let found = chunk
                .par_iter()
                .map(|deal| pooled.reaches_observed(deal, n_reference, n_other))
                .map(|reached| reached.map(u64::from))
                .reduce(|| [0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
            for (sum, found) in extreme.iter_mut().zip(found) {
                *sum += found;
            }
        }
    }
    let p_value = |extreme: u64| match exact {
        true => extreme as f64 / count as f64,
        false => (1 + extreme) as f64 / (1 + count) as f64,
    };
    Some(PValues {
        deals: Deals { count, exact },
        metrics: extreme.into_iter().map(|e| e.map(p_value)).collect(),
    })
}

impl Pooled {
    fn new(layout: &Layout, reference: &[f64], other: &[f64]) -> Self {
        let observed = layout.observed();
        let (mut reference, mut other) = (reference.iter(), other.iter());
        let mut scores: Vec<(f64, usize)> = observed
            .iter()
            .enumerate()
            .filter_map(|(place, &is_reference)| {
                let score = match is_reference {
                    true => reference.next(),
                    false => other.next(),
                };
                score.map(|&score| (score, place))
            })
            .collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let largest = scores.iter().fold(0.0, |most: f64, s| most.max(s.0.abs()));
        let mut pooled = Self {
            largest,
            scores,
            observed: [0.0; 3],
        };
        let n_reference = observed
            .iter()
            .filter(|&&is_reference| is_reference)
            .count();
        pooled.observed = pooled.distances(&observed, n_reference, observed.len() - n_reference);
        pooled
    }

    /// The size of each distance under a deal.
    fn distances(&self, deal: &[bool], n_reference: usize, n_other: usize) -> [f64; 3] {
        let labelled = self
            .scores
            .iter()
            .map(|&(score, place)| (score, deal[place]));
        distances(labelled, n_reference, n_other).map(f64::abs)
    }

    fn reaches_observed(&self, deal: &[bool], n_reference: usize, n_other: usize) -> [bool; 3] {
        let permuted = self.distances(deal, n_reference, n_other);
        // A distance of scores is a difference, which may be far smaller than they are.
        let slack = TOLERANCE * self.largest;
        [0, 1, 2].map(|i| permuted[i] >= self.observed[i] * (1.0 - TOLERANCE) - slack)
    }
}

/// The places of a deal: stratum after stratum, in each first the reference's heads, then the other's.
struct Layout {
    strata: Vec<(Range<usize>, usize)>,
    places: usize,
}

impl Layout {
    fn new(strata: &[Stratum]) -> Self {
        let mut places = 0;
        let strata = strata
            .iter()
            .map(|stratum| {
                let start = places;
                places += stratum.reference + stratum.other;
                (start..places, stratum.reference)
            })
            .collect();
        Self { strata, places }
    }

    /// The deal that was observed: whether each place is the reference's.
    fn observed(&self) -> Vec<bool> {
        let mut deal = vec![false; self.places];
        for (places, reference) in &self.strata {
            deal[places.clone()][..*reference].fill(true);
        }
        deal
    }

    fn draw(&self, random: &mut PythonRandom) -> Vec<bool> {
        let mut deal = vec![false; self.places];
        for (places, reference) in &self.strata {
            // There are never more of the reference than there are places.
            for place in random
                .sample(places.len(), *reference)
                .into_iter()
                .flatten()
            {
                deal[places.start + place] = true;
            }
        }
        deal
    }

    /// How many deals there are; `None` if more than can be counted.
    fn count(&self) -> Option<u128> {
        self.strata.iter().try_fold(1u128, |count, (places, k)| {
            let mut ways = 1u128;
            for i in 0..(*k).min(places.len() - k) {
                ways = ways.checked_mul((places.len() - i) as u128)? / (i as u128 + 1);
            }
            count.checked_mul(ways)
        })
    }

    /// Every deal once.
    fn all(&self) -> impl Iterator<Item = Vec<bool>> + use<'_> {
        let mut next = Some(self.observed());
        std::iter::from_fn(move || {
            let deal = next.take()?;
            let mut following = deal.clone();
            // An odometer whose wheels are the strata: one that starts over moves the next.
            let moved = self
                .strata
                .iter()
                .any(|(places, _)| previous_arrangement(&mut following[places.clone()]));
            next = moved.then_some(following);
            Some(deal)
        })
    }
}

/// Rearranges to the next smaller arrangement of the same labels, `true` counting as larger; after the smallest
/// comes the largest again, and `false` says so.
fn previous_arrangement(labels: &mut [bool]) -> bool {
    let step = labels.windows(2).rposition(|pair| pair[0] && !pair[1]);
    let Some(step) = step else {
        labels.sort_unstable_by(|a, b| b.cmp(a));
        return false;
    };
    labels.swap(step, step + 1);
    // What follows becomes the largest it can be.
    labels[step + 2..].sort_unstable_by(|a, b| b.cmp(a));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One head against many has few deals, on whichever side the one is.
    #[test]
    fn lopsided_scans_are_gone_through() {
        let many: Vec<f64> = (0..130).map(f64::from).collect();
        let one = [128.5];
        for (reference, other) in [(&many[..], &one[..]), (&one, &many)] {
            let stratum = Stratum {
                reference: reference.len(),
                other: other.len(),
            };
            let found = p_values(&[(reference, other)], &[stratum], 1000, 1).unwrap();
            assert_eq!((found.deals.count, found.deals.exact), (131, true));
            // The mean of the one is as far from the others' as 128.5 for 0, 1, 128.5 and 129 only.
            assert_eq!(found.metrics[0][0], 4.0 / 131.0);
        }
    }

    /// Sums of the same numbers in another order are the same difference.
    #[test]
    fn a_tie_is_a_tie() {
        let (reference, other) = (&[0.7, 0.5, 0.6][..], &[0.4, 0.8][..]);
        let stratum = Stratum {
            reference: 3,
            other: 2,
        };
        let found = p_values(&[(reference, other)], &[stratum], 1000, 1).unwrap();
        // The means agree, and every other deal's differ at least as much.
        assert_eq!(found.metrics[0][0], 1.0);
    }
}
