//! The fused form: float32 on the CPU, blocked over queries and keys, online, without the map.
//!
//! A task is a block of query rows of one head of one sequence. It walks over blocks of keys: scores by one
//! matrix product, then one pass per row that turns scores into (unscaled) weights and updates the row's
//! running statistics, then the product with the values. For softmax the running maximum moves, and what
//! was summed so far is rescaled (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135);
//! the entropy follows from Σ e^x and Σ x e^x alone. Keys after the block's last query are never touched.

use candle_core::{Result, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::{Attention, AttentionFunction, AttentionResult, Wanted};
use crate::{
    layers::{
        PackedSequences,
        cpu::{self, Rows, exp, ln, with_simd},
    },
    metrics::{NO_WEIGHT, RowStatistics},
};

/// Query rows and keys of a block: the scores (128 KiB) stay in the second-level cache.
const Q_BLOCK: usize = 64;
const KV_BLOCK: usize = 512;

/// Scores of sigmoid rows are not taken below this, where e^−x would overflow; the weight there is 1e−38.
const SIGMOID_FLOOR: f32 = -87.0;

pub(super) fn forward(
    attention: &Attention,
    query_states: &Tensor,
    key_states: &Tensor,
    value_states: Option<&Tensor>,
    sequences: &PackedSequences,
    wanted: Wanted,
) -> Result<AttentionResult> {
    let value_states = value_states.filter(|_| wanted.attn_output);
    let (query_storage, query_layout) = query_states.storage_and_layout();
    let (key_storage, key_layout) = key_states.storage_and_layout();
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
    let is_finite = |values: &Rows| {
        (0..values.rows)
            .into_par_iter()
            .all(|i| cpu::is_finite(values.row(i)))
    };
    let values_are_finite = value.as_ref().is_none_or(is_finite);
    {
        let out = Outputs::new(&mut rows, &mut output, tokens, width);
        tasks
            .par_iter()
            .for_each_init(Scratch::default, |scratch, task| {
                let block = Block {
                    attention,
                    slope: slopes.map(|s| s[task.head] as f32),
                    query: &query,
                    key: &key,
                    value: value.as_ref(),
                    values_are_finite,
                    task,
                };
                block.run(scratch, &out);
            });
    }
    let attn_output = match value {
        Some(_) => Some(Tensor::from_vec(
            output,
            (tokens, width),
            query_states.device(),
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
    start: usize,
    end: usize,
    q0: usize,
    q1: usize,
    head: usize,
}

fn tasks(sequences: &PackedSequences, heads: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for range in sequences.ranges() {
        for head in 0..heads {
            for q0 in (0..range.len()).step_by(Q_BLOCK) {
                tasks.push(Task {
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

/// What is known of a row after the keys seen so far.
#[derive(Clone, Copy)]
struct Running {
    /// Softmax: the largest score. Sigmoid: the largest weight.
    max: f32,
    argmax: u32,
    /// Softmax: Σ e^(s − max). Sigmoid: Σ w.
    total: f32,
    /// Softmax: Σ (s − max) e^(s − max). Sigmoid: Σ w ln w.
    moment: f32,
    /// Softmax: the score of key 0. Sigmoid: its weight.
    first: f32,
}

impl Running {
    const START: Running = Running {
        max: f32::NEG_INFINITY,
        argmax: 0,
        total: 0.0,
        moment: 0.0,
        first: 0.0,
    };

    /// Takes a block of softmax scores, leaves e^(s − max) in their place; returns the factor by which
    /// everything summed before has shrunk.
    #[inline(always)]
    fn softmax(&mut self, scores: &mut [f32], k0: usize) -> f32 {
        if k0 == 0 {
            self.first = scores[0];
        }
        let block_max = cpu::max(scores);
        let mut factor = 1.0;
        // A NaN enters too, and then stays.
        if block_max > self.max || block_max.is_nan() {
            if self.total > 0.0 {
                factor = exp(self.max - block_max);
                self.moment = factor * (self.moment + self.total * (self.max - block_max));
                self.total *= factor;
            }
            self.max = block_max;
            self.argmax = (k0 + position(scores, block_max)) as u32;
        }
        let max = self.max;
        let (mut total, mut moment) = ([0f32; cpu::LANES], [0f32; cpu::LANES]);
        let mut chunks = scores.chunks_exact_mut(cpu::LANES);
        for chunk in &mut chunks {
            for ((s, t), m) in chunk.iter_mut().zip(&mut total).zip(&mut moment) {
                let x = *s - max;
                let e = exp(x);
                *s = e;
                *t += e;
                // Where e has vanished x may be −∞, and their product NaN.
                *m += if e == 0.0 { 0.0 } else { x * e };
            }
        }
        for s in chunks.into_remainder() {
            let x = *s - max;
            let e = exp(x);
            *s = e;
            self.total += e;
            self.moment += if e == 0.0 { 0.0 } else { x * e };
        }
        self.total += total.iter().sum::<f32>();
        self.moment += moment.iter().sum::<f32>();
        factor
    }

    /// Takes a block of sigmoid scores, leaves the weights in their place.
    #[inline(always)]
    fn sigmoid(&mut self, scores: &mut [f32], k0: usize) {
        let (mut total, mut moment) = ([0f32; cpu::LANES], [0f32; cpu::LANES]);
        let weigh = |s: f32| {
            let x = if s < SIGMOID_FLOOR { SIGMOID_FLOOR } else { s };
            let inverse = 1.0 + exp(-x);
            let w = 1.0 / inverse;
            (w, -w * ln(inverse))
        };
        let mut chunks = scores.chunks_exact_mut(cpu::LANES);
        for chunk in &mut chunks {
            for ((s, t), m) in chunk.iter_mut().zip(&mut total).zip(&mut moment) {
                let (w, w_ln_w) = weigh(*s);
                *s = w;
                *t += w;
                *m += w_ln_w;
            }
        }
        for s in chunks.into_remainder() {
            let (w, w_ln_w) = weigh(*s);
            *s = w;
            self.total += w;
            self.moment += w_ln_w;
        }
        self.total += total.iter().sum::<f32>();
        self.moment += moment.iter().sum::<f32>();
        if k0 == 0 {
            self.first = scores[0];
        }
        let block_max = cpu::max(scores);
        if block_max > self.max || block_max.is_nan() {
            self.max = block_max;
            self.argmax = (k0 + position(scores, block_max)) as u32;
        }
    }

    /// (max, total, first, entropy) of the finished row.
    #[inline(always)]
    fn finish(&self, function: AttentionFunction) -> (f32, f32, f32, f32) {
        // −Σ p ln p with p = w / total.
        let entropy = ln(self.total) - self.moment / self.total;
        // Rounding may leave a hair below 0; `f32::max` would hide a NaN.
        let is_nothing = entropy < 0.0 || self.total < NO_WEIGHT;
        let entropy = if is_nothing { 0.0 } else { entropy };
        match function {
            AttentionFunction::Softmax => {
                let first = exp(self.first - self.max) / self.total;
                let inverse = 1.0 / self.total;
                // Exactly 1 for any finite total, and NaN for a NaN.
                let total = if inverse.is_finite() { 1.0 } else { f32::NAN };
                (inverse, total, first, entropy)
            }
            AttentionFunction::Sigmoid { .. } => (self.max, self.total, self.first, entropy),
        }
    }
}

/// The first position that holds `value`; 0 if none does (`value` is NaN).
#[inline(always)]
fn position(xs: &[f32], value: f32) -> usize {
    for (c, chunk) in xs.chunks(cpu::LANES).enumerate() {
        let mut found = false;
        for &x in chunk {
            found |= x == value;
        }
        if found {
            let at = chunk.iter().position(|&x| x == value).unwrap_or(0);
            return c * cpu::LANES + at;
        }
    }
    0
}

struct Block<'a> {
    attention: &'a Attention,
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
            let (max, total, first, entropy) = running.finish(self.attention.function);
            let token = task.start + task.q0 + i;
            let row = &mut scratch.output[i * head_dim..(i + 1) * head_dim];
            if self.value.is_some() && self.attention.function == AttentionFunction::Softmax {
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
        let logit_bias = match self.attention.function {
            AttentionFunction::Softmax => 0.0,
            AttentionFunction::Sigmoid { logit_bias } => logit_bias as f32,
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
            match self.attention.function {
                AttentionFunction::Softmax => {
                    let factor = running.softmax(scores, k0);
                    if factor != 1.0 {
                        let row = &mut output[i * head_dim..(i + 1) * head_dim];
                        row.iter_mut().for_each(|o| *o *= factor);
                    }
                }
                AttentionFunction::Sigmoid { .. } => running.sigmoid(scores, k0),
            }
        }
    }
}

/// A strided (rows, columns) view for the matrix product.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    fn new(source: &Rows<'a>, row: usize, column: usize, rows: usize, columns: usize) -> Self {
        Self {
            data: &source.data[row * source.stride + column..],
            rows,
            columns,
            row_stride: source.stride,
            column_stride: 1,
        }
    }

    fn dense(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Whether every element the view names exists.
    fn is_within(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.data.len()
    }
}

/// `out (+)= lhs · rhs`, on this thread; `out` is a dense (rows, columns) matrix.
fn multiply(out: &mut [f32], rows: usize, columns: usize, lhs: Matrix, rhs: Matrix, add: bool) {
    assert!(out.len() == rows * columns && lhs.rows == rows && rhs.columns == columns);
    assert!(lhs.columns == rhs.rows && lhs.is_within() && rhs.is_within());
    // SAFETY: the assertions hold every access of the product within the three slices, and `out` is
    // borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            lhs.columns,
            out.as_mut_ptr(),
            1,
            columns as isize,
            add,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The results of all tasks, written from many threads to disjoint places.
struct Outputs {
    max: *mut f32,
    argmax: *mut u32,
    total: *mut f32,
    first: *mut f32,
    entropy: *mut f32,
    output: *mut f32,
    output_len: usize,
    rows: usize,
    tokens: usize,
    width: usize,
}

// SAFETY: the pointers are only written through, at places that no two tasks share.
unsafe impl Sync for Outputs {}

impl Outputs {
    fn new(rows: &mut RowStatistics, output: &mut [f32], tokens: usize, width: usize) -> Self {
        Self {
            max: rows.max.as_mut_ptr(),
            argmax: rows.argmax.as_mut_ptr(),
            total: rows.total.as_mut_ptr(),
            first: rows.first.as_mut_ptr(),
            entropy: rows.entropy.as_mut_ptr(),
            output: output.as_mut_ptr(),
            output_len: output.len(),
            rows: rows.max.len(),
            tokens,
            width,
        }
    }

    /// SAFETY: no other thread may write the same (head, token).
    #[allow(clippy::too_many_arguments)]
    unsafe fn write_row(
        &self,
        head: usize,
        token: usize,
        max: f32,
        argmax: u32,
        total: f32,
        first: f32,
        entropy: f32,
    ) {
        let at = head * self.tokens + token;
        assert!(at < self.rows);
        // SAFETY: `at` is within all five arrays, which have the same length.
        unsafe {
            *self.max.add(at) = max;
            *self.argmax.add(at) = argmax;
            *self.total.add(at) = total;
            *self.first.add(at) = first;
            *self.entropy.add(at) = entropy;
        }
    }

    /// SAFETY: no other thread may write the same columns of the same token.
    unsafe fn write_output(&self, token: usize, column: usize, values: &[f32]) {
        let at = token * self.width + column;
        assert!(at + values.len() <= self.output_len);
        // SAFETY: the range is within the output, and `values` is another allocation.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.output.add(at), values.len()) }
    }
}
