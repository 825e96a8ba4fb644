//! The rules of the tasks, and that what they draw is uniform.

use std::collections::{BTreeSet, HashMap};

use attnscope::{
    random::PythonRandom,
    train::tasks::{Classification, Induction, Sample, Task},
};
use serde_json::Value;

use crate::support;

const SAMPLES: usize = 20_000;

fn draw(task: &Task) -> Vec<Sample> {
    task.samples(SAMPLES, &mut PythonRandom::new(11)).unwrap()
}

/// Fails if `counts` of what should be equally likely are further from their mean than five standard deviations.
#[track_caller]
fn assert_uniform<K: std::fmt::Debug>(counts: &HashMap<K, usize>, kinds: usize, draws: usize) {
    assert_eq!(counts.len(), kinds);
    let p = 1.0 / kinds as f64;
    let (mean, deviation) = (draws as f64 * p, (draws as f64 * p * (1.0 - p)).sqrt());
    for (what, &count) in counts {
        let distance = (count as f64 - mean).abs() / deviation;
        assert!(
            distance < 5.0,
            "{what:?}: {count} times, expected {mean:.0}"
        );
    }
}

/// Input and answers put together again: the whole sequence.
fn sequence(sample: &Sample) -> Vec<u32> {
    assert_eq!(
        sample.input_ids[1..],
        sample.targets[..sample.targets.len() - 1]
    );
    let last = sample.targets.last().copied();
    sample.input_ids.iter().copied().chain(last).collect()
}

#[test]
fn induction_follows_its_rules() {
    for shift_query_token in [true, false] {
        let induction = Induction {
            shift_query_token,
            ..Induction::default()
        };
        let task = Task::Induction(induction);
        assert_eq!(task.vocab_size(), if shift_query_token { 100 } else { 50 });
        assert_eq!((task.output_size(), task.tokens()), (task.vocab_size(), 12));
        let shift = if shift_query_token { 50 } else { 0 };
        let (mut tokens, mut places) = (HashMap::new(), HashMap::new());
        for sample in draw(&task) {
            assert_eq!(sample.input_ids.len(), 12);
            let sequence = sequence(&sample);
            assert_eq!((sequence.len(), sequence[0]), (13, 0));
            let distinct = &sequence[1..11];
            assert!(distinct.iter().all(|&token| (1..50).contains(&token)));
            assert_eq!(BTreeSet::from_iter(distinct).len(), 10);
            let place = distinct
                .iter()
                .position(|&token| token + shift == sequence[11]);
            let place = place.expect("the token before the last has come before");
            // After the last of them stands its own second occurrence.
            assert_eq!(sequence[12], sequence[1 + place + 1]);
            *places.entry(place).or_default() += 1;
            for (position, &token) in distinct.iter().enumerate() {
                *tokens.entry((position, token)).or_default() += 1;
            }
        }
        assert_uniform(&places, 10, SAMPLES);
        for position in 0..10 {
            let there = tokens.iter().filter(|((at, _), _)| *at == position);
            let there = there.map(|(key, count)| (*key, *count)).collect();
            assert_uniform(&there, 49, SAMPLES);
        }
    }
}

