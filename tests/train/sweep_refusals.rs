//! What a sweep does not take: impossible runs, records that are damaged, directories of others.

use std::{fs, path::Path};

use attnscope::{
    corpus::Shard,
    store::sweep::SweepDirectory,
    train::sweep::{Filter, Selection},
};

use super::sweep::{assert_same_tables, grid, lines, sweep, tiny_induction};

#[test]
fn a_run_that_cannot_be_is_found_before_anything_is_trained() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (task, values, says) in [
        (
            "induction",
            "num_heads: {values: [2, 3]}, embed_dim: {value: 8}",
            "no run 1 (num_heads 3, embed_dim 8): num_heads",
        ),
        (
            "induction",
            "embed_dim: {values: [8, 9]}, num_heads: {value: 1}",
            "no run 1 (embed_dim 9, num_heads 1): embed_dim: 9 is odd, and positional_type `concat`",
        ),
        (
            "induction",
            "seq_length: {values: [13, 99]}",
            "no run 1 (seq_length 99): seq_length",
        ),
        (
            "induction",
            "seq_length: {values: [5, 4]}",
            "no run 1 (seq_length 4): seq_length: no position is left",
        ),
        (
            "classification",
            "vocab_size: {values: [41, 42]}",
            "no run 1 (vocab_size 42): num_labels",
        ),
        (
            "classification",
            "num_labels: {values: [2, 1]}",
            "no run 1 (num_labels 1): num_labels: a flip rate needs",
        ),
        (
            "classification",
            "num_eval: {values: [2, 1]}",
            "no run 1 (num_eval 1): num_eval: a flip rate needs",
        ),
        (
            "classification",
            "lr: {values: [0.1, 0]}",
            "no run 1 (lr 0): lr: 0 is not a number above 0",
        ),
    ] {
        let text = format!("task: {task}\nparameters: {{{values}}}");
        let grid = grid(&text).unwrap();
        let error = sweep(&grid, Selection::default(), &out).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert!(!out.exists());
    }
    // What the filters leave out need not be possible.
    let grid = grid("task: induction\nparameters: {num_heads: {values: [2, 3]}}").unwrap();
    let filters = vec![Filter::parse("num_heads=2", &grid).unwrap()];
    let selection = Selection {
        filters,
        ..Selection::default()
    };
    assert_eq!(selection.runs(&grid).unwrap(), [0]);
    // Nor what a limit does.
    let first = Selection {
        limit: Some(1),
        ..Selection::default()
    };
    assert_eq!(first.runs(&grid).unwrap(), [0]);
    assert!(Selection::default().runs(&grid).is_err());
    // Every value is looked at, and every shape, whatever else is varied.
    for (values, says) in [
        (
            "seed: {values: [0, 1]}, num_heads: {values: [2, 4, 3]}, lr: {values: [0.1, 0.2]}",
            "no run 4 (seed 0, num_heads 3, lr 0.1): num_heads",
        ),
        (
            "seed: {values: [0, 1]}, num_heads: {values: [2, 4]}, lr: {values: [0.1, -0.2]}",
            "no run 1 (seed 0, num_heads 2, lr -0.2): lr: -0.2 is not",
        ),
    ] {
        let text = format!("task: induction\nparameters: {{{values}}}");
        let grid = super::sweep::grid(&text).unwrap();
        let error = Selection::default().runs(&grid).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_torn_line_is_left_out_and_a_damaged_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let grid = grid(&tiny_induction()).unwrap();
    let out = dir.path().join("out");
    sweep(&grid, Selection::default(), &out).unwrap();
    let expected = dir.path().join("expected");
    sweep(&grid, Selection::default(), &expected).unwrap();
    let record = out.join("runs.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    // At the first byte, somewhere, and before the line break alone.
    for end in [last + 1, (last + text.len()) / 2, text.len() - 1] {
        fs::write(&record, &text.as_bytes()[..end]).unwrap();
        assert_eq!(
            sweep(&grid, Selection::default(), &out).unwrap(),
            1,
            "{end}"
        );
        assert_eq!(lines(&record), 6);
        assert_same_tables(&expected, &out);
    }
    // The last line is whole, too, if it has its end.
    for (at, line) in [(0, 1), (last, 6)] {
        let (before, after) = text.split_at(at);
        let damaged = format!("{before}{}", after.replacen("\"index\"", "\"indexx\"", 1));
        fs::write(&record, &damaged).unwrap();
        let message = sweep(&grid, Selection::default(), &out)
            .unwrap_err()
            .to_string();
        let says = format!("runs.jsonl: line {line} is no run");
        assert!(message.contains(&says), "{message}");
        assert_eq!(fs::read_to_string(&record).unwrap(), damaged);
    }
}

#[test]
fn the_directory_of_another_sweep_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = tiny_induction();
    let first = grid(&text).unwrap();
    let out = dir.path().join("out");
    sweep(&first, Selection::default(), &out).unwrap();
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = (names(&out), fs::read(out.join("runs.jsonl")).unwrap());
    for (from, to, says) in [
        (
            "1e30",
            "1e20",
            "`lr` is [0.01,0.001,1e+30] there and [0.01,0.001,1e+20] here",
        ),
        (
            "{value: 10}",
            "{value: 11}",
            "`vocab_size` is [10] there and [11] here",
        ),
        (
            "num_epochs: {value: 1}",
            "num_epochs: {value: 2}",
            "`num_epochs` is [1] there and [2] here",
        ),
        (
            "[softmax, sigmoid_unnorm]",
            "[sigmoid_unnorm, softmax]",
            "`attention_type`",
        ),
    ] {
        assert!(text.contains(from));
        let other = grid(&text.replace(from, to)).unwrap();
        let error = sweep(&other, Selection::default(), &out).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("holds the sweep of another grid"),
            "{error}"
        );
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    assert!(before == (names(&out), fs::read(out.join("runs.jsonl")).unwrap()));

    // A default of another version is in no file but in the records, too.
    let record = fs::read_to_string(out.join("runs.jsonl")).unwrap();
    fs::write(
        out.join("runs.jsonl"),
        record.replace("\"use_mlp\":true", "\"use_mlp\":false"),
    )
    .unwrap();
    let error = sweep(&first, Selection::default(), &out).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`use_mlp` is false there and true here"),
        "{error}"
    );

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    for name in ["run.json", "heads.parquet", "runs-00000-of-00002.jsonl"] {
        fs::write(foreign.join(name), "{}").unwrap();
        let error = sweep(&first, Selection::default(), &foreign).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        fs::remove_file(foreign.join(name)).unwrap();
    }
}

#[test]
fn two_processes_do_not_compute_the_same_runs() {
    let dir = tempfile::tempdir().unwrap();
    let grid = grid(&tiny_induction()).unwrap();
    let shard = |index, count| Some(Shard::new(index, count).unwrap());
    let open = |shard, selection: &str| SweepDirectory::open(dir.path(), &grid, selection, shard);
    let refused = |shard, selection: &str, says: &str| {
        let error = open(shard, selection).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    let whole = open(None, "all").unwrap();
    refused(None, "all", "another process is computing this sweep");
    refused(
        shard(0, 2),
        "all",
        "another process is computing this sweep",
    );
    drop(whole);
    let first = open(shard(0, 2), "all").unwrap();
    let second = open(shard(1, 2), "all").unwrap();
    refused(shard(1, 2), "all", "computing shard 1/2 of this sweep");
    refused(None, "all", "another process is computing shard");
    refused(shard(0, 4), "all", "another process is computing shard");
    drop(second);
    // The second half of something else may be in the first half of this.
    refused(shard(1, 2), "some", "computing shard 0/2 of this sweep");
    drop(first);
    open(shard(1, 2), "some").unwrap();
}
