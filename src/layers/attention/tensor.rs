//! The tensor form: candle operations, on any device, with gradients.
//!
//! Neighbouring sequences of equal length are treated as one block. Without gradients and without a wish
//! for the map, queries are taken in blocks so that memory stays bounded whatever the length.
//!
//! A NaN among the values reaches the output of every query of its sequence here, also of those before it (0 ·
//! NaN is NaN); the fused form keeps it from them. Statistics of the layer itself do not depend on values.

use candle_core::{D, DType, IndexOp, Result, Tensor};
use candle_transformers::utils::build_causal_mask;

use super::{Attention, AttentionResult, States, Wanted};
use crate::{
    layers::PackedSequences,
    metrics::{NO_WEIGHT, RowStatistics},
};

/// Elements of the largest (sequences, heads, queries, keys) block of scores: 256 MiB of float32.
pub const BLOCK_ELEMENTS: usize = 1 << 26;

pub(super) fn forward(
    attention: &Attention,
    states: States,
    sequences: &PackedSequences,
    wanted: Wanted,
) -> Result<AttentionResult> {
    let (heads, tokens) = (attention.num_heads, sequences.tokens());
    let mut rows = wanted.rows.then(|| RowStatistics::zeros(heads * tokens));
    let mut outputs = Vec::new();
    let mut maps = Vec::new();
    let value_states = states.value.filter(|_| wanted.attn_output);
    let tracked = states.query.track_op() || states.key.track_op();
    let dtype = match states.query.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    for (first, count, length) in sequences.equal_length_runs() {
        // (sequences, heads, length, head_dim)
        let split = |states: &Tensor| -> Result<Tensor> {
            states
                .narrow(0, first, count * length)?
                .reshape((count, length, heads, attention.head_dim))?
                .transpose(1, 2)?
                .contiguous()
        };
        let query = match attention.scale {
            1.0 => split(states.query)?.to_dtype(dtype)?,
            scale => (split(states.query)?.to_dtype(dtype)? * scale)?,
        };
        let key = split(states.key)?.to_dtype(dtype)?.t()?;
        let value = match value_states {
            Some(states) => Some((split(states)?.to_dtype(dtype)?, states.dtype())),
            None => None,
        };
        let q_block = if tracked || wanted.attn_weights {
            length
        } else {
            (BLOCK_ELEMENTS / (count * heads * length)).clamp(1, length)
        };
        let (mut block_outputs, mut block_maps) = (Vec::new(), Vec::new());
        for q0 in (0..length).step_by(q_block) {
            let q_len = q_block.min(length - q0);
            let kv_len = if attention.causal { q0 + q_len } else { length };
            let bias = Bias::new(attention, q0, q_len, kv_len, &query)?;
            let attn_scores = query
                .narrow(2, q0, q_len)?
                .matmul(&key.narrow(3, 0, kv_len)?)?;
            let attn_weights = bias.weights(attention, &attn_scores)?;
            if let Some(rows) = &mut rows {
                let block = BlockRows {
                    first,
                    length,
                    q0,
                    tokens,
                };
                block.fill(rows, &attn_weights)?;
            }
            if let Some((value, dtype)) = &value {
                let value = value.narrow(2, 0, kv_len)?.contiguous()?;
                block_outputs.push(attn_weights.matmul(&value)?.to_dtype(*dtype)?);
            }
            if wanted.attn_weights {
                block_maps.push(attn_weights);
            }
        }
        if value.is_some() {
            outputs.push(
                Tensor::cat(&block_outputs, 2)?
                    .transpose(1, 2)?
                    .reshape((count * length, heads * attention.head_dim))?,
            );
        }
        for map in &block_maps {
            for i in 0..count {
                maps.push(map.i(i)?);
            }
        }
    }
    let attn_output = match value_states {
        Some(states) if outputs.is_empty() => Some(states.clone()),
        Some(_) => Some(Tensor::cat(&outputs, 0)?),
        None => None,
    };
    Ok(AttentionResult {
        attn_output,
        rows,
        attn_weights: wanted.attn_weights.then_some(maps),
    })
}

