//! From the rows of a batch to sums per sample and head.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use crate::{
    layers::PackedSequences,
    metrics::{HeadSums, LagSums, Magnitudes, Measures, RowMeasures, RowStatistics},
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
    store::{ActivationRow, LagRow, Rows, SampleRow},
};

/// Adds up the rows of one batch, layer by layer.
pub struct SampleObserver<'a> {
    /// The row number of each sequence in the dataset.
    samples: Vec<i64>,
    /// For each token, whether its row counts.
    counted: Vec<bool>,
    measures: &'a Measures,
    rows: Rows,
    /// The layer whose maps are expected.
    layer: Option<Layer>,
}

/// What is kept of a layer until its maps have come.
struct Layer {
    layer_idx: usize,
    num_heads: usize,
    causal: bool,
    sequences: PackedSequences,
    statistics: RowStatistics,
    /// Of each head, over all samples.
    lags: Vec<LagSums>,
    /// Where its rows begin, by sample and head, among those that were observed.
    first: usize,
}

impl<'a> SampleObserver<'a> {
    /// `samples`: the dataset's row number of each sequence; `counted`: for each packed token, whether its
    /// row enters the sums.
    pub fn new(samples: Vec<i64>, counted: Vec<bool>, measures: &'a Measures) -> Self {
        Self {
            samples,
            counted,
            measures,
            rows: Rows::default(),
            layer: None,
        }
    }

    /// What was observed since the last call: one row per layer, sample and head, and what goes with them.
    pub fn take(&mut self) -> Rows {
        self.end_layer();
        std::mem::take(&mut self.rows)
    }

    fn end_layer(&mut self) {
        let Some(layer) = self.layer.take() else {
            return;
        };
        let layer_idx = layer.layer_idx as i32;
        for (head, lags) in (0..).zip(&layer.lags) {
            let rows = LagRow::of_head(layer_idx, head, lags);
            self.rows.lags.extend(rows);
        }
    }

    /// Looks at the hidden states (tokens, hidden_size) after a layer, if activations are measured.
    pub fn hidden_states(
        &mut self,
        layer_idx: usize,
        sequences: &PackedSequences,
        hidden_states: &Tensor,
    ) -> Result<()> {
        if !self.measures.activations {
            return Ok(());
        }
        let (_, hidden_size) = hidden_states.dims2()?;
        let elements: Vec<f32> = hidden_states
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1()?;
        let samples: Vec<_> = self.samples.iter().zip(sequences.ranges()).collect();
        let rows = samples.into_par_iter().map(|(&sample, range)| {
            let elements = &elements[range.start * hidden_size..range.end * hidden_size];
            let counts = |token: usize| self.counted[range.start + token];
            ActivationRow {
                sample,
                layer: layer_idx as i32,
                magnitudes: Magnitudes::of(elements, hidden_size, counts),
            }
        });
        self.rows.activations.extend(rows.collect::<Vec<_>>());
        Ok(())
    }
}

impl AttentionObserver for SampleObserver<'_> {
    fn wants_attn_weights(&self, _layer_idx: usize, _head_idx: usize) -> bool {
        self.measures.needs_weights()
    }

    fn observe(&mut self, attention: &LayerAttention<'_>) -> Result<()> {
        let (sequences, rows) = (attention.sequences, attention.rows);
        let tokens = sequences.tokens();
        if sequences.len() != self.samples.len() || tokens != self.counted.len() {
            bail!("the observer was made for another batch")
        }
        self.end_layer();
        let first = self.rows.samples.len();
        let by_rows = !self.measures.is_empty() && !self.measures.needs_weights();
        for (&sample, range) in self.samples.iter().zip(sequences.ranges()) {
            for head in 0..attention.num_heads {
                let mut sums = HeadSums::default();
                let mut measures = RowMeasures::new(self.measures);
                for token in range.clone().filter(|&token| self.counted[token]) {
                    let at = head * tokens + token;
                    let of_row = (rows.entropy[at], rows.total[at], rows.first[at]);
                    sums.add_row(
                        rows.max[at],
                        rows.total[at],
                        rows.first[at],
                        rows.entropy[at],
                    );
                    if by_rows && rows.is_finite(at) {
                        measures.add(&mut sums, None, token - range.start, of_row, &[]);
                    }
                }
                measures.finish(&mut sums);
                self.rows.samples.push(SampleRow {
                    sample,
                    layer: attention.layer_idx as i32,
                    head: head as i32,
                    sums,
                });
            }
        }
        if self.measures.needs_weights() {
            self.layer = Some(Layer {
                layer_idx: attention.layer_idx,
                num_heads: attention.num_heads,
                causal: attention.causal,
                sequences: sequences.clone(),
                statistics: rows.clone(),
                lags: vec![LagSums::default(); attention.num_heads],
                first,
            });
        }
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> Result<()> {
        let Some(layer) = &mut self.layer else {
            bail!("maps of a layer that was not observed")
        };
        let (_, q_len, kv_len) = maps.attn_weights.dims3()?;
        let Some(range) = layer.sequences.ranges().nth(maps.sequence) else {
            bail!("maps of a sequence that there is not")
        };
        let weights: Vec<f32> = maps.attn_weights.flatten_all()?.to_vec1()?;
        let first = layer.first + maps.sequence * layer.num_heads;
        let samples = &mut self.rows.samples[first..][maps.heads.clone()];
        let lags = &mut layer.lags[maps.heads.clone()];
        let (rows, causal, tokens) = (&layer.statistics, layer.causal, layer.sequences.tokens());
        let wants_lags = self.measures.lags.is_some();
        maps.heads
            .clone()
            .into_par_iter()
            .zip(samples)
            .zip(lags)
            .zip(weights.par_chunks_exact(q_len * kv_len))
            .for_each(|(((head, row), lags), map)| {
                let mut measures = RowMeasures::new(self.measures);
                for token in range.clone().filter(|&token| self.counted[token]) {
                    let at = head * tokens + token;
                    if !rows.is_finite(at) {
                        continue;
                    }
                    let query = token - range.start;
                    let seen = if causal { query + 1 } else { kv_len };
                    let weights = &map[query * kv_len..][..seen];
                    let lags = wants_lags.then_some(&mut *lags);
                    let of_row = (rows.entropy[at], rows.total[at], rows.first[at]);
                    measures.add(&mut row.sums, lags, query, of_row, weights);
                }
                measures.finish(&mut row.sums);
            });
        Ok(())
    }
}
