//! Two or more scans, held against each other: are their heads distributed differently, and would they be with
//! other texts?
//!
//! The unit is the head: a scan is a distribution of one score per (layer, head). Every scan's distribution is
//! summed up ([`Statistic`]), and every scan but the first is compared with the first, the reference
//! ([`Distance`]), for each [`Metric`]. The paper's text divides a row's largest weight by the row's total
//! (`sparsity_score`), the histogram of its Figure 7 does not (`max_weight`): both are there.
//!
//! Two kinds of chance are told apart:
//! - **Texts**: a 95 % interval from resampling the texts, for every statistic and distance. A distance cannot be
//!   negative, so resampling noise only adds to it: where two models hardly differ, the interval of Wasserstein-1
//!   and of D lies above 0 and may lie above the value itself. The interval of the difference of means has no such bias.
//! - **Heads**: a permutation p-value for every distance, over all heads; and, where both models have the same
//!   number of layers, one for labels permuted within layers only, so that differences between depths count
//!   for neither side. Heads are not paired one by one: head 3 of one model has nothing to do with head 3
//!   of another.
//!
//! The heads of one model are not independent of each other (they were trained together), and a model is one
//! training run. A small p-value says that two *models* differ more than relabelled heads would; it does not
//! say that another pair, trained anew, would. p-values are not adjusted for the number of metrics.
//!
//! [`compare`] reads and computes, [`write()`] writes `comparison.parquet` and `comparison.json`.

use std::path::PathBuf;

use crate::store::{HeadRow, listing};
use crate::{Error, Result};

mod bootstrap;
mod comparable;
mod comparison;
mod metric;
mod permutation;
mod scans;
mod statistics;
mod write;

pub use comparable::Difference;
pub use comparison::{
    Comparison, DistanceEstimate, Estimate, HeadName, ModelFacts, ScanComparison, ScanSummary,
};
pub use metric::Metric;
pub use permutation::Deals;
pub use statistics::{Distance, Statistic, THRESHOLDS};
pub use write::{refuse_occupied, write};

pub(crate) use comparable::{Held, shape_in_words};
pub(crate) use scans::Scan;
pub(crate) use statistics::quantile;

use bootstrap::{Interval, Resampled};
use comparable::hold_against;
use permutation::{PValues, Stratum, p_values};
use scans::has_scores;
use statistics::{distances, merged};

/// A head whose first-token share is above this is a sink.
pub const SINK: f64 = 0.9;

/// What to compare, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Two or more scans: output directories, or single parquet files. The first is the reference.
    pub scans: Vec<PathBuf>,
    /// Go on where scans did not measure the same thing.
    pub force: bool,
    /// Seed of the permutations and the resamples.
    pub seed: u64,
    /// Permutations for the p-values; 0 for none.
    pub permutations: u64,
    /// Resamples of the texts for the intervals; 0 for none.
    pub resamples: u64,
}

/// Reads the scans and compares them.
///
/// Memory is the samples of all scans. The result does not depend on the number of threads.
///
/// # Errors
/// [`Error::Usage`] for fewer than two scans, and for scans that did not measure the same thing unless that is
/// forced; what [`crate::store`] says of directories and files that are no scans.
pub fn compare(request: &Request) -> Result<Comparison> {
    if request.scans.len() < 2 {
        return Err(Error::Usage(
            "compare needs at least two scans; the first is what the others are compared with"
                .into(),
        ));
    }
    let Held {
        scans,
        labels,
        same_texts,
        differences,
        mut remarks,
    } = Held::read(&request.scans, request.force)?;
    let named = |i: usize| (labels[i].as_str(), &scans[i]);

    let distributions = scans
        .iter()
        .zip(&labels)
        .map(|(scan, label)| Distribution::of(scan, label, &mut remarks))
        .collect::<Result<Vec<_>>>()?;
    let intervals = resample(request, &scans, &labels, &distributions, &mut remarks);
    Ok(Comparison {
        attnscope_version: env!("CARGO_PKG_VERSION").into(),
        reference: labels[0].clone(),
        seed: request.seed,
        permutations: request.permutations,
        resamples: request.resamples,
        differences,
        remarks,
        scans: (0..scans.len())
            .map(|i| {
                summary(named(i), &distributions[i], |metric| {
                    &intervals[metric].statistics[i]
                })
            })
            .collect(),
        comparisons: (1..scans.len())
            .map(|i| ScanComparison {
                scan: labels[i].clone(),
                reference: labels[0].clone(),
                same_texts: same_texts[i - 1],
                ..held_together(request, &distributions[0], &distributions[i], |metric| {
                    &intervals[metric].distances[i - 1]
                })
            })
            .collect(),
    })
}

