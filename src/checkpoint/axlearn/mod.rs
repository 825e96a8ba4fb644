//! axlearn's checkpoints: an `index` and zarr v2 arrays, as TensorStore writes them.
//!
//! ```text
//! step_00250000/
//!   index                                    list of all arrays; written last
//!   gda/model/decoder/…/weight/.zarray       shape, chunks, element type
//!   gda/model/decoder/…/weight/0.0.3.0.0     a chunk: one Zstandard frame
//!   gda/learner/…                            the optimizer's state; never read
//! ```
//!
//! Chunks are the shards of the mesh the model was trained on, so any axis can be split, the layer axis too, or
//! none. They are read as streams ([`ChunkReader`]): nothing bounds their size. A chunk that is missing is an
//! error; TensorStore would read zeros.
//!
//! The `zarrs` crate reads the same arrays, but unpacks a chunk as a whole, and brings more crates than this
//! reader has files.

mod chunk;
mod files;
mod index;
mod zarr;

use std::{collections::BTreeMap, io, path::PathBuf};

pub use chunk::ChunkReader;
pub use files::{Files, LocalFiles};
pub use zarr::{ArrayLayout, Compressor, ElementType, unravel};

use crate::{Error, Result};

/// The folder with the arrays of the model, in the step directory.
const MODEL: &str = "gda/model";

/// The model's arrays in an axlearn checkpoint.
pub struct AxlearnCheckpoint<F> {
    files: F,
    arrays: BTreeMap<String, Array>,
}

/// One array.
#[derive(Debug, Clone)]
pub struct Array {
    /// Shape, chunks and element type.
    pub layout: ArrayLayout,
    /// Its folder below the step directory.
    folder: String,
    /// The sizes of its chunks as they are stored, in the order of [`ArrayLayout::places`].
    pub stored: Vec<u64>,
}

impl Array {
    /// The chunk file at a place in the grid, relative to the step directory.
    pub fn chunk_path(&self, place: &[usize]) -> String {
        format!("{}/{}", self.folder, self.layout.chunk_name(place))
    }
}

impl<F: Files> AxlearnCheckpoint<F> {
    /// Reads `index` and the `.zarray` of every array of the model, and makes sure that all chunks are there.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no `index`, it lists arrays that are absent or described otherwise by
    /// their `.zarray`, or chunks are missing; all of them are named, up to a readable number.
    pub fn open(files: F) -> Result<Self> {
        let path = files.locate("index");
        let text = files.read("index").map_err(|error| match &error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Error::Checkpoint {
                    path: path.clone(),
                    message: "there is no such file; give the step directory of an axlearn checkpoint \
                              (…/checkpoints/step_00250000), fully written or copied: `index` is written last"
                        .into(),
                }
            }
            _ => error,
        })?;
        let bad = |message: String| Error::Checkpoint {
            path: path.clone(),
            message,
        };
        let entries = index::parse(&text).map_err(&bad)?;
        if entries.is_empty() {
            return Err(bad("lists no array below `model/`".into()));
        }
        let listing = files.list(MODEL)?;
        let folder = |path: &str| format!("gda/{path}");
        let absent: Vec<&str> = entries
            .iter()
            .map(|entry| entry.path.as_str())
            .filter(|path| !listing.contains_key(&format!("{}/.zarray", folder(path))))
            .collect();
        if !absent.is_empty() {
            return Err(bad(format!(
                "lists {} whose .zarray is absent: {}; copy the checkpoint again",
                counted(absent.len(), "array"),
                named(&absent)
            )));
        }
        let mut arrays = BTreeMap::new();
        for entry in entries {
            let folder = folder(&entry.path);
            let zarray = format!("{folder}/.zarray");
            let place = files.locate(&zarray);
            let bad = |message: String| Error::Checkpoint {
                path: place.clone(),
                message,
            };
            let layout = ArrayLayout::parse(&files.read(&zarray)?).map_err(&bad)?;
            if layout.shape != entry.shape || layout.element_type.name() != entry.dtype {
                return Err(bad(format!(
                    "is a {} array of shape {:?}, `index` says {} of shape {:?}; they are of different checkpoints",
                    layout.element_type.name(),
                    layout.shape,
                    entry.dtype,
                    entry.shape
                )));
            }
            let mut array = Array {
                layout,
                folder,
                stored: Vec::new(),
            };
            let count: usize = array.layout.grid().iter().product();
            if count > listing.len() {
                return Err(bad(format!(
                    "describes {count} chunks, and there are only {} files in the whole model; copy the checkpoint \
                     again",
                    listing.len()
                )));
            }
            let mut missing = Vec::new();
            for place in array.layout.places() {
                match listing.get(&array.chunk_path(&place)) {
                    Some(&size) => array.stored.push(size),
                    None => missing.push(array.layout.chunk_name(&place)),
                }
            }
            if !missing.is_empty() {
                return Err(Error::Checkpoint {
                    path: files.locate(&array.folder),
                    message: format!(
                        "{} of {count} missing: {}; copy the checkpoint again",
                        counted(missing.len(), "chunk"),
                        named(&missing)
                    ),
                });
            }
            // `model/` is the same for all.
            let name = entry.path["model/".len()..].to_string();
            arrays.insert(name, array);
        }
        Ok(Self { files, arrays })
    }

    /// The arrays, by their paths below `model/`.
    pub fn arrays(&self) -> &BTreeMap<String, Array> {
        &self.arrays
    }

    /// Where the checkpoint is, for people.
    pub fn place(&self) -> PathBuf {
        self.files.locate("")
    }

    /// The files it was read from.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// Opens the chunk of `array` at a place in its grid.
    pub fn chunk(&self, array: &Array, place: &[usize]) -> Result<ChunkReader> {
        let path = array.chunk_path(place);
        let file = self.files.open(&path)?;
        let layout = &array.layout;
        ChunkReader::new(file, layout.compressor, layout.chunk_bytes())
            .map_err(Error::io(self.files.locate(&path)))
    }

    /// What a failure to read a chunk means: [`Error::Checkpoint`] naming the chunk if it is damaged, the error
    /// of its reader otherwise.
    pub fn chunk_error(&self, array: &Array, place: &[usize], error: io::Error) -> Error {
        let chunk = array.chunk_path(place);
        let path = self.files.locate(&chunk);
        if error.kind() == io::ErrorKind::InvalidData {
            let remedy = self.files.distrust(&chunk);
            return Error::Checkpoint {
                path,
                message: format!("this chunk {error}; {remedy}"),
            };
        }
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::io(path)(error),
        }
    }
}

/// `1 chunk`, `3 chunks`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The first of `names`, and that there are more.
fn named(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
