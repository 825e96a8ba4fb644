//! The model of N replicas side by side: their predictions, their gradients, and steps along them.
//!
//! Everything here is written once for N problems, lane by lane ([`Lanes`]): one problem is N = 1. Nothing allocates
//! after [`Kernel::new`]. All of it is inlined into its callers, who choose the instruction set.

use super::dense::{multiply, multiply_transposed, subtract_outer};
use super::model::{Form, Model, Parameters};
use super::objective::{Objectives, side_by_side};
use crate::layers::attention::AttentionFunction;
use crate::layers::lanes::{Lanes, dot, keep_lanes_together};

/// Where N replicas are, or the slope of where they go: V (or U), then a, then S.
#[derive(Debug, Clone)]
pub(super) struct State<const N: usize> {
    pub(super) entries: Vec<Lanes<N>>,
    /// p · d.
    values: usize,
}

impl State<1> {
    /// One replica that was recorded: its entries, one behind the other.
    pub(super) fn recorded(model: &Model, entries: &[f64]) -> Self {
        Self {
            entries: entries.iter().map(|x| Lanes([*x])).collect(),
            values: model.predictions() * model.positions(),
        }
    }
}

impl<const N: usize> State<N> {
    /// With S = 0; all `parameters` have the shapes of `model`.
    pub(super) fn new(model: &Model, parameters: [&Parameters; N]) -> Self {
        let mut entries = side_by_side(parameters.map(|at| at.values.as_slice()));
        let values = entries.len();
        entries.extend(side_by_side(parameters.map(|at| at.scores.as_slice())));
        entries.push(Lanes::ZERO);
        debug_assert_eq!(values, model.predictions() * model.positions());
        Self { entries, values }
    }

    pub(super) fn zeros(model: &Model) -> Self {
        let values = model.predictions() * model.positions();
        let scores = model.rows() * model.positions();
        Self {
            entries: vec![Lanes::ZERO; values + scores + 1],
            values,
        }
    }

    /// V (or U) and a.
    #[inline(always)]
    fn parts(&self) -> (&[Lanes<N>], &[Lanes<N>]) {
        let (values, rest) = self.entries.split_at(self.values);
        (values, &rest[..rest.len() - 1])
    }

    #[inline(always)]
    fn parts_mut(&mut self) -> (&mut [Lanes<N>], &mut [Lanes<N>], &mut Lanes<N>) {
        let (values, rest) = self.entries.split_at_mut(self.values);
        let (scores, strength) = rest.split_at_mut(rest.len() - 1);
        (values, scores, &mut strength[0])
    }

    /// V or U of one replica.
    pub(super) fn values(&self, lane: usize) -> Vec<f64> {
        self.parts().0.iter().map(|x| x.0[lane]).collect()
    }

    /// a of one replica.
    pub(super) fn scores(&self, lane: usize) -> Vec<f64> {
        self.parts().1.iter().map(|x| x.0[lane]).collect()
    }

    /// Which entries are scores.
    pub(super) fn score_entries(&self) -> std::ops::Range<usize> {
        self.values..self.entries.len() - 1
    }

    /// Replaces one replica by another.
    pub(super) fn copy_lane(&mut self, from: usize, to: usize) {
        for entry in &mut self.entries {
            entry.0[to] = entry.0[from];
        }
    }
}

/// What one evaluation of N replicas of one shape, form, σ and kind of objective leaves behind.
#[derive(Debug, Clone)]
pub(super) struct Kernel<const N: usize> {
    positions: usize,
    predictions: usize,
    form: Form,
    function: AttentionFunction,
    objectives: Objectives<N>,
    /// Which branch of a function with a kink is meant, for every score; `None`: that in which the score is.
    pub(super) sides: Option<Vec<Lanes<N>>>,
    /// What σ is applied to in the tied form: U a.
    tied_scores: Vec<Lanes<N>>,
    /// σ, rows × d.
    pub(super) weights: Vec<Lanes<N>>,
    /// f′ / n, rows × d.
    slopes: Vec<Lanes<N>>,
    /// θ, rows × p.
    pub(super) prediction: Vec<Lanes<N>>,
    /// g = ∂L/∂θ, rows × p.
    prediction_gradient: Vec<Lanes<N>>,
    /// ∂L/∂σ = Vᵀ g of one row.
    weight_gradient: Vec<Lanes<N>>,
    /// ∂L with respect to what σ is applied to, in the tied form.
    tied_gradient: Vec<Lanes<N>>,
    /// ∂L/∂a, rows × d.
    score_gradient: Vec<Lanes<N>>,
}

impl<const N: usize> Kernel<N> {
    /// The models must be alike but for the numbers of their objectives.
    pub(super) fn new(models: [&Model; N]) -> Self {
        let first = models[0];
        let (p, d, rows) = (first.predictions(), first.positions(), first.rows());
        let zeros = |count| vec![Lanes::ZERO; count];
        let tied = if first.form() == Form::Tied { d } else { 0 };
        Self {
            positions: d,
            predictions: p,
            form: first.form(),
            function: first.sigma().function(),
            objectives: Objectives::new(models.map(Model::objective)),
            sides: None,
            tied_scores: zeros(tied),
            weights: zeros(rows * d),
            slopes: zeros(rows * d),
            prediction: zeros(rows * p),
            prediction_gradient: zeros(rows * p),
            weight_gradient: zeros(d),
            tied_gradient: zeros(tied),
            score_gradient: zeros(rows * d),
        }
    }

