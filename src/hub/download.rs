//! One file from the Hub into the cache: resumed, checked, and put in place only when it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::api::Body;
use super::listing::RepoFile;
use super::retry::Failure;
use crate::error::{Error, Result};
use crate::hex;

/// How soon a waiting thread notices that another one has failed.
pub(super) const STOP_POLL: Duration = Duration::from_millis(100);

/// A blob that is being written: `blobs/<etag>.incomplete`.
///
/// What is on disk is always a beginning of the file, so its length is where to go on, whatever stopped the
/// download: a cut connection, a full disk or `kill -9`.
pub(super) struct Partial<'a> {
    wanted: &'a RepoFile,
    path: PathBuf,
    file: File,
    /// Bytes on disk, all of which have gone through `checksum`.
    length: u64,
    checksum: Checksum,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier attempt left, or begins anew. `blob` is where the whole file will be.
    pub(super) fn open(wanted: &'a RepoFile, blob: &Path) -> Result<Self> {
        let mut path = blob.as_os_str().to_owned();
        path.push(".incomplete");
        let path = PathBuf::from(path);
        super::cache::create_parent(&path)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        let checksum = Checksum::new(wanted);
        let mut partial = Partial {
            wanted,
            path,
            file,
            length: 0,
            checksum,
        };
        partial.take_up()?;
        Ok(partial)
    }

    /// Reads what is on disk through the checksum.
    fn take_up(&mut self) -> Result<()> {
        let on_disk = self.file.metadata().map_err(Error::io(&self.path))?.len();
        if on_disk > self.wanted.size {
            return self.start_over();
        }
        let mut buffer = vec![0; 1 << 20];
        let mut beginning = (&self.file).take(on_disk);
        loop {
            match beginning.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    self.checksum.update(&buffer[..read]);
                    self.length += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.path)(error)),
            }
        }
    }

    fn start_over(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::io(&self.path))?;
        self.length = 0;
        self.checksum = Checksum::new(self.wanted);
        Ok(())
    }

    /// Bytes that are on disk.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether no byte is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.length == self.wanted.size
    }

    /// Writes what the server sends until the response ends. `go_on` hears the length on disk after every
    /// chunk, and now and then while nothing comes; by returning false it ends the transfer early.
    pub(super) fn receive(
        &mut self,
        mut body: Body,
        runtime: &Handle,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Failure> {
        if body.offset != self.length {
            self.start_over()?;
        }
        while go_on(self.length) {
            // Giving up the wait loses no bytes: whatever arrives stays with the connection.
            let next =
                runtime.block_on(async { tokio::time::timeout(STOP_POLL, body.next()).await });
            let chunk = match next {
                Err(_) => continue,
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if self.is_whole() => return Ok(()),
                Ok(Ok(None)) => return Err(self.cut("the server ended the transfer")),
                Ok(Err(why)) => return Err(self.cut(&why)),
            };
            let chunk = chunk.as_ref();
            let length = self.length + chunk.len() as u64;
            if length > self.wanted.size {
                self.start_over()?;
                return Err(Failure::transient(format!(
                    "the server sent more than the {} bytes that the Hub states",
                    self.wanted.size
                )));
            }
            self.file
                .write_all(chunk)
                .map_err(|error| self.cannot_write(error))?;
            self.checksum.update(chunk);
            self.length = length;
        }
        Ok(())
    }

    fn cut(&self, why: &str) -> Failure {
        Failure::transient(format!(
            "the transfer broke off after {} of {} bytes: {why}",
            self.length, self.wanted.size
        ))
    }

    /// After a failed write the file may end in part of a chunk that the checksum has not seen. Cut back, it
    /// is a sound beginning again.
    fn cannot_write(&mut self, error: io::Error) -> Error {
        if self.file.set_len(self.length).is_err() {
            let _ = fs::remove_file(&self.path);
        }
        Error::io(&self.path)(error)
    }

    /// Checks the content and moves it to `blob`. What is not the announced file is deleted.
    pub(super) fn finish(self, blob: &Path) -> Result<()> {
        let found = self.checksum.finish();
        if Some(found.as_str()) != self.wanted.etag() {
            fs::remove_file(&self.path).map_err(Error::io(&self.path))?;
            return Err(Error::Checksum {
                path: PathBuf::from(&self.wanted.path),
                expected: self.wanted.etag().unwrap_or_default().to_owned(),
                found,
            });
        }
        self.file.sync_all().map_err(Error::io(&self.path))?;
        drop(self.file);
        fs::rename(&self.path, blob).map_err(Error::io(blob))
    }
}

/// The checksum that names the blob: SHA-256 of a file in LFS, git's object id of any other.
enum Checksum {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Checksum {
    fn new(file: &RepoFile) -> Self {
        match file.sha256 {
            Some(_) => Checksum::Sha256(Sha256::new()),
            None => Checksum::GitBlob(Sha1::new_with_prefix(format!("blob {}\0", file.size))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Checksum::Sha256(state) => state.update(bytes),
            Checksum::GitBlob(state) => state.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Checksum::Sha256(state) => hex(&state.finalize()),
            Checksum::GitBlob(state) => hex(&state.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], lfs: bool) -> RepoFile {
        let file = RepoFile {
            path: "a/file".into(),
            size: content.len() as u64,
            sha256: lfs.then(String::new),
            git_oid: None,
            xet_hash: None,
        };
        let mut checksum = Checksum::new(&file);
        checksum.update(content);
        let sum = Some(checksum.finish());
        if lfs {
            RepoFile {
                sha256: sum,
                ..file
            }
        } else {
            RepoFile {
                git_oid: sum,
                ..file
            }
        }
    }

    #[test]
    fn checksums_are_those_of_git_and_lfs() {
        // `printf 'hello\n' | git hash-object --stdin` and `sha256sum`.
        assert_eq!(
            file(b"hello\n", false).etag(),
            Some("ce013625030ba8dba906f756967f9e9ca394464a")
        );
        assert_eq!(
            file(b"hello\n", true).etag(),
            Some("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
        );
    }

    #[test]
    fn what_is_on_disk_counts_and_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let blob = directory.path().join("blobs/x");
        let incomplete = directory.path().join("blobs/x.incomplete");
        fs::create_dir(directory.path().join("blobs")).unwrap();
        let wanted = file(b"0123456789", true);

        fs::write(&incomplete, b"0123").unwrap();
        let partial = Partial::open(&wanted, &blob).unwrap();
        assert_eq!((partial.length(), partial.is_whole()), (4, false));

        // Killed between the last byte and the rename: nothing is missing.
        fs::write(&incomplete, b"0123456789").unwrap();
        let partial = Partial::open(&wanted, &blob).unwrap();
        assert!(partial.is_whole());
        partial.finish(&blob).unwrap();
        assert_eq!(fs::read(&blob).unwrap(), b"0123456789");
        assert!(!incomplete.exists());

        // Longer than the file can be: it is another file's.
        fs::write(&incomplete, b"0123456789!").unwrap();
        assert_eq!(Partial::open(&wanted, &blob).unwrap().length(), 0);
        assert_eq!(fs::metadata(&incomplete).unwrap().len(), 0);

        fs::write(&incomplete, b"012345678X").unwrap();
        let error = Partial::open(&wanted, &blob)
            .unwrap()
            .finish(&blob)
            .unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        assert!(!incomplete.exists());
    }
}
