//! What a prediction is held against: losses `L(θ)` and their gradients `g = ∂L/∂θ`.

use super::dense::{multiply, multiply_transposed};
use crate::layers::attention::softmax;
use crate::layers::lanes::{Lanes, dot, exp, keep_lanes_together, sigmoid};
use crate::{Error, Result};

/// What the notebook adds to probabilities under the logarithm. Its gradient leaves it out, as ours does.
const EPSILON: f64 = 1e-15;
/// How far the sum of a target distribution may be from 1: far above rounding, far below a mistake.
const SUM_TOLERANCE: f64 = 1e-9;

/// A loss of the prediction `θ` of p entries.
#[derive(Debug, Clone, PartialEq)]
pub enum Objective {
    /// `log(1 + exp(−βᵀθ))`.
    Logistic {
        /// β, p entries.
        target: Vec<f64>,
    },
    /// `½ ‖θ − β‖²`.
    Square {
        /// β, p entries.
        target: Vec<f64>,
    },
    /// `‖y − X θ‖²`. There is no ½: descent at rate η is near the flow of half this loss at time 2ηk.
    Regression {
        /// X, n × p, row-major.
        design: Vec<f64>,
        /// y, n entries.
        target: Vec<f64>,
    },
    /// `−Σ p*_i log(softmax(θ)_i + 1e-15)`: the KL divergence from the target distribution, plus its entropy.
    CrossEntropy {
        /// p*, p entries that sum to 1.
        target: Vec<f64>,
    },
}

impl Objective {
    /// Lower-case name, as in tables and arguments.
    pub fn name(&self) -> &'static str {
        match self {
            Objective::Logistic { .. } => "logistic",
            Objective::Square { .. } => "square",
            Objective::Regression { .. } => "regression",
            Objective::CrossEntropy { .. } => "kl",
        }
    }

    /// β, y or p*.
    pub fn target(&self) -> &[f64] {
        match self {
            Objective::Logistic { target }
            | Objective::Square { target }
            | Objective::Regression { target, .. }
            | Objective::CrossEntropy { target } => target,
        }
    }

    /// p, the entries of the prediction.
    pub(super) fn predictions(&self) -> Result<usize> {
        let rows = self.target().len();
        if rows == 0 {
            return Err(invalid("target", "has no entries; give at least one"));
        }
        check_finite("target", self.target())?;
        match self {
            Objective::Regression { design, .. } => {
                check_finite("design", design)?;
                if design.is_empty() || design.len() % rows != 0 {
                    return Err(invalid(
                        "design",
                        format!(
                            "its {} entries do not make {rows} rows, one for each entry of the target",
                            design.len()
                        ),
                    ));
                }
                Ok(design.len() / rows)
            }
            Objective::CrossEntropy { target } => {
                let sum: f64 = target.iter().sum();
                if target.iter().any(|&p| p < 0.0) || (sum - 1.0).abs() > SUM_TOLERANCE {
                    return Err(invalid(
                        "target",
                        format!(
                            "is no distribution (its sum is {sum}); give numbers ≥ 0 that sum to 1"
                        ),
                    ));
                }
                Ok(rows)
            }
            Objective::Logistic { .. } | Objective::Square { .. } => Ok(rows),
        }
    }

    /// X, row-major; empty for what has none.
    pub(super) fn design(&self) -> &[f64] {
        match self {
            Objective::Regression { design, .. } => design,
            _ => &[],
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Objective::Logistic { .. } => Kind::Logistic,
            Objective::Square { .. } => Kind::Square,
            Objective::Regression { .. } => Kind::Regression,
            Objective::CrossEntropy { .. } => Kind::CrossEntropy,
        }
    }
}

/// An objective without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Logistic,
    Square,
    Regression,
    CrossEntropy,
}

/// The objectives of N problems side by side, all of one kind.
#[derive(Debug, Clone)]
pub(super) struct Objectives<const N: usize> {
    kind: Kind,
    /// β, y or p*.
    target: Vec<Lanes<N>>,
    /// X, n × p.
    design: Vec<Lanes<N>>,
    /// Residuals or probabilities: as long as `target`.
    scratch: Vec<Lanes<N>>,
}

