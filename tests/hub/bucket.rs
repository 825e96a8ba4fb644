//! Lists and small files of a bucket, and what the tests of its downloads share.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attnscope::hub::RetryPolicy;
use attnscope::hub::bucket::{Bucket, BucketFile, BucketSettings, Checksums, Spool};
use tempfile::TempDir;

use super::pattern;
use crate::support::bucket::BucketServer;

pub const URL: &str = "gs://public-bucket/run 1/checkpoint";

/// Settings that retry at once, so that no test waits.
pub fn settings(endpoint: String) -> BucketSettings {
    BucketSettings {
        endpoint: Some(endpoint),
        retry: RetryPolicy {
            retries: 3,
            base: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        connections: 3,
        piece: 10_000,
        ..BucketSettings::default()
    }
}

/// A server, what it serves, and a directory for pieces.
pub struct World {
    pub temporary: TempDir,
    pub server: BucketServer,
}

impl World {
    pub fn new(files: &[(&str, &[u8])]) -> World {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        fs::create_dir_all(root.join("public-bucket/run 1/checkpoint")).unwrap();
        let world = World {
            server: BucketServer::start(&root),
            temporary,
        };
        for (path, content) in files {
            world.put(path, content);
        }
        world
    }

    pub fn put(&self, path: &str, content: &[u8]) {
        let path = self.temporary.path().join("root").join(Self::key(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A file's path as the server's.
    pub fn key(path: &str) -> String {
        format!("public-bucket/run 1/checkpoint/{path}")
    }

    pub fn pieces(&self) -> PathBuf {
        self.temporary.path().join("pieces")
    }

    pub fn settings(&self) -> BucketSettings {
        settings(self.server.url())
    }

    pub fn bucket_with(&self, change: impl FnOnce(&mut BucketSettings)) -> Arc<Bucket> {
        let mut settings = self.settings();
        change(&mut settings);
        Arc::new(Bucket::open(URL, settings).unwrap())
    }

    pub fn bucket(&self) -> Arc<Bucket> {
        self.bucket_with(|_| {})
    }

    pub fn spool(&self) -> Spool {
        Spool::open(self.bucket(), self.pieces()).unwrap()
    }

    /// The names of whole pieces, and of anything else but the lock.
    pub fn on_disk(&self) -> (Vec<String>, Vec<String>) {
        let names = fs::read_dir(self.pieces()).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".attnscope-lock")
            .partition(|name| name.ends_with(".piece"))
    }
}

pub fn find(spool: &Spool, path: &str) -> BucketFile {
    let files = spool.bucket().list("").unwrap();
    files.into_iter().find(|file| file.path == path).unwrap()
}

pub fn read(spool: &Spool, file: &BucketFile) -> attnscope::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let outcome = spool.reader(file).read_to_end(&mut bytes);
    outcome
        .map(|_| bytes)
        .map_err(attnscope::Error::io("reader"))
}

pub fn want_all(spool: &Spool) -> Vec<BucketFile> {
    let files = spool.bucket().list("").unwrap();
    let wanted: Vec<_> = files.iter().map(|f| (f.clone(), f.size)).collect();
    spool.want(&wanted);
    files
}

const ODD: &[&str] = &[
    "a&b<c>\"d'.json",
    "gda/model/decoder/0.0",
    "gda/model/decoder/0.1",
    "gda/model/layer #1?x=y/.zarray",
    "gda/mödel/100%25 + tax",
    "index",
];

#[test]
fn a_list_has_all_pages_and_its_names_are_what_is_asked_for() {
    let contents: Vec<Vec<u8>> = (0..ODD.len()).map(|i| pattern(10 + i, i as u64)).collect();
    let files: Vec<(&str, &[u8])> = ODD
        .iter()
        .zip(&contents)
        .map(|(path, content)| (*path, content.as_slice()))
        .collect();
    let world = World::new(&files);
    for page in [1, 2, 4, 1000] {
        world.server.set(|manner| manner.page = page);
        world.server.clear_log();
        let bucket = world.bucket();
        let listed = bucket.list("").unwrap();
        assert_eq!(world.server.log().len(), ODD.len().div_ceil(page));
        let paths: Vec<&str> = listed.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ODD);
        for (file, content) in listed.iter().zip(&contents) {
            assert_eq!(file.size, content.len() as u64);
            assert!(file.e_tag.is_some());
            assert_eq!(bucket.read(&file.path).unwrap(), *content, "{}", file.path);
        }
        let expected = Checksums {
            verified: ODD.len() as u64,
            unverified: 0,
        };
        assert_eq!(bucket.checksums(), expected);
    }
    let below: Vec<String> = world
        .bucket()
        .list("gda/model")
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect();
    assert_eq!(below, ODD[1..4]);
    assert!(
        world.bucket().list("gda/mod").unwrap().is_empty(),
        "a folder, not the beginning of names"
    );
    assert!(world.server.log().iter().all(|request| !request.authorized));
}

#[test]
fn a_bucket_can_be_opened_at_its_root() {
    let world = World::new(&[("index", b"x")]);
    let bucket = Bucket::open("gs://public-bucket", world.settings()).unwrap();
    let listed = bucket.list("").unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].path, "run 1/checkpoint/index");
    assert_eq!(bucket.read(&listed[0].path).unwrap(), b"x");
    assert_eq!(bucket.list("run 1").unwrap(), listed);
}

#[test]
fn objects_that_stand_for_folders_are_no_files() {
    let world = World::new(&[("gda/0", b"x"), ("empty", b"")]);
    let prefix = "run 1/checkpoint/";
    world.server.set(|manner| {
        manner.also_listed = vec![(prefix.to_owned(), 0), (format!("{prefix}gda/"), 0)]
    });
    let paths: Vec<String> = world
        .bucket()
        .list("")
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect();
    assert_eq!(paths, ["empty", "gda/0"]);
}
