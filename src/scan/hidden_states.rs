//! Hidden states between two layers, in files: what lets the streamed executor hold one batch at a time, and
//! resume in the middle of the model.
//!
//! Each batch before each layer is a file of its own, which appears under its name only when it is complete.
//! So a file that is there can be trusted, and one that is not there is missing, whatever happened in between.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result, store::AtomicFile};

const PREFIX: &str = "hidden-states-";
const SUFFIX: &str = ".f32";

/// The hidden states of a run, in one directory: float32, little endian, (tokens, hidden_size) per file.
pub struct HiddenStates {
    dir: PathBuf,
    hidden_size: usize,
}

impl HiddenStates {
    /// Hidden states of `hidden_size` elements per token, in `dir`.
    pub fn new(dir: &Path, hidden_size: usize) -> Self {
        Self {
            dir: dir.to_path_buf(),
            hidden_size,
        }
    }

    fn path(&self, batch: usize, layer_idx: usize) -> PathBuf {
        self.dir.join(format!(
            "{PREFIX}layer-{layer_idx:05}-batch-{batch:05}{SUFFIX}"
        ))
    }

    fn bytes(&self, tokens: usize) -> usize {
        tokens * self.hidden_size * 4
    }

    /// Whether the input of a layer is there for a batch of so many tokens.
    pub fn holds(&self, batch: usize, layer_idx: usize, tokens: usize) -> bool {
        fs::metadata(self.path(batch, layer_idx))
            .is_ok_and(|found| found.is_file() && found.len() == self.bytes(tokens) as u64)
    }

    /// Stores a batch as the input of a layer. When this returns it survives a crash.
    pub fn write(&self, batch: usize, layer_idx: usize, hidden_states: &Tensor) -> Result<()> {
        let values: Vec<f32> = hidden_states
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1()?;
        let path = self.path(batch, layer_idx);
        let mut file = AtomicFile::create(path.clone())?;
        let mut bytes = Vec::with_capacity(1 << 20);
        for values in values.chunks(1 << 18) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            file.write_all(&bytes).map_err(Error::io(&path))?;
        }
        file.commit()
    }

    /// Fetches a batch of so many tokens to `device`, in the element type that is computed with.
    pub fn read(
        &self,
        batch: usize,
        layer_idx: usize,
        tokens: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor> {
        let path = self.path(batch, layer_idx);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let values: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        drop(bytes);
        let tensor = Tensor::from_vec(values, (tokens, self.hidden_size), &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// Removes the input of a layer, which is not needed any more. It need not be there.
    pub fn remove(&self, batch: usize, layer_idx: usize) -> Result<()> {
        let path = self.path(batch, layer_idx);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(&path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes all of them, whichever run or executor has left them.
    pub fn remove_all(dir: &Path) -> Result<()> {
        for (path, _) in files(dir)? {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        Ok(())
    }

    /// Bytes that the hidden states in `dir` take; 0 if there is no such directory.
    pub fn size_on_disk(dir: &Path) -> Result<u64> {
        Ok(match dir.is_dir() {
            true => files(dir)?.iter().map(|(_, bytes)| bytes).sum(),
            false => 0,
        })
    }
}

/// The files with hidden states in `dir`, and their lengths.
fn files(dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            let bytes = entry.metadata().map_err(Error::io(entry.path()))?.len();
            files.push((entry.path(), bytes));
        }
    }
    Ok(files)
}
