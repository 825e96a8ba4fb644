//! Servers that are busy, broken, wrong or away.

use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attnscope::Error;
use attnscope::hub::bucket::{Bucket, Spool};

use super::bucket::{URL, World, find, read, settings};
use super::pattern;
use crate::support::bucket::{Fault, Hash};

const SIZE: usize = 45_000;

fn world() -> (World, Vec<u8>) {
    let content = pattern(SIZE, 11);
    let world = World::new(&[("a", &content), ("b", b"small")]);
    (world, content)
}

fn status(status: u16) -> Fault {
    Fault::Status(status, Vec::new())
}

/// The error has this exit code and names these things.
#[track_caller]
fn assert_says(error: &Error, exit_code: u8, words: &[&str]) {
    assert_eq!(error.exit_code(), exit_code, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word} in {error}");
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (world, content) = world();
    world.server.fault("public-bucket", 2, status(503));
    world.server.fault(&World::key("a"), 3, status(429));
    world.server.fault(&World::key("b"), 1, status(500));
    let spool = world.spool();
    let file = find(&spool, "a");
    assert_eq!(read(&spool, &file).unwrap(), content);
    assert_eq!(spool.bucket().read("b").unwrap(), b"small");
    assert_eq!(world.server.sent(), SIZE + 5);
}

#[test]
fn the_wait_that_a_server_asks_for_is_kept() {
    let (world, _) = world();
    let asked = vec![("Retry-After", "1".to_owned())];
    world
        .server
        .fault(&World::key("b"), 1, Fault::Status(503, asked));
    let start = Instant::now();
    world.bucket().read("b").unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let (world, _) = world();
    let spool = world.spool();
    let file = find(&spool, "a");
    world.server.clear_log();
    world
        .server
        .fault(&World::key("a"), usize::MAX, status(503));
    let error = read(&spool, &file).unwrap_err();
    let expected = [
        "gs://public-bucket/run 1/checkpoint/a",
        "503",
        "4 attempts",
        "out of order",
    ];
    assert_says(&error, 4, &expected);
    let error = spool.bucket().read("a").unwrap_err();
    assert_says(&error, 4, &expected);
    // At most the three pieces that were asked for together, and the small read.
    assert!(world.server.log().len() <= 16);
    world.server.fault("public-bucket", usize::MAX, status(503));
    assert_says(
        &spool.bucket().list("gda").unwrap_err(),
        4,
        &["checkpoint/gda", "4 attempts"],
    );
}

#[test]
fn a_cut_connection_is_resumed_without_fetching_anything_twice() {
    let (world, content) = world();
    for bytes in [1, 9_999, 0, 4_000, 3_000, 5_000] {
        world
            .server
            .fault(&World::key("a"), 1, Fault::CutAfter(bytes));
    }
    let spool = world.spool();
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    assert_eq!(read(&spool, &file).unwrap(), content);
    assert_eq!(world.server.sent(), SIZE);
    assert_eq!(spool.received(), SIZE as u64);
    assert_eq!(spool.bucket().checksums().verified, 1);
}

#[test]
fn a_piece_that_gets_further_each_time_is_never_given_up() {
    let (world, content) = world();
    world
        .server
        .fault(&World::key("a"), 30, Fault::CutAfter(1_000));
    let bucket = world.bucket_with(|settings| settings.connections = 1);
    let spool = Spool::open(bucket, world.pieces()).unwrap();
    assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
    assert_eq!(world.server.sent(), SIZE);
}

#[test]
fn a_wrong_checksum_removes_the_file() {
    let (world, content) = world();
    world.server.set(|manner| manner.hash = Hash::Wrong);
    {
        let spool = world.spool();
        let file = find(&spool, "a");
        let mut reader = spool.reader(&file);
        let mut bytes = Vec::new();
        let error = reader
            .read_to_end(&mut bytes)
            .map_err(Error::io("x"))
            .unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }));
        let stated = format!("{:08x}", crc32c::crc32c(&content) ^ 1);
        let found = format!("{:08x}", crc32c::crc32c(&content));
        assert_says(
            &error,
            4,
            &["checkpoint/a", &stated, &found, "run the command again"],
        );
        assert!(
            bytes.len() < SIZE,
            "the end of a damaged file is not handed out"
        );
        assert!(
            reader.read(&mut [0; 10]).is_err(),
            "nor is it the end of a sound one"
        );
        assert!(world.on_disk().0.is_empty());
        let error = spool.bucket().read("b").unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        assert_eq!(spool.bucket().checksums().verified, 0);
    }
    world.server.set(|manner| manner.hash = Hash::Right);
    let spool = world.spool();
    assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
}

