//! A model and where it starts: given, or drawn as the paper's notebook draws it.
//!
//! The notebook seeds NumPy's legacy generator once and draws everything from it, so the order of the draws is
//! part of a problem. Each function below states its own; `randn(m, n)` is filled row by row.

use super::dense::dot_product as dot;
use super::model::{Form, Model, Parameters};
use super::objective::{Objective, invalid};
use super::sigma::Sigma;
use super::svd;
use crate::Result;
use crate::layers::attention::softmax;
use crate::layers::lanes::Lanes;
use crate::random::NumpyRandom;

/// A model and its parameters before the first update.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    model: Model,
    start: Parameters,
}

impl Problem {
    /// Fails if `start` has other shapes than the model, or holds infinities or NaN.
    pub fn new(model: Model, start: Parameters) -> Result<Problem> {
        model.check(&start)?;
        Ok(Problem { model, start })
    }

    /// What is followed.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// V (or U) and a before the first update.
    pub fn start(&self) -> &Parameters {
        &self.start
    }
}

/// The shape of V.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// p: entries of a prediction.
    pub predictions: usize,
    /// d: scores.
    pub positions: usize,
}

impl Dimensions {
    /// As many scores as entries of a prediction.
    pub const fn square(n: usize) -> Dimensions {
        Dimensions {
            predictions: n,
            positions: n,
        }
    }
}

/// What is the same for every way of drawing a problem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Of NumPy's legacy generator.
    pub seed: u32,
    /// Shape of V.
    pub dimensions: Dimensions,
    /// σ.
    pub sigma: Sigma,
    /// Values are `value_scale · randn`.
    pub value_scale: f64,
    /// Scores are `score_mean + score_scale · randn`.
    pub score_mean: f64,
    /// See `score_mean`.
    pub score_scale: f64,
}

/// The two losses that the notebook's comparison of normalisations uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// [`Objective::Logistic`].
    Logistic,
    /// [`Objective::Square`].
    Square,
}

impl Draw {
    /// Logistic loss. Seed; V = randn(p, d), a = randn(d), β = randn(p), scaled to length 1.
    pub fn logistic(&self) -> Result<Problem> {
        let mut random = self.random()?;
        let (values, scores) = (self.values(&mut random), self.scores(&mut random));
        let target = self.unit_target(&mut random);
        self.problem(Objective::Logistic { target }, Form::Free, values, scores)
    }

    /// Logistic loss of several rows of scores. Seed; V = randn(p, d), A = randn(rows, d), β = randn(p), scaled to
    /// length 1: [`Self::logistic`] for one row.
    pub fn rows(&self, rows: usize) -> Result<Problem> {
        let mut random = self.random()?;
        if rows == 0 || rows.checked_mul(self.dimensions.positions).is_none() {
            return Err(invalid(
                "rows",
                format!(
                    "{rows} rows of scores cannot be drawn; give at least one, and not too many"
                ),
            ));
        }
        let values = self.values(&mut random);
        let scores = (0..rows).flat_map(|_| self.scores(&mut random)).collect();
        let target = self.unit_target(&mut random);
        self.problem(
            Objective::Logistic { target },
            Form::Rows(rows),
            values,
            scores,
        )
    }

    /// Either loss, for the comparison of normalisations. Seed; β = randn(p), scaled to length 1. The same seed
    /// again; V = randn(p, d), a = randn(d).
    pub fn compared(&self, loss: Loss) -> Result<Problem> {
        let target = self.unit_target(&mut self.random()?);
        let mut random = self.random()?;
        let (values, scores) = (self.values(&mut random), self.scores(&mut random));
        let objective = match loss {
            Loss::Logistic => Objective::Logistic { target },
            Loss::Square => Objective::Square { target },
        };
        self.problem(objective, Form::Free, values, scores)
    }

    /// Logistic loss of the tied form. Drawn as [`Self::compared`], but the drawn values are dropped:
    /// U is `value_scale` times the identity.
    pub fn tied(&self) -> Result<Problem> {
        let target = self.unit_target(&mut self.random()?);
        let mut random = self.random()?;
        let mut values = self.values(&mut random);
        let scores = self.scores(&mut random);
        for (i, row) in values.chunks_exact_mut(scores.len()).enumerate() {
            row.fill(0.0);
            if let Some(diagonal) = row.get_mut(i) {
                *diagonal = self.value_scale;
            }
        }
        self.problem(Objective::Logistic { target }, Form::Tied, values, scores)
    }

