//! Several models as one program, of tensors with one more dimension.

use attnscope::{
    layers::attention::AttentionKind,
    random::PythonRandom,
    train::{
        Batch, Parameters, Replicas, Settings,
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::{Device, Tensor};

use super::run::settings;
use crate::support;

/// Of two seeds, at two learning rates.
fn runs(task: Task, kind: AttentionKind) -> [Settings; 3] {
    let base = settings(task, kind.name());
    [(3, 1e-3), (4, 1e-3), (3, 1e-4)].map(|(seed, learning_rate)| Settings {
        seed,
        learning_rate,
        ..base.clone()
    })
}

/// A batch for each, as its own seed draws it.
fn batches(runs: &[Settings], step: u64) -> Vec<Option<Batch>> {
    let batch = |run: &Settings| {
        let mut random = PythonRandom::new(u64::from(run.seed) + 100 * step);
        let samples = run.task.samples(20, &mut random).unwrap();
        Some(run.task.batch(&samples))
    };
    runs.iter().map(batch).collect()
}

fn of(replicas: &Replicas, replica: usize) -> Parameters {
    replicas.parameters(replica).unwrap()
}

/// The largest distance between their parameters, in units of the length of each. (The largest difference of an entry
/// would say less: of a gradient that is almost 0, Adam makes a whole step all the same.)
fn distance(found: &Parameters, expected: &Parameters) -> f64 {
    let length = |tensor: Tensor| {
        let squares = tensor.sqr().unwrap().sum_all().unwrap();
        f64::from(squares.to_scalar::<f32>().unwrap()).sqrt()
    };
    let mut worst = 0.0f64;
    for (name, expected_tensor) in expected.variables() {
        // Nothing depends on it.
        let is_softmax = expected.config().attention_function.name() == "softmax";
        if is_softmax && name.ends_with("k_proj.bias") {
            continue;
        }
        let found = found.variables()[name].to_device(&Device::Cpu).unwrap();
        let expected = expected_tensor.to_device(&Device::Cpu).unwrap();
        let distance = length((found - &expected).unwrap());
        assert!(distance.is_finite(), "{name}");
        worst = worst.max(distance / length(expected));
    }
    worst
}

/// On every device there is.
#[test]
fn stacked_models_are_those_that_train_alone() {
    for device in support::devices() {
        for task in [
            Task::Induction(Induction::default()),
            Task::Classification(Classification::default()),
        ] {
            for kind in AttentionKind::ALL {
                let runs = runs(task.clone(), kind);
                let mut stacked = Replicas::stacked(&runs, &device).unwrap();
                let mut separate = Replicas::new(&runs, &Device::Cpu).unwrap();
                let mut losses = 0.0f64;
                for step in 0..5 {
                    let batches = batches(&runs, step);
                    let found = stacked.step(&batches).unwrap();
                    let expected = separate.step(&batches).unwrap();
                    for (found, expected) in found.into_iter().zip(expected) {
                        let (found, expected) = (found.unwrap(), expected.unwrap());
                        losses = losses.max((found - expected).abs() / expected);
                    }
                }
                let worst = (0..runs.len())
                    .map(|i| distance(&of(&stacked, i), &of(&separate, i)))
                    .fold(0.0, f64::max);
                // Seeds and learning rates do make a difference.
                let others = distance(&of(&separate, 2), &of(&separate, 0));
                assert!(others > 10.0 * worst, "{others:e}");
                println!(
                    "{:<22} after 5 steps: parameters {worst:.1e}, losses {losses:.1e}",
                    kind.name()
                );
                assert!(worst < 1e-3 && losses < 1e-5, "{}", kind.name());
            }
        }
    }
}

#[test]
fn one_that_is_over_does_not_disturb_the_others() {
    let kind = AttentionKind::named("sigmoid_norm").unwrap();
    let runs = runs(Task::Induction(Induction::default()), kind);
    let (mut all, mut some) = (
        Replicas::stacked(&runs, &Device::Cpu).unwrap(),
        Replicas::stacked(&runs, &Device::Cpu).unwrap(),
    );
    for step in 0..3 {
        let mut batches = batches(&runs, step);
        let expected = all.step(&batches).unwrap();
        batches[1] = None;
        let found = some.step(&batches).unwrap();
        assert_eq!(found, [expected[0], None, expected[2]]);
    }
    for replica in [0, 2] {
        assert_eq!(distance(&of(&some, replica), &of(&all, replica)), 0.0);
    }
    assert!(distance(&of(&some, 1), &of(&all, 1)) > 0.0);
    assert_eq!(some.step(&[None, None, None]).unwrap(), [None, None, None]);
}
