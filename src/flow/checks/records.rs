//! A trajectory, record by record, with what it is uncertain by.

use super::activation::Weighting;
use super::watch::Place;
use crate::Result;
use crate::flow::dormand_prince::Tolerances;
use crate::flow::follow::Integrator;
use crate::flow::model::{Form, Model, Parameters};
use crate::flow::objective::{Objective, Objectives, check_finite, invalid, side_by_side};
use crate::flow::trajectory::{Followed, Trajectory};
use crate::layers::lanes::Lanes;

/// A checked trajectory, and what is computed from each of its records.
pub(super) struct Records<'a> {
    pub(super) model: &'a Model,
    /// V and a before the first update.
    pub(super) start: &'a Parameters,
    pub(super) trajectory: &'a Trajectory,
    pub(super) weighting: Weighting,
    /// η of gradient descent; 0 for the flow.
    pub(super) rate: f64,
    /// d.
    pub(super) positions: usize,
    /// p.
    pub(super) predictions: usize,
    /// Rows of scores.
    pub(super) rows: usize,
    /// u = Vᵀβ, records × d; empty for losses without a β.
    projections: Vec<f64>,
    errors: Vec<Errors>,
}

/// How far the numbers of a record may be off, in the worst case: what the updates since the record before did not
/// get right.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Errors {
    /// Of an entry of V.
    pub(super) values: f64,
    /// Of an entry of a.
    pub(super) scores: f64,
    /// Of an entry of u.
    pub(super) projections: f64,
    /// Of S.
    pub(super) strength: f64,
    /// Of θ, its length over all rows, because V and a are off.
    pub(super) displacement: f64,
    /// Of L, likewise, to second order: to first the gradients say it.
    pub(super) curved_loss: f64,
    /// Of ‖g‖, when it is computed from V and a.
    pub(super) gradient: f64,
    /// Of L, likewise.
    pub(super) loss: f64,
}

/// Of gradient descent, which makes no error besides rounding.
const EXACT: Tolerances = Tolerances {
    relative: 0.0,
    absolute: 0.0,
    most_steps: u64::MAX,
};

impl<'a> Records<'a> {
    pub(super) fn new(followed: &'a Followed, integrator: Integrator) -> Result<Records<'a>> {
        let Followed {
            run, trajectory, ..
        } = followed;
        let (model, start) = (run.problem.model(), run.problem.start());
        let (tolerances, rate) = match integrator {
            Integrator::Descent => (EXACT, run.rate),
            Integrator::Flow(tolerances) => (tolerances, 0.0),
        };
        let Tolerances {
            relative, absolute, ..
        } = tolerances;
        if [relative, absolute]
            .iter()
            .any(|x| !(*x >= 0.0 && x.is_finite()))
        {
            return Err(invalid(
                "tolerances",
                format!("are {relative} and {absolute}; both must be numbers of at least 0"),
            ));
        }
        let (p, d) = (model.predictions(), model.positions());
        let rows = model.rows();
        check_shapes(trajectory, rows, p, d)?;

        let mut records = Records {
            model,
            start,
            trajectory,
            weighting: Weighting::of(model.sigma()),
            rate,
            positions: d,
            predictions: p,
            rows,
            projections: Vec::new(),
            errors: Vec::new(),
        };
        for k in 0..records.len() {
            let projections = model.projections(records.values(k))?;
            records.projections.extend(projections.unwrap_or_default());
        }
        records.errors = (0..records.len())
            .map(|k| records.estimate(k, tolerances))
            .collect();
        Ok(records)
    }

    pub(super) fn len(&self) -> usize {
        self.trajectory.times.len()
    }

    pub(super) fn place(&self, k: usize) -> Place {
        Place {
            time: self.trajectory.times[k],
            updates: self.trajectory.updates[k],
        }
    }

    pub(super) fn time(&self, k: usize) -> f64 {
        self.trajectory.times[k]
    }

    /// V, p × d.
    pub(super) fn values(&self, k: usize) -> &'a [f64] {
        entry(
            &self.trajectory.values,
            k,
            self.predictions * self.positions,
        )
    }

