use candle_core::{Device, Tensor};

use super::*;

/// A small deterministic generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Roughly normal, standard deviation 1.
    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| self.next() as f64 / u64::MAX as f64).sum();
        (sum - 6.0) as f32
    }
}

/// What the formulas say, in float64, one row at a time.
struct Exact {
    weights: Vec<f64>,
    output: Vec<f64>,
}

/// The fused form itself, whatever was wanted.
fn fused(
    attention: &Attention,
    states: States,
    sequences: &PackedSequences,
    wanted: Wanted,
) -> Result<AttentionResult> {
    let function = fused::Function::of(attention.function).expect("has a fused form");
    fused::forward(attention, function, states, sequences, wanted)
}

/// f in the plainest form.
fn plain(activation: Activation, s: f64) -> f64 {
    match activation {
        Activation::One => 1.0,
        Activation::Exp => s.exp(),
        Activation::Sigmoid => 1.0 / (1.0 + (-s).exp()),
        Activation::Softplus => (1.0 + s.exp()).ln(),
        Activation::Elu if s > 0.0 => s + 1.0,
        Activation::Elu => s.exp(),
        Activation::Relu => s.max(0.0),
        Activation::Identity => s,
        Activation::Abs => s.abs(),
        Activation::Square => s * s,
    }
}

fn exact_row(
    a: &Attention,
    q: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    head: usize,
    i: usize,
) -> Exact {
    let scores: Vec<f64> = keys
        .iter()
        .enumerate()
        .map(|(j, k)| {
            let dot: f64 = q
                .iter()
                .zip(*k)
                .map(|(&q, &k)| f64::from(q) * f64::from(k))
                .sum();
            let slope = a.alibi_slopes.as_ref().map_or(0.0, |s| s[head]);
            dot * a.scale + slope * (j as f64 - i as f64)
        })
        .collect();
    let seen = |j: usize| !a.causal || j <= i;
    let mut weights: Vec<f64> = match a.function {
        AttentionFunction::Softmax => {
            let max = (0..scores.len())
                .filter(|&j| seen(j))
                .map(|j| scores[j])
                .fold(f64::MIN, f64::max);
            scores.iter().map(|s| (s - max).exp()).collect()
        }
        AttentionFunction::Elementwise {
            activation,
            logit_bias,
        } => scores
            .iter()
            .map(|s| plain(activation, s + logit_bias))
            .collect(),
        AttentionFunction::Normalized { activation, .. }
        | AttentionFunction::Clamped { activation } => {
            scores.iter().map(|s| plain(activation, *s)).collect()
        }
    };
    (0..weights.len())
        .filter(|&j| !seen(j))
        .for_each(|j| weights[j] = 0.0);
    let epsilon = match a.function {
        AttentionFunction::Normalized { epsilon, .. } => epsilon,
        _ => 0.0,
    };
    if a.function.is_normalized() {
        let sum = weights.iter().sum::<f64>();
        let total = match a.function {
            AttentionFunction::Clamped { .. } => sum.abs().max(1.0),
            _ => sum + epsilon,
        };
        weights.iter_mut().for_each(|w| *w /= total);
    }
    let output = (0..q.len())
        .map(|c| {
            weights
                .iter()
                .zip(values)
                .map(|(w, v)| w * f64::from(v[c]))
                .sum()
        })
        .collect();
    Exact { weights, output }
}

/// The largest difference, in units of `scale` (or 1, whichever is more); NaN if there is one.
fn largest(a: &[f32], b: &[f32], scale: impl Fn(usize) -> f32) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .enumerate()
        .map(|(i, (a, b))| f64::from((a - b).abs() / scale(i).max(1.0)))
        .fold(0.0, |m: f64, d| if d > m || d.is_nan() { d } else { m })
}

fn states<'a>(query: &'a Tensor, key: &'a Tensor, value: Option<&'a Tensor>) -> States<'a> {
    States { query, key, value }
}

const ALL: Wanted = Wanted {
    attn_output: true,
    rows: true,
    attn_weights: true,
};
const ROWS: Wanted = Wanted {
    attn_output: false,
    rows: true,
    attn_weights: false,
};
const NO_MAP: Wanted = Wanted {
    attn_weights: false,
    ..ALL
};

