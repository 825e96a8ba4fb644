//! Files from the Hugging Face Hub, through a cache that is shared with Python's `huggingface_hub`.
//!
//! [`Hub::resolve`] finds out which commit a revision is and what it holds; [`Hub::fetch`] brings the wanted
//! files into the cache and says where they are. Both can be repeated at any time: what is there is not
//! fetched again, and what an interrupted download left is continued.
//!
//! ```no_run
//! use attnscope::hub::{Hub, RepoKind};
//!
//! # fn main() -> attnscope::Result<()> {
//! let hub = Hub::from_env(false)?;
//! let listing = hub.resolve(RepoKind::Dataset, "NeelNanda/pile-10k", "main")?;
//! let snapshot = hub.fetch(&listing, &|path| path.ends_with(".parquet"))?;
//! println!("{} at {}: {}", snapshot.repo, snapshot.commit, snapshot.dir.display());
//! # Ok(()) }
//! ```
//!
//! # What hf-hub does, and what is done here
//!
//! Revisions are resolved by hf-hub 1.0. The rest it does in ways that do not serve here:
//!
//! - Its downloads start again from nothing after every interruption, and check no SHA-256. Its byte stream
//!   takes a range but hides the status and `Content-Range`, so that a server which ignores the range cannot
//!   be told from one that honours it; it also asks with a HEAD for every stream, and follows its redirect.
//! - Its listing drops the SHA-256 of LFS files: the Hub's tree calls it `oid`, hf-hub's type `sha256`.
//! - Its listing sends the token to whichever host a `Link` header names.
//! - It reads token, cache and endpoint from the environment wherever they are not given, by rules that are
//!   not quite Python's. All three are always given here (see `api.rs` for "no token").
//! - It repeats requests without regard to `Retry-After`; its repeating is switched off.
//!
//! So listing and bytes come over plain requests, with the same HTTP client that hf-hub is given. That
//! client follows the redirect to the storage host and drops the token on the way, as soon as host, port or
//! scheme change. Files in the Hub's chunk store (xet) are served over the same route.
//!
//! Every content is checked against the checksum that names it in the Hub: SHA-256 for a file in LFS, git's
//! object id for any other.

mod api;
mod cache;
mod download;
mod listing;
mod progress;
mod retry;
mod settings;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use listing::{RepoFile, RepoKind, RepoListing, Snapshot};
pub use retry::RetryPolicy;
pub use settings::{HubSettings, Token};

use crate::error::{Error, Result};
use api::Api;
use cache::RepoCache;
use download::Partial;
use listing::{check_repo, check_revision, describe, is_commit};
use progress::Progress;
use retry::Retries;

/// Files that are downloaded at the same time.
const PARALLEL_FILES: usize = 4;

/// How soon a waiting thread notices that another one has failed.
const STOP_POLL: Duration = Duration::from_millis(100);

/// The Hub and its cache.
///
/// All methods block, and must not be called on an async runtime's thread: a small runtime of its own drives
/// the connections.
pub struct Hub {
    settings: HubSettings,
    /// Absent in offline mode: without it no connection can be opened.
    online: Option<Online>,
}

struct Online {
    api: Api,
    runtime: tokio::runtime::Runtime,
}

impl Hub {
    /// The Hub as the environment describes it (see [`HubSettings::from_env`]); `offline` switches offline
    /// mode on even where `HF_HUB_OFFLINE` does not.
    pub fn from_env(offline: bool) -> Result<Hub> {
        let mut settings = HubSettings::from_env()?;
        settings.offline |= offline;
        Hub::new(settings)
    }

    /// The Hub as `settings` describe it. Fails on an endpoint that is no address.
    pub fn new(settings: HubSettings) -> Result<Hub> {
        let online = if settings.offline {
            None
        } else {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("hub")
                .enable_all()
                .build()
                .map_err(|error| Error::Network {
                    what: "the HTTP client".to_owned(),
                    message: error.to_string(),
                })?;
            Some(Online {
                api: Api::new(&settings)?,
                runtime,
            })
        };
        Ok(Hub { settings, online })
    }

