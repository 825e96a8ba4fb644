//! Replicas as batched tensors, on any device with float64: the program of [`replicas`](super::replicas) in candle's
//! operations.
//!
//! A step is a fixed number of operations whatever the number of replicas, so this is the form for a GPU; on the CPU
//! the other one is faster.

use candle_core::{D, DType, Device, Tensor};

use super::dormand_prince::{Crossing, System, Tolerances};
use super::experiments::Run;
use super::model::Form;
use super::objective::{Kind, Objective};
use super::trajectory::Track;
use crate::{Error, Result};

/// R alike runs.
pub(super) struct TensorReplicas {
    form: Form,
    kind: Kind,
    function: crate::layers::attention::AttentionFunction,
    /// R, rows, p and d.
    shape: (usize, usize, usize, usize),
    /// β, y or p*: (R, 1, p or n).
    target: Tensor,
    /// X: (R, n, p), of regressions.
    design: Option<Tensor>,
    device: Device,
}

impl TensorReplicas {
    /// With the states in which they start: (R, p · d + rows · d + 1), V, a and S one behind the other.
    pub(super) fn new(runs: &[&Run], device: &Device) -> Result<(Self, Tensor)> {
        let model = runs[0].problem.model();
        let (p, d, rows) = (model.predictions(), model.positions(), model.rows());
        let count = runs.len();
        let stack = |part: &dyn Fn(&Run) -> Vec<f64>, shape: &[usize]| {
            let entries: Vec<f64> = runs.iter().flat_map(|run| part(run)).collect();
            Tensor::from_vec(entries, shape, device)
        };
        let objective = |run: &Run| -> Objective { run.problem.model().objective().clone() };
        let n = model.objective().target().len();
        let target = stack(&|run| objective(run).target().to_vec(), &[count, 1, n])?;
        let design = match model.objective().kind() {
            Kind::Regression => Some(stack(
                &|run| objective(run).design().to_vec(),
                &[count, n, p],
            )?),
            _ => None,
        };
        let start = |run: &Run| {
            let start = run.problem.start();
            [start.values.as_slice(), &start.scores, &[0.0]].concat()
        };
        let state = stack(&start, &[count, p * d + rows * d + 1])?;
        Ok((
            Self {
                form: model.form(),
                kind: model.objective().kind(),
                function: model.sigma().function(),
                shape: (count, rows, p, d),
                target,
                design,
                device: device.clone(),
            },
            state,
        ))
    }

    /// θ → ∂L/∂θ, both (R, rows, p).
    fn gradient(&self, prediction: &Tensor) -> candle_core::Result<Tensor> {
        match (self.kind, &self.design) {
            (Kind::Logistic, _) => {
                let margin = prediction
                    .broadcast_mul(&self.target)?
                    .sum_keepdim(D::Minus1)?;
                let slope = candle_nn::ops::sigmoid(&margin.neg()?)?;
                slope.neg()?.broadcast_mul(&self.target)
            }
            (Kind::Regression, Some(design)) => {
                let fitted = prediction.matmul(&design.t()?)?;
                let residuals = self.target.broadcast_sub(&fitted)?;
                residuals.matmul(design)? * -2.0
            }
            (Kind::CrossEntropy, _) => {
                candle_nn::ops::softmax(prediction, D::Minus1)?.broadcast_sub(&self.target)
            }
            (Kind::Square | Kind::Regression, _) => prediction.broadcast_sub(&self.target),
        }
    }

    fn direction(&self, at: &Tensor) -> candle_core::Result<Tensor> {
        let (count, rows, p, d) = self.shape;
        let values = at.narrow(1, 0, p * d)?.reshape((count, p, d))?;
        let scores = at.narrow(1, p * d, rows * d)?.reshape((count, rows, d))?;
        let seen = match self.form {
            Form::Tied => scores.matmul(&values.t()?)?,
            Form::Free | Form::Rows(_) => scores.clone(),
        };
        let weights = self.function.weights(&seen, None)?;
        let slopes = self.function.slopes(&seen, &weights)?;
        let gradient = self.gradient(&weights.matmul(&values.t()?)?)?;
        let upstream = gradient.matmul(&values)?;
        let pulled = self.function.pull_back_rows(&weights, &slopes, &upstream)?;
        let mut of_values = gradient.t()?.matmul(&weights)?;
        let of_scores = match self.form {
            Form::Tied => {
                of_values = (of_values + pulled.t()?.matmul(&scores)?)?;
                pulled.matmul(&values)?
            }
            Form::Free | Form::Rows(_) => pulled,
        };
        let strength = gradient.sqr()?.sum((1, 2))?.sqrt()?;
        Tensor::cat(
            &[
                of_values.neg()?.reshape((count, p * d))?,
                of_scores.neg()?.reshape((count, rows * d))?,
                strength.reshape((count, 1))?,
            ],
            1,
        )
    }

