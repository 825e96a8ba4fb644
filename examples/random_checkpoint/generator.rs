//! Writes gala checkpoints with random weights, of any size, in constant memory.
//!
//! Every number is a function of the seed, the tensor's name and its position in the tensor, so that blocks can be
//! made in parallel and the file is the same whatever the number of threads, the shard size or the machine.
//!
//! The values are chosen so that attention is alive: projections with standard deviation 1/√(fan-in), norm scales
//! near 1, and scales of the query and key norms between 2 and 4, another one in each layer, which gives scores
//! a spread of roughly 4 to 16 and so rows from broad to nearly one-hot.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use half::bf16;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

/// What turns scores into attention weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AttentionFunction {
    Softmax,
    Sigmoid,
}

impl AttentionFunction {
    /// Added to every score: 0, or −ln 4096, where 4096 is gala's training length.
    fn logit_bias(self) -> f64 {
        match self {
            Self::Softmax => 0.0,
            Self::Sigmoid => -8.317766166719343,
        }
    }
}

impl fmt::Display for AttentionFunction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
        })
    }
}

/// Element type of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    Bf16,
    F32,
}

impl Dtype {
    fn size(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// The `config.json` of a gala checkpoint, less `torch_dtype`; keys as Hugging Face names them.
#[derive(Debug, Clone, Serialize)]
pub struct GalaConfig {
    pub model_type: &'static str,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    pub rms_norm_eps: f64,
    pub max_position_embeddings: usize,
    pub tie_word_embeddings: bool,
    pub attention_function: AttentionFunction,
    pub attention_logit_bias: f64,
    pub position_embedding_type: &'static str,
    pub norm_structure: &'static str,
    pub pad_token_id: u32,
    pub eos_token_id: u32,
}

impl GalaConfig {
    /// A gala of other sizes. `heads` must divide `hidden_size`, which [`write_checkpoint`] checks.
    pub fn new(
        attention_function: AttentionFunction,
        [layers, hidden_size, heads, intermediate_size, vocab_size]: [usize; 5],
    ) -> Self {
        Self {
            model_type: "gala",
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            head_dim: hidden_size / heads.max(1),
            vocab_size,
            rms_norm_eps: 1e-5,
            max_position_embeddings: 4096,
            tie_word_embeddings: true,
            attention_function,
            attention_logit_bias: attention_function.logit_bias(),
            position_embedding_type: "alibi",
            norm_structure: "hybridnorm",
            pad_token_id: 0,
            eos_token_id: 1,
        }
    }

    /// The pair in `tests/data`: half a million parameters, and a head count that is no power of two.
    pub fn tiny(attention_function: AttentionFunction) -> Self {
        Self::new(attention_function, [4, 96, 6, 256, 1024])
    }
}

/// Seed of the pair in `tests/data`; both share it, so that they differ in nothing but the function.
pub const SEED: u64 = 260_306_248;

/// How the values of a tensor are spread.
enum Values {
    /// Mean 0, this standard deviation, bell-shaped and bounded at 3.46 standard deviations.
    Normal(f32),
    /// Uniform within a tenth of this value.
    Near(f32),
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Values,
}

impl Tensor {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All tensors, in the order in which a forward pass needs them.
fn tensors(config: &GalaConfig) -> Vec<Tensor> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], values: Values| {
        tensors.push(Tensor {
            name,
            shape: shape.to_vec(),
            values,
        });
    };
    let fan_in = |inputs: usize| Values::Normal(1.0 / (inputs as f32).sqrt());

    add(
        "model.embed_tokens.weight".into(),
        &[config.vocab_size, hidden],
        Values::Normal(1.0),
    );
    for layer in 0..config.num_hidden_layers {
        // Multiples of the golden ratio spread over the unit interval, whatever the number of layers.
        let scale = 2.0 + 2.0 * ((layer + 1) as f64 * 0.618_033_988_749_895).fract() as f32;
        let mut add = |name: &str, shape: &[usize], values: Values| {
            add(format!("model.layers.{layer}.{name}.weight"), shape, values);
        };
        add("input_layernorm", &[hidden], Values::Near(1.0));
        for projection in ["q", "k", "v", "o"] {
            add(
                &format!("self_attn.{projection}_proj"),
                &[hidden, hidden],
                fan_in(hidden),
            );
        }
        add("self_attn.q_norm", &[config.head_dim], Values::Near(scale));
        add("self_attn.k_norm", &[config.head_dim], Values::Near(scale));
        add("post_attention_layernorm", &[hidden], Values::Near(1.0));
        add("pre_feedforward_layernorm", &[hidden], Values::Near(1.0));
        add("mlp.gate_proj", &[intermediate, hidden], fan_in(hidden));
        add("mlp.up_proj", &[intermediate, hidden], fan_in(hidden));
        add(
            "mlp.down_proj",
            &[hidden, intermediate],
            fan_in(intermediate),
        );
        add("post_feedforward_layernorm", &[hidden], Values::Near(1.0));
    }
    add("model.norm.weight".into(), &[hidden], Values::Near(1.0));
    tensors
}

/// Writes `config.json`, `tokenizer.json` and the weights into `out`: `model.safetensors`, or, where they are
/// larger than `shard_bytes`, shards and `model.safetensors.index.json`. `config.json` comes last: a directory
/// without it is not finished.
pub fn write_checkpoint(
    out: &Path,
    config: &GalaConfig,
    dtype: Dtype,
    seed: u64,
    shard_bytes: u64,
    tokenizer: &[u8],
) -> Result<()> {
    ensure!(
        config.num_attention_heads > 0
            && config
                .hidden_size
                .is_multiple_of(config.num_attention_heads),
        "{} heads do not divide a hidden size of {}",
        config.num_attention_heads,
        config.hidden_size
    );
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())
    };

    let shards = shards(tensors(config), dtype, shard_bytes);
    let mut weight_map = BTreeMap::new();
    let mut total_size = 0;
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let path = out.join(&name);
        write_shard(&path, shard, dtype, seed).with_context(|| path.display().to_string())?;
        for tensor in shard {
            weight_map.insert(&tensor.name, name.clone());
            total_size += tensor.elements() * dtype.size();
        }
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
        write(
            "model.safetensors.index.json",
            &serde_json::to_vec_pretty(&index)?,
        )?;
    }
    write("tokenizer.json", tokenizer)?;

    #[derive(Serialize)]
    struct ConfigFile<'c> {
        #[serde(flatten)]
        config: &'c GalaConfig,
        torch_dtype: &'static str,
    }
    let torch_dtype = match dtype {
        Dtype::Bf16 => "bfloat16",
        Dtype::F32 => "float32",
    };
    let mut config = serde_json::to_vec_pretty(&ConfigFile {
        config,
        torch_dtype,
    })?;
    config.push(b'\n');
    write("config.json", &config)
}

