//! What it takes to look at a text, estimated before anything is computed.

use std::path::Path;

use candle_core::{DType, Device};

use super::triangle;
use crate::{
    Error, Result,
    machine::{self, human},
    models::DecoderModel,
    observe::bytes_for_maps,
    scan::plan::{Demand, Memory, Plan},
};

/// Copies of the page's data: packed, as JSON, and as the page.
const PAGE_COPIES: u64 = 3;

/// Bytes per weight of a table: the weight itself, which hardly shrinks, and next to nothing for its place.
const TABLE_BYTES: u64 = 4;

/// The memory plan of a single text of so many tokens.
///
/// # Errors
/// [`Error::DoesNotFit`] if there is less.
pub fn memory(
    model: &dyn DecoderModel,
    device: &Device,
    dtype: DType,
    tokens: usize,
    page_bytes: u64,
) -> Result<Plan> {
    let map = 4 * (tokens as u64).saturating_mul(tokens as u64);
    let maps = bytes_for_maps(tokens, model.sizes().num_attention_heads);
    let demand = Demand {
        element_bytes: dtype.size_in_bytes() as u64,
        is_fused: device.is_cpu() && dtype == DType::F32 && model.attention().has_fused_form(),
        tokens: tokens as u64,
        longest: tokens as u64,
        batch_tokens: None,
        beside: maps.saturating_add(PAGE_COPIES.saturating_mul(page_bytes)),
        available: machine::available(device),
    };
    Plan::new(model, demand, Memory::Streamed).map_err(|error| match error {
        Error::DoesNotFit(_) => Error::DoesNotFit(too_long(model, tokens, map, &demand)),
        other => other,
    })
}

fn too_long(model: &dyn DecoderModel, tokens: usize, map: u64, demand: &Demand) -> String {
    let unbounded = Demand {
        available: None,
        ..*demand
    };
    let needed = Plan::new(model, unbounded, Memory::Streamed)
        .map(|plan| plan.needed(plan.executor))
        .unwrap_or(u64::MAX);
    format!(
        "the maps of {tokens} tokens ({} for each head, a few heads at a time), two layers and the page need about {}, \
         and {} are available: use a smaller --max-seq-len or --max-page-mib, or free memory",
        human(map),
        human(needed),
        human(demand.available.unwrap_or(0)),
    )
}

/// Fails if the disk has no room for the table of `heads` maps.
///
/// # Errors
/// [`Error::DoesNotFit`].
pub fn disk(table: &Path, heads: usize, tokens: usize) -> Result<()> {
    let needed = TABLE_BYTES * heads as u64 * triangle::elements(tokens) as u64;
    match machine::available_on_disk(table) {
        Some(free) if free < needed => Err(Error::DoesNotFit(format!(
            "{}: the weights of {heads} heads need up to {} there, and the disk has {} left: choose another \
             --weights, or fewer heads with --layers and --heads",
            table.display(),
            human(needed),
            human(free),
        ))),
        _ => Ok(()),
    }
}
