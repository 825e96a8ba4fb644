//! The linear layer of a decoder: no bias, weight as [out, in].

use candle_core::{Result, Tensor};

/// y = x Wᵀ, for x of shape (tokens, in) and W of shape (out, in).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
}

impl Linear {
    /// `weight`: (out, in), as checkpoints store it.
    pub fn new(weight: Tensor) -> Self {
        Self { weight }
    }

    /// (tokens, in) → (tokens, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)
    }
}
