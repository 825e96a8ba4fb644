//! The linear layer of a decoder: weight as [out, in], with a bias or without.

use candle_core::{Result, Tensor};

/// Rows of the smallest product. With fewer the product takes another path (for one row that of a matrix and a
/// vector), which adds up in another order, so that a short text alone would get other last bits than among others.
const MIN_ROWS: usize = 8;

/// y = x Wᵀ + b, for x of shape (tokens, in), W of shape (out, in) and b of shape (out,).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Without a bias. `weight`: (out, in), as checkpoints store it.
    pub fn new(weight: Tensor) -> Self {
        Self { weight, bias: None }
    }

    /// `weight`: (out, in); `bias`: (out,).
    pub fn with_bias(weight: Tensor, bias: Tensor) -> Self {
        Self {
            weight,
            bias: Some(bias),
        }
    }

    /// (tokens, in) → (tokens, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.t()?;
        let product = match x.dim(0)? {
            rows @ 1..MIN_ROWS => x
                .pad_with_zeros(0, 0, MIN_ROWS - rows)?
                .matmul(&weight)?
                .narrow(0, 0, rows)?,
            _ => x.matmul(&weight)?,
        };
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}
