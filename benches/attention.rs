//! The fused attention against the tensor form, at the shapes of a 7B layer and of a small one.
//!
//! `cargo bench --bench attention`

use attnscope::layers::{
    PackedSequences, alibi,
    attention::{Attention, AttentionFunction, States, Wanted},
};
use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn attention(criterion: &mut Criterion) {
    let functions = [
        ("softmax", AttentionFunction::Softmax),
        ("sigmoid", AttentionFunction::sigmoid(-(4096f64.ln()))),
    ];
    for (num_heads, head_dim, count, length) in
        [(16, 64, 8, 256), (32, 128, 4, 256), (16, 64, 1, 2048)]
    {
        let sequences = PackedSequences::from_lengths(&vec![length; count]);
        let shape = (sequences.tokens(), num_heads * head_dim);
        let states = || Tensor::randn(0f32, 1f32, shape, &Device::Cpu);
        let (Ok(query), Ok(key), Ok(value)) = (states(), states(), states()) else {
            panic!("no memory for {shape:?}")
        };
        let mut group =
            criterion.benchmark_group(format!("{num_heads}x{head_dim}, {count} x {length} tokens"));
        group.sample_size(10);
        group.throughput(Throughput::Elements(sequences.tokens() as u64));
        for (name, function) in functions {
            let attention = Attention {
                function,
                num_heads,
                head_dim,
                scale: 1.0 / (head_dim as f64).sqrt(),
                alibi_slopes: Some(alibi::slopes(num_heads)),
                causal: true,
            };
            let wanted = Wanted {
                attn_output: true,
                rows: true,
                attn_weights: false,
            };
            // A tensor that carries gradients is one that only the tensor form may take.
            let tracked = candle_core::Var::from_tensor(&query).expect("a variable");
            for (form, query) in [("fused", &query), ("tensor", tracked.as_tensor())] {
                group.bench_function(BenchmarkId::new(form, name), |bencher| {
                    bencher.iter(|| {
                        attention
                            .forward(
                                States {
                                    query,
                                    key: &key,
                                    value: Some(&value),
                                },
                                &sequences,
                                wanted,
                            )
                            .expect("attention")
                    })
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
