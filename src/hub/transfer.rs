//! The download of several files: in parallel, each for as many attempts as it takes.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::api::Api;
use super::cache::RepoCache;
use super::download::{Partial, STOP_POLL};
use super::listing::{RepoFile, RepoListing};
use super::progress::Progress;
use super::retry::{OR_OFFLINE, Retries};
use super::settings::HubSettings;
use crate::error::{Error, Result};

/// Files that are downloaded at the same time.
const PARALLEL_FILES: usize = 4;

/// The download of several files of one repository.
pub(super) struct Transfer<'a> {
    api: &'a Api,
    /// Drives the connections, while threads of this transfer hash and write.
    runtime: &'a Handle,
    cache: &'a RepoCache,
    listing: &'a RepoListing,
    settings: &'a HubSettings,
    /// Set when a file failed: the others stop where they are, to be continued another time.
    stop: AtomicBool,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        api: &'a Api,
        runtime: &'a Handle,
        cache: &'a RepoCache,
        listing: &'a RepoListing,
        settings: &'a HubSettings,
    ) -> Self {
        Transfer {
            api,
            runtime,
            cache,
            listing,
            settings,
            stop: AtomicBool::new(false),
        }
    }

    /// Downloads all of `files`. If one fails, the others stop too, and its error is returned.
    pub(super) fn run(&self, files: &[&RepoFile]) -> Result<()> {
        let sizes = files.iter().map(|file| file.size);
        let total = sizes.fold(0, u64::saturating_add); // a stranger's numbers
        let progress = Progress::new(self.settings.progress, &self.listing.repo, total);
        let next = AtomicUsize::new(0);
        let work = || {
            while !self.stopped()
                && let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed))
            {
                self.file(file, &progress)
                    .inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        let outcome = std::thread::scope(|scope| {
            let count = PARALLEL_FILES.min(files.len());
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let outcomes = threads.into_iter().map(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            outcomes.collect()
        });
        progress.finish();
        outcome
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps, unless another file fails meanwhile.
    fn pause(&self, delay: Duration) {
        let start = Instant::now();
        while !self.stopped()
            && let Some(left) = delay.checked_sub(start.elapsed())
            && !left.is_zero()
        {
            std::thread::sleep(left.min(STOP_POLL));
        }
    }

    /// Brings one file into the cache, however many attempts it takes.
    fn file(&self, file: &RepoFile, progress: &Progress) -> Result<()> {
        let commit = &self.listing.commit;
        let what = format!("{}: {}", self.listing.place(), file.path);
        let Some(etag) = file.etag() else {
            // Only a listing that an offline `resolve` read off a snapshot lacks it.
            return Err(Error::Usage(format!(
                "{what}: listed without a checksum; resolve the revision online first"
            )));
        };
        let Some(_lock) = self.cache.lock(etag, &what, &|| self.stopped())? else {
            return Ok(());
        };
        let blob = self.cache.blob(etag);
        if fs::metadata(&blob).is_ok_and(|found| found.len() == file.size) {
            progress.advance(file.size);
            return self.cache.link(commit, &file.path, etag);
        }

        let mut partial = Partial::open(file, &blob)?;
        let mut shown = partial.length();
        progress.resume(shown);
        let mut farthest = partial.length();
        let mut retries = Retries::new(&self.settings.retry, &what, true, OR_OFFLINE);
        while !partial.is_whole() {
            let open = self.api.open(self.listing.pinned(), file, partial.length());
            let attempt = self.runtime.block_on(open).and_then(|body| {
                partial.receive(body, self.runtime, &mut |length| {
                    // Getting back to where an earlier attempt came is no progress, or a server that ignores
                    // ranges and always breaks at the same place would be asked for ever.
                    if length > farthest {
                        farthest = length;
                        retries.progress();
                    }
                    progress.moved(shown, length);
                    shown = length;
                    !self.stopped()
                })
            });
            if self.stopped() {
                return Ok(());
            }
            if let Err(failure) = attempt {
                self.pause(retries.next(failure)?);
            }
        }
        partial.finish(&blob)?;
        self.cache.link(commit, &file.path, etag)
    }
}
