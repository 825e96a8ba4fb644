//! What is recorded of a run, and what became of it.

use super::experiments::Run;
use super::kernel::{Kernel, State};
use crate::Error;
use crate::layers::lanes::Lanes;

/// A run and its records.
#[derive(Debug)]
pub struct Followed {
    /// What was followed.
    pub run: Run,
    /// What was recorded, up to the failure if there was one.
    pub trajectory: Trajectory,
    /// What it took.
    pub effort: Effort,
    /// Why it ended early: [`Error::Diverged`].
    pub failure: Option<Error>,
}

/// Records one behind the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trajectory {
    /// Steps made at each record: updates of gradient descent, or accepted steps of the adaptive integrator. 0 is the
    /// start. (The notebook counts updates from 0 and mostly records after them: its iteration i is here i + 1.)
    pub updates: Vec<u64>,
    /// t of each record; for gradient descent the rate times the number of updates.
    pub times: Vec<f64>,
    /// L of each record.
    pub losses: Vec<f64>,
    /// S(t) = ∫ ‖∂L/∂θ‖ dτ of each record, the strength of the polarisation so far; for gradient descent the sum over
    /// all updates, times the rate. With the logistic loss and ‖β‖ = 1 the integrand is the paper's s = 1 / (1 +
    /// exp(βᵀθ)); of several rows θ holds all predictions.
    pub strengths: Vec<f64>,
    /// a: records × rows × d.
    pub scores: Vec<f64>,
    /// σ: records × rows × d.
    pub weights: Vec<f64>,
    /// θ: records × rows × p.
    pub predictions: Vec<f64>,
    /// V or U: records × p × d; empty unless [`Settings::keep_values`](super::follow::Settings) asked for it.
    pub values: Vec<f64>,
}

/// What it took to follow a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Steps that the adaptive integrator made; 0 for gradient descent.
    pub accepted: u64,
    /// Steps that were too large and made again.
    pub rejected: u64,
    /// How often the gradients were computed.
    pub evaluations: u64,
}

/// A run on its way: the states that were recorded, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Track {
    updates: Vec<u64>,
    times: Vec<f64>,
    states: Vec<f64>,
    pub(super) effort: Effort,
    pub(super) failure: Option<Error>,
}

impl Track {
    /// Appends a record; `state` is V (or U), a and S.
    pub(super) fn record(&mut self, updates: u64, time: f64, state: impl Iterator<Item = f64>) {
        self.updates.push(updates);
        self.times.push(time);
        self.states.extend(state);
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn last_time(&self) -> Option<f64> {
        self.times.last().copied()
    }

    /// Computes what follows from the states.
    pub(super) fn finish(mut self, run: Run, keep_values: bool) -> Followed {
        let model = run.problem.model();
        let mut kernel = Kernel::new([model]);
        let mut trajectory = Trajectory::default();
        let split = model.predictions() * model.positions();
        let width = split + model.rows() * model.positions() + 1;
        let records = self.updates.iter().zip(&self.times);
        for (at, ((updates, time), entries)) in
            records.zip(self.states.chunks_exact(width)).enumerate()
        {
            let (values, rest) = entries.split_at(split);
            let (scores, strength) = rest.split_at(rest.len() - 1);
            kernel.forward(&State::recorded(model, entries));
            let [loss] = kernel.loss().0;
            if !loss.is_finite() {
                // Squares overflow before what is squared does.
                self.failure = Some(Error::Diverged {
                    after: match self.effort.accepted {
                        0 => format!("{updates} updates at rate {}", run.rate),
                        _ => format!("{updates} steps, at t = {time}"),
                    },
                    quantity: "loss",
                    found: vec![loss],
                    recorded: at,
                    last_recorded: trajectory.times.last().copied(),
                    remedy: match (updates, self.effort.accepted) {
                        (0, _) => "the start itself is too large; take smaller scales",
                        (_, 0) => "take a smaller rate",
                        _ => "stop before, or take smaller scales",
                    },
                });
                break;
            }
            let plain = |lanes: &[Lanes<1>]| -> Vec<f64> { lanes.iter().map(|x| x.0[0]).collect() };
            trajectory.updates.push(*updates);
            trajectory.times.push(*time);
            trajectory.losses.push(loss);
            trajectory.strengths.extend(strength);
            trajectory.scores.extend(scores);
            trajectory.weights.extend(plain(&kernel.weights));
            trajectory.predictions.extend(plain(&kernel.prediction));
            if keep_values {
                trajectory.values.extend(values);
            }
        }
        Followed {
            run,
            trajectory,
            effort: self.effort,
            failure: self.failure,
        }
    }
}
