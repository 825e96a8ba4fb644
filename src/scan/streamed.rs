//! Layer after layer: each is loaded once (the next one is read while this one computes), all batches pass
//! through it, and it is dropped. Memory is two layers and one batch, whatever the depth.
//!
//! The hidden states between two layers are files in the run's own directory. They are what makes the run
//! resumable in the middle of the model; the page cache makes them as good as memory where there is enough.
//! The order of writing is what makes it safe to stop at any moment: first the output of a layer, then the
//! rows that say the layer is done, and only then is the layer's input removed.

use std::{ops::RangeInclusive, path::Path};

use super::{engine::Work, hidden_states::HiddenStates, layers::each_layer};
use crate::{Result, models::DecoderLayer, store::Parts};

/// Tokens × layers that [`run`] will compute.
pub fn pending(work: &Work, parts: &Parts, dir: &Path) -> u64 {
    let hidden_states = HiddenStates::new(dir, work.model.sizes().hidden_size);
    work.batches
        .iter()
        .enumerate()
        .filter_map(|(i, batch)| Some(span(work, parts, &hidden_states, i)?.count() * batch.tokens))
        .sum::<usize>() as u64
}

/// Runs every layer of every batch that is not on disk yet; `dir` holds the hidden states.
pub fn run(work: &Work, parts: &mut Parts, dir: &Path) -> Result<()> {
    let hidden_states = HiddenStates::new(dir, work.model.sizes().hidden_size);
    let spans: Vec<Option<RangeInclusive<usize>>> = (0..work.batches.len())
        .map(|batch| span(work, parts, &hidden_states, batch))
        .collect();
    let is_needed = |layer: usize| spans.iter().flatten().any(|span| span.contains(&layer));
    let needed: Vec<usize> = (0..work.layers())
        .filter(|&layer| is_needed(layer))
        .collect();
    each_layer(
        &needed,
        &|layer_idx| work.load_layer(layer_idx),
        &mut |layer_idx, layer| {
            for (batch, span) in spans.iter().enumerate() {
                if let Some(span) = span
                    && span.contains(&layer_idx)
                {
                    work.check_stop()?;
                    let is_last = layer_idx == *span.end();
                    forward(
                        work,
                        parts,
                        &hidden_states,
                        layer,
                        (batch, layer_idx),
                        is_last,
                    )?;
                }
            }
            Ok(())
        },
    )
}

/// The layers a batch has to pass: from the last one before its first undone layer whose input is at hand (or
/// from the embedding) to its last undone layer.
fn span(
    work: &Work,
    parts: &Parts,
    hidden_states: &HiddenStates,
    batch: usize,
) -> Option<RangeInclusive<usize>> {
    let mut undone = (0..work.layers()).filter(|&layer| !parts.is_done(batch, layer));
    let first = undone.next()?;
    let last = undone.next_back().unwrap_or(first);
    let tokens = work.batches[batch].tokens;
    let start = (1..=first)
        .rev()
        .find(|&layer| hidden_states.holds(batch, layer, tokens));
    Some(start.unwrap_or(0)..=last)
}

/// One batch through one layer.
fn forward(
    work: &Work,
    parts: &mut Parts,
    hidden_states: &HiddenStates,
    layer: &dyn DecoderLayer,
    (batch, layer_idx): (usize, usize),
    is_last: bool,
) -> Result<()> {
    let mut batch = work.batch(batch);
    let (weights, tokens) = (work.weights, batch.sequences.tokens());
    let input = match layer_idx {
        0 => work
            .model
            .embed(weights, &batch.input_ids, &batch.sequences)?,
        _ => hidden_states.read(
            batch.index,
            layer_idx,
            tokens,
            &weights.device,
            weights.dtype,
        )?,
    };
    let output = work
        .clock
        .compute(|| layer.forward(&input, &batch.sequences, &mut batch.observer))?;
    drop(input);
    if let Some(output) = &output {
        batch
            .observer
            .hidden_states(layer_idx, &batch.sequences, output)?;
    }
    if let (Some(output), false) = (output, is_last) {
        work.clock
            .write(|| hidden_states.write(batch.index, layer_idx + 1, &output))?;
    }
    work.record(parts, batch.index, &batch.observer.take())?;
    work.passed(tokens);
    hidden_states.remove(batch.index, layer_idx)
}
