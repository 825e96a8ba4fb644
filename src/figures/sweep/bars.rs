//! Bars of attention functions, normalised beside unnormalised.

use super::runs::{FAMILIES, Run, exists};
use crate::Result;
use crate::figures::Figure;
use crate::figures::axis::{Axis, Frame, Scale};
use crate::figures::canvas::{Anchor, Area, Canvas};
use crate::figures::colours::{FAINT_INK, INK, Marker, of_model};
use crate::figures::sheet::{Entry, Header, Key, Sheet};
use crate::figures::text::Ruler;

/// Of a single plot, and of each of several.
const LARGE: (f64, f64) = (660.0, 300.0);
const SMALL: (f64, f64) = (470.0, 190.0);
/// A bar and its place, where two adjoining functions are 1 apart.
const BAR: f64 = 0.34;
const BESIDE: f64 = 0.19;
/// Half of the line across the end of a whisker, in pixels.
const CAP: f64 = 3.0;
const COUNT_SIZE: f64 = 9.0;

/// How to read a figure.
pub(super) const EXPLANATION: &str = "Bars: means over runs, with one standard error where there are several; \
    the number above: how many runs";

/// The numbers of some runs, each within [0, 1], by attention function.
pub(super) struct Plot {
    label: String,
    /// Of each of [`FAMILIES`]: normalised, and not.
    values: Vec<[Vec<f64>; 2]>,
}

/// A figure.
pub(super) struct Bars {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) axis: &'static str,
    pub(super) note: String,
    pub(super) plots: Vec<Plot>,
}

impl Plot {
    pub(super) fn of<'a>(
        label: String,
        runs: impl Iterator<Item = &'a Run>,
        value: &dyn Fn(&Run) -> Option<f64>,
    ) -> Self {
        let mut values = vec![[Vec::new(), Vec::new()]; FAMILIES.len()];
        for run in runs {
            if let Some(value) = value(run) {
                values[run.family][usize::from(!run.is_normalized)].push(value);
            }
        }
        Self { label, values }
    }

    /// Runs with a number.
    pub(super) fn counted(&self) -> usize {
        self.values.iter().flatten().map(Vec::len).sum()
    }

    fn draw(&self, canvas: &Canvas<'_>, frame: &Frame<'_>, families: &[usize]) -> Result<()> {
        for (place, &family) in families.iter().enumerate() {
            let is_pair = exists(family, false);
            for (kind, values) in self.values[family].iter().enumerate() {
                if !exists(family, kind == 0) {
                    continue;
                }
                let beside = match (is_pair, kind) {
                    (false, _) => 0.0,
                    (true, 0) => -BESIDE,
                    (true, _) => BESIDE,
                };
                bar(canvas, frame, place as f64 + beside, kind, values)?;
            }
        }
        Ok(())
    }
}

/// One bar, whose middle is at `x`, with its whisker and its number.
fn bar(canvas: &Canvas<'_>, frame: &Frame<'_>, x: f64, kind: usize, values: &[f64]) -> Result<()> {
    let colour = of_model(kind);
    let (middle, bottom) = frame.at(x, 0.0);
    let mut above = bottom;
    if let Some((mean, error)) = mean(values) {
        let (left, top) = frame.at(x - BAR / 2.0, mean);
        let (right, _) = frame.at(x + BAR / 2.0, mean);
        let area = Area {
            left,
            // A mean of 0 is a line, and not nothing.
            top: top.min(bottom - 1.0),
            width: right - left,
            height: (bottom - top).max(1.0),
        };
        canvas.rectangle(area, colour, 1.0)?;
        above = area.top;
        if let Some(error) = error.filter(|error| *error > 0.0) {
            let (_, high) = frame.at(x, (mean + error).min(frame.y.high));
            let (_, low) = frame.at(x, (mean - error).max(0.0));
            canvas.line(&[(middle, low), (middle, high)], INK, 1.0)?;
            for y in [low, high] {
                canvas.line(&[(middle - CAP, y), (middle + CAP, y)], INK, 1.0)?;
            }
            above = high;
        }
    }
    let count = values.len().to_string();
    let place = (middle, above - 3.0);
    canvas.text(place, &count, COUNT_SIZE, Anchor::Middle, FAINT_INK)
}

/// The mean and its standard error, where there are several numbers.
fn mean(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
    Some((mean, error))
}

impl Bars {
    pub(super) fn draw(self, ruler: &Ruler) -> Result<Figure> {
        let families: Vec<usize> = (0..FAMILIES.len())
            .filter(|&family| {
                let mut plots = self.plots.iter();
                plots.any(|plot| plot.values[family].iter().any(|values| !values.is_empty()))
            })
            .collect();
        let ticks = families.iter().enumerate();
        let ticks = ticks.map(|(place, &family)| (place as f64, FAMILIES[family].1.to_owned()));
        let (width, height) = match self.plots.len() {
            1 => LARGE,
            _ => SMALL,
        };
        let kinds = [(0, "normalised"), (1, "not normalised")];
        let legend = kinds.map(|(kind, label)| Entry {
            key: Key::Point(of_model(kind), Marker::Square),
            label: label.into(),
        });
        let entry = |plot: &Plot| Entry {
            key: Key::Nothing,
            label: plot.label.clone(),
        };
        let plots = match &self.plots[..] {
            [_] => Vec::new(),
            several => several.iter().map(entry).collect(),
        };
        let sheet = Sheet {
            name: self.name,
            header: Header {
                title: self.title,
                note: self.note,
                legend: legend.into(),
            },
            x: Axis {
                scale: Scale::Linear,
                low: -0.5,
                high: families.len() as f64 - 0.5,
                ticks: ticks.collect(),
                minor: Vec::new(),
                title: "attention function".into(),
            },
            // Room for what stands on a bar of 1.
            y: Axis::exact(0.0, 1.1, 6, self.axis),
            width,
            height,
            vertical_grid: false,
            plots,
            ruler,
        };
        sheet.draw(|canvas, frame, at| self.plots[at].draw(canvas, frame, &families))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_the_mean() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[0.25]), Some((0.25, None)));
        // numpy: std([0, 1, 1, 1], ddof=1) is 0.5.
        assert_eq!(mean(&[0.0, 1.0, 1.0, 1.0]), Some((0.75, Some(0.25))));
    }
}
