//! What training begins with, and what it changes.

use attnscope::{
    layers::attention::AttentionKind,
    models::small_transformer::Config,
    random::{NumpyRandom, PythonRandom},
    train::{
        Parameters, Trainer,
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::{DType, Device};

use super::config;

fn large(task: &Task) -> Config {
    Config {
        hidden_size: 128,
        intermediate_size: 512,
        ..config(task, AttentionKind::named("mlp_norm").unwrap())
    }
}

/// Mean, standard deviation and the largest size, against those of the distribution.
#[test]
fn initial_parameters_have_pytorchs_distributions() {
    let task = Task::Induction(Induction::default());
    let config = large(&task);
    let head_dim = 64.0f64;
    let mut random = NumpyRandom::new(1);
    let parameters = Parameters::random(config, &mut random, DType::F64, &Device::Cpu).unwrap();
    let mut seen = 0;
    for (name, variable) in parameters.variables() {
        let entries: Vec<f64> = variable.flatten_all().unwrap().to_vec1().unwrap();
        let n = entries.len() as f64;
        let mean = entries.iter().sum::<f64>() / n;
        let square = entries.iter().map(|x| x * x).sum::<f64>() / n;
        let largest = entries.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        // Width of what the layer reads.
        let input = match name {
            name if name.contains("norm") => {
                let expected = if name.ends_with("weight") { 1.0 } else { 0.0 };
                assert!(entries.iter().all(|x| *x == expected), "{name}");
                continue;
            }
            name if name.contains("embedding") => None,
            name if name.contains("attn_mlp.0") => Some(head_dim),
            name if name.contains("attn_mlp.2") => Some(12.0),
            name if name.contains("mlp.2") => Some(512.0),
            _ => Some(128.0),
        };
        let deviation = match input {
            None => 1.0,
            Some(input) => {
                let bound = 1.0 / input.sqrt();
                assert!(largest <= bound, "{name}: {largest} beyond {bound}");
                // All of a small tensor may be far from the bound, but not half of it.
                assert!(largest > 0.5 * bound, "{name}: {largest} far from {bound}");
                bound / 3f64.sqrt()
            }
        };
        // Five standard errors; of a square it is 0.9 (uniform) or 1.4 (normal) times the mean square, over √n.
        assert!(mean.abs() < 5.0 * deviation / n.sqrt(), "{name}: {mean}");
        let ratio = square / (deviation * deviation);
        assert!(
            (ratio - 1.0).abs() < 5.0 * 1.5 / n.sqrt(),
            "{name}: {ratio}"
        );
        seen += 1;
    }
    // Two embeddings, eight linear layers in each of two layers, and the output.
    assert_eq!(seen, 2 + 2 * 2 * 8 + 2);
}

#[test]
fn a_seed_gives_the_same_parameters_in_both_types() {
    let task = Task::Classification(Classification::default());
    let of = |seed, dtype| {
        let mut random = NumpyRandom::new(seed);
        Parameters::random(large(&task), &mut random, dtype, &Device::Cpu).unwrap()
    };
    let entries = |parameters: &Parameters| -> Vec<f32> {
        let variables = parameters.variables().values();
        variables
            .flat_map(|v| {
                let v = v.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
                v.to_vec1::<f32>().unwrap()
            })
            .collect()
    };
    let first = entries(&of(1, DType::F32));
    assert_eq!(first, entries(&of(1, DType::F64)));
    assert_ne!(first, entries(&of(2, DType::F32)));
}

/// The network for evaluation has no gradients, gives the same logits, and follows the variables.
#[test]
fn the_frozen_network_follows_the_variables() {
    let task = Task::Classification(Classification::default());
    for kind in AttentionKind::ALL {
        let config = config(&task, kind);
        let mut random = NumpyRandom::new(1);
        let parameters = Parameters::random(config, &mut random, DType::F32, &Device::Cpu).unwrap();
        let frozen = parameters.frozen_network().unwrap();
        let samples = task.samples(20, &mut PythonRandom::new(1)).unwrap();
        let batch = task.batch(&samples);
        let mut trainer = Trainer::new(parameters, 1e-2).unwrap();
        let logits = |network: &attnscope::models::small_transformer::Network| {
            let output = network.forward(&batch.input_ids, &batch.sequences, false);
            output.unwrap().logits
        };
        let before = logits(&frozen);
        trainer.step(&batch).unwrap();
        let (after, live) = (
            logits(&frozen),
            logits(&trainer.parameters().network().unwrap()),
        );
        assert!(!after.track_op() && live.track_op());
        let distance = |a: &candle_core::Tensor, b: &candle_core::Tensor| {
            let d = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            d.to_scalar::<f32>().unwrap()
        };
        // The fused form of softmax and sigmoid adds up in another order.
        assert!(distance(&after, &live.detach()) < 1e-5, "{}", kind.name());
        assert!(distance(&after, &before) > 1e-3, "{}", kind.name());
    }
}
