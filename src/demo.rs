//! What `attnscope demo` runs on: two tiny gala checkpoints and a small corpus, embedded in the binary.
//!
//! The checkpoints are complete directories in everything but size (4 layers of 6 heads, half a million
//! parameters), and differ in nothing but the attention function. Their weights are random: the demo shows that
//! the machinery works, not how attention behaves. `models/README.md` says how they are made.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A checkpoint directory, embedded.
#[derive(Debug, Clone, Copy)]
pub struct DemoModel {
    /// Name of the directory: `demo-softmax` or `demo-sigmoid`.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static [u8],
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`; the same for both.
    pub tokenizer: &'static [u8],
}

/// The demo on disk, as [`write_to`] leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoFiles {
    /// The checkpoint directories, in the order of [`models`].
    pub models: [PathBuf; 2],
    /// `demo.jsonl`.
    pub corpus: PathBuf,
}

macro_rules! model {
    ($name:literal) => {
        DemoModel {
            name: $name,
            config: asset!("models/", $name, "/config.json"),
            weights: asset!("models/", $name, "/model.safetensors"),
            tokenizer: asset!("models/", $name, "/tokenizer.json"),
        }
    };
}

macro_rules! asset {
    ($($path:literal),+) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $($path),+))
    };
}

/// The softmax and the sigmoid checkpoint, in that order.
pub fn models() -> [DemoModel; 2] {
    [model!("demo-softmax"), model!("demo-sigmoid")]
}

/// The corpus: a JSON object per line, with the text under `text`.
pub fn corpus() -> &'static [u8] {
    asset!("datasets/demo.jsonl")
}

/// Writes the two checkpoint directories and `demo.jsonl` into `directory`, which is made where it is missing.
/// Files of the same names are replaced.
pub fn write_to(directory: &Path) -> Result<DemoFiles> {
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(Error::io(path));
    let mut directories = [PathBuf::new(), PathBuf::new()];
    for (model, out) in models().iter().zip(&mut directories) {
        *out = directory.join(model.name);
        fs::create_dir_all(&*out).map_err(Error::io(&*out))?;
        write(&out.join("config.json"), model.config)?;
        write(&out.join("model.safetensors"), model.weights)?;
        write(&out.join("tokenizer.json"), model.tokenizer)?;
    }
    let corpus_path = directory.join("demo.jsonl");
    write(&corpus_path, corpus())?;
    Ok(DemoFiles {
        models: directories,
        corpus: corpus_path,
    })
}
