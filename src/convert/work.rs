//! The working directory of a conversion, inside its output directory: what is not finished stays there, and
//! nothing outside looks like a checkpoint until all of it is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    CONVERSION_JSON, Conversion, ConvertedFile, Request, Stage, Watcher, prepare::Prepared,
    verify::sha256,
};
use crate::{
    Error, Result,
    checkpoint::INDEX_FILE,
    corpus::Preprocessing,
    store::{
        Fingerprint, create_directory, fingerprints_differ, lock, remove_leftovers, rfc3339,
        sync_directory, write_json,
    },
};

/// Its name.
const DIR: &str = ".attnscope-convert";
const PROGRESS: &str = "progress.json";
const CONFIG_JSON: &str = "config.json";
const TOKENIZER_JSON: &str = "tokenizer.json";

/// What is done of a conversion.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    fingerprint: Fingerprint,
    /// Arrays all of whose tensors are on the disk.
    done: BTreeMap<String, Done>,
}

/// An array that is done.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    /// What it was when it was read ([`Prepared::stored_sha256`]).
    stored_sha256: String,
    /// The checksums of its tensors, in order.
    tensors: Vec<String>,
}

/// `OUT/.attnscope-convert`. A lock keeps a second process away from it as long as this lives.
#[derive(Debug)]
pub(super) struct WorkDir {
    out: PathBuf,
    dir: PathBuf,
    progress: Progress,
    _lock: File,
}

impl WorkDir {
    /// Where it is.
    pub fn path(out: &Path) -> PathBuf {
        out.join(DIR)
    }

    /// Removes what a process left in `out` that was stopped when the result was in its place already.
    pub fn clean(out: &Path) -> Result<()> {
        let dir = Self::path(out);
        if dir.is_dir() {
            // Whoever holds the lock is about to remove it.
            drop(lock(out, &dir)?);
            remove(&dir);
        }
        Ok(())
    }

