//! What a download leaves in the cache, and what it asks of the server.

use std::fs;

use attnscope::hub::RepoKind;

use super::http::git_oid;
use super::server::{Site, TOKEN};
use super::{COMMIT, CONFIG, LATER_COMMIT, REPO, World, child, fetch_all, pattern};

#[test]
fn a_fresh_download_has_the_layout_of_pythons_cache() {
    let world = World::new();
    world.site.commit(
        REPO,
        "main",
        COMMIT,
        &[
            ("config.json", CONFIG, false),
            ("model.safetensors", &world.weights, true),
            ("sub dir/déjà #1.txt", b"x", false),
            ("empty.txt", b"", false),
        ],
    );
    let snapshot = world.fetch().unwrap();

    assert_eq!(snapshot.commit, COMMIT);
    assert_eq!(
        snapshot.dir,
        world.repo_dir().join("snapshots").join(COMMIT)
    );
    assert_eq!(
        snapshot.files,
        [
            "config.json",
            "empty.txt",
            "model.safetensors",
            "sub dir/déjà #1.txt"
        ]
    );
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(
        fs::read(snapshot.dir.join("sub dir/déjà #1.txt")).unwrap(),
        b"x"
    );
    assert_eq!(fs::read(snapshot.dir.join("empty.txt")).unwrap(), b"");
    assert_eq!(
        fs::read_to_string(world.repo_dir().join("refs/main")).unwrap(),
        COMMIT
    );

    // Blobs carry the name that the Hub's ETag has: git's object id, or the SHA-256 of a file in LFS.
    assert_eq!(
        fs::read(world.repo_dir().join("blobs").join(git_oid(CONFIG))).unwrap(),
        CONFIG
    );
    assert_eq!(fs::read(world.weights_blob()).unwrap(), world.weights);
    assert!(!world.partial().exists());

    #[cfg(unix)]
    {
        let target = |path: &str| fs::read_link(snapshot.dir.join(path)).unwrap();
        assert_eq!(
            target("config.json"),
            std::path::Path::new("../../blobs").join(git_oid(CONFIG))
        );
        assert_eq!(
            target("sub dir/déjà #1.txt"),
            std::path::Path::new("../../../blobs").join(git_oid(b"x"))
        );
    }
    // The listing is kept as Python keeps it.
    let tree = fs::read_to_string(
        world
            .repo_dir()
            .join("trees")
            .join(format!("{COMMIT}.json")),
    )
    .unwrap();
    let tree: serde_json::Value = serde_json::from_str(&tree).unwrap();
    assert_eq!(tree["format_version"], 1);
    assert_eq!(tree["files"]["config.json"]["blob_id"], git_oid(CONFIG));
    assert_eq!(
        tree["files"]["model.safetensors"]["lfs_size"],
        world.weights.len()
    );
    let sha256 = world.weights_blob();
    assert_eq!(
        tree["files"]["model.safetensors"]["lfs_sha256"],
        sha256.file_name().unwrap().to_str().unwrap()
    );
}

#[test]
fn a_second_call_downloads_nothing() {
    let world = World::new();
    let first = world.fetch().unwrap();
    assert_eq!(world.sent(), CONFIG.len() + world.weights.len());
    world.site.clear_log();

    assert_eq!(world.fetch().unwrap(), first);
    assert_eq!(world.sent(), 0);
    let asked: Vec<String> = world
        .site
        .log()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(asked, [format!("/api/models/{REPO}/revision/main")]);

    // A commit cannot change: nothing at all is asked for.
    world.site.clear_log();
    let hub = world.hub();
    let listing = hub.resolve(RepoKind::Model, REPO, COMMIT).unwrap();
    assert_eq!(hub.fetch(&listing, &|_| true).unwrap(), first);
    assert_eq!(world.site.log().len(), 0);
}

#[test]
fn only_wanted_files_are_fetched() {
    let world = World::new();
    let hub = world.hub();
    let listing = hub.resolve(RepoKind::Model, REPO, "main").unwrap();
    assert_eq!(listing.files[1].path, "model.safetensors");
    assert_eq!(listing.files[1].size, world.weights.len() as u64);
    assert!(listing.files[0].sha256.is_none() && listing.files[1].sha256.is_some());

    let snapshot = hub.fetch(&listing, &|path| path == "config.json").unwrap();
    assert_eq!(snapshot.files, ["config.json"]);
    assert_eq!(world.sent(), CONFIG.len());
    assert!(!snapshot.dir.join("model.safetensors").exists());

    let error = hub
        .fetch(&listing, &|path| path.ends_with(".parquet"))
        .unwrap_err();
    assert!(
        error.to_string().contains("config.json, model.safetensors"),
        "{error}"
    );
}

