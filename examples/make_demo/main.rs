//! Makes everything that `attnscope demo` carries, from `datasets/demo.jsonl`:
//!
//! ```text
//! cargo run --release --example make_demo
//! ```
//!
//! It trains the tokenizer and writes the two checkpoints with random weights into `models/demo-softmax` and
//! `models/demo-sigmoid`. The same text gives the same bytes, on every machine; a test holds the files in the
//! repository against what this program would write.

#[path = "../random_checkpoint/generator.rs"]
mod generator;
mod tokenizer;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use generator::{AttentionFunction, DEMO_SEED, Dtype, GalaConfig};

/// Makes the demo's tokenizer and checkpoints from datasets/demo.jsonl.
#[derive(Parser)]
struct Args {
    /// The repository (or a copy of its models/ and datasets/).
    #[arg(long, default_value = env!("CARGO_MANIFEST_DIR"))]
    root: PathBuf,
}

fn main() -> Result<()> {
    let root = Args::parse().root;
    let corpus = root.join("datasets/demo.jsonl");
    let lines = fs::read_to_string(&corpus).with_context(|| corpus.display().to_string())?;
    let texts = tokenizer::texts(&lines).with_context(|| corpus.display().to_string())?;

    let vocab_size = GalaConfig::demo(AttentionFunction::Softmax).vocab_size;
    let tokenizer = tokenizer::convert(&tokenizer::train(&texts, vocab_size)?)?;
    for attention_function in [AttentionFunction::Softmax, AttentionFunction::Sigmoid] {
        let config = GalaConfig::demo(attention_function);
        let out = root
            .join("models")
            .join(format!("demo-{attention_function}"));
        generator::write_checkpoint(
            &out,
            &config,
            Dtype::Bf16,
            DEMO_SEED,
            u64::MAX,
            tokenizer.as_bytes(),
        )?;
        println!("{}", out.display());
    }
    Ok(())
}
