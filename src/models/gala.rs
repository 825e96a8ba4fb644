//! gala: the decoder of Apple's 7B softmax and sigmoid pair (axlearn, `gala-7B-hybridnorm-alibi-flash-sp-rp`
//! and `gala-sigmoid-7B-4k-hybridnorm-alibi-sp-rp`).
//!
//! ```text
//! x = E[input_ids]
//! per layer:  x = x + post_attention_layernorm(attention(input_layernorm(x)))
//!             x = x + post_feedforward_layernorm(mlp(pre_feedforward_layernorm(x)))
//! logits = norm(x) Eᵀ
//! ```
//! Queries and keys are RMS-normalised head by head (one weight vector of head_dim, shared by the heads)
//! before the dot product; positions come from ALiBi alone; the sigmoid variant adds −ln 4096 to every
//! score; the MLP is SwiGLU; nothing has a bias.

use std::path::Path;

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::{DecoderHead, DecoderLayer, DecoderModel, LayerPart, Sizes, read_config};
use crate::{
    Error,
    checkpoint::{TensorSpec, Weights},
    layers::{
        Linear, PackedSequences, RmsNorm, SwiGlu, alibi,
        attention::{Attention, AttentionFunction, States},
    },
    observe::{AttentionObserver, attend},
};

/// `model_type` in `config.json`.
pub const MODEL_TYPE: &str = "gala";

/// `config.json` of a converted gala checkpoint. Keys that describe no part of the computation
/// (`architectures`, `transformers_version`, `_name_or_path`) are accepted and ignored; any other unknown
/// key is refused, because it would mean a model that this code does not compute.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(rename = "model_type")]
    _model_type: String,
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
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Length of the training sequences; nothing in the computation depends on it.
    pub max_position_embeddings: usize,
    /// Always true: the embedding is the output matrix.
    pub tie_word_embeddings: bool,
    /// `softmax` or `sigmoid`.
    pub attention_function: String,
    /// Added to every score: 0, or −ln 4096 for sigmoid.
    pub attention_logit_bias: f64,
    /// Always `alibi`.
    pub position_embedding_type: String,
    /// Always `hybridnorm`.
    pub norm_structure: String,
    /// Id whose positions are not counted.
    pub pad_token_id: u32,
    /// Id that ends a text.
    pub eos_token_id: u32,
    #[serde(alias = "dtype")]
    /// Element type the weights were saved in; the files themselves say it, too.
    pub torch_dtype: Option<String>,
    #[serde(rename = "architectures", default)]
    _architectures: serde_json::Value,
    #[serde(rename = "transformers_version", default)]
    _transformers_version: serde_json::Value,
    #[serde(rename = "_name_or_path", default)]
    _name_or_path: serde_json::Value,
}

/// The architecture: sizes, names, and how to load its parts.
#[derive(Debug)]
pub struct Gala {
    config: Config,
    json: serde_json::Value,
    sizes: Sizes,
    function: AttentionFunction,
}

impl Gala {
    /// From the content of `config.json`; `path` is for messages.
    pub fn new(path: &Path, json: serde_json::Value) -> crate::Result<Self> {
        let error = |field: &str, message: String| Error::Config {
            path: path.to_path_buf(),
            field: field.into(),
            message,
        };
        let config: Config = read_config(path, &json)?;
        for (field, found, supported) in [
            (
                "position_embedding_type",
                &config.position_embedding_type,
                "alibi",
            ),
            ("norm_structure", &config.norm_structure, "hybridnorm"),
        ] {
            if found != supported {
                return Err(error(
                    field,
                    format!("`{found}` is not supported, only `{supported}`"),
                ));
            }
        }
        if !config.tie_word_embeddings {
            return Err(error(
                "tie_word_embeddings",
                "must be true: gala has no other output matrix".into(),
            ));
        }
        let sizes = Sizes {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            head_dim: config.head_dim,
            vocab_size: config.vocab_size,
        };
        // Far beyond any model, and small enough that no product of sizes overflows.
        for (field, size, largest) in [
            ("hidden_size", sizes.hidden_size, 1 << 20),
            ("intermediate_size", sizes.intermediate_size, 1 << 20),
            ("num_hidden_layers", sizes.num_hidden_layers, 10_000),
            ("num_attention_heads", sizes.num_attention_heads, 10_000),
            ("head_dim", sizes.head_dim, 1 << 16),
            ("vocab_size", sizes.vocab_size, 1 << 24),
        ] {
            if size == 0 || size > largest {
                return Err(error(
                    field,
                    format!("{size} is not between 1 and {largest}"),
                ));
            }
        }
        if !(config.rms_norm_eps > 0.0 && config.rms_norm_eps < 1.0) {
            return Err(error(
                "rms_norm_eps",
                format!("{} is not a small positive number", config.rms_norm_eps),
            ));
        }
        if !config.attention_logit_bias.is_finite() {
            return Err(error(
                "attention_logit_bias",
                "must be a finite number".into(),
            ));
        }
        let function = match config.attention_function.as_str() {
            "softmax" if config.attention_logit_bias != 0.0 => {
                // It would cancel; a file that says so was meant for something else.
                return Err(error(
                    "attention_logit_bias",
                    format!(
                        "is {} but softmax takes none; set it to 0",
                        config.attention_logit_bias
                    ),
                ));
            }
            "softmax" => AttentionFunction::Softmax,
            "sigmoid" => AttentionFunction::sigmoid(config.attention_logit_bias),
            other => {
                return Err(error(
                    "attention_function",
                    format!("`{other}` is not supported, only `softmax` and `sigmoid`"),
                ));
            }
        };
        Ok(Self {
            config,
            json,
            sizes,
            function,
        })
    }

