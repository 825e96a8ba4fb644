//! The header of a safetensors file, checked against the file before anything is used.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use safetensors::{Dtype, tensor::TensorInfo};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// safetensors' own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Where a tensor is.
#[derive(Debug, Clone)]
pub struct TensorEntry {
    /// Index into the checkpoint's files.
    pub file: usize,
    /// Offset of the first byte from the beginning of the file.
    pub offset: u64,
    /// Element type, as the file states it.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
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
    // Not safetensors' own `Metadata`: it refuses the same things, but cannot say what it has found.
    let mut tensors: Vec<(String, TensorInfo)> =
        serde_json::from_slice::<BTreeMap<String, Value>>(&header)
            .map_err(|e| bad(format!("the header is not valid: {e}; fetch it again")))?
            .into_iter()
            .filter(|(name, _)| name != "__metadata__")
            .map(|(name, info)| match serde_json::from_value(info) {
                Ok(info) => Ok((name, info)),
                Err(e) => Err(bad(format!(
                    "the header's entry of tensor `{name}` is not valid: {e}; fetch it again"
                ))),
            })
            .collect::<Result<_>>()?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    let mut entries = Vec::with_capacity(tensors.len());
    let mut end = 0;
    for (name, info) in tensors {
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
        let entry = TensorEntry {
            file,
            offset: 8 + header_length + from as u64,
            dtype: info.dtype,
            shape: info.shape,
        };
        entries.push((name, entry));
    }
    let expected = (8 + header_length).checked_add(end as u64);
    if Some(length) != expected {
        let expected = expected.unwrap_or(u64::MAX);
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

/// Feeds the header of `path` to `hash`, and the beginning of each of `tensors` in it.
pub(super) fn hash_file<'a>(
    path: &Path,
    tensors: impl Iterator<Item = &'a TensorEntry>,
    hash: &mut Sha256,
) -> Result<()> {
    const BEGINNING: u64 = 1 << 12;
    let mut file = File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update(length.to_le_bytes());
    let mut buffer = Vec::new();
    let mut take = |from: u64, bytes: u64| -> std::io::Result<()> {
        file.seek(SeekFrom::Start(from))?;
        buffer.clear();
        Read::by_ref(&mut file)
            .take(bytes)
            .read_to_end(&mut buffer)?;
        hash.update(&buffer);
        Ok(())
    };
    let mut offsets: Vec<u64> = tensors.map(|tensor| tensor.offset).collect();
    offsets.sort_unstable();
    take(0, offsets.first().copied().unwrap_or(length)).map_err(Error::io(path))?;
    offsets
        .into_iter()
        .try_for_each(|offset| take(offset, BEGINNING))
        .map_err(Error::io(path))
}
