//! What a scan will need, estimated before it begins, and what follows from it.

use std::fmt;

use crate::machine::human;
use crate::{
    Error, Result,
    layers::attention::BLOCK_ELEMENTS,
    models::{DecoderModel, LayerPart},
};

/// Which executor runs the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Memory {
    /// Resident if it fits, streamed otherwise.
    Auto,
    /// All layers in memory, batch after batch.
    Resident,
    /// Layer after layer, all batches through each.
    Streamed,
}

/// The executor that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// All layers in memory, batch after batch.
    Resident,
    /// Layer after layer, all batches through each.
    Streamed,
}

impl fmt::Display for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Executor::Resident => "resident",
            Executor::Streamed => "streamed",
        })
    }
}

/// Tokens of a batch on the CPU unless memory is short or the user says otherwise: enough for matrix products at full
/// rate, little enough to stay small beside the weights.
const BATCH_TOKENS: u64 = 2048;
/// The same where attention runs in the tensor form, on a GPU for instance: it takes more to fill one.
const BATCH_TOKENS_TENSOR: u64 = 8192;
/// What the process needs besides weights and activations.
const BASE_BYTES: u64 = 128 << 20;
/// Of the available memory, what a plan may count on: the estimate is rough and others use the machine.
const USABLE: f64 = 0.85;

/// What the allocator keeps of layers that were dropped and has not found a use for: a third of two layers was
/// measured with a 7B model.
fn kept(two_layers: u64) -> u64 {
    two_layers / 3
}

/// The estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Layers of the model.
    pub layers: u64,
    /// Bytes of all layers, as they are computed with.
    pub all_layers: u64,
    /// Bytes of the two layers that the streamed executor holds.
    pub two_layers: u64,
    /// Bytes of a batch's activations.
    pub activations: u64,
    /// Bytes that whoever looks at the attention needs beside it.
    pub beside: u64,
    /// Bytes of all hidden states, and of one batch's twice: what the streamed executor needs on disk.
    pub hidden_states_on_disk: u64,
    /// Tokens of the largest batch.
    pub batch_tokens: u64,
    /// Bytes there are, if known.
    pub available: Option<u64>,
    /// The choice.
    pub executor: Executor,
}

/// What the estimate is made from.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Bytes per weight and activation.
    pub element_bytes: u64,
    /// Whether attention runs in the fused form (float32 on the CPU), which needs no map.
    pub is_fused: bool,
    /// Tokens of all samples.
    pub tokens: u64,
    /// Tokens of the longest sample.
    pub longest: u64,
    /// Tokens of the largest batch, if the user has chosen a size.
    pub batch_tokens: Option<u64>,
    /// Bytes that whoever looks at the attention needs beside it: maps, for instance.
    pub beside: u64,
    /// Bytes there are.
    pub available: Option<u64>,
}

impl Plan {
    /// Estimates, and chooses an executor.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] if neither executor, or not the one asked for, fits.
    pub fn new(model: &dyn DecoderModel, demand: Demand, memory: Memory) -> Result<Self> {
        let sizes = model.sizes();
        let layers = sizes.num_hidden_layers as u64;
        let bytes = |part| model.linear_weights(part) as u64 * demand.element_bytes;
        let (whole, last) = (bytes(LayerPart::Whole), bytes(LayerPart::AttentionWeights));
        let all_layers = (layers - 1) * whole + last;
        let two_layers = if layers > 2 { 2 * whole } else { all_layers };

        // At the widest point: hidden states, their normalised copy, and gate, up and their product; or
        // queries, keys and values before and after normalisation with the attention output.
        let width = (sizes.num_attention_heads * sizes.head_dim) as u64;
        let (hidden, inner) = (sizes.hidden_size as u64, sizes.intermediate_size as u64);
        let per_token = demand.element_bytes * (3 * hidden + (3 * inner).max(6 * width));
        let heads = sizes.num_attention_heads as u64;

        let usable = demand.available.map(|bytes| (bytes as f64 * USABLE) as u64);
        // The tensor form holds blocks of the map (scores, weights, shares, what lies between them, and what the
        // allocator keeps of the block before: ten were measured), and float32 copies of its inputs.
        let map = |tokens: u64| match demand.is_fused {
            true => 0,
            false => {
                let block = heads.saturating_mul(tokens).saturating_mul(demand.longest);
                10 * 4 * block.min(BLOCK_ELEMENTS as u64) + 4 * 4 * tokens * width
            }
        };
        let activations =
            |tokens: u64| tokens.saturating_mul(per_token).saturating_add(map(tokens));
        let batch_tokens = demand.batch_tokens.unwrap_or_else(|| {
            let room = usable.map_or(u64::MAX, |usable| {
                let taken = two_layers + kept(two_layers) + BASE_BYTES;
                usable.saturating_sub(taken.saturating_add(demand.beside)) / 2
            });
            let mut tokens = match demand.is_fused {
                true => BATCH_TOKENS,
                false => BATCH_TOKENS_TENSOR,
            };
            while tokens > demand.longest && activations(tokens) > room {
                tokens /= 2;
            }
            tokens
        });
        let batch_tokens = batch_tokens.clamp(demand.longest, demand.tokens.max(demand.longest));
        let mut plan = Self {
            layers,
            all_layers,
            two_layers,
            activations: activations(batch_tokens),
            beside: demand.beside,
            // The input of one layer and the output so far, which replaces it batch by batch.
            hidden_states_on_disk: (demand.tokens + batch_tokens) * hidden * 4,
            batch_tokens,
            available: demand.available,
            executor: Executor::Resident,
        };
        let fits = |needed: u64| usable.is_none_or(|usable| needed <= usable);
        plan.executor = match memory {
            Memory::Resident => Executor::Resident,
            Memory::Streamed => Executor::Streamed,
            Memory::Auto if fits(plan.needed(Executor::Resident)) => Executor::Resident,
            Memory::Auto => Executor::Streamed,
        };
        let needed = plan.needed(plan.executor);
        if !fits(needed) {
            let remedy = match plan.executor {
                Executor::Resident => "use --memory streamed, or a smaller --batch-size",
                Executor::Streamed if demand.batch_tokens.is_some() => {
                    "use a smaller --batch-size or --max-seq-len, or free memory"
                }
                Executor::Streamed => "use a smaller --max-seq-len, or free memory",
            };
            return Err(Error::DoesNotFit(format!(
                "the {} executor needs about {}, and {} are available: {remedy}",
                plan.executor,
                human(needed),
                human(demand.available.unwrap_or(0)),
            )));
        }
        Ok(plan)
    }

    /// Bytes of memory that an executor needs.
    pub fn needed(&self, executor: Executor) -> u64 {
        let weights = match executor {
            Executor::Resident => self.all_layers,
            Executor::Streamed => self.two_layers + kept(self.two_layers),
        };
        BASE_BYTES
            .saturating_add(weights)
            .saturating_add(self.activations)
            .saturating_add(self.beside)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory: resident {}, streamed {}{}; chosen: {} ({} tokens per batch)",
            human(self.needed(Executor::Resident)),
            human(self.needed(Executor::Streamed)),
            match self.available {
                Some(bytes) => format!(", available {}", human(bytes)),
                None => String::new(),
            },
            self.executor,
            self.batch_tokens,
        )
    }
}
