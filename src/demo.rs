//! What `attnscope demo` runs on: two small transformers and the texts that they were measured on, embedded in the
//! binary.
//!
//! Both were trained by [`train`](crate::train) to continue a pair of tokens as it went before
//! ([`Task::Induction`]), with the same seed, on the same samples, in the same order; they differ in nothing but the
//! attention function, softmax and sigmoid without a division by the row's sum. `models/README.md` has the commands
//! that trained them and what came of it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    random::PythonRandom,
    train::{
        checkpoint,
        metrics::{self, Evaluation},
        tasks::{Induction, Task},
    },
};

/// Samples of [`evaluate`].
pub const SAMPLES: usize = 1000;

/// Of CPython's generator, which draws them; the models were trained on those of seed 0.
pub const SEED: u64 = 1;

/// A checkpoint directory, embedded.
#[derive(Debug, Clone, Copy)]
pub struct DemoModel {
    /// Name of the directory: `demo-softmax` or `demo-sigmoid`.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static [u8],
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`; the same for both. It knows the names of [`Task::token`] alone.
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

/// What both have learned: the paper's induction task (arXiv 2603.06248, Appendix E.1), in its sizes.
pub fn task() -> Task {
    Task::Induction(Induction::default())
}

/// How often a checkpoint of [`write_to`] is right, and what its heads do, on [`SAMPLES`] samples of [`task`] that it
/// was not trained on.
///
/// # Errors
/// Files that cannot be read, or are no longer those of the demo.
pub fn evaluate(directory: &Path) -> Result<Evaluation> {
    let (parameters, task) = (checkpoint::read(directory)?, task());
    let mut random = PythonRandom::new(SEED);
    let samples = task.samples(SAMPLES, &mut random)?;
    metrics::evaluate(&parameters, &task, &samples, &mut random)
}

/// The corpus, samples that the models were measured on after their training: a JSON object per line, with the text
/// under `text`. It is what a model sees of a sample, which is all but the answer.
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
