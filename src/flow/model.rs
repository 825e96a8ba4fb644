//! A loss of `V σ(a)` and its gradients.

use super::kernel::{Kernel, State};
use super::objective::{Objective, check_finite, invalid};
use super::sigma::Sigma;
use crate::Result;

/// How values and scores hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `θ = V σ(a)`: values and scores are learned apart.
    Free,
    /// A row a_q of scores for each of so many queries, one V for all, and one target that every query is to fit:
    /// `Σ_q L(V σ(a_q))`, the attention matrix of the paper's Section 4.1.
    Rows(usize),
    /// `θ = U σ(U a)`: one square matrix makes both the scores and the prediction.
    Tied,
}

/// `L(θ)` with `θ = V σ(a)`, or `θ = U σ(U a)`; or the sum over several rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    objective: Objective,
    sigma: Sigma,
    form: Form,
    predictions: usize,
    positions: usize,
}

/// Where a model is: V (or U), p × d, row-major, and a, rows × d; or a gradient of the same shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// V or U, p × d, row-major.
    pub values: Vec<f64>,
    /// a, d entries; rows × d where there are several rows.
    pub scores: Vec<f64>,
}

impl Model {
    /// A model of `positions` scores (d); the objective says how many entries a prediction has (p).
    ///
    /// Fails if there are no scores, if the objective contradicts itself, or if a tied form is not square.
    pub fn new(objective: Objective, sigma: Sigma, form: Form, positions: usize) -> Result<Model> {
        let predictions = objective.predictions()?;
        if positions == 0 {
            return Err(invalid("scores", "there are none; give at least one"));
        }
        if let Form::Rows(rows) = form
            && (rows == 0 || rows.checked_mul(positions).is_none())
        {
            return Err(invalid(
                "rows",
                format!("{rows} rows of {positions} scores cannot be held; give at least one"),
            ));
        }
        if form == Form::Tied && predictions != positions {
            return Err(invalid(
                "form",
                format!(
                    "the tied form needs as many scores as the prediction has entries, not {positions} and {predictions}"
                ),
            ));
        }
        Ok(Model {
            objective,
            sigma,
            form,
            predictions,
            positions,
        })
    }

    /// L.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// σ.
    pub fn sigma(&self) -> Sigma {
        self.sigma
    }

    /// Whether values and scores are learned apart.
    pub fn form(&self) -> Form {
        self.form
    }

    /// p, the entries of a prediction.
    pub fn predictions(&self) -> usize {
        self.predictions
    }

    /// d, the number of scores.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Rows of scores: 1, or the number of queries.
    pub fn rows(&self) -> usize {
        match self.form {
            Form::Rows(rows) => rows,
            Form::Free | Form::Tied => 1,
        }
    }

    /// The loss at `parameters`. Fails if they have other shapes than the model, or hold infinities or NaN.
    pub fn loss(&self, parameters: &Parameters) -> Result<f64> {
        self.check(parameters)?;
        let (mut kernel, state) = self.alone(parameters);
        kernel.forward(&state);
        let [loss] = kernel.loss().0;
        Ok(loss)
    }

    /// ∂L/∂V and ∂L/∂a at `parameters`, by the same closed forms that both integrators follow.
    /// Fails as [`Self::loss`] does.
    pub fn gradient(&self, parameters: &Parameters) -> Result<Parameters> {
        self.check(parameters)?;
        let (mut kernel, state) = self.alone(parameters);
        let mut slope = State::zeros(self);
        kernel.slope(&state, &mut slope);
        let negated = |entries: &[f64]| entries.iter().map(|x| 0.0 - x).collect();
        Ok(Parameters {
            values: negated(&slope.values(0)),
            scores: negated(&slope.scores(0)),
        })
    }

    /// Whether both differ in nothing but the numbers of their objectives.
    pub(super) fn is_like(&self, other: &Model) -> bool {
        let shape = |model: &Model| {
            let target = model.objective.target().len();
            (model.predictions, model.positions, model.form, target)
        };
        shape(self) == shape(other)
            && self.sigma == other.sigma
            && self.objective.kind() == other.objective.kind()
    }

    fn alone(&self, parameters: &Parameters) -> (Kernel<1>, State<1>) {
        (Kernel::new([self]), State::new(self, [parameters]))
    }

    /// u = Vᵀβ (Uᵀβ in the tied form), d entries, of the losses that have a β: logistic and square.
    /// Fails if `values` is not p × d.
    pub fn projections(&self, values: &[f64]) -> Result<Option<Vec<f64>>> {
        self.check_values(values)?;
        Ok(match &self.objective {
            Objective::Logistic { target } | Objective::Square { target } => {
                let mut projections = vec![0.0; self.positions];
                for (beta, row) in target.iter().zip(values.chunks_exact(self.positions)) {
                    for (projection, value) in projections.iter_mut().zip(row) {
                        *projection += beta * value;
                    }
                }
                Some(projections)
            }
            Objective::Regression { .. } | Objective::CrossEntropy { .. } => None,
        })
    }

    /// Whether `parameters` have the model's shapes and are finite.
    pub(super) fn check(&self, parameters: &Parameters) -> Result<()> {
        let (d, rows) = (self.positions, self.rows());
        if parameters.scores.len() != rows * d {
            let found = parameters.scores.len();
            return Err(invalid(
                "scores",
                format!("{found} entries; the model has {rows} × {d} scores"),
            ));
        }
        self.check_values(&parameters.values)?;
        check_finite("values", &parameters.values)?;
        check_finite("scores", &parameters.scores)
    }

    fn check_values(&self, values: &[f64]) -> Result<()> {
        let (p, d) = (self.predictions, self.positions);
        if p.checked_mul(d) != Some(values.len()) {
            let found = values.len();
            return Err(invalid(
                "values",
                format!(
                    "{found} entries; a prediction of {p} entries and {d} scores need {p} × {d}"
                ),
            ));
        }
        Ok(())
    }
}
