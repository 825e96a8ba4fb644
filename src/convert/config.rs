//! `config.json` of a converted checkpoint.

use serde_json::{Value, json};

use super::mapping::Mapping;

/// Tokens per sequence in gala's training. It is also a constant of the sigmoid's bias, whatever the length of a
/// text (axlearn's `SigmoidAttention.seq_len`).
const SEQ_LEN: usize = 4096;

/// axlearn's `RMSNorm.eps`, in every norm.
const RMS_NORM_EPS: f64 = 1e-5;

/// axlearn's `Decoder.pad_token_id`: it pads with this id whatever a tokenizer says.
pub(super) const PAD_TOKEN_ID: u32 = 0;

/// The configuration of a gala with the first `layers` of the layers of `mapping`. What the arrays' shapes do not
/// tell is the same for every gala, the attention function aside.
pub(super) fn config(
    mapping: &Mapping,
    layers: usize,
    attention_function: &str,
    eos_token_id: u32,
    torch_dtype: &str,
) -> Value {
    let sizes = &mapping.sizes;
    let attention_logit_bias = match attention_function {
        "sigmoid" => -(SEQ_LEN as f64).ln(),
        _ => 0.0,
    };
    json!({
        "model_type": crate::models::gala::MODEL_TYPE,
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
        "num_hidden_layers": layers,
        "num_attention_heads": sizes.num_attention_heads,
        "head_dim": sizes.head_dim,
        "vocab_size": sizes.vocab_size,
        "rms_norm_eps": RMS_NORM_EPS,
        "max_position_embeddings": SEQ_LEN,
        "tie_word_embeddings": true,
        "attention_function": attention_function,
        "attention_logit_bias": attention_logit_bias,
        "position_embedding_type": "alibi",
        "norm_structure": "hybridnorm",
        "pad_token_id": PAD_TOKEN_ID,
        "eos_token_id": eos_token_id,
        "torch_dtype": torch_dtype,
    })
}
