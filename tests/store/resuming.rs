//! Parts: whose they are, what is done, what is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use attnscope::Error;
use attnscope::store::{Parts, Resumed};
use tempfile::{TempDir, tempdir};

use super::*;

/// An interrupted run: batches 0 and 1 of two samples each, layers 0..2 in one part, layer 2 of batch 0 in another.
fn interrupted() -> TempDir {
    let out = tempdir().unwrap();
    let mut parts = Parts::create(out.path(), &fingerprint()).unwrap();
    parts.write(0, 0..2, rows(&[10, 20], 0..2)).unwrap();
    parts.write(0, 2..3, rows(&[10, 20], 2..3)).unwrap();
    parts.write(1, 0..2, rows(&[30, 40], 0..2)).unwrap();
    out
}

fn part(out: &Path, name: &str) -> PathBuf {
    out.join("parts").join(name)
}

#[test]
fn a_resumed_run_knows_what_is_done_and_finishes_the_rest() {
    let out = interrupted();
    assert_eq!(
        names(&out.path().join("parts")),
        [
            ".attnscope-lock",
            "batch-00000-layers-000-001.parquet",
            "batch-00000-layers-002-002.parquet",
            "batch-00001-layers-000-001.parquet",
            "plan.json"
        ]
    );
    // A part can be read like any samples table.
    let first = part(out.path(), "batch-00000-layers-000-001.parquet");
    assert_eq!(read_all(&first), in_order(rows(&[10, 20], 0..2)));

    assert_eq!(Parts::unfinished(out.path()).unwrap(), Some(fingerprint()));
    let parts = resume(out.path());
    let done: Vec<bool> = (0..2)
        .flat_map(|batch| (0..3).map(move |layer| (batch, layer)))
        .map(|(batch, layer)| parts.is_done(batch, layer))
        .collect();
    assert_eq!(done, [true, true, true, true, true, false]);
    assert_eq!(parts.resumed(), 1);
    let started_at = parts.started_at().to_owned();
    assert!(started_at.starts_with("20") && started_at.ends_with('Z'));

    let samples = [40, 30, 20, 10];
    assert_says(
        parts.finish(3, &samples, None, &provenance()),
        &["layer 2", "2 of 4 samples have no rows: 30, 40"],
    );
    assert_eq!(names(out.path()), ["parts"], "nothing half-written");
    drop(parts);

    let mut parts = resume(out.path());
    assert_eq!((parts.resumed(), parts.started_at()), (2, &*started_at));
    parts.write(1, 2..3, rows(&[30, 40], 2..3)).unwrap();
    let heads = parts.finish(3, &samples, None, &provenance()).unwrap();
    assert_eq!(heads, heads_of(&rows(&samples, 0..3)));
    assert_eq!(read_all(out.path()), in_order(rows(&samples, 0..3)));
}

#[test]
fn a_directory_with_other_files_is_fine_and_they_stay() {
    let out = tempdir().unwrap();
    fs::write(out.path().join("notes.md"), "mine").unwrap();
    fs::create_dir(out.path().join("figures")).unwrap();
    assert_eq!(Parts::unfinished(out.path()).unwrap(), None);
    fs::create_dir(out.path().join("parts")).unwrap();
    fs::write(out.path().join("parts/cello.ly"), "mine, too").unwrap();
    run(out.path(), &[1, 2], None);
    assert_eq!(names(&out.path().join("parts")), ["cello.ly"]);
    assert_eq!(
        names(out.path()),
        [
            "figures",
            "heads.parquet",
            "notes.md",
            "parts",
            "run.json",
            "samples.parquet"
        ]
    );

    let deep = out.path().join("not/there/yet");
    drop(Parts::create(&deep, &fingerprint()).unwrap());
    assert!(deep.join("parts/plan.json").exists());
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("out");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        assert_says(
            Parts::create(&path, &fingerprint()),
            &["out", "is a file", "another --out"],
        );
        assert_says(Parts::resume(&path, &fingerprint()), &["is a file"]);
    }
}

#[test]
fn create_refuses_other_runs_with_the_remedy() {
    let out = interrupted();
    let error = assert_says(
        Parts::create(out.path(), &fingerprint()),
        &[
            "unfinished run (3 parts in parts/)",
            "--resume",
            "another --out",
        ],
    );
    assert!(matches!(error, Error::OutDir { .. }));
    fs::remove_file(part(out.path(), "plan.json")).unwrap();
    for refused in [
        Parts::create(out.path(), &fingerprint()).map(drop),
        Parts::resume(out.path(), &fingerprint()).map(drop),
    ] {
        assert_says(refused, &["3 parts but no plan.json", "another --out"]);
    }

    let out = tempdir().unwrap();
    run(out.path(), &[1, 2], None);
    assert_says(
        Parts::create(out.path(), &fingerprint()),
        &[
            "finished run (heads.parquet, run.json, samples.parquet)",
            "another --out",
        ],
    );
    fs::remove_file(out.path().join("run.json")).unwrap();
    for refused in [
        Parts::create(out.path(), &fingerprint()).map(drop),
        Parts::resume(out.path(), &fingerprint()).map(drop),
    ] {
        assert_says(refused, &["results without a run.json", "another --out"]);
    }
}

