//! A whole scan: tokens per second, the share of this machine's matrix-product rate, and peak memory.
//!
//! `cargo bench --bench scan` measures random models of 8 layers × 1024 that it writes below `target/`;
//! `cargo bench --bench scan -- --model DIR --dataset FILE [--n-samples N] [--max-seq-len T] [--memory M]
//! [--batch-size B]` measures any checkpoint on any texts, so that another program can do the same work
//! (benches/peers).
//!
//! The rate is taken in the same process with candle's own matmul, at the shapes of the model's projections
//! and the batch size of the scan, before and after it; the median counts. The scan's operations are counted
//! from the configuration: two per weight and token, and two per visible pair of tokens, head dimension and
//! product in attention. What a scan leaves out (the output head, the last layer's values and feed-forward)
//! is not counted.

// Shared with the example, which uses all of it.
#[allow(dead_code)]
#[path = "../examples/random_checkpoint/generator.rs"]
mod generator;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use attnscope::{
    corpus::SampleSize,
    machine,
    models::{self, DecoderModel, LayerPart},
    scan::{self, Progress, Request, Watcher, device, plan::Memory, plan::Plan, sources},
    store::SampleReader,
};
use candle_core::{Device, Tensor};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: attnscope::allocator::MiMalloc = attnscope::allocator::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Checkpoint directory; random ones are made if none is given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Texts; made up if none are given
    #[arg(long)]
    dataset: Option<PathBuf>,
    #[arg(long, default_value = "all")]
    n_samples: SampleSize,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[arg(long, default_value_t = 256)]
    max_seq_len: usize,
    #[arg(long)]
    batch_size: Option<std::num::NonZeroUsize>,
    #[arg(long, default_value = "auto")]
    memory: Memory,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    attnscope::allocator::keep_freed_memory();
    let args = Args::parse();
    let models = match &args.model {
        Some(dir) => vec![dir.clone()],
        None => ["softmax", "sigmoid"]
            .into_iter()
            .map(random_model)
            .collect::<anyhow::Result<_>>()?,
    };
    let dataset = match &args.dataset {
        Some(file) => file.clone(),
        None => made_up_texts()?,
    };
    match models.as_slice() {
        [model] => measure(&args, model, &dataset),
        // A process each, so that the peak memory of one is not that of the other.
        models => models.iter().try_for_each(|model| {
            let status = Command::new(std::env::current_exe()?)
                .args(std::env::args_os().skip(1))
                .arg("--model")
                .arg(model)
                .arg("--dataset")
                .arg(&dataset)
                .status()?;
            anyhow::ensure!(status.success(), "{}: {status}", model.display());
            Ok(())
        }),
    }
}

fn measure(args: &Args, dir: &Path, dataset: &Path) -> anyhow::Result<()> {
    let out = tempfile::tempdir_in(scratch()?)?;
    let no_hub = || unreachable!("nothing here is on the Hub");
    let request = Request {
        model: sources::ModelFiles::directory(dir),
        dataset: sources::dataset(&dataset.display().to_string(), None, None, &no_hub)?,
        n_samples: args.n_samples,
        seed: args.seed,
        max_seq_len: args.max_seq_len,
        batch_size: args.batch_size,
        device: Device::Cpu,
        device_name: "cpu".into(),
        dtype: device::dtype("auto")?,
        memory: args.memory,
        out: out.path().join("scan"),
        resume: false,
        shard: None,
        measures: Default::default(),
    };
    let model = models::open(dir)?;
    let watcher = Silent(AtomicU64::new(0));
    let base_memory = machine::peak();
    let outcome = scan::run(&request, &watcher)?;
    let scan_memory = machine::peak();
    let lengths = sample_lengths(&request.out)?;
    let batch_tokens = watcher.0.load(Ordering::Relaxed) as usize;
    // After the scan, so that its memory is its own; twice, in case the machine's clock drifts.
    let mut rates = gemm_rates(&*model, batch_tokens)?;
    rates.extend(gemm_rates(&*model, batch_tokens)?);
    rates.sort_by(f64::total_cmp);
    let rate = rates[rates.len() / 2];

    let run = &outcome.run;
    let operations = operations(&*model, &lengths);
    let timings = &run.timings;
    let compute = timings.seconds_compute.unwrap_or(f64::NAN);
    let scanning =
        timings.seconds_total.unwrap_or(f64::NAN) - timings.seconds_tokenize.unwrap_or(0.0);
    println!(
        "{}: {} samples, {} tokens, {} executor",
        dir.display(),
        run.samples,
        run.tokens,
        run.executor
    );
    println!(
        "  tokens/s                 {:>10.0}  (without reading and tokenising texts)",
        run.tokens as f64 / scanning
    );
    println!(
        "  tokens/s, forward only   {:>10.0}",
        run.tokens as f64 / compute
    );
    println!(
        "  matmul rate              {:>10.1}  GFLOP/s, median of {} rounds",
        rate / 1e9,
        rates.len()
    );
    println!(
        "  share of it, forward     {:>10.2}",
        operations / compute / rate
    );
    println!(
        "  share of it, whole scan  {:>10.2}",
        operations / scanning / rate
    );
    println!(
        "  seconds                  {:>10.2}  (tokenise {:.2}, load {:.2}, forward {:.2}, write {:.2})",
        timings.seconds_total.unwrap_or(f64::NAN),
        timings.seconds_tokenize.unwrap_or(f64::NAN),
        timings.seconds_load.unwrap_or(f64::NAN),
        compute,
        timings.seconds_write.unwrap_or(f64::NAN)
    );
    if let (Some(base), Some(peak)) = (base_memory, scan_memory) {
        println!(
            "  peak memory              {:>10}  ({} before)",
            machine::human(peak),
            machine::human(base)
        );
    }
    Ok(())
}

