//! The header of a safetensors file, checked against the file before anything is used.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use safetensors::{Dtype, tensor::TensorInfo};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// safetensors' own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Element types that can be computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    F16,
    BF16,
    F32,
    F64,
}

impl Element {
    /// Bytes per element.
    pub fn size(&self) -> usize {
        match self {
            Element::F16 | Element::BF16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }
}

/// Where a tensor is.
#[derive(Debug, Clone)]
pub struct TensorEntry {
    /// Index into the checkpoint's files.
    pub file: usize,
    /// Offset of the first byte from the beginning of the file.
    pub offset: u64,
    pub element: Element,
    pub shape: Vec<usize>,
}

/// Reads and checks the header of `path`.
pub(super) fn read(path: &Path, file: usize) -> Result<Vec<(String, TensorEntry)>> {
    let bad = |message: String| Error::Checkpoint {
        path: path.to_path_buf(),
        message,
    };
    let mut reader = File::open(path).map_err(Error::io(path))?;
    let length = reader.metadata().map_err(Error::io(path))?.len();
    let mut prefix = [0u8; 8];
    reader.read_exact(&mut prefix).map_err(|_| {
        bad(format!(
            "has {length} bytes, too few for a safetensors file; fetch it again"
        ))
    })?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER || header_length + 8 > length {
        return Err(bad(format!(
            "the header claims {header_length} bytes, the file has {length}; it is damaged or not a safetensors file, \
             fetch it again"
        )));
    }
    let mut header = vec![0u8; header_length as usize];
    reader.read_exact(&mut header).map_err(Error::io(path))?;
    let mut entries = Vec::new();
    let mut end = 0;
    for (name, info) in tensors(&header)
        .map_err(|e| bad(format!("the header is not valid: {e}; fetch it again")))?
    {
        let (from, to) = info.data_offsets;
        if from != end || to < from {
            return Err(bad(format!(
                "tensor `{name}` is said to be at bytes {from}..{to}, but the one before it ends at {end}: \
                 tensors overlap or leave gaps; fetch it again"
            )));
        }
        end = to;
        let bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |n, &d| n.checked_mul(d));
        if bits.is_none() || bits != (to - from).checked_mul(8) {
            return Err(bad(format!(
                "tensor `{name}` of type {:?} and shape {:?} is said to have {} bytes; fetch it again",
                info.dtype,
                info.shape,
                to - from
            )));
        }
        let element = match info.dtype {
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::BF16,
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            other => {
                return Err(Error::TensorMismatch {
                    path: path.to_path_buf(),
                    tensor: name,
                    expected: "element type F16, BF16, F32 or F64".into(),
                    found: format!("{other:?}"),
                });
            }
        };
        let entry = TensorEntry {
            file,
            offset: 8 + header_length + from as u64,
            element,
            shape: info.shape,
        };
        entries.push((name, entry));
    }
    let expected = 8 + header_length + end as u64;
    if length != expected {
        return Err(bad(format!(
            "has {length} bytes, its header describes {expected}; it is {}, fetch it again",
            if length < expected {
                "truncated"
            } else {
                "damaged"
            }
        )));
    }
    Ok(entries)
}

/// What a header says, in the order in which the tensors lie in the file. safetensors' own reader stops at the
/// first thing it does not like without saying where.
fn tensors(header: &[u8]) -> Result<Vec<(String, TensorInfo)>, String> {
    let header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let mut tensors = Vec::with_capacity(header.len());
    for (name, info) in header {
        if name != "__metadata__" {
            let info = TensorInfo::deserialize(info)
                .map_err(|error| format!("tensor `{name}`: {error}"))?;
            tensors.push((name, info));
        }
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    Ok(tensors)
}

/// Feeds a file's name, length and first and last 64 KiB to `hash`.
pub(super) fn hash_ends(path: &Path, hash: &mut Sha256) -> Result<()> {
    const END: u64 = 1 << 16;
    let mut file = File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update(length.to_le_bytes());
    let mut buffer = Vec::new();
    let mut take = |from: u64| -> std::io::Result<()> {
        file.seek(SeekFrom::Start(from))?;
        buffer.clear();
        Read::by_ref(&mut file).take(END).read_to_end(&mut buffer)?;
        hash.update(&buffer);
        Ok(())
    };
    take(0).map_err(Error::io(path))?;
    take(length.saturating_sub(END)).map_err(Error::io(path))
}
