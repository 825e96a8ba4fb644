//! The network: blocks and what stands around them, made of tensors from anywhere.
//!
//! Whether gradients flow is the tensors' affair: those of variables carry them, those of a checkpoint do not.

use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};

use super::{Config, PositionEmbedding, names};
use crate::layers::{
    GeluMlp, LayerNorm, Linear, PackedSequences,
    attention::{Attention, FeatureMap, Features, States, Wanted},
};
use crate::models::LayerPart;
use crate::observe::{AttentionObserver, attend};

/// Where the tensors come from: by name, of the shape that is given, or all with one more dimension before it, the same
/// of every tensor: then it is as many networks of one shape.
pub type Source<'a> = &'a dyn Fn(&str, &[usize]) -> crate::Result<Tensor>;

/// A whole network, for training and for evaluation.
///
/// Its tensors are those of the source: where they are variables, a step of an optimiser changes the network. Made of
/// tensors with one more dimension, it is several networks of one shape: of the tokens it is given, the first of as many
/// equal parts goes through the first network, and so on.
#[derive(Debug, Clone)]
pub struct Network {
    embedding: Tensor,
    positions: Option<Tensor>,
    position_type: PositionEmbedding,
    blocks: Vec<Block>,
    head: Head,
}

/// What a [`Network`] gives.
#[derive(Debug, Clone)]
pub struct Output {
    /// (tokens, output_size).
    pub logits: Tensor,
    /// Of every layer, one (num_heads, q_len, kv_len) map per sequence with tokens; empty unless maps were wanted.
    pub attn_weights: Vec<Vec<Tensor>>,
}

impl Network {
    /// Takes all tensors from `source`.
    ///
    /// # Errors
    /// Those of `source`, and of a configuration that is no model.
    pub fn new(config: &Config, source: Source) -> crate::Result<Self> {
        config.check(Path::new("config.json"))?;
        let has_positions = config.position_embedding_type != PositionEmbedding::None;
        Ok(Self {
            embedding: source(names::EMBEDDING, &[config.vocab_size, config.token_width()])?,
            positions: match has_positions {
                true => Some(source(
                    names::POSITIONS,
                    &[config.max_position_embeddings, config.token_width()],
                )?),
                false => None,
            },
            position_type: config.position_embedding_type,
            blocks: (0..config.num_hidden_layers)
                .map(|i| Block::new(config, i, LayerPart::Whole, source))
                .collect::<crate::Result<_>>()?,
            head: Head::new(config, source)?,
        })
    }

    /// The ids of all sequences, one sequence after the other, to logits, and to maps if they are wanted.
    ///
    /// # Errors
    /// An id or a position without a row in its embedding.
    pub fn forward(
        &self,
        input_ids: &[u32],
        sequences: &PackedSequences,
        attn_weights: bool,
    ) -> Result<Output> {
        let wanted = Wanted {
            attn_output: true,
            rows: false,
            attn_weights,
        };
        let mut maps = Vec::new();
        let logits = self.pass(input_ids, sequences, |_, attention, states| {
            let result = attention.forward(states, sequences, wanted)?;
            maps.extend(result.attn_weights);
            Ok(result.attn_output)
        })?;
        Ok(Output {
            logits,
            attn_weights: maps,
        })
    }

    /// The same pass, telling `observer` about the attention of every layer as a scan does. Returns the logits, (tokens,
    /// output_size).
    ///
    /// # Errors
    /// As [`Network::forward`], and those of the observer.
    pub fn observe(
        &self,
        input_ids: &[u32],
        sequences: &PackedSequences,
        observer: &mut dyn AttentionObserver,
    ) -> Result<Tensor> {
        self.pass(input_ids, sequences, |layer_idx, attention, states| {
            attend(attention, layer_idx, states, sequences, true, observer)
        })
    }

