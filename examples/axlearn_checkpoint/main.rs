//! Writes a random gala checkpoint in axlearn's own format, of any size and in any of the layouts that axlearn's
//! meshes give, for measuring the converter:
//!
//! ```text
//! cargo run --release --example axlearn_checkpoint -- --preset 7b --fsdp 16 --out /data/random-axlearn/step_00250000
//! ```

mod writer;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use writer::{Dtype, Mesh, Sizes};

/// Writes a step directory with random weights.
#[derive(Parser)]
struct Args {
    /// The step directory to make; it must not exist.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, value_enum, default_value = "1b")]
    preset: Preset,
    /// Degree of the mesh axis `fsdp`.
    #[arg(long, default_value_t = 16)]
    fsdp: usize,
    /// Degree of the mesh axis `model`.
    #[arg(long, default_value_t = 1)]
    model: usize,
    /// `max_data_shard_degree`: splits the first axis that can be divided, such as the layers.
    #[arg(long, default_value_t = 1)]
    data: usize,
    /// float32, bfloat16 or float16.
    #[arg(long, value_enum, default_value = "float32")]
    dtype: Element,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Apple's gala: 6.6 billion parameters.
    #[value(name = "7b")]
    SevenB,
    /// 0.9 billion parameters.
    #[value(name = "1b")]
    OneB,
}

#[derive(Clone, Copy, ValueEnum)]
enum Element {
    Float32,
    Bfloat16,
    Float16,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(!args.out.exists(), "{} exists", args.out.display());
    let sizes = match args.preset {
        Preset::SevenB => Sizes {
            num_hidden_layers: 32,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_attention_heads: 32,
            vocab_size: 32768,
        },
        Preset::OneB => Sizes {
            num_hidden_layers: 16,
            hidden_size: 2048,
            intermediate_size: 5632,
            num_attention_heads: 16,
            vocab_size: 32768,
        },
    };
    let mesh = Mesh {
        fsdp: args.fsdp,
        model: args.model,
        data: args.data,
    };
    let dtype = match args.dtype {
        Element::Float32 => Dtype::Float32,
        Element::Bfloat16 => Dtype::Bfloat16,
        Element::Float16 => Dtype::Float16,
    };
    let arrays = writer::gala(&sizes, mesh);
    let scale: Vec<bool> = arrays.iter().map(|a| a.path.ends_with("scale")).collect();
    let value = |array: usize, index: usize| match scale[array] {
        true => 1.0 + writer::normal(array, index, 0.1),
        false => writer::normal(array, index, 0.02),
    };
    writer::write(&args.out, &arrays, dtype, false, &value)
        .with_context(|| args.out.display().to_string())
}
