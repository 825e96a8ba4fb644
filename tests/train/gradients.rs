//! Gradients of every attention function: that there are any, and that they are the slopes of the loss.

use attnscope::{
    layers::attention::AttentionKind,
    models::small_transformer::{Config, PositionEmbedding},
    random::{NumpyRandom, PythonRandom},
    train::{
        Batch, Parameters,
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::{DType, Device, Tensor, backprop::GradStore};

use super::config;

fn induction() -> Task {
    Task::Induction(Induction {
        vocab_size: 9,
        seq_length: 8,
        shift_query_token: true,
        aux_loss_weight: 0.2,
    })
}

fn classification() -> Task {
    Task::Classification(Classification {
        vocab_size: 21,
        seq_length: 6,
        num_labels: 4,
    })
}

fn batch(task: &Task) -> Batch {
    let samples = task.samples(7, &mut PythonRandom::new(5)).unwrap();
    task.batch(&samples)
}

fn loss(parameters: &Parameters, batch: &Batch) -> Tensor {
    let network = parameters.network().unwrap();
    let output = network
        .forward(&batch.input_ids, &batch.sequences, false)
        .unwrap();
    batch.loss(&output.logits).unwrap()
}

fn random(config: Config, dtype: DType) -> Parameters {
    Parameters::random(config, &mut NumpyRandom::new(3), dtype, &Device::Cpu).unwrap()
}

fn gradients(parameters: &Parameters, batch: &Batch) -> GradStore {
    loss(parameters, batch).backward().unwrap()
}

/// In float32, as training is done.
#[test]
fn every_parameter_receives_a_gradient() {
    for task in [induction(), classification()] {
        let batch = batch(&task);
        for kind in AttentionKind::ALL {
            let parameters = random(config(&task, kind), DType::F32);
            let gradients = gradients(&parameters, &batch);
            for (name, variable) in parameters.variables() {
                let what = format!("{}, {name}", kind.name());
                let of_scores = name.contains("q_proj") || name.contains("k_proj");
                let gradient = gradients.get(variable);
                if of_scores && !kind.depends_on_scores() {
                    assert!(gradient.is_none(), "{what}: has no influence");
                    continue;
                }
                let gradient = gradient.unwrap_or_else(|| panic!("{what}: no gradient"));
                let largest = gradient.abs().unwrap().max_all().unwrap();
                let largest = largest.to_scalar::<f32>().unwrap();
                // The same added to all scores of a row: the softmax takes no notice.
                let is_void = kind.name() == "softmax" && name.ends_with("k_proj.bias");
                match is_void {
                    true => assert!(largest < 1e-7, "{what}: {largest:e}"),
                    false => assert!(largest > 1e-6, "{what}: {largest:e}"),
                }
            }
        }
    }
}

/// The loss at distance `step` in the direction of a parameter's own `direction`, in float64.
fn moved(
    parameters: &Parameters,
    (name, direction, step): (&str, &Tensor, f64),
    batch: &Batch,
) -> f64 {
    let variable = &parameters.variables()[name];
    let before = variable.as_tensor().copy().unwrap();
    let there = (&before + (direction * step).unwrap()).unwrap();
    variable.set(&there).unwrap();
    let loss = loss(parameters, batch).to_scalar().unwrap();
    variable.set(&before).unwrap();
    loss
}

/// The largest difference between the slope of the loss and the gradient, along random directions through all entries
/// of each parameter, in units of the largest slope along them.
fn from_differences(config: Config, task: &Task) -> f64 {
    // Of the parameters drawn here, no direction leads over a kink of an attention function within this distance.
    const STEP: f64 = 3e-5;
    let batch = batch(task);
    let parameters = random(config, DType::F64);
    let gradients = gradients(&parameters, &batch);
    let mut random = NumpyRandom::new(8);
    let mut worst = 0.0f64;
    for (name, variable) in parameters.variables() {
        let Some(gradient) = gradients.get(variable) else {
            continue;
        };
        let (mut difference, mut largest) = (0.0f64, 0.0f64);
        for _ in 0..4 {
            let entries: Vec<f64> = (0..variable.elem_count()).map(|_| random.randn()).collect();
            let direction = Tensor::from_vec(entries, variable.dims(), &Device::Cpu).unwrap();
            let expected = (gradient * &direction).unwrap().sum_all().unwrap();
            let expected: f64 = expected.to_scalar().unwrap();
            let at = |step: f64| moved(&parameters, (name, &direction, step), &batch);
            // Richardson's extrapolation of central differences: the error is of the fourth order.
            let central = |step: f64| (at(step) - at(-step)) / (2.0 * step);
            let found = (4.0 * central(STEP / 2.0) - central(STEP)) / 3.0;
            difference = difference.max((found - expected).abs());
            largest = largest.max(expected.abs());
        }
        // Of a parameter without influence only that its slope is 0 can be said.
        worst = worst.max(difference / largest.max(1e-4));
    }
    worst
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for task in [induction(), classification()] {
        for kind in AttentionKind::ALL {
            let worst = from_differences(config(&task, kind), &task);
            println!("{:<24} {worst:.1e}", kind.name());
            assert!(worst < 1e-6, "{}: {worst:e}", kind.name());
        }
    }
}

/// What a model may be without, and the numbers of heads of the experiments.
#[test]
fn gradients_of_smaller_and_other_models() {
    let task = induction();
    let kind = AttentionKind::named("sigmoid_norm").unwrap();
    let whole = config(&task, kind);
    let bare = Config {
        use_layer_norm: false,
        intermediate_size: 0,
        position_embedding_type: PositionEmbedding::None,
        max_position_embeddings: 0,
        is_causal: false,
        ..whole.clone()
    };
    let added = Config {
        position_embedding_type: PositionEmbedding::Add,
        ..whole.clone()
    };
    let heads = [1, 4, 8].map(|num_attention_heads| Config {
        num_attention_heads,
        ..whole.clone()
    });
    for config in [bare, added].into_iter().chain(heads) {
        let worst = from_differences(config.clone(), &task);
        println!("{worst:.1e}");
        assert!(worst < 1e-6, "{worst:e} of {config:?}");
    }
}
