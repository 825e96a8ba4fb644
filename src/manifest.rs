//! What attnscope knows by name: the manifests under `models/` and `datasets/`, and what a `--model` or
//! `--dataset` argument stands for.
//!
//! A manifest is data, not code: where a checkpoint or dataset lives, which commit, which checksums, how its text
//! is prepared, and the sizes a person wants to see before downloading. The files are embedded in the binary, so
//! that a name means the same wherever the program runs. Unknown keys are refused, because a misspelt
//! `revision` would otherwise unpin a download without a word. What is not known is left out: a manifest never
//! claims a commit, a checksum or a licence that nobody has seen.
//!
//! Nothing here touches the network.
//!
//! ```
//! use attnscope::manifest::{self, ModelSource};
//!
//! let ModelSource::Manifest(gala) = manifest::resolve_model("gala-7b-sigmoid")? else {
//!     panic!("a manifest of that name ships with attnscope");
//! };
//! assert_eq!(gala.sizes.num_hidden_layers, 32);
//! assert_eq!(gala.text.apply("one\ntwo"), "one<n>two");
//! # Ok::<(), attnscope::Error>(())
//! ```

mod resolve;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, corpus::Preprocessing};

pub use resolve::{
    DATA_FILE_EXTENSIONS, DatasetSource, ModelSource, resolve_dataset, resolve_model,
};

/// Embeds `<folder>/<name>.toml` as (path in the repository, text).
macro_rules! embedded {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$((
            concat!($folder, "/", $name, ".toml"),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name, ".toml")),
        )),+]
    };
}

/// Every manifest under `models/`; a test holds this list against the folder.
const MODELS: &[(&str, &str)] = embedded!("models": "gala-7b-sigmoid", "gala-7b-softmax");

/// Every manifest under `datasets/`; a test holds this list against the folder.
const DATASETS: &[(&str, &str)] = embedded!("datasets": "pile-10k");

/// A known checkpoint: `models/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// What people type after `--model`; the file's own name.
    pub name: String,
    /// One line for `attnscope models`.
    pub description: String,
    /// A page that says more.
    pub source: Option<String>,
    /// The architecture, with the meaning that `config.json` gives the key.
    pub model_type: String,
    /// The attention function as `config.json` spells it: `softmax` or `sigmoid`.
    pub attention_function: String,
    /// Licence of the weights; absent where none is stated.
    pub licence: Option<String>,
    /// The sizes a person wants to see before downloading.
    pub sizes: ModelSizes,
    /// Where the checkpoint is on the Hub, if it is.
    pub hub: Option<HubFiles>,
    /// Where the axlearn checkpoint is that it is converted from, if that is how to get it.
    pub axlearn: Option<AxlearnCheckpoint>,
    /// What is done to a text before the tokenizer sees it.
    #[serde(default)]
    pub text: Preprocessing,
}

/// Sizes of a model, under the names of `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSizes {
    /// Number of trained numbers, the embedding included once.
    pub parameters: u64,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Query heads per layer.
    pub num_attention_heads: usize,
    /// Rows of the embedding matrix.
    pub vocab_size: usize,
    /// Tokens per sequence in training.
    pub max_position_embeddings: usize,
}

/// A checkpoint directory on the Hub, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFiles {
    /// `owner/name`.
    pub repo: String,
    /// The full commit hash; a branch would mean another model tomorrow.
    pub revision: String,
    /// Path inside the repository → SHA-256 of the file.
    pub files: BTreeMap<String, String>,
}

/// An axlearn checkpoint in a bucket, and the tokenizer that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxlearnCheckpoint {
    /// URL of the step directory, `gs://…/checkpoints/step_XXXXXXXX`.
    pub checkpoint: String,
    /// URL of the SentencePiece `.model` file.
    pub tokenizer: String,
}

/// A known dataset: `datasets/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// What people type after `--dataset`; the file's own name.
    pub name: String,
    /// One line for `attnscope datasets`.
    pub description: String,
    /// `owner/name` of the dataset repository on the Hub.
    pub repo: String,
    /// The full commit hash; where absent, the commit is resolved at run time and recorded in the run.
    pub revision: Option<String>,
    /// The Hub's name for the subset.
    pub config: String,
    /// The split that is scanned unless another is asked for.
    pub split: String,
    /// The parquet files of that split in order, as paths inside the repository at `revision`; where absent,
    /// they are taken from the Hub's listing.
    pub files: Option<Vec<String>>,
    /// The column that holds the text.
    pub text_column: String,
    /// Rows of the split.
    pub rows: u64,
    /// Licence as the dataset card states it; absent where it states none.
    pub licence: Option<String>,
}

/// All embedded model manifests, by name.
pub fn models() -> Result<Vec<ModelManifest>> {
    MODELS
        .iter()
        .map(|(path, text)| parse_model(Path::new(path), text))
        .collect()
}

