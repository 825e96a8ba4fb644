//! The linear layer of a decoder: no bias, weight as [out, in].

use candle_core::{Result, Tensor};

/// Rows of the smallest product. With fewer the product takes another path (for one row that of a matrix and a
/// vector), which adds up in another order, so that a short text alone would get other last bits than among others.
const MIN_ROWS: usize = 8;

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
        let weight = self.weight.t()?;
        match x.dim(0)? {
            rows @ 1..MIN_ROWS => x
                .pad_with_zeros(0, 0, MIN_ROWS - rows)?
                .matmul(&weight)?
                .narrow(0, 0, rows),
            _ => x.matmul(&weight),
        }
    }
}
