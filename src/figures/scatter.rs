//! Whether sparse heads are sinks: a point per head, its sparsity score against its first-token share.

use super::axis::Axis;
use super::canvas::Point;
use super::colours::{FAINT_INK, Marker, of_model};
use super::sheet::{Entry, Header, Key, Sheet};
use super::text::Ruler;
use super::{Figure, Scans, words};
use crate::Result;
use crate::compare::{Metric, SINK};

const SIDE: f64 = 440.0;
const WIDTH: f64 = 560.0;

pub(super) fn draw(scans: &Scans, ruler: &Ruler) -> Result<Figure> {
    let (across, up) = (Metric::FirstTokenShare, Metric::SparsityScore);
    let points: Vec<Vec<(f64, f64)>> = scans
        .models
        .iter()
        .map(|model| {
            let heads = model.layers.iter().flatten();
            let scores = heads.map(|head| (across.score(&head.sums), up.score(&head.sums)));
            scores
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .collect()
        })
        .collect();
    let legend = scans.models.iter().enumerate().map(|(at, model)| {
        let sinks = points[at].iter().filter(|(share, _)| *share > SINK).count();
        let heads = words::heads(points[at].len());
        let sinks = words::counted(sinks, "sink");
        Entry {
            key: Key::Point(of_model(at), Marker::of_model(at)),
            label: format!("{}: {heads}, {sinks}", model.label),
        }
    });
    let x = axis(scans, across);
    let y = axis(scans, up);
    let sink_is_shown = x.high > SINK;
    let explanation = match sink_is_shown {
        true => format!(
            "A point is a head; right of the dashed line (first-token share > {SINK}) it is a sink"
        ),
        false => format!("A point is a head; with a first-token share > {SINK} it would be a sink"),
    };
    let sheet = Sheet {
        name: "scatter".into(),
        header: Header {
            title: "Sparsity score against first-token share".into(),
            note: scans.note_with(&explanation),
            legend: legend.collect(),
        },
        x,
        y,
        width: WIDTH,
        height: SIDE,
        vertical_grid: true,
        plots: Vec::new(),
        ruler,
    };
    // From 5 pixels and nearly opaque for a few points to 1.75 pixels and less than half for five thousand. Each model
    // has its own size, or a small one would be lost among the points of a large one.
    let looks: Vec<(f64, f64)> = points
        .iter()
        .map(|points| {
            let crowd = ((points.len().max(10) as f64 / 10.0).log10() / 2.7).clamp(0.0, 1.0);
            (5.0 - 3.25 * crowd, 0.85 - 0.45 * crowd)
        })
        .collect();
    sheet.draw(|canvas, frame, _| {
        if sink_is_shown {
            let (x, top) = frame.at(SINK, frame.y.high);
            for at in 0..(SIDE / 8.0) as i32 {
                let y = top + 8.0 * f64::from(at);
                canvas.line(&[(x, y), (x, y + 4.0)], FAINT_INK, 1.0)?;
            }
        }
        // In turns, so that no model hides another.
        let longest = points.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..longest {
            for (model, points) in points.iter().enumerate() {
                // Models with fewer heads spread over the whole turn.
                let (now, next) = (
                    at * points.len() / longest,
                    (at + 1) * points.len() / longest,
                );
                let (radius, opacity) = looks[model];
                for (x, y) in &points[now..next] {
                    let place: Point = frame.at(*x, *y);
                    let marker = Marker::of_model(model);
                    marker.draw(canvas, place, radius, of_model(model), opacity)?;
                }
            }
        }
        Ok(())
    })
}

/// From 0 to 1, or to where the scores end if that is below a half.
fn axis(scans: &Scans, metric: Metric) -> Axis {
    let (low, high) = scans.range(metric);
    let title = words::axis_title(metric);
    if low < -1e-6 || high > 1.0 + 1e-6 {
        return Axis::around(low.min(0.0), high, 5, title);
    }
    match high > 0.5 {
        true => Axis::exact(0.0, 1.0, 5, title),
        false => Axis::around(0.0, high.max(1e-6), 5, title),
    }
}
