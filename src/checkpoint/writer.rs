//! Writing a checkpoint: where every tensor will be is known before the first is, so that they can come in any
//! order and in parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use sha2::{Digest, Sha256};

use super::{SINGLE_FILE, TensorSpec};
use crate::{Error, Result};

/// Where the tensors of a checkpoint will be: its files and their headers.
#[derive(Debug, Clone)]
pub struct OutputLayout {
    /// The files, in order.
    pub files: Vec<OutputFile>,
    /// Element type of all tensors.
    pub dtype: Dtype,
    tensors: BTreeMap<String, Place>,
}

/// A weight file to be written.
#[derive(Debug, Clone)]
pub struct OutputFile {
    /// `model.safetensors` or `model-00001-of-00004.safetensors`.
    pub name: String,
    /// Its length and header, encoded.
    header: Vec<u8>,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// Where a tensor is.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    /// Of its first byte, from the beginning of the file.
    offset: u64,
    bytes: u64,
}

impl OutputLayout {
    /// Distributes `tensors` in their order over files of at most `max_file_bytes` of data (a tensor larger than
    /// that has a file of its own).
    ///
    /// # Errors
    /// [`Error::Usage`] if the tensors cannot be described by a safetensors header, as when two have one name.
    pub fn new(tensors: &[TensorSpec], dtype: Dtype, max_file_bytes: u64) -> Result<Self> {
        let bytes_of = |spec: &TensorSpec| {
            spec.shape.iter().product::<usize>() as u64 * dtype.bitsize() as u64 / 8
        };
        // safetensors' own types take it for granted.
        let mut names = BTreeSet::new();
        if let Some(twice) = tensors.iter().find(|spec| !names.insert(&spec.name)) {
            return Err(Error::Usage(format!(
                "two tensors are called `{}`",
                twice.name
            )));
        }
        let mut groups: Vec<Vec<&TensorSpec>> = Vec::new();
        let mut filled = 0;
        for spec in tensors {
            let bytes = bytes_of(spec);
            if groups.is_empty() || filled + bytes > max_file_bytes {
                groups.push(Vec::new());
                filled = 0;
            }
            filled += bytes;
            // There is a group: the first tensor opens one.
            if let Some(group) = groups.last_mut() {
                group.push(spec);
            }
        }
        let count = groups.len();
        let mut layout = Self {
            files: Vec::new(),
            dtype,
            tensors: BTreeMap::new(),
        };
        for (i, group) in groups.iter().enumerate() {
            let mut infos = Vec::new();
            let mut end = 0;
            for spec in group {
                let start = end;
                end += bytes_of(spec) as usize;
                let info = TensorInfo {
                    dtype,
                    shape: spec.shape.clone(),
                    data_offsets: (start, end),
                };
                infos.push((spec.name.clone(), info));
            }
            let header = encode_header(infos)?;
            let mut offset = header.len() as u64;
            for spec in group {
                let place = Place {
                    file: i,
                    offset,
                    bytes: bytes_of(spec),
                };
                offset += place.bytes;
                layout.tensors.insert(spec.name.clone(), place);
            }
            let name = match count {
                1 => SINGLE_FILE.to_string(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
            };
            layout.files.push(OutputFile {
                name,
                header,
                bytes: offset,
            });
        }
        Ok(layout)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Of the headers of all files: layouts that agree in it have every tensor in the same place.
    pub fn sha256(&self) -> String {
        let headers = self.files.iter().map(|file| file.header.as_slice());
        let mut hash = Sha256::new();
        headers.for_each(|header| hash.update(header));
        crate::hex(&hash.finalize())
    }

    /// The content of `model.safetensors.index.json`; `None` where there is a single file, which needs none.
    pub fn index(&self) -> Option<serde_json::Value> {
        let total: u64 = self.tensors.values().map(|place| place.bytes).sum();
        let weight_map: BTreeMap<&str, &str> = self
            .tensors
            .iter()
            .map(|(name, place)| (name.as_str(), self.files[place.file].name.as_str()))
            .collect();
        (self.files.len() > 1).then(
            || serde_json::json!({"metadata": {"total_size": total}, "weight_map": weight_map}),
        )
    }
}

/// The length of the header and the header, padded as safetensors' own writer does, so that data is aligned.
fn encode_header(infos: Vec<(String, TensorInfo)>) -> Result<Vec<u8>> {
    // What transformers and others look for to know the tensors' origin; torch reads them as they are.
    let origin = [("format".to_string(), "pt".to_string())].into();
    let invalid = |error: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "the tensors do not make a safetensors file: {error}"
        ))
    };
    let metadata = Metadata::new(Some(origin), infos).map_err(|error| invalid(&error))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| invalid(&error))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    Ok(header)
}

