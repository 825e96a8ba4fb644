//! A download from a bucket in a process of its own, which a test can kill.
//!
//! The process is this test binary again, told to run nothing but [`child_process`].

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use attnscope::hub::bucket::{Bucket, Spool};

use super::bucket::{URL, World, find, read, settings};
use super::pattern;
use crate::support::bucket::Fault;

const ENDPOINT: &str = "ATTNSCOPE_TEST_BUCKET_ENDPOINT";
const DIR: &str = "ATTNSCOPE_TEST_BUCKET_DIR";

/// Not a test by itself: it does nothing unless it was started with these variables.
#[test]
fn child_process() {
    let (Ok(endpoint), Some(dir)) = (std::env::var(ENDPOINT), std::env::var_os(DIR)) else {
        return;
    };
    let bucket = Bucket::open(URL, settings(endpoint)).unwrap();
    let spool = Spool::open(Arc::new(bucket), PathBuf::from(dir)).unwrap();
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    read(&spool, &file).unwrap();
}

fn child(endpoint: String, world: &World) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "hub::bucket_child::child_process", "--nocapture"])
        .env(ENDPOINT, endpoint)
        .env(DIR, world.pieces())
        .stdout(Stdio::null());
    command
}

/// The login of the machine's user is no business of a public bucket, and may be damaged.
#[test]
fn variables_of_google_do_not_matter() {
    let world = World::new(&[("a", &pattern(25_000, 5))]);
    let credentials = world.temporary.path().join("credentials.json");
    std::fs::write(&credentials, "{").unwrap();
    let status = child(world.server.url(), &world)
        .env("GOOGLE_APPLICATION_CREDENTIALS", &credentials)
        .env("GOOGLE_SERVICE_ACCOUNT", &credentials)
        .env("GOOGLE_BASE_URL", "http://127.0.0.1:1")
        .env("GOOGLE_SKIP_SIGNATURE", "false")
        .status();
    assert!(status.unwrap().success());
    assert!(world.server.log().iter().all(|request| !request.authorized));
}

#[test]
fn a_proxy_is_used() {
    let world = World::new(&[("a", &pattern(25_000, 5))]);
    let status = child("http://bucket.invalid".to_owned(), &world)
        .env("HTTP_PROXY", world.server.url())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .status();
    assert!(status.unwrap().success());
    assert_eq!(world.server.sent(), 25_000);
}

/// `Child::kill` is SIGKILL.
#[test]
fn a_killed_download_goes_on_with_the_pieces_it_has() {
    let content = pattern(200_000, 5);
    let world = World::new(&[("a", &content)]);
    // Six pieces, then three connections that break off in the middle of theirs and stay silent.
    world
        .server
        .fault(&World::key("a"), 6, Fault::FlipAt(usize::MAX));
    world
        .server
        .fault(&World::key("a"), 3, Fault::HoldAfter(4_000));
    let mut child = child(world.server.url(), &world).spawn().unwrap();
    world.server.wait_for(|log| {
        log.iter().filter(|request| request.sent == 10_000).count() == 6
            && log.iter().filter(|request| request.sent == 4_000).count() == 3
    });
    // All whole pieces have their names once the process has nothing else to do.
    while world.on_disk().0.len() < 6 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it has ended by itself"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (whole, other) = world.on_disk();
    assert_eq!(whole.len(), 6);
    assert_eq!(other.len(), 3, "half-written pieces: {other:?}");

    world.server.clear_log();
    let spool = world.spool();
    assert!(world.on_disk().1.is_empty());
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    assert_eq!(read(&spool, &file).unwrap(), content);
    assert_eq!(world.server.sent(), 140_000);
    assert_eq!(spool.bucket().checksums().verified, 1);
}
