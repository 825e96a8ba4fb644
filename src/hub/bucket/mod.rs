//! Files of a public Google Cloud Storage bucket, and a download that can be read while it arrives.
//!
//! A [`Bucket`] lists what is below a `gs://` prefix and reads small files whole. Big ones go through a
//! [`Spool`]: pieces of many files are fetched side by side into a directory, and each file is read from its
//! beginning as far as it is there.
//!
//! ```no_run
//! use std::{io::Read, sync::Arc};
//! use attnscope::hub::bucket::{Bucket, BucketSettings, Spool};
//!
//! # fn main() -> attnscope::Result<()> {
//! let bucket = Arc::new(Bucket::open("gs://bucket/checkpoint", BucketSettings::from_env()?)?);
//! let index = bucket.read("index")?;
//! let files = bucket.list("gda")?;
//! let spool = Spool::open(bucket, "pieces".into())?;
//! let wanted: Vec<_> = files.into_iter().map(|file| (file.size, file)).map(|(n, f)| (f, n)).collect();
//! spool.want(&wanted);
//! for (file, _) in &wanted {
//!     let mut bytes = Vec::new();
//!     spool.reader(file).read_to_end(&mut bytes).map_err(attnscope::Error::io(&file.path))?;
//!     spool.remove(file);
//! }
//! # Ok(()) }
//! ```
//!
//! # What `object_store` does, and what is done here
//!
//! Addresses, lists and the heads of answers are `object_store`'s. It repeats a broken transfer by itself,
//! but only where the first answer had an ETag, only three minutes long, without regard to `Retry-After`,
//! and unseen; a server that ignores a range is an error there, and a body that ends early is none. So each
//! attempt is one request, and when to try again is decided here, as for the Hub.
//!
//! Contents are checked against the CRC32C that the server states with every answer, once a file has been
//! read whole from its beginning; a file that is read in part is not checked. [`Checksums`] counts the files that were
//! read whole, those for which the server states no checksum apart.

mod answer;
mod checksum;
mod client;
mod fetch;
mod pieces;
mod reader;
mod settings;
mod spool;
mod state;

use std::collections::HashSet;
use std::ops::AsyncFnMut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt;
use object_store::path::Path as Key;
use tokio::runtime::{Builder, Runtime};

pub use reader::SpoolReader;
pub use settings::BucketSettings;
pub use spool::{Spool, SpoolProgress};

use super::retry::{Failure, Retries};
use crate::error::{Error, Result};
use client::{Client, Refused};
use settings::Place;

/// A list comes in pages of 1000 objects; a server that never stops sending pages is cut off here.
const MAX_PAGES: usize = 1000;

/// Longest file that [`Bucket::read`] holds in memory, in bytes.
const MAX_WHOLE: u64 = 64 << 20;

/// Longest object that Google Cloud Storage knows, in bytes. Memory is set aside for every piece of a file.
const MAX_OBJECT: u64 = 5 << 40;

const REMEDY: &str = "check the connection and run the command again: it goes on where it stopped";

/// A file in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketFile {
    /// Relative to the prefix that the bucket was opened with; never absolute, empty, or with `..` in it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Changes when the object is replaced; as the server writes it. Nothing is to be read out of it.
    pub e_tag: Option<String>,
}

/// How many files were read whole, by whether their contents could be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksums {
    /// The CRC32C was the one that the server states.
    pub verified: u64,
    /// The server states none.
    pub unverified: u64,
}

/// What is below one `gs://` prefix, for everybody to read.
///
/// All methods block: a small runtime of its own drives the connections. On a thread of another async
/// runtime it must be neither used nor dropped. Any number of threads may use it at the same time.
pub struct Bucket {
    settings: BucketSettings,
    place: Place,
    client: Client,
    runtime: Runtime,
    verified: AtomicU64,
    unverified: AtomicU64,
    told_unverified: AtomicBool,
}

impl Bucket {
    /// The bucket at `url`, which is `gs://bucket/prefix`; nothing is asked of the server yet.
    ///
    /// [`Error::Usage`] for any other address, and for settings that nothing can be fetched with.
    pub fn open(url: &str, settings: BucketSettings) -> Result<Bucket> {
        settings.check()?;
        let place = Place::parse(url)?;
        let client = Client::new(&place.bucket, &settings)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bucket")
            .enable_all()
            .build()
            .map_err(Error::io("the threads of the HTTP client"))?;
        Ok(Bucket {
            settings,
            place,
            client,
            runtime,
            verified: AtomicU64::new(0),
            unverified: AtomicU64::new(0),
            told_unverified: AtomicBool::new(false),
        })
    }

    /// The address of a file, for messages: `gs://bucket/prefix/path`; of the bucket itself for an empty path.
    pub fn url(&self, path: &str) -> String {
        self.place.url(path)
    }