    /// The settings in force.
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// Finds out which commit `revision` (a branch, tag, `refs/convert/parquet`, or a commit) is, and which
    /// files it holds. What a full commit id holds is asked for once and then known from the cache.
    ///
    /// Offline, the answer is what the cache recorded last; [`Error::Offline`] if that is nothing.
    /// [`Error::NotOnHub`] if there is no such repository or revision, it may not be read, or it lists files
    /// whose names would leave their directory.
    pub fn resolve(&self, kind: RepoKind, repo: &str, revision: &str) -> Result<RepoListing> {
        check_repo(repo)?;
        check_revision(repo, revision)?;
        let cache = self.cache(kind, repo);
        let (commit, files) = match &self.online {
            Some(Online { api, runtime }) => {
                let commit = match is_commit(revision) {
                    true => revision.to_owned(),
                    false => runtime.block_on(api.commit(kind, repo, revision))?,
                };
                let files = match cache.tree(&commit) {
                    Some(files) => files,
                    None => {
                        let files = runtime.block_on(api.tree(kind, repo, &commit))?;
                        cache.write_tree(&commit, &files);
                        files
                    }
                };
                (commit, files)
            }
            None => {
                let commit = cache.commit(revision);
                let known = commit.and_then(|commit| {
                    let files = cache
                        .tree(&commit)
                        .or_else(|| cache.files_on_disk(&commit))?;
                    Some((commit, files))
                });
                known.ok_or_else(|| Error::Offline {
                    what: describe(kind, repo, revision),
                    cache: self.settings.cache.clone(),
                })?
            }
        };
        Ok(RepoListing {
            kind,
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            commit,
            files,
        })
    }

    /// Brings the files whose path `wanted` accepts into the cache, four at a time, and returns where they
    /// are. Files that are there in full length are not touched.
    ///
    /// A download that is cut off or killed is continued by the next call with the bytes that are missing.
    /// Afterwards the cache knows which commit the revision stood for. [`Error::NotOnHub`] if no file is
    /// wanted; offline, [`Error::Offline`] names the files that are missing.
    pub fn fetch(&self, listing: &RepoListing, wanted: &dyn Fn(&str) -> bool) -> Result<Snapshot> {
        let cache = self.cache(listing.kind, &listing.repo);
        let wanted: Vec<&RepoFile> = listing
            .files
            .iter()
            .filter(|file| wanted(&file.path))
            .collect();
        if wanted.is_empty() {
            return Err(self.nothing_wanted(listing));
        }
        let missing: Vec<&RepoFile> = wanted
            .iter()
            .copied()
            .filter(|file| !cache.holds(&listing.commit, file))
            .collect();
        match &self.online {
            _ if missing.is_empty() => {}
            Some(online) => self.download(online, &cache, listing, &missing)?,
            None => {
                let names: Vec<&str> = missing.iter().map(|file| file.path.as_str()).collect();
                return Err(Error::Offline {
                    what: format!("{}: {}", listing.describe(), names.join(", ")),
                    cache: self.settings.cache.clone(),
                });
            }
        }
        if self.online.is_some() {
            cache.write_ref(&listing.revision, &listing.commit)?;
        }
        Ok(Snapshot {
            kind: listing.kind,
            repo: listing.repo.clone(),
            commit: listing.commit.clone(),
            dir: cache.snapshot(&listing.commit),
            files: wanted.into_iter().map(|file| file.path.clone()).collect(),
        })
    }

