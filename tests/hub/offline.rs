//! Offline mode: the cache, and nothing else.

use std::fs;

use attnscope::Error;
use attnscope::hub::{Hub, HubSettings, RepoKind};

use super::server::Fault;
use super::{COMMIT, CONFIG, LATER_COMMIT, REPO, World, fetch_all};

#[test]
fn an_empty_cache_is_named() {
    let world = World::new();
    let hub = world.offline_hub();
    let error = hub.resolve(RepoKind::Model, REPO, "main").unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert!(
        error.to_string().contains(REPO) && error.to_string().contains("main"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 4);
    assert_eq!(hub.cached(RepoKind::Model, REPO, "main"), None);
}

#[test]
fn a_filled_cache_serves_without_a_connection() {
    let world = World::new();
    let online = world.fetch().unwrap();
    world.site.clear_log();
    // The real endpoint, so that a connection would show in the log.
    let settings = HubSettings {
        offline: true,
        ..super::settings(&world.site.endpoint(), world.cache.path())
    };
    let hub = Hub::new(settings).unwrap();
    assert_eq!(fetch_all(&hub).unwrap(), online);
    assert_eq!(
        hub.cached(RepoKind::Model, REPO, "main"),
        Some(online.clone())
    );
    assert_eq!(hub.cached(RepoKind::Model, REPO, COMMIT), Some(online));
    assert_eq!(hub.cached(RepoKind::Dataset, REPO, "main"), None);
    assert!(world.site.log().is_empty());
}

#[test]
fn missing_files_are_named() {
    let world = World::new();
    let hub = world.hub();
    let listing = hub.resolve(RepoKind::Model, REPO, "main").unwrap();
    hub.fetch(&listing, &|path| path == "config.json").unwrap();

    let offline = world.offline_hub();
    let listing = offline.resolve(RepoKind::Model, REPO, "main").unwrap();
    assert_eq!(
        offline
            .fetch(&listing, &|path| path == "config.json")
            .unwrap()
            .files,
        ["config.json"]
    );
    let error = offline.fetch(&listing, &|_| true).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert!(
        error.to_string().contains("model.safetensors")
            && !error.to_string().contains("config.json"),
        "{error}"
    );
    assert_eq!(
        offline.cached(RepoKind::Model, REPO, "main").unwrap().files,
        ["config.json"]
    );
}

#[test]
fn a_cache_without_listings_is_read_off_its_snapshots() {
    let world = World::new();
    let online = world.fetch().unwrap();
    // As older versions of Python's library leave it.
    fs::remove_dir_all(world.repo_dir().join("trees")).unwrap();
    let hub = world.offline_hub();
    let listing = hub.resolve(RepoKind::Model, REPO, "main").unwrap();
    let sizes: Vec<u64> = listing.files.iter().map(|file| file.size).collect();
    assert_eq!(sizes, [CONFIG.len() as u64, world.weights.len() as u64]);
    assert_eq!(hub.fetch(&listing, &|_| true).unwrap(), online);
    let error = hub
        .fetch(&listing, &|path| path == "tokenizer.json")
        .unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
}

#[test]
fn after_an_update_that_failed_the_last_whole_snapshot_still_serves() {
    let world = World::new();
    let first = world.fetch().unwrap();
    world.site.commit(
        REPO,
        "main",
        LATER_COMMIT,
        &[("config.json", CONFIG, false), ("new.bin", b"new", true)],
    );
    for _ in 0..4 {
        world.site.fault("new.bin", Fault::CutAfter(0));
    }
    world.fetch().unwrap_err();
    assert_eq!(fetch_all(&world.offline_hub()).unwrap(), first);
}

#[test]
fn a_damaged_listing_is_not_believed() {
    let world = World::new();
    world.fetch().unwrap();
    let tree = world
        .repo_dir()
        .join("trees")
        .join(format!("{COMMIT}.json"));
    for text in [
        "",
        "{}",
        r#"{"format_version": 2, "files": {}}"#,
        r#"{"format_version": 1, "files": {"../evil": {"size": 1, "blob_id": "0123456789abcdef0123456789abcdef01234567"}}}"#,
        r#"{"format_version": 1, "files": {"x": {"size": 1, "blob_id": "../../evil"}}}"#,
    ] {
        fs::write(&tree, text).unwrap();
        let listing = world
            .offline_hub()
            .resolve(RepoKind::Model, REPO, "main")
            .unwrap();
        assert_eq!(listing.files.len(), 2, "{text}");
    }
    // Online it is fetched anew and kept.
    assert_eq!(
        world
            .hub()
            .resolve(RepoKind::Model, REPO, "main")
            .unwrap()
            .files
            .len(),
        2
    );
    assert!(fs::read_to_string(&tree).unwrap().contains("lfs_sha256"));
}