/// All embedded dataset manifests, by name.
pub fn datasets() -> Result<Vec<DatasetManifest>> {
    DATASETS
        .iter()
        .map(|(path, text)| parse_dataset(Path::new(path), text))
        .collect()
}

/// Text preprocessing of an architecture, for checkpoints that no manifest names: what the manifests of that
/// `model_type` say (a test makes sure that they agree), and none where there is no such manifest.
pub fn preprocessing_for(model_type: &str) -> Result<Preprocessing> {
    let manifest = models()?
        .into_iter()
        .find(|model| model.model_type == model_type);
    Ok(manifest.map(|model| model.text).unwrap_or_default())
}

/// Reads a model manifest.
///
/// # Errors
/// [`Error::Config`], naming `path` and the field, for malformed TOML, keys that are missing, unknown or of the
/// wrong type, a `name` other than the file's, sizes that do not fit together, revisions that are not commits,
/// checksums that are not SHA-256, and paths that leave the repository.
pub fn parse_model(path: &Path, text: &str) -> Result<ModelManifest> {
    let manifest: ModelManifest = parse(path, text)?;
    check_name(path, &manifest.name)?;
    let sizes = &manifest.sizes;
    if sizes.num_attention_heads == 0
        || !sizes.hidden_size.is_multiple_of(sizes.num_attention_heads)
    {
        return Err(field_error(
            path,
            "sizes.num_attention_heads",
            format!(
                "{} heads do not divide hidden_size {}",
                sizes.num_attention_heads, sizes.hidden_size
            ),
        ));
    }
    if let Some(hub) = &manifest.hub {
        check_repo(path, "hub.repo", &hub.repo)?;
        check_hex(
            path,
            "hub.revision",
            &hub.revision,
            40,
            "a full commit hash",
        )?;
        for (file, sha256) in &hub.files {
            check_file(path, "hub.files", file)?;
            check_hex(
                path,
                &format!("hub.files.\"{file}\""),
                sha256,
                64,
                "a SHA-256 checksum",
            )?;
        }
    }
    if let Some(axlearn) = &manifest.axlearn {
        for (field, url) in [
            ("axlearn.checkpoint", &axlearn.checkpoint),
            ("axlearn.tokenizer", &axlearn.tokenizer),
        ] {
            if !url.starts_with("gs://") {
                return Err(field_error(
                    path,
                    field,
                    format!("`{url}` is not a gs:// URL"),
                ));
            }
        }
    }
    Ok(manifest)
}

/// Reads a dataset manifest.
///
/// # Errors
/// [`Error::Config`], naming `path` and the field, under the same conditions as [`parse_model`].
pub fn parse_dataset(path: &Path, text: &str) -> Result<DatasetManifest> {
    let manifest: DatasetManifest = parse(path, text)?;
    check_name(path, &manifest.name)?;
    check_repo(path, "repo", &manifest.repo)?;
    if let Some(revision) = &manifest.revision {
        check_hex(path, "revision", revision, 40, "a full commit hash")?;
    }
    for file in manifest.files.iter().flatten() {
        check_file(path, "files", file)?;
    }
    Ok(manifest)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let message = error.message();
        let missing = message
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next());
        // Otherwise toml tells where, not which key: the key is what stands before `=` on that line.
        let line = error.span().and_then(|span| {
            let start = text
                .get(..span.start)?
                .rfind('\n')
                .map_or(0, |newline| newline + 1);
            text[start..].lines().next()
        });
        let key = line.and_then(|line| line.split('=').next()).map(str::trim);
        let field = missing.or(key).filter(|key| !key.is_empty());
        field_error(path, field.unwrap_or("(whole file)"), message)
    })
}

fn check_name(path: &Path, name: &str) -> Result<()> {
    match path.file_stem() {
        Some(stem) if stem == name => Ok(()),
        _ => Err(field_error(
            path,
            "name",
            format!("`{name}` is not the file's own name"),
        )),
    }
}

fn check_repo(path: &Path, field: &str, repo: &str) -> Result<()> {
    if resolve::is_hub_id(repo) {
        return Ok(());
    }
    Err(field_error(
        path,
        field,
        format!("`{repo}` is not a Hub id of the form owner/name"),
    ))
}

fn check_hex(path: &Path, field: &str, value: &str, digits: usize, what: &str) -> Result<()> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if value.len() == digits && value.bytes().all(lower_hex) {
        return Ok(());
    }
    Err(field_error(
        path,
        field,
        format!("`{value}` is not {what} ({digits} lower-case hexadecimal digits)"),
    ))
}

fn check_file(path: &Path, field: &str, file: &str) -> Result<()> {
    let safe = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0'])
    };
    if file.split('/').all(safe) {
        return Ok(());
    }
    Err(field_error(
        path,
        field,
        format!("`{file}` is not a relative path inside the repository"),
    ))
}

fn field_error(path: &Path, field: &str, message: impl Into<String>) -> Error {
    Error::Config {
        path: path.to_path_buf(),
        field: field.to_owned(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
