//! What the tensors are called (as in the state dictionary of the paper's program, whose checkpoints can thus be read
//! once they are safetensors), their shapes, and what training begins with.

use super::{Config, PositionEmbedding};
use crate::{checkpoint::TensorSpec, layers::attention::Features};

pub(super) const EMBEDDING: &str = "embedding.weight";
pub(super) const POSITIONS: &str = "pos_embedding.weight";
pub(super) const FINAL_NORM: &str = "final_norm";
pub(super) const OUTPUT_PROJECTION: &str = "output_proj";
pub(super) const NORM_1: &str = "norm1";
pub(super) const NORM_2: &str = "norm2";
pub(super) const QUERY: &str = "q_proj";
pub(super) const KEY: &str = "k_proj";
pub(super) const VALUE: &str = "v_proj";
pub(super) const OUTPUT: &str = "o_proj";
pub(super) const MLP: &str = "mlp";
pub(super) const ATTENTION_MLP: &str = "attn_mlp";

/// A part of a layer.
pub(super) fn in_layer(layer_idx: usize, part: &str) -> String {
    format!("layers.{layer_idx}.{part}")
}

pub(super) fn weight(of: &str) -> String {
    format!("{of}.weight")
}

pub(super) fn bias(of: &str) -> String {
    format!("{of}.bias")
}

/// The first matrix of a feed-forward network.
pub(super) fn up(of: &str) -> String {
    format!("{of}.0")
}

/// Its second; between them stands the GELU, which has no weights.
pub(super) fn down(of: &str) -> String {
    format!("{of}.2")
}

/// A tensor, and what it is before training.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name and shape.
    pub spec: TensorSpec,
    /// Its entries before training: PyTorch's initialisation.
    pub initial: Initial,
}

/// The distribution of a tensor's entries before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// Standard normal: embeddings.
    Normal,
    /// Uniform between −bound and bound: weights and biases of linear layers, 1/√in being the bound.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// All equal: 1 for the weights of norms, 0 for their biases.
    Constant(f64),
}

/// Every tensor of the model, in the order in which they are used.
pub(super) fn parameters(config: &Config) -> Vec<Parameter> {
    let mut list = List(Vec::new());
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let token_width = config.token_width();
    list.add(
        EMBEDDING.into(),
        [config.vocab_size, token_width],
        Initial::Normal,
    );
    if config.position_embedding_type != PositionEmbedding::None {
        let shape = [config.max_position_embeddings, token_width];
        list.add(POSITIONS.into(), shape, Initial::Normal);
    }
    let has_network = config.attention_function.features() == Features::Mlp;
    for layer_idx in 0..config.num_hidden_layers {
        let name = |part: &str| in_layer(layer_idx, part);
        list.norm(config, &name(NORM_1));
        for part in [QUERY, KEY, VALUE, OUTPUT] {
            list.linear(&name(part), hidden, hidden);
        }
        if has_network {
            list.mlp(
                &name(ATTENTION_MLP),
                config.head_dim(),
                config.attention_intermediate_size,
            );
        }
        if inner > 0 {
            list.norm(config, &name(NORM_2));
            list.mlp(&name(MLP), hidden, inner);
        }
    }
    list.norm(config, FINAL_NORM);
    list.linear(OUTPUT_PROJECTION, hidden, config.output_size);
    list.0
}

struct List(Vec<Parameter>);

impl List {
    fn add(&mut self, name: String, shape: impl Into<Vec<usize>>, initial: Initial) {
        let spec = TensorSpec::new(name, shape);
        self.0.push(Parameter { spec, initial });
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) {
        let bound = 1.0 / (input as f64).sqrt();
        self.add(weight(name), [output, input], Initial::Uniform { bound });
        self.add(bias(name), [output], Initial::Uniform { bound });
    }

    fn mlp(&mut self, name: &str, width: usize, inner: usize) {
        self.linear(&up(name), width, inner);
        self.linear(&down(name), inner, width);
    }

    fn norm(&mut self, config: &Config, name: &str) {
        if config.use_layer_norm {
            self.add(weight(name), [config.hidden_size], Initial::Constant(1.0));
            self.add(bias(name), [config.hidden_size], Initial::Constant(0.0));
        }
    }
}
