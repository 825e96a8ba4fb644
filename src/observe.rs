//! What a forward pass tells about each layer's attention.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use crate::{
    layers::{
        PackedSequences,
        attention::{Attention, States, Wanted},
    },
    metrics::RowStatistics,
};

/// Weights of the largest block of maps that is handed over at once, 64 MiB of float32, where a single map is
/// not larger.
const BLOCK_WEIGHTS: usize = 1 << 24;

/// Copies of a block of maps that the tensor form makes on its way (scores, bias, what is masked, exponentials), and
/// the one that is handed over, with what is made of it: eleven were measured.
const MAP_COPIES: u64 = 12;

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
}

/// The maps of neighbouring heads for one sequence.
pub struct AttentionMaps<'a> {
    /// Which layer, from 0.
    pub layer_idx: usize,
    /// Which heads of it.
    pub heads: Range<usize>,
    /// Which sequence of the batch.
    pub sequence: usize,
    /// (heads, q_len, kv_len), float32; exactly 0 where a query does not see a key.
    pub attn_weights: &'a Tensor,
}

/// Somebody who looks at the attention of a forward pass.
pub trait AttentionObserver {
    /// Whether the full map of this head is wanted. It is materialised only then.
    fn wants_attn_weights(&self, _layer_idx: usize, _head_idx: usize) -> bool {
        false
    }

    /// Called once per layer, after its attention weights are known.
    fn observe(&mut self, attention: &LayerAttention<'_>) -> Result<()>;

    /// Called after [`AttentionObserver::observe`] for the heads whose maps are wanted: sequence by sequence, a
    /// few heads at a time, in order.
    fn observe_maps(&mut self, _maps: &AttentionMaps<'_>) -> Result<()> {
        Ok(())
    }
}

/// The attention of one layer, told to `observer`; the output if it is wanted.
///
/// The output and the statistics are those of a pass without maps, bit for bit. Maps are made beside them, for a
/// few heads at a time, so that memory does not grow with the number of heads.
pub fn attend(
    attention: &Attention,
    layer_idx: usize,
    states: States,
    sequences: &PackedSequences,
    attn_output: bool,
    observer: &mut dyn AttentionObserver,
) -> Result<Option<Tensor>> {
    let wanted = Wanted {
        attn_output,
        rows: true,
        attn_weights: false,
    };
    let result = attention.forward(states, sequences, wanted)?;
    let Some(rows) = &result.rows else {
        bail!("attention gave no statistics")
    };
    observer.observe(&LayerAttention {
        layer_idx,
        num_heads: attention.num_heads,
        causal: attention.causal,
        sequences,
        rows,
    })?;
    let wanted: Vec<usize> = (0..attention.num_heads)
        .filter(|&head| observer.wants_attn_weights(layer_idx, head))
        .collect();
    for (sequence, tokens) in sequences.ranges().enumerate() {
        if tokens.is_empty() {
            continue;
        }
        for heads in head_blocks(&wanted, tokens.len()) {
            let attn_weights = attention.attn_weights(states, tokens.clone(), heads.clone())?;
            observer.observe_maps(&AttentionMaps {
                layer_idx,
                heads,
                sequence,
                attn_weights: &attn_weights,
            })?;
        }
    }
    Ok(result.attn_output)
}

/// Heads whose maps of so many tokens are made at once.
fn heads_at_once(tokens: usize) -> usize {
    (BLOCK_WEIGHTS / tokens.saturating_mul(tokens).max(1)).max(1)
}

/// Bytes that maps need while they are made and looked at, for texts of at most so many tokens and layers of so many
/// heads.
pub(crate) fn bytes_for_maps(tokens: usize, heads: usize) -> u64 {
    let map = (tokens as u64).saturating_mul(tokens as u64);
    let block = (BLOCK_WEIGHTS as u64).max(map);
    let block = block.min(map.saturating_mul(heads as u64));
    MAP_COPIES.saturating_mul(4 * block)
}

/// The ascending `heads` as runs of neighbours, each small enough to be made at once.
fn head_blocks(heads: &[usize], tokens: usize) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for &head in heads {
        match blocks.last_mut() {
            Some(block) if block.end == head && block.len() < heads_at_once(tokens) => {
                block.end += 1;
            }
            _ => blocks.push(head..head + 1),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_neighbours_and_bounded() {
        assert_eq!(
            head_blocks(&[0, 1, 2, 5, 7, 8], 100),
            [0..3, 5..6, 7..9],
            "short"
        );
        // Four maps of 2,048 × 2,048 are 64 MiB.
        assert_eq!(head_blocks(&[0, 1, 2, 3, 4, 5], 2048), [0..4, 4..6], "long");
        assert_eq!(head_blocks(&[3, 4], 1 << 15), [3..4, 4..5], "very long");
        assert!(head_blocks(&[], 10).is_empty());
    }
}
