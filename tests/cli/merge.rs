//! `merge`, through the command line.

use super::{RESULTS, World, names, tables};

impl World {
    /// Both halves of the scan, in `first` and `second`.
    fn halves(&self) {
        for (shard, out) in [("0/2", "first"), ("1/2", "second")] {
            self.scan(&["--shard", shard, "--out", out]).succeeds();
        }
    }
}

#[test]
fn shards_merge_into_what_one_run_would_have_written() {
    let world = World::new();
    let whole = world.scan(&["--json"]).succeeds().json();
    world.halves();
    let merged = world.run(&["merge", "second", "first", "--out", "merged", "--json"]);
    let merged = merged.succeeds().json();
    assert_eq!(merged["heads"], whole["heads"]);
    for key in [
        "model",
        "dataset",
        "samples",
        "skipped",
        "tokens",
        "non_finite_rows",
    ] {
        assert_eq!(merged[key], whole[key], "{key}");
    }
    assert_eq!(names(&world.path("merged")), RESULTS);
    assert_eq!(tables(&world.path("merged")), tables(&world.out()));
    let run = world.run_json("merged");
    assert_eq!(run["merged_from"].as_array().unwrap().len(), 2);
    assert!(run["fingerprint"].is_null());

    let says = ["holds a merged run", "cannot be resumed"];
    world.scan(&["--out", "merged", "--resume"]).fails(2, &says);
    let table = world
        .run(&["merge", "first", "second", "--out", "table"])
        .succeeds();
    assert!(table.stdout.contains("sparsity score"), "{table}");
    assert_eq!(table.stderr, "");
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let world = World::new();
    world.halves();
    let other = ["--shard", "1/2", "--max-seq-len", "12", "--out", "other"];
    world.scan(&other).succeeds();
    world.scan(&["--shard", "0/3", "--out", "third"]).succeeds();
    world.begin("unfinished", &[]);
    for (dirs, code, says) in [
        (&["first"][..], 2, &["at least two"][..]),
        (
            &["first", "other"],
            2,
            &[
                "other: does not belong together with first",
                "max_seq_len",
                "same options",
            ],
        ),
        (&["first", "first"], 2, &["name each shard once"]),
        (
            &["first", "third"],
            2,
            &["third: does not belong together with first", "shards"],
        ),
        (
            &["first", "none"],
            2,
            &["none: has no run.json; name the output directory"],
        ),
        (
            &["first", "unfinished"],
            2,
            &["unfinished: holds an unfinished run", "--resume"],
        ),
    ] {
        let mut arguments = vec!["merge", "--out", "merged"];
        arguments.extend(dirs);
        world.run(&arguments).fails(code, says);
        assert!(!world.path("merged").exists(), "{dirs:?}");
    }
    let says = ["first: already holds a run", "choose another --out"];
    world
        .run(&["merge", "first", "second", "--out", "first"])
        .fails(2, &says);
}

#[test]
fn non_finite_rows_stay_counted() {
    let world = World::new();
    super::checkpoint::edit(world.model(), |tensors| {
        let norm = tensors.get_mut("model.layers.0.input_layernorm.weight");
        norm.unwrap().bytes[..2].copy_from_slice(&[0xc0, 0x7f]);
    });
    for (shard, out) in [("0/2", "first"), ("1/2", "second")] {
        world.scan(&["--shard", shard, "--out", out]).ends(6);
    }
    let merged = world.run(&["merge", "first", "second", "--out", "merged", "--json"]);
    let merged = merged.ends(6);
    assert!(
        merged.stderr.contains("attention rows are not finite"),
        "{merged}"
    );
    let rows = merged.json()["non_finite_rows"].as_u64().unwrap();
    assert_eq!(rows, merged.json()["tokens"].as_u64().unwrap() * 24);
}
