//! What is tracked of a run on the way, against the plainest computation from the maps and matrices of its models.

use std::num::NonZeroUsize;

use attnscope::{
    layers::PackedSequences,
    random::NumpyRandom,
    train::{
        Parameters, Settings, Tracking,
        run::{State, Trained, run, run_all},
        tasks::{Classification, Induction, Task},
        track::{Record, TrackedWeight},
    },
};
use candle_core::{DType, Device};

use super::run::{Follower, bits, settings};

fn steps(every: usize) -> Tracking {
    Tracking::Steps(NonZeroUsize::new(every).unwrap())
}

fn train(settings: &Settings) -> Trained {
    run(settings, &Device::Cpu, &Follower::new(usize::MAX)).unwrap()
}

fn tasks() -> [Task; 2] {
    [
        Task::Induction(Induction::default()),
        Task::Classification(Classification::default()),
    ]
}

/// A run of so many steps of 64 samples, in three epochs of a third of them.
fn tracked(task: &Task, kind: &str, tracking: Tracking) -> Settings {
    Settings {
        num_train: 300,
        num_eval: 30,
        tracking,
        ..settings(task.clone(), kind)
    }
}

/// Holds a record against the maps of the whole network, and against its matrices.
fn check(record: &Record, trained: &Trained, parameters: &Parameters, task: &Task) {
    let config = parameters.config();
    let mut at = 0;
    let mut samples = trained.track.samples.clone();
    samples.sort_unstable();
    for sample in samples {
        let ids = &trained.eval_samples[sample].input_ids;
        let sequences = PackedSequences::from_lengths(&[ids.len()]);
        let network = parameters.network().unwrap();
        let output = network.forward(ids, &sequences, true).unwrap();
        for layer in 0..config.num_hidden_layers {
            let maps: Vec<Vec<Vec<f32>>> = output.attn_weights[layer][0].to_vec3().unwrap();
            for (head, map) in maps.iter().enumerate() {
                let places: Vec<(usize, usize)> = match task {
                    Task::Induction(_) => (0..12).map(|query| (query, 0)).collect(),
                    Task::Classification(_) => (0..11).map(|key| (10, key)).collect(),
                };
                for (query, key) in places {
                    let found: &TrackedWeight = &record.weights[at];
                    at += 1;
                    let place = [sample, layer, head, query, key];
                    assert_eq!(
                        [
                            found.sample as usize,
                            found.layer.into(),
                            found.head.into(),
                            found.query as usize,
                            found.key as usize
                        ],
                        place
                    );
                    let expected = f64::from(map[query][key]);
                    let total: f64 = map[query].iter().map(|&w| f64::from(w)).sum();
                    assert!(
                        (f64::from(found.weight) - expected).abs() < 1e-5,
                        "{place:?}"
                    );
                    assert!((found.share - expected / total).abs() < 1e-5, "{place:?}");
                }
            }
        }
    }
    assert_eq!(at, record.weights.len());
    assert_eq!(record.value_norms.len(), 2);
    for (layer, norms) in record.value_norms.iter().enumerate() {
        let weight = &parameters.variables()[&format!("layers.{layer}.v_proj.weight")];
        let entries: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
        let norm = |entries: &[f32]| {
            let squares = entries.iter().map(|&x| f64::from(x) * f64::from(x));
            squares.sum::<f64>().sqrt()
        };
        // 16 × 16, of two heads with 8 rows each.
        assert!((norms.norm - norm(&entries)).abs() < 1e-9);
        assert_eq!(norms.heads.len(), 2);
        for (head, found) in norms.heads.iter().enumerate() {
            let rows = &entries[head * 128..(head + 1) * 128];
            assert!((found - norm(rows)).abs() < 1e-9);
        }
    }
}

