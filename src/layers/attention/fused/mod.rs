//! The fused form: float32 on the CPU, blocked over queries and keys, online, without the map.
//!
//! A task is a block of query rows of one head of one sequence. It walks over blocks of keys: scores by one
//! matrix product, then one pass per row that turns scores into (unscaled) weights and updates the row's
//! running statistics, then the product with the values. For softmax the running maximum moves, and what
//! was summed so far is rescaled (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135);
//! the entropy follows from Σ e^x and Σ x e^x alone. Keys after the block's last query are never touched.

mod outputs;
mod running;

use candle_core::{Result, Tensor};
use outputs::Outputs;
use rayon::prelude::*;
use running::Running;

use super::{Activation, Attention, AttentionFunction, AttentionResult, States, Wanted};
use crate::{
    layers::{
        PackedSequences,
        cpu::{self, Rows, with_simd},
        product::{Matrix, multiply},
    },
    metrics::RowStatistics,
};

/// Query rows and keys of a block: the scores (256 KiB) stay in the second-level cache.
const Q_BLOCK: usize = 128;
const KV_BLOCK: usize = 512;

/// The functions that have a fused form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Softmax,
    Sigmoid { logit_bias: f32 },
}

impl Function {
    pub(super) fn of(function: AttentionFunction) -> Option<Self> {
        match function {
            AttentionFunction::Softmax => Some(Self::Softmax),
            AttentionFunction::Elementwise {
                activation: Activation::Sigmoid,
                logit_bias,
            } => Some(Self::Sigmoid {
                logit_bias: logit_bias as f32,
            }),
            _ => None,
        }
    }
}

pub(super) fn forward(
    attention: &Attention,
    function: Function,
    states: States,
    sequences: &PackedSequences,
    wanted: Wanted,
) -> Result<AttentionResult> {
    let value_states = states.value.filter(|_| wanted.attn_output);
    let (query_storage, query_layout) = states.query.storage_and_layout();
    let (key_storage, key_layout) = states.key.storage_and_layout();
    let value_storage = value_states.map(Tensor::storage_and_layout);
    let query = Rows::new(cpu::cpu_storage(&query_storage)?, query_layout)?;
    let key = Rows::new(cpu::cpu_storage(&key_storage)?, key_layout)?;
    let value = match &value_storage {
        Some((storage, layout)) => Some(Rows::new(cpu::cpu_storage(storage)?, layout)?),
        None => None,
    };

    let (heads, tokens) = (attention.num_heads, sequences.tokens());
    let width = heads * attention.head_dim;
    let mut rows = RowStatistics::zeros(heads * tokens);
    let mut output = vec![0f32; if value.is_some() { tokens * width } else { 0 }];
    let tasks = tasks(sequences, heads);
    let slopes = attention.alibi_slopes.as_deref();
    // A masked weight is 0, but 0 · NaN is NaN: in the product of a block it would reach queries before it.
    let is_finite = |rows: std::ops::Range<usize>| {
        let value = value.as_ref();
        value.is_none_or(|value| rows.into_par_iter().all(|i| cpu::is_finite(value.row(i))))
    };
    let values_are_finite: Vec<bool> = sequences.ranges().map(is_finite).collect();
    {
        let out = Outputs::new(&mut rows, &mut output, tokens, width);
        tasks
            .par_iter()
            .for_each_init(Scratch::default, |scratch, task| {
                let block = Block {
                    attention,
                    function,
                    slope: slopes.map(|s| s[task.head] as f32),
                    query: &query,
                    key: &key,
                    value: value.as_ref(),
                    values_are_finite: values_are_finite[task.sequence],
                    task,
                };
                block.run(scratch, &out);
            });
    }
    let attn_output = match value {
        Some(_) => Some(Tensor::from_vec(
            output,
            (tokens, width),
            states.query.device(),
        )?),
        None => None,
    };
    Ok(AttentionResult {
        attn_output,
        rows: wanted.rows.then_some(rows),
        attn_weights: None,
    })
}

/// Query rows `q0..q1` (counted within the sequence) of one head of the sequence at `start..end`.
struct Task {
    sequence: usize,
    start: usize,
    end: usize,
    q0: usize,
    q1: usize,
    head: usize,
}

fn tasks(sequences: &PackedSequences, heads: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (sequence, range) in sequences.ranges().enumerate() {
        for head in 0..heads {
            for q0 in (0..range.len()).step_by(Q_BLOCK) {
                tasks.push(Task {
                    sequence,
                    start: range.start,
                    end: range.end,
                    q0,
                    q1: (q0 + Q_BLOCK).min(range.len()),
                    head,
                });
            }
        }
    }
    tasks
}

/// Per-thread working memory.
#[derive(Default)]
struct Scratch {
    /// (Q_BLOCK, KV_BLOCK): scores, then unscaled weights.
    weights: Vec<f32>,
    /// (Q_BLOCK, head_dim).
    output: Vec<f32>,
    running: Vec<Running>,
}

