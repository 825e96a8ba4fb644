//! What is refused, and with which words.

use std::fs;

use super::{Made, page_data};
use crate::cli::{World, names};

#[test]
fn what_cannot_be_reported_is_refused_with_its_remedy() {
    let world = World::new();
    Made::new("a", [2, 2, 3], 1).write(&world.path("a"));
    Made {
        max_seq_len: 32,
        ..Made::new("b", [2, 2, 3], 2)
    }
    .write(&world.path("b"));
    let refused = |arguments: &[&str], says: &[&str]| {
        let mut all = vec!["report"];
        all.extend(arguments);
        world.run(&all).fails(2, says);
        assert!(!world.path("r.html").exists());
    };
    refused(
        &["none", "--out", "r.html"],
        &["none: is not there", "output directory of a scan"],
    );
    refused(
        &["a", "b", "--out", "r.html"],
        &[
            "did not measure the same thing",
            "max_seq_len is 32",
            "--force",
        ],
    );
    refused(
        &["a", "--out", "a"],
        &["a: is a directory", "name the file"],
    );
    refused(
        &["a", "--out", "texts.jsonl/r.html"],
        &["texts.jsonl/r.html: a directory above it is a file"],
    );
    fs::write(world.path("mine.html"), "mine").unwrap();
    refused(
        &["a", "--out", "mine.html"],
        &["mine.html: is there already", "choose another --out"],
    );
    assert_eq!(fs::read(world.path("mine.html")).unwrap(), b"mine");
    // The command line itself.
    for arguments in [&["report", "a"][..], &["report", "--out", "r.html"]] {
        let finished = world.run(arguments).ends(2);
        assert!(finished.stderr.contains("required"), "{finished}");
    }

    let forced = world
        .run(&["report", "a", "b", "--out", "r.html", "--force"])
        .succeeds();
    assert!(
        forced.stderr.contains("taken together because of --force"),
        "{forced}"
    );
    let differences = &page_data(&world.path("r.html"))["comparison"]["differences"];
    assert_eq!(differences[0]["field"], "max_seq_len");
    // Nothing is left over of any of them.
    let kept = [
        "a",
        "b",
        "gala",
        "mine.html",
        "r.html",
        "texts.jsonl",
        "tmp",
    ];
    assert_eq!(names(&world.path("")), kept);
}
