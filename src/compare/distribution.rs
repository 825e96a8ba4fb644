//! The scores of a scan's heads, as a distribution of each metric.

use super::scans::{Scan, has_scores};
use super::{HeadName, Metric};
use crate::store::{HeadRow, listing};
use crate::{Error, Result};

/// The metrics that all scans have measured in the same way, and in which no head of theirs is without a score.
pub(super) fn common_metrics(
    scans: &[Scan],
    labels: &[String],
    remarks: &mut Vec<String>,
) -> Vec<Metric> {
    let (first, rest) = (&scans[0], &scans[1..]);
    let mut metrics = Metric::of(&first.measures);
    for scan in rest {
        metrics.extend(Metric::of(&scan.measures));
    }
    metrics.sort_unstable();
    metrics.dedup();
    metrics.retain(|&metric| {
        let reason = scans.iter().zip(labels).find_map(|(scan, label)| {
            let lacks_score =
                |head: &HeadRow| has_scores(head) && !metric.score(&head.sums).is_finite();
            if !metric.is_measured(&scan.measures) {
                Some(format!("{label} has not measured it"))
            } else if metric.is_measured(&first.measures)
                && !metric.is_measured_alike(&first.measures, &scan.measures)
            {
                Some(format!(
                    "{label} has measured it with other parameters than {}",
                    labels[0]
                ))
            } else if scan.heads.iter().any(lacks_score) {
                Some(format!("{label} has heads without it"))
            } else {
                None
            }
        });
        if let Some(reason) = &reason {
            remarks.push(format!("{} is not compared: {reason}", metric.name()));
        }
        reason.is_none()
    });
    metrics
}

/// A scan's scores.
pub(super) struct Distribution {
    pub(super) metrics: Vec<Metric>,
    /// For each layer, the heads that have scores, as places within the layer.
    pub(super) heads: Vec<Vec<usize>>,
    pub(super) left_out: Vec<HeadName>,
    /// For each metric, the scores in the order of layers and heads.
    pub(super) scores: Vec<Vec<f64>>,
    /// The same, ascending.
    pub(super) sorted: Vec<Vec<f64>>,
}

impl Distribution {
    pub(super) fn of(
        scan: &Scan,
        label: &str,
        metrics: &[Metric],
        remarks: &mut Vec<String>,
    ) -> Result<Self> {
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
        let scores: Vec<Vec<f64>> = metrics
            .iter()
            .map(|metric| kept.iter().map(|head| metric.score(&head.sums)).collect())
            .collect();
        let mut sorted = scores.clone();
        for scores in &mut sorted {
            scores.sort_unstable_by(f64::total_cmp);
        }
        Ok(Self {
            metrics: metrics.to_vec(),
            heads,
            left_out,
            scores,
            sorted,
        })
    }
}
