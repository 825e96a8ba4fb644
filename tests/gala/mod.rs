//! The pair of random gala checkpoints in `tests/data`: their files fit together, and they are what the program that
//! makes them would make today.

#[path = "../../examples/random_checkpoint/generator.rs"]
pub(crate) mod generator;
#[path = "../data/make_gala/tokenizer.rs"]
mod tokenizer;

use std::fs;
use std::path::Path;

use generator::{AttentionFunction, Dtype, GalaConfig, SEED, write_checkpoint};
use safetensors::SafeTensors;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::support::gala;

const FUNCTIONS: [AttentionFunction; 2] = [AttentionFunction::Softmax, AttentionFunction::Sigmoid];

/// A checkpoint of the pair.
struct Model {
    name: &'static str,
    config: Vec<u8>,
    weights: Vec<u8>,
    tokenizer: Vec<u8>,
}

fn models() -> [Model; 2] {
    gala::NAMES.map(|name| {
        let read = |file: &str| fs::read(gala::data(name).join(file)).unwrap();
        Model {
            name,
            config: read("config.json"),
            weights: read("model.safetensors"),
            tokenizer: read("tokenizer.json"),
        }
    })
}

fn corpus() -> Vec<String> {
    let lines = fs::read_to_string(gala::data("texts.jsonl")).unwrap();
    let texts = tokenizer::texts(&lines).unwrap();
    assert_eq!(texts, gala::texts());
    texts
}

/// Name, shape and element type of every tensor that the configuration asks for, sorted.
fn expected_tensors(
    config: &Value,
    dtype: safetensors::Dtype,
) -> Vec<(String, Vec<usize>, safetensors::Dtype)> {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let (hidden, intermediate, head) = (
        size("hidden_size"),
        size("intermediate_size"),
        size("head_dim"),
    );
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![size("vocab_size"), hidden],
        ),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("pre_feedforward_layernorm", vec![hidden]),
            ("post_feedforward_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![hidden, hidden]),
            ("self_attn.v_proj", vec![hidden, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("self_attn.q_norm", vec![head]),
            ("self_attn.k_norm", vec![head]),
            ("mlp.gate_proj", vec![intermediate, hidden]),
            ("mlp.up_proj", vec![intermediate, hidden]),
            ("mlp.down_proj", vec![hidden, intermediate]),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    tensors.sort();
    tensors
        .into_iter()
        .map(|(name, shape)| (name, shape, dtype))
        .collect()
}

fn tensors_of(file: &[u8]) -> Vec<(String, Vec<usize>, safetensors::Dtype)> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.dtype()))
        .collect()
}

fn floats(file: &[u8], tensor: &str) -> Vec<f64> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let view = tensors.tensor(tensor).unwrap();
    let float = |bytes: &[u8]| match view.dtype() {
        safetensors::Dtype::BF16 => half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        safetensors::Dtype::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
        other => panic!("{other:?}"),
    };
    view.data()
        .chunks_exact(view.dtype().bitsize() / 8)
        .map(float)
        .collect()
}

#[test]
fn weights_match_the_configuration() {
    for (model, function) in models().iter().zip(["softmax", "sigmoid"]) {
        let config: Value = serde_json::from_slice(&model.config).unwrap();
        assert_eq!(model.name, format!("gala-{function}"));
        assert_eq!(config["model_type"], "gala");
        assert_eq!(config["attention_function"], function);
        let bias = if function == "softmax" {
            0.0
        } else {
            -4096f64.ln()
        };
        assert!((config["attention_logit_bias"].as_f64().unwrap() - bias).abs() < 1e-12);
        let mut found = tensors_of(&model.weights);
        found.sort();
        assert_eq!(found, expected_tensors(&config, safetensors::Dtype::BF16));
    }
}

