//! Downloads in a process of their own, which a test can kill or give another environment.
//!
//! The process is this test binary again, told to run nothing but [`child_process`].

use std::path::Path;
use std::process::{Command, Stdio};

use attnscope::hub::Hub;

use super::{World, fetch_all, settings};

const ENDPOINT: &str = "ATTNSCOPE_TEST_HUB_ENDPOINT";
const CACHE: &str = "ATTNSCOPE_TEST_HUB_CACHE";
const ANONYMOUS: &str = "ATTNSCOPE_TEST_HUB_ANONYMOUS";

/// A process that fetches everything into the world's cache.
pub fn download(world: &World) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "hub::child::child_process", "--nocapture"])
        .env(ENDPOINT, world.site.endpoint())
        .env(CACHE, world.cache.path())
        .stdout(Stdio::null());
    command
}

/// The same, with no token in its settings.
pub fn download_without_token(world: &World) -> Command {
    let mut command = download(world);
    command.env(ANONYMOUS, "1");
    command
}

/// Not a test by itself: it does nothing unless it was started by [`download`].
#[test]
fn child_process() {
    let (Ok(endpoint), Some(cache)) = (std::env::var(ENDPOINT), std::env::var_os(CACHE)) else {
        return;
    };
    let mut settings = settings(&endpoint, Path::new(&cache));
    if std::env::var_os(ANONYMOUS).is_some() {
        settings.token = None;
    }
    fetch_all(&Hub::new(settings).unwrap()).unwrap();
}
