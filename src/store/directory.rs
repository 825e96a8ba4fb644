//! What a scan's output directory holds, and under which names.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use super::table::damaged;
use crate::corpus::Shard;
use crate::{Error, Result};

/// The run manifest; it is written last, so that its presence means that the run is complete.
pub const RUN_JSON: &str = "run.json";
/// The directory of an unfinished run's parts.
pub(super) const PARTS: &str = "parts";
/// Within [`PARTS`]: which run they belong to.
pub(super) const PLAN_JSON: &str = "plan.json";

const SAMPLES: &str = "samples";
const HEADS: &str = "heads";
const LAGS: &str = "lags";
const ACTIVATIONS: &str = "activations";
/// How many missing or surplus things an error message names before it only counts them.
const NAMED: usize = 8;

/// `samples.parquet`, or `samples-00003-of-00016.parquet` for a shard.
pub fn samples_file_name(shard: Option<Shard>) -> String {
    table_file_name(SAMPLES, shard)
}

/// `heads.parquet`, or `heads-00003-of-00016.parquet` for a shard.
pub fn heads_file_name(shard: Option<Shard>) -> String {
    table_file_name(HEADS, shard)
}

/// `lags.parquet`, or `lags-00003-of-00016.parquet` for a shard.
pub fn lags_file_name(shard: Option<Shard>) -> String {
    table_file_name(LAGS, shard)
}

/// `activations.parquet`, or `activations-00003-of-00016.parquet` for a shard.
pub fn activations_file_name(shard: Option<Shard>) -> String {
    table_file_name(ACTIVATIONS, shard)
}

fn table_file_name(stem: &str, shard: Option<Shard>) -> String {
    match shard {
        None => format!("{stem}.parquet"),
        Some(shard) => shard_file_name(stem, shard),
    }
}

/// `samples-00003-of-00016.parquet` for the stem `samples`: counted from 0, as Hugging Face numbers the shards
/// of a dataset.
fn shard_file_name(stem: &str, shard: Shard) -> String {
    format!(
        "{stem}-{:05}-of-{:05}.parquet",
        shard.index(),
        shard.count()
    )
}

/// The shard that [`shard_file_name`] gives this very name, if there is one.
fn shard_of_file_name(stem: &str, name: &str) -> Option<Shard> {
    let numbers = name
        .strip_prefix(stem)?
        .strip_prefix('-')?
        .strip_suffix(".parquet")?;
    let (index, count) = numbers.split_once("-of-")?;
    let shard = Shard::new(index.parse().ok()?, count.parse().ok()?).ok()?;
    (shard_file_name(stem, shard) == name).then_some(shard)
}

/// The samples file(s) of a scan directory, all shards of it; or the one file that `path` is.
pub(super) fn samples_files(path: &Path) -> Result<Vec<PathBuf>> {
    table_files(path, SAMPLES)
}

/// The same for the heads.
pub(super) fn heads_files(path: &Path) -> Result<Vec<PathBuf>> {
    table_files(path, HEADS)
}

/// The same for attention by distance.
pub(super) fn lags_files(path: &Path) -> Result<Vec<PathBuf>> {
    table_files(path, LAGS)
}

/// The same for activations.
pub(super) fn activations_files(path: &Path) -> Result<Vec<PathBuf>> {
    table_files(path, ACTIVATIONS)
}

fn table_files(path: &Path, stem: &str) -> Result<Vec<PathBuf>> {
    if fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let (whole, shards) = tables_of(path, stem)?;
    let Some(count) = shards.first().map(|shard| shard.count()) else {
        if whole {
            return Ok(vec![path.join(table_file_name(stem, None))]);
        }
        return Err(damaged(path, nothing_there(path, stem)));
    };
    if whole {
        return Err(damaged(
            path,
            format!(
                "holds both {stem}.parquet and shards of it; remove what is out of date, or name one file"
            ),
        ));
    }
    if let Some(other) = shards.iter().find(|shard| shard.count() != count) {
        return Err(damaged(
            path,
            format!(
                "holds shards of {count} and of {}; keep one set",
                other.count()
            ),
        ));
    }
    let mut missing = Vec::new();
    for index in 0..count {
        let shard = Shard::new(index, count)?;
        if shards.binary_search(&shard).is_err() {
            missing.push(shard_file_name(stem, shard));
        }
    }
    if !missing.is_empty() {
        return Err(damaged(
            path,
            format!(
                "{} of {count} shards missing: {}; copy them here, or join the shards' directories with `attnscope merge`",
                missing.len(),
                listing(&missing)
            ),
        ));
    }
    Ok(shards
        .iter()
        .map(|&shard| path.join(shard_file_name(stem, shard)))
        .collect())
}

