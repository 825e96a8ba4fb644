//! The command that repeats a run.

use crate::{
    models::small_transformer::PositionEmbedding,
    train::{Settings, tasks::Task},
};

/// `attnscope train …` with every choice in it.
pub fn repeated(settings: &Settings, device: &str) -> String {
    let config = &settings.config;
    let name = settings.task.name();
    let task = match &settings.task {
        Task::Induction(task) => vec![
            ("vocab-size", task.vocab_size.to_string()),
            ("seq-length", task.seq_length.to_string()),
            ("shift-query-token", task.shift_query_token.to_string()),
            ("aux-loss-weight", task.aux_loss_weight.to_string()),
        ],
        Task::Classification(task) => vec![
            ("vocab-size", task.vocab_size.to_string()),
            ("seq-length", task.seq_length.to_string()),
            ("num-labels", task.num_labels.to_string()),
        ],
    };
    let positional_type = match config.position_embedding_type {
        PositionEmbedding::Concat => "concat",
        PositionEmbedding::Add => "add",
        PositionEmbedding::None => "no",
    };
    let run = [
        (
            "attention-type",
            config.attention_function.name().to_owned(),
        ),
        ("num-layers", config.num_hidden_layers.to_string()),
        ("num-heads", config.num_attention_heads.to_string()),
        ("embed-dim", config.hidden_size.to_string()),
        ("positional-type", positional_type.to_owned()),
        ("use-mlp", (config.intermediate_size > 0).to_string()),
        ("use-layernorm", config.use_layer_norm.to_string()),
        ("num-train", settings.num_train.to_string()),
        ("num-eval", settings.num_eval.to_string()),
        ("num-epochs", settings.num_epochs.to_string()),
        ("batch-size", settings.batch_size.to_string()),
        ("lr", settings.learning_rate.to_string()),
        ("seed", settings.seed.to_string()),
        ("device", device.to_owned()),
        ("track-every", settings.tracking.every(settings).to_string()),
    ];
    let flags = task.into_iter().chain(run);
    let flags = flags.map(|(flag, value)| format!(" --{flag} {value}"));
    format!("attnscope train {name}{}", flags.collect::<String>())
}