#[test]
fn tokenizer_round_trips_the_corpus() {
    for Model {
        name,
        config,
        tokenizer,
        ..
    } in models()
    {
        let config: Value = serde_json::from_slice(&config).unwrap();
        let tokenizer = Tokenizer::from_bytes(tokenizer).unwrap();
        assert_eq!(
            tokenizer.get_vocab_size(true) as u64,
            config["vocab_size"].as_u64().unwrap()
        );
        let preprocessing = attnscope::manifest::preprocessing_for("gala").unwrap();
        let (mut lengths, mut byte_pieces) = (Vec::new(), 0);
        for text in corpus() {
            let prepared = preprocessing.apply(&text);
            let encoding = tokenizer.encode(&*prepared, true).unwrap();
            let ids = encoding.get_ids();
            assert!(
                ids.iter()
                    .all(|&id| id > 3 && u64::from(id) < config["vocab_size"].as_u64().unwrap()),
                "{name}"
            );
            let newlines = ids.iter().filter(|&&id| id == 4).count();
            assert_eq!(newlines, text.matches('\n').count(), "{text:?}");
            assert_eq!(tokenizer.decode(ids, false).unwrap(), prepared, "{name}");
            lengths.push(ids.len());
            byte_pieces += ids.iter().filter(|id| (5..261).contains(*id)).count();
        }
        lengths.sort();
        let longer = lengths.iter().filter(|&&length| length > 256).count();
        println!(
            "{name}: {} texts of {lengths:?} tokens, {byte_pieces} of them bytes",
            lengths.len()
        );
        // The tests are to truncate some texts, pad others, and meet what the vocabulary lacks.
        assert!(lengths.len() >= 24 && lengths[0] <= 4 && longer >= 4 && byte_pieces > 50);
    }
}

#[test]
fn tokenizer_is_gala_shaped() {
    let tokenizer = Tokenizer::from_bytes(&models()[0].tokenizer).unwrap();
    let pieces = |text: &str| tokenizer.encode(text, true).unwrap().get_tokens().to_vec();
    for (id, piece) in ["<pad>", "</s>", "<unk>", "<mask>", "<n>", "<0x00>"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(tokenizer.token_to_id(piece), Some(id as u32));
    }
    assert_eq!(tokenizer.token_to_id("<0xFF>"), Some(260));
    assert!(pieces("").is_empty());
    // One word boundary in front of the text, whatever it begins with, and none after a newline.
    assert_eq!(pieces("7<n>7"), ["▁", "7", "<n>", "7"]);
    assert_eq!(pieces("<n>7"), ["▁", "<n>", "7"]);
    assert_eq!(pieces(" 7"), ["▁", "▁", "7"]);
    assert_eq!(pieces("<n><n>"), ["▁", "<n>", "<n>"]);
    assert_eq!(pieces("<n>"), ["▁", "<n>"]);
    assert_eq!(pieces("ξ"), ["▁", "<0xCE>", "<0xBE>"]);
    assert_eq!(pieces("10"), ["▁", "1", "0"], "digits never join");
    assert!(
        pieces("it was the age of the")
            .iter()
            .any(|piece| piece.matches('▁').count() > 1),
        "pieces span words"
    );
    let spaced = |piece: &String| piece.ends_with('▁') && piece.chars().count() > 1;
    assert!(
        !tokenizer.get_vocab(true).keys().any(spaced),
        "no piece ends in a space"
    );
    // Control pieces typed in a text are text.
    assert!(
        !tokenizer
            .encode("</s><pad>", true)
            .unwrap()
            .get_ids()
            .iter()
            .any(|&id| id < 4)
    );
}

#[test]
fn the_pair_is_what_its_maker_makes() {
    let vocab_size = GalaConfig::tiny(AttentionFunction::Softmax).vocab_size;
    let model = tokenizer::train(&corpus(), vocab_size).unwrap();
    let tokenizer = tokenizer::convert(&model).unwrap();
    for (model, function) in models().iter().zip(FUNCTIONS) {
        let directory = tempfile::tempdir().unwrap();
        let config = GalaConfig::tiny(function);
        write_checkpoint(
            directory.path(),
            &config,
            Dtype::Bf16,
            SEED,
            u64::MAX,
            tokenizer.as_bytes(),
        )
        .unwrap();
        let remedy = "run `cargo run --release --example make_gala`";
        for (name, committed) in [
            ("config.json", &model.config),
            ("model.safetensors", &model.weights),
            ("tokenizer.json", &model.tokenizer),
        ] {
            let made = fs::read(directory.path().join(name)).unwrap();
            assert!(
                made == *committed,
                "{}/{name} is out of date; {remedy}",
                model.name
            );
        }
    }
}