/// The files of an [`OutputLayout`], being written. They have their full length from the beginning.
#[derive(Debug)]
pub struct OutputFiles<'a> {
    layout: &'a OutputLayout,
    files: Vec<(PathBuf, Mutex<File>)>,
}

impl<'a> OutputFiles<'a> {
    /// Creates the files in `dir`, or opens those that an earlier process has begun there.
    pub fn open(dir: &Path, layout: &'a OutputLayout) -> Result<Self> {
        let mut files = Vec::new();
        for output in &layout.files {
            let path = dir.join(&output.name);
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(Error::io(&path))?;
            file.set_len(output.bytes)
                .and_then(|()| file.write_all(&output.header))
                .map_err(Error::io(&path))?;
            files.push((path, Mutex::new(file)));
        }
        Ok(Self { layout, files })
    }

    /// Writes `bytes` at `offset` in the data of the tensor `name`. Can be called from several threads.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such tensor or it is smaller.
    pub fn write(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let place = self.layout.tensors.get(name);
        let fits = |place: &&Place| {
            let end = offset.checked_add(bytes.len() as u64);
            end.is_some_and(|end| end <= place.bytes)
        };
        let Some(place) = place.filter(fits) else {
            return Err(Error::Usage(format!(
                "bytes {offset} and on of tensor `{name}` have no place in the output"
            )));
        };
        let (path, file) = &self.files[place.file];
        // A thread that panicked has written a part at most, and its panic goes on anyway.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(place.offset + offset))
            .and_then(|_| file.write_all(bytes))
            .map_err(Error::io(path))
    }

    /// Waits until everything that was written is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.files.iter().try_for_each(|(path, file)| {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.sync_all().map_err(Error::io(path))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, INDEX_FILE};

    #[test]
    fn tensors_in_any_order_and_in_parts_make_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let specs = [
            TensorSpec::new("a", [4, 3]),
            TensorSpec::new("b", [5]),
            TensorSpec::new("c", [2, 2]),
        ];
        for (limit, count) in [(1 << 20, 1), (17 * 4, 2), (1, 3)] {
            let out = dir.path().join(limit.to_string());
            std::fs::create_dir(&out).unwrap();
            let layout = OutputLayout::new(&specs, Dtype::F32, limit).unwrap();
            assert_eq!(layout.files.len(), count);
            let files = OutputFiles::open(&out, &layout).unwrap();
            files.write("c", 8, &[7; 8]).unwrap();
            files.write("a", 0, &[1; 48]).unwrap();
            files.write("c", 0, &[6; 8]).unwrap();
            assert!(files.write("c", 9, &[0; 8]).is_err());
            assert!(files.write("d", 0, &[]).is_err());
            // Opened again, what was written stays.
            let files = OutputFiles::open(&out, &layout).unwrap();
            files.write("b", 0, &[2; 20]).unwrap();
            files.sync().unwrap();
            if let Some(index) = layout.index() {
                std::fs::write(out.join(INDEX_FILE), index.to_string()).unwrap();
            }
            let checkpoint = Checkpoint::open(&out).unwrap();
            checkpoint.check(&specs).unwrap();
            let bytes: Vec<Vec<u8>> = layout
                .files
                .iter()
                .map(|file| std::fs::read(out.join(&file.name)).unwrap())
                .collect();
            let data = |name: &str| {
                let entry = checkpoint.get(name).unwrap();
                let from = entry.offset as usize;
                assert_eq!(from % 4, 0);
                let elements: usize = entry.shape.iter().product();
                bytes[entry.file][from..from + elements * 4].to_vec()
            };
            assert_eq!(data("a"), [1; 48]);
            assert_eq!(data("b"), [2; 20]);
            assert_eq!(data("c"), [[6; 8], [7; 8]].concat());
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let specs = [TensorSpec::new("a", [1]), TensorSpec::new("a", [2])];
        assert!(OutputLayout::new(&specs, Dtype::F32, 1 << 20).is_err());
    }
}
