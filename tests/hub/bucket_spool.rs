//! Files of a bucket that are read while their pieces arrive.

use std::io::Read;

use attnscope::hub::bucket::{Checksums, Spool, SpoolProgress};

use super::bucket::{World, find, read, want_all};
use super::pattern;
use crate::support::bucket::{Fault, Hash};

#[test]
fn files_are_read_as_they_are_whatever_the_pieces() {
    for (size, piece) in [
        (0, 10),
        (1, 1),
        (1, 10),
        (9, 10),
        (10, 10),
        (11, 10),
        (30, 10),
        (1000, 7),
        (300_000, 10_000),
        (300_001, 1 << 24),
    ] {
        let content = pattern(size, 7);
        let world = World::new(&[("a", &content)]);
        let bucket = world.bucket_with(|settings| settings.piece = piece);
        let spool = Spool::open(bucket, world.pieces()).unwrap();
        let files = want_all(&spool);
        assert_eq!(
            read(&spool, &files[0]).unwrap(),
            content,
            "{size} in {piece}"
        );
        assert_eq!(spool.received(), size as u64);
        assert_eq!(world.server.sent(), size, "nothing is fetched twice");
        let expected = Checksums {
            verified: 1,
            unverified: 0,
        };
        assert_eq!(spool.bucket().checksums(), expected);
        let (there, other) = world.on_disk();
        assert_eq!(there.len() as u64, (size as u64).div_ceil(piece));
        assert!(other.is_empty(), "{other:?}");
        let all = SpoolProgress {
            wanted: size as u64,
            here: size as u64,
        };
        assert_eq!(spool.progress(), all);
        spool.remove(&files[0]);
        assert!(world.on_disk().0.is_empty());
    }
}

#[test]
fn pieces_come_in_turns() {
    let content = pattern(35, 1);
    let world = World::new(&[("a", &content), ("b", &content[..25]), ("c", &content[..5])]);
    let bucket = world.bucket_with(|settings| {
        settings.piece = 10;
        settings.connections = 1;
    });
    let spool = Spool::open(bucket, world.pieces()).unwrap();
    let files = spool.bucket().list("").unwrap();
    let wanted = [
        (files[1].clone(), 25),
        (files[0].clone(), 25), // of 35
        (files[2].clone(), 5),
    ];
    world.server.clear_log();
    spool.want(&wanted);
    world
        .server
        .wait_for(|log| log.iter().map(|request| request.sent).sum::<usize>() == 60);
    let asked: Vec<(String, Option<(usize, usize)>)> = world
        .server
        .log()
        .into_iter()
        .map(|request| (request.path, request.range))
        .collect();
    let expected = [
        ("b", Some((0, 9))),
        ("a", Some((0, 9))),
        ("c", None),
        ("b", Some((10, 19))),
        ("a", Some((10, 19))),
        ("b", Some((20, 24))),
        ("a", Some((20, 29))),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(path, range)| (World::key(path), range))
        .collect();
    assert_eq!(asked, expected);
}

#[test]
fn many_readers_at_once() {
    let contents: Vec<Vec<u8>> = (0..8)
        .map(|i| pattern(50_000 + 9_999 * i, i as u64))
        .collect();
    let names: Vec<String> = (0..8).map(|i| format!("gda/{i}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(String::as_str)
        .zip(contents.iter().map(Vec::as_slice))
        .collect();
    let world = World::new(&files);
    let spool = world.spool();
    let files = want_all(&spool);
    std::thread::scope(|scope| {
        for (file, content) in files.iter().zip(&contents) {
            let spool = &spool;
            // Two readers of every file.
            for _ in 0..2 {
                scope.spawn(move || assert_eq!(read(spool, file).unwrap(), *content));
            }
        }
    });
    let total: usize = contents.iter().map(Vec::len).sum();
    assert_eq!(world.server.sent(), total);
    assert_eq!(spool.bucket().checksums().verified, 16);
}

#[test]
fn what_nobody_wanted_is_fetched_when_it_is_read_and_first_of_all() {
    let big = pattern(100_000, 1);
    let content = pattern(60_000, 2);
    let world = World::new(&[("big", &big), ("late", &content)]);
    let bucket = world.bucket_with(|settings| settings.connections = 1);
    let spool = Spool::open(bucket, world.pieces()).unwrap();
    let (big_file, late) = (find(&spool, "big"), find(&spool, "late"));
    world.server.clear_log();
    world
        .server
        .fault(&World::key("big"), 1, Fault::HoldAfter(0));
    spool.want(&[(big_file.clone(), big_file.size)]);
    world.server.wait_for(|log| log.len() == 1);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut first = [0; 5];
            spool.reader(&late).read_exact(&mut first).unwrap();
            first
        });
        // Its wish is in the queue before the connection is free again.
        while spool.progress().wanted == big_file.size {
            std::thread::yield_now();
        }
        world.server.release();
        assert_eq!(reader.join().unwrap(), content[..5]);
    });
    world.server.wait_for(|log| log.len() >= 6);
    let order: Vec<(String, Option<(usize, usize)>)> = world
        .server
        .log()
        .into_iter()
        .map(|request| (request.path, request.range))
        .collect();
    // The held one breaks off and is repeated; then one piece and two ahead; then the rest of `big`.
    let (big_key, late_key) = (World::key("big"), World::key("late"));
    let expected = [
        (big_key.clone(), Some((0, 9_999))),
        (big_key.clone(), Some((0, 9_999))),
        (late_key.clone(), Some((0, 9_999))),
        (late_key.clone(), Some((10_000, 19_999))),
        (late_key, Some((20_000, 29_999))),
        (big_key, Some((10_000, 19_999))),
    ];
    assert_eq!(order[..6], expected);
    assert_eq!(read(&spool, &late).unwrap(), content);
    assert_eq!(read(&spool, &big_file).unwrap(), big);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let content = pattern(95_000, 3);
    let world = World::new(&[("a", &content)]);
    {
        let spool = world.spool();
        let file = find(&spool, "a");
        spool.want(&[(file.clone(), 60_000)]);
        let mut part = vec![0; 40_000];
        spool.reader(&file).read_exact(&mut part).unwrap();
        assert_eq!(part, content[..40_000]);
        while world.on_disk().0.len() < 6 {
            std::thread::yield_now();
        }
    }
    world.server.clear_log();
    {
        let spool = world.spool();
        let file = find(&spool, "a");
        spool.want(&[(file.clone(), file.size)]);
        assert_eq!(read(&spool, &file).unwrap(), content);
        assert_eq!(world.server.sent(), 35_000);
        assert_eq!(spool.received(), 35_000);
        assert_eq!(spool.bucket().checksums().verified, 1);
    }
    // Nothing is missing: the server is asked for the checksum only.
    world.server.clear_log();
    let spool = world.spool();
    let file = find(&spool, "a");
    spool.want(&[(file.clone(), file.size)]);
    assert_eq!(spool.progress().here, file.size);
    assert_eq!(read(&spool, &file).unwrap(), content);
    assert_eq!(world.server.sent(), 0);
    assert_eq!(
        world
            .server
            .log()
            .iter()
            .filter(|request| request.head)
            .count(),
        1
    );
    assert_eq!(spool.bucket().checksums().verified, 1);
}

