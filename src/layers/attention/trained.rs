//! The fused form with gradients: every attention function, on the CPU in float32, for training.
//!
//! The rows of several (sequence, head) pairs of one length are computed side by side, one pair per lane: then all of
//! them see the same number of keys, and the row functions need no mask. Scores and weighted sums are float32, the
//! functions themselves float64. Nothing is kept between the two passes: weights are cheaper to compute again than to
//! read.

use candle_core::{Result, Shape, Tensor, bail};

use super::{Activation, Attention};
use crate::layers::{
    PackedSequences, cpu,
    lanes::{Lanes, WIDTH},
    operation::{Array, Operation, apply3},
};

/// Of queries, keys and values, (tokens, num_heads · head_dim) each.
pub(super) struct TrainedAttention {
    attention: Attention,
    sequences: PackedSequences,
}

impl TrainedAttention {
    /// Of an attention without ALiBi.
    pub(super) fn new(attention: Attention, sequences: PackedSequences) -> Self {
        Self {
            attention,
            sequences,
        }
    }

    /// Whether there is this form of it.
    pub(super) fn exists(attention: &Attention) -> bool {
        attention.alibi_slopes.is_none()
    }

    /// The attention output, of the shape of the queries.
    pub(super) fn apply(self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        if self.has_influence() {
            return apply3([query, key, value], self);
        }
        // Gradients cannot be left out for tensors that are in the graph.
        apply3([&query.detach(), &key.detach(), value], self)
    }

    /// Whether weights depend on queries and keys.
    fn has_influence(&self) -> bool {
        self.attention.function.activation() != Activation::One
    }

    /// Calls `f` with (sequence, head) pairs of one length, up to [`WIDTH`] at a time, until all had their turn.
    fn for_each_group(&self, states: [Array; 3], mut f: impl FnMut(&Group)) -> Result<()> {
        let Attention {
            num_heads,
            head_dim,
            ..
        } = self.attention;
        let width = num_heads * head_dim;
        let dims = [self.sequences.tokens(), width];
        if states.iter().any(|states| states.dims != dims) {
            bail!("attention: queries, keys and values must have the shape {dims:?}")
        }
        for (first, count, length) in self.sequences.equal_length_runs() {
            let pairs: Vec<usize> = (0..count * num_heads)
                .map(|pair| {
                    let (sequence, head) = (pair / num_heads, pair % num_heads);
                    (first + sequence * length) * width + head * head_dim
                })
                .collect();
            for places in pairs.chunks(WIDTH) {
                f(&Group {
                    places,
                    length,
                    width,
                    head_dim,
                });
            }
        }
        Ok(())
    }

    /// Keys that a query sees.
    fn seen(&self, query: usize, length: usize) -> usize {
        match self.attention.causal {
            true => query + 1,
            false => length,
        }
    }
}

impl Operation<3> for TrainedAttention {
    const NAME: &'static str = "attention";

    fn forward(&self, states: [Array; 3]) -> Result<(Vec<f32>, Shape)> {
        let [query, key, value] = states;
        let mut out = vec![0f32; query.entries.len()];
        self.for_each_group(states, |group| {
            cpu::with_simd(
                #[inline(always)]
                || {
                    let keys = group.columns(key.entries);
                    let mut row = Row::new(group.length);
                    for i in 0..group.length {
                        let seen = self.seen(i, group.length);
                        row.weigh(self, group, i, seen, query.entries, &keys);
                        for (pair, &place) in group.places.iter().enumerate() {
                            let out = group.part_mut(&mut out, place, i);
                            for (j, weight) in row.weights[..seen].iter().enumerate() {
                                let weight = weight.0[pair] as f32;
                                add(out, group.part(value.entries, place, j), weight);
                            }
                        }
                    }
                },
            );
        })?;
        Ok((out, query.dims.into()))
    }

