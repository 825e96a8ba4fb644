//! Servers that refuse, are busy, or lie; and what a person is told.

use std::fs;
use std::time::Instant;

use attnscope::Error;
use attnscope::hub::{Hub, HubSettings, RepoKind, RetryPolicy};

use super::server::{Fault, TOKEN};
use super::{COMMIT, CONFIG, REPO, World, settings};

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let world = World::new();
    let wait = || vec![("Retry-After", "1".to_owned())];
    for place in ["revision", "tree", "model.safetensors"] {
        world.site.fault(place, Fault::Status(429, wait()));
    }
    let start = Instant::now();
    world.fetch().unwrap();
    // Three waits of a second each, one after the other.
    assert!(start.elapsed().as_millis() >= 3000, "{:?}", start.elapsed());
    assert_eq!(world.ranges().len(), 2);
}

#[test]
fn a_server_cannot_make_us_wait_longer_than_the_policy_says() {
    let world = World::new();
    world.site.fault(
        "tree",
        Fault::Status(429, vec![("Retry-After", "86400".to_owned())]),
    );
    let base = settings(&world.site.endpoint(), world.cache.path());
    let retry = RetryPolicy {
        longest_asked: std::time::Duration::from_millis(10),
        ..base.retry
    };
    Hub::new(HubSettings { retry, ..base })
        .unwrap()
        .resolve(RepoKind::Model, REPO, "main")
        .unwrap();
}

#[test]
fn temporary_errors_are_repeated() {
    let world = World::new();
    for place in ["revision", "tree", "config.json", "model.safetensors"] {
        for status in [500, 502, 503] {
            world.site.fault(place, Fault::Status(status, vec![]));
        }
    }
    world.fetch().unwrap();
}

#[test]
fn lasting_errors_end_with_the_network_exit_code() {
    for place in ["revision", "tree", "config.json"] {
        let world = World::new();
        for _ in 0..10 {
            world.site.fault(place, Fault::Status(500, vec![]));
        }
        let error = world.fetch().unwrap_err();
        assert_eq!(error.exit_code(), 4, "{place}: {error}");
        assert!(matches!(error, Error::Network { .. }), "{place}: {error}");
        assert!(
            error.to_string().contains("500") && error.to_string().contains("4 attempts"),
            "{place}: {error}"
        );
    }
}

#[test]
fn nobody_listening_is_a_network_error_with_a_remedy() {
    let world = World::new();
    let settings = settings("http://127.0.0.1:1", world.cache.path());
    let error = Hub::new(settings)
        .unwrap()
        .resolve(RepoKind::Model, REPO, "main")
        .unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(error.to_string().contains("--offline"), "{error}");
}

#[test]
fn damaged_content_is_deleted_and_reported() {
    for name in ["model.safetensors", "config.json"] {
        let world = World::new();
        world.site.fault(name, Fault::Corrupt);
        let error = world.fetch().unwrap_err();
        assert!(
            matches!(&error, Error::Checksum { path, .. } if path.ends_with(name)),
            "{error}"
        );
        assert_eq!(error.exit_code(), 4);
        let blobs: Vec<_> = fs::read_dir(world.repo_dir().join("blobs"))
            .unwrap()
            .flatten()
            .collect();
        let holds = |bytes: &[u8]| {
            blobs
                .iter()
                .any(|blob| fs::read(blob.path()).unwrap() == bytes)
        };
        assert!(!holds(if name == "config.json" {
            CONFIG
        } else {
            &world.weights
        }));
        assert!(
            !world
                .repo_dir()
                .join("snapshots")
                .join(COMMIT)
                .join(name)
                .exists()
        );
        if name == "model.safetensors" {
            assert!(!world.partial().exists());
        }
        world.fetch().unwrap();
        assert_eq!(fs::read(world.weights_blob()).unwrap(), world.weights);
    }
}

#[test]
fn a_damaged_beginning_is_found_after_a_resume() {
    let world = World::new();
    let mut wrong = world.weights[..100_000].to_vec();
    wrong[77] ^= 1;
    fs::create_dir_all(world.repo_dir().join("blobs")).unwrap();
    fs::write(world.partial(), wrong).unwrap();
    let error = world.fetch().unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert!(!world.partial().exists() && !world.weights_blob().exists());
    world.fetch().unwrap();
    assert_eq!(fs::read(world.weights_blob()).unwrap(), world.weights);
}

