//! Bootstrap over the texts: how much a number would change with other texts of the same kind.
//!
//! Texts are drawn with replacement, as many as there are; every head's score is then computed anew (sum of its
//! sums over sum of its rows), and from the scores the statistics. Scans of the same texts share the draw, so
//! that what a text does to all of them cancels in their difference. Intervals are the 2.5 % and 97.5 % quantiles
//! (the percentile interval, `scipy.stats.bootstrap(method="percentile")`).
//!
//! Draws are CPython's `random.Random(seed)`: for each resample `randrange(texts)` as often as there are texts.
//! Scans of other texts draw from `Random(seed + 1)`, `Random(seed + 2)`, …

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::scans::SampleSums;
use super::statistics::{Statistic, distances, merged, quantile};
use crate::metrics::{Metric, Unit};
use crate::random::PythonRandom;

/// Resamples whose scores are held at once: bounds memory, and nothing depends on it.
const CHUNK: usize = 256;

/// The quantiles of a 95 % interval.
const INTERVAL: [f64; 2] = [0.025, 0.975];

/// A scan's sums, and which draw it takes part in.
pub(super) struct Resampled<'a> {
    pub(super) sums: &'a SampleSums,
    /// For each layer, the heads that have scores (others enter no statistic).
    pub(super) heads: &'a [Vec<usize>],
    /// Scans with the same number share the draw.
    pub(super) texts: usize,
}

/// A 95 % interval; `None` where there is none.
pub(super) type Interval = Option<(f64, f64)>;

/// The intervals of one metric.
pub(super) struct Intervals {
    /// Of each scan, [`Statistic::of_metric`].
    pub(super) statistics: Vec<Vec<Interval>>,
    /// Of each scan but the first, [`super::Distance::ALL`] from the first.
    pub(super) distances: Vec<[Interval; 3]>,
}

/// What one resample gives for one metric.
struct Outcome {
    statistics: Vec<Vec<f64>>,
    distances: Vec<[f64; 3]>,
}

/// A scan's scores of one chunk of resamples: for each layer, (resamples × heads), row-major.
type Scores = Vec<Vec<f64>>;

/// Draws with multiplicities: for each resample, (place among the texts, how often).
type Draw = Vec<(usize, f64)>;