    fn backward(&self, states: [Array; 3], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let [query, key, value] = states;
        let zeros = || vec![0f32; query.entries.len()];
        let (mut of_query, mut of_key, mut of_value) = (zeros(), zeros(), zeros());
        let has_influence = self.has_influence();
        let scale = self.attention.scale as f32;
        self.for_each_group(states, |group| {
            cpu::with_simd(
                #[inline(always)]
                || {
                    let keys = group.columns(key.entries);
                    let values = group.columns(value.entries);
                    let mut row = Row::new(group.length);
                    for i in 0..group.length {
                        let seen = self.seen(i, group.length);
                        row.weigh(self, group, i, seen, query.entries, &keys);
                        if has_influence {
                            row.pull_back(self, group, i, seen, gradient, &values);
                        }
                        for (pair, &place) in group.places.iter().enumerate() {
                            let upstream = group.part(gradient, place, i);
                            for (j, weight) in row.weights[..seen].iter().enumerate() {
                                let of_value = group.part_mut(&mut of_value, place, j);
                                add(of_value, upstream, weight.0[pair] as f32);
                            }
                            if !has_influence {
                                continue;
                            }
                            let of_query = group.part_mut(&mut of_query, place, i);
                            for (j, pulled) in row.pulled[..seen].iter().enumerate() {
                                let factor = scale * pulled.0[pair] as f32;
                                add(of_query, group.part(key.entries, place, j), factor);
                            }
                            let query = group.part(query.entries, place, i);
                            for (j, pulled) in row.pulled[..seen].iter().enumerate() {
                                let factor = scale * pulled.0[pair] as f32;
                                add(group.part_mut(&mut of_key, place, j), query, factor);
                            }
                        }
                    }
                },
            );
        })?;
        Ok(match has_influence {
            true => [Some(of_query), Some(of_key), Some(of_value)],
            false => [None, None, Some(of_value)],
        })
    }
}

/// `sum += x · factor`.
#[inline(always)]
fn add(sum: &mut [f32], x: &[f32], factor: f32) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x * factor;
    }
}

/// (sequence, head) pairs of one length.
struct Group<'a> {
    /// Where each begins among the states.
    places: &'a [usize],
    length: usize,
    /// From one token to the next.
    width: usize,
    head_dim: usize,
}

impl Group<'_> {
    /// What the pair has for its token `at`.
    #[inline(always)]
    fn part<'a>(&self, states: &'a [f32], place: usize, at: usize) -> &'a [f32] {
        &states[place + at * self.width..][..self.head_dim]
    }

    #[inline(always)]
    fn part_mut<'a>(&self, states: &'a mut [f32], place: usize, at: usize) -> &'a mut [f32] {
        &mut states[place + at * self.width..][..self.head_dim]
    }

    /// Of every pair, (head_dim, tokens) in blocks of [`cpu::LANES`] tokens, the last one filled up with zeros:
    /// products with a row come out side by side.
    #[inline(always)]
    fn columns(&self, states: &[f32]) -> Vec<[f32; cpu::LANES]> {
        let blocks = self.length.div_ceil(cpu::LANES);
        let mut columns = vec![[0f32; cpu::LANES]; self.places.len() * blocks * self.head_dim];
        let of_pairs = columns.chunks_exact_mut((blocks * self.head_dim).max(1));
        for (columns, &place) in of_pairs.zip(self.places) {
            for token in 0..self.length {
                let (block, lane) = (token / cpu::LANES, token % cpu::LANES);
                let columns = &mut columns[block * self.head_dim..][..self.head_dim];
                let part = self.part(states, place, token);
                for (column, x) in columns.iter_mut().zip(part) {
                    column[lane] = *x;
                }
            }
        }
        columns
    }

    /// Writes to `out`, lane by lane, the products of each pair's row `at` of `rows` with its first `out.len()` of
    /// `columns`, times `scale`.
    #[inline(always)]
    fn products(
        &self,
        rows: &[f32],
        at: usize,
        columns: &[[f32; cpu::LANES]],
        scale: f64,
        out: &mut [Lanes<WIDTH>],
    ) {
        let blocks = self.length.div_ceil(cpu::LANES);
        for (pair, &place) in self.places.iter().enumerate() {
            let row = self.part(rows, place, at);
            let of_pair = &columns[pair * blocks * self.head_dim..];
            let of_blocks = of_pair.chunks_exact(self.head_dim.max(1));
            for (out, columns) in out.chunks_mut(cpu::LANES).zip(of_blocks) {
                let mut sums = [0f32; cpu::LANES];
                for (x, column) in row.iter().zip(columns) {
                    for (sum, y) in sums.iter_mut().zip(column) {
                        *sum += x * y;
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    out.0[pair] = f64::from(sum) * scale;
                }
            }
        }
    }
}