    /// Ids to logits; `attend` is what happens between the queries and keys of a layer and its attention output.
    fn pass(
        &self,
        input_ids: &[u32],
        sequences: &PackedSequences,
        mut attend: impl FnMut(usize, &Attention, States) -> Result<Option<Tensor>>,
    ) -> Result<Tensor> {
        let tokens = rows(&self.embedding, input_ids)?;
        let positions = match &self.positions {
            Some(table) => Some(rows(table, &positions(sequences))?),
            None => None,
        };
        let mut hidden_states = join(self.position_type, tokens, positions)?;
        for (layer_idx, block) in self.blocks.iter().enumerate() {
            let next = block.forward(&hidden_states, |states| {
                attend(layer_idx, &block.attention, states)
            })?;
            if let Some(next) = next {
                hidden_states = next;
            }
        }
        self.head.logits(&self.head.norm(&hidden_states)?)
    }

    /// Where its tensors are.
    pub fn device(&self) -> &Device {
        self.embedding.device()
    }
}

/// The rows of the ids in a (rows, width) table; in a (replicas, rows, width) one, those of each replica's part of the
/// ids in its own.
fn rows(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let &[replicas, rows, _] = table.dims() else {
        return table.index_select(&Tensor::new(ids, table.device())?, 0);
    };
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        bail!("there is no row {id} in a table of {rows}")
    }
    let of_replica = ids.len().div_ceil(replicas).max(1);
    let parts = ids.chunks(of_replica).enumerate();
    let ids: Vec<u32> = parts
        .flat_map(|(replica, ids)| ids.iter().map(move |id| (replica * rows) as u32 + id))
        .collect();
    table
        .flatten_to(1)?
        .index_select(&Tensor::new(ids, table.device())?, 0)
}

/// The position of every token in its sequence.
pub(super) fn positions(sequences: &PackedSequences) -> Vec<u32> {
    sequences
        .ranges()
        .flat_map(|range| 0..range.len() as u32)
        .collect()
}

/// (tokens, width) token and position embeddings → (tokens, hidden_size).
pub(super) fn join(
    position_type: PositionEmbedding,
    tokens: Tensor,
    positions: Option<Tensor>,
) -> Result<Tensor> {
    match (position_type, positions) {
        (PositionEmbedding::Add, Some(positions)) => tokens + positions,
        (PositionEmbedding::Concat, Some(positions)) => Tensor::cat(&[tokens, positions], 1),
        _ => Ok(tokens),
    }
}

/// What is fixed about the attention of every layer.
pub(super) fn attention(config: &Config) -> Attention {
    let kind = config.attention_function;
    Attention {
        function: kind.function(),
        num_heads: config.num_attention_heads,
        head_dim: config.head_dim(),
        scale: kind.scale(config.head_dim()),
        alibi_slopes: None,
        causal: config.is_causal,
    }
}

/// One layer: `x = x + o_proj(attention(norm1(x)))`, then `x = x + mlp(norm2(x))`.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) attention: Attention,
    features: FeatureMap,
    norm1: Option<LayerNorm>,
    q_proj: Linear,
    k_proj: Linear,
    rest: Option<Rest>,
}

/// What is not needed for the attention weights.
#[derive(Debug, Clone)]
struct Rest {
    v_proj: Linear,
    o_proj: Linear,
    norm2: Option<LayerNorm>,
    mlp: Option<GeluMlp>,
}

impl Block {
    pub(super) fn new(
        config: &Config,
        layer_idx: usize,
        part: LayerPart,
        source: Source,
    ) -> crate::Result<Self> {
        let hidden = config.hidden_size;
        let name = |part: &str| names::in_layer(layer_idx, part);
        let projection = |part: &str| linear(source, &name(part), hidden, hidden);
        let features = match config.attention_function.features() {
            Features::Identity => FeatureMap::Identity,
            Features::Elu => FeatureMap::Elu,
            Features::Mlp => FeatureMap::Mlp(mlp(
                source,
                &name(names::ATTENTION_MLP),
                config.head_dim(),
                config.attention_intermediate_size,
            )?),
        };
        let rest = match part {
            LayerPart::AttentionWeights => None,
            LayerPart::Whole => {
                let (mlp, norm2) = match config.intermediate_size {
                    0 => (None, None),
                    inner => (
                        Some(mlp(source, &name(names::MLP), hidden, inner)?),
                        norm(config, source, &name(names::NORM_2))?,
                    ),
                };
                Some(Rest {
                    v_proj: projection(names::VALUE)?,
                    o_proj: projection(names::OUTPUT)?,
                    norm2,
                    mlp,
                })
            }
        };
        Ok(Self {
            attention: attention(config),
            features,
            norm1: norm(config, source, &name(names::NORM_1))?,
            q_proj: projection(names::QUERY)?,
            k_proj: projection(names::KEY)?,
            rest,
        })
    }