fn small(function: AttentionFunction) -> GalaConfig {
    GalaConfig::new(function, [2, 48, 6, 80, 128])
}

/// The tensors of a sharded checkpoint through its index, sorted by name.
fn sharded_tensors(directory: &Path, index: &Value) -> Vec<(String, Vec<f64>)> {
    let read = |name: &str, shard: &Value| {
        let file = fs::read(directory.join(shard.as_str().unwrap())).unwrap();
        (name.to_owned(), floats(&file, name))
    };
    let weight_map = index["weight_map"].as_object().unwrap();
    let mut tensors: Vec<_> = weight_map
        .iter()
        .map(|(name, shard)| read(name, shard))
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

#[test]
fn shards_hold_the_same_numbers_as_one_file() {
    let config = small(AttentionFunction::Sigmoid);
    let (whole, sharded) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint(whole.path(), &config, Dtype::F32, 7, u64::MAX, b"{}").unwrap();
    write_checkpoint(sharded.path(), &config, Dtype::F32, 7, 30_000, b"{}").unwrap();
    let whole = fs::read(whole.path().join("model.safetensors")).unwrap();
    let index = fs::read(sharded.path().join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();

    let names = expected_tensors(
        &serde_json::to_value(&config).unwrap(),
        safetensors::Dtype::F32,
    );
    let tensors = sharded_tensors(sharded.path(), &index);
    assert_eq!(
        tensors.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        names.iter().map(|(name, ..)| name).collect::<Vec<_>>()
    );
    for (name, values) in &tensors {
        assert!(*values == floats(&whole, name), "{name}");
    }
    let bytes: usize = tensors.iter().map(|(_, values)| 4 * values.len()).sum();
    assert_eq!(index["metadata"]["total_size"], bytes);
    let mut shards: Vec<_> = index["weight_map"]
        .as_object()
        .unwrap()
        .values()
        .map(|s| s.as_str().unwrap())
        .collect();
    shards.sort();
    shards.dedup();
    assert!(shards.len() > 3);
    for (number, shard) in shards.iter().enumerate() {
        assert_eq!(
            *shard,
            format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len())
        );
        assert!(
            tensors_of(&fs::read(sharded.path().join(shard)).unwrap())
                .iter()
                .all(|(_, _, d)| *d == safetensors::Dtype::F32)
        );
    }
    assert!(!sharded.path().join("model.safetensors").exists());
}

#[test]
fn random_weights_have_the_spread_they_claim() {
    let directory = tempfile::tempdir().unwrap();
    let config = small(AttentionFunction::Softmax);
    let write = |seed: u64| {
        write_checkpoint(directory.path(), &config, Dtype::F32, seed, u64::MAX, b"{}").unwrap();
        fs::read(directory.path().join("model.safetensors")).unwrap()
    };
    let file = write(1);
    assert!(file == write(1) && file != write(2));

    let moments = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / values.len() as f64;
        (mean, variance.sqrt())
    };
    for (name, std) in [
        ("model.embed_tokens.weight", 1.0),
        ("model.layers.0.self_attn.q_proj.weight", 48f64.powf(-0.5)),
        ("model.layers.1.mlp.down_proj.weight", 80f64.powf(-0.5)),
    ] {
        let values = floats(&file, name);
        let (mean, found) = moments(&values);
        // Five standard errors of either.
        let error = std / (values.len() as f64).sqrt();
        assert!(
            mean.abs() < 5.0 * error && (found - std).abs() < 5.0 * error,
            "{name}: {mean} {found}"
        );
    }
    let scales = floats(&file, "model.layers.0.input_layernorm.weight");
    assert!(scales.iter().all(|scale| (0.9..=1.1).contains(scale)));
    let [first, second] = [0, 1].map(|layer| {
        let (mean, _) = moments(&floats(
            &file,
            &format!("model.layers.{layer}.self_attn.q_norm.weight"),
        ));
        mean
    });
    assert!(
        (1.8..4.4).contains(&first) && (1.8..4.4).contains(&second) && (first - second).abs() > 0.2
    );
    // No two tensors share their numbers.
    assert_ne!(
        floats(&file, "model.layers.0.self_attn.q_proj.weight"),
        floats(&file, "model.layers.0.self_attn.k_proj.weight")
    );
}
