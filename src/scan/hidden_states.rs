//! Hidden states between two layers, in a file: what lets the streamed executor hold one batch at a time, and
//! resume in the middle of the model.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

const PREFIX: &str = "hidden-states-";
const SUFFIX: &str = ".f32";

/// The hidden states of all batches before one layer: float32, little endian, batch after batch.
pub struct HiddenStates {
    path: PathBuf,
    file: File,
    /// Token offset of each batch, and the end.
    offsets: Vec<u64>,
    hidden_size: usize,
}

impl HiddenStates {
    /// Where the input of layer `layer_idx` is kept, below the directory `dir`.
    pub fn path(dir: &Path, layer_idx: usize) -> PathBuf {
        dir.join(format!("{PREFIX}{layer_idx:05}{SUFFIX}"))
    }

    /// Removes what an interrupted run has left in `dir`, whichever executor finished it.
    pub fn remove_all(dir: &Path) -> Result<()> {
        for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
            let path = entry.map_err(Error::io(dir))?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
                std::fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }

    /// Opens the file at `path`, or begins it. It has its full length from the start, so that a disk too
    /// small shows at once where the file system allows.
    pub fn open(path: PathBuf, batch_tokens: &[usize], hidden_size: usize) -> Result<Self> {
        let mut offsets = vec![0];
        let mut end = 0u64;
        for &tokens in batch_tokens {
            end += tokens as u64;
            offsets.push(end);
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path))?;
        file.set_len(end * hidden_size as u64 * 4)
            .map_err(Error::io(&path))?;
        Ok(Self {
            path,
            file,
            offsets,
            hidden_size,
        })
    }

    /// Whether `path` is a file of exactly the length that these batches need.
    pub fn is_complete(path: &Path, batch_tokens: &[usize], hidden_size: usize) -> bool {
        let tokens: usize = batch_tokens.iter().sum();
        std::fs::metadata(path)
            .is_ok_and(|m| m.is_file() && m.len() == (tokens * hidden_size * 4) as u64)
    }

    /// Stores a batch: (tokens, hidden_size). When this returns it survives a crash.
    pub fn write(&mut self, batch: usize, hidden_states: &Tensor) -> Result<()> {
        let values: Vec<f32> = hidden_states
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.seek(batch)?;
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(Error::io(&self.path))
    }

    /// Fetches a batch to `device` in the element type that is computed with.
    pub fn read(&mut self, batch: usize, device: &Device, dtype: DType) -> Result<Tensor> {
        let tokens = (self.offsets[batch + 1] - self.offsets[batch]) as usize;
        let mut bytes = vec![0u8; tokens * self.hidden_size * 4];
        self.seek(batch)?;
        self.file
            .read_exact(&mut bytes)
            .map_err(Error::io(&self.path))?;
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

    /// Closes and removes the file.
    pub fn remove(self) -> Result<()> {
        drop(self.file);
        std::fs::remove_file(&self.path).map_err(Error::io(&self.path))
    }

    fn seek(&mut self, batch: usize) -> Result<()> {
        let at = self.offsets[batch] * self.hidden_size as u64 * 4;
        self.file
            .seek(SeekFrom::Start(at))
            .map_err(Error::io(&self.path))?;
        Ok(())
    }
}