    /// Whether there is more of it than gives the attention weights.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_some()
    }

    /// (tokens, hidden_size) → the same; `None` if only the part up to the attention weights was loaded. `attend`
    /// gives the attention output of the states, or `None` if they have no values.
    pub(super) fn forward(
        &self,
        hidden_states: &Tensor,
        attend: impl FnOnce(States) -> Result<Option<Tensor>>,
    ) -> Result<Option<Tensor>> {
        let normed = normalize(&self.norm1, hidden_states)?;
        let head_dim = self.attention.head_dim;
        let features = |states: Tensor| self.features.forward(&states, head_dim);
        let query = features(self.q_proj.forward(&normed)?)?;
        let key = features(self.k_proj.forward(&normed)?)?;
        let value = match &self.rest {
            Some(rest) => Some(rest.v_proj.forward(&normed)?),
            None => None,
        };
        let attn_output = attend(States {
            query: &query,
            key: &key,
            value: value.as_ref(),
        })?;
        let (Some(rest), Some(attn_output)) = (&self.rest, attn_output) else {
            return Ok(None);
        };
        let hidden_states = (hidden_states + rest.o_proj.forward(&attn_output)?)?;
        let Some(mlp) = &rest.mlp else {
            return Ok(Some(hidden_states));
        };
        let feed_forward = mlp.forward(&normalize(&rest.norm2, &hidden_states)?)?;
        Ok(Some((hidden_states + feed_forward)?))
    }
}

/// The final norm and the output matrix.
#[derive(Debug, Clone)]
pub(super) struct Head {
    norm: Option<LayerNorm>,
    output_proj: Linear,
}

impl Head {
    pub(super) fn new(config: &Config, source: Source) -> crate::Result<Self> {
        Ok(Self {
            norm: norm(config, source, names::FINAL_NORM)?,
            output_proj: linear(
                source,
                names::OUTPUT_PROJECTION,
                config.hidden_size,
                config.output_size,
            )?,
        })
    }

    pub(super) fn norm(&self, hidden_states: &Tensor) -> Result<Tensor> {
        normalize(&self.norm, hidden_states)
    }

    pub(super) fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        self.output_proj.forward(normed)
    }
}

fn linear(source: Source, name: &str, input: usize, output: usize) -> crate::Result<Linear> {
    Ok(Linear::with_bias(
        source(&names::weight(name), &[output, input])?,
        source(&names::bias(name), &[output])?,
    ))
}

fn mlp(source: Source, name: &str, width: usize, inner: usize) -> crate::Result<GeluMlp> {
    Ok(GeluMlp::new(
        linear(source, &names::up(name), width, inner)?,
        linear(source, &names::down(name), inner, width)?,
    ))
}

fn norm(config: &Config, source: Source, name: &str) -> crate::Result<Option<LayerNorm>> {
    if !config.use_layer_norm {
        return Ok(None);
    }
    let of_width = |name: &str| source(name, &[config.hidden_size]);
    Ok(Some(LayerNorm::new(
        of_width(&names::weight(name))?,
        of_width(&names::bias(name))?,
        config.layer_norm_eps,
    )))
}

fn normalize(norm: &Option<LayerNorm>, x: &Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(x),
        None => Ok(x.clone()),
    }
}
