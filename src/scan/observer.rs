//! From the rows of a batch to sums per sample and head.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use crate::{
    layers::PackedSequences,
    metrics::{HeadSums, LagSums, Magnitudes, Measures, RowMeasures},
    observe::{AttentionObserver, LayerAttention},
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
        }
    }

    /// What was observed since the last call: one row per layer, sample and head, and what goes with them.
    pub fn take(&mut self) -> Rows {
        std::mem::take(&mut self.rows)
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

    /// One head: its sums in every sample, and its lags over all of them. `maps` are the head's (q_len, kv_len)
    /// weights, a map per sequence that has tokens, or none.
    fn head(
        &self,
        attention: &LayerAttention<'_>,
        head: usize,
        maps: Option<&[Vec<f32>]>,
    ) -> (Vec<SampleRow>, LagSums) {
        let (rows, tokens) = (attention.rows, attention.sequences.tokens());
        let mut lags = LagSums::default();
        let mut maps = maps.map(|maps| maps.iter());
        let mut found = Vec::with_capacity(self.samples.len());
        for (&sample, range) in self.samples.iter().zip(attention.sequences.ranges()) {
            let mut sums = HeadSums::default();
            let mut measures = RowMeasures::new(self.measures);
            let map = match &mut maps {
                Some(maps) if !range.is_empty() => maps.next().map_or(&[][..], Vec::as_slice),
                _ => &[],
            };
            for token in range.clone().filter(|&token| self.counted[token]) {
                let at = head * tokens + token;
                let (total, first, entropy) = (rows.total[at], rows.first[at], rows.entropy[at]);
                sums.add_row(rows.max[at], total, first, entropy);
                if self.measures.is_empty() || !rows.is_finite(at) {
                    continue;
                }
                let (query, kv_len) = (token - range.start, range.len());
                let seen = if attention.causal { query + 1 } else { kv_len };
                let weights = map.get(query * kv_len..).unwrap_or_default();
                let weights = &weights[..seen.min(weights.len())];
                let lags = self.measures.lags.is_some().then_some(&mut lags);
                measures.add(&mut sums, lags, query, (entropy, total, first), weights);
            }
            measures.finish(&mut sums);
            found.push(SampleRow {
                sample,
                layer: attention.layer_idx as i32,
                head: head as i32,
                sums,
            });
        }
        (found, lags)
    }
}

impl AttentionObserver for SampleObserver<'_> {
    fn wants_attn_weights(&self, _layer_idx: usize) -> bool {
        self.measures.needs_weights()
    }

    fn observe(&mut self, attention: &LayerAttention<'_>) -> Result<()> {
        let sequences = attention.sequences;
        if sequences.len() != self.samples.len() || sequences.tokens() != self.counted.len() {
            bail!("the observer was made for another batch")
        }
        if self.measures.needs_weights() && attention.attn_weights.is_none() {
            bail!("the attention weights were asked for, and are missing")
        }
        let layer = attention.layer_idx as i32;
        let heads = 0..attention.num_heads;
        let heads = heads.into_par_iter().map(|head| -> Result<_> {
            let maps = attention
                .attn_weights
                .filter(|_| self.measures.needs_weights());
            let of_head = |map: &Tensor| map.get(head)?.flatten_all()?.to_vec1::<f32>();
            let maps: Option<Vec<Vec<f32>>> = match maps {
                Some(maps) => Some(maps.iter().map(of_head).collect::<Result<_>>()?),
                None => None,
            };
            Ok(self.head(attention, head, maps.as_deref()))
        });
        let heads: Vec<(Vec<SampleRow>, LagSums)> = heads.collect::<Result<_>>()?;
        for (head, (samples, lags)) in (0..).zip(heads) {
            self.rows.samples.extend(samples);
            let lags = lags.rows.iter().zip(&lags.share_sums);
            self.rows
                .lags
                .extend((0..).zip(lags).map(|(lag, (&rows, &share_sum))| LagRow {
                    layer,
                    head,
                    lag,
                    rows,
                    share_sum,
                }));
        }
        Ok(())
    }
}