/// A scan's scores.
struct Distribution {
    /// For each layer, the heads that have scores, as places within the layer.
    heads: Vec<Vec<usize>>,
    left_out: Vec<HeadName>,
    /// For each metric, the scores in the order of layers and heads.
    scores: Vec<Vec<f64>>,
    /// The same, ascending.
    sorted: Vec<Vec<f64>>,
}

impl Distribution {
    fn of(scan: &Scan, label: &str, remarks: &mut Vec<String>) -> Result<Self> {
        let mut left_out = Vec::new();
        let mut kept: Vec<&HeadRow> = Vec::new();
        let mut heads = Vec::new();
        for layer in scan.layers() {
            let mut places = Vec::new();
            for (place, head) in layer.iter().enumerate() {
                if has_scores(head) {
                    places.push(place);
                    kept.push(head);
                } else {
                    let HeadRow { layer, head, .. } = *head;
                    left_out.push(HeadName { layer, head });
                }
            }
            heads.push(places);
        }
        if kept.is_empty() {
            return Err(Error::Parquet {
                path: scan.path.clone(),
                message: "no head has a finite score, so there is nothing to compare; look for the cause in the model".into(),
            });
        }
        if !left_out.is_empty() {
            let names: Vec<String> = left_out
                .iter()
                .map(|name| format!("layer {} head {}", name.layer, name.head))
                .collect();
            remarks.push(format!(
                "{label}: {} of {} heads have no finite score and are left out: {}",
                left_out.len(),
                scan.heads.len(),
                listing(&names)
            ));
        }
        if scan.non_finite_rows() > 0 {
            remarks.push(format!(
                "{label}: {} attention rows are not finite and enter no score",
                scan.non_finite_rows()
            ));
        }
        let scores: Vec<Vec<f64>> = Metric::ALL
            .iter()
            .map(|metric| kept.iter().map(|head| metric.score(&head.sums)).collect())
            .collect();
        let mut sorted = scores.clone();
        for scores in &mut sorted {
            scores.sort_unstable_by(f64::total_cmp);
        }
        Ok(Self {
            heads,
            left_out,
            scores,
            sorted,
        })
    }
}

