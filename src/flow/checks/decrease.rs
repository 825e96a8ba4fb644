//! Lemma D.2: the loss falls, at least so fast, and as fast as its gradient says.

use super::records::{Records, largest};
use super::watch::Watch;
use super::{Finding, Statement, assumptions};
use crate::Result;
use crate::flow::model::{Form, Parameters};

/// What the closed forms of the gradient say at a record.
struct Slope {
    /// ‖∂L/∂V‖² + ‖∂L/∂a‖² = −dL/dt.
    square: f64,
    /// Σ |∂L/∂V|.
    values: f64,
    /// Σ |∂L/∂a|.
    scores: f64,
    /// max |∂L/∂a|.
    largest_score: f64,
    /// d²L/dt² = 2 ∇Lᵀ H ∇L, H being the matrix of second derivatives.
    second: f64,
    /// ‖H ∇L‖².
    bend: f64,
}

const VAGUE: &str = "in every record its error is as large as what is measured";

pub(super) fn check(records: &Records<'_>) -> Result<Vec<Finding>> {
    let slopes = (0..records.len())
        .map(|k| slope(records, k))
        .collect::<Result<Vec<Slope>>>()?;
    Ok(vec![
        gradient_bound(records, &slopes),
        weight_bound(records),
        decrease(records, &slopes),
        rate(records, &slopes),
    ])
}

fn slope(records: &Records<'_>, k: usize) -> Result<Slope> {
    let model = records.model;
    let at = Parameters {
        values: records.values(k).to_vec(),
        scores: records.all_scores(k).to_vec(),
    };
    let gradient = model.gradient(&at)?;
    let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let size = largest(&gradient.values).max(largest(&gradient.scores));
    let (mut second, mut bend) = (0.0, 0.0);
    if size > 0.0 {
        // Central differences along the gradient: off by the square of the step and by 1e-16 over it, relatively.
        let step = 1e-5 / size;
        let moved = |step: f64| {
            let along = |x: &[f64], g: &[f64]| x.iter().zip(g).map(|(x, g)| x + step * g).collect();
            model.gradient(&Parameters {
                values: along(&at.values, &gradient.values),
                scores: along(&at.scores, &gradient.scores),
            })
        };
        let (up, down) = (moved(step)?, moved(-step)?);
        let pairs = [
            (&gradient.values, &up.values, &down.values),
            (&gradient.scores, &up.scores, &down.scores),
        ];
        for (gradient, up, down) in pairs {
            for (g, (up, down)) in gradient.iter().zip(up.iter().zip(down)) {
                let turned = (up - down) / (2.0 * step);
                second += 2.0 * g * turned;
                bend += turned * turned;
            }
        }
    }
    Ok(Slope {
        square: square(&gradient.values) + square(&gradient.scores),
        values: gradient.values.iter().map(|g| g.abs()).sum(),
        scores: gradient.scores.iter().map(|g| g.abs()).sum(),
        largest_score: largest(&gradient.scores),
        second,
        bend,
    })
}

/// dL/dt ≤ −‖σ‖² ‖g‖²: the gradient at the recorded parameters against the recorded weights and predictions.
fn gradient_bound(records: &Records<'_>, slopes: &[Slope]) -> Finding {
    const QUANTITY: &str = "dL/dt + ‖σ‖² ‖g‖²";
    let statement = Statement::DecreaseBound;
    if let Err(reason) = assumptions::free(records).and_then(|()| assumptions::same_rows(records)) {
        return Finding::not_applicable(statement, QUANTITY, reason);
    }
    let mut watch = Watch::default();
    for (k, slope) in slopes.iter().enumerate() {
        let (mut bound, mut error) = (0.0, 0.0);
        for row in 0..records.rows {
            let weights: f64 = records.weights(k, row).iter().map(|w| w * w).sum();
            let square = records.squared_gradient(k, row);
            let off = records.errors(k).gradient;
            bound += weights * square;
            error += weights * (2.0 * square.sqrt() * off + off * off);
        }
        error += 4.0
            * (records.predictions + records.positions) as f64
            * f64::EPSILON
            * (bound + slope.square);
        // Any slope would stay within an error that large.
        if error < bound {
            watch.at_most(records.place(k), bound - slope.square, 0.0, error);
        }
    }
    if watch.is_empty() {
        return Finding::not_applicable(statement, QUANTITY, VAGUE.to_owned());
    }
    watch.finding_of_zero(statement, QUANTITY, f64::INFINITY)
}