    /// a of one row.
    pub(super) fn scores(&self, k: usize, row: usize) -> &'a [f64] {
        entry(&self.trajectory.scores, k * self.rows + row, self.positions)
    }

    /// a of all rows.
    pub(super) fn all_scores(&self, k: usize) -> &'a [f64] {
        entry(&self.trajectory.scores, k, self.rows * self.positions)
    }

    /// σ of one row.
    pub(super) fn weights(&self, k: usize, row: usize) -> &'a [f64] {
        entry(
            &self.trajectory.weights,
            k * self.rows + row,
            self.positions,
        )
    }

    /// θ of one row.
    pub(super) fn prediction(&self, k: usize, row: usize) -> &'a [f64] {
        entry(
            &self.trajectory.predictions,
            k * self.rows + row,
            self.predictions,
        )
    }

    /// u. Only of losses with a β.
    pub(super) fn projections(&self, k: usize) -> &[f64] {
        entry(&self.projections, k, self.positions)
    }

    /// ‖g‖² of one row, at the recorded θ.
    pub(super) fn squared_gradient(&self, k: usize, row: usize) -> f64 {
        let prediction = side_by_side([self.prediction(k, row)]);
        let mut gradient = vec![Lanes::ZERO; self.predictions];
        Objectives::new([self.model.objective()]).gradient(&prediction, &mut gradient);
        gradient.iter().map(|Lanes([g])| g * g).sum()
    }

    /// ‖g‖ of all rows together, at the recorded θ.
    pub(super) fn gradient_norm(&self, k: usize) -> f64 {
        let squares = (0..self.rows).map(|row| self.squared_gradient(k, row));
        squares.sum::<f64>().sqrt()
    }

    /// Of the updates that led from record k − 1 (or the start) to record k.
    pub(super) fn errors(&self, k: usize) -> &Errors {
        &self.errors[k]
    }

    /// Of all updates up to record k: what `of` takes from the errors, summed.
    pub(super) fn errors_since_start(&self, k: usize, of: impl Fn(&Errors) -> f64) -> f64 {
        self.errors[..=k].iter().map(of).sum()
    }

    /// The errors of record k, if they come from rounding and what the integrator tolerates of a step, whose largest entry is taken
    /// for all.
    ///
    /// Every update rounds each parameter once, and adds a multiple of the gradient, whose entries carry the
    /// rounding of sums over p and d terms. Over an interval the multiples add up to ΔS = ∫ ‖g‖ dτ. An error of
    /// g itself matters where g has to be parallel to β, under the square loss; it does not shrink with g.
    fn estimate(&self, k: usize, tolerances: Tolerances) -> Errors {
        let (p, d) = (self.predictions as f64, self.positions as f64);
        let sum = (p + d + 8.0) * f64::EPSILON;
        let before = |column: &[f64]| if k == 0 { 0.0 } else { column[k - 1] };
        let trajectory = self.trajectory;
        let updates = match k {
            0 => trajectory.updates[0],
            k => trajectory.updates[k].saturating_sub(trajectory.updates[k - 1]),
        };
        let elapsed = trajectory.times[k] - before(&trajectory.times);
        let steps = updates as f64;
        let tolerated = |size: f64| match elapsed > 0.0 {
            // Records lie within a step at either end.
            true => (steps + 2.0) * (tolerances.absolute + tolerances.relative * size),
            false => 0.0,
        };
        let strength = (trajectory.strengths[k] - before(&trajectory.strengths)).max(0.0);

        // The larger of the two ends, of everything.
        let ends = k.saturating_sub(1)..=k;
        let over_ends = |of: &dyn Fn(usize) -> f64| ends.clone().map(of).fold(0.0, f64::max);
        let values = over_ends(&|k| largest(self.values(k)));
        let scores = over_ends(&|k| largest(self.all_scores(k)));
        let weights = over_ends(&|k| {
            let rows = (0..self.rows).map(|row| self.weights(k, row));
            rows.map(|row| row.iter().map(|w| w.abs()).sum())
                .fold(0.0, f64::max)
        });
        let columns = over_ends(&|k| self.largest_column(k));
        let slopes = |of: &dyn Fn(Vec<f64>) -> f64| {
            over_ends(&|k| {
                let rows = 0..self.rows;
                let slopes = rows.map(|row| {
                    let (scores, weights) = (self.scores(k, row), self.weights(k, row));
                    of(self.weighting.slopes(scores, weights))
                });
                slopes.fold(0.0, f64::max)
            })
        };
        let largest_slope = slopes(&|slopes| largest(&slopes));
        let all_slopes = slopes(&|slopes| slopes.iter().sum());

        let prediction = sum * values * weights;
        let (lipschitz, gradient_rounding, loss_rounding) = self.rounding(k);
        let gradient = lipschitz * prediction * p.sqrt() + gradient_rounding;
        // Only under the square loss does a parallel g depend on rounding.
        let drift = match self.model.objective() {
            Objective::Logistic { .. } => 0.0,
            _ => gradient * elapsed,
        };
        let pushed = sum * strength + drift;
        let beta: f64 = match self.model.objective() {
            Objective::Logistic { target } | Objective::Square { target } => {
                target.iter().map(|b| b.abs()).sum()
            }
            _ => 0.0,
        };
        let of_values = steps * f64::EPSILON * values + pushed * weights + tolerated(values);
        let of_scores = steps * f64::EPSILON * scores
            + pushed * largest_slope * columns * (1.0 + weights)
            + tolerated(scores);
        // What σ is applied to.
        let of_activated = match self.model.form() {
            Form::Free | Form::Rows(_) => of_scores,
            Form::Tied => d * (values * of_scores + scores * of_values),
        };
        let displacement = (self.rows as f64).sqrt()
            * (p.sqrt() * weights * of_values
                + columns * all_slopes * (1.0 + weights) * of_activated);
        let loss = trajectory.losses[k].abs();
        let strength = trajectory.strengths[k].abs();
        Errors {
            values: of_values,
            scores: of_scores,
            projections: beta * of_values + 2.0 * sum * beta * values,
            strength: (steps + 8.0) * f64::EPSILON * strength
                + gradient * elapsed
                + tolerated(strength),
            displacement,
            curved_loss: 0.5 * lipschitz * displacement * displacement,
            gradient,
            loss: (sum + 8.0 * f64::EPSILON) * loss
                + self.gradient_norm(k) * prediction * p.sqrt()
                + loss_rounding,
        }
    }

    /// Of g as a function of θ, at record k: the change of ‖g‖ per change of ‖θ‖, the rounding of ‖g‖ for an exact θ,
    /// and that of L beyond its relative one.
    fn rounding(&self, k: usize) -> (f64, f64, f64) {
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let p = self.predictions as f64;
        let g = self.gradient_norm(k);
        let sum = |n: f64| (n + 8.0) * f64::EPSILON;
        let root = self.trajectory.losses[k].abs().sqrt();
        // Of a loss that is the squared length of something that is off by `residual`.
        let of_square = |residual: f64| residual * (2.0 * root + residual);
        match self.model.objective() {
            // s = 1 / (1 + exp(m)) changes by at most s per change of m.
            Objective::Logistic { target } => (norm(target) * g, sum(p) * g, 0.0),
            Objective::Square { target } => {
                let residual = f64::EPSILON * norm(target);
                (1.0, residual, of_square(residual))
            }
            Objective::Regression { design, target } => {
                let (x, y) = (norm(design), norm(target));
                let thetas = (0..self.rows).map(|row| norm(self.prediction(k, row)));
                let residual = sum(p) * (y + x * thetas.fold(0.0, f64::max));
                let n = target.len() as f64;
                (
                    2.0 * x * x,
                    2.0 * x * residual + sum(n) * g,
                    of_square(residual),
                )
            }
            // The recorded loss has a constant of 1e-15 in its logarithm, its gradient has not.
            Objective::CrossEntropy { .. } => (1.0, sum(p), 1e-15 * p),
        }
    }

    /// The length of the longest column of V.
    pub(super) fn largest_column(&self, k: usize) -> f64 {
        let values = self.values(k);
        let square = |j: usize| {
            let column = values.iter().skip(j).step_by(self.positions);
            column.map(|v| v * v).sum::<f64>()
        };
        (0..self.positions).map(square).fold(0.0, f64::max).sqrt()
    }
}

