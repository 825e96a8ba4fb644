//! A file, read in its order while its pieces arrive.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::spool::Shared;
use super::state::Contents;
use super::{BucketFile, pieces};
use crate::error::{Error, Result};

/// Reads a file of a [`Spool`](super::Spool) from its beginning to its end; see
/// [`Spool::reader`](super::Spool::reader).
pub struct SpoolReader {
    shared: Arc<Shared>,
    file: BucketFile,
    /// Bytes read so far.
    position: u64,
    /// Of the bytes read so far.
    crc32c: u32,
    current: Option<Open>,
    /// What the server states, once the last piece is reached.
    contents: Option<Contents>,
    end: End,
}

/// The piece that is being read.
struct Open {
    file: File,
    path: PathBuf,
    index: u64,
    /// Where it ends in the whole file.
    end: u64,
}

/// What is known at the end of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Unchecked,
    Checked,
    Damaged,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>, file: BucketFile) -> Self {
        SpoolReader {
            shared,
            file,
            position: 0,
            crc32c: 0,
            current: None,
            contents: None,
            end: End::Unchecked,
        }
    }

    /// Opens the piece at the position, once it is there.
    fn open(&mut self) -> Result<Open> {
        let piece = self.shared.bucket.settings.piece;
        let index = self.position / piece;
        let path = self.shared.wait_for(&self.file, index)?;
        let file = File::open(&path).map_err(|error| {
            self.shared.lost(&self.file, index);
            Error::io(&path)(error)
        })?;
        let end = self.file.size.min((index + 1) * piece);
        if end == self.file.size {
            self.learn_contents()?;
        }
        Ok(Open {
            file,
            path,
            index,
            end,
        })
    }

    /// Finds out the checksum before the last bytes are read, so that a failure to do so loses none.
    fn learn_contents(&mut self) -> Result<()> {
        if self.contents.is_none() {
            self.contents = Some(self.shared.contents(&self.file)?);
        }
        Ok(())
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut open = match self.current.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let left = usize::try_from(open.end - self.position).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let read = loop {
            match open.file.read(&mut buffer[..length]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        }
        .map_err(Error::io(&open.path))?;
        if read == 0 {
            pieces::discard(&open.path);
            self.shared.lost(&self.file, open.index);
            let short = io::Error::new(io::ErrorKind::UnexpectedEof, "it has been shortened");
            return Err(Error::io(&open.path)(short));
        }
        self.crc32c = crc32c::crc32c_append(self.crc32c, &buffer[..read]);
        self.position += read as u64;
        if self.position < open.end {
            self.current = Some(open);
        }
        Ok(read)
    }

    /// Compares the checksum of all that was read with the server's. Damaged pieces are removed.
    fn check(&mut self) -> Result<()> {
        self.learn_contents()?;
        let stated = self.contents.as_ref().and_then(|contents| contents.crc32c);
        let bucket = &self.shared.bucket;
        match bucket.verify(&self.file.path, self.crc32c, stated) {
            Ok(()) => {
                self.end = End::Checked;
                Ok(())
            }
            Err(error) => {
                self.end = End::Damaged;
                self.shared.damaged(&self.file);
                Err(error)
            }
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = match self.position < self.file.size {
            true => self.read_piece(buffer)?,
            false => 0,
        };
        // The last bytes are not handed out unchecked: some decoders know their end and never ask for more.
        if self.position == self.file.size {
            match self.end {
                End::Checked => {}
                End::Unchecked => self.check()?,
                End::Damaged => {
                    return Err(Error::Network {
                        what: self.shared.bucket.url(&self.file.path),
                        message: "what arrived was damaged; run the command again".to_owned(),
                    });
                }
            }
        }
        Ok(read)
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match buffer.is_empty() {
            true => Ok(0),
            false => self.read_some(buffer).map_err(io::Error::other),
        }
    }
}
