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
//! Public buckets of Google Cloud Storage are another place to download from: [`bucket`].
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
pub mod bucket;
mod cache;
mod download;
mod listing;
mod progress;
mod refusal;
mod retry;
mod settings;
mod transfer;

pub use listing::{RepoFile, RepoKind, RepoListing, Snapshot};
pub use retry::RetryPolicy;
pub use settings::{HubSettings, Token};

use crate::error::{Error, Result};
use api::Api;
use cache::RepoCache;
use listing::{Place, check_repo, check_revision, is_commit};
use transfer::Transfer;

/// The Hub and its cache.
///
/// All methods block: a small runtime of its own drives the connections. On a thread of another async
/// runtime it must be neither used nor dropped.
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
        let place = Place {
            kind,
            repo,
            revision,
        };
        let cache = self.cache(kind, repo);
        let (commit, files) = match &self.online {
            Some(Online { api, runtime }) => {
                let commit = match is_commit(revision) {
                    true => revision.to_owned(),
                    false => runtime.block_on(api.commit(place))?,
                };
                let files = match cache.tree(&commit) {
                    Some(files) => files,
                    None => {
                        let files = runtime.block_on(api.tree(Place {
                            revision: &commit,
                            ..place
                        }))?;
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
                    what: place.to_string(),
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
            Some(Online { api, runtime }) => {
                Transfer::new(api, runtime.handle(), &cache, listing, &self.settings)
                    .run(&missing)?
            }
            None => {
                let names: Vec<&str> = missing.iter().map(|file| file.path.as_str()).collect();
                return Err(Error::Offline {
                    what: format!("{}: {}", listing.place(), names.join(", ")),
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
                what: format!("{}: any file that is needed", listing.place()),
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
        let held = held.join(", ");
        let message = format!("none of its files is of use here; it holds: {held}{more}");
        listing.place().not_on_hub(message)
    }
}