/// Fills shards in order; one tensor at least goes into each, however large it is.
fn shards(tensors: Vec<Tensor>, dtype: Dtype, shard_bytes: u64) -> Vec<Vec<Tensor>> {
    let mut shards: Vec<Vec<Tensor>> = Vec::new();
    let mut filled = 0;
    for tensor in tensors {
        let bytes = (tensor.elements() * dtype.size()) as u64;
        match shards.last_mut() {
            Some(shard) if filled + bytes <= shard_bytes => {
                shard.push(tensor);
                filled += bytes;
            }
            _ => {
                shards.push(vec![tensor]);
                filled = bytes;
            }
        }
    }
    shards
}

/// One safetensors file: the length of the header, the header padded to eight bytes, the data.
fn write_shard(path: &Path, tensors: &[Tensor], dtype: Dtype, seed: u64) -> Result<()> {
    #[derive(Serialize)]
    struct Entry<'t> {
        dtype: &'static str,
        shape: &'t [usize],
        data_offsets: [usize; 2],
    }
    #[derive(Serialize)]
    struct Header<'t> {
        #[serde(rename = "__metadata__")]
        metadata: BTreeMap<&'static str, &'static str>,
        #[serde(flatten)]
        tensors: BTreeMap<&'t str, Entry<'t>>,
    }
    let name = match dtype {
        Dtype::Bf16 => "BF16",
        Dtype::F32 => "F32",
    };
    let mut entries = BTreeMap::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.elements() * dtype.size();
        let entry = Entry {
            dtype: name,
            shape: &tensor.shape,
            data_offsets: [offset, end],
        };
        entries.insert(tensor.name.as_str(), entry);
        offset = end;
    }
    let header = Header {
        // What transformers expects to find.
        metadata: BTreeMap::from([("format", "pt")]),
        tensors: entries,
    };
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for tensor in tensors {
        write_values(&mut file, tensor, dtype, seed)?;
    }
    file.flush()?;
    Ok(())
}

/// Elements that one task makes, and tasks whose results are held at once: 16 to 32 MiB in all.
const BLOCK: usize = 1 << 16;
const BLOCKS_HELD: usize = 128;

fn write_values(file: &mut impl Write, tensor: &Tensor, dtype: Dtype, seed: u64) -> Result<()> {
    let key = tensor
        .name
        .bytes()
        .fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
    let size = dtype.size();
    let mut buffer = vec![0; tensor.elements().min(BLOCK * BLOCKS_HELD) * size];
    for start in (0..tensor.elements()).step_by(BLOCK * BLOCKS_HELD) {
        let held = (tensor.elements() - start).min(BLOCK * BLOCKS_HELD);
        let bytes = &mut buffer[..held * size];
        bytes
            .par_chunks_mut(BLOCK * size)
            .enumerate()
            .for_each(|(block, bytes)| {
                for (position, element) in bytes.chunks_exact_mut(size).enumerate() {
                    let value = value(
                        &tensor.values,
                        key,
                        (start + block * BLOCK + position) as u64,
                    );
                    match dtype {
                        Dtype::Bf16 => {
                            element.copy_from_slice(&bf16::from_f32(value).to_le_bytes())
                        }
                        Dtype::F32 => element.copy_from_slice(&value.to_le_bytes()),
                    }
                }
            });
        file.write_all(bytes)?;
    }
    Ok(())
}

/// The value at one position. The four 16-bit lanes of one 64-bit hash, added up, are close to normal.
fn value(values: &Values, key: u64, position: u64) -> f32 {
    let hash = mix(key.wrapping_add(position.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    match values {
        Values::Normal(std) => {
            let lanes = (0..4)
                .map(|lane| (hash >> (16 * lane)) as u16 as i32)
                .sum::<i32>();
            // Mean of the sum, and its standard deviation 65536/√3.
            (lanes - 131_070) as f32 / 37_837.227 * std
        }
        Values::Near(mean) => {
            let unit = (hash >> 40) as f32 / (1 << 24) as f32;
            mean * (0.9 + 0.2 * unit)
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that scatters consecutive numbers.
fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}
