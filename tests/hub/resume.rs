//! Downloads that stop in the middle go on where they stopped.

use std::fs;
use std::time::{Duration, Instant};

use attnscope::hub::{Hub, HubSettings};

use super::server::{Fault, Request};
use super::{CONFIG, World, child, fetch_all, settings};

fn range(from: usize) -> Option<String> {
    Some(format!("bytes={from}-"))
}

#[test]
fn a_cut_connection_is_resumed_without_fetching_anything_twice() {
    let world = World::new();
    for bytes in [100_000, 50_000, 0] {
        world
            .site
            .fault("model.safetensors", Fault::CutAfter(bytes));
    }
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(
        world.ranges(),
        [None, range(100_000), range(150_000), range(150_000)]
    );
    assert_eq!(world.sent(), CONFIG.len() + world.weights.len());
}

#[test]
fn a_download_that_gets_further_each_time_is_never_given_up() {
    let world = World::new();
    let cuts = 20;
    for _ in 0..cuts {
        world
            .site
            .fault("model.safetensors", Fault::CutAfter(10_000));
    }
    world.fetch().unwrap();
    assert_eq!(world.ranges().len(), cuts + 1);
    assert_eq!(world.sent(), CONFIG.len() + world.weights.len());
}

#[test]
fn a_failed_download_is_continued_by_the_next_call() {
    let world = World::new();
    for bytes in [200_000, 0, 0, 0] {
        world
            .site
            .fault("model.safetensors", Fault::CutAfter(bytes));
    }
    let error = world.fetch().unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(
        error.to_string().contains("model.safetensors")
            && error.to_string().contains("200000 of 300000 bytes"),
        "{error}"
    );
    assert_eq!(fs::metadata(world.partial()).unwrap().len(), 200_000);
    assert!(
        !world.repo_dir().join("refs/main").exists(),
        "an unfinished snapshot must not become the branch's"
    );

    world.site.clear_log();
    let snapshot = world.fetch().unwrap();
    assert_eq!(world.ranges(), [range(200_000)]);
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
}

#[test]
fn a_server_that_ignores_ranges_is_started_over() {
    let world = World::new();
    world
        .site
        .fault("model.safetensors", Fault::CutAfter(100_000));
    world.site.fault("model.safetensors", Fault::IgnoreRange);
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.ranges(), [None, range(100_000)]);
}

#[test]
fn a_server_that_ignores_ranges_and_always_breaks_at_the_same_place_is_given_up() {
    let world = World::new();
    for _ in 0..100 {
        world
            .site
            .fault("model.safetensors", Fault::IgnoreRangeAndCutAfter(100_000));
    }
    let error = world.fetch().unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    // The first attempt came further than any before it; then the three retries.
    assert_eq!(world.ranges().len(), 4);
}

#[test]
fn bytes_from_another_place_than_asked_for_are_not_taken() {
    let world = World::new();
    world
        .site
        .fault("model.safetensors", Fault::CutAfter(100_000));
    world.site.fault("model.safetensors", Fault::WrongRange);
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.ranges(), [None, range(100_000), range(100_000)]);
}

#[test]
fn a_server_that_refuses_the_range_is_asked_for_the_whole_file() {
    let world = World::new();
    world
        .site
        .fault("model.safetensors", Fault::CutAfter(100_000));
    world
        .site
        .fault("model.safetensors", Fault::Status(416, vec![]));
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.ranges(), [None, range(100_000), None]);
}

#[test]
fn a_silent_server_is_left_and_the_download_goes_on() {
    let world = World::new();
    world
        .site
        .fault("model.safetensors", Fault::HoldAfter(120_000));
    let settings = HubSettings {
        timeout: Duration::from_millis(300),
        ..settings(&world.site.endpoint(), world.cache.path())
    };
    let snapshot = fetch_all(&Hub::new(settings).unwrap()).unwrap();
    world.site.release();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.ranges()[..2], [None, range(120_000)]);
}

#[test]
fn when_one_file_fails_the_others_stop_and_keep_what_they_have() {
    let world = World::new();
    world
        .site
        .fault("model.safetensors", Fault::HoldAfter(100_000));
    for _ in 0..4 {
        world.site.fault("config.json", Fault::Status(500, vec![]));
    }
    // The weights hang after their first part; config.json is given up after four attempts.
    let error = world.fetch().unwrap_err();
    world.site.release();
    assert!(error.to_string().contains("config.json"), "{error}");
    // How much of the first part had arrived by then is chance; that it is kept and used is not.
    let on_disk = fs::metadata(world.partial()).map_or(0, |found| found.len() as usize);
    assert!(on_disk <= 100_000);
    world.site.clear_log();
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        world.ranges(),
        [if on_disk == 0 { None } else { range(on_disk) }]
    );
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
}

#[test]
fn a_killed_process_is_continued_from_the_bytes_on_disk() {
    let world = World::with_weights(3_000_000);
    let half = 1_500_000;
    world
        .site
        .fault("model.safetensors", Fault::HoldAfter(half));
    let mut child = child::download(&world).spawn().unwrap();
    world
        .site
        .wait_for(|log| log.iter().any(|request| request.sent == half));
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(world.partial()).map_or(0, |found| found.len()) < half as u64
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap(); // SIGKILL
    let status = child.wait().unwrap();
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    assert!(!status.success());
    let on_disk = fs::metadata(world.partial()).unwrap().len() as usize;
    assert_eq!(on_disk, half);

    world.site.clear_log();
    let snapshot = world.fetch().unwrap();
    assert_eq!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap(),
        world.weights
    );
    assert_eq!(world.ranges(), [range(on_disk)]);
    let weights: usize = world
        .site
        .log()
        .iter()
        .filter(|request| request.cdn)
        .map(|request| request.sent)
        .sum();
    assert_eq!(weights, world.weights.len() - on_disk);
    world.site.release();
}

#[test]
fn two_processes_at_once_do_not_disturb_each_other() {
    let world = World::with_weights(2_000_000);
    world
        .site
        .fault("model.safetensors", Fault::HoldAfter(1_000_000));
    let mut first = child::download(&world).spawn().unwrap();
    world
        .site
        .wait_for(|log| log.iter().any(|request| request.sent == 1_000_000));
    let mut second = child::download(&world).spawn().unwrap();
    // The second has listed the files and waits for the lock; the first one's connection breaks and it goes on.
    let revisions = |log: &[Request]| log.iter().filter(|r| r.path.contains("/revision/")).count();
    world.site.wait_for(|log| revisions(log) == 2);
    world.site.release();
    assert!(first.wait().unwrap().success());
    assert!(second.wait().unwrap().success());
    assert_eq!(fs::read(world.weights_blob()).unwrap(), world.weights);
    assert_eq!(world.sent(), CONFIG.len() + world.weights.len());
}
