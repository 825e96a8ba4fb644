//! All layers in memory, batch after batch: for models that fit.

use std::{sync::mpsc, thread};

use super::engine::Work;
use crate::{
    Result,
    models::DecoderLayer,
    store::{Parts, Rows},
};

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

/// Runs every batch that is not on disk yet; its rows leave as it ends. The first batch passes each layer as
/// soon as it is there, while the next ones are read.
pub fn run(work: &Work, parts: &mut Parts) -> Result<()> {
    let pending: Vec<usize> = pending_batches(work, parts).collect();
    if pending.is_empty() {
        return Ok(());
    }
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        // Dropped with this closure, however it ends: that tells the thread to stop.
        let receive = receive;
        scope.spawn(move || {
            for layer_idx in 0..work.layers() {
                // Nobody receives any more once the scan has failed or was stopped.
                if send.send(work.load_layer(layer_idx)).is_err() {
                    break;
                }
            }
        });
        let mut layers: Vec<Box<dyn DecoderLayer>> = Vec::with_capacity(work.layers());
        for &batch in &pending {
            let mut batch = work.batch(batch);
            let mut hidden_states =
                work.model
                    .embed(work.weights, &batch.input_ids, &batch.sequences)?;
            let mut rows = Rows::default();
            for layer_idx in 0..work.layers() {
                work.check_stop()?;
                if layers.len() == layer_idx
                    && let Ok(layer) = receive.recv()
                {
                    layers.push(layer?);
                }
                // Absent only if the reading thread has panicked, which ends the scope.
                let Some(layer) = layers.get(layer_idx) else {
                    return Ok(());
                };
                let next = work.clock.compute(|| {
                    layer.forward(&hidden_states, &batch.sequences, &mut batch.observer)
                })?;
                if let Some(next) = next {
                    hidden_states = next;
                    batch
                        .observer
                        .hidden_states(layer_idx, &batch.sequences, &hidden_states)?;
                }
                rows.append(batch.observer.take());
                work.passed(batch.sequences.tokens());
            }
            work.record(parts, batch.index, &rows)?;
        }
        Ok(())
    })
}
