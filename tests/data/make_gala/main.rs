//! Makes the tests' tiny gala pair from `tests/data/texts.jsonl`:
//!
//! ```text
//! cargo run --release --example make_gala
//! ```
//!
//! It trains the tokenizer and writes the two checkpoints with random weights into `tests/data/gala-softmax` and
//! `tests/data/gala-sigmoid`. The same text gives the same bytes, on every machine; a test holds the files in the
//! repository against what this program would write.

#[path = "../../../examples/random_checkpoint/generator.rs"]
mod generator;
mod tokenizer;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use generator::{AttentionFunction, Dtype, GalaConfig, SEED};

/// Makes the pair's tokenizer and checkpoints from texts.jsonl.
#[derive(Parser)]
struct Args {
    /// The directory with texts.jsonl.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))]
    root: PathBuf,
}

fn main() -> Result<()> {
    let root = Args::parse().root;
    let corpus = root.join("texts.jsonl");
    let lines = fs::read_to_string(&corpus).with_context(|| corpus.display().to_string())?;
    let texts = tokenizer::texts(&lines).with_context(|| corpus.display().to_string())?;

    let vocab_size = GalaConfig::tiny(AttentionFunction::Softmax).vocab_size;
    let tokenizer = tokenizer::convert(&tokenizer::train(&texts, vocab_size)?)?;
    for attention_function in [AttentionFunction::Softmax, AttentionFunction::Sigmoid] {
        let config = GalaConfig::tiny(attention_function);
        let out = root.join(format!("gala-{attention_function}"));
        generator::write_checkpoint(
            &out,
            &config,
            Dtype::Bf16,
            SEED,
            u64::MAX,
            tokenizer.as_bytes(),
        )?;
        println!("{}", out.display());
    }
    Ok(())
}
