//! Downloads from a Hub that runs inside the tests.

mod bucket;
mod bucket_child;
mod bucket_failures;
mod bucket_spool;
mod child;
mod download;
mod failures;
pub mod http;
mod offline;
mod python;
mod resume;
pub mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use attnscope::hub::{Hub, HubSettings, RepoKind, RetryPolicy, Snapshot, Token};
use server::{Site, TOKEN};
use tempfile::TempDir;

const REPO: &str = "org/tiny";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LATER_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";
const CONFIG: &[u8] = b"{\"model_type\": \"gala\"}\n";

/// Settings that retry at once, so that no test waits.
fn settings(endpoint: &str, cache: &Path) -> HubSettings {
    HubSettings {
        token: Token::new(TOKEN),
        timeout: Duration::from_secs(30),
        retry: RetryPolicy {
            retries: 3,
            base: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        ..HubSettings::new(endpoint, cache)
    }
}

/// A site with one model, and an empty cache.
struct World {
    site: Site,
    cache: TempDir,
    weights: Vec<u8>,
}

impl World {
    /// `config.json`, and `model.safetensors` of `size` bytes in LFS.
    fn with_weights(size: usize) -> World {
        let world = World {
            site: Site::start(),
            cache: tempfile::tempdir().unwrap(),
            weights: pattern(size, 0),
        };
        world.site.commit(
            REPO,
            "main",
            COMMIT,
            &[
                ("config.json", CONFIG, false),
                ("model.safetensors", &world.weights, true),
            ],
        );
        world
    }

    fn new() -> World {
        World::with_weights(300_000)
    }

    fn hub(&self) -> Hub {
        Hub::new(settings(&self.site.endpoint(), self.cache.path())).unwrap()
    }

    /// A hub that cannot reach anything: offline, and with an endpoint where nobody listens.
    fn offline_hub(&self) -> Hub {
        let settings = HubSettings {
            offline: true,
            ..settings("http://127.0.0.1:1", self.cache.path())
        };
        Hub::new(settings).unwrap()
    }

    /// Resolves `main` and fetches everything.
    fn fetch(&self) -> attnscope::Result<Snapshot> {
        fetch_all(&self.hub())
    }

    fn repo_dir(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    fn weights_blob(&self) -> PathBuf {
        use sha2::Digest;
        self.repo_dir()
            .join("blobs")
            .join(http::hex(&sha2::Sha256::digest(&self.weights)))
    }

    fn partial(&self) -> PathBuf {
        self.weights_blob().with_added_extension("incomplete")
    }

    /// Bytes of files that the site has sent since the log was cleared.
    fn sent(&self) -> usize {
        self.site.log().iter().map(|request| request.sent).sum()
    }

    /// The ranges that were asked of the storage host, in order.
    fn ranges(&self) -> Vec<Option<String>> {
        self.site
            .log()
            .into_iter()
            .filter(|request| request.cdn)
            .map(|request| request.range)
            .collect()
    }
}

fn fetch_all(hub: &Hub) -> attnscope::Result<Snapshot> {
    hub.fetch(&hub.resolve(RepoKind::Model, REPO, "main")?, &|_| true)
}

/// Bytes that differ from place to place, so that a shifted or repeated part shows.
fn pattern(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}
