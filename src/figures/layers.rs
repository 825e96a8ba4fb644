//! How a score changes with depth: for every layer the median of its heads, and where most of them lie.

use super::axis::{Axis, Frame};
use super::canvas::{Canvas, Point};
use super::colours::{Marker, of_model};
use super::sheet::{Entry, Header, Key, Sheet};
use super::text::Ruler;
use super::{Figure, Model, Scans, words};
use crate::Result;
use crate::compare::{Metric, quantile};

/// Of the one plot of one or two models.
const LARGE: (f64, f64) = (640.0, 320.0);
/// Of each plot where every model has its own: the bands of three would hide each other.
const SMALL: (f64, f64) = (380.0, 220.0);
const TOGETHER: usize = 2;
/// Layers with no more heads show each of them: quantiles of so few say less than the heads.
const FEW_HEADS: usize = 4;
/// About so many of a model's medians have a marker.
const MARKERS: usize = 12;

pub(super) fn draw(scans: &Scans, metric: Metric, ruler: &Ruler) -> Result<Figure> {
    let depths: Vec<usize> = scans.models.iter().map(|m| m.layers.len()).collect();
    let deepest = depths.iter().copied().max().unwrap_or(1);
    let relative = depths.iter().any(|&depth| depth != deepest);
    let apart = scans.models.len() > TOGETHER;
    let (width, height) = if apart { SMALL } else { LARGE };
    let x = match relative {
        true => {
            let mut axis = Axis::exact(0.0, 1.0, 5, "depth (0: first layer, 1: last layer)");
            (axis.low, axis.high) = (-0.03, 1.03);
            axis
        }
        false => {
            let names: Vec<i32> = (0..).take(deepest).collect();
            let mut axis = Axis::places(&names, ruler, width, false, "layer");
            // Lines, unlike cells, need no half a layer at the ends.
            if deepest > 1 {
                let aside = (0.04 * axis.high).min(0.5);
                (axis.low, axis.high) = (-aside, axis.high - 0.5 + aside);
            }
            axis
        }
    };
    let (low, high) = scans.range(metric);
    let title = words::axis_title(metric);
    let y = match metric.has_thresholds() && low >= -1e-6 && high <= 1.0 + 1e-6 {
        true => Axis::exact(0.0, 1.0, 5, title),
        false => Axis::around(low, high, 5, title),
    };
    let curves: Vec<Curve> = scans
        .models
        .iter()
        .map(|model| Curve::of(model, metric, relative))
        .collect();
    let entries = scans.models.iter().enumerate().map(|(at, model)| Entry {
        key: Key::Band(of_model(at), Marker::of_model(at)),
        label: format!("{}: {}", model.label, model.shape),
    });
    let (legend, plots): (Vec<Entry>, Vec<Entry>) = match apart {
        true => (Vec::new(), entries.collect()),
        false => (entries.collect(), Vec::new()),
    };
    let sheet = Sheet {
        name: format!("layers-{}", metric.name()),
        header: Header {
            title: format!(
                "{} by layer{}",
                words::subject(metric),
                metric.parameters(&scans.measures)
            ),
            note: scans.note_with(&explanation(&curves, apart)),
            legend,
        },
        x,
        y,
        width,
        height,
        vertical_grid: false,
        plots,
        ruler,
    };
    // Points of different models stand beside each other; a layer is so many pixels wide.
    let pitch = width / deepest as f64;
    let step = (pitch / (2.0 * curves.len() as f64)).min(7.0);
    let aside = |at: usize| match apart {
        true => 0.0,
        false => step * (at as f64 - (curves.len() - 1) as f64 / 2.0),
    };
    sheet.draw(|canvas, frame, plot| {
        let all = || curves.iter().enumerate();
        let is_own = |at: usize| !apart || at == plot;
        for (at, curve) in all().filter(|(at, _)| is_own(*at)) {
            curve.draw_bands(canvas, frame, at)?;
        }
        for (at, curve) in all().filter(|(at, _)| !is_own(*at)) {
            curve.draw_medians(canvas, frame, at, false)?;
        }
        for (at, curve) in all().filter(|(at, _)| is_own(*at)) {
            curve.draw_points(canvas, frame, at, aside(at))?;
            curve.draw_medians(canvas, frame, at, true)?;
        }
        Ok(())
    })
}

