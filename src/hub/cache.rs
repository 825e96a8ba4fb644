//! The cache directory, in the layout of Python's `huggingface_hub`, so that both share one.
//!
//! ```text
//! models--org--name/
//!   blobs/<etag>                      contents, each once: <sha256> of an LFS file, <git oid> of another
//!   blobs/<etag>.incomplete           as far as an interrupted download came
//!   refs/<revision>                   the commit that a branch or tag stood for when it was last fetched
//!   snapshots/<commit>/<path>         relative symbolic link into blobs/
//!   trees/<commit>.json               the listing of a commit (it never changes, so it never expires)
//! .locks/models--org--name/<etag>.lock
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listing::{RepoFile, RepoKind, is_commit, is_safe_path, is_sha256};
use crate::error::{Error, Result};

/// How often a lock that another process holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The part of the cache that belongs to one repository.
pub(super) struct RepoCache {
    dir: PathBuf,
    locks: PathBuf,
}

/// The lock on one blob, held until dropped. The kernel drops it with the process, so a killed download
/// leaves no stale lock behind.
pub(super) struct BlobLock {
    _file: Option<File>,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, kind: RepoKind, repo: &str) -> Self {
        let folder = format!("{}--{}", kind.plural(), repo.replace('/', "--"));
        RepoCache {
            locks: cache.join(".locks").join(&folder),
            dir: cache.join(folder),
        }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.dir.join("blobs").join(etag)
    }

    /// The commit that `revision` stood for when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.dir.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Records what `revision` stands for. A reference that is right already is not written, so that a
    /// cache which may only be read can be used.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        write_whole(&self.dir.join("refs").join(revision), commit.as_bytes())
    }

    /// Whether the snapshot holds this file in its full length.
    pub(super) fn holds(&self, commit: &str, file: &RepoFile) -> bool {
        let path = self.snapshot(commit).join(&file.path);
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == file.size)
    }

    /// Waits for the right to write the blob. The same file that Python's library locks is locked, in the
    /// same way (`flock`). `None` if `stop` turned true while another process held it.
    pub(super) fn lock(
        &self,
        etag: &str,
        what: &str,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<BlobLock>> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(BlobLock { _file: Some(file) })),
                Err(TryLockError::WouldBlock) => {
                    if stop() {
                        return Ok(None);
                    }
                    if !told {
                        tracing::info!("{what}: another process is downloading it; waiting");
                        told = true;
                    }
                    std::thread::sleep(LOCK_POLL);
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    tracing::warn!(
                        "{}: the file system has no locks; run one download at a time",
                        path.display()
                    );
                    return Ok(Some(BlobLock { _file: None }));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
            }
        }
    }

    /// Makes the blob appear in the snapshot under its own name.
    pub(super) fn link(&self, commit: &str, path: &str, etag: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(path);
        create_parent(&pointer)?;
        // From snapshots/<commit>/ up to the repository's folder, and once more for each folder in `path`.
        let up = "../".repeat(2 + path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&pointer).is_ok_and(|found| found == target) {
            return Ok(());
        }
        match symlink(&target, &self.blob(etag), &pointer) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map_err(Error::io(&pointer)),
        }
        // Either another process has just made the same link, or an old one points elsewhere.
        if fs::read_link(&pointer).is_ok_and(|found| found == target) {
            return Ok(());
        }
        match fs::remove_file(&pointer) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(&pointer)(error))
            }
            _ => symlink(&target, &self.blob(etag), &pointer).map_err(Error::io(&pointer)),
        }
    }

    /// The kept listing of a commit; `None` if there is none that can be used.
    pub(super) fn tree(&self, commit: &str) -> Option<Vec<RepoFile>> {
        let path = self.tree_path(commit);
        let text = fs::read_to_string(&path).ok()?;
        let files = serde_json::from_str::<Tree>(&text)
            .ok()
            .and_then(Tree::into_files);
        if files.is_none() {
            tracing::warn!("{}: cannot be used as a listing; ignored", path.display());
        }
        files
    }

    /// Keeps a listing. It only saves a request later, so a cache that cannot be written is no error here.
    pub(super) fn write_tree(&self, commit: &str, files: &[RepoFile]) {
        let path = self.tree_path(commit);
        let written = serde_json::to_vec_pretty(&Tree::from_files(files))
            .map_err(|error| error.to_string())
            .and_then(|text| write_whole(&path, &text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!("the listing of the repository could not be kept: {error}");
        }
    }

    fn tree_path(&self, commit: &str) -> PathBuf {
        self.dir.join("trees").join(format!("{commit}.json"))
    }

    /// The files that a snapshot's directory holds, sorted by path. Links to blobs that are gone are left
    /// out. `None` if there is no such snapshot.
    pub(super) fn files_on_disk(&self, commit: &str) -> Option<Vec<RepoFile>> {
        let root = self.snapshot(commit);
        if !root.is_dir() {
            return None;
        }
        let mut files = Vec::new();
        let mut directories = vec![String::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(root.join(&directory)).ok()?.flatten() {
                // A name that is not Unicode cannot be one that the Hub has listed.
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let path = format!("{directory}{name}");
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    directories.push(format!("{path}/"));
                } else if let Ok(found) = fs::metadata(entry.path())
                    && found.is_file()
                {
                    let blob = fs::read_link(entry.path()).ok();
                    let etag = blob.and_then(|blob| blob.file_name()?.to_str().map(str::to_owned));
                    files.push(RepoFile {
                        path,
                        size: found.len(),
                        sha256: etag.filter(|etag| is_sha256(etag)),
                        git_oid: None,
                        xet_hash: None,
                    });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Some(files)
    }
}

/// `trees/<commit>.json` as Python's library reads and writes it.
#[derive(Serialize, Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<String, TreeFile>,
}

#[derive(Serialize, Deserialize)]
struct TreeFile {
    size: u64,
    blob_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xet_hash: Option<String>,
}

const TREE_VERSION: u32 = 1;

impl Tree {
    fn from_files(files: &[RepoFile]) -> Tree {
        let entry = |file: &RepoFile| {
            let entry = TreeFile {
                size: file.size,
                blob_id: file.git_oid.clone()?,
                lfs_size: file.sha256.as_ref().map(|_| file.size),
                lfs_sha256: file.sha256.clone(),
                xet_hash: file.xet_hash.clone(),
            };
            Some((file.path.clone(), entry))
        };
        Tree {
            format_version: TREE_VERSION,
            files: files.iter().filter_map(entry).collect(),
        }
    }

    /// `None` if another version wrote it, or anything in it could lead astray.
    fn into_files(self) -> Option<Vec<RepoFile>> {
        if self.format_version != TREE_VERSION {
            return None;
        }
        let file = |(path, file): (String, TreeFile)| {
            let sound = is_safe_path(&path)
                && is_commit(&file.blob_id)
                && file.lfs_sha256.as_deref().is_none_or(is_sha256);
            sound.then(|| RepoFile {
                path,
                size: file.lfs_size.unwrap_or(file.size),
                sha256: file.lfs_sha256,
                git_oid: Some(file.blob_id),
                xet_hash: file.xet_hash,
            })
        };
        self.files.into_iter().map(file).collect()
    }
}

pub(super) fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(Error::io(parent)),
        None => Ok(()),
    }
}

/// Writes a small file so that a reader sees the old content or the new, never a part.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    create_parent(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    // `make_in` with `File::create_new` rather than a plain temporary file: others who share the cache
    // must be able to read it, and temporary files are private.
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".tmp")
        .make_in(directory, |path| File::create_new(path))
        .map_err(Error::io(directory))?;
    io::Write::write_all(file.as_file_mut(), content).map_err(Error::io(path))?;
    file.persist(path)
        .map_err(|error| Error::io(path)(error.error))?;
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &Path, _blob: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

/// Symbolic links need a privilege on Windows; without it the file is copied, as Python does.
#[cfg(not(unix))]
fn symlink(_target: &Path, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::copy(blob, pointer).map(|_| ())
}
