//! The command as a person meets it: what it is refused, and what is said of a text that was cut.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use attnscope::{
    Error, inspect,
    scan::{Progress, Watcher, plan::Plan},
};

use crate::cli::{World, names, text};

/// Refused with this code and these words, and nothing written.
#[track_caller]
fn refused(world: &World, arguments: &[&str], code: i32, says: &[&str]) {
    let before = names(&world.path("."));
    let mut all = vec!["inspect", "--device", "cpu"];
    all.extend(arguments);
    if !arguments.contains(&"--model") {
        all.extend(["--model", text(world.model())]);
    }
    world.run(&all).fails(code, says);
    assert_eq!(names(&world.path(".")), before);
    assert_eq!(names(&world.path("tmp")), [""; 0]);
}

#[test]
fn the_text_must_be_one() {
    let world = World::new();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(world.path(name), bytes).unwrap();
        world.path(name)
    };
    let (empty, latin, good) = (
        file("empty.txt", b""),
        file("latin.txt", b"na\xEFve"),
        file("good.txt", b"good"),
    );
    refused(&world, &[], 2, &["--text"]);
    refused(
        &world,
        &["--text", "a", "--file", text(&good)],
        2,
        &["--text", "--file"],
    );
    refused(&world, &["--text", ""], 2, &["--text", "no token"]);
    refused(
        &world,
        &["--file", text(&empty)],
        3,
        &["empty.txt", "no token"],
    );
    refused(
        &world,
        &["--file", text(&latin)],
        3,
        &["latin.txt", "byte 2", "UTF-8"],
    );
    refused(&world, &["--file", "nowhere.txt"], 1, &["nowhere.txt"]);
}

#[test]
fn layers_and_heads_must_be_there() {
    let world = World::new();
    let with = |more: &[&str], code, says: &[&str]| {
        refused(&world, &[&["--text", "a text"], more].concat(), code, says);
    };
    with(
        &["--layers", "4"],
        2,
        &["--layers", "no 4", "4 layers, 0 to 3"],
    );
    with(&["--layers", "0..9"], 2, &["--layers", "no 8"]);
    with(
        &["--heads", "1,6"],
        2,
        &["--heads", "no 6", "6 heads, 0 to 5"],
    );
    with(&["--heads", "x"], 2, &["--heads", "`x` is no number"]);
    with(&["--max-seq-len", "0"], 2, &["--max-seq-len"]);
    with(
        &["--max-page-mib", "1"],
        2,
        &["--max-page-mib", "at least 5 MiB", "--heads"],
    );
}

#[test]
fn the_model_must_be_known() {
    let world = World::new();
    refused(
        &world,
        &["--text", "a", "--model", "gala-7b-softmaxx"],
        2,
        &["gala-7b-softmaxx", "gala-7b-softmax"],
    );
    refused(
        &world,
        &["--text", "a", "--model", "./nowhere"],
        3,
        &["nowhere"],
    );
    let bare = world.path("bare");
    fs::create_dir(&bare).unwrap();
    refused(
        &world,
        &["--text", "a", "--model", text(&bare)],
        3,
        &["config.json"],
    );
}

#[test]
fn nothing_is_overwritten() {
    let world = World::new();
    fs::write(world.path("there.html"), "mine").unwrap();
    fs::write(world.path("there.parquet"), "mine").unwrap();
    let run = |more: &[&str], says: &[&str]| {
        refused(&world, &[&["--text", "a text"], more].concat(), 2, says);
    };
    run(
        &["--out", "there.html"],
        &["there.html", "not overwritten", "--out"],
    );
    run(&["--out", "."], &["is a directory"]);
    run(
        &["--out", "new.html", "--weights", "there.parquet"],
        &["there.parquet", "not overwritten", "--weights"],
    );
    run(
        &["--out", "one", "--weights", "one"],
        &["--weights", "--out", "two files"],
    );
    for name in ["there.html", "there.parquet"] {
        assert_eq!(fs::read(world.path(name)).unwrap(), b"mine");
    }
}

