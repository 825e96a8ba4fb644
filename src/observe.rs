//! What a forward pass tells about each layer's attention.

use candle_core::{Result, Tensor};

use crate::{layers::PackedSequences, metrics::RowStatistics};

/// The attention of one layer for one batch.
pub struct LayerAttention<'a> {
    /// Which layer, from 0.
    pub layer_idx: usize,
    /// Its heads.
    pub num_heads: usize,
    /// Whether a query sees only its own and earlier positions.
    pub causal: bool,
    /// Which tokens belong to which sequence.
    pub sequences: &'a PackedSequences,
    /// Statistics of every row, (num_heads, tokens).
    pub rows: &'a RowStatistics,
    /// If asked for: one (num_heads, q_len, kv_len) float32 map per non-empty sequence.
    pub attn_weights: Option<&'a [Tensor]>,
}

/// Somebody who looks at the attention of a forward pass.
pub trait AttentionObserver {
    /// Whether the full map of this layer is wanted. It is materialised only then.
    fn wants_attn_weights(&self, _layer_idx: usize) -> bool {
        false
    }

    /// Called once per layer, after its attention weights are known.
    fn observe(&mut self, attention: &LayerAttention<'_>) -> Result<()>;
}