fn explanation(curves: &[Curve], apart: bool) -> String {
    let layers = || curves.iter().flat_map(|curve| &curve.layers);
    let bands = layers().any(Layer::has_band);
    let points = layers().any(|layer| !layer.has_band());
    let mut told = "Line: median of a layer's heads".to_owned();
    if bands {
        told.push_str("; bands: 25–75 % and 10–90 % of them");
    }
    if points {
        told.push_str(&format!(
            "; points: all heads of layers with at most {FEW_HEADS}"
        ));
    }
    if apart {
        told.push_str("; thin lines: medians of the other models");
    }
    told
}

/// A model's layers from the first to the last.
struct Curve {
    layers: Vec<Layer>,
    /// From one layer to the next, in units of the x axis.
    step: f64,
}

struct Layer {
    x: f64,
    /// Ascending, finite.
    scores: Vec<f64>,
}

impl Layer {
    fn has_band(&self) -> bool {
        self.scores.len() > FEW_HEADS
    }

    fn quantile(&self, q: f64) -> f64 {
        quantile(&self.scores, q)
    }
}

impl Curve {
    fn of(model: &Model, metric: Metric, relative: bool) -> Self {
        let step = match relative {
            true => 1.0 / (model.layers.len().max(2) - 1) as f64,
            false => 1.0,
        };
        let layers = model.layers.iter().enumerate().map(|(at, heads)| {
            let mut scores: Vec<f64> = heads
                .iter()
                .map(|head| metric.score(&head.sums))
                .filter(|score| score.is_finite())
                .collect();
            scores.sort_unstable_by(f64::total_cmp);
            Layer {
                x: at as f64 * step,
                scores,
            }
        });
        Self {
            layers: layers.collect(),
            step,
        }
    }

    fn draw_bands(&self, canvas: &Canvas<'_>, frame: &Frame<'_>, at: usize) -> Result<()> {
        for ((from, to), opacity) in [((0.1, 0.9), 0.14), ((0.25, 0.75), 0.26)] {
            for run in self.layers.chunk_by(|a, b| a.has_band() == b.has_band()) {
                if !run[0].has_band() {
                    continue;
                }
                let edge = |q: f64, layer: &Layer, aside: f64| {
                    frame.at(layer.x + aside, layer.quantile(q))
                };
                let mut corners: Vec<Point> = match run {
                    // A layer without neighbours is as wide as a bar.
                    [only] => {
                        let aside = (0.3 * self.step).min(0.02 * (frame.x.high - frame.x.low));
                        vec![edge(to, only, -aside), edge(to, only, aside)]
                    }
                    run => run.iter().map(|layer| edge(to, layer, 0.0)).collect(),
                };
                let back: Vec<Point> = match run {
                    [only] => corners
                        .iter()
                        .map(|(x, _)| (*x, edge(from, only, 0.0).1))
                        .collect(),
                    run => run.iter().map(|layer| edge(from, layer, 0.0)).collect(),
                };
                corners.extend(back.into_iter().rev());
                canvas.polygon(&corners, of_model(at), opacity)?;
            }
        }
        Ok(())
    }

    /// The heads of layers that have no bands, `aside` pixels beside their place.
    fn draw_points(
        &self,
        canvas: &Canvas<'_>,
        frame: &Frame<'_>,
        at: usize,
        aside: f64,
    ) -> Result<()> {
        for layer in self.layers.iter().filter(|layer| !layer.has_band()) {
            for score in &layer.scores {
                let (x, y) = frame.at(layer.x, *score);
                Marker::of_model(at).draw(canvas, (x + aside, y), 3.0, of_model(at), 0.6)?;
            }
        }
        Ok(())
    }

    /// The line of medians, broken where a layer has no score: thick and with markers, or thin.
    fn draw_medians(
        &self,
        canvas: &Canvas<'_>,
        frame: &Frame<'_>,
        at: usize,
        is_thick: bool,
    ) -> Result<()> {
        let (colour, marker) = (of_model(at), Marker::of_model(at));
        let is_empty = |layer: &Layer| layer.scores.is_empty();
        for run in self.layers.chunk_by(|a, b| is_empty(a) == is_empty(b)) {
            if is_empty(&run[0]) {
                continue;
            }
            let median: Vec<Point> = run
                .iter()
                .map(|layer| frame.at(layer.x, layer.quantile(0.5)))
                .collect();
            if median.len() > 1 {
                canvas.line(&median, colour, if is_thick { 2.0 } else { 0.75 })?;
            }
            // A single layer would leave nothing to see of a thin line.
            let (every, radius) = match is_thick {
                true => (self.layers.len().div_ceil(MARKERS), 4.0),
                false if median.len() == 1 => (1, 2.0),
                false => continue,
            };
            for place in median.into_iter().step_by(every) {
                marker.draw(canvas, place, radius, colour, 1.0)?;
            }
        }
        Ok(())
    }
}