/// Rows that are not finite are a finding, not a failure: exit code 6, and the page says so.
#[test]
fn rows_that_are_not_finite_are_counted() {
    let world = World::new();
    let weights = world.model().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert!(
        header
            .get("model.layers.3.self_attn.q_norm.weight")
            .is_some()
    );
    // The last layer's norm becomes NaN.
    let of = &header["model.layers.3.self_attn.q_norm.weight"]["data_offsets"];
    let [start, end] = [0, 1].map(|i| 8 + length + of[i].as_u64().unwrap() as usize);
    let mut damaged = bytes.clone();
    damaged[start..end].fill(0xFF);
    fs::write(&weights, damaged).unwrap();
    let out = world.path("nan.html");
    let finished = world
        .run(&[
            "inspect",
            "--model",
            text(world.model()),
            "--text",
            "a text",
            "--out",
            text(&out),
        ])
        .ends(6);
    assert!(finished.stderr.contains("not finite"), "{finished}");
    let page = super::PageFile::open(&out);
    let (values, _) = {
        let bytes = super::bytes(&page.facts()["non_finite_rows"]);
        let (chunks, rest) = bytes.as_chunks::<8>();
        (
            chunks
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect::<Vec<_>>(),
            rest.len(),
        )
    };
    let tokens = page.facts()["tokens"].as_array().unwrap().len() as f64;
    assert_eq!(values[..18], [0.0; 18]);
    assert_eq!(values[18..], [tokens; 6]);
}

/// Lets so many layers pass, and stops.
struct Stop {
    after: u64,
    passed: AtomicU64,
}

impl Progress for Stop {
    fn advance(&self, _: u64) {
        self.passed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Watcher for Stop {
    fn tokenized(&self, _: usize, _: usize) {}

    fn planned(&self, _: &Plan, _: u64, _: u64) {}

    fn is_stopped(&self) -> bool {
        self.passed.load(Ordering::SeqCst) >= self.after
    }
}

#[test]
fn what_is_interrupted_leaves_nothing() {
    let world = World::new();
    let out = world.path("out");
    fs::create_dir(&out).unwrap();
    let request = super::request(world.model(), "a text", &out);
    let run = |after| {
        let stop = Stop {
            after,
            passed: AtomicU64::new(0),
        };
        inspect::run(&request, &stop)
    };
    for after in 0..4 {
        let error = run(after).unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        assert_eq!(names(&out), [""; 0]);
    }
    run(4).unwrap();
    assert_eq!(names(&out), ["page.html", "weights.parquet"]);
}

#[test]
fn a_cut_text_is_said_to_be_cut() {
    let world = World::new();
    let out = world.path("new/page.html");
    let words = super::words(60);
    let finished = world
        .run(&[
            "inspect",
            "--model",
            text(world.model()),
            "--text",
            &words,
            "--max-seq-len",
            "16",
            "--out",
            text(&out),
            "--json",
        ])
        .succeeds();
    let json = finished.json();
    let all = json["text_tokens"].as_u64().unwrap();
    assert!(all > 60 && json["tokens"] == 16);
    assert!(
        finished
            .stderr
            .contains(&format!("{all} tokens; the first 16")),
        "{finished}"
    );
    assert_eq!(json["page_bytes"], fs::metadata(&out).unwrap().len());
    assert_eq!(json["heads"].as_array().unwrap().len(), 24);
    let facts = super::PageFile::open(&out).facts();
    assert_eq!(facts["text"]["uncut"], all);
    assert_eq!(facts["tokens"].as_array().unwrap().len(), 16);
    assert_eq!(names(&world.path("new")), ["page.html"]);
}

/// A file is one text: its line breaks are part of it, a byte order mark is not.
#[test]
fn a_file_is_one_text() {
    let world = World::new();
    let file = world.path("lines.txt");
    fs::write(&file, "\u{FEFF}one\ntwo\n").unwrap();
    let run = |source: [&str; 2], out: &str| {
        let arguments = [
            "inspect",
            "--model",
            text(world.model()),
            source[0],
            source[1],
            "--out",
            out,
        ];
        world.run(&arguments).succeeds();
        super::PageFile::open(&world.path(out)).facts()
    };
    let of_file = run(["--file", text(&file)], "file.html");
    let of_text = run(["--text", "one\ntwo\n"], "text.html");
    assert_eq!(of_file["tokens"], of_text["tokens"]);
    assert_eq!(of_file["text"]["sha256"], of_text["text"]["sha256"]);
    let breaks = of_file["tokens"].as_array().unwrap().iter();
    assert_eq!(breaks.filter(|token| *token == "<n>").count(), 2);
}
