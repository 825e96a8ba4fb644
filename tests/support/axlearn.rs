//! Turns an axlearn checkpoint (an `index` and zarr v2 arrays below `gda/`) into a checkpoint directory, in the plain
//! way, with whole arrays in memory: what the converter is held against.

use std::{collections::BTreeMap, collections::HashMap, fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// A float32 array.
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    /// The sub-array at `index` of the first axis.
    fn at(&self, index: usize) -> Array {
        let shape = self.shape[1..].to_vec();
        let size: usize = shape.iter().product();
        Array {
            data: self.data[index * size..(index + 1) * size].to_vec(),
            shape,
        }
    }

    /// As a matrix whose rows are the first axis.
    fn matrix(self) -> Array {
        let rows = self.shape[0];
        Array {
            shape: vec![rows, self.data.len() / rows],
            data: self.data,
        }
    }

    fn transposed(self) -> Array {
        let m = self.matrix();
        let (rows, columns) = (m.shape[0], m.shape[1]);
        let data = (0..rows * columns)
            .map(|i| m.data[i % rows * columns + i / rows])
            .collect();
        Array {
            shape: vec![columns, rows],
            data,
        }
    }
}

fn read_array(dir: &Path) -> Array {
    let meta: Value = serde_json::from_slice(&fs::read(dir.join(".zarray")).unwrap()).unwrap();
    let list = |key: &str| -> Vec<usize> {
        meta[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap() as usize)
            .collect()
    };
    let (shape, chunk) = (list("shape"), list("chunks"));
    assert_eq!(
        (meta["dtype"].as_str(), meta["order"].as_str()),
        (Some("<f4"), Some("C"))
    );
    let mut data = vec![f32::NAN; shape.iter().product()];
    let grid: Vec<usize> = shape
        .iter()
        .zip(&chunk)
        .map(|(s, c)| s.div_ceil(*c))
        .collect();
    for cell in 0..grid.iter().product() {
        let place = unravel(cell, &grid);
        let name: Vec<String> = place.iter().map(usize::to_string).collect();
        let packed = fs::read(dir.join(name.join("."))).unwrap();
        let bytes = zstd::stream::decode_all(packed.as_slice()).unwrap();
        for (i, value) in bytes.chunks_exact(4).enumerate() {
            let inside = unravel(i, &chunk);
            let at =
                (0..shape.len()).fold(0, |at, d| at * shape[d] + place[d] * chunk[d] + inside[d]);
            data[at] = f32::from_le_bytes(value.try_into().unwrap());
        }
    }
    Array { shape, data }
}

fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        out[d] = i % shape[d];
        i /= shape[d];
    }
    out
}

/// Writes `config.json` and `model.safetensors` to `out` from `case/checkpoints/step_…` and the case's own
/// `config.json`.
pub fn convert(case: &Path, out: &Path) {
    let described: Value =
        serde_json::from_slice(&fs::read(case.join("config.json")).unwrap()).unwrap();
    let model = case.join("checkpoints/step_00250000/gda/model/decoder");
    let array = |path: &str| read_array(&model.join(path));
    let layer = |path: &str| array(&format!("transformer/repeat/layer/{path}"));

    let mut tensors: BTreeMap<String, Array> = BTreeMap::new();
    tensors.insert(
        "model.embed_tokens.weight".into(),
        array("emb/token_emb/weight"),
    );
    tensors.insert("model.norm.weight".into(), array("output_norm/scale"));
    let norms = [
        ("self_attention/prenorm/scale", "input_layernorm"),
        ("self_attention/postnorm/scale", "post_attention_layernorm"),
        ("feed_forward/prenorm/scale", "pre_feedforward_layernorm"),
        ("feed_forward/postnorm/scale", "post_feedforward_layernorm"),
        (
            "self_attention/attention/scale_query/norm/scale",
            "self_attn.q_norm",
        ),
        (
            "self_attention/attention/scale_key/norm/scale",
            "self_attn.k_norm",
        ),
    ]
    .map(|(from, to)| (layer(from), to));
    let qkv = layer("self_attention/attention/i_proj/qkv_proj/weight");
    let output = layer("self_attention/attention/o_proj/weight");
    let linears = [
        ("linear1_0", "gate"),
        ("linear1_1", "up"),
        ("linear2", "down"),
    ]
    .map(|(from, to)| (layer(&format!("feed_forward/{from}/weight")), to));
    for i in 0..qkv.shape[0] {
        let mut add = |name: &str, array: Array| {
            tensors.insert(format!("model.layers.{i}.{name}.weight"), array);
        };
        for (scale, name) in &norms {
            add(name, scale.at(i));
        }
        for (p, name) in ["q", "k", "v"].iter().enumerate() {
            add(
                &format!("self_attn.{name}_proj"),
                qkv.at(i).at(p).transposed(),
            );
        }
        add("self_attn.o_proj", output.at(i).matrix());
        for (weight, name) in &linears {
            add(&format!("mlp.{name}_proj"), weight.at(i).transposed());
        }
    }

    fs::create_dir_all(out).unwrap();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, a)| {
            (
                name,
                a.shape,
                a.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            )
        })
        .collect();
    let views: HashMap<&str, TensorView> = bytes
        .iter()
        .map(|(name, shape, data)| {
            (
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
            )
        })
        .collect();
    safetensors::serialize_to_file(&views, None, &out.join("model.safetensors")).unwrap();
    let kind = described["kind"].as_str().unwrap();
    let bias = if kind == "sigmoid" {
        -(described["sigmoid_seq_len"].as_f64().unwrap().ln())
    } else {
        0.0
    };
    let config = json!({
        "model_type": "gala",
        "hidden_size": described["hidden_dim"],
        "intermediate_size": described["ffn_dim"],
        "num_hidden_layers": described["num_layers"],
        "num_attention_heads": described["num_heads"],
        "head_dim": described["per_head_dim"],
        "vocab_size": described["vocab_size"],
        "rms_norm_eps": described["rms_norm_eps"],
        "max_position_embeddings": 4096,
        "tie_word_embeddings": true,
        "attention_function": kind,
        "attention_logit_bias": bias,
        "position_embedding_type": "alibi",
        "norm_structure": "hybridnorm",
        "pad_token_id": described["pad_id"],
        "eos_token_id": described["eos_id"],
        "torch_dtype": "float32",
    });
    fs::write(out.join("config.json"), config.to_string()).unwrap();
}
