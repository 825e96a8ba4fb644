//! What is measured of a model, against the plainest computation from the maps of its network.

use attnscope::{
    Error,
    layers::{PackedSequences, attention::AttentionKind},
    random::{NumpyRandom, PythonRandom},
    train::{
        Parameters,
        metrics::{
            ClassificationHead, Evaluation, Heads, InductionHead, LEARNED_ACCURACY, PAIRS, Score,
            evaluate, pairs,
        },
        tasks::{Classification, Induction, Sample, Task},
    },
};
use candle_core::{DType, Device};

use super::config;

fn parameters(task: &Task, kind: AttentionKind) -> Parameters {
    let mut random = NumpyRandom::new(5);
    Parameters::random(config(task, kind), &mut random, DType::F32, &Device::Cpu).unwrap()
}

/// Of a sequence, the map of each layer and head, and the logits of its last position.
struct Pass {
    maps: Vec<Vec<Vec<Vec<f32>>>>,
    last: Vec<f32>,
}

/// Of sequences of one length.
fn passes(parameters: &Parameters, texts: &[Vec<u32>]) -> Vec<Pass> {
    let length = texts[0].len();
    let sequences = PackedSequences::from_lengths(&vec![length; texts.len()]);
    let network = parameters.network().unwrap();
    let output = network.forward(&texts.concat(), &sequences, true).unwrap();
    let logits: Vec<Vec<f32>> = output.logits.to_vec2().unwrap();
    let maps_of = |i: usize| {
        let layers = output.attn_weights.iter();
        layers.map(|maps| maps[i].to_vec3().unwrap()).collect()
    };
    (0..texts.len())
        .map(|i| Pass {
            maps: maps_of(i),
            last: logits[(i + 1) * length - 1].clone(),
        })
        .collect()
}

fn texts(samples: &[Sample]) -> Vec<Vec<u32>> {
    let texts = samples.iter().map(|sample| sample.input_ids.clone());
    texts.collect()
}

fn answer(pass: &Pass) -> u32 {
    let largest = pass.last.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    pass.last.iter().position(|x| *x == largest).unwrap() as u32
}

fn loss_of(logits: &[f32], target: u32) -> f64 {
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    sum.ln() - f64::from(logits[target as usize])
}

fn total(row: &[f32]) -> f64 {
    row.iter().map(|&w| f64::from(w)).sum()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, bound: f64, what: &str) {
    let difference = (found - expected).abs();
    assert!(difference <= bound, "{what}: {found}, expected {expected}");
}

#[test]
fn sinks_are_those_of_the_maps() {
    let task = Task::Induction(Induction::default());
    // More than go through the model at once.
    let samples = task.samples(300, &mut PythonRandom::new(3)).unwrap();
    let mut differ = 0;
    for kind in AttentionKind::ALL {
        let parameters = parameters(&task, kind);
        let mut random = PythonRandom::new(0);
        let found = evaluate(&parameters, &task, &samples, &mut random).unwrap();
        let Heads::Induction(heads) = &found.heads else {
            panic!("{found:?}")
        };
        assert_eq!(found.max_flip_rate(), None);
        let passes = passes(&parameters, &texts(&samples));
        let right = passes.iter().zip(&samples);
        let right = right.filter(|(pass, sample)| answer(pass) == sample.targets[11]);
        assert_eq!(found.score.accuracy, right.count() as f64 / 300.0);
        assert_eq!(heads.len(), 4);
        for (at, head) in heads.iter().enumerate() {
            assert_eq!((head.layer, head.head), (at / 2, at % 2));
            let (mut ratios, mut bos, mut all, mut rows) = (0.0, 0.0, 0.0, 0.0);
            for pass in &passes {
                let map = &pass.maps[head.layer][head.head];
                assert_eq!(map.len(), 12);
                for row in &map[1..10] {
                    ratios += f64::from(row[0]) / (total(row) + 1e-9);
                    bos += f64::from(row[0]);
                    all += total(row);
                    rows += 1.0;
                }
            }
            let name = kind.name();
            // A total near 0 makes a share of any size out of rounding.
            let bound = if kind.has_signed_weights() {
                0.02
            } else {
                1e-5
            };
            assert_close(
                head.sink_score,
                (ratios / rows).clamp(0.0, 1.0),
                bound,
                name,
            );
            let of_means = (bos / all).clamp(0.0, 1.0);
            assert_close(head.sink_score_of_means, of_means, bound, name);
            assert_eq!(head.non_finite_rows, 0);
            differ += usize::from((head.sink_score - head.sink_score_of_means).abs() > 1e-3);
        }
    }
    assert!(differ > 10, "{differ}");
}

