//! Big files, fetched in pieces into a directory while they are being read.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::fetch;
use super::pieces::{self, Names, PieceDir};
use super::reader::SpoolReader;
use super::state::{Contents, Job, Lookup, State};
use super::{Bucket, BucketFile, answer};
use crate::error::{Error, Result};

/// How far a spool has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolProgress {
    /// Bytes that were ever wanted, in whole pieces. What was removed before it arrived does not count.
    pub wanted: u64,
    /// Bytes of these that are there, have been there, or are arriving. It shrinks where an attempt has to
    /// start over, and by a piece that is lost.
    pub here: u64,
}

/// Big files of a bucket, fetched piece by piece into a directory while they are being read.
///
/// [`want`](Spool::want) says what will be read, and [`reader`](Spool::reader) reads a file from its beginning,
/// waiting for each piece until it is there. A piece has its name only when it is whole, so whatever stops the
/// process, the next one with the same directory fetches what is missing and no more. Only one process at a
/// time can use a directory.
///
/// A piece is flushed to the disk before it has its name, so that a power cut leaves none that holds something else.
///
/// Dropping a spool stops all transfers and waits for their threads. A reader that is left then reads what is
/// there and fails at the first piece that is not.
pub struct Spool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Spool {
    /// Opens `dir`, which is created if need be, and starts the threads that fetch (as many as the bucket's
    /// settings have connections). Whole pieces that are there will be used when their file is asked for.
    ///
    /// [`Error::OutDir`] if another process uses the directory, [`Error::Io`] if it cannot be used.
    pub fn open(bucket: Arc<Bucket>, dir: PathBuf) -> Result<Spool> {
        let connections = bucket.settings.connections;
        let inner = Inner {
            state: State::new(bucket.settings.piece),
            stopped: false,
            pieces: PieceDir::open(dir)?,
        };
        let shared = Arc::new(Shared {
            bucket,
            inner: Mutex::new(inner),
            work: Condvar::new(),
            news: Condvar::new(),
            arriving: AtomicU64::new(0),
            stop: watch::Sender::new(false),
        });
        let mut spool = Spool {
            shared,
            threads: Vec::new(),
        };
        for _ in 0..connections {
            let shared = Arc::clone(&spool.shared);
            let thread = thread::Builder::new()
                .name("spool".to_owned())
                .spawn(move || fetch::work(&shared))
                .map_err(Error::io("the threads of the download"))?;
            spool.threads.push(thread);
        }
        Ok(spool)
    }

    /// The bucket that it fetches from.
    pub fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    /// Says what will be read: of each file so many bytes from its beginning, usually its size. What is not
    /// there is fetched, in whole pieces: piece 0 of every file in the given order, then piece 1 of every file,
    /// and so on.
    pub fn want(&self, files: &[(BucketFile, u64)]) {
        let mut inner = self.shared.lock();
        for (file, _) in files {
            self.shared.adopt(&mut inner, file);
        }
        for (file, bytes) in files {
            inner.state.want(&file.path, *bytes);
        }
        drop(inner);
        self.shared.work.notify_all();
    }

    /// Reads a file from its beginning. Pieces that nobody wanted are asked for when the reader comes to them,
    /// before all others and a little ahead.
    ///
    /// Errors are [`Error`] inside `std::io::Error`; [`Error::io`] gets them out. After an error that a new
    /// attempt may mend, reading may go on. With the last byte of the file the reader checks the checksum: if
    /// it is wrong, the file's pieces are removed and the read fails with [`Error::Checksum`].
    pub fn reader(&self, file: &BucketFile) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.shared), file.clone())
    }

    /// Removes a file's pieces and stops fetching it.
    pub fn remove(&self, file: &BucketFile) {
        let mut inner = self.shared.lock();
        // Pieces of an earlier process are found only now.
        self.shared.adopt(&mut inner, file);
        inner.remove(&file.path);
        drop(inner);
        self.shared.news.notify_all();
    }

    /// Bytes of files that have arrived in this process from the bucket, those of failed attempts included.
    pub fn received(&self) -> u64 {
        self.shared.bucket.received()
    }

    /// How far it has come; for a display that asks now and then.
    pub fn progress(&self) -> SpoolProgress {
        let inner = self.shared.lock();
        let (wanted, here) = inner.state.totals();
        // Under the lock no piece can turn from arriving to here.
        let arriving = self.shared.arriving.load(Ordering::Relaxed);
        SpoolProgress {
            wanted,
            here: wanted.min(here + arriving),
        }
    }

    /// Ends all fetching. Readers that wait for a piece get an error; pieces that are there can still be read.
    pub fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.stop.send_replace(true);
        self.shared.work.notify_all();
        self.shared.news.notify_all();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the download has panicked");
            }
        }
    }
}