fn entry(column: &[f64], k: usize, width: usize) -> &[f64] {
    &column[k * width..][..width]
}

/// max |x_i|.
pub(super) fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| x.abs().max(m))
}

fn check_shapes(trajectory: &Trajectory, rows: usize, p: usize, d: usize) -> Result<()> {
    let count = trajectory.times.len();
    if trajectory.updates.len() != count {
        return Err(invalid(
            "updates",
            format!(
                "{} entries; the trajectory has {count} times",
                trajectory.updates.len()
            ),
        ));
    }
    if trajectory.values.is_empty() && count > 0 {
        return Err(invalid(
            "values",
            "were not recorded; follow the run with `keep_values`, since most statements are about them",
        ));
    }
    let columns = [
        ("times", &trajectory.times, 1),
        ("losses", &trajectory.losses, 1),
        ("strengths", &trajectory.strengths, 1),
        ("scores", &trajectory.scores, rows * d),
        ("weights", &trajectory.weights, rows * d),
        ("predictions", &trajectory.predictions, rows * p),
        ("values", &trajectory.values, p * d),
    ];
    for (name, column, width) in columns {
        if column.len() != count * width {
            return Err(invalid(
                name,
                format!(
                    "{} entries; {count} records of this problem have {}",
                    column.len(),
                    count * width
                ),
            ));
        }
        check_finite(name, column)?;
    }
    if !trajectory.times.is_sorted_by(|a, b| a < b)
        || trajectory.times.first().is_some_and(|&t| t < 0.0)
    {
        return Err(invalid(
            "times",
            "must ascend from 0 or later; records out of order cannot be held against each other",
        ));
    }
    Ok(())
}