#[test]
fn flips_are_those_of_one_swap_after_the_other() {
    let task = Task::Classification(Classification::default());
    let samples = task.samples(270, &mut PythonRandom::new(3)).unwrap();
    let drawn = pairs(&samples, PAIRS, &mut PythonRandom::new(9));
    assert_eq!(drawn.len(), 500);
    let mut rates = Vec::new();
    for name in [
        "softmax",
        "sigmoid_unnorm",
        "coupled_linear_norm",
        "mlp_norm",
    ] {
        let parameters = parameters(&task, AttentionKind::named(name).unwrap());
        let mut random = PythonRandom::new(9);
        let found = evaluate(&parameters, &task, &samples, &mut random).unwrap();
        let Heads::Classification(heads) = &found.heads else {
            panic!("{found:?}")
        };
        let passes = passes(&parameters, &texts(&samples));
        let (mut right, mut loss) = (0, 0.0);
        for (pass, sample) in passes.iter().zip(&samples) {
            right += usize::from(answer(pass) == sample.targets[0]);
            loss += loss_of(&pass.last, sample.targets[0]);
        }
        assert_eq!(found.score.accuracy, right as f64 / 270.0);
        assert_close(found.score.loss, loss / 270.0, 1e-5, name);
        assert_eq!(heads.len(), 4);
        for head in heads {
            let row = |sample: usize| &passes[sample].maps[head.layer][head.head][10];
            let shares = (0..270).map(|sample| {
                let largest = row(sample).iter().fold(f32::NEG_INFINITY, |m, w| m.max(*w));
                f64::from(largest) / (total(row(sample)) + 1e-9)
            });
            let mean = shares.sum::<f64>() / 270.0;
            let bound = if name == "mlp_norm" {
                0.02 * mean.abs()
            } else {
                1e-5
            };
            assert_close(head.sparsity_score, mean, bound, name);
            let heaviest = |sample: usize| {
                let before = &row(sample)[..10];
                let largest = before.iter().fold(f32::NEG_INFINITY, |m, w| m.max(*w));
                before.iter().position(|w| *w == largest).unwrap()
            };
            let (mut mixed, mut labels) = (Vec::new(), Vec::new());
            for (into, from) in drawn.iter().flat_map(|&(a, b)| [(a, b), (b, a)]) {
                let mut ids = samples[into].input_ids.clone();
                ids[heaviest(into)] = samples[from].input_ids[heaviest(from)];
                mixed.push(ids);
                labels.push(samples[from].targets[0]);
            }
            let answers = self::passes(&parameters, &mixed);
            let flipped = answers.iter().zip(labels);
            let flipped = flipped
                .filter(|(pass, label)| answer(pass) == *label)
                .count();
            // Two logits of one prediction in a thousand may be equal but for rounding.
            assert_close(head.flip_rate, flipped as f64 / 1000.0, 0.0011, name);
            rates.push(head.flip_rate);
        }
        let max = heads.iter().map(|head| head.flip_rate).fold(0.0, f64::max);
        assert_eq!(found.max_flip_rate(), Some(max));
    }
    // Neither nothing nor everything, and not all the same.
    rates.sort_by(f64::total_cmp);
    assert!(
        rates[0] < rates[15] && rates[15] > 0.05 && rates[0] < 0.9,
        "{rates:?}"
    );
}

