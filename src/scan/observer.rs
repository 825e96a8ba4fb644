//! From the rows of a batch to sums per sample and head.

use candle_core::{Result, bail};

use crate::{
    metrics::HeadSums,
    observe::{AttentionObserver, LayerAttention},
    store::SampleRow,
};

/// Adds up the rows of one batch, layer by layer.
pub struct SampleObserver {
    /// The row number of each sequence in the dataset.
    samples: Vec<i64>,
    /// For each token, whether its row counts.
    counted: Vec<bool>,
    rows: Vec<SampleRow>,
}

impl SampleObserver {
    /// `samples`: the dataset's row number of each sequence; `counted`: for each packed token, whether its
    /// row enters the sums.
    pub fn new(samples: Vec<i64>, counted: Vec<bool>) -> Self {
        Self {
            samples,
            counted,
            rows: Vec::new(),
        }
    }

    /// What was observed since the last call: one row per layer, sample and head.
    pub fn take(&mut self) -> Vec<SampleRow> {
        std::mem::take(&mut self.rows)
    }
}

impl AttentionObserver for SampleObserver {
    fn observe(&mut self, attention: &LayerAttention<'_>) -> Result<()> {
        let (sequences, rows) = (attention.sequences, attention.rows);
        let tokens = sequences.tokens();
        if sequences.len() != self.samples.len() || tokens != self.counted.len() {
            bail!("the observer was made for another batch")
        }
        for (&sample, range) in self.samples.iter().zip(sequences.ranges()) {
            for head in 0..attention.num_heads {
                let mut sums = HeadSums::default();
                for token in range.clone().filter(|&token| self.counted[token]) {
                    let at = head * tokens + token;
                    sums.add_row(
                        rows.max[at],
                        rows.total[at],
                        rows.first[at],
                        rows.entropy[at],
                    );
                }
                self.rows.push(SampleRow {
                    sample,
                    layer: attention.layer_idx as i32,
                    head: head as i32,
                    sums,
                });
            }
        }
        Ok(())
    }
}
