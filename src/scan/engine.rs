//! What both executors share: the work to be done, and how a batch's results reach the disk.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::observer::SampleObserver;
use crate::{
    Error, Result,
    checkpoint::Weights,
    corpus::{Batch, TokenizedSample},
    layers::PackedSequences,
    metrics::Measures,
    models::{DecoderLayer, DecoderModel, LayerPart},
    store::{Parts, Rows},
};

/// Told about every layer a batch has passed.
pub trait Progress: Sync {
    /// `tokens` more tokens have passed one more layer.
    fn advance(&self, tokens: u64);
}

/// The work of a scan, for either executor.
pub struct Work<'a> {
    pub model: &'a dyn DecoderModel,
    pub weights: &'a Weights<'a>,
    pub samples: &'a [TokenizedSample],
    pub measures: &'a Measures,
    pub batches: &'a [Batch],
    /// The run's output directory.
    pub out: &'a Path,
    /// Asked between layers; true ends the scan with [`Error::Interrupted`].
    pub stop: &'a (dyn Fn() -> bool + Sync),
    pub progress: &'a dyn Progress,
    pub clock: &'a Clock,
}

/// Where the time goes, summed over the run.
#[derive(Debug, Default)]
pub struct Clock {
    load: AtomicU64,
    compute: AtomicU64,
    write: AtomicU64,
    tokens: AtomicU64,
}

impl Clock {
    fn time<T>(counter: &AtomicU64, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        counter.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Runs `work`, counting its time as reading weights.
    pub fn load<T>(&self, work: impl FnOnce() -> T) -> T {
        Self::time(&self.load, work)
    }

    /// Runs `work`, counting its time as forward passes.
    pub fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        Self::time(&self.compute, work)
    }

    /// Runs `work`, counting its time as writing.
    pub fn write<T>(&self, work: impl FnOnce() -> T) -> T {
        Self::time(&self.write, work)
    }

    /// Time spent loading (in the streamed executor beside computing), computing, and writing.
    pub fn totals(&self) -> (Duration, Duration, Duration) {
        let get = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        (get(&self.load), get(&self.compute), get(&self.write))
    }

    /// Tokens × layers that were computed.
    pub fn token_layers(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }
}

/// One batch, ready for the model.
pub struct PackedBatch<'a> {
    pub index: usize,
    pub input_ids: Vec<u32>,
    pub sequences: PackedSequences,
    pub observer: SampleObserver<'a>,
}

impl<'a> Work<'a> {
    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.model.sizes().num_hidden_layers
    }

    /// Packs batch `index`.
    pub fn batch(&self, index: usize) -> PackedBatch<'a> {
        let samples = || {
            self.batches[index]
                .samples
                .iter()
                .map(|&i| &self.samples[i])
        };
        let input_ids: Vec<u32> = samples()
            .flat_map(|s| s.input_ids.iter().copied())
            .collect();
        let lengths: Vec<usize> = samples().map(|s| s.input_ids.len()).collect();
        let counted = input_ids
            .iter()
            .map(|&id| self.model.counts_as_query(id))
            .collect();
        PackedBatch {
            index,
            sequences: PackedSequences::from_lengths(&lengths),
            observer: SampleObserver::new(
                samples().map(|s| s.sample).collect(),
                counted,
                self.measures,
            ),
            input_ids,
        }
    }

    /// Loads a layer: all of it, or of the last one only what gives the attention weights, unless its output is
    /// measured, too.
    pub fn load_layer(&self, layer_idx: usize) -> Result<Box<dyn DecoderLayer>> {
        let is_last = layer_idx + 1 == self.layers();
        let part = match is_last && !self.measures.activations {
            true => LayerPart::AttentionWeights,
            false => LayerPart::Whole,
        };
        self.clock
            .load(|| self.model.load_layer(self.weights, layer_idx, part))
    }

    /// Fails if the scan is to stop.
    pub fn check_stop(&self) -> Result<()> {
        match (self.stop)() {
            true => Err(Error::Interrupted {
                out: self.out.to_path_buf(),
                continue_with: "--resume",
            }),
            false => Ok(()),
        }
    }

    /// Counts a batch that has passed a layer.
    pub fn passed(&self, tokens: usize) {
        self.clock
            .tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
        self.progress.advance(tokens as u64);
    }

    /// Puts a batch's rows of consecutive layers on disk, leaving out layers that are there already.
    pub fn record(&self, parts: &mut Parts, batch: usize, rows: &Rows) -> Result<()> {
        self.clock.write(|| {
            let layers = || rows.samples.iter().map(|row| row.layer as usize);
            let (Some(first), Some(last)) = (layers().min(), layers().max()) else {
                return Ok(());
            };
            let mut layer = first;
            while layer <= last {
                let is_done = |layer: &usize| parts.is_done(batch, *layer);
                let new = (layer..=last).take_while(|layer| !is_done(layer)).count();
                if new > 0 {
                    let run = layer as i32..(layer + new) as i32;
                    parts.write(batch, layer..layer + new, rows.of_layers(&run))?;
                }
                layer += new.max(1);
            }
            Ok(())
        })
    }
}