#[test]
fn pairs_have_two_labels_and_are_the_seeds_affair() {
    let task = Task::Classification(Classification::default());
    let samples = task.samples(100, &mut PythonRandom::new(3)).unwrap();
    let draw = |seed| pairs(&samples, 4000, &mut PythonRandom::new(seed));
    let drawn = draw(1);
    let label = |i: usize| samples[i].targets[0];
    let mut seen = std::collections::HashMap::new();
    for &(one, other) in &drawn {
        assert_ne!(label(one), label(other));
        *seen.entry((label(one), label(other))).or_insert(0) += 1;
    }
    // Each of the twelve in a twelfth of the draws: 333 on average, with a deviation of 17.5.
    assert_eq!(seen.len(), 12);
    assert!(
        seen.values().all(|&count| (245..=421).contains(&count)),
        "{seen:?}"
    );
    assert_eq!(drawn, draw(1));
    assert_ne!(drawn, draw(2));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let refused = |task: Task, samples: &[Sample], says: &str| {
        let parameters = parameters(&task, AttentionKind::ALL[0]);
        let error: Error =
            evaluate(&parameters, &task, samples, &mut PythonRandom::new(0)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.exit_code(), 2);
    };
    let short = Task::Induction(Induction {
        seq_length: 4,
        ..Induction::default()
    });
    let samples = short.samples(5, &mut PythonRandom::new(1)).unwrap();
    refused(short, &samples, "seq_length: no position is left");
    refused(
        Task::Induction(Induction::default()),
        &[],
        "there are no samples",
    );
}

/// Chance, or a small number of samples, may leave labels out.
#[test]
fn of_one_label_there_is_no_flip_rate() {
    let task = Task::Classification(Classification::default());
    let mut samples = task.samples(40, &mut PythonRandom::new(1)).unwrap();
    samples.retain(|sample| sample.targets == [2]);
    assert!(samples.len() > 2);
    let parameters = parameters(&task, AttentionKind::ALL[0]);
    let found = evaluate(&parameters, &task, &samples, &mut PythonRandom::new(0)).unwrap();
    assert!(found.max_flip_rate().unwrap().is_nan());
    let Heads::Classification(heads) = found.heads else {
        panic!("{:?}", found.heads)
    };
    assert!(heads.iter().all(|head| head.flip_rate.is_nan()));
    assert!(heads.iter().all(|head| head.sparsity_score > 0.0));
}

#[test]
fn thresholds_are_the_papers() {
    let head = |sink_score| InductionHead {
        layer: 0,
        head: 0,
        sink_score,
        sink_score_of_means: 0.0,
        bos_weight: 0.0,
        total_weight: 1.0,
        non_finite_rows: 0,
    };
    assert_eq!(head(0.91).is_sink(), Some(true));
    assert_eq!(head(0.9).is_sink(), Some(false));
    assert_eq!(head(f64::NAN).is_sink(), None);
    let evaluation = |accuracy| Evaluation {
        score: Score {
            loss: 0.0,
            accuracy,
        },
        heads: Heads::Classification(Vec::<ClassificationHead>::new()),
    };
    assert_eq!(LEARNED_ACCURACY, 0.95);
    assert!(evaluation(0.95).has_learned() && !evaluation(0.949).has_learned());
}

/// Weights that are not finite are counted, and enter nothing.
#[test]
fn rows_that_are_not_finite_are_counted() {
    let task = Task::Induction(Induction::default());
    let parameters = parameters(&task, AttentionKind::named("softmax").unwrap());
    let bias = &parameters.variables()["layers.1.q_proj.bias"];
    bias.set(&(bias.as_tensor() * f64::NAN).unwrap()).unwrap();
    let samples = task.samples(7, &mut PythonRandom::new(3)).unwrap();
    let found = evaluate(&parameters, &task, &samples, &mut PythonRandom::new(0)).unwrap();
    let Heads::Induction(heads) = &found.heads else {
        panic!("{found:?}")
    };
    for head in heads {
        let expected = if head.layer == 1 { 7 * 9 } else { 0 };
        assert_eq!(head.non_finite_rows, expected);
        assert_eq!(head.sink_score.is_nan(), head.layer == 1);
    }
    assert_eq!(found.non_finite_rows(), 2 * 7 * 9);
    assert_eq!(found.score.accuracy, 0.0);
    assert!(found.score.loss.is_nan());
}
