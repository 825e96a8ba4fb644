//! What a prediction is held against: losses `L(θ)` and their gradients `g = ∂L/∂θ`.

use super::dense::{dot, multiply, multiply_transposed};
use super::normalization::{logistic, softmax};
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

    /// Entries of the scratch space that [`Self::value`] and [`Self::gradient`] need.
    pub(super) fn scratch(&self) -> usize {
        match self {
            Objective::Regression { .. } | Objective::CrossEntropy { .. } => self.target().len(),
            Objective::Logistic { .. } | Objective::Square { .. } => 0,
        }
    }

    /// L(θ).
    pub(super) fn value(&self, prediction: &[f64], scratch: &mut [f64]) -> f64 {
        match self {
            Objective::Logistic { target } => {
                let margin = dot(target, prediction);
                // log(1 + exp(−m)), not exp of a large number.
                (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
            }
            Objective::Square { target } => {
                let differences = prediction.iter().zip(target).map(|(x, y)| x - y);
                0.5 * differences.map(|r| r * r).sum::<f64>()
            }
            Objective::Regression { design, target } => {
                residuals(design, target, prediction, scratch);
                scratch.iter().map(|r| r * r).sum()
            }
            Objective::CrossEntropy { target } => {
                softmax(prediction, scratch);
                let terms = target.iter().zip(scratch);
                -terms.map(|(p, q)| p * (*q + EPSILON).ln()).sum::<f64>()
            }
        }
    }

    /// Writes ∂L/∂θ, p entries, to `out`.
    pub(super) fn gradient(&self, prediction: &[f64], scratch: &mut [f64], out: &mut [f64]) {
        match self {
            Objective::Logistic { target } => {
                let s = logistic(-dot(target, prediction));
                for (out, beta) in out.iter_mut().zip(target) {
                    *out = -s * beta;
                }
            }
            Objective::Square { target } => {
                for (out, (x, y)) in out.iter_mut().zip(prediction.iter().zip(target)) {
                    *out = x - y;
                }
            }
            Objective::Regression { design, target } => {
                residuals(design, target, prediction, scratch);
                multiply_transposed(design, scratch, out);
                for out in out {
                    *out *= -2.0;
                }
            }
            Objective::CrossEntropy { target } => {
                softmax(prediction, out);
                for (out, p) in out.iter_mut().zip(target) {
                    *out -= p;
                }
            }
        }
    }
}

/// `out = y − X θ`.
fn residuals(design: &[f64], target: &[f64], prediction: &[f64], out: &mut [f64]) {
    multiply(design, prediction, out);
    for (out, y) in out.iter_mut().zip(target) {
        *out = y - *out;
    }
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
