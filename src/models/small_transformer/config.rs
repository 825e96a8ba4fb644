//! `config.json` of a small transformer.

use std::{ops::RangeInclusive, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    layers::attention::{AttentionKind, Features},
    models::read_config,
};

/// `model_type` in `config.json`.
pub const MODEL_TYPE: &str = "small_transformer";

/// `config.json`. Every key is needed, and any other is refused, because it would mean a model that this code does
/// not compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Always [`MODEL_TYPE`].
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward blocks; 0 for layers without one.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads per layer; they share `hidden_size` equally.
    pub num_attention_heads: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Columns of the logits: `vocab_size` for a language model, the number of labels for a classifier.
    pub output_size: usize,
    /// By its name.
    pub attention_function: AttentionKind,
    /// Width of the network on queries and keys of `mlp_norm` and `mlp_unnorm`; 0 for the others, which have none.
    pub attention_intermediate_size: usize,
    /// How token and position embeddings are put together.
    pub position_embedding_type: PositionEmbedding,
    /// Rows of the position embedding, and so tokens of the longest text; 0 without one.
    pub max_position_embeddings: usize,
    /// Whether a query sees only its own and earlier positions.
    pub is_causal: bool,
    /// Whether there are layer norms: before each block, and after the last one.
    pub use_layer_norm: bool,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
}

/// How token and position embeddings are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionEmbedding {
    /// Added; both are `hidden_size` wide.
    Add,
    /// One after the other; both are half of `hidden_size` wide.
    Concat,
    /// There is no position embedding.
    None,
}

impl Config {
    /// From the content of `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is missing, unknown or impossible.
    pub fn read(path: &Path, json: &serde_json::Value) -> crate::Result<Self> {
        let config: Self = read_config(path, json)?;
        config.check(path)?;
        Ok(config)
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Width of the token embedding.
    pub fn token_width(&self) -> usize {
        match self.position_embedding_type {
            PositionEmbedding::Concat => self.hidden_size / 2,
            PositionEmbedding::Add | PositionEmbedding::None => self.hidden_size,
        }
    }

    /// Whether it describes a model at all.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, with `path` as the file.
    pub fn check(&self, path: &Path) -> crate::Result<()> {
        let error = |field: &str, message: String| Error::Config {
            path: path.to_path_buf(),
            field: field.into(),
            message,
        };
        let within = |field: &str, size: usize, range: RangeInclusive<usize>| {
            let (least, most) = (range.start(), range.end());
            match range.contains(&size) {
                true => Ok(()),
                false => Err(error(
                    field,
                    format!("{size} is not between {least} and {most}"),
                )),
            }
        };
        let absent = |field: &str, size: usize, why: String| match size {
            0 => Ok(()),
            _ => Err(error(field, format!("is {size} and must be 0: {why}"))),
        };
        if self.model_type != MODEL_TYPE {
            let message = format!("must be `{MODEL_TYPE}`, not `{}`", self.model_type);
            return Err(error("model_type", message));
        }
        // Far beyond any such model, and small enough that no product of sizes overflows.
        within("hidden_size", self.hidden_size, 1..=1 << 20)?;
        within("intermediate_size", self.intermediate_size, 0..=1 << 20)?;
        within("num_hidden_layers", self.num_hidden_layers, 1..=10_000)?;
        within("num_attention_heads", self.num_attention_heads, 1..=10_000)?;
        within("vocab_size", self.vocab_size, 1..=1 << 24)?;
        within("output_size", self.output_size, 1..=1 << 24)?;
        let (field, size) = (
            "attention_intermediate_size",
            self.attention_intermediate_size,
        );
        match self.attention_function.features() {
            Features::Mlp => within(field, size, 1..=1 << 20)?,
            Features::Identity | Features::Elu => absent(
                field,
                size,
                format!(
                    "`{}` has no network on queries and keys",
                    self.attention_function.name()
                ),
            )?,
        }
        let (field, size) = ("max_position_embeddings", self.max_position_embeddings);
        match self.position_embedding_type {
            PositionEmbedding::Add | PositionEmbedding::Concat => {
                within(field, size, 1..=1 << 24)?;
            }
            PositionEmbedding::None => {
                absent(field, size, "position_embedding_type is `none`".into())?;
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let message = format!(
                "{} heads cannot share the hidden_size of {} equally",
                self.num_attention_heads, self.hidden_size
            );
            return Err(error("num_attention_heads", message));
        }
        if self.position_embedding_type == PositionEmbedding::Concat && self.hidden_size % 2 == 1 {
            let message = format!(
                "{} is odd, and position_embedding_type `concat` needs two halves",
                self.hidden_size
            );
            return Err(error("hidden_size", message));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            let message = format!("{} is not a small positive number", self.layer_norm_eps);
            return Err(error("layer_norm_eps", message));
        }
        Ok(())
    }
}
