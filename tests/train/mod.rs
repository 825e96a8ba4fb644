//! Training: the small transformer against the paper's own program, its gradients, and the tasks.

mod checkpoint;
mod gradients;
mod grids;
mod metrics;
mod oracle;
mod parameters;
mod refusals;
mod replicas;
mod run;
pub mod scan;
mod snapshot;
pub mod sweep;
mod sweep_refusals;
mod tasks;
mod track;

use attnscope::{
    layers::attention::{AttentionKind, Features},
    models::small_transformer::{Config, MODEL_TYPE, PositionEmbedding},
    train::tasks::Task,
};

/// A model of two layers and two heads for a task, with everything that there can be.
fn config(task: &Task, kind: AttentionKind) -> Config {
    let is_causal = matches!(task, Task::Induction(_));
    Config {
        model_type: MODEL_TYPE.into(),
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        vocab_size: task.vocab_size(),
        output_size: task.output_size(),
        attention_function: kind,
        attention_intermediate_size: match kind.features() {
            Features::Mlp => 12,
            Features::Identity | Features::Elu => 0,
        },
        position_embedding_type: match is_causal {
            true => PositionEmbedding::Concat,
            false => PositionEmbedding::None,
        },
        max_position_embeddings: if is_causal { task.tokens() } else { 0 },
        is_causal,
        use_layer_norm: true,
        layer_norm_eps: 1e-5,
    }
}
