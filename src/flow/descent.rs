//! Plain gradient descent: `V ← V − η ∂L/∂V` and `a ← a − η ∂L/∂a`, both gradients at the same point.
//!
//! A step reads and writes two contiguous slices, V and a, and a work space made beforehand: it allocates
//! nothing, so that replicas laid one behind the other can be stepped in the same way.
//!
//! Our runs and the notebook's differ by rounding, which most of these dynamics damp. They amplify it
//! - where a score stands at a kink ([`L1`](super::normalization::Normalization::L1) under the logistic loss): one
//!   update carries it across 0 and the next one back to nearly 0, at times within 1e-17, and the sign of that rest
//!   decides the side of the next jump; a rest of exactly 0 stays. From the first such decision on runs differ by about one update of the score;
//! - where the slope of the logistic loss is small: the notebook's comparison of normalisations takes it as
//!   `1 − 1 / (1 + exp(−m))`, which has an absolute error of 1e-16, ours has that relative to the slope;
//! - where a residual has vanished: square losses end near the square of its rounding, 1e-32.

use super::model::{Model, Parameters, Pass};
use super::objective::invalid;
use super::problem::Problem;
use crate::{Error, Result};

/// A model on its way.
#[derive(Debug, Clone)]
pub struct Descent {
    model: Model,
    rate: f64,
    parameters: Parameters,
    pass: Pass,
    updates: u64,
    strength: f64,
}

/// The model after some number of updates.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// How many updates were made; 0 is the start. (The notebook counts from 0 and mostly records after the
    /// update: its iteration i is `updates = i + 1`.)
    pub updates: u64,
    /// t: the rate times the number of updates.
    pub time: f64,
    /// L.
    pub loss: f64,
    /// S(t) = ∫ ‖∂L/∂θ‖ dτ, the strength of the polarisation so far: here the sum over all updates, times the rate.
    /// With the logistic loss and ‖β‖ = 1 the integrand is the paper's s = 1 / (1 + exp(βᵀθ)).
    pub strength: f64,
    /// a, d entries.
    pub scores: &'a [f64],
    /// σ, d entries.
    pub weights: &'a [f64],
    /// θ, p entries.
    pub prediction: &'a [f64],
    /// V or U, p × d, row-major.
    pub values: &'a [f64],
}

impl Descent {
    /// At the problem's start. Fails unless the rate η is finite and above 0.
    pub fn new(problem: &Problem, rate: f64) -> Result<Descent> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(invalid(
                "rate",
                format!("is {rate}; it must be above 0, like 0.1"),
            ));
        }
        let model = problem.model().clone();
        Ok(Descent {
            pass: Pass::new(&model),
            model,
            rate,
            parameters: problem.start().clone(),
            updates: 0,
            strength: 0.0,
        })
    }

    /// Where the model is now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// How many updates were made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Makes updates up to the last of `at` and calls `record` when their number is one of `at`, which must
    /// ascend and not lie behind. Another call takes up where this one stopped.
    ///
    /// Fails with [`Error::Diverged`] where a number is infinite or NaN; `record` has been called for everything
    /// before.
    pub fn run(&mut self, at: &[u64], mut record: impl FnMut(&Snapshot<'_>)) -> Result<()> {
        let behind = at.first().is_some_and(|&first| first < self.updates);
        if behind || !at.is_sorted_by(|a, b| a < b) {
            return Err(invalid(
                "updates to record",
                format!(
                    "must ascend from {} or later, each once; sort them",
                    self.updates
                ),
            ));
        }
        for (records, &next) in at.iter().enumerate() {
            while self.updates < next {
                self.forward(&at[..records])?;
                self.update();
            }
            self.forward(&at[..records])?;
            let loss = self.pass.loss(&self.model);
            if !loss.is_finite() {
                return Err(self.diverged("loss", &[loss], &at[..records]));
            }
            record(&Snapshot {
                updates: self.updates,
                time: self.rate * self.updates as f64,
                loss,
                strength: self.strength,
                scores: &self.parameters.scores,
                weights: &self.pass.weights,
                prediction: &self.pass.prediction,
                values: &self.parameters.values,
            });
        }
        Ok(())
    }

    /// Evaluates the model where it is; fails if that is nowhere.
    fn forward(&mut self, recorded: &[u64]) -> Result<()> {
        let Parameters { values, scores } = &self.parameters;
        self.pass.forward(&self.model, values, scores);
        // An infinite or undefined value makes its prediction so, whatever its weight (∞ · 0 is NaN).
        let (scores, prediction) = (&self.parameters.scores, &self.pass.prediction);
        if !all_finite(scores) {
            return Err(self.diverged("score", scores, recorded));
        }
        if !all_finite(prediction) {
            return Err(self.diverged("prediction", prediction, recorded));
        }
        Ok(())
    }

    fn update(&mut self) {
        let Parameters { values, scores } = &mut self.parameters;
        self.pass.backward(&self.model, values, scores);
        self.pass
            .subtract_values(&self.model, self.rate, scores, values);
        self.pass.subtract_scores(self.rate, scores);
        self.strength += self.rate * self.pass.gradient_norm();
        self.updates += 1;
    }

    #[cold]
    fn diverged(&self, quantity: &'static str, found: &[f64], recorded: &[u64]) -> Error {
        Error::Diverged {
            updates: self.updates,
            rate: self.rate,
            quantity,
            found: found.to_vec(),
            recorded: recorded.len(),
            last_recorded: recorded.last().copied(),
        }
    }
}

/// Whether no entry is infinite or NaN; without a branch per entry, since every step asks.
fn all_finite(entries: &[f64]) -> bool {
    entries.iter().fold(true, |all, x| all & x.is_finite())
}

/// Snapshots one behind the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trajectory {
    /// Number of updates of each record.
    pub updates: Vec<u64>,
    /// t of each record.
    pub times: Vec<f64>,
    /// L of each record.
    pub losses: Vec<f64>,
    /// S of each record.
    pub strengths: Vec<f64>,
    /// a: records × d.
    pub scores: Vec<f64>,
    /// σ: records × d.
    pub weights: Vec<f64>,
    /// θ: records × p.
    pub predictions: Vec<f64>,
    /// V or U: records × p × d.
    pub values: Vec<f64>,
}

impl Trajectory {
    /// Appends a record.
    pub fn push(&mut self, snapshot: &Snapshot<'_>) {
        self.updates.push(snapshot.updates);
        self.times.push(snapshot.time);
        self.strengths.push(snapshot.strength);
        self.losses.push(snapshot.loss);
        self.scores.extend_from_slice(snapshot.scores);
        self.weights.extend_from_slice(snapshot.weights);
        self.predictions.extend_from_slice(snapshot.prediction);
        self.values.extend_from_slice(snapshot.values);
    }
}
