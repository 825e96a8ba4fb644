//! Layer after layer: each is loaded once (the next one is read while this one computes), all batches pass
//! through it, and it is dropped. Memory is two layers and one batch, whatever the depth.
//!
//! The hidden states between two layers are in files in the run's own directory. They are what makes the run
//! resumable in the middle of the model; the page cache makes them as good as memory where there is enough.

use std::{path::Path, thread};

use super::{engine::Work, hidden_states::HiddenStates};
use crate::{Result, models::DecoderLayer, store::Parts};

/// Runs every layer of every batch that is not on disk yet; `dir` holds the hidden states.
pub fn run(work: &Work, parts: &mut Parts, dir: &Path) -> Result<()> {
    let layers = work.layers();
    let is_layer_done = |parts: &Parts, layer: usize| {
        (0..work.batches.len()).all(|batch| parts.is_done(batch, layer))
    };
    let Some(first_undone) = (0..layers).find(|&layer| !is_layer_done(parts, layer)) else {
        return Ok(());
    };
    let tokens: Vec<usize> = work.batches.iter().map(|batch| batch.tokens).collect();
    let hidden_size = work.model.sizes().hidden_size;
    // A resumed run takes up the input of the first layer it has to compute, if that survived.
    let path = HiddenStates::path(dir, first_undone);
    let start = match first_undone > 0 && HiddenStates::is_complete(&path, &tokens, hidden_size) {
        true => first_undone,
        false => 0,
    };

    let mut layer = work.load_layer(start)?;
    let mut input: Option<HiddenStates> = match start {
        0 => None,
        _ => Some(HiddenStates::open(path, &tokens, hidden_size)?),
    };
    for layer_idx in start..layers {
        let is_last = layer_idx + 1 == layers;
        let mut output = match is_last {
            true => None,
            false => {
                let path = HiddenStates::path(dir, layer_idx + 1);
                Some(HiddenStates::open(path, &tokens, hidden_size)?)
            }
        };
        // Outputs of an earlier attempt are of use only while the layers before them are not repeated.
        let may_skip = layer_idx >= first_undone;
        let next = thread::scope(|scope| -> Result<Option<Box<dyn DecoderLayer>>> {
            let next = (!is_last).then(|| scope.spawn(move || work.load_layer(layer_idx + 1)));
            for batch in 0..work.batches.len() {
                if may_skip && parts.is_done(batch, layer_idx) {
                    continue;
                }
                work.check_stop()?;
                forward(
                    work,
                    parts,
                    &*layer,
                    (layer_idx, batch),
                    input.as_mut(),
                    output.as_mut(),
                )?;
            }
            match next {
                Some(handle) => handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    .map(Some),
                None => Ok(None),
            }
        })?;
        if let Some(done) = input.take() {
            done.remove()?;
        }
        input = output;
        match next {
            Some(next) => layer = next,
            None => break,
        }
    }
    Ok(())
}

/// One batch through one layer: the hidden states reach the disk before the rows that say so.
fn forward(
    work: &Work,
    parts: &mut Parts,
    layer: &dyn DecoderLayer,
    (layer_idx, batch): (usize, usize),
    input: Option<&mut HiddenStates>,
    output: Option<&mut HiddenStates>,
) -> Result<()> {
    let mut batch = work.batch(batch);
    let weights = work.weights;
    let hidden_states = match input {
        None => work.model.embed(weights, &batch.input_ids)?,
        Some(input) => input.read(batch.index, &weights.device, weights.dtype)?,
    };
    let next = work
        .clock
        .compute(|| layer.forward(&hidden_states, &batch.sequences, &mut batch.observer))?;
    drop(hidden_states);
    if let (Some(output), Some(next)) = (output, next) {
        work.clock.write(|| output.write(batch.index, &next))?;
    }
    let rows = batch.observer.take();
    // Layers before the first undone one are repeated only for their hidden states.
    if !parts.is_done(batch.index, layer_idx) {
        work.write(parts, batch.index, &rows)?;
    }
    work.passed(batch.sequences.tokens());
    Ok(())
}