fn case(seed: u64) -> (Attention, Vec<usize>, [Tensor; 3]) {
    let mut random = Random(seed);
    let num_heads = 1 + random.below(6);
    let head_dim = [4, 8, 16, 20, 64][random.below(5)];
    let mut lengths: Vec<usize> = (0..1 + random.below(4))
        .map(|_| [1, 2, 17, 64, 65, 100, 130, 0][random.below(8)])
        .collect();
    if seed.is_multiple_of(5) {
        lengths.push(KV_CROSSING);
    }
    let tokens: usize = lengths.iter().sum();
    let function = match seed % 2 {
        0 => AttentionFunction::Softmax,
        _ => AttentionFunction::sigmoid(-(4096f64.ln()) * (random.below(3) as f64) / 2.0),
    };
    let attention = Attention {
        function,
        num_heads,
        head_dim,
        scale: 1.0 / (head_dim as f64).sqrt(),
        alibi_slopes: (random.below(3) > 0).then(|| crate::layers::alibi::slopes(num_heads)),
        causal: random.below(4) > 0,
    };
    let spread = [0.3, 1.0, 3.0][random.below(3)];
    let states = [0, 1, 2].map(|_| {
        let data: Vec<f32> = (0..tokens * num_heads * head_dim)
            .map(|_| random.normal() * spread)
            .collect();
        Tensor::from_vec(data, (tokens, num_heads * head_dim), &Device::Cpu).unwrap()
    });
    (attention, lengths, states)
}

/// Longer than a block of keys, so that the online rescaling is at work.
const KV_CROSSING: usize = 1100;

#[test]
fn fused_equals_tensor_form_and_float64() {
    let (mut to_tensor, mut to_exact) = ([0f64; 5], [0f64; 5]);
    let note = |worst: &mut [f64; 5], i: usize, d: f64| {
        if d > worst[i] || d.is_nan() {
            worst[i] = d;
        }
    };
    for seed in 0..40 {
        let (attention, lengths, [q, k, v]) = case(seed);
        let sequences = PackedSequences::from_lengths(&lengths);
        if sequences.tokens() == 0 {
            continue;
        }
        let fused = attention
            .forward(states(&q, &k, Some(&v)), &sequences, NO_MAP)
            .unwrap();
        let dense = tensor::forward(&attention, states(&q, &k, Some(&v)), &sequences, ALL).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (rows, dense_rows) = (fused.rows.unwrap(), dense.rows.unwrap());
        let output = flat(&fused.attn_output.unwrap());
        let largest_value = flat(&v).iter().fold(0f32, |m, v| m.max(v.abs()));
        let pairs = [
            (&rows.max, &dense_rows.max),
            (&rows.total, &dense_rows.total),
            (&rows.first, &dense_rows.first),
            (&rows.entropy, &dense_rows.entropy),
            (&output, &flat(&dense.attn_output.unwrap())),
        ];
        for (i, (a, b)) in pairs.iter().enumerate() {
            // Sums over a row are compared in units of the row's total weight, and of the largest value.
            let width = attention.num_heads * attention.head_dim;
            let total =
                |head: usize, token: usize| dense_rows.total[head * sequences.tokens() + token];
            let scale = |at: usize| match i {
                1 => dense_rows.total[at],
                4 => total(at % width / attention.head_dim, at / width) * largest_value,
                _ => 1.0,
            };
            note(&mut to_tensor, i, largest(a, b, scale));
        }

        let (q, k, v) = (flat(&q), flat(&k), flat(&v));
        let (heads, dim, tokens) = (attention.num_heads, attention.head_dim, sequences.tokens());
        let slice = |x: &[f32], t: usize, h: usize| -> Vec<f32> {
            x[t * heads * dim + h * dim..][..dim].to_vec()
        };
        for range in sequences.ranges() {
            for head in 0..heads {
                let keys: Vec<Vec<f32>> = range.clone().map(|t| slice(&k, t, head)).collect();
                let values: Vec<Vec<f32>> = range.clone().map(|t| slice(&v, t, head)).collect();
                let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
                let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
                for t in range.clone() {
                    let i = t - range.start;
                    let query = slice(&q, t, head);
                    let exact = exact_row(&attention, &query, &keys, &values, head, i);
                    let total: f64 = exact.weights.iter().sum();
                    let max = exact.weights.iter().cloned().fold(0.0, f64::max);
                    let entropy: f64 = exact
                        .weights
                        .iter()
                        .map(|w| w / total)
                        .filter(|p| *p > 0.0)
                        .map(|p| -p * p.ln())
                        .sum();
                    let at = head * tokens + t;
                    note(&mut to_exact, 0, (f64::from(rows.max[at]) - max).abs());
                    note(
                        &mut to_exact,
                        1,
                        (f64::from(rows.total[at]) - total).abs() / total.max(1.0),
                    );
                    note(
                        &mut to_exact,
                        2,
                        (f64::from(rows.first[at]) - exact.weights[0]).abs(),
                    );
                    note(
                        &mut to_exact,
                        3,
                        (f64::from(rows.entropy[at]) - entropy).abs(),
                    );
                    for (c, o) in exact.output.iter().enumerate() {
                        let got = f64::from(output[t * heads * dim + head * dim + c]);
                        note(
                            &mut to_exact,
                            4,
                            (got - o).abs() / (total * f64::from(largest_value)).max(1.0),
                        );
                    }
                    // Ties within rounding may fall either way; the weight at argmax must be the largest.
                    let chosen = exact.weights[rows.argmax[at] as usize];
                    assert!(max - chosen <= 1e-6 * max.max(1.0), "argmax, seed {seed}");
                }
            }
        }
    }
    let names = ["max", "total", "first", "entropy", "attn_output"];
    println!("largest difference of the fused form from: tensor form, float64");
    for (i, name) in names.iter().enumerate() {
        println!("  {name:<12} {:.2e}  {:.2e}", to_tensor[i], to_exact[i]);
    }
    for (i, name) in names.iter().enumerate() {
        assert!(to_tensor[i] <= 1e-5, "{name}: {}", to_tensor[i]);
        assert!(to_exact[i] <= 1e-5, "{name}: {}", to_exact[i]);
    }
}