#[test]
fn files_are_fetched_by_commit_even_when_the_branch_moves_meanwhile() {
    let world = World::new();
    let hub = world.hub();
    let listing = hub.resolve(RepoKind::Model, REPO, "main").unwrap();

    let later = pattern(1000, 7);
    world.site.commit(
        REPO,
        "main",
        LATER_COMMIT,
        &[("model.safetensors", &later, true)],
    );
    let first = hub.fetch(&listing, &|_| true).unwrap();
    assert_eq!(first.commit, COMMIT);
    assert_eq!(
        fs::read(first.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    let fetched = world
        .site
        .log()
        .into_iter()
        .filter(|request| request.path.contains("resolve"));
    assert!(
        fetched
            .map(|request| request.path)
            .all(|path| path.contains(COMMIT))
    );

    // The next run sees the new commit; the old snapshot stays beside it.
    let second = world.fetch().unwrap();
    assert_eq!(second.commit, LATER_COMMIT);
    assert_eq!(
        fs::read(second.dir.join("model.safetensors")).unwrap(),
        later
    );
    assert_eq!(
        fs::read_to_string(world.repo_dir().join("refs/main")).unwrap(),
        LATER_COMMIT
    );
    assert_eq!(
        fs::read(first.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
}

#[test]
fn the_converted_parquet_branch_of_a_dataset() {
    let world = World::new();
    let rows = pattern(5000, 3);
    world.site.commit(
        "datasets/org/texts",
        "refs/convert/parquet",
        COMMIT,
        &[("default/train/0000.parquet", &rows, true)],
    );
    let hub = world.hub();
    let listing = hub
        .resolve(RepoKind::Dataset, "org/texts", "refs/convert/parquet")
        .unwrap();
    let snapshot = hub
        .fetch(&listing, &|path| path.ends_with(".parquet"))
        .unwrap();

    assert_eq!(
        fs::read(snapshot.dir.join("default/train/0000.parquet")).unwrap(),
        rows
    );
    assert!(
        world.site.log()[0]
            .path
            .ends_with("/revision/refs%2Fconvert%2Fparquet")
    );
    let reference = world
        .cache
        .path()
        .join("datasets--org--texts/refs/refs/convert/parquet");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
    assert_eq!(
        hub.cached(RepoKind::Dataset, "org/texts", "refs/convert/parquet"),
        Some(snapshot)
    );
}

#[test]
fn the_token_goes_to_the_endpoint_only() {
    let world = World::new();
    world.fetch().unwrap();
    let expected = format!("Bearer {TOKEN}");
    let log = world.site.log();
    assert!(log.iter().any(|request| request.cdn));
    for request in &log {
        let token = request.authorization.as_deref();
        assert_eq!(
            token,
            (!request.cdn).then_some(expected.as_str()),
            "{}",
            request.path
        );
    }
}

#[test]
fn without_a_token_none_is_sent_whatever_the_environment_holds() {
    let world = World::new();
    let mut download = child::download_without_token(&world);
    download
        .env("HF_TOKEN", TOKEN)
        .env_remove("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    assert!(download.status().unwrap().success());
    let log = world.site.log();
    assert!(
        log.iter()
            .any(|request| request.path.contains("/revision/"))
    );
    assert!(
        log.iter().all(|request| request.authorization.is_none()),
        "{log:?}"
    );
}

#[test]
fn a_page_of_the_listing_on_another_host_does_not_get_the_token() {
    let (world, other) = (World::new(), Site::start());
    let hub = world.hub();
    let elsewhere = format!(
        "<{}/api/models/{REPO}/tree/{COMMIT}?cursor=1>; rel=\"next\"",
        other.endpoint()
    );
    other.commit(
        REPO,
        "main",
        COMMIT,
        &[
            ("a", b"", false),
            ("b.txt", b"b", false),
            ("c.txt", b"c", false),
        ],
    );
    world.site.link_next_page_to(&elsewhere);

    let listing = hub.resolve(RepoKind::Model, REPO, "main").unwrap();
    assert!(
        listing.files.iter().any(|file| file.path == "b.txt"),
        "{:?}",
        listing.files
    );
    assert!(
        other
            .log()
            .iter()
            .all(|request| request.authorization.is_none())
    );
    assert!(!other.log().is_empty());
}

#[test]
fn two_downloads_at_once_share_the_work() {
    let world = World::new();
    let snapshots: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| fetch_all(&world.hub())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect()
    });
    assert_eq!(snapshots[0], snapshots[1]);
    assert_eq!(
        fs::read(snapshots[0].dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.sent(), CONFIG.len() + world.weights.len());
}

#[test]
fn what_python_has_put_into_the_cache_is_used() {
    let world = World::new();
    let blobs = world.repo_dir().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(world.weights_blob(), &world.weights).unwrap();
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.sent(), CONFIG.len());
}

#[test]
fn a_truncated_blob_is_fetched_again() {
    let world = World::new();
    let snapshot = world.fetch().unwrap();
    fs::write(world.weights_blob(), &world.weights[..1000]).unwrap();
    world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
}

#[test]
fn many_files_with_the_same_content_are_fetched_once() {
    let world = World::new();
    let same = pattern(2000, 9);
    let names: Vec<String> = (0..12).map(|i| format!("part-{i:02}.bin")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), same.as_slice(), true))
        .collect();
    world.site.commit(REPO, "main", COMMIT, &files);
    let snapshot = world.fetch().unwrap();
    assert_eq!(snapshot.files, names);
    assert!(
        names
            .iter()
            .all(|name| fs::read(snapshot.dir.join(name)).unwrap() == same)
    );
    assert_eq!(world.sent(), same.len());
}