/// What is added to the scores of a block of queries, and which of them are masked.
struct Bias {
    /// (heads, q_len, kv_len): ALiBi; none if there is none.
    added: Option<Tensor>,
    /// (q_len, kv_len): 1 where the key is masked; none if no key is.
    masked: Option<Tensor>,
}

impl Bias {
    fn new(
        attention: &Attention,
        q0: usize,
        q_len: usize,
        kv_len: usize,
        of: &Tensor,
    ) -> Result<Self> {
        let (device, dtype) = (of.device(), of.dtype());
        let added = match &attention.alibi_slopes {
            Some(slopes) => {
                let key = Tensor::arange(0, kv_len as i64, device)?.to_dtype(dtype)?;
                let query =
                    Tensor::arange(q0 as i64, (q0 + q_len) as i64, device)?.to_dtype(dtype)?;
                // j − i, exact in float32 for any length a model is trained on.
                let offset = key
                    .reshape((1, 1, kv_len))?
                    .broadcast_sub(&query.reshape((1, q_len, 1))?)?;
                let slopes = Tensor::from_slice(slopes, (attention.num_heads, 1, 1), device)?;
                Some(offset.broadcast_mul(&slopes.to_dtype(dtype)?)?)
            }
            None => None,
        };
        let masked = match attention.causal {
            true => Some(build_causal_mask(q_len, q0, device)?),
            false => None,
        };
        Ok(Self { added, masked })
    }

    /// (sequences, heads, q_len, kv_len) scores → weights; a masked weight is exactly 0.
    fn weights(&self, attention: &Attention, attn_scores: &Tensor) -> Result<Tensor> {
        let scores = match &self.added {
            Some(added) => &attn_scores.broadcast_add(added)?,
            None => attn_scores,
        };
        // Every query sees at least itself, so no row is masked as a whole.
        attention.function.weights(scores, self.masked.as_ref())
    }
}

/// Where a block's rows belong among the rows of the whole batch.
struct BlockRows {
    first: usize,
    length: usize,
    q0: usize,
    tokens: usize,
}

impl BlockRows {
    /// Computes the statistics, in float32, of a (sequences, heads, q_len, kv_len) block of weights.
    fn fill(&self, rows: &mut RowStatistics, attn_weights: &Tensor) -> Result<()> {
        let weights = attn_weights.detach().to_dtype(DType::F32)?;
        let (count, heads, q_len, _) = weights.dims4()?;
        let flat = |t: Tensor| -> Result<Vec<f32>> { t.flatten_all()?.to_vec1() };
        let total = weights.sum(D::Minus1)?;
        // Rows without weight have no shape: their total is taken as infinite, so that every share, and with
        // them the entropy, is 0. A NaN total stays NaN.
        let is_nothing = total.lt(NO_WEIGHT)?;
        let infinite = Tensor::new(f32::INFINITY, weights.device())?.broadcast_as(total.shape())?;
        let divisor = is_nothing
            .where_cond(&infinite, &total)?
            .unsqueeze(D::Minus1)?;
        let share = weights.broadcast_div(&divisor)?;
        // p ln p with 0 ln 0 = 0; a NaN share stays NaN.
        let is_zero = share.eq(0f32)?;
        let logs = is_zero.where_cond(&share.ones_like()?, &share)?.log()?;
        let entropy = flat((share * logs)?.sum(D::Minus1)?.neg()?)?;
        let max = flat(weights.max(D::Minus1)?)?;
        let argmax: Vec<u32> = weights.argmax(D::Minus1)?.flatten_all()?.to_vec1()?;
        let first = flat(weights.narrow(3, 0, 1)?)?;
        let total = flat(total)?;
        for s in 0..count {
            for h in 0..heads {
                let from = (s * heads + h) * q_len;
                let to = h * self.tokens + self.first + s * self.length + self.q0;
                rows.max[to..to + q_len].copy_from_slice(&max[from..from + q_len]);
                rows.argmax[to..to + q_len].copy_from_slice(&argmax[from..from + q_len]);
                rows.total[to..to + q_len].copy_from_slice(&total[from..from + q_len]);
                rows.first[to..to + q_len].copy_from_slice(&first[from..from + q_len]);
                rows.entropy[to..to + q_len].copy_from_slice(&entropy[from..from + q_len]);
            }
        }
        Ok(())
    }
}
