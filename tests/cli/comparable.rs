//! Which scans `compare` takes together.

use std::fs;

use super::{World, text};

#[test]
fn scans_that_did_not_measure_the_same_are_compared_only_by_force() {
    let world = World::new();
    world.pair(&[]);
    let other_texts = world.path("other.jsonl");
    fs::write(&other_texts, "{\"text\": \"Something else.\"}\n").unwrap();
    let sigmoid = &world.files.models[1];
    for (out, arguments, says) in [
        (
            "length",
            &["--max-seq-len", "12"][..],
            "max_seq_len is 12 in",
        ),
        ("draw", &["--n-samples", "3"], "n_samples is 3 in"),
        (
            "draw",
            &["--n-samples", "3"],
            "samples is none that the other has not in",
        ),
        (
            "texts",
            &["--dataset", text(&other_texts)],
            "other.jsonl in",
        ),
        (
            "texts",
            &["--dataset", text(&other_texts)],
            "dataset_rows is 1 in",
        ),
        ("shard", &["--shard", "0/2"], "shard is 0/2 in"),
    ] {
        if !world.path(out).exists() {
            let mut all = vec!["--model", text(sigmoid), "--out", out];
            all.extend(arguments);
            world.scan(&all).succeeds();
        }
        let refused = world.compare(&["softmax", out, "--out", "c"]);
        refused.fails(2, &["did not measure the same thing", says, "--force"]);
        assert!(!world.path("c").exists());
        let forced = world.compare(&["softmax", out, "--force"]).succeeds();
        assert!(
            forced
                .stdout
                .contains("these scans did not measure the same thing"),
            "{forced}"
        );
        assert!(forced.stdout.contains(says), "{forced}");
        // Where stdout is for programs, people are told beside it.
        let forced = world.compare(&["softmax", out, "--force", "--json"]);
        assert!(forced.succeeds().stderr.contains(says));
    }
}

#[test]
fn what_was_named_or_drawn_otherwise_and_is_the_same_is_a_remark() {
    let world = World::new();
    world.pair(&[]);
    fs::copy(world.texts(), world.path("copy.jsonl")).unwrap();
    let copy = text(&world.path("copy.jsonl")).to_owned();
    world
        .scan(&["--dataset", &copy, "--out", "copy"])
        .succeeds();
    let compared = world.compare(&["sigmoid", "copy"]).succeeds();
    assert!(
        compared.stdout.contains("but the tokens are the same"),
        "{compared}"
    );
    // All texts, once in order and once as they were drawn.
    world
        .scan(&["--n-samples", "6", "--out", "drawn"])
        .succeeds();
    let compared = world.compare(&["sigmoid", "drawn"]).succeeds();
    for part in [
        "seed is 42 in",
        "indices_sha256",
        "but the texts are the same",
    ] {
        assert!(compared.stdout.contains(part), "{part}\n{compared}");
    }
    let compared = world.compare(&["softmax", "softmax"]).succeeds();
    assert!(
        compared.stdout.contains("is one scan named twice?"),
        "{compared}"
    );
}

#[test]
fn what_is_no_scan_is_refused_with_its_remedy() {
    let world = World::new();
    world.scan(&[]).succeeds();
    world.begin("unfinished", &[]);
    fs::create_dir(world.path("empty")).unwrap();
    let bytes = fs::read(world.path("out/samples.parquet")).unwrap();
    fs::create_dir(world.path("cut")).unwrap();
    fs::write(world.path("cut/samples.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    // The manifest of one run, the samples of another.
    world
        .scan(&["--max-seq-len", "12", "--out", "mixed"])
        .succeeds();
    fs::copy(
        world.path("out/samples.parquet"),
        world.path("mixed/samples.parquet"),
    )
    .unwrap();
    for (scan, code, says) in [
        (
            "none",
            2,
            &["none: is not there", "output directory of a scan"][..],
        ),
        (
            "empty",
            2,
            &["empty: holds neither samples.parquet nor heads.parquet"],
        ),
        (
            "unfinished",
            2,
            &[
                "unfinished: holds an unfinished run",
                "finish it with --resume",
            ],
        ),
        ("cut", 1, &["cut/samples.parquet"]),
        ("texts.jsonl", 1, &["texts.jsonl: "]),
        (
            "mixed",
            1,
            &[
                "mixed/samples.parquet: its footer says `24` for `attnscope.max_seq_len`",
                "keep each run",
            ],
        ),
    ] {
        world.compare(&["out", scan]).fails(code, says);
    }
    world.compare(&["out"]).fails(2, &["at least two scans"]);
}

/// The same name, the same number of rows, other words.
#[test]
fn texts_that_were_changed_are_other_texts() {
    let world = World::new();
    world.pair(&[]);
    let lines = fs::read_to_string(world.texts()).unwrap();
    let changed = lines.replace("sea", "see").replace("Five", "Four");
    assert_eq!(changed.lines().count(), lines.lines().count());
    fs::write(world.texts(), changed).unwrap();
    world.scan(&["--out", "changed"]).succeeds();
    world
        .compare(&["softmax", "changed"])
        .fails(2, &["did not measure the same thing: texts_sum is"]);
    // Another name for the same texts is one, whatever the tokenizer: from the footers alone, too.
    fs::write(world.texts(), &lines).unwrap();
    fs::create_dir(world.path("moved")).unwrap();
    let moved = world.path("moved/texts.jsonl");
    fs::copy(world.texts(), &moved).unwrap();
    world
        .scan(&["--dataset", text(&moved), "--out", "again"])
        .succeeds();
    let compared = world.compare(&["softmax/heads.parquet", "again/heads.parquet"]);
    let compared = compared.succeeds();
    assert!(
        compared.stdout.contains("but the texts are the same"),
        "{compared}"
    );
}

#[test]
fn a_table_that_is_not_the_manifests_is_refused() {
    let world = World::new();
    world.pair(&[]);
    for table in ["samples.parquet", "heads.parquet"] {
        let out = format!("cut-{table}");
        fs::create_dir(world.path(&out)).unwrap();
        world
            .scan(&["--n-samples", "3", "--out", &format!("few-{table}")])
            .succeeds();
        // The rows of three texts under the manifest of six, as a filter in Python leaves them: without a footer.
        let bytes = fs::read(world.path(&format!("few-{table}")).join(table)).unwrap();
        let bytes = without_facts(bytes);
        fs::write(world.path(&out).join(table), bytes).unwrap();
        fs::copy(
            world.path("sigmoid/run.json"),
            world.path(&out).join("run.json"),
        )
        .unwrap();
        world.compare(&["softmax", &out]).fails(
            1,
            &["samples with", "run.json says 5 with", "rows were lost"],
        );
    }
}

#[cfg(unix)]
#[test]
fn a_device_is_no_scan() {
    let world = World::new();
    world.scan(&[]).succeeds();
    world
        .compare(&["out", "/dev/null"])
        .fails(2, &["/dev/null: is neither a directory nor a file"]);
}

/// The same table without the facts in its footer: their names are made others of the same length.
fn without_facts(mut bytes: Vec<u8>) -> Vec<u8> {
    let name = b"attnscope.";
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|&at| bytes[at..].starts_with(name))
        .collect();
    assert!(places.len() > 10);
    for at in places {
        bytes[at..at + name.len()].copy_from_slice(b"another...");
    }
    bytes
}
