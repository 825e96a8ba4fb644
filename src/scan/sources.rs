//! From what the user typed to files on this machine: a checkpoint directory, and data files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    checkpoint::{INDEX_FILE, SINGLE_FILE},
    corpus::Preprocessing,
    hub::{Hub, RepoKind, RepoListing, Snapshot},
    manifest::{self, DatasetManifest, DatasetSource, ModelManifest, ModelSource},
    store::{DatasetRecord, ModelRecord},
};

/// The branch on which the Hub keeps datasets it has converted to parquet.
const CONVERTED: &str = "refs/convert/parquet";

/// A checkpoint on this machine.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// Directory with `config.json`, weights and tokenizer.
    pub dir: PathBuf,
    /// What the manifest says happens to texts; `None` if no manifest names the model.
    pub preprocessing: Option<Preprocessing>,
    /// As the user called it.
    pub name: String,
    /// The directory, if the user named it.
    pub path: Option<PathBuf>,
    /// Repository on the Hub, if it came from there.
    pub repo: Option<String>,
    /// Commit of the repository.
    pub revision: Option<String>,
}

impl ModelFiles {
    /// The checkpoint directory `dir`.
    pub fn directory(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            name: dir.display().to_string(),
            path: Some(dir.clone()),
            dir,
            preprocessing: None,
            repo: None,
            revision: None,
        }
    }

    /// The part of `run.json` that says which weights.
    pub fn record(
        &self,
        model_type: &str,
        config: serde_json::Value,
        fingerprint: String,
    ) -> ModelRecord {
        ModelRecord {
            name: self.name.clone(),
            path: self.path.as_ref().map(|path| path.display().to_string()),
            repo: self.repo.clone(),
            revision: self.revision.clone(),
            model_type: model_type.into(),
            config,
            weights_fingerprint: Some(fingerprint),
        }
    }
}

/// Finds `--model`, downloading what the cache does not hold. `converted` is asked for the directory with the
/// conversion of a known model that is not on the Hub.
///
/// # Errors
/// Those of the Hub and of `converted`; [`Error::Usage`] for a revision of something that has none.
pub fn model(
    argument: &str,
    revision: Option<&str>,
    hub: &dyn Fn() -> Result<Hub>,
    converted: &dyn Fn(&ModelManifest) -> Result<PathBuf>,
) -> Result<ModelFiles> {
    let no_revision = |what: &str| match revision {
        Some(_) => Err(Error::Usage(format!(
            "--revision belongs to a model on the Hub, and {argument} is {what}"
        ))),
        None => Ok(()),
    };
    let source = manifest::resolve_model(argument)?;
    let (repo, revision, preprocessing, checksums) = match source {
        ModelSource::Directory(dir) => {
            no_revision("a directory")?;
            return Ok(ModelFiles::directory(dir));
        }
        ModelSource::Hub { repo } => {
            let revision = revision.unwrap_or("main").to_string();
            (repo, revision, None, BTreeMap::new())
        }
        ModelSource::Manifest(manifest) => {
            let Some(files) = manifest.hub else {
                no_revision("converted from a checkpoint elsewhere")?;
                return Ok(ModelFiles {
                    name: argument.into(),
                    ..ModelFiles::directory(converted(&manifest)?)
                });
            };
            // The manifest's checksums are those of its own revision.
            let checksums = match revision {
                None => files.files,
                Some(_) => BTreeMap::new(),
            };
            let revision = revision.map_or(files.revision, str::to_string);
            (files.repo, revision, Some(manifest.text), checksums)
        }
    };
    let hub = hub()?;
    let listing = hub.resolve(RepoKind::Model, &repo, &revision)?;
    let snapshot = hub.fetch(&listing, &is_model_file(&listing))?;
    check_against_manifest(&listing, &snapshot, &checksums)?;
    Ok(ModelFiles {
        dir: snapshot.dir,
        preprocessing,
        name: argument.into(),
        path: None,
        repo: Some(repo),
        revision: Some(snapshot.commit),
    })
}

