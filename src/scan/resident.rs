//! All layers in memory, batch after batch: for models that fit.

use super::engine::Work;
use crate::{Result, models::DecoderLayer, store::Parts};

/// Runs every batch that is not on disk yet; its rows leave as it ends.
pub fn run(work: &Work, parts: &mut Parts) -> Result<()> {
    let pending: Vec<usize> = (0..work.batches.len())
        .filter(|&batch| !work.is_batch_done(parts, batch))
        .collect();
    if pending.is_empty() {
        return Ok(());
    }
    let mut layers: Vec<Box<dyn DecoderLayer>> = Vec::with_capacity(work.layers());
    for layer_idx in 0..work.layers() {
        work.check_stop()?;
        layers.push(work.load_layer(layer_idx)?);
    }
    for batch in pending {
        let mut batch = work.batch(batch);
        let mut hidden_states = work.model.embed(work.weights, &batch.input_ids)?;
        for layer in &layers {
            work.check_stop()?;
            let next = work
                .clock
                .compute(|| layer.forward(&hidden_states, &batch.sequences, &mut batch.observer))?;
            work.passed(batch.sequences.tokens());
            if let Some(next) = next {
                hidden_states = next;
            }
        }
        let rows = batch.observer.take();
        work.write(parts, batch.index, &rows)?;
    }
    Ok(())
}