/// Floating-point operations of a scan of sequences of these lengths.
fn operations(model: &dyn DecoderModel, lengths: &[u64]) -> f64 {
    let sizes = model.sizes();
    let layers = sizes.num_hidden_layers as f64;
    let width = (sizes.num_attention_heads * sizes.head_dim) as f64;
    let whole = model.linear_weights(LayerPart::Whole) as f64;
    let last = model.linear_weights(LayerPart::AttentionWeights) as f64;
    lengths
        .iter()
        .map(|&n| {
            let n = n as f64;
            let pairs = n * (n + 1.0) / 2.0;
            // Scores in every layer, weighted values in all but the last.
            2.0 * n * ((layers - 1.0) * whole + last) + 2.0 * pairs * width * (2.0 * layers - 1.0)
        })
        .sum()
}

/// candle's matmul at the shapes of a layer, several rounds of all of them: operations per second.
fn gemm_rates(model: &dyn DecoderModel, tokens: usize) -> anyhow::Result<Vec<f64>> {
    let sizes = model.sizes();
    let width = sizes.num_attention_heads * sizes.head_dim;
    let (hidden, inner) = (sizes.hidden_size, sizes.intermediate_size);
    let random = |rows, columns| Tensor::randn(0f32, 1f32, (rows, columns), &Device::Cpu);
    let products = [
        (hidden, 3 * width),
        (width, hidden),
        (hidden, 2 * inner),
        (inner, hidden),
    ]
    .into_iter()
    .map(|(k, n)| Ok((random(tokens, k)?, random(n, k)?)))
    .collect::<candle_core::Result<Vec<_>>>()?;
    let operations: f64 = products
        .iter()
        .map(|(x, w)| 2.0 * (x.elem_count() * w.dims()[0]) as f64)
        .sum();
    (0..6)
        .map(|_| {
            let start = Instant::now();
            for (x, w) in &products {
                x.matmul(&w.t()?)?;
            }
            Ok(operations / start.elapsed().as_secs_f64())
        })
        // The first round warms up.
        .skip(1)
        .collect()
}

fn sample_lengths(scan: &Path) -> anyhow::Result<Vec<u64>> {
    let Some(layer) = SampleReader::open(scan)?.next() else {
        anyhow::bail!("the scan has no rows")
    };
    Ok(layer?
        .iter()
        .filter(|row| row.head == 0)
        .map(|row| row.sums.tokens as u64)
        .collect())
}

/// Keeps the size of a batch.
struct Silent(AtomicU64);

impl Progress for Silent {
    fn advance(&self, _: u64) {}
}

impl Watcher for Silent {
    fn tokenized(&self, _: usize, _: usize) {}

    fn planned(&self, plan: &Plan, _: u64, _: u64) {
        eprintln!("{plan}");
        self.0.store(plan.batch_tokens, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        false
    }
}

fn scratch() -> anyhow::Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-scan");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A random model of 8 layers × 1024, written once and kept.
fn random_model(function: &str) -> anyhow::Result<PathBuf> {
    use generator::{AttentionFunction, Dtype, GalaConfig, write_checkpoint};
    let dir = scratch()?.join(function);
    // config.json is written last.
    if !dir.join("config.json").is_file() {
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let function = match function {
            "softmax" => AttentionFunction::Softmax,
            _ => AttentionFunction::Sigmoid,
        };
        let config = GalaConfig::new(function, [8, 1024, 16, 2816, 32768]);
        let tokenizer = include_bytes!("../tests/data/gala-softmax/tokenizer.json");
        write_checkpoint(&dir, &config, Dtype::F32, 1, 1 << 32, tokenizer)?;
    }
    Ok(dir)
}

/// The texts of the tests' gala pair, repeated to lengths of which most exceed 256 tokens.
fn made_up_texts() -> anyhow::Result<PathBuf> {
    let texts: Vec<String> = include_str!("../tests/data/texts.jsonl")
        .lines()
        .map(|line| {
            Ok(serde_json::from_str::<serde_json::Value>(line)?["text"]
                .as_str()
                .unwrap_or_default()
                .into())
        })
        .collect::<anyhow::Result<_>>()?;
    let mut lines = String::new();
    for i in 0..64 {
        let text: Vec<&str> = (0..1 + i % 7)
            .map(|j| texts[(5 * i + j) % texts.len()].as_str())
            .collect();
        lines += &format!("{}\n", serde_json::json!({ "text": text.join("\n") }));
    }
    let path = scratch()?.join("texts.jsonl");
    std::fs::write(&path, lines)?;
    Ok(path)
}