struct Block<'a> {
    attention: &'a Attention,
    function: Function,
    slope: Option<f32>,
    query: &'a Rows<'a>,
    key: &'a Rows<'a>,
    value: Option<&'a Rows<'a>>,
    values_are_finite: bool,
    task: &'a Task,
}

impl Block<'_> {
    fn run(&self, scratch: &mut Scratch, out: &Outputs) {
        let (task, head_dim) = (self.task, self.attention.head_dim);
        let q_len = task.q1 - task.q0;
        let column = task.head * head_dim;
        scratch.weights.resize(Q_BLOCK * KV_BLOCK, 0.0);
        scratch.output.clear();
        scratch.output.resize(q_len * head_dim, 0.0);
        scratch.running.clear();
        scratch.running.resize(q_len, Running::START);

        let visible = if self.attention.causal {
            task.q1
        } else {
            task.end - task.start
        };
        for k0 in (0..visible).step_by(KV_BLOCK) {
            let kv_len = KV_BLOCK.min(visible - k0);
            let query = Matrix::new(self.query, task.start + task.q0, column, q_len, head_dim);
            let key = Matrix::new(self.key, task.start + k0, column, kv_len, head_dim);
            let weights = &mut scratch.weights[..q_len * kv_len];
            multiply(weights, q_len, kv_len, query, key.transposed(), false);
            with_simd(
                #[inline(always)]
                || {
                    self.update(
                        weights,
                        kv_len,
                        k0,
                        &mut scratch.running,
                        &mut scratch.output,
                    )
                },
            );
            if let Some(value) = self.value {
                let value = Matrix::new(value, task.start + k0, column, kv_len, head_dim);
                if self.values_are_finite {
                    let weights = Matrix::dense(weights, q_len, kv_len);
                    multiply(&mut scratch.output, q_len, head_dim, weights, value, true);
                } else {
                    self.add_visible(weights, kv_len, k0, value, &mut scratch.output);
                }
            }
        }
        for (i, running) in scratch.running.iter().enumerate() {
            let (max, total, first, entropy) = running.finish(self.function);
            let token = task.start + task.q0 + i;
            let row = &mut scratch.output[i * head_dim..(i + 1) * head_dim];
            if self.value.is_some() && self.function == Function::Softmax {
                // The largest weight is e^0 over the total.
                row.iter_mut().for_each(|o| *o *= max);
            }
            // SAFETY: the tasks' (head, token) pairs are disjoint, and each is written once.
            unsafe {
                out.write_row(task.head, token, max, running.argmax, total, first, entropy);
                if self.value.is_some() {
                    out.write_output(token, column, row);
                }
            }
        }
    }

    /// Keys of the block at `k0` that query row `i` of this task sees.
    #[inline(always)]
    fn visible(&self, i: usize, k0: usize, kv_len: usize) -> usize {
        match self.attention.causal {
            true => (self.task.q0 + i + 1).saturating_sub(k0).min(kv_len),
            false => kv_len,
        }
    }

    /// `output += weights · value`, row by row, without what a row does not see.
    fn add_visible(
        &self,
        weights: &[f32],
        kv_len: usize,
        k0: usize,
        value: Matrix,
        output: &mut [f32],
    ) {
        let rows = weights
            .chunks_exact(kv_len)
            .zip(output.chunks_exact_mut(value.columns));
        for (i, (weights, output)) in rows.enumerate() {
            for (j, weight) in weights[..self.visible(i, k0, kv_len)].iter().enumerate() {
                let value = &value.data[j * value.row_stride..][..value.columns];
                for (o, v) in output.iter_mut().zip(value) {
                    *o += weight * v;
                }
            }
        }
    }

    /// Scores to unscaled weights, row by row, in place; masked weights become 0.
    #[inline(always)]
    fn update(
        &self,
        weights: &mut [f32],
        kv_len: usize,
        k0: usize,
        running: &mut [Running],
        output: &mut [f32],
    ) {
        let (scale, head_dim) = (self.attention.scale as f32, self.attention.head_dim);
        let logit_bias = match self.function {
            Function::Softmax => 0.0,
            Function::Sigmoid { logit_bias } => logit_bias,
        };
        for (i, (row, running)) in weights.chunks_exact_mut(kv_len).zip(running).enumerate() {
            let q = self.task.q0 + i;
            let visible = self.visible(i, k0, kv_len);
            let (scores, masked) = row.split_at_mut(visible);
            masked.fill(0.0);
            if scores.is_empty() {
                continue;
            }
            let slope = self.slope.unwrap_or(0.0);
            let offset = k0 as f32 - q as f32;
            for (j, s) in scores.iter_mut().enumerate() {
                *s = *s * scale + ((offset + j as i32 as f32) * slope + logit_bias);
            }
            match self.function {
                Function::Softmax => {
                    let factor = running.softmax(scores, k0);
                    if factor != 1.0 {
                        let row = &mut output[i * head_dim..(i + 1) * head_dim];
                        row.iter_mut().for_each(|o| *o *= factor);
                    }
                }
                Function::Sigmoid { .. } => running.sigmoid(scores, k0),
            }
        }
    }
}