    /// What the cache holds of a repository at the commit that `revision` last stood for; never opens a
    /// connection. `None` if that is nothing.
    pub fn cached(&self, kind: RepoKind, repo: &str, revision: &str) -> Option<Snapshot> {
        check_repo(repo).ok()?;
        check_revision(repo, revision).ok()?;
        let cache = self.cache(kind, repo);
        let commit = cache.commit(revision)?;
        let files: Vec<String> = cache
            .files_on_disk(&commit)?
            .into_iter()
            .map(|file| file.path)
            .collect();
        let dir = cache.snapshot(&commit);
        (!files.is_empty()).then(|| Snapshot {
            kind,
            repo: repo.to_owned(),
            commit,
            dir,
            files,
        })
    }

    fn cache(&self, kind: RepoKind, repo: &str) -> RepoCache {
        RepoCache::new(&self.settings.cache, kind, repo)
    }

    fn nothing_wanted(&self, listing: &RepoListing) -> Error {
        if self.online.is_none() {
            return Error::Offline {
                what: format!("{}: any file that is needed", listing.describe()),
                cache: self.settings.cache.clone(),
            };
        }
        let held: Vec<&str> = listing
            .files
            .iter()
            .take(10)
            .map(|file| file.path.as_str())
            .collect();
        let more = if listing.files.len() > held.len() {
            ", …"
        } else {
            ""
        };
        Error::NotOnHub {
            repo: format!("{} {}", listing.kind, listing.repo),
            revision: listing.revision.clone(),
            message: format!(
                "none of its files is of use here; it holds: {}{more}",
                held.join(", ")
            ),
        }
    }

    /// Downloads all of `files`, or fails with the first error once every transfer has stopped.
    fn download(
        &self,
        online: &Online,
        cache: &RepoCache,
        listing: &RepoListing,
        files: &[&RepoFile],
    ) -> Result<()> {
        let progress = Progress::new(
            self.settings.progress,
            &listing.repo,
            files.iter().map(|file| file.size).sum(),
        );
        let transfer = Transfer {
            online,
            cache,
            listing,
            retry: &self.settings.retry,
            progress: &progress,
            stop: AtomicBool::new(false),
        };
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        // Plain threads: they hash and write, which must not hold up the runtime that drives the connections.
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_FILES.min(files.len()) {
                scope.spawn(|| {
                    while !transfer.stopped()
                        && let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(error) = transfer.file(file) {
                            transfer.stop.store(true, Ordering::Relaxed);
                            failed
                                .lock()
                                .unwrap_or_else(|poisoned| poisoned.into_inner())
                                .get_or_insert(error);
                        }
                    }
                });
            }
        });
        progress.finish();
        match failed
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The download of several files of one repository.
struct Transfer<'a> {
    online: &'a Online,
    cache: &'a RepoCache,
    listing: &'a RepoListing,
    retry: &'a RetryPolicy,
    progress: &'a Progress,
    /// Set when a file failed: the others stop where they are, to be continued another time.
    stop: AtomicBool,
}

impl Transfer<'_> {
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
    fn file(&self, file: &RepoFile) -> Result<()> {
        let RepoListing {
            kind, repo, commit, ..
        } = self.listing;
        let what = format!("{}: {}", self.listing.describe(), file.path);
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
            self.progress.advance(file.size);
            return self.cache.link(commit, &file.path, etag);
        }

        let mut partial = Partial::open(file, &blob)?;
        let mut shown = partial.length();
        self.progress.resume(shown);
        let mut farthest = partial.length();
        let mut retries = Retries::new(self.retry, &what);
        while !partial.is_whole() {
            let Online { api, runtime } = self.online;
            let attempt = runtime
                .block_on(api.open(*kind, repo, commit, file, partial.length()))
                .and_then(|body| {
                    partial.receive(body, runtime.handle(), &mut |length| {
                        // Getting back to where an earlier attempt came is no progress, or a server that ignores
                        // ranges and always breaks at the same place would be asked for ever.
                        if length > farthest {
                            farthest = length;
                            retries.progress();
                        }
                        self.progress.moved(shown, length);
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
