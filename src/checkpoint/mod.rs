//! What a checkpoint is on disk, read lazily: headers first, then tensor by tensor and layer by layer.
//!
//! A checkpoint directory has Hugging Face's layout: `config.json`, `tokenizer.json`, and the weights in
//! `model.safetensors` or in shards listed by `model.safetensors.index.json`.

pub mod axlearn;
mod header;
mod weights;
mod writer;

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

pub use header::TensorEntry;
use safetensors::Dtype;
pub use weights::Weights;
pub use writer::{OutputFile, OutputFiles, OutputLayout};

use crate::{Error, Result};

/// The name of a single-file checkpoint's weights.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The name of the list of shards.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// A tensor that an architecture needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorSpec {
    /// Its name in the weight files.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor called `name` of shape `shape`.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
        }
    }
}

/// The weights of a checkpoint directory: where each tensor is, and of what type and shape.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, TensorEntry>,
}

impl Checkpoint {
    /// Opens `dir` and reads the headers of all weight files.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there are no weights, a shard is missing, a file is shorter or longer than
    /// its header says, or tensors overlap.
    pub fn open(dir: &Path) -> Result<Self> {
        let bad = |path: &Path, message: String| Error::Checkpoint {
            path: path.to_path_buf(),
            message,
        };
        if !dir.is_dir() {
            return Err(bad(dir, "there is no such checkpoint directory".into()));
        }
        let (single, index) = (dir.join(SINGLE_FILE), dir.join(INDEX_FILE));
        let mut checkpoint = Self {
            dir: dir.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        if single.is_file() {
            checkpoint.add_file(single, |_| true)?;
        } else if index.is_file() {
            checkpoint.add_shards(&index)?;
        } else {
            return Err(bad(
                dir,
                format!(
                    "has neither {SINGLE_FILE} nor {INDEX_FILE}; only safetensors checkpoints can be read"
                ),
            ));
        }
        Ok(checkpoint)
    }

    /// Takes up the tensors of a file: all, or those that `is_wanted` (a tensor may stand in another shard,
    /// too, from which the index does not take it). Returns the names of all it holds.
    fn add_file(&mut self, path: PathBuf, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let entries = header::read(&path, self.files.len())?;
        self.files.push(path);
        let names = entries.iter().map(|(name, _)| name.clone()).collect();
        self.tensors
            .extend(entries.into_iter().filter(|(name, _)| is_wanted(name)));
        Ok(names)
    }

    fn add_shards(&mut self, index: &Path) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let bad = |message: String| Error::Checkpoint {
            path: index.to_path_buf(),
            message,
        };
        let text = std::fs::read(index).map_err(Error::io(index))?;
        let Index { weight_map } = serde_json::from_slice(&text)
            .map_err(|e| bad(format!("is not a shard index: {e}; fetch it again")))?;
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in &weight_map {
            if !is_plain_relative(file) {
                return Err(bad(format!(
                    "tensor `{tensor}` is said to be in `{file}`, which is not a file inside the checkpoint"
                )));
            }
            shards.entry(file).or_default().push(tensor);
        }
        let missing: Vec<&str> = shards
            .keys()
            .copied()
            .filter(|file| !self.dir.join(file).is_file())
            .collect();
        if !missing.is_empty() {
            return Err(bad(format!(
                "{} of {} shards are missing: {}; fetch them, or copy the whole directory again",
                missing.len(),
                shards.len(),
                missing.join(", ")
            )));
        }
        for (file, tensors) in shards {
            let is_here = |name: &str| weight_map.get(name).is_some_and(|of| of == file);
            let present = self.add_file(self.dir.join(file), is_here)?;
            for tensor in tensors {
                if !present.iter().any(|name| name == tensor) {
                    return Err(bad(format!(
                        "tensor `{tensor}` is not in `{file}`, where the index says it is; fetch both again"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The weight files; [`TensorEntry::file`] counts them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Where a tensor is.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(name)
    }

    /// Whether every tensor an architecture needs is there in the right shape. Nothing but headers is read.
    ///
    /// # Errors
    /// [`Error::MissingTensors`] naming all that are missing, or [`Error::TensorMismatch`] for the first
    /// one of another shape.
    pub fn check(&self, needed: &[TensorSpec]) -> Result<()> {
        let missing: Vec<String> = needed
            .iter()
            .filter(|spec| !self.tensors.contains_key(&spec.name))
            .map(|spec| spec.name.clone())
            .collect();
        if !missing.is_empty() {
            return Err(Error::MissingTensors {
                path: self.dir.clone(),
                names: missing,
            });
        }
        for spec in needed {
            let entry = &self.tensors[&spec.name];
            if entry.shape != spec.shape {
                return Err(Error::TensorMismatch {
                    path: self.files[entry.file].clone(),
                    tensor: spec.name.clone(),
                    expected: format!("shape {:?} (from config.json)", spec.shape),
                    found: format!("shape {:?}", entry.shape),
                });
            }
            if !matches!(
                entry.dtype,
                Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64
            ) {
                return Err(Error::TensorMismatch {
                    path: self.files[entry.file].clone(),
                    tensor: spec.name.clone(),
                    expected: "element type F16, BF16, F32 or F64".into(),
                    found: format!("{:?}", entry.dtype),
                });
            }
        }
        Ok(())
    }

    /// A SHA-256 over the names, sizes and headers of the weight files and the first 4 KiB of every tensor:
    /// milliseconds even for 13 GB, and different for different weights unless they agree in all of these.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for (i, file) in self.files.iter().enumerate() {
            let tensors = self.tensors.values().filter(|tensor| tensor.file == i);
            header::hash_file(file, tensors, &mut hash)?;
        }
        Ok(crate::hex(&hash.finalize()))
    }
}

/// Whether a name from an index stays inside the directory: no root, no drive, no `..`.
fn is_plain_relative(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0'])
        && Path::new(name)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
}