/// The intervals of the metrics, which all scans have.
pub(super) fn intervals(
    scans: &[Resampled<'_>],
    metrics: &[Metric],
    resamples: u64,
    seed: u64,
) -> Vec<Intervals> {
    let mut texts: Vec<Texts> = Vec::new();
    for scan in scans {
        if texts.len() <= scan.texts {
            let offset = texts.len() as u64;
            texts.push(Texts {
                samples: Vec::new(),
                random: PythonRandom::new(seed.wrapping_add(offset)),
            });
        }
        texts[scan.texts].samples.extend(&scan.sums.samples);
    }
    for texts in &mut texts {
        texts.samples.sort_unstable();
        texts.samples.dedup();
    }

    let mut outcomes: Vec<Vec<Outcome>> = metrics.iter().map(|_| Vec::new()).collect();
    let mut done = 0;
    while done < resamples {
        let chunk = (resamples - done).min(CHUNK as u64);
        done += chunk;
        let draws: Vec<Vec<Draw>> = texts
            .iter_mut()
            .map(|texts| (0..chunk).map(|_| texts.draw()).collect())
            .collect();
        let draws: Vec<Vec<Draw>> = scans
            .iter()
            .map(|scan| texts[scan.texts].as_rows(&scan.sums.samples, &draws[scan.texts]))
            .collect();
        let mut counts: BTreeMap<Unit, Vec<Scores>> = BTreeMap::new();
        for (at, &metric) in metrics.iter().enumerate() {
            let unit = metric.unit();
            let counts = counts.entry(unit).or_insert_with(|| {
                (scans.iter().zip(&draws))
                    .map(|(scan, draws)| resampled_sums(scan, draws, |layer| &layer.counts[&unit]))
                    .collect()
            });
            let scores: Vec<Scores> = (scans.iter().zip(&draws).zip(counts))
                .map(|((scan, draws), counts)| {
                    let mut sums = resampled_sums(scan, draws, |layer| &layer.sums[&metric]);
                    for (sums, counts) in sums.iter_mut().zip(counts) {
                        // Nothing to divide by: 0 / 0 is NaN, and the head is not there in this resample.
                        sums.iter_mut()
                            .zip(counts)
                            .for_each(|(sum, count)| *sum /= *count);
                    }
                    sums
                })
                .collect();
            let chunk: Vec<Outcome> = (0..chunk as usize)
                .into_par_iter()
                .map(|resample| Outcome::new(metric, scans, &scores, resample))
                .collect();
            outcomes[at].extend(chunk);
        }
    }
    outcomes
        .iter()
        .map(|outcomes| Intervals::new(scans.len(), outcomes))
        .collect()
}

/// Texts that are drawn from.
struct Texts {
    /// Ascending.
    samples: Vec<i64>,
    random: PythonRandom,
}

impl Texts {
    fn draw(&mut self) -> Draw {
        let mut times: BTreeMap<usize, f64> = BTreeMap::new();
        for _ in 0..self.samples.len() {
            *times
                .entry(self.random.below(self.samples.len()))
                .or_default() += 1.0;
        }
        times.into_iter().collect()
    }

    /// The draws in terms of a scan's own `samples`. A text that has no token for one model has no rows there.
    fn as_rows(&self, samples: &[i64], draws: &[Draw]) -> Vec<Draw> {
        let places: Vec<Option<usize>> = self
            .samples
            .iter()
            .map(|sample| samples.binary_search(sample).ok())
            .collect();
        let translate = |draw: &Draw| {
            let rows = draw
                .iter()
                .filter_map(|&(place, times)| Some((places[place]?, times)));
            rows.collect()
        };
        draws.iter().map(translate).collect()
    }
}

/// For each layer, the resampled sums of its heads: multiplicities × `column`, where each element is added up in
/// the order of the samples, whatever the number of threads.
fn resampled_sums(
    scan: &Resampled<'_>,
    draws: &[Draw],
    column: impl Fn(&super::scans::LayerSums) -> &Vec<f64> + Sync,
) -> Scores {
    scan.sums
        .layers
        .par_iter()
        .map(|layer| {
            let (heads, column) = (layer.heads, column(layer));
            let mut sums = vec![0.0; draws.len() * heads];
            for (draw, sums) in draws.iter().zip(sums.chunks_mut(heads)) {
                for &(row, times) in draw {
                    let row = &column[row * heads..][..heads];
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += times * value;
                    }
                }
            }
            sums
        })
        .collect()
}

impl Outcome {
    fn new(metric: Metric, scans: &[Resampled<'_>], scores: &[Scores], resample: usize) -> Self {
        let sorted: Vec<Vec<f64>> = (scans.iter().zip(scores))
            .map(|(scan, scores)| {
                let mut sorted = Vec::new();
                for ((layer, heads), scores) in scan.sums.layers.iter().zip(scan.heads).zip(scores)
                {
                    let scores = &scores[resample * layer.heads..][..layer.heads];
                    let scores = heads.iter().map(|&head| scores[head]);
                    sorted.extend(scores.filter(|score| score.is_finite()));
                }
                sorted.sort_unstable_by(f64::total_cmp);
                sorted
            })
            .collect();
        let statistics = |sorted: &Vec<f64>| {
            let statistics = Statistic::of_metric(metric).iter();
            statistics
                .map(|statistic| statistic.value(sorted))
                .collect()
        };
        let reference = &sorted[0];
        Self {
            statistics: sorted.iter().map(statistics).collect(),
            distances: sorted[1..]
                .iter()
                .map(|other| distances(merged(reference, other), reference.len(), other.len()))
                .collect(),
        }
    }
}

impl Intervals {
    fn new(scans: usize, outcomes: &[Outcome]) -> Self {
        let kinds = outcomes
            .first()
            .map_or(0, |first| first.statistics[0].len());
        let statistics = (0..scans).map(|scan| {
            let of = |kind: usize| outcomes.iter().map(move |o| o.statistics[scan][kind]);
            (0..kinds).map(|kind| percentile(of(kind))).collect()
        });
        let distances = (0..scans - 1).map(|other| {
            [0, 1, 2].map(|kind| percentile(outcomes.iter().map(|o| o.distances[other][kind])))
        });
        Self {
            statistics: statistics.collect(),
            distances: distances.collect(),
        }
    }
}

fn percentile(values: impl Iterator<Item = f64>) -> Interval {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let [low, high] = INTERVAL.map(|q| quantile(&sorted, q));
    low.is_finite().then_some((low, high))
}