/// The bootstrap's intervals of [`Metric::ALL`], all `None` where there is nothing to resample.
fn resample(
    request: &Request,
    scans: &[Scan],
    labels: &[String],
    distributions: &[Distribution],
    remarks: &mut Vec<String>,
) -> Vec<bootstrap::Intervals> {
    let none = || {
        let none = |metric: &Metric| bootstrap::Intervals {
            statistics: vec![vec![None; Statistic::of_metric(*metric).len()]; scans.len()],
            distances: vec![[None; 3]; scans.len() - 1],
        };
        Metric::ALL.iter().map(none).collect()
    };
    if request.resamples == 0 {
        return none();
    }
    let mut inputs = Vec::new();
    for (i, scan) in scans.iter().enumerate() {
        let reason = match &scan.samples {
            None => "has no samples, only heads",
            Some(sums) if sums.samples.len() < 2 => "has a single text",
            Some(sums) => {
                // The first scan that this one shares its texts with tells which draw it takes part in.
                let shared = (0..i).find(|&j| {
                    hold_against((&labels[j], &scans[j]), (&labels[i], scan)).same_texts
                });
                let texts = match shared {
                    Some(j) => inputs.get(j).map_or(0, |input: &Resampled<'_>| input.texts),
                    None => inputs
                        .iter()
                        .map(|input| input.texts + 1)
                        .max()
                        .unwrap_or(0),
                };
                inputs.push(Resampled {
                    sums,
                    heads: &distributions[i].heads,
                    texts,
                });
                continue;
            }
        };
        remarks.push(format!("{} {reason}: there are no intervals", labels[i]));
        return none();
    }
    bootstrap::intervals(&inputs, request.resamples, request.seed)
}

fn estimate(value: f64, interval: Interval) -> Estimate {
    Estimate {
        value,
        low: interval.map(|(low, _)| low),
        high: interval.map(|(_, high)| high),
    }
}

/// A scan by itself; `intervals` gives those of [`Statistic::of_metric`], by the metric's place.
fn summary<'a>(
    (label, scan): (&str, &Scan),
    distribution: &Distribution,
    intervals: impl Fn(usize) -> &'a Vec<Interval>,
) -> ScanSummary {
    let own = |name: &str| scan.fact(name).map(str::to_owned);
    let config = scan.run.as_ref().map(|run| &run.model.config);
    let function = config.and_then(|config| config.get("attention_function")?.as_str());
    let sinks = Metric::ALL
        .iter()
        .zip(&distribution.scores)
        .find_map(|(metric, scores)| {
            (*metric == Metric::FirstTokenShare)
                .then(|| scores.iter().filter(|&&share| share > SINK).count())
        });
    let metrics = Metric::ALL.iter().enumerate().map(|(at, &metric)| {
        let statistics = Statistic::of_metric(metric).iter().zip(intervals(at));
        let estimates = statistics.map(|(&statistic, &interval)| {
            let value = statistic.value(&distribution.sorted[at]);
            (statistic, estimate(value, interval))
        });
        (metric, estimates.collect())
    });
    ScanSummary {
        label: label.into(),
        path: scan.path.display().to_string(),
        model: ModelFacts {
            name: own("model"),
            repo: own("model_repo"),
            revision: own("model_revision"),
            weights_fingerprint: own("weights_fingerprint"),
            dtype: own("dtype"),
            attention_function: function.map(str::to_owned),
        },
        shape: shape_in_words(scan),
        layers: scan.layers().count(),
        heads: distribution.scores[0].len(),
        left_out: distribution.left_out.clone(),
        sink_heads: sinks.unwrap_or(0),
        samples: scan.n_samples(),
        tokens: scan.n_tokens(),
        non_finite_rows: scan.non_finite_rows(),
        metrics: metrics.collect(),
    }
}

/// The distances of two distributions, with p-values; `intervals` gives those of [`Distance::ALL`], by the
/// metric's place. The labels and `same_texts` are the caller's to fill in.
fn held_together<'a>(
    request: &Request,
    reference: &Distribution,
    other: &Distribution,
    intervals: impl Fn(usize) -> &'a [Interval; 3],
) -> ScanComparison {
    let scores: Vec<(Vec<f64>, Vec<f64>)> = reference
        .scores
        .iter()
        .cloned()
        .zip(other.scores.iter().cloned())
        .collect();
    let p_values =
        |strata: &[Stratum]| p_values(&scores, strata, request.permutations, request.seed);
    let over_all = p_values(&[Stratum {
        reference: reference.scores[0].len(),
        other: other.scores[0].len(),
    }]);
    let within_layers = (reference.heads.len() == other.heads.len()).then(|| {
        let layers = reference.heads.iter().zip(&other.heads);
        let strata: Vec<Stratum> = layers
            .map(|(reference, other)| Stratum {
                reference: reference.len(),
                other: other.len(),
            })
            .collect();
        p_values(&strata)
    });
    let within_layers = within_layers.flatten();
    let p_value = |p_values: &Option<PValues>, metric: usize, kind: usize| {
        p_values
            .as_ref()
            .map(|p_values| p_values.metrics[metric][kind])
    };
    let metrics = Metric::ALL.iter().enumerate().map(|(at, &metric)| {
        let (a, b) = (&reference.sorted[at], &other.sorted[at]);
        let values = distances(merged(a, b), a.len(), b.len());
        let estimates = Distance::ALL.iter().enumerate().map(|(kind, &distance)| {
            let estimate = DistanceEstimate {
                estimate: estimate(values[kind], intervals(at)[kind]),
                p_value: p_value(&over_all, at, kind),
                p_value_within_layers: p_value(&within_layers, at, kind),
            };
            (distance, estimate)
        });
        (metric, estimates.collect())
    });
    ScanComparison {
        scan: String::new(),
        reference: String::new(),
        same_texts: false,
        metrics: metrics.collect(),
        permutations: over_all.as_ref().map(|p| p.deals),
        permutations_within_layers: within_layers.as_ref().map(|p| p.deals),
    }
}
