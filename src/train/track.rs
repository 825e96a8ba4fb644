//! What the heads do with a few fixed samples while a model is trained, and how large its value projections become.
//!
//! The paper's program (`exp_classification.py`, `visualizations/classification_with_sample_tracking.ipynb` of
//! github.com/tml-epfl/softmax) takes the first evaluation sample of every label, and keeps after every step the row of
//! `CLS` in every head, and the Frobenius norm of `v_proj.weight` of the first layer. Here it is the norm of every layer
//! and of every head's rows of it. For induction, whose program tracks nothing, it is what its heads are judged by: the
//! share of `BOS` in every row.
//!
//! Nothing is drawn at random and nothing is learned from it: a run that is tracked has the numbers of one that is not.

use std::{collections::BTreeSet, num::NonZeroUsize};

use candle_core::{D, DType, IndexOp, Result as TensorResult};
use serde::Serialize;

use super::{
    Parameters, Settings, invalid,
    metrics::share,
    tasks::{Sample, Task},
};
use crate::{
    Result,
    models::small_transformer::Config,
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
};

/// Samples that are tracked on induction.
pub const INDUCTION_SAMPLES: usize = 4;

/// Weights that a run may keep, 2 GiB of them.
const MOST_WEIGHTS: usize = 1 << 26;

/// When a run is tracked. Wherever it is, its start and its end are, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracking {
    /// Never.
    #[default]
    Never,
    /// After every epoch.
    Epochs,
    /// After every so many steps.
    Steps(NonZeroUsize),
}

/// What was tracked of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Track {
    /// Which of the evaluation samples, from 0: the first ones (induction), or the first one of every label, label by
    /// label (classification).
    pub samples: Vec<usize>,
    /// By ascending step; empty if the run was not tracked.
    pub records: Vec<Record>,
}

/// A model after some step.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Steps made before; 0 is the model as it was drawn.
    pub step: usize,
    /// The weights that are tracked, by sample, layer, head, query and key.
    pub weights: Vec<TrackedWeight>,
    /// Of every layer.
    pub value_norms: Vec<ValueNorm>,
}

/// A weight of a sample's attention map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackedWeight {
    /// Which evaluation sample, from 0.
    pub sample: u32,
    /// Layer, from 0.
    pub layer: u16,
    /// Head within the layer, from 0.
    pub head: u16,
    /// Position that attends, from 0.
    pub query: u32,
    /// Position that is attended to, from 0.
    pub key: u32,
    /// The weight.
    pub weight: f32,
    /// The weight divided by the sum of its row (plus 1e-9, as in every share); NaN or infinite where one of them is.
    pub share: f64,
}

/// Frobenius norms of a value projection, without its bias.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueNorm {
    /// Of the whole matrix.
    pub norm: f64,
    /// Of the rows that make the values of each head.
    pub heads: Vec<f64>,
}

impl Tracking {
    /// Steps from one look at such a run to the next; 0 if there is none.
    pub fn every(self, settings: &Settings) -> usize {
        match self {
            Tracking::Never => 0,
            Tracking::Epochs => settings.steps_per_epoch(),
            Tracking::Steps(every) => every.get(),
        }
    }

    /// Whether a run is looked at after so many steps.
    pub(super) fn is_due(self, settings: &Settings, step: usize) -> bool {
        let every = self.every(settings);
        every > 0 && (step.is_multiple_of(every) || step == settings.steps())
    }

    /// Whether there is room for it.
    pub(super) fn check(self, settings: &Settings) -> Result<()> {
        let records = match self.every(settings) {
            0 => return Ok(()),
            every => settings.steps().div_ceil(every).saturating_add(1),
        };
        let samples = match &settings.task {
            Task::Induction(_) => INDUCTION_SAMPLES,
            Task::Classification(task) => task.num_labels,
        };
        let config = &settings.config;
        let weights = [
            samples.min(settings.num_eval),
            config.num_hidden_layers,
            config.num_attention_heads,
            settings.task.tokens(),
        ]
        .into_iter()
        .fold(records, usize::saturating_mul);
        if weights > MOST_WEIGHTS {
            return Err(invalid(
                "track_every",
                format!(
                    "{records} records would hold {weights} weights, and {MOST_WEIGHTS} is the most; take a larger \
                     number, or 0 to track nothing"
                ),
            ));
        }
        Ok(())
    }
}

