//! From bytes on disk to tensors on a device.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use safetensors::Dtype;

use super::{Checkpoint, TensorEntry};
use crate::{Error, Result};

/// Elements a thread reads and converts at once: what a conversion needs beside its result.
const BLOCK: usize = 1 << 20;

/// Reads tensors of a checkpoint to a device, in the element type that is computed with.
///
/// Bytes are read and converted to float32 block by block straight into their place, so that on the CPU
/// loading needs no more memory than the result, whatever the checkpoint's own type. For another element type
/// or device a float32 copy of one tensor exists for a moment.
#[derive(Debug, Clone)]
pub struct Weights<'a> {
    /// Where they are read from.
    pub checkpoint: &'a Checkpoint,
    /// Where they go.
    pub device: Device,
    /// What they become.
    pub dtype: DType,
}

impl Weights<'_> {
    /// The tensor `name`, which must have `shape`.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let entry = self.entry(name, shape)?;
        let mut data = vec![0f32; shape.iter().product()];
        self.read(name, entry, &mut data)?;
        self.place(data, shape)
    }

    /// Matrices one below the other: the tensors `names`, each of shape (`rows`, `columns`), as one of
    /// shape (names · rows, columns).
    pub fn stack(&self, names: &[String], rows: usize, columns: usize) -> Result<Tensor> {
        let mut data = vec![0f32; names.len() * rows * columns];
        for (name, part) in names.iter().zip(data.chunks_mut((rows * columns).max(1))) {
            let entry = self.entry(name, &[rows, columns])?;
            self.read(name, entry, part)?;
        }
        self.place(data, &[names.len() * rows, columns])
    }

    /// Rows of the matrix `name` of shape (`rows`, `columns`), one for each index: (indices, columns).
    /// Only these rows are read, each once.
    pub fn rows(&self, name: &str, rows: usize, columns: usize, indices: &[u32]) -> Result<Tensor> {
        let entry = self.entry(name, &[rows, columns])?;
        let mut data = vec![0f32; indices.len() * columns];
        let mut wanted: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (i, &index) in indices.iter().enumerate() {
            if index as usize >= rows {
                return Err(Error::Checkpoint {
                    path: self.checkpoint.files[entry.file].clone(),
                    message: format!(
                        "row {index} of tensor `{name}` is wanted, which has {rows} rows"
                    ),
                });
            }
            wanted.entry(index).or_default().push(i);
        }
        let path = &self.checkpoint.files[entry.file];
        let row_bytes = columns * entry.dtype.bitsize() / 8;
        let read = |row: u32, file: &mut File, bytes: &mut [u8], out: &mut [f32]| {
            file.seek(SeekFrom::Start(
                entry.offset + u64::from(row) * row_bytes as u64,
            ))?;
            file.read_exact(bytes)?;
            convert(entry.dtype, bytes, out)
        };
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut bytes = vec![0u8; row_bytes];
        for (index, places) in wanted {
            let first = places[0] * columns;
            let out = &mut data[first..first + columns];
            read(index, &mut file, &mut bytes, out).map_err(|e| unreadable(path, name, e))?;
            for &place in &places[1..] {
                data.copy_within(first..first + columns, place * columns);
            }
        }
        self.place(data, &[indices.len(), columns])
    }

    fn entry(&self, name: &str, shape: &[usize]) -> Result<&TensorEntry> {
        let Some(entry) = self.checkpoint.get(name) else {
            return Err(Error::MissingTensors {
                path: self.checkpoint.dir.clone(),
                names: vec![name.into()],
            });
        };
        if entry.shape != shape {
            return Err(Error::TensorMismatch {
                path: self.checkpoint.files[entry.file].clone(),
                tensor: name.into(),
                expected: format!("shape {shape:?}"),
                found: format!("shape {:?}", entry.shape),
            });
        }
        Ok(entry)
    }

    /// Fills `out` with the tensor's elements.
    fn read(&self, name: &str, entry: &TensorEntry, out: &mut [f32]) -> Result<()> {
        let path = &self.checkpoint.files[entry.file];
        let size = entry.dtype.bitsize() / 8;
        out.par_chunks_mut(BLOCK)
            .enumerate()
            .try_for_each(|(block, out)| {
                let mut bytes = vec![0u8; out.len() * size];
                let from = entry.offset + (block * BLOCK * size) as u64;
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(from))?;
                file.read_exact(&mut bytes)?;
                convert(entry.dtype, &bytes, out)
            })
            .map_err(|e| unreadable(path, name, e))
    }

    fn place(&self, data: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        let tensor = Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(self.dtype)?;
        Ok(tensor.to_device(&self.device)?)
    }
}

fn unreadable(path: &Path, tensor: &str, error: std::io::Error) -> Error {
    Error::Checkpoint {
        path: path.to_path_buf(),
        message: format!("tensor `{tensor}` cannot be read: {error}"),
    }
}

/// Little-endian bytes to float32; float64 is rounded, the others are exact.
fn convert(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> std::io::Result<()> {
    match dtype {
        Dtype::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *o = f32::from_le_bytes(*b);
            }
        }
        Dtype::BF16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *o = bf16::from_le_bytes(*b).to_f32();
            }
        }
        Dtype::F16 => {
            let halves: Vec<f16> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b))
                .collect();
            halves.convert_to_f32_slice(out);
        }
        Dtype::F64 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *o = f64::from_le_bytes(*b) as f32;
            }
        }
        other => {
            // `Checkpoint::check` lets none through.
            return Err(std::io::Error::other(format!(
                "{other:?} cannot be converted"
            )));
        }
    }
    Ok(())
}