    /// Width of all heads together.
    fn width(&self) -> usize {
        self.sizes.num_attention_heads * self.sizes.head_dim
    }

    fn norm(&self, weights: &Weights, name: &str, size: usize) -> crate::Result<RmsNorm> {
        Ok(RmsNorm::new(
            weights.get(name, &[size])?,
            self.config.rms_norm_eps,
        ))
    }
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const FINAL_NORM: &str = "model.norm.weight";

impl DecoderModel for Gala {
    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn model_type(&self) -> &str {
        MODEL_TYPE
    }

    fn attention_function(&self) -> &str {
        &self.config.attention_function
    }

    fn attention(&self) -> Attention {
        Attention {
            function: self.function,
            num_heads: self.sizes.num_attention_heads,
            head_dim: self.sizes.head_dim,
            scale: 1.0 / (self.sizes.head_dim as f64).sqrt(),
            alibi_slopes: Some(alibi::slopes(self.sizes.num_attention_heads)),
            causal: true,
        }
    }

    fn has_signed_weights(&self) -> bool {
        false
    }

    /// ALiBi has a bias for any distance.
    fn max_tokens(&self) -> Option<usize> {
        None
    }

    fn config(&self) -> &serde_json::Value {
        &self.json
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let (hidden, inner, width) = (
            self.sizes.hidden_size,
            self.sizes.intermediate_size,
            self.width(),
        );
        let head_dim = self.sizes.head_dim;
        let mut specs = vec![TensorSpec::new(EMBEDDING, [self.sizes.vocab_size, hidden])];
        for i in 0..self.sizes.num_hidden_layers {
            for (name, shape) in [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![width, hidden]),
                ("self_attn.k_proj", vec![width, hidden]),
                ("self_attn.v_proj", vec![width, hidden]),
                ("self_attn.o_proj", vec![hidden, width]),
                ("self_attn.q_norm", vec![head_dim]),
                ("self_attn.k_norm", vec![head_dim]),
                ("post_attention_layernorm", vec![hidden]),
                ("pre_feedforward_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![inner, hidden]),
                ("mlp.up_proj", vec![inner, hidden]),
                ("mlp.down_proj", vec![hidden, inner]),
                ("post_feedforward_layernorm", vec![hidden]),
            ] {
                specs.push(TensorSpec::new(
                    format!("model.layers.{i}.{name}.weight"),
                    shape,
                ));
            }
        }
        specs.push(TensorSpec::new(FINAL_NORM, [hidden]));
        specs
    }

    /// The paper's script (`pretrained.py`) counts positions whose id is not the padding id, also inside a
    /// text.
    fn counts_as_query(&self, token: u32) -> bool {
        token != self.config.pad_token_id
    }

    fn linear_weights(&self, part: LayerPart) -> usize {
        let square = self.sizes.hidden_size * self.width();
        match part {
            LayerPart::Whole => {
                4 * square + 3 * self.sizes.hidden_size * self.sizes.intermediate_size
            }
            LayerPart::AttentionWeights => 2 * square,
        }
    }

    fn embed(
        &self,
        weights: &Weights,
        input_ids: &[u32],
        _sequences: &PackedSequences,
    ) -> crate::Result<Tensor> {
        weights.rows(
            EMBEDDING,
            self.sizes.vocab_size,
            self.sizes.hidden_size,
            input_ids,
        )
    }

