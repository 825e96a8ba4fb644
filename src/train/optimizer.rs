//! AdamW (Loshchilov & Hutter, arXiv 1711.05101).
//!
//! candle's own, which does what `torch.optim.AdamW` does, with the same defaults. With gradient g, in step t:
//!
//! ```text
//! m = β₁ m + (1 − β₁) g           v = β₂ v + (1 − β₂) g²
//! θ = (1 − lr · decay) θ − lr · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + eps)
//! ```
//! A variable that receives no gradient at all stays as it is, and does not decay either, as in PyTorch.

use candle_nn::ParamsAdamW;

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
