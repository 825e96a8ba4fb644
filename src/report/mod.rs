//! A report: everything that one or more scans say, as one page to look at.
//!
//! [`build`] reads and compares as [`crate::compare`] does, and gathers what the page shows; [`Report::write`] writes
//! the page. The page computes no score: histograms over the heads and the quantiles of a layer are drawn from the
//! scores that it carries, everything else is computed here.
//!
//! The page's data is one JSON object, `report` ([`Facts`]). The page knows metrics only from there, so that
//! a new one needs no change.

use std::path::Path;

use crate::compare::{self, Comparison, Held, Metric, Request};
use crate::page::Page;
use crate::{Error, Result};

mod facts;
mod samples;

pub use facts::{Facts, Heads, MetricFacts, ScanFacts};
pub use samples::{BINS, Distributions, QUANTILES, SampleFacts};

/// A report in the making.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the page shows.
    pub facts: Facts,
}

/// Reads the scans and gathers what the page shows. A single scan is summed up; for more, see
/// [`compare::compare`].
///
/// # Errors
/// [`Error::Usage`] for no scan; what [`compare::compare`] refuses.
pub fn build(request: &Request) -> Result<Report> {
    if request.scans.is_empty() {
        return Err(Error::Usage("a report needs at least one scan".into()));
    }
    let held = Held::read(&request.scans, request.force)?;
    let mut comparison = compare::compare_held(request, &held)?;
    let measured = |metric: Metric| -> Option<MetricFacts> {
        let mut scans = held.scans.iter();
        let first = scans.find(|scan| metric.is_measured(&scan.measures))?;
        // With other parameters it is another number, which has no place in the same chart.
        let is_alike = |scan: &compare::Scan| {
            !metric.is_measured(&scan.measures)
                || metric.is_measured_alike(&first.measures, &scan.measures)
        };
        if !held.scans.iter().all(is_alike) {
            comparison.remarks.push(format!(
                "{} is not shown: it was measured with other parameters from scan to scan",
                metric.name()
            ));
            return None;
        }
        Some(MetricFacts::of(metric, &first.measures))
    };
    let metrics: Vec<MetricFacts> = Metric::ALL.into_iter().filter_map(measured).collect();
    let is_shown = |name: &str| metrics.iter().any(|metric| metric.name == name);
    let mut gathered = Vec::with_capacity(held.scans.len());
    for scan in held.scans {
        // Each scan's samples are dropped as soon as they are summed up.
        gathered.push(ScanFacts::of(scan, &is_shown));
    }
    Ok(Report {
        facts: Facts {
            metrics,
            sink: compare::SINK,
            bins: BINS,
            quantiles: QUANTILES.to_vec(),
            scans: gathered,
            comparison,
        },
    })
}

impl Report {
    /// What the scans come to, held against each other.
    pub fn comparison(&self) -> &Comparison {
        &self.facts.comparison
    }

    /// Writes the page to `path`, whose directory is created if need be.
    ///
    /// # Errors
    /// What [`crate::page::refuse_occupied`] refuses, and what the disk does.
    pub fn write(&self, path: &Path) -> Result<()> {
        let labels = self.facts.comparison.scans.iter();
        let labels: Vec<&str> = labels.map(|scan| scan.label.as_str()).collect();
        Page::new(format!("{} – attention sparsity", labels.join(", ")))
            .style(include_str!("report.css"))
            .body(include_str!("report.html"))
            .script(include_str!("model.js"))
            .script(include_str!("summary.js"))
            .script(include_str!("charts.js"))
            .script(include_str!("pinned.js"))
            .script(include_str!("table.js"))
            .script(include_str!("report.js"))
            .charts()
            .data("report", &self.facts)?
            .write(path)
    }
}