#[test]
fn a_flipped_bit_on_the_way_is_found_and_the_next_reading_is_right() {
    let (world, content) = world();
    world
        .server
        .fault(&World::key("a"), 5, Fault::FlipAt(33_333));
    let spool = world.spool();
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    let error = read(&spool, &file).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert!(world.on_disk().0.is_empty());
    assert_eq!(read(&spool, &file).unwrap(), content);
}

#[test]
fn a_piece_that_lost_its_contents_on_the_disk_is_found() {
    let (world, content) = world();
    {
        let spool = world.spool();
        read(&spool, &find(&spool, "a")).unwrap();
    }
    // As after a power cut: the length is right.
    let (pieces, _) = world.on_disk();
    let torn = world.pieces().join(&pieces[0]);
    let length = fs::metadata(&torn).unwrap().len();
    fs::write(&torn, vec![0; length as usize]).unwrap();
    let spool = world.spool();
    let file = find(&spool, "a");
    let error = read(&spool, &file).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert_eq!(read(&spool, &file).unwrap(), content);
}

#[test]
fn a_piece_that_somebody_shortens_or_removes_is_fetched_again() {
    let (world, content) = world();
    let spool = world.spool();
    let file = find(&spool, "a");
    read(&spool, &file).unwrap();
    for shorten in [true, false] {
        let (pieces, _) = world.on_disk();
        let victim = world.pieces().join(&pieces[0]);
        match shorten {
            true => fs::write(&victim, "x").unwrap(),
            false => fs::remove_file(&victim).unwrap(),
        }
        assert_says(&read(&spool, &file).unwrap_err(), 1, &[&pieces[0]]);
        assert_eq!(read(&spool, &file).unwrap(), content);
    }
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_not_mixed() {
    let same_size = pattern(SIZE, 12);
    for (new, odd) in [
        (same_size.clone(), false),
        (same_size, true),
        (pattern(SIZE + 1, 12), true),
        (pattern(15_000, 12), true),
    ] {
        let (world, _) = world();
        world.server.set(|manner| {
            manner.odd_e_tags = odd;
            manner.hash = Hash::Absent; // the checksum does not help
        });
        let bucket = world.bucket_with(|settings| settings.connections = 1);
        let spool = Spool::open(bucket, world.pieces()).unwrap();
        let file = find(&spool, "a");
        world
            .server
            .fault(&World::key("a"), 2, Fault::FlipAt(usize::MAX));
        world.server.fault(&World::key("a"), 1, Fault::Replace(new));
        spool.want(&[(file.clone(), file.size)]);
        let error = read(&spool, &file).unwrap_err();
        assert_says(
            &error,
            4,
            &["checkpoint/a", "replaced", "run the command again"],
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    let (world, _) = world();
    let spool = world.spool();
    let file = find(&spool, "a");
    let words = [
        "gs://public-bucket/run 1/checkpoint/",
        "no such",
        "key does not exist",
    ];
    assert_says(&spool.bucket().read("nothing").unwrap_err(), 3, &words);
    fs::remove_file(world.temporary.path().join("root").join(World::key("a"))).unwrap();
    world.server.clear_log();
    assert_says(&read(&spool, &file).unwrap_err(), 3, &words);
    let asked = world.server.log().len();
    assert!(asked <= 3, "asked for once: {asked}");
    for path in ["", "../up", "a//b"] {
        assert_says(&spool.bucket().read(path).unwrap_err(), 3, &[]);
    }
    let elsewhere = Bucket::open("gs://no-such-bucket/x", world.settings()).unwrap();
    assert_says(
        &elsewhere.list("").unwrap_err(),
        3,
        &["gs://no-such-bucket/x", "bucket does not exist"],
    );
}

#[test]
fn what_may_not_be_read_is_named() {
    let (world, _) = world();
    let spool = world.spool();
    let file = find(&spool, "a");
    for code in [401, 403] {
        world.server.fault(&World::key("a"), 4, status(code));
        assert_says(
            &spool.bucket().read("a").unwrap_err(),
            3,
            &["refused", "out of order"],
        );
        assert_says(
            &read(&spool, &file).unwrap_err(),
            3,
            &["refused", "out of order"],
        );
    }
    world.server.fault("public-bucket", 1, status(403));
    assert_says(&spool.bucket().list("").unwrap_err(), 3, &["refused"]);
}

#[test]
fn names_that_are_no_paths_are_refused() {
    let (world, _) = world();
    for key in ["a//b", "x/../y", "./x"] {
        let key = format!("run 1/checkpoint/{key}");
        world
            .server
            .set(|manner| manner.also_listed = vec![(key.clone(), 0)]);
        assert_says(&world.bucket().list("").unwrap_err(), 3, &[&key]);
    }
}

#[test]
fn sizes_that_no_object_has_are_refused() {
    let (world, _) = world();
    let entry = ("run 1/checkpoint/huge".to_owned(), u64::MAX);
    world.server.set(|manner| manner.also_listed = vec![entry]);
    assert_says(&world.bucket().list("").unwrap_err(), 3, &["huge", "bytes"]);
}

#[test]
fn a_server_that_is_not_there_is_told_about_after_few_attempts() {
    let temporary = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let bucket = Arc::new(Bucket::open(URL, settings(closed)).unwrap());
    assert_says(
        &bucket.list("").unwrap_err(),
        4,
        &[URL, "no connection", "3 attempts"],
    );
    assert_says(&bucket.read("a").unwrap_err(), 4, &["3 attempts"]);
    let file = attnscope::hub::bucket::BucketFile {
        path: "a".to_owned(),
        size: 50_000,
        e_tag: None,
    };
    let spool = Spool::open(bucket, temporary.path().join("pieces")).unwrap();
    spool.want(&[(file.clone(), file.size)]);
    let error = read(&spool, &file).unwrap_err();
    assert_says(
        &error,
        4,
        &[
            "checkpoint/a",
            "no connection",
            "3 attempts",
            "goes on where it stopped",
        ],
    );
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_for_ever() {
    let (world, content) = world();
    world
        .server
        .fault(&World::key("a"), 1, Fault::HoldAfter(7_000));
    let bucket = world.bucket_with(|settings| settings.timeout = Duration::from_millis(300));
    let spool = Spool::open(bucket, world.pieces()).unwrap();
    assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
    assert_eq!(world.server.sent(), SIZE);
}

#[test]
fn a_server_without_ranges_serves_what_fits_into_a_piece() {
    let (world, content) = world();
    let always = |fault: Fault| world.server.fault(&World::key("a"), usize::MAX, fault);
    let small = world.bucket_with(|settings| settings.piece = 1 << 20);
    world
        .server
        .fault(&World::key("a"), 1, Fault::CutAfter(20_000));
    always(Fault::IgnoreRange);
    {
        let spool = Spool::open(small, world.pieces()).unwrap();
        let file = find(&spool, "a");
        assert_eq!(read(&spool, &file).unwrap(), content);
        assert_eq!(spool.received(), 20_000 + SIZE as u64);
        assert_eq!(spool.progress().here, SIZE as u64);
        spool.remove(&file);
    }
    let spool = world.spool();
    let error = read(&spool, &find(&spool, "a")).unwrap_err();
    assert_says(&error, 4, &["checkpoint/a", "whole file"]);
}

#[test]
fn bytes_from_another_place_than_asked_for_are_not_taken() {
    let (world, content) = world();
    world.server.fault(&World::key("a"), 3, Fault::WrongRange);
    let spool = world.spool();
    assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
}

#[test]
fn a_directory_that_cannot_be_written_is_told_about() {
    let (world, _) = world();
    let spool = world.spool();
    let file = find(&spool, "a");
    fs::remove_dir_all(world.pieces()).unwrap();
    assert_says(&read(&spool, &file).unwrap_err(), 1, &["pieces"]);
    let blocked = world.temporary.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = Spool::open(world.bucket(), blocked).err().unwrap();
    assert_says(&error, 1, &["file"]);
}

#[test]
fn a_spool_that_is_dropped_ends_its_transfers_and_its_readers() {
    let (world, _) = world();
    world
        .server
        .fault(&World::key("a"), usize::MAX, Fault::HoldAfter(5_000));
    let spool = world.spool();
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    let mut reader = spool.reader(&file);
    let waiting = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    world
        .server
        .wait_for(|log| log.iter().filter(|request| request.sent == 5_000).count() == 3);
    drop(spool);
    let error = waiting.join().unwrap().map_err(Error::io("x")).unwrap_err();
    assert_says(&error, 4, &["stopped"]);
    let (whole, other) = world.on_disk();
    assert!(whole.is_empty() && other.is_empty(), "{whole:?} {other:?}");
}

#[test]
fn a_spool_that_is_dropped_does_not_wait_for_the_next_attempt() {
    let (world, _) = world();
    world
        .server
        .fault(&World::key("a"), usize::MAX, status(503));
    let bucket = world.bucket_with(|settings| {
        settings.retry.base = Duration::from_secs(3600);
        settings.retry.longest = Duration::from_secs(3600);
    });
    let spool = Spool::open(bucket, world.pieces()).unwrap();
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    world.server.wait_for(|log| log.len() >= 2);
    drop(spool);
}