/// Whether what came from the Hub is what the manifest was written for. Of large files the Hub has stated the
/// checksum, and the download was held against it.
fn check_against_manifest(
    listing: &RepoListing,
    snapshot: &Snapshot,
    checksums: &BTreeMap<String, String>,
) -> Result<()> {
    for file in &listing.files {
        let Some(expected) = checksums.get(&file.path) else {
            continue;
        };
        if !snapshot.files.contains(&file.path) {
            continue;
        }
        let found = match &file.sha256 {
            Some(sha256) => sha256.clone(),
            None => {
                let path = snapshot.dir.join(&file.path);
                crate::hex(&Sha256::digest(
                    std::fs::read(&path).map_err(Error::io(&path))?,
                ))
            }
        };
        if !found.eq_ignore_ascii_case(expected) {
            return Err(Error::NotOnHub {
                repo: listing.repo.clone(),
                revision: listing.revision.clone(),
                message: format!(
                    "{} has the SHA-256 {found}, the manifest expects {expected}; if the repository is to be \
                     trusted, name it by its Hub id instead",
                    file.path
                ),
            });
        }
    }
    Ok(())
}

/// Which files of a repository a scan reads: configuration, tokenizer, and the weights at the top level, not
/// their copies in other formats.
fn is_model_file(listing: &RepoListing) -> impl Fn(&str) -> bool {
    let has_single = listing.files.iter().any(|file| file.path == SINGLE_FILE);
    move |path| match path {
        "config.json" | "tokenizer.json" | Preprocessing::FILE_NAME => true,
        SINGLE_FILE => true,
        INDEX_FILE => !has_single,
        shard => {
            !has_single
                && !shard.contains('/')
                && shard.starts_with("model-")
                && shard.ends_with(".safetensors")
        }
    }
}

/// Data files on this machine.
#[derive(Debug, Clone)]
pub struct DatasetFiles {
    /// In order.
    pub files: Vec<PathBuf>,
    /// What `run.json` says of them; the number of rows is filled in when they are opened.
    pub record: DatasetRecord,
    /// The column or field with the text.
    pub text_column: String,
}

/// Finds `--dataset`, downloading what the cache does not hold.
///
/// # Errors
/// Besides those of the Hub: [`Error::Dataset`] if a repository has no parquet file of the split.
pub fn dataset(
    argument: &str,
    text_column: Option<&str>,
    split: Option<&str>,
    hub: &dyn Fn() -> Result<Hub>,
) -> Result<DatasetFiles> {
    let (manifest, repo) = match manifest::resolve_dataset(argument)? {
        DatasetSource::File(path) => {
            if let Some(split) = split.filter(|split| *split != "train") {
                return Err(Error::Usage(format!(
                    "--split {split} belongs to a dataset on the Hub, and {argument} is a file"
                )));
            }
            return Ok(local(argument, path, text_column));
        }
        DatasetSource::Manifest(manifest) => {
            let repo = manifest.repo.clone();
            (Some(*manifest), repo)
        }
        DatasetSource::Hub { repo } => (None, repo),
    };
    let split = split
        .map(str::to_string)
        .or(manifest.as_ref().map(|m| m.split.clone()));
    let split = split.unwrap_or_else(|| "train".into());
    let text_column = text_column
        .map(str::to_string)
        .or(manifest.as_ref().map(|m| m.text_column.clone()));
    let text_column = text_column.unwrap_or_else(|| "text".into());

    let hub = hub()?;
    let (listing, files) = parquet_files(&hub, &repo, manifest.as_ref(), &split)?;
    let snapshot = hub.fetch(&listing, &|path| files.iter().any(|file| file == path))?;
    Ok(DatasetFiles {
        record: DatasetRecord {
            name: argument.into(),
            files: files.clone(),
            repo: Some(repo),
            revision: Some(snapshot.commit),
            config: manifest.map(|m| m.config),
            split: Some(split),
            text_column: Some(text_column.clone()),
            rows: 0,
        },
        files: files.iter().map(|file| snapshot.dir.join(file)).collect(),
        text_column,
    })
}

fn local(argument: &str, path: PathBuf, text_column: Option<&str>) -> DatasetFiles {
    let text_column = text_column.unwrap_or("text").to_string();
    DatasetFiles {
        record: DatasetRecord {
            name: argument.into(),
            files: vec![path.display().to_string()],
            repo: None,
            revision: None,
            config: None,
            split: None,
            text_column: Some(text_column.clone()),
            rows: 0,
        },
        files: vec![path],
        text_column,
    }
}