/// A row of each pair, one per lane.
struct Row {
    scores: Vec<Lanes<WIDTH>>,
    weights: Vec<Lanes<WIDTH>>,
    slopes: Vec<Lanes<WIDTH>>,
    /// Gradients of the weights.
    upstream: Vec<Lanes<WIDTH>>,
    /// Gradients of the scores.
    pulled: Vec<Lanes<WIDTH>>,
}

impl Row {
    fn new(length: usize) -> Self {
        let zeros = || vec![Lanes::ZERO; length];
        Self {
            scores: zeros(),
            weights: zeros(),
            slopes: zeros(),
            upstream: zeros(),
            pulled: zeros(),
        }
    }

    /// Row `i` of the weights, and its slopes.
    #[inline(always)]
    fn weigh(
        &mut self,
        of: &TrainedAttention,
        group: &Group,
        i: usize,
        seen: usize,
        query: &[f32],
        keys: &[[f32; cpu::LANES]],
    ) {
        let scores = &mut self.scores[..seen];
        group.products(query, i, keys, of.attention.scale, scores);
        let (weights, slopes) = (&mut self.weights[..seen], &mut self.slopes[..seen]);
        of.attention.function.row(scores, None, weights, slopes);
    }

    /// The gradients of the scores of row `i`, which was weighed, from those of the output.
    #[inline(always)]
    fn pull_back(
        &mut self,
        of: &TrainedAttention,
        group: &Group,
        i: usize,
        seen: usize,
        gradient: &[f32],
        values: &[[f32; cpu::LANES]],
    ) {
        let upstream = &mut self.upstream[..seen];
        group.products(gradient, i, values, 1.0, upstream);
        let (weights, slopes) = (&self.weights[..seen], &self.slopes[..seen]);
        let pulled = &mut self.pulled[..seen];
        of.attention
            .function
            .pull_back(weights, slopes, upstream, pulled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{
        attention::{AttentionKind, States, Wanted},
        operation::tests::difference,
    };

    /// Sequences of several lengths, some of them equal, in groups that are full and not.
    #[test]
    fn it_has_the_value_and_the_gradients_of_the_tensor_form() -> Result<()> {
        let lengths = [12, 12, 12, 12, 1, 0, 33, 17, 17];
        let sequences = PackedSequences::from_lengths(&lengths);
        let (num_heads, head_dim) = (3, 5);
        let shape: &[usize] = &[sequences.tokens(), num_heads * head_dim];
        for kind in AttentionKind::ALL {
            for causal in [true, false] {
                let attention = Attention {
                    function: kind.function(),
                    num_heads,
                    head_dim,
                    scale: kind.scale(head_dim),
                    alibi_slopes: None,
                    causal,
                };
                let worst = difference(&[shape; 3], |x| {
                    // Features that are positive have positive products.
                    let is_linear = kind.name().starts_with("linear");
                    let feature = |x: &Tensor| if is_linear { x.abs() } else { Ok(x.clone()) };
                    let states = States {
                        query: &feature(&x[0])?,
                        key: &feature(&x[1])?,
                        value: Some(&x[2]),
                    };
                    let result = attention.forward(states, &sequences, Wanted::ATTN_OUTPUT)?;
                    match result.attn_output {
                        Some(output) => Ok(output),
                        None => bail!("no output"),
                    }
                })?;
                println!(
                    "{:<22} causal {causal}: largest difference {worst:.1e}",
                    kind.name()
                );
                assert!(worst < 5e-6, "{} {worst:e}", kind.name());
            }
        }
        Ok(())
    }
}
