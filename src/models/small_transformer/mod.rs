//! The small transformer of the paper's experiments on attention functions (arXiv 2603.06248, Section 4 and
//! Appendix E; `src/model.py` of github.com/tml-epfl/softmax).
//!
//! ```text
//! x = E[input_ids], with P[position] added or put beside it, or without
//! per layer:  x = x + o_proj(attention(norm1(x)))
//!             x = x + mlp(norm2(x))
//! logits = output_proj(final_norm(x))
//! ```
//! Norms are layer norms, and may be left out, as may the feed-forward blocks (two linear layers, GELU between
//! them). Every linear layer has a bias. Attention is any [`AttentionKind`](crate::layers::attention::AttentionKind), causal or not.
//!
//! One network, two uses: an executor loads it layer by layer from a checkpoint ([`SmallTransformer`]), and training
//! holds all of it at once, made of variables ([`Network`]).

mod config;
mod names;
mod network;

use std::path::Path;

use candle_core::{Result, Tensor};

pub use config::{Config, MODEL_TYPE, PositionEmbedding};
pub use names::{Initial, Parameter};
use network::{Block, Head};
pub use network::{Network, Output, Source};

use super::{DecoderHead, DecoderLayer, DecoderModel, LayerPart, Sizes};
use crate::{
    checkpoint::{TensorSpec, Weights},
    layers::{
        PackedSequences,
        attention::{Attention, Features},
    },
    observe::{AttentionObserver, attend},
};

/// The architecture: sizes, names, and how to load its parts.
#[derive(Debug)]
pub struct SmallTransformer {
    config: Config,
    json: serde_json::Value,
    sizes: Sizes,
}

impl SmallTransformer {
    /// From the content of `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the field.
    pub fn new(path: &Path, json: serde_json::Value) -> crate::Result<Self> {
        let config = Config::read(path, &json)?;
        let sizes = Sizes {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            head_dim: config.head_dim(),
            vocab_size: config.vocab_size,
        };
        Ok(Self {
            config,
            json,
            sizes,
        })
    }
}

impl Config {
    /// Every tensor of the model, and what training begins with.
    pub fn parameters(&self) -> Vec<Parameter> {
        names::parameters(self)
    }

    /// What the matrix that makes the values of a layer is called.
    pub(crate) fn value_projection(layer_idx: usize) -> String {
        names::weight(&names::in_layer(layer_idx, names::VALUE))
    }
}

impl DecoderModel for SmallTransformer {
    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn model_type(&self) -> &str {
        MODEL_TYPE
    }

    fn attention_function(&self) -> &str {
        self.config.attention_function.name()
    }

    fn attention(&self) -> Attention {
        network::attention(&self.config)
    }

    fn has_signed_weights(&self) -> bool {
        self.config.attention_function.has_signed_weights()
    }

    fn max_tokens(&self) -> Option<usize> {
        match self.config.position_embedding_type {
            PositionEmbedding::None => None,
            PositionEmbedding::Add | PositionEmbedding::Concat => {
                Some(self.config.max_position_embeddings)
            }
        }
    }

    fn config(&self) -> &serde_json::Value {
        &self.json
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let parameters = self.config.parameters().into_iter();
        parameters.map(|parameter| parameter.spec).collect()
    }

    /// There is no padding: every position counts.
    fn counts_as_query(&self, _token: u32) -> bool {
        true
    }

    fn linear_weights(&self, part: LayerPart) -> usize {
        let hidden = self.sizes.hidden_size;
        // Two matrices for each query and each key of each head.
        let features = match self.config.attention_function.features() {
            Features::Mlp => 4 * hidden * self.config.attention_intermediate_size,
            Features::Identity | Features::Elu => 0,
        };
        let square = hidden * hidden;
        features
            + match part {
                LayerPart::Whole => 4 * square + 2 * hidden * self.sizes.intermediate_size,
                LayerPart::AttentionWeights => 2 * square,
            }
    }

    fn embed(
        &self,
        weights: &Weights,
        input_ids: &[u32],
        sequences: &PackedSequences,
    ) -> crate::Result<Tensor> {
        let width = self.config.token_width();
        let tokens = weights.rows(names::EMBEDDING, self.sizes.vocab_size, width, input_ids)?;
        let positions = match self.config.position_embedding_type {
            PositionEmbedding::None => None,
            PositionEmbedding::Add | PositionEmbedding::Concat => Some(weights.rows(
                names::POSITIONS,
                self.config.max_position_embeddings,
                width,
                &network::positions(sequences),
            )?),
        };
        Ok(network::join(
            self.config.position_embedding_type,
            tokens,
            positions,
        )?)
    }

    fn load_layer(
        &self,
        weights: &Weights,
        layer_idx: usize,
        part: LayerPart,
    ) -> crate::Result<Box<dyn DecoderLayer>> {
        let source = |name: &str, shape: &[usize]| weights.get(name, shape);
        Ok(Box::new(Layer {
            layer_idx,
            block: Block::new(&self.config, layer_idx, part, &source)?,
        }))
    }

    fn load_head(&self, weights: &Weights) -> crate::Result<Box<dyn DecoderHead>> {
        let source = |name: &str, shape: &[usize]| weights.get(name, shape);
        Ok(Box::new(Head::new(&self.config, &source)?))
    }
}

struct Layer {
    layer_idx: usize,
    block: Block,
}

impl DecoderLayer for Layer {
    fn forward(
        &self,
        hidden_states: &Tensor,
        sequences: &PackedSequences,
        observer: &mut dyn AttentionObserver,
    ) -> Result<Option<Tensor>> {
        self.block.forward(hidden_states, |states| {
            attend(
                &self.block.attention,
                self.layer_idx,
                states,
                sequences,
                self.block.is_whole(),
                observer,
            )
        })
    }
}

impl DecoderHead for Head {
    fn norm(&self, hidden_states: &Tensor) -> Result<Tensor> {
        Head::norm(self, hidden_states)
    }

    fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        Head::logits(self, normed)
    }
}
