//! Attention over packed sequences, with statistics of every row.
//!
//! [`Attention::forward`] chooses between three forms that give the same numbers:
//! - `fused`: softmax and sigmoid on the CPU, blocked over queries and keys, one pass per block, parallel over
//!   sequences, heads and query blocks; the (query, key) map never exists;
//! - `trained`: every function on the CPU in float32 with gradients, for short sequences; the map never exists either;
//! - `tensor`: candle operations on any device and with gradients, blocked over queries; it is also where
//!   the full map comes from when it is asked for.

mod features;
mod function;
mod fused;
mod kind;
mod tensor;
mod trained;

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

pub use features::FeatureMap;
pub(crate) use function::softmax;
pub use function::{Activation, AttentionFunction};
pub use kind::{AttentionKind, Features};
pub(crate) use tensor::BLOCK_ELEMENTS;

use super::{PackedSequences, cpu, operation};
use crate::metrics::RowStatistics;

/// What is fixed about one layer's attention.
#[derive(Debug, Clone)]
pub struct Attention {
    /// From scores to weights.
    pub function: AttentionFunction,
    /// Heads.
    pub num_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Multiplies the dot products of queries and keys.
    pub scale: f64,
    /// ALiBi slope of each head; key `j` of query `i` gets the bias `slope · (j − i)`.
    pub alibi_slopes: Option<Vec<f64>>,
    /// Whether a query sees only its own and earlier positions.
    pub causal: bool,
}

/// What attention works on: (tokens, num_heads · head_dim) each, rows contiguous (views into a fused
/// projection are fine).
#[derive(Debug, Clone, Copy)]
pub struct States<'a> {
    /// Queries.
    pub query: &'a Tensor,
    /// Keys.
    pub key: &'a Tensor,
    /// Values; needed only for `attn_output`.
    pub value: Option<&'a Tensor>,
}

impl<'a> States<'a> {
    /// Those that are there, by name.
    fn named(self) -> impl Iterator<Item = (&'static str, &'a Tensor)> {
        let value = self.value.map(|value| ("value", value));
        [("query", self.query), ("key", self.key)]
            .into_iter()
            .chain(value)
    }
}

/// What a forward pass of [`Attention`] should give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The weighted sum of the values.
    pub attn_output: bool,
    /// The statistics of every row.
    pub rows: bool,
    /// The full map.
    pub attn_weights: bool,
}

impl Wanted {
    /// The weighted sum of the values alone.
    const ATTN_OUTPUT: Self = Self {
        attn_output: true,
        rows: false,
        attn_weights: false,
    };
}

/// What [`Attention::forward`] returns: the parts that were wanted.
#[derive(Debug, Default)]
pub struct AttentionResult {
    /// (tokens, num_heads · head_dim), in the type of the values.
    pub attn_output: Option<Tensor>,
    /// (num_heads, tokens).
    pub rows: Option<RowStatistics>,
    /// One (num_heads, q_len, kv_len) tensor per sequence, float32, or float64 for states of float64; sequences
    /// without tokens have none, so the list is as long as the non-empty sequences.
    pub attn_weights: Option<Vec<Tensor>>,
}

impl Attention {
    /// Attention within each sequence. Scores and weights are float64 for states of float64 and float32 for any
    /// other; statistics are float32.
    pub fn forward(
        &self,
        states: States,
        sequences: &PackedSequences,
        wanted: Wanted,
    ) -> Result<AttentionResult> {
        self.check(states, sequences, wanted)?;
        if let (Some(value), true) = (states.value, wanted == Wanted::ATTN_OUTPUT)
            && trained::TrainedAttention::exists(self)
            && operation::is_applicable(&[states.query, states.key, value])
        {
            let operation = trained::TrainedAttention::new(self.clone(), sequences.clone());
            return Ok(AttentionResult {
                attn_output: Some(operation.apply(states.query, states.key, value)?),
                ..AttentionResult::default()
            });
        }
        let fusable = states.named().all(|(_, states)| cpu::is_fusable(states));
        match fused::Function::of(self.function) {
            Some(function) if fusable && !wanted.attn_weights => {
                fused::forward(self, function, states, sequences, wanted)
            }
            _ => tensor::forward(self, states, sequences, wanted),
        }
    }

    /// The map of neighbouring `heads` for the sequence that `tokens` are: (heads, q_len, kv_len), float32, exactly 0
    /// where a query does not see a key.
    pub fn attn_weights(
        &self,
        states: States,
        tokens: Range<usize>,
        heads: Range<usize>,
    ) -> Result<Tensor> {
        let part = |states: &Tensor| {
            states.narrow(0, tokens.start, tokens.len())?.narrow(
                1,
                heads.start * self.head_dim,
                heads.len() * self.head_dim,
            )
        };
        let (query, key) = (part(states.query)?, part(states.key)?);
        let of_heads = Attention {
            num_heads: heads.len(),
            alibi_slopes: self
                .alibi_slopes
                .as_ref()
                .map(|slopes| slopes.get(heads.clone()).unwrap_or_default().to_vec()),
            ..self.clone()
        };
        let states = States {
            query: &query,
            key: &key,
            value: None,
        };
        let wanted = Wanted {
            attn_weights: true,
            ..Wanted::default()
        };
        let sequence = PackedSequences::from_lengths(&[tokens.len()]);
        let maps = of_heads.forward(states, &sequence, wanted)?.attn_weights;
        match maps.and_then(|maps| maps.into_iter().next()) {
            Some(map) => Ok(map),
            None => bail!("a sequence without tokens has no map"),
        }
    }

    /// Whether there is a fused form for float32 on the CPU: no block of the map is in memory there.
    pub(crate) fn has_fused_form(&self) -> bool {
        fused::Function::of(self.function).is_some()
    }

    fn check(&self, states: States, sequences: &PackedSequences, wanted: Wanted) -> Result<()> {
        let expected = (sequences.tokens(), self.num_heads * self.head_dim);
        for (name, states) in states.named() {
            if states.dims2()? != expected {
                bail!(
                    "{name}_states: expected shape {expected:?}, found {:?}",
                    states.dims()
                )
            }
        }
        if wanted.attn_output && states.value.is_none() {
            bail!("the attention output needs value_states")
        }
        if let Some(slopes) = &self.alibi_slopes
            && slopes.len() != self.num_heads
        {
            bail!("{} ALiBi slopes for {} heads", slopes.len(), self.num_heads)
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