#[test]
fn names_that_leave_the_cache_are_refused_before_anything_is_fetched() {
    for evil in [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "C:\\evil",
        "..\\evil",
    ] {
        let world = World::new();
        world.site.also_list(evil);
        let error = world.fetch().unwrap_err();
        assert!(matches!(error, Error::NotOnHub { .. }), "{evil}: {error}");
        assert!(error.to_string().contains("evil"), "{error}");
        assert_eq!(world.sent(), 0);
        assert_eq!(fs::read_dir(world.cache.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_not_on_the_hub_is_not_asked_for_twice() {
    let world = World::new();
    let hub = world.hub();
    let missing = hub
        .resolve(RepoKind::Model, "org/tinny", "main")
        .unwrap_err();
    assert!(matches!(missing, Error::NotOnHub { .. }), "{missing}");
    assert!(
        missing.to_string().contains("org/tinny") && missing.to_string().contains("spelling"),
        "{missing}"
    );
    assert_eq!(missing.exit_code(), 3);

    let revision = hub
        .resolve(RepoKind::Model, REPO, "v9")
        .unwrap_err()
        .to_string();
    assert!(
        revision.contains("v9") && revision.contains("no such revision"),
        "{revision}"
    );
    let commit = hub
        .resolve(RepoKind::Model, REPO, &"e".repeat(40))
        .unwrap_err()
        .to_string();
    assert!(commit.contains("no such revision"), "{commit}");
    assert_eq!(world.site.log().len(), 3);
}

#[test]
fn refusals_name_the_remedy_and_never_the_token() {
    for (status, code, with_token, without_token) in [
        (
            401,
            "RepoNotFound",
            "token in HF_TOKEN is not valid",
            "set HF_TOKEN",
        ),
        (401, "GatedRepo", "request access", "then set HF_TOKEN"),
        (403, "GatedRepo", "request access", "then set HF_TOKEN"),
        (403, "", "lacks the permission", "set HF_TOKEN"),
    ] {
        for (token, expected) in [(true, with_token), (false, without_token)] {
            let world = World::new();
            world.site.close(REPO, status, code);
            let mut settings = settings(&world.site.endpoint(), world.cache.path());
            if !token {
                settings.token = None;
            }
            let hub = Hub::new(settings).unwrap();
            // hf-hub asks for the branch's commit, and this crate for a commit's files: both say the same.
            for revision in ["main", COMMIT] {
                world.site.clear_log();
                let error = hub.resolve(RepoKind::Model, REPO, revision).unwrap_err();
                assert!(matches!(error, Error::NotOnHub { .. }), "{error}");
                let message = error.to_string();
                assert!(
                    message.contains(expected) && message.contains("you shall not pass"),
                    "{status} {code}: {message}"
                );
                assert!(!message.contains(TOKEN));
                assert_eq!(world.site.log().len(), 1, "{status} is final");
            }
        }
    }
}

#[test]
fn a_file_that_vanished_is_named() {
    let world = World::new();
    let hub = world.hub();
    let listing = hub.resolve(RepoKind::Model, REPO, "main").unwrap();
    world.site.commit(
        REPO,
        "main",
        COMMIT,
        &[("config.json", super::CONFIG, false)],
    );
    let error = hub.fetch(&listing, &|_| true).unwrap_err().to_string();
    assert!(
        error.contains("model.safetensors") && error.contains("no file"),
        "{error}"
    );
}

#[test]
fn bad_names_are_usage_errors_without_a_request() {
    let world = World::new();
    let hub = world.hub();
    for (repo, revision) in [
        ("../x", "main"),
        ("a b/c", "main"),
        (REPO, "../../x"),
        (REPO, ""),
    ] {
        let error = hub.resolve(RepoKind::Model, repo, revision).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    assert_eq!(world.site.log().len(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_io_error_and_leaves_nothing_wrong_behind() {
    let world = World::new();
    fs::create_dir_all(world.repo_dir().join("blobs")).unwrap();
    // Every write to this device fails for want of space.
    std::os::unix::fs::symlink("/dev/full", world.partial()).unwrap();
    let error = world.fetch().unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if *path == world.partial()),
        "{error}"
    );
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(error.exit_code(), 1);
    world.fetch().unwrap();
    assert_eq!(fs::read(world.weights_blob()).unwrap(), world.weights);
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_an_io_error_that_names_the_place() {
    let world = World::new();
    // A file where the folder should be: fails for every user, root included.
    fs::write(world.cache.path().join(".locks"), b"").unwrap();
    let error = world.fetch().unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.starts_with(world.cache.path())),
        "{error}"
    );
}
