//! A loss of `V σ(a)` and its gradients.

use super::dense::{dot, multiply, multiply_transposed, subtract_outer};
use super::normalization::Normalization;
use super::objective::{Objective, check_finite, invalid};
use crate::Result;

/// How values and scores hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `θ = V σ(a)`: values and scores are learned apart.
    Free,
    /// `θ = U σ(U a)`: one square matrix makes both the scores and the prediction.
    Tied,
}

/// `L(θ)` with `θ = V σ(a)`, or `θ = U σ(U a)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    objective: Objective,
    normalization: Normalization,
    form: Form,
    predictions: usize,
    positions: usize,
}

/// Where a model is: V (or U), p × d, row-major, and a, d entries; or a gradient of the same shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// V or U, p × d, row-major.
    pub values: Vec<f64>,
    /// a, d entries.
    pub scores: Vec<f64>,
}

impl Model {
    /// A model of `positions` scores (d); the objective says how many entries a prediction has (p).
    ///
    /// Fails if there are no scores, if the objective contradicts itself, or if a tied form is not square.
    pub fn new(
        objective: Objective,
        normalization: Normalization,
        form: Form,
        positions: usize,
    ) -> Result<Model> {
        let predictions = objective.predictions()?;
        if positions == 0 {
            return Err(invalid("scores", "there are none; give at least one"));
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
            normalization,
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
    pub fn normalization(&self) -> Normalization {
        self.normalization
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

    /// The loss at `parameters`. Fails if they have other shapes than the model, or hold infinities or NaN.
    pub fn loss(&self, parameters: &Parameters) -> Result<f64> {
        self.check(parameters)?;
        let mut pass = Pass::new(self);
        pass.forward(self, &parameters.values, &parameters.scores);
        Ok(pass.loss(self))
    }

    /// ∂L/∂V and ∂L/∂a at `parameters`, by the same closed forms that [`descent`](super::descent) follows.
    /// Fails as [`Self::loss`] does.
    pub fn gradient(&self, parameters: &Parameters) -> Result<Parameters> {
        self.check(parameters)?;
        let mut pass = Pass::new(self);
        pass.forward(self, &parameters.values, &parameters.scores);
        pass.backward(self, &parameters.values, &parameters.scores);
        let mut gradient = Parameters {
            values: vec![0.0; parameters.values.len()],
            scores: vec![0.0; parameters.scores.len()],
        };
        // 0 − (−1)·x is x, exactly. The scores that count for the tied form are those of `parameters`.
        pass.subtract_values(self, -1.0, &parameters.scores, &mut gradient.values);
        pass.subtract_scores(-1.0, &mut gradient.scores);
        Ok(gradient)
    }

    /// u = Vᵀβ (Uᵀβ in the tied form), d entries, of the losses that have a β: logistic and square.
    /// Fails if `values` is not p × d.
    pub fn projections(&self, values: &[f64]) -> Result<Option<Vec<f64>>> {
        self.check_values(values)?;
        Ok(match &self.objective {
            Objective::Logistic { target } | Objective::Square { target } => {
                let mut projections = vec![0.0; self.positions];
                multiply_transposed(values, target, &mut projections);
                Some(projections)
            }
            Objective::Regression { .. } | Objective::CrossEntropy { .. } => None,
        })
    }

    /// Whether `parameters` have the model's shapes and are finite.
    pub(super) fn check(&self, parameters: &Parameters) -> Result<()> {
        let d = self.positions;
        if parameters.scores.len() != d {
            let found = parameters.scores.len();
            return Err(invalid(
                "scores",
                format!("{found} entries; the model has {d} scores"),
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

/// What one evaluation of a model leaves behind. Made once, so that a step allocates nothing.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    /// What σ is applied to in the tied form: U a.
    tied_scores: Vec<f64>,
    /// σ, d entries.
    pub(super) weights: Vec<f64>,
    /// n of σ.
    denominator: f64,
    /// θ, p entries.
    pub(super) prediction: Vec<f64>,
    /// g = ∂L/∂θ, p entries.
    prediction_gradient: Vec<f64>,
    /// ∂L/∂σ = Vᵀ g, d entries.
    weight_gradient: Vec<f64>,
    /// ∂L with respect to what σ is applied to, in the tied form: d entries.
    tied_gradient: Vec<f64>,
    /// ∂L/∂a, d entries.
    score_gradient: Vec<f64>,
    /// For the objective.
    scratch: Vec<f64>,
}

impl Pass {
    pub(super) fn new(model: &Model) -> Pass {
        let (p, d) = (model.predictions, model.positions);
        let tied = if model.form == Form::Tied { d } else { 0 };
        Pass {
            tied_scores: vec![0.0; tied],
            weights: vec![0.0; d],
            denominator: 1.0,
            prediction: vec![0.0; p],
            prediction_gradient: vec![0.0; p],
            weight_gradient: vec![0.0; d],
            tied_gradient: vec![0.0; tied],
            score_gradient: vec![0.0; d],
            scratch: vec![0.0; model.objective.scratch()],
        }
    }

    /// Weights and prediction.
    pub(super) fn forward(&mut self, model: &Model, values: &[f64], scores: &[f64]) {
        let scores = match model.form {
            Form::Free => scores,
            Form::Tied => {
                multiply(values, scores, &mut self.tied_scores);
                &self.tied_scores
            }
        };
        self.denominator = model.normalization.apply(scores, &mut self.weights);
        multiply(values, &self.weights, &mut self.prediction);
    }

    /// The loss of the last [`Self::forward`].
    pub(super) fn loss(&mut self, model: &Model) -> f64 {
        model.objective.value(&self.prediction, &mut self.scratch)
    }

    /// The gradients at the last [`Self::forward`], which was at the same parameters.
    pub(super) fn backward(&mut self, model: &Model, values: &[f64], scores: &[f64]) {
        model.objective.gradient(
            &self.prediction,
            &mut self.scratch,
            &mut self.prediction_gradient,
        );
        multiply_transposed(values, &self.prediction_gradient, &mut self.weight_gradient);
        let (sigma, n, upstream) = (model.normalization, self.denominator, &self.weight_gradient);
        match model.form {
            Form::Free => {
                sigma.pull_back(scores, &self.weights, n, upstream, &mut self.score_gradient);
            }
            Form::Tied => {
                let scores = &self.tied_scores;
                sigma.pull_back(scores, &self.weights, n, upstream, &mut self.tied_gradient);
                multiply_transposed(values, &self.tied_gradient, &mut self.score_gradient);
            }
        }
    }

    /// ‖∂L/∂θ‖ of the last [`Self::backward`].
    pub(super) fn gradient_norm(&self) -> f64 {
        dot(&self.prediction_gradient, &self.prediction_gradient).sqrt()
    }

    /// `values −= rate · ∂L/∂V`; `scores` are those of the last [`Self::backward`].
    pub(super) fn subtract_values(
        &self,
        model: &Model,
        rate: f64,
        scores: &[f64],
        values: &mut [f64],
    ) {
        subtract_outer(values, rate, &self.prediction_gradient, &self.weights);
        if model.form == Form::Tied {
            subtract_outer(values, rate, &self.tied_gradient, scores);
        }
    }

    /// `scores −= rate · ∂L/∂a`.
    pub(super) fn subtract_scores(&self, rate: f64, scores: &mut [f64]) {
        for (score, gradient) in scores.iter_mut().zip(&self.score_gradient) {
            *score -= rate * gradient;
        }
    }
}
