//! Files that appear under their final name only when they are complete.
//!
//! Whatever kills the process, a reader sees the old file, the new file or no file, never half of one:
//! the bytes go to a hidden temporary file in the same directory, are flushed to the disk, and the file is
//! then renamed; the directory is flushed too, because a rename that only the page cache knows of does not
//! survive a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use crate::{Error, Result};

const TEMPORARY_PREFIX: &str = ".attnscope-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A file being written; it gets its name with [`AtomicFile::commit`] and vanishes when dropped before.
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will be called `path`; the directory must exist.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
        // Temporary files are private by default, results are as readable as the umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder
            .tempfile_in(directory_of(&path))
            .map_err(|error| Error::io(&path)(without_name(error)))?;
        Ok(Self { file, path })
    }

    /// A second handle of the file, for a writer that wants to own one.
    pub(super) fn handle(&self) -> Result<File> {
        self.file
            .as_file()
            .try_clone()
            .map_err(Error::io(&self.path))
    }

    /// Flushes everything to the disk and gives the file its name, replacing what had it before.
    pub fn commit(self) -> Result<()> {
        let Self { file, path } = self;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path)
            .map_err(|refused| Error::io(&path)(refused.error))?;
        sync_directory(directory_of(&path))
    }

    /// The same, except that a file which has got the name meanwhile keeps it.
    ///
    /// # Errors
    /// [`Error::OutDir`] where the name is taken.
    pub fn commit_new(self) -> Result<()> {
        let Self { file, path } = self;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        match file.persist_noclobber(&path) {
            Ok(_) => sync_directory(directory_of(&path)),
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::OutDir {
                    path,
                    message: "is there already and is not overwritten; choose another --out".into(),
                })
            }
            Err(refused) => Err(Error::io(&path)(refused.error)),
        }
    }
}

/// The system's own error, without the name of a temporary file that nobody knows.
fn without_name(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|wrapped| wrapped.source());
    let inner = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
    match inner.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error,
    }
}

impl Write for AtomicFile {
    // `NamedTempFile` would wrap errors in the temporary name and lose the system's error code.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Writes `bytes` as the whole of `path`.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.commit()
}

/// Writes `value` as indented JSON with a final newline.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::io(path)(io::Error::other(error)))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

/// Removes the temporary files that killed processes left in `dir`; returns how many there were.
///
/// Only for a directory that no living process writes to.
pub fn remove_leftovers(dir: &Path) -> Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether `name` is one of our temporary files.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// Creates `dir` and its parents, durably.
pub(crate) fn create_directory(dir: &Path) -> Result<()> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    missing
        .into_iter()
        .try_for_each(|created| sync_directory(directory_of(created)))
}

/// The directory that holds `path`; `.` for a bare file name.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
pub(crate) fn sync_directory(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(Error::io(dir))
}

/// Windows has no handle of a directory to flush; the rename itself is journalled there.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_dir: &Path) -> Result<()> {
    Ok(())
}