/// ‖σ‖² ≥ 1/d where weights sum to 1.
fn weight_bound(records: &Records<'_>) -> Finding {
    const QUANTITY: &str = "‖σ‖² − 1/d";
    let statement = Statement::DecreaseBound;
    if let Err(reason) = assumptions::free(records) {
        return Finding::not_applicable(statement, QUANTITY, reason);
    }
    if !records.weighting.is_normalized() {
        let name = records.model.sigma();
        let reason = format!("it is about weights that sum to 1; those of {name} sum to anything");
        return Finding::not_applicable(statement, QUANTITY, reason);
    }
    let d = records.positions as f64;
    let mut watch = Watch::default();
    for k in 0..records.len() {
        for row in 0..records.rows {
            let weights = records.weights(k, row);
            let square: f64 = weights.iter().map(|w| w * w).sum();
            let shortfall = records.weighting.shortfall(records.scores(k, row));
            let error = 4.0 * d * f64::EPSILON * square + 2.0 * shortfall / d;
            if error < 1.0 / d {
                watch.at_least(records.place(k), square - 1.0 / d, 0.0, error);
            }
        }
    }
    if watch.is_empty() {
        return Finding::not_applicable(statement, QUANTITY, VAGUE.to_owned());
    }
    watch.finding_of_zero(statement, QUANTITY, f64::INFINITY)
}

fn decrease(records: &Records<'_>, slopes: &[Slope]) -> Finding {
    let mut watch = Watch::default();
    let losses = &records.trajectory.losses;
    for k in 1..records.len() {
        let error =
            records.errors(k).loss + records.errors(k - 1).loss + of_path(records, slopes, k);
        watch.at_most(records.place(k), losses[k] - losses[k - 1], 0.0, error);
    }
    watch.finding(
        Statement::Decrease,
        "largest growth of the loss between records",
    )
}

/// How far the loss of record k may be off because the updates since the record before were.
fn of_path(records: &Records<'_>, slopes: &[Slope], k: usize) -> f64 {
    let (slope, errors) = (&slopes[k], records.errors(k));
    slope.values * errors.values + slope.scores * errors.scores + errors.curved_loss
}