impl Track {
    /// Of a run with these evaluation samples; nothing is tracked yet.
    pub(super) fn new(task: &Task, samples: &[Sample]) -> Self {
        let samples = match task {
            Task::Induction(_) => (0..samples.len().min(INDUCTION_SAMPLES)).collect(),
            Task::Classification(_) => {
                let mut seen = BTreeSet::new();
                let label = |i: usize| samples[i].targets.last().copied();
                let mut first: Vec<usize> = (0..samples.len())
                    .filter(|&i| seen.insert(label(i)))
                    .collect();
                first.sort_by_key(|&i| label(i));
                first
            }
        };
        Self {
            samples,
            records: Vec::new(),
        }
    }

    /// Looks at the parameters as they are after so many steps.
    pub(super) fn add(
        &mut self,
        step: usize,
        task: &Task,
        samples: &[Sample],
        parameters: &Parameters,
    ) -> Result<()> {
        let network = parameters.frozen_network()?;
        let batch = task.batch(self.samples.iter().map(|&i| &samples[i]));
        let mut observer = Rows {
            task,
            samples: &self.samples,
            weights: Vec::new(),
            totals: Vec::new(),
        };
        network.observe(&batch.input_ids, &batch.sequences, &mut observer)?;
        let mut weights = observer.weights;
        weights.sort_by_key(|w| (w.sample, w.layer, w.head, w.query, w.key));
        self.records.push(Record {
            step,
            weights,
            value_norms: value_norms(parameters)?,
        });
        Ok(())
    }
}

/// Frobenius norms of the value projections, layer by layer.
fn value_norms(parameters: &Parameters) -> Result<Vec<ValueNorm>> {
    let config = parameters.config();
    (0..config.num_hidden_layers)
        .map(|layer| {
            let name = Config::value_projection(layer);
            let weight = parameters.variables()[&name].as_tensor().detach();
            let rows = weight.to_dtype(DType::F64)?.sqr()?.sum(D::Minus1)?;
            // A row of the matrix makes one entry of the values; heads have neighbouring ones.
            let rows: Vec<f64> = rows.to_vec1()?;
            let heads = rows.chunks(config.head_dim());
            Ok(ValueNorm {
                norm: rows.iter().sum::<f64>().sqrt(),
                heads: heads.map(|rows| rows.iter().sum::<f64>().sqrt()).collect(),
            })
        })
        .collect()
}

/// Takes what is tracked out of a forward pass.
struct Rows<'a> {
    task: &'a Task,
    samples: &'a [usize],
    weights: Vec<TrackedWeight>,
    /// Of the rows of `CLS` in the layer at hand, by head and sample.
    totals: Vec<Vec<f32>>,
}

impl Rows<'_> {
    fn add(&mut self, place: (usize, usize, usize), row: (usize, usize), weight: f32, total: f32) {
        let (at, layer, head) = place;
        self.weights.push(TrackedWeight {
            sample: self.samples[at] as u32,
            layer: layer as u16,
            head: head as u16,
            query: row.0 as u32,
            key: row.1 as u32,
            weight,
            share: share(weight, total),
        });
    }
}

impl AttentionObserver for Rows<'_> {
    /// Weights beside `BOS` and the largest one are in no statistic of a row.
    fn wants_attn_weights(&self, _layer_idx: usize, _head_idx: usize) -> bool {
        matches!(self.task, Task::Classification(_))
    }

    fn observe(&mut self, attention: &LayerAttention<'_>) -> TensorResult<()> {
        let (rows, tokens) = (attention.rows, attention.sequences.tokens());
        self.totals.clear();
        for head in 0..attention.num_heads {
            let mut totals = Vec::new();
            for (sample, range) in attention.sequences.ranges().enumerate() {
                let place = (sample, attention.layer_idx, head);
                let row = |token: usize| {
                    (
                        rows.first[head * tokens + token],
                        rows.total[head * tokens + token],
                    )
                };
                match self.task {
                    Task::Induction(_) => {
                        for (query, token) in range.enumerate() {
                            let (first, total) = row(token);
                            self.add(place, (query, 0), first, total);
                        }
                    }
                    Task::Classification(_) => totals.extend(range.last().map(|cls| row(cls).1)),
                }
            }
            self.totals.push(totals);
        }
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> TensorResult<()> {
        let cls = maps.attn_weights.dim(1)?.saturating_sub(1);
        let rows = maps.attn_weights.i((.., cls, ..))?.to_dtype(DType::F32)?;
        for (head, row) in maps.heads.clone().zip(rows.to_vec2::<f32>()?) {
            let total = self.totals[head][maps.sequence];
            let place = (maps.sequence, maps.layer_idx, head);
            for (key, weight) in row.into_iter().enumerate() {
                self.add(place, (cls, key), weight, total);
            }
        }
        Ok(())
    }
}