/// The parquet files of a split: those the manifest names, the repository's own, or the Hub's conversion.
fn parquet_files(
    hub: &Hub,
    repo: &str,
    manifest: Option<&DatasetManifest>,
    split: &str,
) -> Result<(RepoListing, Vec<String>)> {
    let revision = manifest
        .and_then(|m| m.revision.as_deref())
        .unwrap_or("main");
    let config = manifest.map(|m| m.config.as_str());
    let listing = match hub.resolve(RepoKind::Dataset, repo, revision) {
        // The cache knows a revision once something of it was fetched, and of a dataset that the Hub has
        // converted that is the conversion only.
        Err(error @ Error::Offline { .. }) => {
            return match hub.resolve(RepoKind::Dataset, repo, CONVERTED) {
                Ok(converted) => of_conversion(converted, repo, split, config),
                Err(_) => Err(error),
            };
        }
        listing => listing?,
    };
    if let Some(manifest) = manifest
        && manifest.split == split
        && let Some(files) = &manifest.files
    {
        return Ok((listing, files.clone()));
    }
    let own = select(&listing, split, config);
    if !own.is_empty() {
        return one_config(listing, own, repo, split);
    }
    let converted = hub.resolve(RepoKind::Dataset, repo, CONVERTED).map_err(|error| match error {
        Error::NotOnHub { .. } => Error::Dataset {
            path: PathBuf::from(repo),
            message: format!(
                "has no parquet file of the split `{split}`, and the Hub has not converted it to parquet; \
                 download it and give a .parquet, .jsonl or .txt file"
            ),
        },
        other => other,
    })?;
    of_conversion(converted, repo, split, config)
}

/// The parquet files of a split in the Hub's conversion.
fn of_conversion(
    converted: RepoListing,
    repo: &str,
    split: &str,
    config: Option<&str>,
) -> Result<(RepoListing, Vec<String>)> {
    let files = select(&converted, split, config);
    if files.is_empty() {
        let mut splits: Vec<&str> = converted
            .files
            .iter()
            .filter_map(|file| Path::new(&file.path).parent()?.file_name()?.to_str())
            .collect();
        splits.sort_unstable();
        splits.dedup();
        return Err(Error::Dataset {
            path: PathBuf::from(repo),
            message: format!(
                "has no split `{split}`; splits: {} (choose one with --split)",
                splits.join(", ")
            ),
        });
    }
    one_config(converted, files, repo, split)
}

/// Parquet files whose path says that they belong to the split: a directory of that name, or a file name that
/// begins with it (`data/train-00000-of-00001.parquet`, `default/train/0000.parquet`).
fn select(listing: &RepoListing, split: &str, config: Option<&str>) -> Vec<String> {
    let of_split = |path: &str| {
        let mut parts: Vec<&str> = path.split('/').collect();
        let file = parts.pop().unwrap_or_default();
        let stem = file.strip_suffix(".parquet");
        // The Hub marks conversions that were cut short as `partial-<split>`.
        let in_directory = parts
            .iter()
            .any(|part| *part == split || *part == format!("partial-{split}"));
        let by_name = |stem: &str| {
            stem == split
                || stem
                    .strip_prefix(split)
                    .is_some_and(|rest| rest.starts_with(['-', '.', '_']))
        };
        stem.is_some_and(|stem| in_directory || by_name(stem))
    };
    let mut files: Vec<String> = listing
        .files
        .iter()
        .map(|file| file.path.clone())
        .filter(|path| of_split(path))
        .collect();
    files.sort_unstable();
    let of_config: Vec<String> = files
        .iter()
        .filter(|path| config.is_some_and(|config| path.split('/').next() == Some(config)))
        .cloned()
        .collect();
    if of_config.is_empty() {
        files
    } else {
        of_config
    }
}

/// Files of several configurations must not be read as if they were one dataset.
fn one_config(
    listing: RepoListing,
    files: Vec<String>,
    repo: &str,
    split: &str,
) -> Result<(RepoListing, Vec<String>)> {
    let mut folders: Vec<&str> = files
        .iter()
        .map(|path| path.split_once('/').map_or("", |(folder, _)| folder))
        .collect();
    folders.dedup();
    if folders.len() > 1 {
        return Err(Error::Dataset {
            path: PathBuf::from(repo),
            message: format!(
                "has the split `{split}` in several configurations ({}); download the one you mean and give its file",
                folders.join(", ")
            ),
        });
    }
    Ok((listing, files))
}
