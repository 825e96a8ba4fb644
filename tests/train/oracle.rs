//! The model, its gradients and ten steps of AdamW against the paper's PyTorch program (README.md in
//! `tests/golden/train` says what the files hold).

use std::{collections::HashMap, path::Path};

use attnscope::{
    layers::attention::AttentionKind,
    models::small_transformer::{Config, MODEL_TYPE, PositionEmbedding},
    train::{
        Batch, Parameters, Trainer,
        tasks::{Classification, Induction, Sample, Task},
    },
};
use candle_core::{DType, Device, Tensor};

use crate::support;

/// What a float32 program may differ by from another one, in units of the largest entry of what is compared.
const BOUND: f64 = 1e-5;

/// A file of the paper's program.
struct Case {
    name: String,
    config: Config,
    batch: Batch,
    tensors: HashMap<String, Tensor>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let shape = |name: &str| tensors.get(name).map(|tensor| tensor.dims().to_vec());
        let rows = |name: &str| shape(name).map_or(0, |shape| shape[0]);
        let is = |key: &str| metadata[key] == "True";
        let (vocab_size, output_size) = (
            rows("init.embedding.weight"),
            rows("init.output_proj.weight"),
        );
        let is_induction = metadata["task"] == "induction";
        let config = Config {
            model_type: MODEL_TYPE.into(),
            hidden_size: metadata["embed_dim"].parse().unwrap(),
            intermediate_size: rows("init.layers.0.mlp.0.weight"),
            num_hidden_layers: metadata["num_layers"].parse().unwrap(),
            num_attention_heads: metadata["num_heads"].parse().unwrap(),
            vocab_size,
            output_size,
            attention_function: AttentionKind::named(&metadata["attention_type"]).unwrap(),
            attention_intermediate_size: rows("init.layers.0.attn_mlp.0.weight"),
            position_embedding_type: match metadata["positional_type"].as_str() {
                "add" => PositionEmbedding::Add,
                "concat" => PositionEmbedding::Concat,
                "no" => PositionEmbedding::None,
                other => panic!("{other}"),
            },
            max_position_embeddings: rows("init.pos_embedding.weight"),
            is_causal: is_induction,
            use_layer_norm: is("use_layernorm"),
            layer_norm_eps: 1e-5,
        };
        assert_eq!(config.intermediate_size > 0, is("use_mlp"));
        let ids = |name: &str| -> Vec<u32> {
            let ids = tensors[name].flatten_all().unwrap().to_vec1::<i64>();
            ids.unwrap().into_iter().map(|id| id as u32).collect()
        };
        let (input_ids, targets) = (ids("input_ids"), ids("targets"));
        let (count, length) = tensors["input_ids"].dims2().unwrap();
        let task = match is_induction {
            true => Task::Induction(Induction {
                vocab_size,
                seq_length: length + 1,
                shift_query_token: false,
                aux_loss_weight: metadata["aux_loss_weight"].parse().unwrap(),
            }),
            false => Task::Classification(Classification {
                vocab_size,
                seq_length: length,
                num_labels: output_size,
            }),
        };
        let samples: Vec<Sample> = input_ids
            .chunks(length)
            .zip(targets.chunks(targets.len() / count))
            .map(|(input_ids, targets)| Sample {
                input_ids: input_ids.to_vec(),
                targets: targets.to_vec(),
            })
            .collect();
        Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            batch: task.batch(&samples),
            config,
            tensors,
        }
    }

    fn parameters(&self, dtype: DType) -> Parameters {
        let source = |name: &str, shape: &[usize]| {
            let tensor = &self.tensors[&format!("init.{name}")];
            assert_eq!(tensor.dims(), shape, "{name}");
            Ok(tensor.to_dtype(dtype)?)
        };
        let parameters = Parameters::new(self.config.clone(), &source).unwrap();
        let theirs = self.tensors.keys().filter(|key| key.starts_with("init."));
        assert_eq!(
            parameters.variables().len(),
            theirs.count(),
            "{}",
            self.name
        );
        parameters
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    flat(tensor).iter().fold(0.0, |m, x| x.abs().max(m))
}

/// The largest difference; NaN if there is one.
fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let pairs = flat(found).into_iter().zip(flat(expected));
    pairs
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

/// A parameter on which nothing depends: added to every key, it adds the same to all scores of a row, and the softmax
/// takes no notice. Its gradient is 0 but for rounding, which Adam blows up to whole steps.
fn is_void(config: &Config, name: &str) -> bool {
    config.attention_function.name() == "softmax" && name.ends_with("k_proj.bias")
}

/// A row of the table.
#[derive(Default)]
struct Found {
    logits: f64,
    attn_weights: f64,
    gradients: f64,
    losses: f64,
    after: f64,
    /// The largest gradient of a void parameter, in units of the largest of all.
    void: f64,
    /// Parameters that received no gradient, in either program.
    without: usize,
}

