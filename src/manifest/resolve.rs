//! From the argument of `--model` or `--dataset` to what it stands for.
//!
//! The order is: something that exists on this machine, then a manifest, then a Hub id. What is on the disk wins,
//! so that a checkpoint converted into `./gala-7b-sigmoid` is scanned when its name is typed.

use std::path::{Path, PathBuf};

use super::{DatasetManifest, ModelManifest, datasets, models};
use crate::{Error, Result};

/// What `--model` stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSource {
    /// A checkpoint directory on this machine.
    Directory(PathBuf),
    /// A known checkpoint.
    Manifest(Box<ModelManifest>),
    /// A model repository on the Hub that no manifest names.
    Hub {
        /// `owner/name`, or one of the old ids without an owner.
        repo: String,
    },
}

/// What `--dataset` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetSource {
    /// A file on this machine with one of [`DATA_FILE_EXTENSIONS`].
    File(PathBuf),
    /// A known dataset.
    Manifest(Box<DatasetManifest>),
    /// A dataset repository on the Hub that no manifest names.
    Hub {
        /// `owner/name`, or one of the old ids without an owner.
        repo: String,
    },
}

/// Extensions that a local dataset file may have.
pub const DATA_FILE_EXTENSIONS: [&str; 3] = ["parquet", "jsonl", "txt"];

/// The Hub's early repositories have no owner, and it answers to their ids still. No new ones can be made, so
/// the decoders among them can be listed, and any other bare word is a misspelling rather than a request.
const OWNERLESS_MODELS: [&str; 6] = [
    "distilgpt2",
    "gpt2",
    "gpt2-large",
    "gpt2-medium",
    "gpt2-xl",
    "openai-gpt",
];

/// As [`OWNERLESS_MODELS`], for the text datasets in common use.
const OWNERLESS_DATASETS: [&str; 7] = [
    "ag_news",
    "bookcorpus",
    "c4",
    "imdb",
    "openwebtext",
    "wikipedia",
    "wikitext",
];

/// Resolves `--model`: a directory, else a manifest's name, else a Hub id. Downloads nothing.
///
/// # Errors
/// [`Error::Checkpoint`] for a path that is no directory; [`Error::Usage`], listing the known names and the
/// closest of them, for anything else.
pub fn resolve_model(argument: &str) -> Result<ModelSource> {
    let path = Path::new(argument);
    if path.is_dir() {
        return Ok(ModelSource::Directory(path.to_path_buf()));
    }
    if path.is_file() {
        return Err(Error::Checkpoint {
            path: path.to_path_buf(),
            message: "this is a file; give the directory that holds it and config.json".into(),
        });
    }
    if looks_like_path(argument) {
        return Err(Error::Checkpoint {
            path: path.to_path_buf(),
            message: "there is no such directory".into(),
        });
    }
    let known = models()?;
    if let Some(manifest) = known.iter().find(|manifest| manifest.name == argument) {
        return Ok(ModelSource::Manifest(Box::new(manifest.clone())));
    }
    if is_hub_id(argument) || OWNERLESS_MODELS.contains(&argument) {
        return Ok(ModelSource::Hub {
            repo: argument.to_owned(),
        });
    }
    let names: Vec<&str> = known
        .iter()
        .map(|manifest| manifest.name.as_str())
        .collect();
    Err(unknown(
        "model",
        argument,
        &names,
        &OWNERLESS_MODELS,
        "a checkpoint directory",
    ))
}

/// Resolves `--dataset`: a `.parquet`, `.jsonl` or `.txt` file, else a manifest's name, else a Hub id. Downloads
/// nothing.
///
/// # Errors
/// [`Error::Dataset`] for a path that is no such file; [`Error::Usage`], listing the known names and the closest
/// of them, for anything else.
pub fn resolve_dataset(argument: &str) -> Result<DatasetSource> {
    let path = Path::new(argument);
    let data_file = DATA_FILE_EXTENSIONS
        .iter()
        .any(|extension| path.extension() == Some(extension.as_ref()));
    if data_file && path.is_file() {
        return Ok(DatasetSource::File(path.to_path_buf()));
    }
    let dataset_error = |message: String| Error::Dataset {
        path: path.to_path_buf(),
        message,
    };
    let file_kinds = || format!("a .{} file", DATA_FILE_EXTENSIONS.join(", ."));
    let known = datasets()?;
    if let Some(manifest) = known.iter().find(|manifest| manifest.name == argument) {
        return Ok(DatasetSource::Manifest(Box::new(manifest.clone())));
    }
    if path.exists() {
        return Err(dataset_error(format!(
            "not a dataset; give {}",
            file_kinds()
        )));
    }
    if data_file || looks_like_path(argument) {
        return Err(dataset_error("there is no such file".into()));
    }
    if is_hub_id(argument) || OWNERLESS_DATASETS.contains(&argument) {
        return Ok(DatasetSource::Hub {
            repo: argument.to_owned(),
        });
    }
    let names: Vec<&str> = known
        .iter()
        .map(|manifest| manifest.name.as_str())
        .collect();
    Err(unknown(
        "dataset",
        argument,
        &names,
        &OWNERLESS_DATASETS,
        &file_kinds(),
    ))
}

/// Can only be meant as a path: absolute, `./…`, `../…`, `…/`, deeper than `owner/name`, or with backslashes.
fn looks_like_path(argument: &str) -> bool {
    argument.starts_with(['/', '.', '~'])
        || argument.ends_with('/')
        || argument.contains('\\')
        || argument.matches('/').count() > 1
}

/// `owner/name` by the Hub's own rules.
pub(super) fn is_hub_id(id: &str) -> bool {
    let valid_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    id.len() <= 96
        && !id.ends_with(".git")
        && id
            .split_once('/')
            .is_some_and(|(owner, name)| valid_part(owner) && valid_part(name))
}

fn unknown(what: &str, argument: &str, names: &[&str], ownerless: &[&str], local: &str) -> Error {
    let close = closest(argument, names.iter().chain(ownerless).copied());
    let hint = if close.is_empty() {
        String::new()
    } else {
        format!(" Did you mean {}?", close.join(" or "))
    };
    Error::Usage(format!(
        "unknown {what} `{argument}`.{hint} Known: {}. Or give a Hub id (owner/name) or {local}.",
        names.join(", ")
    ))
}

/// The names that look like `argument`, best first, three at most.
fn closest<'n>(argument: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let argument = argument.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(&argument, name), name))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}
