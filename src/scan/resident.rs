//! All layers in memory, batch after batch: for models that fit.

use super::engine::Work;
use crate::{Result, models::DecoderLayer, store::Parts};

/// Batches of which a layer is not on disk yet.
fn pending_batches<'a>(work: &'a Work, parts: &'a Parts) -> impl Iterator<Item = usize> + 'a {
    let is_done = |batch: usize| (0..work.layers()).all(|layer| parts.is_done(batch, layer));
    (0..work.batches.len()).filter(move |&batch| !is_done(batch))
}

/// Tokens × layers that [`run`] will compute.
pub fn pending(work: &Work, parts: &Parts) -> u64 {
    let tokens: usize = pending_batches(work, parts)
        .map(|batch| work.batches[batch].tokens)
        .sum();
    (tokens * work.layers()) as u64
}

/// Runs every batch that is not on disk yet; its rows leave as it ends.
pub fn run(work: &Work, parts: &mut Parts) -> Result<()> {
    let pending: Vec<usize> = pending_batches(work, parts).collect();
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
        let mut rows = Vec::new();
        for layer in &layers {
            work.check_stop()?;
            let next = work
                .clock
                .compute(|| layer.forward(&hidden_states, &batch.sequences, &mut batch.observer))?;
            rows.push(batch.observer.take());
            work.passed(batch.sequences.tokens());
            if let Some(next) = next {
                hidden_states = next;
            }
        }
        work.record(parts, batch.index, &rows.concat())?;
    }
    Ok(())
}