/// The paper's program draws with CPython's `random`, and so its sequences are repeated.
#[test]
fn induction_sequences_are_those_of_cpython() {
    let cases = std::fs::read(support::golden("train/sequences.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap();
        let task = Task::Induction(Induction {
            vocab_size: number("vocab_size") as usize,
            seq_length: number("seq_length") as usize,
            shift_query_token: case["shift"].as_bool().unwrap(),
            aux_loss_weight: 0.2,
        });
        let expected: Vec<Vec<u32>> = serde_json::from_value(case["sequences"].clone()).unwrap();
        let mut random = PythonRandom::new(number("seed"));
        let found = task.samples(expected.len(), &mut random).unwrap();
        let found: Vec<Vec<u32>> = found.iter().map(sequence).collect();
        assert_eq!(found, expected, "seed {}", case["seed"]);
    }
}

#[test]
fn classification_follows_its_rules() {
    let classification = Classification::default();
    let task = Task::Classification(classification);
    assert_eq!((task.vocab_size(), task.output_size()), (41, 4));
    assert_eq!(task.tokens(), 11);
    let (mut labels, mut tokens) = (HashMap::new(), HashMap::new());
    for sample in draw(&task) {
        let &[label] = sample.targets.as_slice() else {
            panic!("{:?}", sample.targets)
        };
        let (cls, set) = sample.input_ids.split_last().unwrap();
        assert_eq!((*cls, set.len()), (0, 10));
        assert_eq!(BTreeSet::from_iter(set).len(), 10);
        // 1 to 10 are group 0, 11 to 20 group 1, and so on: the groups share no token.
        assert!(
            set.iter()
                .all(|token| (token - 1) / 10 == label && *token <= 40)
        );
        *labels.entry(label).or_default() += 1;
        *tokens.entry(set[3]).or_default() += 1;
    }
    assert_uniform(&labels, 4, SAMPLES);
    assert_uniform(&tokens, 40, SAMPLES);
}

#[test]
fn a_group_may_be_larger_than_a_set() {
    let task = Task::Classification(Classification {
        vocab_size: 161,
        ..Classification::default()
    });
    let mut tokens = HashMap::new();
    for sample in draw(&task) {
        let set = &sample.input_ids[..10];
        assert_eq!(BTreeSet::from_iter(set).len(), 10);
        assert!(
            set.iter()
                .all(|token| (token - 1) / 40 == sample.targets[0])
        );
        *tokens.entry(set[9]).or_default() += 1;
    }
    assert_uniform(&tokens, 160, SAMPLES);
}

/// A seed gives the same samples, and another seed others.
#[test]
fn samples_are_the_seeds_affair() {
    let task = Task::Induction(Induction::default());
    let samples = |seed| task.samples(50, &mut PythonRandom::new(seed)).unwrap();
    assert_eq!(samples(1), samples(1));
    assert_ne!(samples(1), samples(2));
}

#[test]
fn impossible_sizes_are_refused() {
    let induction = Induction::default();
    let classification = Classification::default();
    let cases = [
        (
            Task::Induction(Induction {
                seq_length: 53,
                ..induction.clone()
            }),
            "train: seq_length: 53 is not between 4 and 52: ",
        ),
        (
            Task::Induction(Induction {
                seq_length: 3,
                ..induction.clone()
            }),
            "train: seq_length: 3 is not between 4 and 52: ",
        ),
        (
            Task::Induction(Induction {
                vocab_size: 1,
                ..induction.clone()
            }),
            "train: vocab_size: 1 is not between 2 and ",
        ),
        (
            Task::Induction(Induction {
                aux_loss_weight: f64::NAN,
                ..induction.clone()
            }),
            "train: aux_loss_weight: NaN is not a number of 0 or more",
        ),
        (
            Task::Induction(Induction {
                aux_loss_weight: -0.5,
                ..induction.clone()
            }),
            "train: aux_loss_weight: -0.5 is not a number of 0 or more",
        ),
        (
            Task::Classification(Classification {
                num_labels: 3,
                ..classification.clone()
            }),
            "train: num_labels: 3 groups cannot share the 40 tokens beside CLS equally",
        ),
        (
            Task::Classification(Classification {
                num_labels: 0,
                ..classification.clone()
            }),
            "train: num_labels: 0 groups cannot share",
        ),
        (
            Task::Classification(Classification {
                seq_length: 12,
                ..classification.clone()
            }),
            "train: seq_length: 12 is not between 2 and 11: ",
        ),
        (
            Task::Classification(Classification {
                vocab_size: 0,
                ..classification.clone()
            }),
            "train: vocab_size: 0 is not between 2 and ",
        ),
    ];
    for (task, says) in cases {
        let error = task.samples(1, &mut PythonRandom::new(0)).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    // The longest there can be.
    let task = Task::Induction(Induction {
        seq_length: 52,
        ..induction
    });
    assert_eq!(task.samples(3, &mut PythonRandom::new(0)).unwrap().len(), 3);
}
