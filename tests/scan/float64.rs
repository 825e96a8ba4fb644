//! gala in float64, from its equations (the header of `src/models/gala.rs` and the paper's Appendix E.2): plain
//! loops over plain vectors, which share no code with what they are held against.

use std::{collections::HashMap, fs, path::Path};

use attnscope::{metrics::HeadSums, store::SampleRow};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

pub struct Model {
    config: Value,
    tensors: HashMap<String, Vec<f64>>,
}

/// One query's attention in one head.
pub struct Row {
    max: f64,
    pub total: f64,
    first: f64,
    pub entropy: f64,
    /// On the keys that the query sees.
    pub weights: Vec<f64>,
}

/// What one layer does with one text.
pub struct Layer {
    /// Of every head, a row per query.
    pub heads: Vec<Vec<Row>>,
    /// Its output: hidden states, a vector per token.
    pub hidden_states: Vec<Vec<f64>>,
}

impl Model {
    pub fn open(dir: &Path) -> Self {
        let config = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        let file = fs::read(dir.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let tensors = tensors
            .iter()
            .map(|(name, view)| {
                let values = match view.dtype() {
                    Dtype::BF16 => view
                        .data()
                        .chunks_exact(2)
                        .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f64())
                        .collect(),
                    Dtype::F32 => view
                        .data()
                        .chunks_exact(4)
                        .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                        .collect(),
                    other => panic!("{name}: {other:?}"),
                };
                (name.to_owned(), values)
            })
            .collect();
        Self { config, tensors }
    }

    /// The rows that `samples.parquet` must have for texts of these ids, in its order: by layer, sample and head.
    pub fn sample_rows(&self, samples: &[(i64, Vec<u32>)]) -> Vec<SampleRow> {
        let pad = self.size("pad_token_id") as u32;
        let mut rows = Vec::new();
        for (sample, ids) in samples {
            for (layer, found) in self.forward(ids).iter().enumerate() {
                for (head, queries) in found.heads.iter().enumerate() {
                    let mut sums = HeadSums::default();
                    for (row, _) in queries.iter().zip(ids).filter(|(_, id)| **id != pad) {
                        sums.tokens += 1;
                        sums.max_share_sum += row.max / (row.total + 1e-9);
                        sums.first_share_sum += row.first / (row.total + 1e-9);
                        sums.max_weight_sum += row.max;
                        sums.total_weight_sum += row.total;
                        sums.entropy_sum += row.entropy;
                    }
                    rows.push(SampleRow {
                        sample: *sample,
                        layer: layer as i32,
                        head: head as i32,
                        sums,
                    });
                }
            }
        }
        rows.sort_by_key(|row| (row.layer, row.sample, row.head));
        rows
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap() as usize
    }

