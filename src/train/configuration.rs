//! A run by the keys of the paper's program, and the settings that they stand for.

use super::{Settings, tasks::Task};
use crate::{
    layers::attention::{AttentionKind, Features},
    models::small_transformer::PositionEmbedding,
};

/// What is chosen for a run, as `attnscope train` and grids have it: a width follows from another here, and a model from
/// all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// What is learned, with its sizes.
    pub task: Task,
    /// How attention weights come of queries and keys.
    pub attention_type: AttentionKind,
    /// Layers.
    pub num_layers: usize,
    /// Heads per layer.
    pub num_heads: usize,
    /// Width of the model; feed-forward blocks are four times as wide.
    pub embed_dim: usize,
    /// How positions come to the tokens.
    pub positional_type: PositionEmbedding,
    /// Whether layers have feed-forward blocks.
    pub use_mlp: bool,
    /// Whether there are layer norms.
    pub use_layernorm: bool,
    /// Samples to learn from.
    pub num_train: usize,
    /// Samples to measure on.
    pub num_eval: usize,
    /// Times that every sample is learned from.
    pub num_epochs: usize,
    /// Samples of a step.
    pub batch_size: usize,
    /// Learning rate of AdamW.
    pub lr: f64,
    /// Decides samples, parameters, their order and the pairs that are measured on.
    pub seed: u32,
}

impl Configuration {
    /// That of [`Settings::of_paper`], with softmax.
    pub fn of_paper(task: Task) -> Self {
        // The only one of Table 1 that every transformer has.
        let attention_type = AttentionKind::ALL[0];
        let settings = Settings::of_paper(task, attention_type);
        Self {
            attention_type,
            num_layers: settings.config.num_hidden_layers,
            num_heads: settings.config.num_attention_heads,
            embed_dim: settings.config.hidden_size,
            positional_type: settings.config.position_embedding_type,
            use_mlp: settings.config.intermediate_size > 0,
            use_layernorm: settings.config.use_layer_norm,
            num_train: settings.num_train,
            num_eval: settings.num_eval,
            num_epochs: settings.num_epochs,
            batch_size: settings.batch_size,
            lr: settings.learning_rate,
            seed: settings.seed,
            task: settings.task,
        }
    }

    /// The settings; whether there can be such a run is checked where it begins.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::of_paper(self.task.clone(), self.attention_type);
        let config = &mut settings.config;
        config.num_hidden_layers = self.num_layers;
        config.num_attention_heads = self.num_heads;
        config.hidden_size = self.embed_dim;
        config.intermediate_size = match self.use_mlp {
            true => self.embed_dim.saturating_mul(4),
            false => 0,
        };
        config.attention_intermediate_size = match self.attention_type.features() {
            // Heads of no width are refused with the number of heads.
            Features::Mlp => {
                let width = self.embed_dim.checked_div(self.num_heads);
                width.unwrap_or(1).max(1).saturating_mul(4)
            }
            Features::Identity | Features::Elu => 0,
        };
        config.use_layer_norm = self.use_layernorm;
        config.position_embedding_type = self.positional_type;
        config.max_position_embeddings = match self.positional_type {
            PositionEmbedding::Add | PositionEmbedding::Concat => self.task.tokens(),
            PositionEmbedding::None => 0,
        };
        settings.num_train = self.num_train;
        settings.num_eval = self.num_eval;
        settings.num_epochs = self.num_epochs;
        settings.batch_size = self.batch_size;
        settings.learning_rate = self.lr;
        settings.seed = self.seed;
        settings
    }
}