fn compare(case: &Case, dtype: DType) -> Found {
    let mut found = Found::default();
    let relative =
        |found: &Tensor, expected: &Tensor| difference(found, expected) / largest(expected);
    let note = |worst: &mut f64, difference: f64| {
        if difference > *worst || difference.is_nan() {
            *worst = difference;
        }
    };
    let parameters = case.parameters(dtype);
    let network = parameters.network().unwrap();
    let batch = &case.batch;
    let output = network
        .forward(&batch.input_ids, &batch.sequences, true)
        .unwrap();
    let expected = case.tensors["logits"].flatten_to(1).unwrap();
    found.logits = relative(&output.logits, &expected);
    assert_eq!(output.attn_weights.len(), case.config.num_hidden_layers);
    for (layer, maps) in output.attn_weights.iter().enumerate() {
        let maps = Tensor::stack(maps, 0).unwrap();
        let expected = &case.tensors[&format!("attn_weights.{layer}")];
        note(&mut found.attn_weights, relative(&maps, expected));
    }

    // Without maps, and so by the way that training takes.
    let output = network
        .forward(&batch.input_ids, &batch.sequences, false)
        .unwrap();
    note(&mut found.logits, relative(&output.logits, &expected));
    let loss = batch.loss(&output.logits).unwrap();
    let gradients = loss.backward().unwrap();
    let all = case.tensors.iter();
    let of_all = all
        .filter(|(name, _)| name.starts_with("grad."))
        .fold(0.0f64, |m, (_, gradient)| m.max(largest(gradient)));
    for (name, variable) in parameters.variables() {
        let expected = case.tensors.get(&format!("grad.{name}"));
        match (gradients.get(variable), expected) {
            (Some(gradient), Some(expected)) if is_void(&case.config, name) => {
                note(&mut found.void, largest(gradient) / of_all);
                note(&mut found.void, largest(expected) / of_all);
            }
            (Some(gradient), Some(expected)) => {
                note(&mut found.gradients, relative(gradient, expected));
            }
            (None, None) => found.without += 1,
            (ours, _) => panic!(
                "{}: {name} has a gradient in one program only, ours: {}",
                case.name,
                ours.is_some()
            ),
        }
    }

    let mut trainer = Trainer::new(parameters, 1e-3).unwrap();
    let expected = flat(&case.tensors["losses"]);
    for expected in &expected {
        let loss = trainer.step(batch).unwrap();
        note(&mut found.losses, (loss - expected).abs() / expected);
    }
    assert_eq!(expected.len(), 10);
    for (name, variable) in trainer.parameters().variables() {
        if !is_void(&case.config, name) {
            let expected = &case.tensors[&format!("after10.{name}")];
            note(&mut found.after, relative(variable, expected));
        }
    }
    found
}

fn check(dir: &Path, least: usize) {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort();
    assert!(paths.len() >= least, "{} files", paths.len());
    println!(
        "largest differences from PyTorch (float32), each in units of the largest entry of what is compared\n\
         {:<34} {:<7} {:>8} {:>8} {:>9} {:>8} {:>9}  {:>8} without",
        "case", "ours", "logits", "weights", "gradients", "losses", "after 10", "void"
    );
    let mut failed = Vec::new();
    for path in paths {
        let case = Case::read(&path);
        for dtype in [DType::F32, DType::F64] {
            let found = compare(&case, dtype);
            println!(
                "{:<34} {:<7} {:>8.1e} {:>8.1e} {:>9.1e} {:>8.1e} {:>9.1e}  {:>8.1e} {}",
                case.name,
                dtype.as_str(),
                found.logits,
                found.attn_weights,
                found.gradients,
                found.losses,
                found.after,
                found.void,
                found.without,
            );
            for (what, difference, bound) in [
                ("logits", found.logits, BOUND),
                ("attention weights", found.attn_weights, BOUND),
                ("gradients", found.gradients, BOUND),
                ("losses", found.losses, BOUND),
                ("parameters after ten steps", found.after, BOUND),
                ("gradients of what has no influence", found.void, 1e-6),
            ] {
                if difference.is_nan() || difference > bound {
                    failed.push(format!(
                        "{} ({}): {what} {difference:.1e}",
                        case.name,
                        dtype.as_str()
                    ));
                }
            }
            let is_uniform = !case.config.attention_function.depends_on_scores();
            let expected = 4 * case.config.num_hidden_layers * usize::from(is_uniform);
            assert_eq!(found.without, expected, "{}", case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn three_cases_of_the_papers_program() {
    check(&support::golden("train"), 3);
}

#[test]
fn all_cases_of_the_papers_program() {
    let Some(dir) = support::oracle()
        .map(|dir| dir.join("train"))
        .filter(|dir| dir.is_dir())
    else {
        println!("skipped: no reference results (set ATTNSCOPE_ORACLE)");
        return;
    };
    check(&dir, 15);
}
