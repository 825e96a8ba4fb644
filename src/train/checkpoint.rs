//! A trained model as a checkpoint directory, which a scan takes.

use std::{io::Write, path::Path};

use candle_core::{DType, Device};
use tokenizers::{
    Tokenizer, models::wordlevel::WordLevel, pre_tokenizers::whitespace::WhitespaceSplit,
};

use super::{
    Parameters,
    tasks::{Sample, Task},
};
use crate::{
    Error, Result,
    checkpoint::{Checkpoint, SINGLE_FILE, Weights},
    models::{self, small_transformer::Config},
    store::{AtomicFile, create_directory, refuse_existing, write_atomically, write_json},
};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The file of [`write_texts`].
pub const TEXTS: &str = "texts.jsonl";

/// What [`write()`] writes.
pub const FILES: [&str; 3] = [CONFIG, SINGLE_FILE, TOKENIZER];

/// Fails if `dir` holds one of the files of a checkpoint, or texts.
///
/// # Errors
/// [`Error::OutDir`] with the file's name.
pub fn refuse_occupied(dir: &Path) -> Result<()> {
    let files = FILES.iter().chain([&TEXTS]);
    refuse_existing(dir, files.map(|name| dir.join(name)), "checkpoint")
}

/// Whether `dir` holds all files of a checkpoint.
pub fn is_whole(dir: &Path) -> bool {
    FILES.iter().all(|name| dir.join(name).is_file())
}

/// Writes `config.json`, `tokenizer.json` and `model.safetensors` into `dir`, which is created if need be. Without
/// `config.json`, which comes last, a directory is no checkpoint.
///
/// The tokenizer knows the names of [`Task::token`] and nothing else: it turns [`Task::text`] into the very ids, and
/// refuses other words.
///
/// # Errors
/// [`Error::OutDir`] where there is a checkpoint already, and what the disk refuses.
pub fn write(dir: &Path, task: &Task, parameters: &Parameters) -> Result<()> {
    refuse_occupied(dir)?;
    let tokenizer = tokenizer(task, &dir.join(TOKENIZER))?;
    let weights = weights(parameters, &dir.join(SINGLE_FILE))?;
    create_directory(dir)?;
    write_atomically(&dir.join(TOKENIZER), tokenizer.as_bytes())?;
    write_atomically(&dir.join(SINGLE_FILE), &weights)?;
    write_json(&dir.join(CONFIG), parameters.config())
}

/// The parameters of a checkpoint that [`write()`] has written, in float32 and on the CPU.
///
/// # Errors
/// Those of [`models::open`] and [`Checkpoint::open`], [`Error::Config`] for a model that is no small transformer, and
/// tensors that are missing or have other shapes.
pub fn read(dir: &Path) -> Result<Parameters> {
    let model = models::open(dir)?;
    let checkpoint = Checkpoint::open(dir)?;
    checkpoint.check(&model.tensors())?;
    let weights = Weights {
        checkpoint: &checkpoint,
        device: Device::Cpu,
        dtype: DType::F32,
    };
    let config = Config::read(&dir.join(CONFIG), model.config())?;
    Parameters::new(config, &|name, shape| weights.get(name, shape))
}

/// Writes the samples as texts that a scan takes, a JSON object with a `text` in each line, to [`TEXTS`] in `dir`, which
/// must exist.
///
/// # Errors
/// [`Error::OutDir`] where there is such a file, and what the disk refuses.
pub fn write_texts(dir: &Path, task: &Task, samples: &[Sample]) -> Result<()> {
    let lines = samples.iter().map(|sample| {
        let text = task.text(&sample.input_ids);
        format!("{}\n", serde_json::json!({ "text": text }))
    });
    let path = dir.join(TEXTS);
    let mut file = AtomicFile::create(&path)?;
    file.write_all(lines.collect::<String>().as_bytes())
        .map_err(Error::io(&path))?;
    file.commit_new()
}

/// The content of `tokenizer.json`.
fn tokenizer(task: &Task, path: &Path) -> Result<String> {
    let failed = |error: tokenizers::Error| Error::Tokenizer {
        path: path.into(),
        message: format!("the tokenizer cannot be made: {error}"),
    };
    let vocabulary = (0..task.vocab_size() as u32).map(|id| (task.token(id), id));
    let words = WordLevel::builder().vocab(vocabulary.collect());
    let mut tokenizer = Tokenizer::new(words.build().map_err(failed)?);
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    tokenizer.to_string(true).map_err(failed)
}

/// The content of `model.safetensors`.
fn weights(parameters: &Parameters, path: &Path) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for (name, variable) in parameters.variables() {
        tensors.push((name.as_str(), variable.to_device(&Device::Cpu)?));
    }
    // What transformers and others look for to know the tensors' origin.
    let origin = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(tensors, Some(origin)).map_err(|error| Error::Checkpoint {
        path: path.into(),
        message: format!("the weights do not make a safetensors file: {error}"),
    })
}
