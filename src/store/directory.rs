//! What a scan's output directory holds, and under which names.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::atomic;
use super::table::damaged;
use crate::{Error, Result};

/// The run manifest; it is written last, so that its presence means that the run is complete.
pub const RUN_JSON: &str = "run.json";
/// The directory of an unfinished run's parts.
pub(super) const PARTS: &str = "parts";
/// Within [`PARTS`]: which run they belong to.
pub(super) const PLAN_JSON: &str = "plan.json";

const SAMPLES: &str = "samples";
const HEADS: &str = "heads";
/// How many missing or surplus things an error message names before it only counts them.
const NAMED: usize = 8;

/// One of `count` runs that share the samples of a scan among them; counted from 1, as in `--shard 3/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Shard `index` of `count`, 1 ≤ `index` ≤ `count`.
    pub fn new(index: usize, count: usize) -> Result<Self> {
        if index == 0 || index > count {
            return Err(Error::Usage(format!(
                "there is no shard {index}/{count}: shards count from 1, the last of {count} is {count}/{count}"
            )));
        }
        Ok(Self { index, count })
    }

    /// Which shard, from 1.
    pub fn index(self) -> usize {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> usize {
        self.count
    }

    /// `samples-00003-of-00016.parquet` for the stem `samples`.
    fn file_name(self, stem: &str) -> String {
        format!("{stem}-{:05}-of-{:05}.parquet", self.index, self.count)
    }

    fn from_file_name(stem: &str, name: &str) -> Option<Self> {
        let numbers = name
            .strip_prefix(stem)?
            .strip_prefix('-')?
            .strip_suffix(".parquet")?;
        let (index, count) = numbers.split_once("-of-")?;
        let shard = Self::new(index.parse().ok()?, count.parse().ok()?).ok()?;
        (shard.file_name(stem) == name).then_some(shard)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            Error::Usage(format!(
                "`{text}` is not a shard; write I/N, for example 3/16 for the third of sixteen"
            ))
        };
        let (index, count) = text.split_once('/').ok_or_else(malformed)?;
        let index = index.trim().parse().map_err(|_| malformed())?;
        let count = count.trim().parse().map_err(|_| malformed())?;
        Self::new(index, count)
    }
}

impl TryFrom<String> for Shard {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

/// `samples.parquet`, or `samples-00003-of-00016.parquet` for a shard.
pub fn samples_file_name(shard: Option<Shard>) -> String {
    table_file_name(SAMPLES, shard)
}

/// `heads.parquet`, or `heads-00003-of-00016.parquet` for a shard.
pub fn heads_file_name(shard: Option<Shard>) -> String {
    table_file_name(HEADS, shard)
}

fn table_file_name(stem: &str, shard: Option<Shard>) -> String {
    match shard {
        None => format!("{stem}.parquet"),
        Some(shard) => shard.file_name(stem),
    }
}

/// The samples file(s) of a scan directory, all shards of it; or the one file that `path` is.
pub(super) fn samples_files(path: &Path) -> Result<Vec<PathBuf>> {
    table_files(path, SAMPLES)
}

/// The same for the heads.
pub(super) fn heads_files(path: &Path) -> Result<Vec<PathBuf>> {
    table_files(path, HEADS)
}

fn table_files(path: &Path, stem: &str) -> Result<Vec<PathBuf>> {
    if fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let (whole, shards) = tables_of(path, stem)?;
    let Some(&Shard { count, .. }) = shards.first() else {
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
    if let Some(other) = shards.iter().find(|shard| shard.count != count) {
        return Err(damaged(
            path,
            format!(
                "holds shards of {count} and of {}; keep one set",
                other.count
            ),
        ));
    }
    let missing: Vec<String> = (1..=count)
        .map(|index| Shard { index, count })
        .filter(|shard| shards.binary_search(shard).is_err())
        .map(|shard| shard.file_name(stem))
        .collect();
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
        .map(|shard| path.join(shard.file_name(stem)))
        .collect())
}

/// Whether `dir` has the unsharded table, and which shards of it, in order.
fn tables_of(dir: &Path, stem: &str) -> Result<(bool, Vec<Shard>)> {
    let whole = table_file_name(stem, None);
    let names = file_names(dir)?;
    let mut shards: Vec<Shard> = names
        .iter()
        .filter_map(|name| Shard::from_file_name(stem, name))
        .collect();
    shards.sort_unstable_by_key(|shard| (shard.count, shard.index));
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
            [SAMPLES, HEADS].into_iter().any(|stem| {
                *name == table_file_name(stem, None) || Shard::from_file_name(stem, name).is_some()
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

/// The directory `path` is not fit for what was asked.
pub(super) fn refused(path: &Path, message: impl Into<String>) -> Error {
    Error::OutDir {
        path: path.to_path_buf(),
        message: message.into(),
    }
}

/// The first few of `items`, and how many more there are.
pub(super) fn listing<T: fmt::Display>(items: &[T]) -> String {
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
        let back = Shard::from_file_name("samples", "samples-00003-of-00016.parquet");
        assert_eq!(back, Some(shard));
        for other in [
            "samples.parquet",
            "samples-3-of-16.parquet",
            "samples-00017-of-00016.parquet",
            "samples-00000-of-00016.parquet",
            "heads-00003-of-00016.parquet",
        ] {
            assert_eq!(Shard::from_file_name("samples", other), None, "{other}");
        }
    }

    #[test]
    fn impossible_shards_are_usage_errors_with_a_hint() {
        for (text, hint) in [
            ("0/4", "count from 1"),
            ("5/4", "count from 1"),
            ("3", "I/N"),
            ("a/b", "I/N"),
        ] {
            let error = text.parse::<Shard>().unwrap_err();
            assert!(matches!(error, Error::Usage(_)));
            assert!(error.to_string().contains(hint), "{error}");
        }
    }
}