    /// Weights and predictions.
    #[inline(always)]
    pub(super) fn forward(&mut self, at: &State<N>) {
        let (values, scores) = at.parts();
        let scores = match self.form {
            Form::Tied => {
                multiply(values, scores, &mut self.tied_scores);
                &self.tied_scores
            }
            Form::Free | Form::Rows(_) => scores,
        };
        let (d, p) = (self.positions, self.predictions);
        let rows = self.weights.chunks_exact_mut(d);
        let rows = rows.zip(self.slopes.chunks_exact_mut(d));
        let rows = rows.zip(self.prediction.chunks_exact_mut(p));
        let rows = rows.zip(scores.chunks_exact(d)).enumerate();
        for (row, (((weights, slopes), prediction), scores)) in rows {
            let sides = self.sides.as_ref().map(|sides| &sides[row * d..][..d]);
            self.function.row(scores, sides, weights, slopes);
            multiply(values, weights, prediction);
        }
    }

    /// The loss of the last [`Self::forward`].
    pub(super) fn loss(&mut self) -> Lanes<N> {
        let mut sum = Lanes::ZERO;
        for prediction in self.prediction.chunks_exact(self.predictions) {
            sum += self.objectives.value(prediction);
        }
        sum
    }

    /// The gradients at the last [`Self::forward`], which was at the same place.
    #[inline(always)]
    pub(super) fn backward(&mut self, at: &State<N>) {
        let (values, _) = at.parts();
        let (d, p) = (self.positions, self.predictions);
        let rows = self.weights.chunks_exact(d);
        let rows = rows.zip(self.slopes.chunks_exact(d));
        let rows = rows.zip(self.prediction.chunks_exact(p));
        let rows = rows.zip(self.prediction_gradient.chunks_exact_mut(p));
        let rows = rows.zip(self.score_gradient.chunks_exact_mut(d));
        for ((((weights, slopes), prediction), g), score_gradient) in rows {
            self.objectives.gradient(prediction, g);
            multiply_transposed(values, g, &mut self.weight_gradient);
            match self.form {
                Form::Free | Form::Rows(_) => {
                    let x = &self.weight_gradient;
                    self.function.pull_back(weights, slopes, x, score_gradient);
                }
                Form::Tied => {
                    let (x, out) = (&self.weight_gradient, &mut self.tied_gradient);
                    self.function.pull_back(weights, slopes, x, out);
                    multiply_transposed(values, out, score_gradient);
                }
            }
        }
    }

    /// ‖∂L/∂θ‖ of the last [`Self::backward`], over all rows.
    #[inline(always)]
    fn gradient_norm(&self) -> Lanes<N> {
        dot(&self.prediction_gradient, &self.prediction_gradient).sqrt()
    }

    /// `at −= rate · ∂L` after [`Self::backward`] at the same place, and S grows by the rate times its integrand.
    #[inline(always)]
    pub(super) fn descend(&self, rate: Lanes<N>, at: &mut State<N>) {
        let (values, scores, strength) = at.parts_mut();
        self.subtract_values(rate, scores, values);
        for (score, gradient) in scores.iter_mut().zip(&self.score_gradient) {
            keep_lanes_together::<N>();
            *score -= rate * *gradient;
        }
        *strength += rate * self.gradient_norm();
    }

    /// Writes where the flow goes from `at`: −∂L/∂V, −∂L/∂a and ‖∂L/∂θ‖.
    #[inline(always)]
    pub(super) fn slope(&mut self, at: &State<N>, out: &mut State<N>) {
        self.forward(at);
        self.backward(at);
        let (_, tied_input) = at.parts();
        let (values, scores, strength) = out.parts_mut();
        values.fill(Lanes::ZERO);
        self.subtract_values(Lanes::ONE, tied_input, values);
        for (slope, gradient) in scores.iter_mut().zip(&self.score_gradient) {
            keep_lanes_together::<N>();
            *slope = -*gradient;
        }
        *strength = self.gradient_norm();
    }

    /// `values −= rate · ∂L/∂V`; `scores` are a.
    #[inline(always)]
    fn subtract_values(&self, rate: Lanes<N>, scores: &[Lanes<N>], values: &mut [Lanes<N>]) {
        let gradients = self.prediction_gradient.chunks_exact(self.predictions);
        for (g, weights) in gradients.zip(self.weights.chunks_exact(self.positions)) {
            subtract_outer(values, rate, g, weights);
        }
        if self.form == Form::Tied {
            subtract_outer(values, rate, &self.tied_gradient, scores);
        }
    }

    /// Which way each score of |a| would be driven away from 0 at `at`: above 0 outwards, below 0 back. Rows × d.
    pub(super) fn outward(&mut self, at: &State<N>) -> &[Lanes<N>] {
        self.forward(at);
        // |a_i| moves by −f′²/n (x_i − σᵀx), of which only the sign matters.
        self.slopes.fill(Lanes::ONE);
        self.backward(at);
        for gradient in &mut self.score_gradient {
            *gradient = -*gradient;
        }
        &self.score_gradient
    }

    /// Holds every score that σ sees in the branch of its kink in which it is now, until this is called again.
    pub(super) fn hold_sides(&mut self, at: &State<N>) {
        let activation = self.function.activation();
        if activation.has_kink() {
            let sides = at.parts().1.iter();
            let sides = sides.map(|score| score.map(|score| activation.side(score)));
            self.sides = Some(sides.collect());
        }
    }
}
