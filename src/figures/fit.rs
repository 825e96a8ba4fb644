//! Axes that fit curves.

use crate::figures::axis::Axis;
use crate::figures::curves::{Curve, Marks, bounded};
use crate::figures::decades;

/// What an axis of a plot is to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fit {
    /// From the least to the largest value exactly; logarithmic if there is a value above 0.
    Decades,
    /// From a round number to a round number; logarithmic if there is a value above 0.
    RoundDecades,
    /// From a round number to a round number.
    Round,
    /// From 0 or, where there are negative values, from a round number below them; up to 1 if that is near.
    Weights,
}

/// About so many ticks.
const ACROSS: usize = 6;
const UP: usize = 5;
/// As many powers of ten may be named.
const POWERS: usize = 8;

/// The axes under and beside `curves`.
pub(super) fn fit(
    curves: &[Curve],
    (x, x_title): (Fit, &str),
    (y, y_title): (Fit, &str),
) -> (Axis, Axis) {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    // A run that diverged would make the others flat.
    let mut kept: Vec<&Curve> = curves
        .iter()
        .filter(|curve| !matches!(curve.marks, Marks::EndedEarly | Marks::Crosses))
        .collect();
    if kept.iter().all(|curve| curve.points.is_empty()) {
        kept = curves.iter().collect();
    }
    let kept = kept.into_iter().flat_map(|curve| &curve.points);
    (
        axis(x, all().map(|point| point.0), ACROSS, x_title),
        axis(y, kept.map(|point| point.1), UP, y_title),
    )
}

fn axis(fit: Fit, values: impl Iterator<Item = f64> + Clone, count: usize, title: &str) -> Axis {
    let range = |keep: fn(f64) -> bool| {
        let kept = values.clone().filter(|value| keep(*value)).map(bounded);
        kept.fold(None, |range: Option<(f64, f64)>, value| match range {
            Some((low, high)) => Some((low.min(value), high.max(value))),
            None => Some((value, value)),
        })
    };
    if let (Fit::Decades | Fit::RoundDecades, Some((low, high))) = (fit, range(decades::has_place))
    {
        return match fit {
            Fit::Decades if high > low * (1.0 + 1e-9) => {
                Axis::logarithmic(low, high, POWERS, title)
            }
            _ => Axis::logarithmic_around(low, high, POWERS, title),
        };
    }
    let (low, high) = range(f64::is_finite).unwrap_or((0.0, 1.0));
    match fit {
        Fit::Weights if low >= 0.0 && high <= 1.0 && high > 0.5 => {
            Axis::exact(0.0, 1.0, count, title)
        }
        Fit::Weights => Axis::around(low.min(0.0), high.max(0.0), count, title),
        _ => Axis::around(low, high, count, title),
    }
}
