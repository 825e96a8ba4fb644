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
use candle_nn::ParamsAdamW;
use rayon::prelude::*;

use crate::layers::{
    cpu,
    operation::{Array, with_arrays},
};

/// PyTorch's defaults but for the learning rate: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01.
pub fn settings(learning_rate: f64) -> ParamsAdamW {
    ParamsAdamW {
        lr: learning_rate,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
    }
}

/// The optimiser of a set of variables.
///
/// candle has one, too, of tensor operations. This one adds up the gradients of a batch's parts and makes its step in
/// one pass over memory.
#[derive(Debug)]
pub(super) struct AdamW {
    settings: ParamsAdamW,
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
    pub(super) fn new(variables: impl IntoIterator<Item = Var>, settings: ParamsAdamW) -> Self {
        let state = |variable| State {
            variable,
            moments: None,
        };
        Self {
            settings,
            states: variables.into_iter().map(state).collect(),
            steps: 0,
        }
    }

    /// A step along the sum of the gradients that `gradients` has of a variable, all of its shape.
    pub(super) fn step(&mut self, gradients: impl Fn(&Var) -> Vec<Tensor> + Sync) -> Result<()> {
        self.steps += 1;
        let now = Now {
            settings: &self.settings,
            first: 1.0 - self.settings.beta1.powi(self.steps),
            second: 1.0 - self.settings.beta2.powi(self.steps),
        };
        self.states
            .par_iter_mut()
            .try_for_each(|state| state.step(&now, &gradients(&state.variable)))
    }
}

/// What is the same for all variables in a step.
struct Now<'a> {
    settings: &'a ParamsAdamW,
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
        let (next, moments) = match is_plain {
            true => {
                let gradients: Vec<Tensor> = gradients
                    .iter()
                    .map(Tensor::contiguous)
                    .collect::<Result<_>>()?;
                now.fused(variable, &moments, &gradients)?
            }
            false => {
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
        let ParamsAdamW {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
        } = *self.settings;
        let m = ((m * beta1)? + (gradient * (1.0 - beta1))?)?;
        let v = ((v * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let deviation = ((&v / self.second)?.sqrt()? + eps)?;
        let step = ((&m * (lr / self.first))? / deviation)?;
        let next = ((variable.detach() * (1.0 - lr * weight_decay))? - step)?;
        // Without a graph behind them, which would hold every gradient there was.
        Ok((next.detach(), (m.detach(), v.detach())))
    }

    /// The same for float32 in main memory.
    fn fused(
        &self,
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
        let (next, m, v) = with_arrays([variable, m, v], |arrays| Ok(self.update(arrays, &sum)))?;
        let tensor = |entries| Tensor::from_vec(entries, variable.shape(), variable.device());
        Ok((tensor(next)?, (tensor(m)?, tensor(v)?)))
    }

    fn update(
        &self,
        [variable, m, v]: [Array; 3],
        gradient: &[f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let settings = self.settings;
        let (beta1, beta2) = (settings.beta1 as f32, settings.beta2 as f32);
        let (of_first, of_second) = ((1.0 - settings.beta1) as f32, (1.0 - settings.beta2) as f32);
        let keep = (1.0 - settings.lr * settings.weight_decay) as f32;
        let rate = (settings.lr / self.first) as f32;
        let (correction, eps) = ((1.0 / self.second) as f32, settings.eps as f32);
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
