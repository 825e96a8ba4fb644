//! Layers one after the other, for whoever needs each only once.

use std::thread;

use crate::{Result, models::DecoderLayer};

/// Hands `visit` each of the `layers` in turn. The next one is read while one is visited, and a layer is dropped
/// when it has been visited: two are in memory, whatever the depth.
pub(crate) fn each_layer(
    layers: &[usize],
    load: &(dyn Fn(usize) -> Result<Box<dyn DecoderLayer>> + Sync),
    visit: &mut dyn FnMut(usize, &dyn DecoderLayer) -> Result<()>,
) -> Result<()> {
    let Some(&first) = layers.first() else {
        return Ok(());
    };
    let mut layer = load(first)?;
    for (i, &layer_idx) in layers.iter().enumerate() {
        let next = thread::scope(|scope| -> Result<Option<Box<dyn DecoderLayer>>> {
            let next = layers
                .get(i + 1)
                .map(|&next| scope.spawn(move || load(next)));
            visit(layer_idx, &*layer)?;
            match next.map(|handle| handle.join()) {
                Some(Ok(next)) => next.map(Some),
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => Ok(None),
            }
        })?;
        match next {
            Some(next) => layer = next,
            None => break,
        }
    }
    Ok(())
}
