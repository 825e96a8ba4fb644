//! One piece from the bucket into the directory, however many attempts it takes.

use std::future::Future;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::future::{Either, select};
use object_store::path::Path as Key;
use tempfile::NamedTempFile;

use super::client::Refused;
use super::cut;
use super::pieces;
use super::spool::Shared;
use super::state::Job;
use crate::error::{Error, Result};
use crate::hub::retry::Failure;

/// How a job ended without an error.
pub(super) enum Fetched {
    Whole(NamedTempFile),
    /// Nobody wants the piece any more.
    Cancelled,
}

/// Fetches pieces until the spool is dropped.
pub(super) fn work(shared: &Shared) {
    while let Some((job, dir)) = shared.next_job() {
        let mut transfer = Transfer {
            shared,
            job: &job,
            url: shared.bucket.url(&job.file.path),
            written: 0,
        };
        let outcome = transfer.run(&dir);
        let shown = transfer.written;
        shared.finish(&job, outcome, shown);
    }
}

struct Transfer<'a> {
    shared: &'a Shared,
    job: &'a Job,
    url: String,
    /// Bytes that are in the temporary file, a sound beginning of the piece. `arriving` has been moved by as
    /// many.
    written: u64,
}

impl Transfer<'_> {
    fn run(&mut self, dir: &Path) -> Result<Fetched> {
        let shared = self.shared;
        let bucket = &shared.bucket;
        let key = bucket.key(&self.job.file.path)?;
        let mut temporary = pieces::temporary(dir)?;
        let what = format!("{} (from byte {})", self.url, self.job.start);
        let mut retries = bucket.retries(&what);
        let mut farthest = 0;
        while !self.is_cancelled() {
            let attempt = self.attempt(&key, &mut temporary);
            let Some(outcome) = unless_stopped(shared, attempt) else {
                break;
            };
            match outcome {
                Ok(()) if self.written == self.job.length => {
                    // A checksum covers whole files only, and not every server states one: what a power cut
                    // leaves under the piece's name must be the piece.
                    let file = temporary.as_file();
                    file.sync_data().map_err(Error::io(temporary.path()))?;
                    return Ok(Fetched::Whole(temporary));
                }
                Ok(()) => break,
                Err(failure) => {
                    // Getting back to where an earlier attempt came is no progress, or a server that always
                    // breaks at the same place would be asked for ever.
                    if self.written > farthest {
                        farthest = self.written;
                        retries.progress();
                    }
                    let delay = retries.next(failure)?;
                    let pause = async { tokio::time::sleep(delay).await };
                    if unless_stopped(shared, pause).is_none() {
                        break;
                    }
                }
            }
        }
        Ok(Fetched::Cancelled)
    }

    fn is_cancelled(&self) -> bool {
        self.job.cancelled.load(Ordering::Relaxed)
    }

    /// One request for what is missing. Ends early, without an error, when the job is cancelled.
    async fn attempt(&mut self, key: &Key, temporary: &mut NamedTempFile) -> Result<(), Failure> {
        let Job {
            ref file,
            start,
            length,
            ..
        } = *self.job;
        let is_whole_file = start == 0 && length == file.size;
        let range = match is_whole_file && self.written == 0 {
            // Servers without ranges can serve this too.
            true => None,
            false => Some(start + self.written..start + length),
        };
        let client = &self.shared.bucket.client;
        let url = self.url.clone();
        let (head, mut stream) = match client.get(&url, key, range, Some(file)).await {
            Ok(answer) => answer,
            Err(Refused::Failed(failure)) => return Err(failure),
            Err(Refused::RangeIgnored) if is_whole_file => {
                self.start_over(temporary)?;
                return Err(Failure::transient(
                    "the server cannot go on in the middle of a file",
                ));
            }
            Err(Refused::RangeIgnored) => {
                return Err(Failure::Final(Error::Network {
                    what: self.url.clone(),
                    message: "the server sends the whole file where a part of it was asked for, so large files \
                              cannot be fetched from it; use another one"
                        .to_owned(),
                }));
            }
        };
        self.shared
            .identify(self.job, head.e_tag.as_deref(), head.crc32c)?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|why| cut(self.written, length, &why))?;
            let chunk = chunk.as_ref();
            if self.is_cancelled() {
                return Ok(());
            }
            if chunk.len() as u64 > length - self.written {
                self.start_over(temporary)?;
                return Err(Failure::transient(format!(
                    "the server sent more than the {length} bytes it was asked for"
                )));
            }
            temporary
                .as_file_mut()
                .write_all(chunk)
                .map_err(Error::io(temporary.path()))?;
            self.written += chunk.len() as u64;
            self.shared
                .arriving
                .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        match self.written == length {
            true => Ok(()),
            false => Err(cut(self.written, length, "the server ended the transfer")),
        }
    }

    fn start_over(&mut self, temporary: &mut NamedTempFile) -> Result<()> {
        let file = temporary.as_file_mut();
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(Error::io(temporary.path()))?;
        self.shared
            .arriving
            .fetch_sub(self.written, Ordering::Relaxed);
        self.written = 0;
        Ok(())
    }
}

/// Drives the future to its end, or to that of the spool.
fn unless_stopped<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = shared.stop.subscribe();
    shared.bucket.runtime.block_on(async {
        let stopped = pin!(stop.wait_for(|stopped| *stopped));
        match select(pin!(work), stopped).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        }
    })
}
