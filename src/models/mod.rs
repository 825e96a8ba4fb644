//! Architectures, one file or folder per family.
//!
//! `config.json`'s `model_type` picks the family ([`open`]). A model is a description and a way to load
//! parts; it holds no weights, so that an executor decides what is in memory and for how long.

pub mod gala;
pub mod small_transformer;

use std::path::Path;

use candle_core::Tensor;
use serde::de::DeserializeOwned;

use crate::{
    Error, Result,
    checkpoint::{TensorSpec, Weights},
    layers::{PackedSequences, attention::Attention},
    observe::AttentionObserver,
};

/// The values of `model_type` that can be read.
pub const SUPPORTED: &[&str] = &[gala::MODEL_TYPE, small_transformer::MODEL_TYPE];

/// The sizes of a model, by their names in `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads per layer.
    pub num_attention_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
}

/// How much of a layer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerPart {
    /// All of it.
    Whole,
    /// Up to the attention weights, and nothing after them: all a scan needs of the last layer.
    AttentionWeights,
}

/// A transformer whose layers follow each other, causal or not.
pub trait DecoderModel: Send + Sync {
    /// Its sizes.
    fn sizes(&self) -> &Sizes;

    /// `model_type` in `config.json`.
    fn model_type(&self) -> &str;

    /// The name of its attention function in `config.json`.
    fn attention_function(&self) -> &str;

    /// What is fixed about the attention of each layer.
    fn attention(&self) -> Attention;

    /// Whether attention weights may be negative. Shares of a row's weight and its entropy are not defined then, and a
    /// scan refuses the model.
    fn has_signed_weights(&self) -> bool;

    /// Tokens of the longest sequence that it has positions for; `None` if there is no limit.
    fn max_tokens(&self) -> Option<usize>;

    /// `config.json`, as it was read.
    fn config(&self) -> &serde_json::Value;

    /// Every tensor the architecture needs.
    fn tensors(&self) -> Vec<TensorSpec>;

    /// Whether a query position that holds this token counts in the scores. Position and key stay in the
    /// forward pass either way.
    fn counts_as_query(&self, token: u32) -> bool;

    /// Number of weights in a layer's matrices, each of which costs one multiplication and one addition per
    /// token.
    fn linear_weights(&self, part: LayerPart) -> usize;

    /// Token ids to hidden states: (tokens, hidden_size). Reads only the embeddings it needs.
    fn embed(
        &self,
        weights: &Weights,
        input_ids: &[u32],
        sequences: &PackedSequences,
    ) -> Result<Tensor>;

    /// Loads one layer, or the wanted part of it.
    fn load_layer(
        &self,
        weights: &Weights,
        layer_idx: usize,
        part: LayerPart,
    ) -> Result<Box<dyn DecoderLayer>>;

    /// Loads what follows the last layer.
    fn load_head(&self, weights: &Weights) -> Result<Box<dyn DecoderHead>>;
}

/// One loaded layer.
pub trait DecoderLayer: Send + Sync {
    /// (tokens, hidden_size) → the same, telling `observer` about the attention on the way; `None` if only
    /// the part up to the attention weights was loaded.
    fn forward(
        &self,
        hidden_states: &Tensor,
        sequences: &PackedSequences,
        observer: &mut dyn AttentionObserver,
    ) -> candle_core::Result<Option<Tensor>>;
}

/// What follows the last layer: the final norm and the projection to the vocabulary.
pub trait DecoderHead: Send + Sync {
    /// (tokens, hidden_size) → the normalised hidden states.
    fn norm(&self, hidden_states: &Tensor) -> candle_core::Result<Tensor>;

    /// Normalised hidden states → (tokens, vocab_size) logits.
    fn logits(&self, normed: &Tensor) -> candle_core::Result<Tensor>;
}

/// Reads `dir/config.json` and picks the architecture.
///
/// # Errors
/// [`Error::UnknownModelType`], or [`Error::Config`] naming the field that is missing or unsupported.
pub fn open(dir: &Path) -> Result<Box<dyn DecoderModel>> {
    let path = dir.join("config.json");
    let text = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::Checkpoint {
            path: dir.to_path_buf(),
            message: "has no config.json; is it a checkpoint directory?".into(),
        },
        _ => Error::io(&path)(e),
    })?;
    let config: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| Error::Checkpoint {
            path: path.clone(),
            message: format!("is not valid JSON: {e}; fetch it again"),
        })?;
    let model_type = config.get("model_type");
    let Some(model_type) = model_type.and_then(|v| v.as_str()) else {
        let wrong = match model_type {
            Some(other) => format!("{other} is not a name"),
            None => "missing".into(),
        };
        return Err(Error::Config {
            path,
            field: "model_type".into(),
            message: format!("{wrong}; supported: {}", SUPPORTED.join(", ")),
        });
    };
    match model_type {
        gala::MODEL_TYPE => Ok(Box::new(gala::Gala::new(&path, config)?)),
        small_transformer::MODEL_TYPE => Ok(Box::new(small_transformer::SmallTransformer::new(
            &path, config,
        )?)),
        other => Err(Error::UnknownModelType {
            path,
            model_type: other.into(),
            supported: SUPPORTED.iter().map(|s| s.to_string()).collect(),
        }),
    }
}

/// Fails for a model, from the directory `dir`, whose attention weights may be negative: all scores are made of shares
/// of a row's total and of entropies, which are not defined then.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn refuse_signed_weights(model: &dyn DecoderModel, dir: &Path) -> Result<()> {
    match model.has_signed_weights() {
        false => Ok(()),
        true => Err(Error::Config {
            path: dir.join("config.json"),
            field: "attention_function".into(),
            message: format!(
                "`{}` gives weights that may be negative; shares of a row's weight and its entropy, of which all scores \
                 are made, are not defined for them: take a model with another function",
                model.attention_function()
            ),
        }),
    }
}

/// Fails if a text of `longest` tokens has more of them than the model has positions.
///
/// # Errors
/// [`Error::Usage`].
pub(crate) fn check_length(model: &dyn DecoderModel, longest: usize) -> Result<()> {
    match model.max_tokens() {
        Some(most) if longest > most => Err(Error::Usage(format!(
            "--max-seq-len: a text has {longest} tokens, and the model has positions for {most} \
             (max_position_embeddings): use --max-seq-len {most}"
        ))),
        _ => Ok(()),
    }
}

/// The fields of a `config.json` as the struct `T` of its family, each named like its key.
///
/// # Errors
/// [`Error::Config`] naming the field that is missing, of another type, or not known.
fn read_config<T: DeserializeOwned>(path: &Path, json: &serde_json::Value) -> Result<T> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let message = error.inner().to_string();
        // The path leads to a value that is there; of a key that is missing or unknown only serde's message
        // has the name.
        let quoted = message.split('`').nth(1).unwrap_or("?").to_string();
        let (field, message) = match &message {
            m if m.starts_with("missing field") => (quoted, "is missing; add it".into()),
            m if m.starts_with("unknown field") => {
                let model_type = json["model_type"].as_str().unwrap_or_default();
                let message = format!(
                    "is not known for model_type `{model_type}`, and may stand for something that would not be \
                     computed; remove it if it changes nothing"
                );
                (quoted, message)
            }
            _ => (error.path().to_string(), message),
        };
        Error::Config {
            path: path.to_path_buf(),
            field,
            message,
        }
    })
}
