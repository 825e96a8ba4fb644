//! One chunk, unpacked as a stream: nothing bounds a chunk, an array in one of them is 6 GB.

use std::io::{self, BufReader, ErrorKind, Read};

use super::zarr::Compressor;

/// Largest Zstandard window that is accepted, as a power of two: 8 MiB, what compression level 19 needs. axlearn
/// writes level 1, with windows of at most 512 KiB. The limit bounds the memory of many chunks that are read side
/// by side.
const WINDOW_LOG: u32 = 23;

/// A chunk's elements as bytes, little-endian, in C order; exactly as many as its shape says.
pub struct ChunkReader {
    packed: Packed,
    /// Bytes that are still to come.
    left: usize,
}

type Source = BufReader<Box<dyn Read + Send>>;

enum Packed {
    Plain(Source),
    Zstd(Box<zstd::stream::read::Decoder<'static, Source>>),
}

impl ChunkReader {
    /// A chunk of `bytes` bytes when unpacked.
    pub(super) fn new(
        file: Box<dyn Read + Send>,
        compressor: Compressor,
        bytes: usize,
    ) -> io::Result<Self> {
        let file = BufReader::with_capacity(zstd::zstd_safe::DCtx::in_size(), file);
        let packed = match compressor {
            Compressor::None => Packed::Plain(file),
            Compressor::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Packed::Zstd(Box::new(decoder))
            }
        };
        Ok(Self {
            packed,
            left: bytes,
        })
    }

    /// Fills `buffer` with the next bytes.
    ///
    /// # Errors
    /// `InvalidData` with what is wrong if the chunk ends early or is damaged; otherwise what the file's own
    /// reader says.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        debug_assert!(buffer.len() <= self.left);
        let result = match &mut self.packed {
            Packed::Plain(file) => file.read_exact(buffer),
            Packed::Zstd(decoder) => decoder.read_exact(buffer).map_err(decoding),
        };
        result.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged("is truncated"),
            _ => error,
        })?;
        self.left -= buffer.len();
        Ok(())
    }

    /// Makes sure that the chunk ends where its shape says. Everything must have been read.
    pub fn finish(mut self) -> io::Result<()> {
        debug_assert_eq!(self.left, 0);
        let mut more = [0u8];
        let is_longer = match &mut self.packed {
            Packed::Plain(file) => file.read(&mut more)? > 0,
            Packed::Zstd(decoder) => decoder.read(&mut more).map_err(decoding)? > 0,
        };
        if is_longer {
            return Err(damaged("holds more than its shape says"));
        }
        match self.packed {
            Packed::Plain(_) => Ok(()),
            Packed::Zstd(decoder) => match decoder.finish().read(&mut more)? {
                0 => Ok(()),
                _ => Err(damaged("goes on after the end of its data")),
            },
        }
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Tells what zstd has to say about the data from what the file's own reader says: the former has no kind of its
/// own, and the latter is to be passed on as it is.
fn decoding(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::Other
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<crate::Error>()) =>
        {
            error
        }
        ErrorKind::Other => damaged(&format!("is not valid Zstandard data ({error})")),
        ErrorKind::UnexpectedEof => damaged("is truncated"),
        _ => error,
    }
}
