//! AdamW (Loshchilov & Hutter, arXiv 1711.05101), as `torch.optim.AdamW` computes it.
//!
//! With gradient g, in step t:
//!
//! ```text
//! m = β₁ m + (1 − β₁) g           v = β₂ v + (1 − β₂) g²
//! θ = (1 − lr · decay) θ − lr · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + eps)
//! ```
//! A variable that receives no gradient at all stays as it is, and does not decay either, as in PyTorch.

use candle_core::{DType, Result, Tensor, Var};
use rayon::prelude::*;

use crate::layers::{
    cpu,
    operation::{Array, with_arrays},
};

// PyTorch's defaults.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;

/// The optimiser of a set of variables, with PyTorch's defaults but for the learning rate: β 0.9 and 0.999, eps 1e-8,
/// decay 0.01.
///
/// candle has one, too, of tensor operations. This one adds up the gradients of a batch's parts and makes its step in
/// one pass over memory, and knows a learning rate for each of several replicas.
#[derive(Debug)]
pub(super) struct AdamW {
    rates: Vec<f64>,
    states: Vec<State>,
    steps: i32,
}

/// A variable with its moments, which are there from its first gradient on.
#[derive(Debug)]
struct State {
    variable: Var,
    /// m and v.
    moments: Option<(Tensor, Tensor)>,
}

impl AdamW {
    /// With more than one learning rate, there is one for each replica that the first dimension of the variables
    /// counts.
    pub(super) fn new(variables: impl IntoIterator<Item = Var>, rates: &[f64]) -> Self {
        let state = |variable| State {
            variable,
            moments: None,
        };
        Self {
            rates: rates.to_vec(),
            states: variables.into_iter().map(state).collect(),
            steps: 0,
        }
    }

    /// Goes on after so many steps, with the moments of each variable that has some, in the order of the variables.
    pub(super) fn go_on(&mut self, steps: usize, moments: Vec<Option<(Tensor, Tensor)>>) {
        // As many as `step` can have counted.
        self.steps = i32::try_from(steps).unwrap_or(i32::MAX);
        for (state, moments) in self.states.iter_mut().zip(moments) {
            state.moments = moments;
        }
    }

    /// The moments of each variable that has some, in the order of the variables.
    pub(super) fn moments(&self) -> impl Iterator<Item = Option<&(Tensor, Tensor)>> {
        self.states.iter().map(|state| state.moments.as_ref())
    }

    /// A step along the sum of the gradients that `gradients` has of a variable, all of its shape.
    pub(super) fn step(&mut self, gradients: impl Fn(&Var) -> Vec<Tensor> + Sync) -> Result<()> {
        self.steps += 1;
        let now = Now {
            rates: &self.rates,
            first: 1.0 - BETA_1.powi(self.steps),
            second: 1.0 - BETA_2.powi(self.steps),
        };
        self.states
            .par_iter_mut()
            .try_for_each(|state| state.step(&now, &gradients(&state.variable)))
    }
}

/// What is the same for all variables in a step.
struct Now<'a> {
    rates: &'a [f64],
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    first: f64,
    second: f64,
}

impl State {
    fn step(&mut self, now: &Now, gradients: &[Tensor]) -> Result<()> {
        let Some((first, others)) = gradients.split_first() else {
            return Ok(());
        };
        let moments = match self.moments.take() {
            Some(moments) => moments,
            None => (self.variable.zeros_like()?, self.variable.zeros_like()?),
        };
        let variable = self.variable.as_tensor();
        let is_plain = variable.device().is_cpu() && variable.dtype() == DType::F32;
        let (next, moments) = match *now.rates {
            [rate] if is_plain => {
                let gradients: Vec<Tensor> = gradients
                    .iter()
                    .map(Tensor::contiguous)
                    .collect::<Result<_>>()?;
                now.fused(rate, variable, &moments, &gradients)?
            }
            _ => {
                let mut sum = first.clone();
                for other in others {
                    sum = (sum + other)?;
                }
                now.tensors(variable, &moments, &sum)?
            }
        };
        self.variable.set(&next)?;
        self.moments = Some(moments);
        Ok(())
    }
}

impl Now<'_> {
    /// The variable and the moments after the step.
    fn tensors(
        &self,
        variable: &Tensor,
        (m, v): &(Tensor, Tensor),
        gradient: &Tensor,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let m = ((m * BETA_1)? + (gradient * (1.0 - BETA_1))?)?;
        let v = ((v * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
        let deviation = ((&v / self.second)?.sqrt()? + EPSILON)?;
        let direction = ((&m / self.first)? / deviation)?;
        let direction = (direction + (variable.detach() * WEIGHT_DECAY)?)?;
        let step = match *self.rates {
            [rate] => (direction * rate)?,
            ref rates => {
                let mut shape = vec![1; variable.rank()];
                shape[0] = rates.len();
                let rates = Tensor::from_slice(rates, shape, variable.device())?;
                direction.broadcast_mul(&rates.to_dtype(variable.dtype())?)?
            }
        };
        // Without a graph behind them, which would hold every gradient there was.
        let next = (variable.detach() - step)?.detach();
        Ok((next, (m.detach(), v.detach())))
    }

    /// The same for float32 in main memory.
    fn fused(
        &self,
        rate: f64,
        variable: &Tensor,
        (m, v): &(Tensor, Tensor),
        gradients: &[Tensor],
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let mut sum = vec![0f32; variable.elem_count()];
        for gradient in gradients {
            with_arrays([gradient], |[gradient]| {
                cpu::with_simd(
                    #[inline(always)]
                    || {
                        for (sum, g) in sum.iter_mut().zip(gradient.entries) {
                            *sum += g;
                        }
                    },
                );
                Ok(())
            })?;
        }
        let (next, m, v) = with_arrays([variable, m, v], |arrays| {
            Ok(self.update(rate, arrays, &sum))
        })?;
        let tensor = |entries| Tensor::from_vec(entries, variable.shape(), variable.device());
        Ok((tensor(next)?, (tensor(m)?, tensor(v)?)))
    }

    fn update(
        &self,
        rate: f64,
        [variable, m, v]: [Array; 3],
        gradient: &[f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (beta1, beta2) = (BETA_1 as f32, BETA_2 as f32);
        let (of_first, of_second) = ((1.0 - BETA_1) as f32, (1.0 - BETA_2) as f32);
        let keep = (1.0 - rate * WEIGHT_DECAY) as f32;
        let rate = (rate / self.first) as f32;
        let (correction, eps) = ((1.0 / self.second) as f32, EPSILON as f32);
        let (mut next, mut m, mut v) = (
            variable.entries.to_vec(),
            m.entries.to_vec(),
            v.entries.to_vec(),
        );
        cpu::with_simd(
            #[inline(always)]
            || {
                let moments = m.iter_mut().zip(&mut v);
                for ((next, (m, v)), g) in next.iter_mut().zip(moments).zip(gradient) {
                    *m = beta1 * *m + of_first * g;
                    *v = beta2 * *v + of_second * g * g;
                    *next = keep * *next - rate * *m / ((*v * correction).sqrt() + eps);
                }
            },
        );
        (next, m, v)
    }
}
