"""gala, the decoder of Apple's 7B softmax and sigmoid pair, the way such models are written today.

Plain PyTorch, in the manner of the "eager" path of transformers: one module per part, the additive mask
and the attention map as whole (batch, heads, tokens, tokens) tensors, and the maps of all layers handed
back together, as `output_attentions=True` does. Nothing is skipped and nothing is fused that such a
script would not skip or fuse; in particular every layer runs to its end.

Reads a checkpoint directory: config.json, and model.safetensors or model.safetensors.index.json.
"""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn


@dataclass
class GalaConfig:
    """The keys of config.json that the forward pass depends on."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    attention_function: str
    attention_logit_bias: float
    pad_token_id: int

    @classmethod
    def read(cls, path):
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        fixed = {
            "model_type": "gala",
            "position_embedding_type": "alibi",
            "norm_structure": "hybridnorm",
            "tie_word_embeddings": True,
        }
        for key, expected in fixed.items():
            if values.get(key) != expected:
                raise SystemExit(f"{path}: `{key}` is {values.get(key)!r}, this model needs {expected!r}")
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise SystemExit(f"{path}: missing: {', '.join(missing)}")
        config = cls(**{field.name: values[field.name] for field in fields(cls)})
        if config.attention_function not in ("softmax", "sigmoid"):
            raise SystemExit(f"{path}: `attention_function` is {config.attention_function!r}, not softmax or sigmoid")
        return config


def alibi_slopes(heads):
    """One slope per head: 2^(-8 (i+1) / heads) for a power of two; otherwise the slopes of the power of
    two below, then every other slope of the power of two above."""

    def geometric(n):
        return [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]

    power = 2 ** int(math.log2(heads))
    return geometric(power) + geometric(2 * power)[0::2][: heads - power]


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden_states):
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden_states * torch.rsqrt(variance + self.eps))


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.function, self.logit_bias = config.attention_function, config.attention_logit_bias
        width = self.heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)

    def forward(self, hidden_states, bias):
        batch, q_len, _ = hidden_states.shape
        split = (batch, q_len, self.heads, self.head_dim)
        # (batch, heads, q_len, head_dim)
        query_states = self.q_norm(self.q_proj(hidden_states).view(split)).transpose(1, 2)
        key_states = self.k_norm(self.k_proj(hidden_states).view(split)).transpose(1, 2)
        value_states = self.v_proj(hidden_states).view(split).transpose(1, 2)

        attn_scores = torch.matmul(query_states, key_states.transpose(2, 3)) * self.head_dim**-0.5
        attn_scores = attn_scores + bias
        if self.function == "softmax":
            attn_weights = torch.softmax(attn_scores, dim=-1)
        else:
            attn_weights = torch.sigmoid(attn_scores + self.logit_bias)

        attn_output = torch.matmul(attn_weights, value_states)
        attn_output = attn_output.transpose(1, 2).reshape(batch, q_len, -1)
        return self.o_proj(attn_output), attn_weights


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states):
        return self.down_proj(nn.functional.silu(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class DecoderLayer(nn.Module):
    """Hybrid norm: each block normalises what it takes in and what it gives back to the residual."""

    def __init__(self, config):
        super().__init__()
        size, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(size, eps)
        self.post_attention_layernorm = RMSNorm(size, eps)
        self.pre_feedforward_layernorm = RMSNorm(size, eps)
        self.post_feedforward_layernorm = RMSNorm(size, eps)
        self.self_attn = Attention(config)
        self.mlp = MLP(config)

    def forward(self, hidden_states, bias):
        attn_output, attn_weights = self.self_attn(self.input_layernorm(hidden_states), bias)
        hidden_states = hidden_states + self.post_attention_layernorm(attn_output)
        feed_forward = self.mlp(self.pre_feedforward_layernorm(hidden_states))
        hidden_states = hidden_states + self.post_feedforward_layernorm(feed_forward)
        return hidden_states, attn_weights


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Gala(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)

    @classmethod
    def from_pretrained(cls, directory):
        """The model in float32, whatever the checkpoint's own dtype."""
        directory = Path(directory)
        config = GalaConfig.read(directory / "config.json")
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(read_tensors(directory), strict=True, assign=True)
        return model.eval()

    def attention_bias(self, attention_mask):
        """ALiBi and the two masks as one additive tensor, (batch, heads, q_len, kv_len)."""
        length = attention_mask.shape[1]
        position = torch.arange(length)
        distance = (position[None, :] - position[:, None]).float()
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads))
        visible = (distance <= 0) & attention_mask[:, None, None, :].bool()
        masked = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
        return slopes[:, None, None] * distance.clamp(max=0) + masked

    def forward(self, input_ids, attention_mask, lm_head=False, output_hidden_states=False):
        """Returns (logits or None, hidden states after each layer and the final norm or None, the attention
        maps of all layers). Padding stands on the right; the first token of every row is real."""
        bias = self.attention_bias(attention_mask)
        hidden_states = self.model.embed_tokens(input_ids)
        all_hidden_states, attentions = [], []
        for layer in self.model.layers:
            hidden_states, attn_weights = layer(hidden_states, bias)
            attentions.append(attn_weights)
            if output_hidden_states:
                all_hidden_states.append(hidden_states)
        hidden_states = self.model.norm(hidden_states)
        if output_hidden_states:
            all_hidden_states.append(hidden_states)
        logits = nn.functional.linear(hidden_states, self.model.embed_tokens.weight) if lm_head else None
        return logits, tuple(all_hidden_states) or None, tuple(attentions)


def read_tensors(directory):
    """Every tensor of a checkpoint directory by name, as float32."""
    index = directory / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    tensors = {}
    for name in names:
        with safe_open(directory / name, framework="pt") as shard:
            for key in shard.keys():
                tensors[key] = shard.get_tensor(key).to(torch.float32)
    return tensors