    fn load_layer(
        &self,
        weights: &Weights,
        layer_idx: usize,
        part: LayerPart,
    ) -> crate::Result<Box<dyn DecoderLayer>> {
        let (hidden, inner, width) = (
            self.sizes.hidden_size,
            self.sizes.intermediate_size,
            self.width(),
        );
        let name = |part: &str| format!("model.layers.{layer_idx}.{part}.weight");
        let projections: &[&str] = match part {
            LayerPart::Whole => &["q", "k", "v"],
            LayerPart::AttentionWeights => &["q", "k"],
        };
        let projections: Vec<String> = projections
            .iter()
            .map(|p| name(&format!("self_attn.{p}_proj")))
            .collect();
        let rest = match part {
            LayerPart::AttentionWeights => None,
            LayerPart::Whole => Some(Rest {
                o_proj: Linear::new(weights.get(&name("self_attn.o_proj"), &[hidden, width])?),
                post_attention_layernorm: self.norm(
                    weights,
                    &name("post_attention_layernorm"),
                    hidden,
                )?,
                pre_feedforward_layernorm: self.norm(
                    weights,
                    &name("pre_feedforward_layernorm"),
                    hidden,
                )?,
                mlp: SwiGlu::new(
                    weights.stack(&[name("mlp.gate_proj"), name("mlp.up_proj")], inner, hidden)?,
                    weights.get(&name("mlp.down_proj"), &[hidden, inner])?,
                ),
                post_feedforward_layernorm: self.norm(
                    weights,
                    &name("post_feedforward_layernorm"),
                    hidden,
                )?,
            }),
        };
        Ok(Box::new(Layer {
            layer_idx,
            attention: self.attention(),
            input_layernorm: self.norm(weights, &name("input_layernorm"), hidden)?,
            qkv_proj: Linear::new(weights.stack(&projections, width, hidden)?),
            q_norm: self.norm(weights, &name("self_attn.q_norm"), self.sizes.head_dim)?,
            k_norm: self.norm(weights, &name("self_attn.k_norm"), self.sizes.head_dim)?,
            rest,
        }))
    }

    fn load_head(&self, weights: &Weights) -> crate::Result<Box<dyn DecoderHead>> {
        let shape = [self.sizes.vocab_size, self.sizes.hidden_size];
        Ok(Box::new(Head {
            norm: self.norm(weights, FINAL_NORM, self.sizes.hidden_size)?,
            embed_tokens: Linear::new(weights.get(EMBEDDING, &shape)?),
        }))
    }
}

struct Layer {
    layer_idx: usize,
    attention: Attention,
    input_layernorm: RmsNorm,
    /// Queries, keys and (in a whole layer) values, one below the other.
    qkv_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    rest: Option<Rest>,
}

/// What follows the attention weights.
struct Rest {
    o_proj: Linear,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: SwiGlu,
    post_feedforward_layernorm: RmsNorm,
}

impl DecoderLayer for Layer {
    fn forward(
        &self,
        hidden_states: &Tensor,
        sequences: &PackedSequences,
        observer: &mut dyn AttentionObserver,
    ) -> Result<Option<Tensor>> {
        let width = self.attention.num_heads * self.attention.head_dim;
        let qkv = self
            .qkv_proj
            .forward(&self.input_layernorm.forward(hidden_states)?)?;
        let query_states = self.q_norm.forward(&qkv.narrow(1, 0, width)?)?;
        let key_states = self.k_norm.forward(&qkv.narrow(1, width, width)?)?;
        let value_states = match &self.rest {
            Some(_) => Some(qkv.narrow(1, 2 * width, width)?),
            None => None,
        };
        let states = States {
            query: &query_states,
            key: &key_states,
            value: value_states.as_ref(),
        };
        let attn_output = attend(
            &self.attention,
            self.layer_idx,
            states,
            sequences,
            self.rest.is_some(),
            observer,
        )?;
        drop((qkv, query_states, key_states, value_states));

        let (Some(rest), Some(attn_output)) = (&self.rest, attn_output) else {
            return Ok(None);
        };
        let attn_output = rest.o_proj.forward(&attn_output)?;
        let hidden_states = rest
            .post_attention_layernorm
            .forward_add(&attn_output, hidden_states)?;
        drop(attn_output);
        let normed = rest.pre_feedforward_layernorm.forward(&hidden_states)?;
        let feed_forward = rest.mlp.forward(&normed)?;
        rest.post_feedforward_layernorm
            .forward_add(&feed_forward, &hidden_states)
            .map(Some)
    }
}

struct Head {
    norm: RmsNorm,
    embed_tokens: Linear,
}

impl DecoderHead for Head {
    fn norm(&self, hidden_states: &Tensor) -> Result<Tensor> {
        self.norm.forward(hidden_states)
    }

    fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        self.embed_tokens.forward(normed)
    }
}
