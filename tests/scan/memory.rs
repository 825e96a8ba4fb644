//! What a run takes, against what its plan said: in processes of their own, whose peak is theirs alone.

use std::{path::Path, process::Command};

use attnscope::{
    models,
    scan::plan::{Demand, Executor, Memory, Plan},
    store::RunManifest,
};
use candle_core::DType;

use super::{Fixture, random_texts};
use crate::gala::generator::AttentionFunction;

/// Scans, and gives the process's peak.
fn peak(fixture: &Fixture, memory: &str, dtype: &str, batch_size: u64) -> u64 {
    let out = fixture.out(&format!("{memory}-{dtype}-{batch_size}"));
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(["scan", "--n-samples", "all", "--device", "cpu"])
        .args(["--memory", memory, "--dtype", dtype])
        .args(["--batch-size", &batch_size.to_string()])
        .arg("--model")
        .arg(&fixture.model)
        .arg("--dataset")
        .arg(&fixture.texts)
        .arg("--out")
        .arg(&out)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    RunManifest::read(&out).unwrap().peak_memory_bytes.unwrap()
}

fn plan(model: &Path, dtype: DType, samples: u64) -> Plan {
    let tokens = 256 * samples;
    let demand = Demand {
        element_bytes: dtype.size_in_bytes() as u64,
        is_fused: dtype == DType::F32,
        tokens,
        longest: 256,
        batch_tokens: Some(tokens),
        beside: 0,
        available: None,
    };
    Plan::new(&*models::open(model).unwrap(), demand, Memory::Auto).unwrap()
}

/// The peaks of a resident and a streamed run of so many samples of 256 tokens in one batch, which must keep to
/// the plan.
fn peaks(sizes: [usize; 5], samples: u64, name: &str, dtype: DType) -> ([u64; 2], Plan) {
    let texts = random_texts(&vec![256; samples as usize], 64);
    let fixture = Fixture::new(AttentionFunction::Softmax, sizes, &texts);
    let plan = plan(&fixture.model, dtype, samples);
    let peaks = [
        ("resident", Executor::Resident),
        ("streamed", Executor::Streamed),
    ]
    .map(|(memory, executor)| {
        let peak = peak(&fixture, memory, name, samples);
        let needed = plan.needed(executor);
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        println!(
            "{sizes:?}, {samples} x 256 tokens, {name}, {memory}: {} MiB, planned {}",
            mib(peak),
            mib(needed)
        );
        assert!(peak <= needed);
        peak
    });
    (peaks, plan)
}

#[test]
fn deep_models() {
    let ([resident, streamed], plan) = peaks([12, 384, 4, 1024, 64], 1, "f32", DType::F32);
    // One of them has the weights in memory, the other has not.
    let saved = (plan.all_layers - plan.two_layers) / 2;
    assert!(resident - streamed >= saved);
}

/// Many heads: their scores are what a half type, which has no fused form, needs besides.
#[test]
fn large_batches() {
    for (name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        peaks([3, 256, 32, 704, 64], 8, name, dtype);
    }
}
