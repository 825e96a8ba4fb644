//! Shares of attention weight, by the observer of a scan.

use candle_core::{DType, IndexOp, Result as TensorResult};

use super::{BATCH_SIZE, InductionHead, first_largest};
use crate::{
    Result,
    metrics::TOTAL_EPSILON,
    models::small_transformer::Network,
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
    train::{
        invalid,
        tasks::{Sample, Task},
    },
};

/// Sums over rows of one head: of a weight, of the row's total, and of the one's share of the other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    share: f64,
    weight: f64,
    total: f64,
    rows: u64,
    pub(super) non_finite_rows: u64,
}

/// What part of a row's total a weight is.
pub(in crate::train) fn share(weight: f32, total: f32) -> f64 {
    f64::from(weight) / (f64::from(total) + TOTAL_EPSILON)
}

impl Shares {
    fn add(&mut self, weight: f32, total: f32) {
        let share = share(weight, total);
        let (weight, total) = (f64::from(weight), f64::from(total));
        if !(weight.is_finite() && total.is_finite() && share.is_finite()) {
            self.non_finite_rows += 1;
            return;
        }
        self.share += share;
        self.weight += weight;
        self.total += total;
        self.rows += 1;
    }

    /// Mean of the shares; NaN without a finite row.
    pub(super) fn mean(&self) -> f64 {
        self.share / self.rows as f64
    }

    /// Mean of the weights, undivided; NaN without a finite row.
    pub(super) fn mean_weight(&self) -> f64 {
        self.weight / self.rows as f64
    }

    /// Mean of the rows' totals; NaN without a finite row.
    pub(super) fn mean_total(&self) -> f64 {
        self.total / self.rows as f64
    }

    /// Share of the means; NaN without a finite row.
    fn of_means(&self) -> f64 {
        match self.rows {
            0 => f64::NAN,
            // The sums of all rows, as in the paper's program; the means differ from them by the same factor.
            _ => self.weight / (self.total + TOTAL_EPSILON),
        }
    }
}

/// A head of a classifier, as it was observed.
#[derive(Debug)]
pub(super) struct ObservedHead {
    pub(super) layer: usize,
    pub(super) head: usize,
    pub(super) shares: Shares,
    /// Of each sample, the position before `CLS` with the largest weight in its row, the first of equals; none where a
    /// weight is NaN.
    pub(super) heaviest: Vec<Option<usize>>,
}

/// Whether samples of so many tokens have positions of which [`of_bos`] tells.
pub(in crate::train) fn check_guesses(tokens: usize) -> Result<()> {
    if tokens < 4 {
        return Err(invalid(
            "seq_length",
            "no position is left whose prediction is a guess; take 5 or more".into(),
        ));
    }
    Ok(())
}

/// Shares of `BOS` wherever the next token can only be guessed: at all positions but the first and the last two.
pub(super) fn of_bos(
    network: &Network,
    task: &Task,
    samples: &[Sample],
) -> Result<Vec<InductionHead>> {
    let tokens = samples.iter().map(|sample| sample.input_ids.len());
    check_guesses(tokens.max().unwrap_or(0))?;
    let mut bos = Bos::default();
    for samples in samples.chunks(BATCH_SIZE) {
        let batch = task.batch(samples);
        network.observe(&batch.input_ids, &batch.sequences, &mut bos)?;
    }
    let heads = bos.0.iter().enumerate().flat_map(|(layer, heads)| {
        let heads = heads.iter().enumerate();
        heads.map(move |(head, shares)| InductionHead {
            layer,
            head,
            sink_score: shares.mean().clamp(0.0, 1.0),
            sink_score_of_means: shares.of_means().clamp(0.0, 1.0),
            bos_weight: shares.mean_weight(),
            total_weight: shares.mean_total(),
            non_finite_rows: shares.non_finite_rows,
        })
    });
    Ok(heads.collect())
}

/// Largest shares of the row of `CLS`, and where before it they are.
pub(super) fn of_cls(
    network: &Network,
    task: &Task,
    samples: &[Sample],
) -> Result<Vec<ObservedHead>> {
    let mut cls = Cls::default();
    for samples in samples.chunks(BATCH_SIZE) {
        let batch = task.batch(samples);
        network.observe(&batch.input_ids, &batch.sequences, &mut cls)?;
    }
    Ok(cls.0.into_iter().flatten().collect())
}

/// The heads of a layer, which is there from now on if it was not.
fn layer<T>(layers: &mut Vec<Vec<T>>, layer_idx: usize) -> &mut Vec<T> {
    if layers.len() <= layer_idx {
        layers.resize_with(layer_idx + 1, Vec::new);
    }
    &mut layers[layer_idx]
}

/// Layer by layer.
#[derive(Default)]
struct Bos(Vec<Vec<Shares>>);

impl AttentionObserver for Bos {
    fn observe(&mut self, attention: &LayerAttention<'_>) -> TensorResult<()> {
        let heads = layer(&mut self.0, attention.layer_idx);
        heads.resize_with(attention.num_heads, Shares::default);
        let (rows, tokens) = (attention.rows, attention.sequences.tokens());
        for (head, shares) in heads.iter_mut().enumerate() {
            for range in attention.sequences.ranges() {
                for token in range.start + 1..range.end.saturating_sub(2) {
                    let at = head * tokens + token;
                    shares.add(rows.first[at], rows.total[at]);
                }
            }
        }
        Ok(())
    }
}

/// Layer by layer.
#[derive(Default)]
struct Cls(Vec<Vec<ObservedHead>>);

impl AttentionObserver for Cls {
    /// The position before `CLS` follows from the map alone: the statistics tell where the largest weight of all is.
    fn wants_attn_weights(&self, _layer_idx: usize, _head_idx: usize) -> bool {
        true
    }

    fn observe(&mut self, attention: &LayerAttention<'_>) -> TensorResult<()> {
        let heads = layer(&mut self.0, attention.layer_idx);
        for head in heads.len()..attention.num_heads {
            heads.push(ObservedHead {
                layer: attention.layer_idx,
                head,
                shares: Shares::default(),
                heaviest: Vec::new(),
            });
        }
        let (rows, tokens) = (attention.rows, attention.sequences.tokens());
        for observed in heads {
            for range in attention.sequences.ranges().filter(|r| !r.is_empty()) {
                let at = observed.head * tokens + range.end - 1;
                observed.shares.add(rows.max[at], rows.total[at]);
            }
        }
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> TensorResult<()> {
        let last = maps.attn_weights.dim(1)?.saturating_sub(1);
        let rows = maps.attn_weights.i((.., last, ..last))?;
        let rows: Vec<Vec<f64>> = rows.to_dtype(DType::F64)?.to_vec2()?;
        let heads = layer(&mut self.0, maps.layer_idx);
        for (head, row) in maps.heads.clone().zip(rows) {
            let heaviest = first_largest(&row).map(|at| at as usize);
            heads[head].heaviest.push(heaviest);
        }
        Ok(())
    }
}