    /// Regression. Seed; V = randn(p, d), a = randn(d), X = randn(samples, p), y = randn(samples). The singular
    /// values of X are replaced by equally spaced ones from 1 to 1 / `condition_number`; its singular vectors stay.
    /// Fails for a condition number above 1 where there is one singular value only.
    pub fn regression(&self, samples: usize, condition_number: f64) -> Result<Problem> {
        if !(condition_number >= 1.0 && condition_number.is_finite()) {
            return Err(invalid(
                "condition number",
                format!(
                    "is {condition_number}; the ratio of the largest to the smallest singular value is at least 1"
                ),
            ));
        }
        let p = self.dimensions.predictions;
        if samples == 0 || samples.checked_mul(p).is_none() {
            return Err(invalid(
                "samples",
                format!(
                    "{samples} rows of {p} entries cannot be drawn; give at least one, and not too many"
                ),
            ));
        }
        if samples.min(p) == 1 && condition_number > 1.0 {
            return Err(invalid(
                "condition number",
                format!(
                    "is {condition_number}, but a design of {samples} × {p} has one singular value; take condition number 1, or more samples and predictions"
                ),
            ));
        }
        let mut random = self.random()?;
        let (values, scores) = (self.values(&mut random), self.scores(&mut random));
        let mut design: Vec<f64> = (0..samples * p).map(|_| random.randn()).collect();
        let triples = svd::decompose(&design, samples, p).ok_or_else(|| {
            invalid(
                "design",
                "the drawn matrix is singular; take another seed".to_owned(),
            )
        })?;
        design.fill(0.0);
        for (k, triple) in triples.iter().enumerate() {
            let value = spaced(1.0, 1.0 / condition_number, k, triples.len());
            for (row, left) in design.chunks_exact_mut(p).zip(&triple.left) {
                for (entry, right) in row.iter_mut().zip(&triple.right) {
                    *entry += left * value * right;
                }
            }
        }
        let target = (0..samples).map(|_| random.randn()).collect();
        let objective = Objective::Regression { design, target };
        self.problem(objective, Form::Free, values, scores)
    }

    /// Cross-entropy. Seed; V = randn(d, p), a = randn(d), p* = softmax(10 · rand(p)). The notebook keeps one *row*
    /// of values per score, so its V is the transpose of ours.
    pub fn cross_entropy(&self) -> Result<Problem> {
        let Dimensions {
            predictions: p,
            positions: d,
        } = self.dimensions;
        let mut random = self.random()?;
        let drawn = self.values(&mut random);
        let values = (0..p * d).map(|at| drawn[at % d * p + at / d]).collect();
        let scores = self.scores(&mut random);
        let logits: Vec<_> = (0..p).map(|_| Lanes([10.0 * random.rand()])).collect();
        let mut target = vec![Lanes::<1>::ZERO; p];
        softmax(&logits, &mut target);
        let target = target.into_iter().map(|x| x.0[0]).collect();
        let objective = Objective::CrossEntropy { target };
        self.problem(objective, Form::Free, values, scores)
    }

    /// A generator with nothing drawn, once the shapes are known to be possible.
    fn random(&self) -> Result<NumpyRandom> {
        let Dimensions {
            predictions: p,
            positions: d,
        } = self.dimensions;
        match p.checked_mul(d) {
            Some(1..) => Ok(NumpyRandom::new(self.seed)),
            _ => Err(invalid(
                "dimensions",
                format!(
                    "{p} × {d} values cannot be drawn; both must be at least 1, and not too large"
                ),
            )),
        }
    }

    fn values(&self, random: &mut NumpyRandom) -> Vec<f64> {
        let count = self.dimensions.predictions * self.dimensions.positions;
        (0..count)
            .map(|_| self.value_scale * random.randn())
            .collect()
    }

    fn scores(&self, random: &mut NumpyRandom) -> Vec<f64> {
        (0..self.dimensions.positions)
            .map(|_| self.score_mean + self.score_scale * random.randn())
            .collect()
    }

    fn unit_target(&self, random: &mut NumpyRandom) -> Vec<f64> {
        let mut target: Vec<f64> = (0..self.dimensions.predictions)
            .map(|_| random.randn())
            .collect();
        let length = dot(&target, &target).sqrt();
        target.iter_mut().for_each(|x| *x /= length);
        target
    }

    fn problem(
        &self,
        objective: Objective,
        form: Form,
        values: Vec<f64>,
        scores: Vec<f64>,
    ) -> Result<Problem> {
        let rows = if let Form::Rows(rows) = form { rows } else { 1 };
        let model = Model::new(objective, self.sigma, form, scores.len() / rows)?;
        Problem::new(model, Parameters { values, scores })
    }
}

/// Entry `k` of NumPy's `linspace(first, last, count)`, whose last entry is `last` itself.
fn spaced(first: f64, last: f64, k: usize, count: usize) -> f64 {
    match k {
        0 => first,
        k if k + 1 == count => last,
        k => first + k as f64 * ((last - first) / (count - 1) as f64),
    }
}