    /// All files below `under` (a folder relative to the prefix, or nothing), sorted by path.
    ///
    /// A bucket has no folders: where nothing is, the list is empty. Empty objects that stand for a folder
    /// with something in it are left out. [`Error::NotInBucket`] if there is no such bucket, it may not be
    /// read, or it holds names that are no paths; [`Error::Network`] if the server cannot be reached.
    pub fn list(&self, under: &str) -> Result<Vec<BucketFile>> {
        let url = self.url(under);
        let bad = |message: String| Error::NotInBucket {
            url: url.clone(),
            message,
        };
        let prefix = self.place.key(under).map_err(bad)?;
        let prefix = Some(format!("{prefix}/")).filter(|prefix| prefix != "/");
        let own = match self.place.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let mut files = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let (objects, next) = self.repeat(&url, async || {
                let token = token.clone();
                self.client.list(&url, prefix.as_deref(), token).await
            })?;
            for object in objects {
                // The folder's own empty object comes without its slash.
                let key = object.location.as_ref();
                if prefix
                    .as_deref()
                    .and_then(|prefix| prefix.strip_suffix('/'))
                    == Some(key)
                {
                    continue;
                }
                let path = key.strip_prefix(&own).ok_or_else(|| Error::Network {
                    what: url.clone(),
                    message: format!("the server lists {key}, which was not asked for"),
                })?;
                if object.size > MAX_OBJECT {
                    return Err(bad(format!("{key} is said to have {} bytes", object.size)));
                }
                files.push(BucketFile {
                    path: path.to_owned(),
                    size: object.size,
                    e_tag: object.e_tag,
                });
            }
            token = next;
            if token.is_none() {
                return Ok(without_folders(files));
            }
        }
        Err(Error::Network {
            what: url,
            message: format!("the list of files has more than {MAX_PAGES} pages"),
        })
    }

    /// A file of at most 64 MiB, whole, with its checksum verified.
    ///
    /// [`Error::NotInBucket`] if it does not exist, may not be read or is larger; [`Error::Checksum`] if it
    /// arrived damaged; [`Error::Network`] if the server cannot be reached.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let url = self.url(path);
        let key = self.key(path)?;
        let (bytes, stated) = self.repeat(&url, async || {
            let (head, mut stream) = match self.client.get(&url, &key, None, None).await {
                Ok(answer) => answer,
                Err(Refused::Failed(failure)) => return Err(failure),
                Err(Refused::RangeIgnored) => {
                    return Err(Failure::transient("no range was asked for"));
                }
            };
            if head.size > MAX_WHOLE {
                return Err(Failure::Final(Error::NotInBucket {
                    url: url.clone(),
                    message: format!(
                        "it has {} bytes where at most {MAX_WHOLE} were expected",
                        head.size
                    ),
                }));
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|why| cut(bytes.len() as u64, head.size, &why))?;
                bytes.extend_from_slice(chunk.as_ref());
                if bytes.len() as u64 > head.size {
                    break;
                }
            }
            match bytes.len() as u64 == head.size {
                true => Ok((bytes, head.crc32c)),
                false => Err(cut(bytes.len() as u64, head.size, "that is another length")),
            }
        })?;
        self.verify(path, crc32c::crc32c(&bytes), stated)?;
        Ok(bytes)
    }

    /// Bytes of files that have arrived in this process, those of failed attempts included.
    pub fn received(&self) -> u64 {
        self.client.received()
    }

    /// How many files were read whole so far, here or through a [`Spool`].
    pub fn checksums(&self) -> Checksums {
        Checksums {
            verified: self.verified.load(Ordering::Relaxed),
            unverified: self.unverified.load(Ordering::Relaxed),
        }
    }

    fn key(&self, path: &str) -> Result<Key> {
        let message = match self.place.key(path) {
            Ok(key) if !path.is_empty() => return Ok(key),
            Ok(_) => "a file's path is needed".to_owned(),
            Err(why) => why,
        };
        Err(Error::NotInBucket {
            url: self.url(path),
            message,
        })
    }

    /// Compares the checksum of a whole file with what the server states, and counts.
    fn verify(&self, path: &str, found: u32, stated: Option<u32>) -> Result<()> {
        match stated {
            Some(stated) if stated == found => {
                self.verified.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Some(stated) => Err(Error::Checksum {
                path: self.url(path).into(),
                expected: checksum::shown(stated),
                found: checksum::shown(found),
            }),
            None => {
                self.unverified.fetch_add(1, Ordering::Relaxed);
                if !self.told_unverified.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "{}: the server states no checksums (x-goog-hash); contents are not verified",
                        self.url("")
                    );
                }
                Ok(())
            }
        }
    }

    fn retries<'a>(&'a self, what: &'a str) -> Retries<'a> {
        Retries::new(
            &self.settings.retry,
            what,
            self.client.had_contact(),
            REMEDY,
        )
    }

    fn repeat<T>(
        &self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let mut retries = self.retries(what);
        self.runtime.block_on(async {
            loop {
                match attempt().await {
                    Ok(value) => return Ok(value),
                    Err(failure) => tokio::time::sleep(retries.next(failure)?).await,
                }
            }
        })
    }
}

/// For a transfer that ended before, or behind, the end of what was asked for.
fn cut(received: u64, expected: u64, why: &str) -> Failure {
    Failure::transient(format!(
        "the transfer broke off after {received} of {expected} bytes: {why}"
    ))
}

/// Sorts, and drops the empty objects that some tools make for folders.
fn without_folders(mut files: Vec<BucketFile>) -> Vec<BucketFile> {
    let folders: HashSet<String> = files
        .iter()
        .flat_map(|file| file.path.match_indices('/').map(|(at, _)| &file.path[..at]))
        .map(str::to_owned)
        .collect();
    files.retain(|file| file.size > 0 || !folders.contains(&file.path));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
