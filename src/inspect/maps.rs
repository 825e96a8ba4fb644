//! The maps of one text, layer by layer.

use std::collections::BTreeSet;

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::triangle::Triangle;
use crate::{
    Error, Result,
    checkpoint::Weights,
    layers::PackedSequences,
    metrics::{HeadSums, Measures},
    models::{DecoderModel, LayerPart},
    observe::{AttentionMaps, AttentionObserver, LayerAttention},
    scan::{Progress, layers::each_layer, observer::SampleObserver},
};

/// One head's attention on the text.
#[derive(Debug)]
pub struct HeadMap {
    /// Layer, from 0.
    pub layer: usize,
    /// Head within the layer, from 0.
    pub head: usize,
    /// The sums that a scan of this text would have, bit for bit.
    pub sums: HeadSums,
    /// The weights.
    pub map: Triangle,
}

/// What is looked at, and with what.
pub struct Maps<'a> {
    /// The model.
    pub model: &'a dyn DecoderModel,
    /// Its weights.
    pub weights: &'a Weights<'a>,
    /// The text; at least one token.
    pub input_ids: &'a [u32],
    /// Layers, ascending; at least one.
    pub layers: &'a [usize],
    /// Heads of each of them, ascending.
    pub heads: &'a [usize],
    /// Asked between layers and between blocks of heads; an error ends the work.
    pub check_stop: &'a dyn Fn() -> Result<()>,
    /// Told of every layer the text has passed.
    pub progress: &'a dyn Progress,
}

impl Maps<'_> {
    /// Layers the text has to pass: up to the last one that is looked at.
    pub fn depth(&self) -> usize {
        self.layers.last().map_or(0, |last| last + 1)
    }

    /// Hands the maps to `visit`, a block of neighbouring heads at a time, layer by layer. Two layers and one block
    /// are in memory at any moment.
    ///
    /// # Errors
    /// Those of `visit` and `check_stop`, of the checkpoint, and of the forward pass.
    pub fn visit(&self, visit: &mut dyn FnMut(Vec<HeadMap>) -> Result<()>) -> Result<()> {
        let layers: Vec<usize> = (0..self.depth()).collect();
        let load = |layer_idx: usize| {
            // Nothing is needed of the last one but its weights.
            let part = match layer_idx + 1 == layers.len() {
                true => LayerPart::AttentionWeights,
                false => LayerPart::Whole,
            };
            self.model.load_layer(self.weights, layer_idx, part)
        };
        let counted = self.input_ids.iter();
        let counted = counted.map(|&id| self.model.counts_as_query(id)).collect();
        let sequences = PackedSequences::from_lengths(&[self.input_ids.len()]);
        // The five of every scan.
        let measures = Measures::default();
        let mut observer = Observer {
            layers: self.layers.iter().copied().collect(),
            heads: self.heads.iter().copied().collect(),
            sums: SampleObserver::new(vec![0], counted, &measures),
            of_layer: Vec::new(),
            check_stop: self.check_stop,
            visit,
            failed: None,
        };
        let mut hidden_states = self.model.embed(self.weights, self.input_ids, &sequences)?;
        each_layer(&layers, &load, &mut |_, layer| {
            (self.check_stop)()?;
            let next = layer.forward(&hidden_states, &sequences, &mut observer);
            // What a visitor says comes before what the tensor library makes of it.
            if let Some(error) = observer.failed.take() {
                return Err(error);
            }
            if let Some(next) = next? {
                hidden_states = next;
            }
            self.progress.advance(self.input_ids.len() as u64);
            Ok(())
        })
    }
}

/// Turns blocks of maps into [`HeadMap`]s.
struct Observer<'a> {
    layers: BTreeSet<usize>,
    heads: BTreeSet<usize>,
    sums: SampleObserver<'a>,
    /// The sums of the layer that is being looked at, by head.
    of_layer: Vec<HeadSums>,
    check_stop: &'a dyn Fn() -> Result<()>,
    visit: &'a mut dyn FnMut(Vec<HeadMap>) -> Result<()>,
    failed: Option<Error>,
}

impl AttentionObserver for Observer<'_> {
    fn wants_attn_weights(&self, layer_idx: usize, head_idx: usize) -> bool {
        self.layers.contains(&layer_idx) && self.heads.contains(&head_idx)
    }

    fn observe(&mut self, attention: &LayerAttention<'_>) -> candle_core::Result<()> {
        self.sums.observe(attention)?;
        let rows = self.sums.take().samples.into_iter();
        self.of_layer = rows.map(|row| row.sums).collect();
        Ok(())
    }

    fn observe_maps(&mut self, maps: &AttentionMaps<'_>) -> candle_core::Result<()> {
        let weights = maps.attn_weights.to_device(&Device::Cpu)?;
        let side = weights.dim(1)?;
        let weights: Vec<f32> = weights.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let heads: Vec<(usize, &[f32])> = maps
            .heads
            .clone()
            .zip(weights.chunks_exact(side * side))
            .collect();
        let maps = heads
            .into_par_iter()
            .map(|(head, map)| HeadMap {
                layer: maps.layer_idx,
                head,
                sums: self.of_layer.get(head).copied().unwrap_or_default(),
                map: Triangle::of_map(map, side),
            })
            .collect();
        drop(weights);
        let result = (self.check_stop)().and_then(|()| (self.visit)(maps));
        result.map_err(|error| {
            let message = error.to_string();
            self.failed = Some(error);
            candle_core::Error::Msg(message)
        })
    }
}
