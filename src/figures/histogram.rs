//! How many heads have which score: the figure that the paper's Figure 7 is.

use super::axis::Axis;
use super::canvas::{Area, Point};
use super::colours::of_model;
use super::sheet::{Entry, Header, Key, Sheet};
use super::text::Ruler;
use super::{Figure, Scans, words};
use crate::Result;
use crate::compare::Metric;

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 300.0;
/// A model with at least so many heads has bars half as wide.
const MANY_HEADS: usize = 400;

pub(super) fn draw(scans: &Scans, metric: Metric, ruler: &Ruler) -> Result<Figure> {
    let scores: Vec<Vec<f64>> = scans.models.iter().map(|m| m.finite(metric)).collect();
    let edges = edges(&scores);
    let counts: Vec<Vec<usize>> = scores.iter().map(|s| count(s, &edges)).collect();
    let most_heads = scores.iter().map(Vec::len).max().unwrap_or(0);
    let as_counts = scores.iter().all(|scores| scores.len() == most_heads);
    let height = |count: usize, model: usize| match as_counts {
        true => count as f64,
        false => count as f64 / scores[model].len().max(1) as f64,
    };
    let tallest = (0..counts.len())
        .flat_map(|model| counts[model].iter().map(move |&count| (count, model)))
        .map(|(count, model)| height(count, model))
        .fold(0.0, f64::max);
    let (low, high) = (edges[0], edges[edges.len() - 1]);
    let legend = scores.iter().zip(&scans.models).enumerate();
    let legend = legend.map(|(at, (scores, model))| {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let heads = words::heads(scores.len());
        Entry {
            key: Key::Bars(of_model(at)),
            label: format!("{}: {heads}, mean\u{a0}{mean:.3}", model.label),
        }
    });
    let source = match metric {
        Metric::SparsityScore => ", as in the text of arXiv 2603.06248 (Appendix E.2)",
        Metric::MaxWeight => ", not divided by the total, as in Figure 7 of arXiv 2603.06248",
        _ => "",
    };
    let subject = words::subject(metric).to_lowercase();
    let title = format!("Heads by {subject}{source}");
    let width = (high - low) / (edges.len() - 1) as f64;
    let bins = format!("bins of {}", (width * 1e6).round() / 1e6);
    let sheet = Sheet {
        name: format!("histogram-{}", metric.name()),
        header: Header {
            title,
            note: scans.note(),
            legend: legend.collect(),
        },
        x: Axis::exact(low, high, 10, words::axis_title(metric)),
        y: match as_counts {
            true => Axis::counts(tallest as usize, 5, format!("heads ({bins})")),
            false => Axis::per_cent(tallest, 5, format!("share of the model's heads ({bins})")),
        },
        width: WIDTH,
        height: HEIGHT,
        vertical_grid: false,
        plots: Vec::new(),
        ruler,
    };
    // Where many models lie on each other, their outlines tell more than the mixture of their colours.
    let opacity = 0.35 / (counts.len().max(2) - 1) as f64;
    sheet.draw(|canvas, frame, _| {
        for (model, counts) in counts.iter().enumerate() {
            for (bin, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (left, top) = frame.at(edges[bin], height(count, model));
                let (right, bottom) = frame.at(edges[bin + 1], 0.0);
                // One head of thousands is less than a unit high, and still there.
                let top = top.min(bottom - 0.25);
                let bar = Area {
                    left,
                    top,
                    width: right - left,
                    height: bottom - top,
                };
                canvas.rectangle(bar, of_model(model), opacity)?;
            }
        }
        for (model, counts) in counts.iter().enumerate() {
            let bins: Vec<usize> = (0..counts.len()).collect();
            // Empty bins have no outline: it would hide the axis.
            for run in bins.chunk_by(|a, b| (counts[*a] > 0) == (counts[*b] > 0)) {
                let (first, last) = (run[0], run[run.len() - 1]);
                if counts[first] == 0 {
                    continue;
                }
                let mut steps: Vec<Point> = vec![frame.at(edges[first], 0.0)];
                for &bin in run {
                    steps.push(frame.at(edges[bin], height(counts[bin], model)));
                    steps.push(frame.at(edges[bin + 1], height(counts[bin], model)));
                }
                steps.push(frame.at(edges[last + 1], 0.0));
                canvas.line(&steps, of_model(model), 1.75)?;
            }
        }
        Ok(())
    })
}

/// The edges of the bins: of [0, 1], or of a wider range where scores lie outside.
fn edges(scores: &[Vec<f64>]) -> Vec<f64> {
    let all = || scores.iter().flatten().copied();
    let (low, high) = all().fold((0.0, 1.0), |(low, high), score| {
        (f64::min(low, score), f64::max(high, score))
    });
    let many = scores.iter().any(|scores| scores.len() >= MANY_HEADS);
    let bins = if many { 40 } else { 20 };
    // Sums of float32 weights may end a rounding error above 1.
    if low >= -1e-6 && high <= 1.0 + 1e-6 {
        return (0..=bins)
            .map(|at| f64::from(at) / f64::from(bins))
            .collect();
    }
    let axis = Axis::around(low, high, 10, "");
    let edge = |at: i32| axis.low + (axis.high - axis.low) * f64::from(at) / f64::from(bins);
    (0..=bins).map(edge).collect()
}

/// Scores in each bin, which holds its lower edge; the last holds its upper edge, too.
fn count(scores: &[f64], edges: &[f64]) -> Vec<usize> {
    let mut counts = vec![0; edges.len() - 1];
    for score in scores {
        let above = edges.partition_point(|edge| edge <= score);
        counts[above.saturating_sub(1).min(edges.len() - 2)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_is_in_one_bin() {
        let edges = edges(&[vec![0.0, 1.0]]);
        assert_eq!((edges.len(), edges[0], edges[20]), (21, 0.0, 1.0));
        let counts = count(&[0.0, 0.049, 0.05, 0.999, 1.0, 1.000_000_1], &edges);
        assert_eq!((counts[0], counts[1], counts[19]), (2, 1, 3));
        let outside = super::edges(&[vec![-0.4, 3.1]]);
        assert!(outside[0] <= -0.4 && outside[20] >= 3.1);
    }
}