/// The fall of the loss between two records against the integral of r = −‖∇L‖², which is taken by Hermite's formula
/// from r and r′ at both ends.
///
/// The formula is off by h⁵ r⁗ / 720. With κ = h |r′/r| or h √|r″/r|, the larger, that is at most h |r| κ⁴ / 36, if r⁗ / r
/// is at most 20 times the square of r″ / r: it is below 12 times that for powers from t^(−1/2) on, and equal to it
/// for exponentials. For sums of those it may be more, where one that is small grows fast: so four times the
/// largest r⁗ that the third differences of r′ around the interval show is added. Intervals with κ > 1 are not
/// judged.
///
/// Gradient descent follows, to second order in η, the flow of `L + η/4 ‖∇L‖²` (Barrett and Dherin, arXiv
/// 2009.11162): the loss falls at the rate r − η/2 ∇Lᵀ H ∇L. What is left is of the size η² ‖H ∇L‖² and η² |r″|.
fn rate(records: &Records<'_>, slopes: &[Slope]) -> Finding {
    let eta = records.rate;
    let mut watch = Watch::default();
    for k in 1..records.len() {
        let h = records.time(k) - records.time(k - 1);
        let ends = [&slopes[k - 1], &slopes[k]];
        let smallest = ends[0].square.min(ends[1].square);
        if smallest == 0.0 || touches_kink(records, k, ends) {
            continue;
        }
        // h |r″|.
        let change = (ends[1].second - ends[0].second).abs();
        let kappa = ends
            .map(|end| h * end.second.abs() / smallest)
            .into_iter()
            .fold((h * change / smallest).sqrt(), f64::max);
        let bend = ends[0].bend.max(ends[1].bend);
        if kappa > 1.0 || eta * (bend / smallest).sqrt() > 0.5 {
            continue;
        }
        let descent = |end: &Slope| -end.square - eta / 4.0 * end.second;
        let expected = h / 2.0 * (descent(ends[0]) + descent(ends[1]))
            + h * h / 12.0 * (ends[0].second - ends[1].second);
        let found = records.trajectory.losses[k] - records.trajectory.losses[k - 1];

        let largest = ends[0].square.max(ends[1].square);
        let of_formula = h * largest * kappa.powi(4) / 36.0
            + 4.0 * h.powi(5) / 720.0 * fourth_derivative(records, slopes, k);
        let of_rate = eta * eta * (h * bend + change);
        let (errors, before) = (records.errors(k), records.errors(k - 1));
        let of_path = of_path(records, slopes, k);
        let error = of_formula + of_rate + of_path + errors.loss + before.loss;
        let size = expected.abs();
        if error < 0.5 * size {
            watch.at_most(
                records.place(k),
                (found - expected).abs() / size,
                0.0,
                error / size,
            );
        }
    }
    let quantity = "difference of the fall of the loss and the integral of −‖∂L/∂V‖² − ‖∂L/∂a‖² between records";
    if watch.is_empty() {
        let reason = "no two records are near enough to each other, compared to how fast the gradient changes, for \
                      the integral to be taken";
        return Finding::not_applicable(Statement::Rate, quantity, reason.to_owned());
    }
    // Relative differences, and of those only with errors below a half.
    watch.finding_of_zero(Statement::Rate, quantity, 1.0)
}

/// The largest |r⁗| that four records in a row show, the records k − 1 and k being among them.
fn fourth_derivative(records: &Records<'_>, slopes: &[Slope], k: usize) -> f64 {
    let windows = k.saturating_sub(3)..k;
    let inside = windows.filter(|first| first + 3 < records.len());
    let third_difference = |first: usize| {
        let t = |i: usize| records.time(first + i);
        let mut differences = [0, 1, 2, 3].map(|i| slopes[first + i].second);
        for order in 1..4 {
            for i in 0..4 - order {
                differences[i] = (differences[i + 1] - differences[i]) / (t(i + order) - t(i));
            }
        }
        6.0 * differences[0].abs()
    };
    inside.map(third_difference).fold(0.0, f64::max)
}

/// Whether a score may have stood at the kink of f between records k − 1 and k, where derivatives jump.
fn touches_kink(records: &Records<'_>, k: usize, ends: [&Slope; 2]) -> bool {
    if !records.weighting.is_kinked() {
        return false;
    }
    let scores = |k: usize| match records.model.form() {
        Form::Free | Form::Rows(_) => records.all_scores(k).to_vec(),
        Form::Tied => tied_scores(records, k),
    };
    // Descent jumps to and fro across a kink, by an update each time, and the differences of `slope` reach 1e-5 far.
    let jump = records.rate * ends[0].largest_score.max(ends[1].largest_score);
    let near = 4.0 * jump + 1e-4;
    let mut pairs = scores(k - 1).into_iter().zip(scores(k));
    pairs.any(|(before, a)| {
        // A score that rests at the kink has the slope 0 there, in the closed forms, too.
        let rests = before == 0.0 && a == 0.0;
        let is_near = before.abs().min(a.abs()) <= 2.0 * (a - before).abs() + near;
        !rests && (before * a <= 0.0 || is_near)
    })
}

/// U a.
fn tied_scores(records: &Records<'_>, k: usize) -> Vec<f64> {
    let (values, scores) = (records.values(k), records.all_scores(k));
    let products = values.chunks_exact(scores.len()).map(|row| {
        let products = row.iter().zip(scores).map(|(u, a)| u * a);
        products.sum()
    });
    products.collect()
}