#[test]
fn another_run_is_not_resumed_and_every_difference_is_named() {
    let out = interrupted();
    let mut other = fingerprint();
    other.insert("max_seq_len".into(), json!(512));
    other.insert("model".into(), json!({"name": "tiny", "weights": "ff00"}));
    other.insert("seed".into(), json!(7));
    let before = fs::read(part(out.path(), "plan.json")).unwrap();
    let error = assert_says(
        Parts::resume(out.path(), &other),
        &[
            "`max_seq_len` is 256 there and 512 here",
            "`model.weights` is \"ab12\" there and \"ff00\" here",
            "`seed` is null there and 7 here",
            "another --out",
        ],
    );
    assert!(!error.to_string().contains("threshold"), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(fs::read(part(out.path(), "plan.json")).unwrap(), before);
}

#[test]
fn numbers_that_json_does_not_keep_to_the_last_bit_do_not_matter() {
    let out = tempdir().unwrap();
    let mut awkward = fingerprint();
    awkward.insert("threshold".into(), json!(3027.0 / 121.0));
    drop(Parts::create(out.path(), &awkward).unwrap());
    let read = Parts::unfinished(out.path()).unwrap().unwrap();
    for ours in [&awkward, &read, &awkward, &read] {
        assert!(Parts::resume(out.path(), ours).is_ok());
    }
    awkward.insert("threshold".into(), json!(25.0165));
    assert_says(
        Parts::resume(out.path(), &awkward),
        &["`threshold`", "25.0165 here"],
    );
}

#[test]
fn resume_begins_where_there_is_nothing_and_ends_where_all_is_done() {
    let out = tempdir().unwrap();
    let new = out.path().join("new");
    assert_eq!(resume(&new).resumed(), 0);

    let finished = out.path().join("finished");
    let manifest = run(&finished, &[1, 2, 3], None);
    // The process died after run.json and before the parts were gone.
    fs::create_dir(finished.join("parts")).unwrap();
    fs::copy(
        new.join("parts/plan.json"),
        finished.join("parts/plan.json"),
    )
    .unwrap();
    match Parts::resume(&finished, &fingerprint()).unwrap() {
        Resumed::Finished(run) => assert_eq!(*run, manifest),
        Resumed::Unfinished(parts) => panic!("{parts:?}"),
    }
    assert_eq!(
        names(&finished),
        ["heads.parquet", "run.json", "samples.parquet"]
    );

    let mut other = fingerprint();
    other.insert("max_seq_len".into(), json!(512));
    assert_says(
        Parts::resume(&finished, &other),
        &["`max_seq_len` is 256 there"],
    );
    let mut merged = manifest;
    merged.fingerprint = None;
    merged.write(&finished).unwrap();
    assert_says(
        Parts::resume(&finished, &fingerprint()),
        &["merged run", "another --out"],
    );
}

#[test]
fn a_second_process_is_kept_out() {
    let out = interrupted();
    let parts = resume(out.path());
    assert_says(
        Parts::resume(out.path(), &fingerprint()),
        &["another process"],
    );
    drop(parts);
    resume(out.path());
}

#[test]
fn an_unreadable_plan_is_refused() {
    let out = interrupted();
    fs::write(part(out.path(), "plan.json"), "{\"fingerprint\": {").unwrap();
    assert_says(
        Parts::resume(out.path(), &fingerprint()),
        &["plan.json", "remove the directory parts/"],
    );
}

#[test]
fn truncated_parts_are_done_again() {
    let out = interrupted();
    let path = part(out.path(), "batch-00000-layers-000-001.parquet");
    let whole = fs::read(&path).unwrap();
    let cuts = [
        0,
        1,
        4,
        11,
        whole.len() / 4,
        whole.len() / 2,
        whole.len() - 9,
        whole.len() - 1,
    ];
    for length in cuts {
        fs::write(&path, &whole[..length]).unwrap();
        let mut parts = resume(out.path());
        assert!(!path.exists(), "cut to {length} bytes");
        assert!(
            !parts.is_done(0, 0) && !parts.is_done(0, 1),
            "cut to {length} bytes"
        );
        assert!(parts.is_done(0, 2) && parts.is_done(1, 1));
        parts.write(0, 0..2, rows(&[10, 20], 0..2)).unwrap();
        assert!(fs::read(&path).unwrap() == whole);
    }
}

#[test]
fn parts_with_the_wrong_rows_are_done_again() {
    let out = interrupted();
    // The rows of another part under this name.
    let right = part(out.path(), "batch-00000-layers-002-002.parquet");
    let wrong = part(out.path(), "batch-00001-layers-000-001.parquet");
    fs::copy(&right, &wrong).unwrap();
    // A layer that another part has already.
    let twice = part(out.path(), "batch-00000-layers-001-001.parquet");
    fs::copy(&right, &twice).unwrap();
    // A leftover of a killed process, and somebody's file.
    fs::write(part(out.path(), ".attnscope-x1y2.tmp"), "half").unwrap();
    fs::write(part(out.path(), "notes.txt"), "mine").unwrap();

    let parts = resume(out.path());
    assert!(!wrong.exists() && !parts.is_done(1, 0) && !parts.is_done(1, 1));
    assert!(!twice.exists() && parts.is_done(0, 1));
    assert_eq!(
        names(&out.path().join("parts")),
        [
            ".attnscope-lock",
            "batch-00000-layers-000-001.parquet",
            "batch-00000-layers-002-002.parquet",
            "notes.txt",
            "plan.json"
        ]
    );
}

#[test]
fn a_part_that_is_damaged_while_the_run_goes_on_is_named() {
    let out = interrupted();
    let mut parts = resume(out.path());
    parts.write(1, 2..3, rows(&[30, 40], 2..3)).unwrap();
    let path = part(out.path(), "batch-00001-layers-000-001.parquet");
    fs::write(&path, "PAR1 and nothing else PAR1").unwrap();
    assert_says(
        parts.finish(3, &[10, 20, 30, 40], None, &provenance()),
        &["batch-00001-layers-000-001.parquet", "--resume"],
    );
    assert_eq!(names(out.path()), ["parts"]);
}

#[test]
fn rows_that_make_no_complete_part_are_not_written() {
    let out = tempdir().unwrap();
    let mut parts = Parts::create(out.path(), &fingerprint()).unwrap();
    let good = rows(&[1, 2], 0..2);
    let mut without_head = good.clone();
    without_head.retain(|row| (row.sample, row.layer, row.head) != (2, 1, 1));
    let mut without_last_head = good.clone();
    without_last_head.retain(|row| (row.sample, row.layer, row.head) != (2, 1, N_HEADS - 1));
    let mut without_sample = good.clone();
    without_sample.retain(|row| (row.sample, row.layer) != (2, 1));
    let mut twice = good.clone();
    twice.push(row(1, 0, 2));
    let layer_0 = rows(&[1, 2], 0..1);
    for (rows, complaint) in [
        (&without_head, "layer 1, sample 2: head 1 is missing"),
        (
            &without_last_head,
            "layer 1: sample 2 has 3 heads, sample 1 has 4",
        ),
        (&without_sample, "layer 1: 1 of 2 samples have no rows: 2"),
        (&twice, "layer 0, sample 1: head 2 occurs more than once"),
        (&layer_0, "1 layers of rows where 2 belong"),
        (&rows(&[1, 2], 1..3), "a row of layer 1"),
        (&Vec::new(), "0 layers of rows where 2 belong"),
    ] {
        assert_says(
            parts.write(5, 0..2, rows.to_vec()),
            &["batch-00005-layers-000-001.parquet", complaint],
        );
        assert!(!parts.is_done(5, 0));
    }
    assert_says(parts.write(5, 1..1, good.clone()), &["at least one layer"]);
    parts.write(5, 0..2, good.clone()).unwrap();
    assert_says(
        parts.write(5, 1..3, rows(&[1, 2], 1..3)),
        &["batch 5, layer 1 has been written before"],
    );
    assert_eq!(names(&out.path().join("parts")).len(), 3);
}

#[test]
fn finish_notices_samples_that_are_missing_foreign_or_twice() {
    let out = tempdir().unwrap();
    let mut parts = Parts::create(out.path(), &fingerprint()).unwrap();
    parts.write(0, 0..2, rows(&[1, 2], 0..2)).unwrap();
    let finish = |parts: &Parts, n_layers, samples: &[i64]| {
        parts
            .finish(n_layers, samples, None, &provenance())
            .map(drop)
    };
    for (n_layers, samples, complaint) in [
        (2, vec![1, 2, 3], "layer 0: 1 of 3 samples have no rows: 3"),
        (
            2,
            vec![1],
            "layer 0: 1 samples do not belong to this run: 2",
        ),
        (3, vec![1, 2], "layer 2: 2 of 2 samples have no rows: 1, 2"),
        (
            1,
            vec![1, 2],
            "batch 0 has rows of layer 1, the model has 1 layers",
        ),
        (2, vec![1, 2, 1], "sample 1 was given twice"),
        (2, (1..30).collect(), "3, 4, 5, 6, 7, 8, 9, 10 and 19 more"),
    ] {
        assert_says(finish(&parts, n_layers, &samples), &["parts", complaint]);
    }
    // The same sample in two batches.
    parts.write(1, 0..2, rows(&[2, 3], 0..2)).unwrap();
    assert_says(
        finish(&parts, 2, &[1, 2, 3]),
        &["layer 0, sample 2: head 0 occurs more than once"],
    );
    assert_eq!(names(out.path()), ["parts"]);
}

#[test]
fn a_shard_without_samples_finishes_with_empty_tables() {
    let out = tempdir().unwrap();
    run(out.path(), &[], Some(Shard::new(3, 4).unwrap()));
    assert!(read_all(&out.path().join("samples-00003-of-00004.parquet")).is_empty());
    let heads = out.path().join("heads-00003-of-00004.parquet");
    assert!(attnscope::store::read_heads(&heads).unwrap().is_empty());
}