    /// Every row of every head of every layer, and what leaves it.
    pub fn forward(&self, ids: &[u32]) -> Vec<Layer> {
        let (d, heads, h) = (
            self.size("hidden_size"),
            self.size("num_attention_heads"),
            self.size("head_dim"),
        );
        let slopes = slopes(heads);
        let embedding = &self.tensors["model.embed_tokens.weight"];
        let mut x: Vec<Vec<f64>> = ids
            .iter()
            .map(|&id| embedding[id as usize * d..][..d].to_vec())
            .collect();
        let mut layers = Vec::new();
        for i in 0..self.size("num_hidden_layers") {
            let weight = |name: &str| -> &[f64] {
                &self.tensors[&format!("model.layers.{i}.{name}.weight")]
            };
            let y = self.norm(&x, weight("input_layernorm"));
            let q = self.norm(
                &linear(&y, weight("self_attn.q_proj")),
                weight("self_attn.q_norm"),
            );
            let k = self.norm(
                &linear(&y, weight("self_attn.k_proj")),
                weight("self_attn.k_norm"),
            );
            let v = linear(&y, weight("self_attn.v_proj"));
            let mut output = vec![vec![0.0; heads * h]; ids.len()];
            let mut rows = Vec::new();
            for (head, slope) in slopes.iter().enumerate() {
                let part = head * h..(head + 1) * h;
                let attended: Vec<(Row, Vec<f64>)> = (0..ids.len())
                    .into_par_iter()
                    .map(|t| {
                        let scores: Vec<f64> = (0..=t)
                            .map(|s| {
                                dot(&q[t][part.clone()], &k[s][part.clone()]) / (h as f64).sqrt()
                                    - slope * (t - s) as f64
                            })
                            .collect();
                        let weights = self.weights(&scores);
                        let mut out = vec![0.0; h];
                        for (w, v) in weights.iter().zip(&v) {
                            for (out, v) in out.iter_mut().zip(&v[part.clone()]) {
                                *out += w * v;
                            }
                        }
                        (row(&weights), out)
                    })
                    .collect();
                let mut queries = Vec::new();
                for ((row, out), output) in attended.into_iter().zip(&mut output) {
                    output[part.clone()].copy_from_slice(&out);
                    queries.push(row);
                }
                rows.push(queries);
            }
            let o = linear(&output, weight("self_attn.o_proj"));
            add(&mut x, &self.norm(&o, weight("post_attention_layernorm")));
            let y = self.norm(&x, weight("pre_feedforward_layernorm"));
            let mut gate = linear(&y, weight("mlp.gate_proj"));
            for (gate, up) in gate.iter_mut().zip(linear(&y, weight("mlp.up_proj"))) {
                for (g, u) in gate.iter_mut().zip(up) {
                    *g *= u / (1.0 + (-*g).exp());
                }
            }
            let f = linear(&gate, weight("mlp.down_proj"));
            add(&mut x, &self.norm(&f, weight("post_feedforward_layernorm")));
            layers.push(Layer {
                heads: rows,
                hidden_states: x.clone(),
            });
        }
        layers
    }

    /// RMS norm of every group of `scale.len()` numbers.
    fn norm(&self, x: &[Vec<f64>], scale: &[f64]) -> Vec<Vec<f64>> {
        let eps = self.config["rms_norm_eps"].as_f64().unwrap();
        let group = |x: &[f64]| -> Vec<f64> {
            let root = (dot(x, x) / x.len() as f64 + eps).sqrt();
            x.iter().zip(scale).map(|(x, s)| x / root * s).collect()
        };
        x.iter()
            .map(|x| x.chunks_exact(scale.len()).flat_map(group).collect())
            .collect()
    }

    /// Scores of the visible keys to weights.
    fn weights(&self, scores: &[f64]) -> Vec<f64> {
        match self.config["attention_function"].as_str().unwrap() {
            "softmax" => {
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let exps: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = exps.iter().sum();
                exps.iter().map(|e| e / sum).collect()
            }
            "sigmoid" => {
                let bias = (4096f64).ln();
                scores
                    .iter()
                    .map(|s| 1.0 / (1.0 + (bias - s).exp()))
                    .collect()
            }
            other => panic!("{other}"),
        }
    }
}

fn row(weights: &[f64]) -> Row {
    let total: f64 = weights.iter().sum();
    let entropy = |w: &f64| match w / total {
        0.0 => 0.0,
        p => -p * p.ln(),
    };
    Row {
        max: weights.iter().copied().fold(0.0, f64::max),
        total,
        first: weights[0],
        entropy: weights.iter().map(entropy).sum(),
        weights: weights.to_vec(),
    }
}

/// ALiBi: powers of two where the number of heads is one, otherwise those and every other slope of twice as many.
fn slopes(heads: usize) -> Vec<f64> {
    let of_power = |n: usize| (1..=n).map(move |i| 2f64.powf(-8.0 * i as f64 / n as f64));
    match heads.is_power_of_two() {
        true => of_power(heads).collect(),
        false => {
            let below = heads.next_power_of_two() / 2;
            let rest = of_power(2 * below).step_by(2).take(heads - below);
            of_power(below).chain(rest).collect()
        }
    }
}

/// x Wᵀ, for W stored row by row.
fn linear(x: &[Vec<f64>], weight: &[f64]) -> Vec<Vec<f64>> {
    x.par_iter()
        .map(|x| weight.chunks_exact(x.len()).map(|w| dot(x, w)).collect())
        .collect()
}

fn add(x: &mut [Vec<f64>], y: &[Vec<f64>]) {
    for (x, y) in x.iter_mut().zip(y) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