/// What the spool, its threads and its readers share.
pub(super) struct Shared {
    pub(super) bucket: Arc<Bucket>,
    inner: Mutex<Inner>,
    /// There is something in the queue. Threads that fetch wait for it.
    work: Condvar,
    /// A piece has arrived or will not come. Readers wait for it; they never wake each other.
    news: Condvar,
    /// Bytes of pieces that are being fetched now.
    pub(super) arriving: AtomicU64,
    /// Ends the waiting for the network.
    pub(super) stop: watch::Sender<bool>,
}

struct Inner {
    state: State,
    pieces: PieceDir,
    stopped: bool,
}

impl Inner {
    fn remove(&mut self, path: &str) {
        if let Some((names, there)) = self.state.remove(path) {
            for (offset, length) in there {
                pieces::discard(&self.pieces.path(&names, offset, length));
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the file known, in place of an older version of it.
    fn adopt(&self, inner: &mut Inner, file: &BucketFile) {
        if inner.state.knows(file) {
            return;
        }
        inner.remove(&file.path);
        let names = Names::new(&self.bucket.url(&file.path), file);
        let Inner { state, pieces, .. } = inner;
        let there = pieces.take_up(&names, |offset, length| state.fits(file, offset, length));
        state.adopt(file, names, &there);
    }

    /// Waits for a piece and says where it is.
    pub(super) fn wait_for(&self, file: &BucketFile, index: u64) -> Result<PathBuf> {
        let mut inner = self.lock();
        self.adopt(&mut inner, file);
        loop {
            match inner.state.ask(&file.path, index) {
                Lookup::Here => {
                    let length = inner.state.length(&file.path, index);
                    let names = Names::new(&self.bucket.url(&file.path), file);
                    let start = index * self.bucket.settings.piece;
                    return Ok(inner.pieces.path(&names, start, length));
                }
                Lookup::Failed(error) => return Err(error),
                Lookup::Coming if inner.stopped => {
                    return Err(Error::Network {
                        what: self.bucket.url(&file.path),
                        message: "the download was stopped".to_owned(),
                    });
                }
                Lookup::Coming => {}
            }
            self.work.notify_all();
            inner = self
                .news
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
            self.adopt(&mut inner, file);
        }
    }

    /// Waits for something to fetch; `None` when the spool is stopped. Also the directory to fetch it into.
    pub(super) fn next_job(&self) -> Option<(Job, PathBuf)> {
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return None;
            }
            if let Some(job) = inner.state.next() {
                return Some((job, inner.pieces.dir().to_path_buf()));
            }
            inner = self
                .work
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a job. `shown` are the bytes by which it moved `arriving`.
    pub(super) fn finish(&self, job: &Job, outcome: Result<fetch::Fetched>, shown: u64) {
        let mut inner = self.lock();
        self.arriving.fetch_sub(shown, Ordering::Relaxed);
        match outcome {
            Ok(fetch::Fetched::Whole(temporary)) if inner.state.is_current(job) => {
                let path = inner.pieces.path(&job.names, job.start, job.length);
                match temporary.persist(&path) {
                    Ok(_) => inner.state.arrived(job),
                    Err(refused) => inner.state.failed(job, Error::io(&path)(refused.error)),
                }
            }
            Ok(_) => {}
            Err(error) => inner.state.failed(job, error),
        }
        drop(inner);
        self.news.notify_all();
    }

    /// Takes note of what an answer says; an error if the object is not the same as in an earlier answer.
    pub(super) fn identify(
        &self,
        job: &Job,
        e_tag: Option<&str>,
        crc32c: Option<u32>,
    ) -> Result<()> {
        let mut inner = self.lock();
        match inner.state.is_current(job) {
            true => inner.state.identify(&job.file.path, e_tag, crc32c),
            false => Ok(()),
        }
        .map_err(|why| answer::replaced(&self.bucket.url(&job.file.path), &why))
    }

    /// What the server states about a file; it is asked only if no answer has told yet.
    pub(super) fn contents(&self, file: &BucketFile) -> Result<Contents> {
        let known = self.lock().state.contents(&file.path);
        if let Some(contents) = known {
            return Ok(contents);
        }
        let url = self.bucket.url(&file.path);
        let key = self.bucket.key(&file.path)?;
        let head = self.bucket.repeat(&url, async || {
            self.bucket.client.head(&url, &key, Some(file)).await
        })?;
        Ok(Contents {
            e_tag: head.e_tag,
            crc32c: head.crc32c,
        })
    }

    /// Forgets all of a file, whose contents are wrong.
    pub(super) fn damaged(&self, file: &BucketFile) {
        self.lock().remove(&file.path);
        self.news.notify_all();
    }

    /// Forgets a piece that cannot be read.
    pub(super) fn lost(&self, file: &BucketFile, index: u64) {
        self.lock().state.lost(&file.path, index);
    }
}