#[test]
fn nan_inputs_are_seen_in_every_row_that_reads_them() {
    for function in [AttentionFunction::Softmax, AttentionFunction::sigmoid(-8.0)] {
        let attention = Attention {
            function,
            num_heads: 2,
            head_dim: 4,
            scale: 0.5,
            alibi_slopes: None,
            causal: true,
        };
        let sequences = PackedSequences::from_lengths(&[20, 30]);
        let mut keys = vec![0.25f32; 50 * 8];
        keys[10 * 8] = f32::NAN; // token 10, head 0
        let q = Tensor::ones((50, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let k = Tensor::from_vec(keys, (50, 8), &Device::Cpu).unwrap();
        for form in ["fused", "tensor"] {
            let result = match form {
                "fused" => fused(&attention, states(&q, &k, Some(&q)), &sequences, NO_MAP),
                _ => tensor::forward(&attention, states(&q, &k, Some(&q)), &sequences, NO_MAP),
            };
            let rows = result.unwrap().rows.unwrap();
            for at in 0..100 {
                let reads_nan = (10..20).contains(&at);
                let finite = rows.max[at].is_finite()
                    && rows.total[at].is_finite()
                    && rows.first[at].is_finite()
                    && rows.entropy[at].is_finite();
                assert_eq!(finite, !reads_nan, "{form}, {function:?}, row {at}");
            }
        }
    }
}

#[test]
fn nan_values_reach_only_queries_that_see_them() {
    for function in [AttentionFunction::Softmax, AttentionFunction::sigmoid(-8.0)] {
        let attention = Attention {
            function,
            num_heads: 1,
            head_dim: 4,
            scale: 0.5,
            alibi_slopes: None,
            causal: true,
        };
        let sequences = PackedSequences::from_lengths(&[700]);
        let ones = Tensor::ones((700, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut values: Vec<f32> = (0..2800).map(|i| (i % 7) as f32).collect();
        let finite = Tensor::from_slice(&values, (700, 4), &Device::Cpu).unwrap();
        values[600 * 4] = f32::NAN;
        let poisoned = Tensor::from_vec(values, (700, 4), &Device::Cpu).unwrap();
        let output = |value: &Tensor| -> Vec<Vec<f32>> {
            let result = attention.forward(states(&ones, &ones, Some(value)), &sequences, NO_MAP);
            result.unwrap().attn_output.unwrap().to_vec2().unwrap()
        };
        let (clean, found) = (output(&finite), output(&poisoned));
        for token in 0..700 {
            assert_eq!(found[token][0].is_nan(), token >= 600, "token {token}");
            let close = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
            assert!(close(clean[token][1], found[token][1]), "token {token}");
        }
    }
}

#[test]
fn rows_without_weight_are_finite_and_alike_in_both_forms() {
    let attention = Attention {
        function: AttentionFunction::sigmoid(-200.0),
        num_heads: 1,
        head_dim: 4,
        scale: 0.5,
        alibi_slopes: None,
        causal: true,
    };
    let sequences = PackedSequences::from_lengths(&[20]);
    let same = Tensor::randn(0f32, 1f32, (20, 4), &Device::Cpu).unwrap();
    let fused = fused(&attention, states(&same, &same, None), &sequences, ROWS).unwrap();
    let tensor = tensor::forward(&attention, states(&same, &same, None), &sequences, ROWS).unwrap();
    for rows in [fused.rows.unwrap(), tensor.rows.unwrap()] {
        for i in 0..20 {
            assert!(
                rows.total[i] < 1e-30 && rows.max[i] < 1e-30 && rows.first[i] < 1e-30,
                "row {i}"
            );
            assert_eq!(rows.entropy[i], 0.0, "row {i}");
        }
    }
}

#[test]
fn gradients_flow_through_the_tensor_form() {
    let (attention, lengths, tensors) = case(7);
    let sequences = PackedSequences::from_lengths(&lengths);
    let vars = tensors.map(|t| candle_core::Var::from_tensor(&t).unwrap());
    let [q, k, v] = &vars;
    let wanted = Wanted {
        attn_output: true,
        ..Wanted::default()
    };
    let output = attention
        .forward(states(q, k, Some(v.as_tensor())), &sequences, wanted)
        .unwrap()
        .attn_output
        .unwrap();
    let grads = output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for (name, var) in [("query", q), ("key", k), ("value", v)] {
        let grad = grads
            .get(var)
            .unwrap_or_else(|| panic!("{name} received no gradient"));
        let size = grad
            .abs()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!(size > 0.0, "{name}: gradient is zero");
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let (attention, lengths, [q, k, _]) = case(2);
    let sequences = PackedSequences::from_lengths(&lengths);
    let short = k.narrow(0, 0, 1).unwrap();
    let error = attention.forward(
        states(&q, &short, None),
        &sequences,
        Wanted {
            rows: true,
            ..Wanted::default()
        },
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("key_states: expected shape")
    );
    let error = attention.forward(states(&q, &k, None), &sequences, ALL);
    assert!(error.unwrap_err().to_string().contains("value_states"));
}

/// All functions but the two above, which have only the tensor form: weights and outputs against float64.
#[test]
fn every_function_in_the_tensor_form() {
    let mut functions = Vec::new();
    for activation in Activation::ALL {
        for logit_bias in [0.0, -0.75] {
            functions.push(AttentionFunction::Elementwise {
                activation,
                logit_bias,
            });
        }
        // Signed weights may sum to nearly 0; a large ε keeps the quotient tame.
        let epsilon = if activation == Activation::Identity {
            30.0
        } else {
            1e-6
        };
        functions.push(AttentionFunction::Normalized {
            activation,
            epsilon,
        });
        functions.push(AttentionFunction::Clamped { activation });
    }
    let (heads, head_dim, tokens) = (2, 4, 9);
    let mut random = Random(7);
    let mut normal = || -> Vec<f32> {
        (0..tokens * heads * head_dim)
            .map(|_| random.normal())
            .collect()
    };
    let (q, k, v) = (normal(), normal(), normal());
    let tensor =
        |x: &[f32]| Tensor::from_slice(x, (tokens, heads * head_dim), &Device::Cpu).unwrap();
    let mut worst = 0.0f64;
    for function in functions {
        for causal in [false, true] {
            let attention = Attention {
                function,
                num_heads: heads,
                head_dim,
                scale: 0.5,
                alibi_slopes: Some(crate::layers::alibi::slopes(heads)),
                causal,
            };
            let wanted = Wanted {
                attn_output: true,
                rows: true,
                attn_weights: true,
            };
            let sequences = PackedSequences::from_lengths(&[tokens]);
            let (q_t, k_t, v_t) = (tensor(&q), tensor(&k), tensor(&v));
            let result = attention
                .forward(states(&q_t, &k_t, Some(&v_t)), &sequences, wanted)
                .unwrap();
            let map: Vec<Vec<Vec<f32>>> = result.attn_weights.unwrap()[0].to_vec3().unwrap();
            let output: Vec<Vec<f32>> = result.attn_output.unwrap().to_vec2().unwrap();
            for head in 0..heads {
                let part = |x: &'_ [f32], token: usize| -> Vec<f32> {
                    x[(token * heads + head) * head_dim..][..head_dim].to_vec()
                };
                let all =
                    |x: &[f32]| -> Vec<Vec<f32>> { (0..tokens).map(|j| part(x, j)).collect() };
                let (keys, values) = (all(&k), all(&v));
                let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
                let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
                for i in 0..tokens {
                    let exact = exact_row(&attention, &part(&q, i), &keys, &values, head, i);
                    let largest = exact.weights.iter().fold(1.0f64, |m, w| m.max(w.abs()));
                    for (found, exact) in map[head][i].iter().zip(&exact.weights) {
                        worst = worst.max((f64::from(*found) - exact).abs() / largest);
                    }
                    for (c, exact) in exact.output.iter().enumerate() {
                        let found = f64::from(output[i][head * head_dim + c]);
                        worst = worst.max((found - exact).abs() / largest);
                    }
                }
            }
        }
    }
    println!("largest difference from float64: {worst:.1e}");
    assert!(worst < 5e-6, "{worst:e}");
}