/// At the start, which the seed draws, and at the end, whose parameters are at hand; what is between them is the end of
/// a shorter run.
#[test]
fn records_are_those_of_the_models_on_the_way() {
    for task in tasks() {
        for kind in ["softmax", "sigmoid_unnorm"] {
            let settings = tracked(&task, kind, Tracking::Epochs);
            let trained = train(&settings);
            let records = &trained.track.records;
            let steps: Vec<usize> = records.iter().map(|record| record.step).collect();
            assert_eq!(steps, [0, 5, 10, 15]);
            let mut random = NumpyRandom::new(settings.seed);
            let (config, device) = (settings.config.clone(), Device::Cpu);
            let start = Parameters::random(config, &mut random, DType::F32, &device).unwrap();
            check(&records[0], &trained, &start, &task);
            check(&records[3], &trained, &trained.parameters, &task);
            let shorter = train(&Settings {
                num_epochs: 1,
                ..settings
            });
            check(&records[1], &trained, &shorter.parameters, &task);
            assert_ne!(records[0].weights, records[1].weights);
        }
    }
}

#[test]
fn tracking_changes_nothing() {
    for task in tasks() {
        let one = train(&tracked(&task, "softmax", Tracking::Never));
        assert!(one.track.records.is_empty());
        for (tracking, expected) in [
            (Tracking::Epochs, vec![0, 5, 10, 15]),
            (steps(4), vec![0, 4, 8, 12, 15]),
            (steps(1000), vec![0, 15]),
        ] {
            let other = train(&tracked(&task, "softmax", tracking));
            let found = other.track.records.iter().map(|record| record.step);
            assert_eq!(found.collect::<Vec<_>>(), expected);
            assert_eq!(bits(&one), bits(&other));
            assert_eq!(one.epochs, other.epochs);
            assert_eq!(one.evaluation, other.evaluation);
        }
    }
}

/// Each with its own samples and at its own steps, and up to its own end.
#[test]
fn side_by_side_each_is_tracked_for_itself() {
    let base = tracked(&tasks()[1], "sigmoid_unnorm", Tracking::Epochs);
    let runs = [
        base.clone(),
        Settings {
            seed: 8,
            tracking: steps(6),
            ..base.clone()
        },
        Settings {
            learning_rate: 1e30,
            tracking: steps(1),
            ..base.clone()
        },
        Settings {
            tracking: Tracking::Never,
            ..base
        },
    ];
    let together = run_all(&runs, &Device::Cpu, &Follower::new(usize::MAX)).unwrap();
    for (together, settings) in together.iter().zip(&runs).take(2) {
        assert_eq!(together.track, train(settings).track);
    }
    assert_ne!(together[0].track.samples, together[1].track.samples);
    assert_eq!(together[2].state, State::Diverged);
    let last = together[2].epochs.last().unwrap().steps;
    let records = &together[2].track.records;
    assert!(!records.is_empty() && records.iter().all(|record| record.step < last.max(2)));
    assert!(together[3].track.records.is_empty());
}

#[test]
fn samples_are_the_first_ones_or_the_first_of_every_label() {
    let [induction, classification] = tasks();
    let trained = train(&tracked(&induction, "softmax", Tracking::Epochs));
    assert_eq!(trained.track.samples, [0, 1, 2, 3]);
    let trained = train(&tracked(&classification, "softmax", Tracking::Epochs));
    for label in 0..4 {
        let is_of_label = |s: &attnscope::train::tasks::Sample| s.targets == [label];
        let first = trained.eval_samples.iter().position(is_of_label);
        assert_eq!(Some(trained.track.samples[label as usize]), first);
    }
    let few = Settings {
        num_eval: 2,
        ..tracked(&induction, "softmax", Tracking::Epochs)
    };
    assert_eq!(train(&few).track.samples, [0, 1]);
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    let settings = Settings {
        num_train: 1 << 22,
        batch_size: 1,
        ..tracked(&tasks()[0], "softmax", steps(1))
    };
    let error = run(&settings, &Device::Cpu, &Follower::new(0)).unwrap_err();
    let says = "train: track_every: 12582913 records would hold 2415919296 weights";
    assert!(error.to_string().starts_with(says), "{error}");
    assert!(
        error.to_string().ends_with("or 0 to track nothing"),
        "{error}"
    );
}