    /// Gradient descent with a record after each number of updates of `at`.
    pub(super) fn descend(
        &mut self,
        mut state: Tensor,
        rates: &[f64],
        at: &[u64],
        tracks: &mut [Track],
    ) -> Result<()> {
        let factor = self.factor(rates)?;
        let mut updates = 0;
        for &next in at {
            while updates < next {
                let direction = self.direction(&state)?;
                state = (state + direction.broadcast_mul(&factor)?)?;
                updates += 1;
            }
            let entries: Vec<Vec<f64>> = state.to_vec2()?;
            let chosen: Vec<_> = entries
                .iter()
                .zip(rates)
                .zip(&mut *tracks)
                .map(|((entries, rate), track)| {
                    track.effort.evaluations = updates;
                    if track.failure.is_none() && entries.iter().any(|x| !x.is_finite()) {
                        track.failure = Some(Error::Diverged {
                            after: format!("at most {updates} updates at rate {rate}"),
                            quantity: "parameter",
                            found: entries.clone(),
                            recorded: track.len(),
                            last_recorded: track.last_time(),
                            remedy: "take a smaller rate",
                        });
                    }
                    let lives = track.failure.is_none();
                    lives.then_some((updates, rate * updates as f64))
                })
                .collect();
            append(&entries, &chosen, tracks);
        }
        Ok(())
    }
}

impl System for TensorReplicas {
    type State = Tensor;
    type Factor = Tensor;

    fn zeros(&self) -> Result<Tensor> {
        let (count, rows, p, d) = self.shape;
        let shape = (count, p * d + rows * d + 1);
        Ok(Tensor::zeros(shape, DType::F64, &self.device)?)
    }

    fn factor(&self, numbers: &[f64]) -> Result<Tensor> {
        Ok(Tensor::from_slice(
            numbers,
            (numbers.len(), 1),
            &self.device,
        )?)
    }

    fn slope(&mut self, at: &Tensor, out: &mut Tensor) -> Result<()> {
        *out = self.direction(at)?;
        Ok(())
    }

    fn combine(
        &mut self,
        from: &Tensor,
        slopes: &[Tensor],
        factors: &[Tensor],
        out: &mut Tensor,
    ) -> Result<()> {
        *out = (from + sum(slopes, factors, from)?)?;
        Ok(())
    }

    fn error(
        &mut self,
        from: &Tensor,
        to: &Tensor,
        slopes: &[Tensor],
        factors: &[Tensor],
        tolerances: Tolerances,
        out: &mut [f64],
    ) -> Result<()> {
        let error = sum(slopes, factors, from)?.abs()?;
        let size = from.abs()?.maximum(&to.abs()?)?;
        let allowed = ((size * tolerances.relative)? + tolerances.absolute)?;
        // A maximum may lose a NaN, a sum does not.
        let quotients = (error / allowed)?;
        let largest: Vec<f64> = quotients.max(1)?.to_vec1()?;
        let sums: Vec<f64> = quotients.sum(1)?.to_vec1()?;
        for ((out, largest), sum) in out.iter_mut().zip(largest).zip(sums) {
            *out = if sum.is_nan() { sum } else { largest };
        }
        Ok(())
    }

    fn select(&mut self, chosen: &[bool], from: &Tensor, to: &mut Tensor) -> Result<()> {
        let mask: Vec<u8> = chosen.iter().map(|&chosen| u8::from(chosen)).collect();
        let mask = Tensor::from_vec(mask, (chosen.len(), 1), &self.device)?;
        *to = mask.broadcast_as(to.shape())?.where_cond(from, to)?;
        Ok(())
    }

    fn record(
        &mut self,
        at: &Tensor,
        chosen: &[Option<(u64, f64)>],
        tracks: &mut [Track],
    ) -> Result<()> {
        append(&at.to_vec2()?, chosen, tracks);
        Ok(())
    }

    /// None: functions with a kink are refused before.
    fn crossings(
        &mut self,
        _: &Tensor,
        _: &Tensor,
        _: &[Tensor],
        _: &[f64],
        _: &mut [Option<Crossing>],
    ) {
    }

    fn settle(&mut self, _: &mut Tensor, _: usize, _: Crossing) {}
}

/// Σ factors_i · slopes_i.
fn sum(slopes: &[Tensor], factors: &[Tensor], like: &Tensor) -> candle_core::Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (slope, factor) in slopes.iter().zip(factors) {
        let term = slope.broadcast_mul(factor)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    sum.map_or_else(|| like.zeros_like(), Ok)
}

fn append(entries: &[Vec<f64>], chosen: &[Option<(u64, f64)>], tracks: &mut [Track]) {
    for ((entries, chosen), track) in entries.iter().zip(chosen).zip(tracks) {
        if let Some((steps, time)) = *chosen {
            track.record(steps, time, entries.iter().copied());
        }
    }
}
