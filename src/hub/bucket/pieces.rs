//! The directory that holds the pieces.
//!
//! ```text
//! <object>-<version>-<offset>-<length>.piece    bytes of an object, whole
//! .piece-….tmp                                  a piece that is being written
//! .attnscope-lock                               held by the process that uses the directory
//! ```
//!
//! `<object>` is a hash of the object's address, `<version>` one of its size and ETag: pieces of an object
//! that has been replaced are never taken for pieces of the new one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::BucketFile;
use crate::error::{Error, Result};
use crate::{hex, store};

const SUFFIX: &str = ".piece";
const TEMPORARY_PREFIX: &str = ".piece-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// What the names of an object's pieces begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    object: String,
    version: String,
}

impl Names {
    /// `url` is the object's address.
    pub(super) fn new(url: &str, file: &BucketFile) -> Names {
        let hash = |text: &str| hex(&Sha256::digest(text)[..8]);
        let e_tag = file.e_tag.as_deref().unwrap_or_default();
        Names {
            object: hash(url),
            version: hash(&format!("{} {e_tag}", file.size)),
        }
    }
}

/// A piece as its name describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    names: Names,
    offset: u64,
    length: u64,
}

impl Piece {
    fn name(&self) -> String {
        let Names { object, version } = &self.names;
        format!("{object}-{version}-{}-{}{SUFFIX}", self.offset, self.length)
    }

    fn parse(name: &str) -> Option<Piece> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let mut next = || parts.next().map(str::to_owned);
        let piece = Piece {
            names: Names {
                object: next()?,
                version: next()?,
            },
            offset: next()?.parse().ok()?,
            length: next()?.parse().ok()?,
        };
        (piece.name() == name).then_some(piece)
    }
}

/// The directory, locked for this process.
pub(super) struct PieceDir {
    dir: PathBuf,
    /// Whole pieces that an earlier process left, by object, until somebody asks for them.
    found: HashMap<String, Vec<Piece>>,
    _lock: File,
}

impl PieceDir {
    /// Opens the directory or creates it, and removes half-written pieces.
    pub(super) fn open(dir: PathBuf) -> Result<PieceDir> {
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let lock = store::lock(&dir, &dir)?;
        let mut found: HashMap<String, Vec<Piece>> = HashMap::new();
        for entry in fs::read_dir(&dir).map_err(Error::io(&dir))? {
            let entry = entry.map_err(Error::io(&dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            if name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX) {
                discard(&entry.path());
            } else if let Some(piece) = Piece::parse(name) {
                let length = entry.metadata().map_err(Error::io(entry.path()))?.len();
                if length == piece.length {
                    found
                        .entry(piece.names.object.clone())
                        .or_default()
                        .push(piece);
                } else {
                    discard(&entry.path());
                }
            }
        }
        Ok(PieceDir {
            dir,
            found,
            _lock: lock,
        })
    }

    /// Which of an object's pieces are there already, as `(offset, length)`. `fits` says what can be used; the
    /// others, and those of other versions of the object, are removed.
    pub(super) fn take_up(
        &mut self,
        names: &Names,
        fits: impl Fn(u64, u64) -> bool,
    ) -> Vec<(u64, u64)> {
        let found = self.found.remove(&names.object).unwrap_or_default();
        let (usable, stale): (Vec<Piece>, Vec<Piece>) = found
            .into_iter()
            .partition(|piece| piece.names == *names && fits(piece.offset, piece.length));
        for piece in stale {
            discard(&self.dir.join(piece.name()));
        }
        usable
            .into_iter()
            .map(|piece| (piece.offset, piece.length))
            .collect()
    }

    pub(super) fn path(&self, names: &Names, offset: u64, length: u64) -> PathBuf {
        let names = names.clone();
        self.dir.join(
            Piece {
                names,
                offset,
                length,
            }
            .name(),
        )
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A file in `dir` for a piece that is not whole yet; it vanishes unless it is kept.
pub(super) fn temporary(dir: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .suffix(TEMPORARY_SUFFIX)
        .tempfile_in(dir)
        .map_err(Error::io(dir))
}

/// Removes a piece. One that stays costs space and nothing else, so it is only mentioned.
pub(super) fn discard(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("{}: cannot be removed: {error}", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, e_tag: Option<&str>) -> BucketFile {
        BucketFile {
            path: "a/0".to_owned(),
            size,
            e_tag: e_tag.map(str::to_owned),
        }
    }

    #[test]
    fn pieces_are_found_by_name_and_length() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("pieces");
        let names = Names::new("gs://b/a/0", &file(20, Some("x")));
        let replaced = Names::new("gs://b/a/0", &file(20, Some("y")));
        let resized = Names::new("gs://b/a/0", &file(21, Some("x")));
        let other = Names::new("gs://b/a/1", &file(20, Some("x")));
        let opened = PieceDir::open(dir.clone()).unwrap();
        let write = |names: &Names, offset, length: u64, bytes: usize| {
            let path = opened.path(names, offset, length);
            fs::write(&path, vec![1; bytes]).unwrap();
            path
        };
        let whole = write(&names, 0, 8, 8);
        let short = write(&names, 8, 8, 7);
        let off_grid = write(&names, 3, 8, 8);
        let stale = [write(&replaced, 0, 8, 8), write(&resized, 0, 8, 8)];
        let neighbour = write(&other, 0, 8, 8);
        let half = dir.join(".piece-x.tmp");
        let foreign = dir.join("notes.txt");
        fs::write(&half, "x").unwrap();
        fs::write(&foreign, "x").unwrap();

        assert!(matches!(
            PieceDir::open(dir.clone()),
            Err(Error::OutDir { .. })
        ));
        drop(opened);
        let mut opened = PieceDir::open(dir).unwrap();
        assert!(!half.exists() && !short.exists());
        let there = opened.take_up(&names, |offset, length| offset % 8 == 0 && length == 8);
        assert_eq!(there, [(0, 8)]);
        assert!(whole.exists() && neighbour.exists() && foreign.exists());
        assert!(!off_grid.exists() && stale.iter().all(|path| !path.exists()));
    }
}
