//! Keeps a second process away from an output directory.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use super::directory::refused;
use crate::{Error, Result};

/// The file that is locked.
pub(super) const LOCK: &str = ".attnscope-lock";

/// Locks the directory `dir`, in which what belongs to `out` is being written, until the returned file is closed;
/// the operating system does that however the process ends.
///
/// # Errors
/// [`Error::OutDir`] if another process holds the lock.
pub(crate) fn lock(out: &Path, dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(out)),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            tracing::warn!(
                "{}: this file system has no locks; let no second process write here",
                out.display()
            );
            Ok(file)
        }
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

/// Another process writes to `out`.
pub(super) fn in_use(out: &Path) -> Error {
    refused(
        out,
        "another process is writing here; wait for it, or choose another --out",
    )
}