#[test]
fn pieces_of_another_version_are_not_used() {
    let old = pattern(30_000, 1);
    let world = World::new(&[("a", &old)]);
    {
        let spool = world.spool();
        let file = find(&spool, "a");
        assert_eq!(read(&spool, &file).unwrap(), old);
    }
    let new = pattern(30_000, 2);
    world.put("a", &new);
    world.server.clear_log();
    let spool = world.spool();
    let file = find(&spool, "a");
    assert_eq!(read(&spool, &file).unwrap(), new);
    assert_eq!(world.server.sent(), new.len());
    assert_eq!(world.on_disk().0.len(), 3, "the old pieces have gone");
}

#[test]
fn other_pieces_than_before_are_cut_anew() {
    let content = pattern(30_000, 1);
    let world = World::new(&[("a", &content)]);
    {
        let spool = world.spool();
        read(&spool, &find(&spool, "a")).unwrap();
    }
    let bucket = world.bucket_with(|settings| settings.piece = 15_000);
    let spool = Spool::open(bucket, world.pieces()).unwrap();
    assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
    assert_eq!(world.on_disk().0.len(), 2);
}

#[test]
fn a_removed_file_is_fetched_no_further_and_can_be_wanted_again() {
    let content = pattern(95_000, 3);
    let world = World::new(&[("a", &content), ("b", &content)]);
    let spool = world.spool();
    let (a, b) = (find(&spool, "a"), find(&spool, "b"));
    // All connections are busy with `a`.
    world
        .server
        .fault(&World::key("a"), 3, Fault::HoldAfter(5_000));
    spool.want(&[(a.clone(), a.size)]);
    world
        .server
        .wait_for(|log| log.iter().map(|request| request.sent).sum::<usize>() == 15_000);
    spool.remove(&a);
    assert_eq!(spool.progress().wanted, 0);
    world.server.release();
    assert_eq!(read(&spool, &b).unwrap(), content);
    let asked = world.server.log();
    assert_eq!(
        asked
            .iter()
            .filter(|request| request.path == World::key("a"))
            .count(),
        3
    );
    assert_eq!(world.on_disk().0.len(), 10, "only those of `b`");
    spool.want(&[(a.clone(), a.size)]);
    assert_eq!(read(&spool, &a).unwrap(), content);
    assert_eq!(world.on_disk().0.len(), 20);
}

#[test]
fn all_forms_of_the_checksum_and_none() {
    let content = pattern(25_000, 1);
    for (hash, verified) in [(Hash::Right, 2), (Hash::Together, 2), (Hash::Absent, 0)] {
        let world = World::new(&[("a", &content)]);
        world.server.set(|manner| manner.hash = hash);
        let spool = world.spool();
        assert_eq!(spool.bucket().read("a").unwrap(), content);
        assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
        let expected = Checksums {
            verified,
            unverified: 2 - verified,
        };
        assert_eq!(spool.bucket().checksums(), expected);
    }
}

#[test]
fn etags_that_are_no_hashes_may_differ_between_lists_and_answers() {
    let content = pattern(25_000, 1);
    let world = World::new(&[("a", &content)]);
    world.server.set(|manner| manner.odd_e_tags = true);
    let spool = world.spool();
    assert_eq!(read(&spool, &find(&spool, "a")).unwrap(), content);
}

#[test]
fn one_spool_at_a_time() {
    let world = World::new(&[("a", b"x")]);
    let spool = world.spool();
    let error = Spool::open(world.bucket(), world.pieces()).err().unwrap();
    assert_eq!(error.exit_code(), 2, "{error}");
    drop(spool);
    Spool::open(world.bucket(), world.pieces()).unwrap();
}
