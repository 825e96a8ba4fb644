//! Keeps a second process away from an output directory.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::directory::refused;
use crate::{Error, Result};

/// The file that is locked.
pub(super) const LOCK: &str = ".attnscope-lock";

/// How long a lock that is held is asked for again, at least.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Locks the directory `dir`, in which what belongs to `out` is being written, until the returned file is closed;
/// the operating system does that however the process ends.
///
/// # Errors
/// [`Error::OutDir`] if another process holds the lock.
pub(crate) fn lock(out: &Path, dir: &Path) -> Result<File> {
    try_lock(out, &dir.join(LOCK), ATTEMPTS)?.ok_or_else(|| in_use(out))
}

/// Locks the directory `dir` as [`lock`] does, for what takes others moments only: waits for them, a minute at most.
///
/// # Errors
/// [`Error::OutDir`] if another process holds the lock all the time.
pub(super) fn lock_in_turn(dir: &Path) -> Result<File> {
    try_lock(dir, &dir.join(LOCK), 3000)?.ok_or_else(|| in_use(dir))
}

/// Locks the file `path`, which is created if need be; `None` if another process holds the lock.
pub(super) fn lock_file(out: &Path, path: &Path) -> Result<Option<File>> {
    try_lock(out, path, ATTEMPTS)
}

fn try_lock(out: &Path, path: &Path, attempts: u32) -> Result<Option<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io(path))?;
    let mut locked = file.try_lock();
    // A process that is just being started holds its parent's files for a moment, and with them a lock that the parent
    // has given back.
    for _ in 0..attempts {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        thread::sleep(PAUSE);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            tracing::warn!(
                "{}: this file system has no locks; let no second process write here",
                out.display()
            );
            Ok(Some(file))
        }
        Err(TryLockError::Error(error)) => Err(Error::io(path)(error)),
    }
}

/// Another process writes to `out`.
pub(super) fn in_use(out: &Path) -> Error {
    refused(
        out,
        "another process is writing here; wait for it, or choose another --out",
    )
}
