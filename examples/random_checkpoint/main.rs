//! Writes a gala checkpoint with random weights, of any size, for benchmarks and for trying things out:
//!
//! ```text
//! cargo run --release --example random_checkpoint -- --preset 7b --attention-function sigmoid --out /data/random-7b
//! ```
//!
//! The result is an ordinary checkpoint directory. What a scan says about it means nothing: the weights were never
//! trained.

mod generator;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use generator::{AttentionFunction, Dtype, GalaConfig, SEED};
use tokenizers::Tokenizer;

/// Writes a gala checkpoint directory with random weights.
#[derive(Parser)]
struct Args {
    /// The directory to make; it must not exist, or be empty.
    #[arg(long)]
    out: PathBuf,
    /// Sizes to start from; the size flags below replace single ones.
    #[arg(long, value_enum, default_value = "bench")]
    preset: Preset,
    #[arg(long)]
    hidden_size: Option<usize>,
    #[arg(long)]
    intermediate_size: Option<usize>,
    #[arg(long)]
    num_hidden_layers: Option<usize>,
    #[arg(long)]
    num_attention_heads: Option<usize>,
    /// At least the number of pieces of the tokenizer.
    #[arg(long)]
    vocab_size: Option<usize>,
    #[arg(long, value_enum, default_value = "softmax")]
    attention_function: AttentionFunction,
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// The same seed and sizes give the same bytes.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Start another file before one grows beyond this.
    #[arg(long, default_value_t = 4_000_000_000)]
    shard_bytes: u64,
    /// A tokenizer.json to copy; one of 1024 pieces where none is given.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Apple's gala: 6.6 billion parameters, 13.2 GB in bf16.
    #[value(name = "7b")]
    SevenB,
    /// 0.9 billion parameters, 1.8 GB.
    #[value(name = "1b")]
    OneB,
    /// 136 million parameters, 272 MB: for the whole-scan benchmark.
    Bench,
    /// The size of the pair in `tests/data`: 542 thousand parameters, 1.1 MB.
    Tiny,
}

impl Preset {
    fn config(self, attention_function: AttentionFunction) -> GalaConfig {
        // Layers, hidden size, heads, intermediate size, vocabulary.
        let sizes = match self {
            Self::SevenB => [32, 4096, 32, 11008, 32768],
            Self::OneB => [16, 2048, 16, 5632, 32768],
            Self::Bench => [8, 1024, 16, 2816, 32768],
            Self::Tiny => return GalaConfig::tiny(attention_function),
        };
        GalaConfig::new(attention_function, sizes)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Ok(mut entries) = fs::read_dir(&args.out) {
        ensure!(
            entries.next().is_none(),
            "{}: the directory is not empty",
            args.out.display()
        );
    }
    let tokenizer = match &args.tokenizer {
        Some(path) => fs::read(path).with_context(|| path.display().to_string())?,
        None => include_bytes!("../../tests/data/gala-softmax/tokenizer.json").to_vec(),
    };
    let preset = args.preset.config(args.attention_function);
    let config = GalaConfig::new(
        args.attention_function,
        [
            args.num_hidden_layers.unwrap_or(preset.num_hidden_layers),
            args.hidden_size.unwrap_or(preset.hidden_size),
            args.num_attention_heads
                .unwrap_or(preset.num_attention_heads),
            args.intermediate_size.unwrap_or(preset.intermediate_size),
            args.vocab_size.unwrap_or(preset.vocab_size),
        ],
    );
    let pieces = Tokenizer::from_bytes(&tokenizer)
        .map_err(|error| anyhow!("the tokenizer cannot be read: {error}"))?;
    let pieces = pieces.get_vocab_size(true);
    ensure!(
        pieces <= config.vocab_size,
        "the tokenizer has {pieces} pieces, more than the vocabulary of {}",
        config.vocab_size
    );
    generator::write_checkpoint(
        &args.out,
        &config,
        args.dtype,
        args.seed,
        args.shard_bytes,
        &tokenizer,
    )?;
    println!("{}", args.out.display());
    Ok(())
}