    /// Begins a conversion in `out`, or continues the one that is there.
    ///
    /// # Errors
    /// [`Error::OutDir`] if another process works there, or what is there is of another conversion; the message
    /// says in what they differ.
    pub fn open(out: &Path, prepared: &Prepared) -> Result<Self> {
        let fingerprint = &prepared.fingerprint;
        let dir = Self::path(out);
        create_directory(&dir)?;
        let lock = lock(out, &dir)?;
        let refused = |message: String| Error::OutDir {
            path: out.to_path_buf(),
            message,
        };
        remove_leftovers(&dir)?;
        remove_leftovers(out)?;
        let path = dir.join(PROGRESS);
        let progress = match fs::read(&path) {
            Ok(text) => {
                let progress: Progress = serde_json::from_slice(&text).map_err(|error| {
                    refused(format!(
                        "{DIR}/{PROGRESS} is not valid ({error}); remove {DIR}/ to begin anew"
                    ))
                })?;
                if let Some(differences) = fingerprints_differ(&progress.fingerprint, fingerprint) {
                    return Err(refused(format!(
                        "holds another conversion, not finished: {differences}; finish that one, remove {DIR}/ to \
                         give it up, or choose another --out"
                    )));
                }
                progress
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let progress = Progress {
                    fingerprint: fingerprint.clone(),
                    done: BTreeMap::new(),
                };
                write_json(&path, &progress)?;
                progress
            }
            Err(error) => return Err(Error::io(&path)(error)),
        };
        Ok(Self {
            out: out.to_path_buf(),
            dir,
            progress,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The arrays that are still to be converted, by their places in the mapping; `None` if all are done.
    ///
    /// # Errors
    /// [`Error::OutDir`] if weight files have gone that hold what is done.
    pub fn pending(&self, prepared: &Prepared) -> Result<Option<Vec<usize>>> {
        let arrays = 0..prepared.mapping.arrays.len();
        let rest: Vec<usize> = arrays
            .filter(|index| self.done(prepared, *index).is_none())
            .collect();
        for file in &prepared.layout.files {
            let is_there = |dir: &Path| {
                fs::metadata(dir.join(&file.name)).is_ok_and(|found| found.len() == file.bytes)
            };
            let is_due = rest.len() < prepared.mapping.arrays.len();
            // They are moved out once all is done.
            if is_due && !is_there(&self.dir) && !(rest.is_empty() && is_there(&self.out)) {
                return Err(Error::OutDir {
                    path: self.dir.join(&file.name),
                    message: format!(
                        "is missing or has another size, and what was converted before was in it; remove {} to \
                         begin anew",
                        self.dir.display()
                    ),
                });
            }
        }
        Ok((!rest.is_empty()).then_some(rest))
    }

    /// The checksums of the tensors of an array, if all of them are on the disk.
    fn done(&self, prepared: &Prepared, index: usize) -> Option<Vec<u64>> {
        let mapped = &prepared.mapping.arrays[index];
        let done = self.progress.done.get(&mapped.source)?;
        let sums = done.tensors.iter();
        let sums = sums.map(|sum| u64::from_str_radix(sum, 16).ok());
        let sums: Vec<u64> = sums.collect::<Option<_>>()?;
        let is_same = sums.len() == mapped.tensors.len()
            && done.stored_sha256 == prepared.stored_sha256[index];
        is_same.then_some(sums)
    }

    /// The checksums of all tensors that are done.
    pub fn checksums(&self, prepared: &Prepared) -> BTreeMap<String, u64> {
        let mut checksums = BTreeMap::new();
        for (index, mapped) in prepared.mapping.arrays.iter().enumerate() {
            let names = mapped.tensors.iter().map(|spec| spec.name.clone());
            checksums.extend(names.zip(self.done(prepared, index).into_iter().flatten()));
        }
        checksums
    }

    /// Records that the tensors of an array are on the disk.
    pub fn finish(&mut self, prepared: &Prepared, index: usize, sums: &[u64]) -> Result<()> {
        let done = Done {
            stored_sha256: prepared.stored_sha256[index].clone(),
            tensors: sums.iter().map(|sum| format!("{sum:016x}")).collect(),
        };
        let source = prepared.mapping.arrays[index].source.clone();
        self.progress.done.insert(source, done);
        write_json(&self.dir.join(PROGRESS), &self.progress)
    }

    /// Takes back the weight files that an earlier process had put in their places before it was stopped.
    pub fn take_back(&self, prepared: &Prepared) -> Result<()> {
        for file in &prepared.layout.files {
            let (here, there) = (self.dir.join(&file.name), self.out.join(&file.name));
            if !here.exists() && there.exists() {
                fs::rename(&there, &here).map_err(Error::io(&there))?;
            }
        }
        Ok(())
    }

    /// Writes everything that stands beside the weights.
    pub fn write_descriptions(&self, request: &Request, prepared: &Prepared) -> Result<()> {
        let write = |name: &str, value: &serde_json::Value| write_json(&self.dir.join(name), value);
        if let Some(index) = prepared.layout.index() {
            write(INDEX_FILE, &index)?;
        }
        write(TOKENIZER_JSON, &prepared.tokenizer)?;
        write_json(
            &self.dir.join(Preprocessing::FILE_NAME),
            &request.preprocessing,
        )?;
        write(CONFIG_JSON, &prepared.config)
    }

    /// Moves the result to its place, `config.json` last, and removes the working directory.
    pub fn publish(
        self,
        request: &Request,
        prepared: &Prepared,
        sums: &BTreeMap<String, u64>,
        watcher: &dyn Watcher,
    ) -> Result<Conversion> {
        watcher.begin(Stage::Hashing, prepared.layout.bytes(), 0);
        let names = result_names(prepared);
        let files = names.par_iter().map(|name| {
            let path = self.dir.join(name);
            let file = ConvertedFile {
                bytes: fs::metadata(&path).map_err(Error::io(&path))?.len(),
                sha256: sha256(&path, &|bytes| {
                    watcher.advance(bytes, 0);
                    request.go_on(watcher)
                })?,
            };
            Ok((name.clone(), file))
        });
        let conversion = Conversion {
            attnscope: env!("CARGO_PKG_VERSION").into(),
            source: prepared.source.clone(),
            converted_at: rfc3339(SystemTime::now()),
            files: files.collect::<Result<_>>()?,
            tensors: sums
                .iter()
                .map(|(name, sum)| (name.clone(), format!("{sum:016x}")))
                .collect(),
        };
        write_json(&self.dir.join(CONVERSION_JSON), &conversion)?;
        let others = names.iter().map(String::as_str);
        let others = others.filter(|name| *name != CONFIG_JSON);
        for name in others.chain([CONVERSION_JSON, CONFIG_JSON]) {
            let (from, to) = (self.dir.join(name), self.out.join(name));
            fs::rename(&from, &to).map_err(Error::io(&to))?;
            if name == CONVERSION_JSON {
                // A power cut must not keep the last name and lose the others.
                sync_directory(&self.out)?;
            }
        }
        sync_directory(&self.out)?;
        self.remove();
        Ok(conversion)
    }

    /// Removes it, with all that is in it. The result does not depend on that.
    pub fn remove(self) {
        let Self {
            dir, _lock: lock, ..
        } = self;
        // Some file systems keep a file that is open.
        drop(lock);
        remove(&dir);
    }
}

/// The result does not depend on it.
fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(
            "{} can be removed, and could not be: {error}",
            dir.display()
        );
    }
}

/// The files of the result, the record of the conversion aside.
pub(super) fn result_names(prepared: &Prepared) -> Vec<String> {
    let weights = prepared.layout.files.iter().map(|file| file.name.clone());
    let index = prepared.layout.index().map(|_| INDEX_FILE.to_string());
    let others = [TOKENIZER_JSON, Preprocessing::FILE_NAME, CONFIG_JSON];
    weights
        .chain(index)
        .chain(others.map(str::to_string))
        .collect()
}

/// Bytes that the files in `dir`, if it is there, take up.
pub(super) fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => allocated(&metadata),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Weight files have their full length from the beginning, but not yet all their bytes.
#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}
