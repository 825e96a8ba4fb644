//! The whole attention of a sample.

use candle_core::{DType, Result as TensorResult};

use crate::{
    Result,
    layers::PackedSequences,
    models::small_transformer::Network,
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
    train::tasks::Sample,
};

/// What one head does with a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMap {
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
    /// Query by query, as many as the sample has tokens, and of each all keys; exactly 0 where a query does not see one.
    pub weights: Vec<f32>,
}

/// The attention of every head, layer by layer.
///
/// # Errors
/// A sample that does not fit the model.
pub fn maps(network: &Network, sample: &Sample) -> Result<Vec<AttentionMap>> {
    let sequences = PackedSequences::from_lengths(&[sample.input_ids.len()]);
    let mut maps = Maps(Vec::new());
    network.observe(&sample.input_ids, &sequences, &mut maps)?;
    Ok(maps.0)
}

struct Maps(Vec<AttentionMap>);

impl AttentionObserver for Maps {
    fn wants_attn_weights(&self, _layer_idx: usize, _head_idx: usize) -> bool {
        true
    }

    fn observe(&mut self, _attention: &LayerAttention<'_>) -> TensorResult<()> {
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> TensorResult<()> {
        let all = maps.attn_weights.to_dtype(DType::F32)?.flatten_from(1)?;
        for (head, weights) in maps.heads.clone().zip(all.to_vec2()?) {
            self.0.push(AttentionMap {
                layer: maps.layer_idx,
                head,
                weights,
            });
        }
        Ok(())
    }
}