impl<const N: usize> Objectives<N> {
    /// All must be of one kind and have the same shapes.
    pub(super) fn new(objectives: [&Objective; N]) -> Self {
        let target = side_by_side(objectives.map(Objective::target));
        Self {
            kind: objectives[0].kind(),
            design: side_by_side(objectives.map(Objective::design)),
            scratch: vec![Lanes::ZERO; target.len()],
            target,
        }
    }

    /// L(θ).
    pub(super) fn value(&mut self, prediction: &[Lanes<N>]) -> Lanes<N> {
        let Self {
            kind,
            target,
            design,
            scratch,
        } = self;
        let mut sum = Lanes::ZERO;
        match kind {
            Kind::Logistic => {
                // log(1 + exp(−m)), not exp of a large number.
                sum = dot(target, prediction).map(|m| (-m).max(0.0) + exp(-m.abs()).ln_1p());
            }
            Kind::Square => {
                for (x, y) in prediction.iter().zip(target) {
                    sum += (*x - *y) * (*x - *y);
                }
                sum = Lanes::splat(0.5) * sum;
            }
            Kind::Regression => {
                residuals(design, target, prediction, scratch);
                for r in scratch {
                    sum += *r * *r;
                }
            }
            Kind::CrossEntropy => {
                softmax(prediction, scratch);
                for (p, q) in target.iter().zip(scratch) {
                    sum -= *p * q.map(|q| (q + EPSILON).ln());
                }
            }
        }
        sum
    }

    /// Writes ∂L/∂θ, p entries, to `out`.
    #[inline(always)]
    pub(super) fn gradient(&mut self, prediction: &[Lanes<N>], out: &mut [Lanes<N>]) {
        let Self {
            kind,
            target,
            design,
            scratch,
        } = self;
        match kind {
            Kind::Logistic => {
                let s = dot(target, prediction).map(|m| sigmoid(-m));
                for (out, beta) in out.iter_mut().zip(target) {
                    keep_lanes_together::<N>();
                    *out = -s * *beta;
                }
            }
            Kind::Square => {
                for (out, (x, y)) in out.iter_mut().zip(prediction.iter().zip(target)) {
                    keep_lanes_together::<N>();
                    *out = *x - *y;
                }
            }
            Kind::Regression => {
                residuals(design, target, prediction, scratch);
                multiply_transposed(design, scratch, out);
                for out in out {
                    keep_lanes_together::<N>();
                    *out = Lanes::splat(-2.0) * *out;
                }
            }
            Kind::CrossEntropy => {
                softmax(prediction, out);
                for (out, p) in out.iter_mut().zip(target) {
                    keep_lanes_together::<N>();
                    *out -= *p;
                }
            }
        }
    }
}

/// `out = y − X θ`.
#[inline(always)]
fn residuals<const N: usize>(
    design: &[Lanes<N>],
    target: &[Lanes<N>],
    prediction: &[Lanes<N>],
    out: &mut [Lanes<N>],
) {
    multiply(design, prediction, out);
    for (out, y) in out.iter_mut().zip(target) {
        keep_lanes_together::<N>();
        *out = *y - *out;
    }
}

/// The same entry of every part as the lanes of one number.
pub(super) fn side_by_side<const N: usize>(parts: [&[f64]; N]) -> Vec<Lanes<N>> {
    (0..parts[0].len())
        .map(|at| Lanes(parts.map(|part| part[at])))
        .collect()
}

/// What makes a problem impossible.
pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Error {
    Error::Flow {
        field,
        message: message.into(),
    }
}

/// An error that names the first entry that is infinite or not a number.
pub(super) fn check_finite(field: &'static str, entries: &[f64]) -> Result<()> {
    match entries.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(invalid(
            field,
            format!(
                "entry {at} is {}; all entries must be finite numbers",
                entries[at]
            ),
        )),
        None => Ok(()),
    }
}
