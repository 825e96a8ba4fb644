//! Steps per second of training, beside the paper's PyTorch code in the same run.
//!
//! `cargo bench --bench train` prints a table: the induction model (2 layers, width 128, 4 heads, added positions, batches
//! of 256 samples), one run on one thread and on all, then 1, 4 and 16 replicas on all. PyTorch
//! (`benches/peers/train.py`, with `ATTNSCOPE_PYTHON`, default `python3`, and a clone of
//! github.com/tml-epfl/softmax in `ATTNSCOPE_SOFTMAX`) runs before and after ours, and its faster pace counts; where
//! there is none, that column is missing.

use std::process::Command;
use std::time::{Duration, Instant};

use attnscope::layers::attention::AttentionKind;
use attnscope::models::small_transformer::PositionEmbedding;
use attnscope::random::PythonRandom;
use attnscope::train::tasks::{Induction, Task};
use attnscope::train::{Batch, Replicas, Settings};
use candle_core::Device;
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: attnscope::allocator::MiMalloc = attnscope::allocator::MiMalloc;

const KINDS: [&str; 3] = ["softmax", "sigmoid_unnorm", "mlp_norm"];
const REPLICAS: [usize; 3] = [1, 4, 16];
/// Of each measurement.
const TIME: Duration = Duration::from_secs(4);

fn main() {
    attnscope::allocator::keep_freed_memory();
    // SAFETY: nothing has been started yet.
    unsafe { attnscope::train::leave_threads_to_rayon() };
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let before = peer(all);
    let mut ours = Vec::new();
    for kind in KINDS {
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let one_thread = one_thread.expect("a thread can be started");
        let alone = one_thread.install(|| pace(kind, 1));
        ours.push((kind, alone, REPLICAS.map(|count| pace(kind, count))));
    }
    let after = peer(all);
    let peers = |kind: &str, threads: usize| {
        let of = |peer: &Option<Value>| {
            let paces = &peer.as_ref()?["steps_per_second"];
            paces[format!("{kind}, {threads}")].as_f64()
        };
        of(&before).into_iter().chain(of(&after)).reduce(f64::max)
    };
    println!("steps per second, those of all replicas together; × PyTorch on as many threads");
    println!(
        "{:<16} {:>7} {:>8} {:>9} {:>16} {:>7}",
        "", "threads", "replicas", "PyTorch", "attnscope", "×"
    );
    for (kind, alone, together) in ours {
        let rows = [(1, 1, alone)].into_iter();
        let rows = rows.chain(
            REPLICAS
                .iter()
                .zip(together)
                .map(|(&count, pace)| (all, count, pace)),
        );
        for (threads, replicas, pace) in rows {
            let (theirs, ratio) = match peers(kind, threads) {
                Some(theirs) => (format!("{theirs:.1}"), format!("{:.2}", pace / theirs)),
                None => ("–".into(), "–".into()),
            };
            println!("{kind:<16} {threads:>7} {replicas:>8} {theirs:>9} {pace:>16.1} {ratio:>7}");
        }
    }
}

/// Steps per second of all replicas together.
fn pace(kind: &str, count: usize) -> f64 {
    let kind = AttentionKind::named(kind).expect("it is one of the paper's");
    let runs: Vec<Settings> = (0..count)
        .map(|seed| {
            let mut settings = Settings::of_paper(Task::Induction(Induction::default()), kind);
            settings.config.position_embedding_type = PositionEmbedding::Add;
            settings.seed = seed as u32;
            settings
        })
        .collect();
    let mut replicas = Replicas::new(&runs, &Device::Cpu).expect("the paper's settings are fine");
    let batches: Vec<Vec<Option<Batch>>> = (0..8)
        .map(|at| {
            let batch = |run: &Settings| {
                let mut random = PythonRandom::new(u64::from(run.seed) * 8 + at);
                let samples = run.task.samples(run.batch_size, &mut random);
                Some(
                    run.task
                        .batch(&samples.expect("the paper's sizes are fine")),
                )
            };
            runs.iter().map(batch).collect()
        })
        .collect();
    for batches in &batches[..2] {
        replicas.step(batches).expect("batches fit the model");
    }
    let began = Instant::now();
    let mut steps = 0;
    while began.elapsed() < TIME {
        replicas
            .step(&batches[steps % batches.len()])
            .expect("batches fit the model");
        steps += 1;
    }
    (steps * count) as f64 / began.elapsed().as_secs_f64()
}

/// What PyTorch does, or nothing where there is none.
fn peer(all: usize) -> Option<Value> {
    let source = std::env::var("ATTNSCOPE_SOFTMAX").ok()?;
    let python = std::env::var("ATTNSCOPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(python)
        .args([
            "benches/peers/train.py",
            "--source",
            &source,
            "--threads",
            "1",
        ])
        .arg(all.to_string())
        .output()
        .ok()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    serde_json::from_slice(&output.stdout).ok()
}