/// Whether `dir` has the unsharded table, and which shards of it, in order.
fn tables_of(dir: &Path, stem: &str) -> Result<(bool, Vec<Shard>)> {
    let whole = table_file_name(stem, None);
    let names = file_names(dir)?;
    let mut shards: Vec<Shard> = names
        .iter()
        .filter_map(|name| shard_of_file_name(stem, name))
        .collect();
    shards.sort_unstable_by_key(|shard| (shard.count(), shard.index()));
    Ok((names.contains(&whole), shards))
}

fn nothing_there(dir: &Path, stem: &str) -> String {
    if dir.join(PARTS).join(PLAN_JSON).exists() {
        format!(
            "the run in this directory is unfinished and has no {stem}.parquet yet; finish it with --resume --out {}",
            dir.display()
        )
    } else {
        format!("there is no {stem}.parquet here; name the output directory of a scan")
    }
}

/// The tables and the manifest that `dir` holds, in alphabetical order; parts do not count.
pub(super) fn run_files(dir: &Path) -> Result<Vec<String>> {
    let mut found: Vec<String> = file_names(dir)?
        .into_iter()
        .filter(|name| {
            [SAMPLES, HEADS, LAGS, ACTIVATIONS].into_iter().any(|stem| {
                *name == table_file_name(stem, None) || shard_of_file_name(stem, name).is_some()
            }) || name == RUN_JSON
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Names of the entries of `dir`; empty where there is no `dir`. A file in its place is an error.
pub(super) fn file_names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let message = "it, or a directory above it, is a file; choose another --out";
            return Err(refused(dir, message));
        }
        Err(error) => return Err(Error::io(dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io(dir))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !atomic::is_temporary(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Fails if `out` is a file, or if one of the `files` is there: a `what` is never overwritten.
///
/// # Errors
/// [`Error::OutDir`] with the path.
pub(crate) fn refuse_existing(
    out: &Path,
    mut files: impl Iterator<Item = PathBuf>,
    what: &str,
) -> Result<()> {
    if fs::metadata(out).is_ok_and(|found| !found.is_dir()) {
        return Err(refused(out, "is a file; choose another --out"));
    }
    match files.find(|path| fs::symlink_metadata(path).is_ok()) {
        None => Ok(()),
        Some(path) => Err(refused(
            &path,
            format!("is there already, and a {what} is never overwritten; choose another --out"),
        )),
    }
}

/// The directory `path` is not fit for what was asked.
pub(super) fn refused(path: &Path, message: impl Into<String>) -> Error {
    Error::OutDir {
        path: path.to_path_buf(),
        message: message.into(),
    }
}

/// The first few of `items`, and how many more there are.
pub(crate) fn listing<T: fmt::Display>(items: &[T]) -> String {
    let mut text = items
        .iter()
        .take(NAMED)
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > NAMED {
        text.push_str(&format!(" and {} more", items.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_names_its_files_and_reads_them_back() {
        let shard: Shard = "3/16".parse().unwrap();
        assert_eq!(
            samples_file_name(Some(shard)),
            "samples-00003-of-00016.parquet"
        );
        assert_eq!(heads_file_name(Some(shard)), "heads-00003-of-00016.parquet");
        assert_eq!(heads_file_name(None), "heads.parquet");
        for (name, index) in [
            ("samples-00000-of-00016.parquet", 0),
            ("samples-00003-of-00016.parquet", 3),
            ("samples-00015-of-00016.parquet", 15),
        ] {
            let shard = Shard::new(index, 16).unwrap();
            assert_eq!(samples_file_name(Some(shard)), name);
            assert_eq!(shard_of_file_name("samples", name), Some(shard));
        }
        for other in [
            "samples.parquet",
            "samples-3-of-16.parquet",
            "samples-00016-of-00016.parquet",
            "samples-00017-of-00016.parquet",
            "samples-00000-of-00000.parquet",
            "heads-00003-of-00016.parquet",
        ] {
            assert_eq!(shard_of_file_name("samples", other), None, "{other}");
        }
    }
}
