//! How each head's scores are distributed over the samples.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::compare::{Metric, SampleSums, quantile};
use crate::page::Array;

/// Bins between a head's own smallest and largest score: heads differ in their spread by orders of magnitude, and
/// bins shared by all would show most heads as one bar.
pub const BINS: usize = 32;

/// The quantiles of the samples that the page is told. The first and the last are where the bins begin and end.
pub const QUANTILES: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

/// What is known of a scan's samples.
#[derive(Debug, Clone, Serialize)]
pub struct SampleFacts {
    /// Samples.
    pub count: usize,
    /// The distributions of each metric.
    pub metrics: BTreeMap<&'static str, Distributions>,
}

/// How one metric's scores are distributed over the samples, for each head in the order of layers and heads. Samples
/// in which a head has no score do not count for it.
#[derive(Debug, Clone, Serialize)]
pub struct Distributions {
    /// (heads × [`QUANTILES`]), row-major, float32; NaN for a head without a score.
    pub quantiles: Array,
    /// (heads × [`BINS`]), row-major: samples in each of the equal bins between the smallest and the largest score,
    /// the upper edge belonging to the next bin except for the last; uint16, or uint32 if there are more samples.
    pub counts: Array,
}

impl SampleFacts {
    pub(super) fn of(sums: SampleSums, metrics: &[Metric]) -> Self {
        let metrics = metrics.iter();
        let metrics = metrics.map(|&metric| (metric.name(), Distributions::of(&sums, metric)));
        Self {
            count: sums.samples.len(),
            metrics: metrics.collect(),
        }
    }
}

impl Distributions {
    fn of(sums: &SampleSums, metric: Metric) -> Self {
        let heads = sums.layers.par_iter().flat_map_iter(|layer| {
            (0..layer.heads).map(move |head| {
                let column = |values: &Vec<f64>| -> Vec<f64> {
                    let of_head = values.iter().skip(head).step_by(layer.heads);
                    of_head.copied().collect()
                };
                let sums = column(&layer.sums[&metric]);
                let counts = column(&layer.counts[&metric.unit()]);
                // Nothing to divide by: 0 / 0 is NaN, and the sample is left out.
                Head::of(sums.iter().zip(counts).map(|(sum, count)| sum / count))
            })
        });
        let heads: Vec<Head> = heads.collect();
        let quantiles: Vec<f32> = heads
            .iter()
            .flat_map(|head| head.quantiles.map(|value| value as f32))
            .collect();
        let counts = heads.iter().flat_map(|head| head.counts);
        Self {
            quantiles: Array::deflated(&quantiles),
            counts: match u16::try_from(sums.samples.len()) {
                // No bin has more than all samples.
                Ok(_) => Array::deflated(&counts.map(|count| count as u16).collect::<Vec<_>>()),
                Err(_) => Array::deflated(&counts.collect::<Vec<u32>>()),
            },
        }
    }
}

/// One head's distribution.
#[derive(Debug, PartialEq)]
struct Head {
    quantiles: [f64; QUANTILES.len()],
    counts: [u32; BINS],
}

impl Head {
    fn of(scores: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = scores.filter(|score| score.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let quantiles = QUANTILES.map(|q| quantile(&sorted, q));
        let (low, width) = (quantiles[0], quantiles[QUANTILES.len() - 1] - quantiles[0]);
        let mut counts = [0; BINS];
        for score in sorted {
            // All scores equal: 0 / 0, which counts as the first bin.
            let place = ((score - low) / width * BINS as f64) as usize;
            counts[place.min(BINS - 1)] += 1;
        }
        Self { quantiles, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_the_heads_own() {
        // 0, 1, …, 64: two to a bin, three in the last.
        let head = Head::of((0..=64).rev().map(f64::from));
        assert_eq!(head.quantiles, [0.0, 3.2, 16.0, 32.0, 48.0, 60.8, 64.0]);
        let mut expected = [2; BINS];
        expected[BINS - 1] = 3;
        assert_eq!(head.counts, expected);
    }

    #[test]
    fn equal_scores_and_none_have_a_place() {
        let head = Head::of([1.0; 5].into_iter());
        assert_eq!(head.quantiles, [1.0; 7]);
        assert_eq!((head.counts[0], head.counts.iter().sum()), (5, 5));
        let head = Head::of([f64::NAN, f64::INFINITY].into_iter());
        assert!(head.quantiles.iter().all(|value| value.is_nan()));
        assert_eq!(head.counts, [0; BINS]);
    }
}
