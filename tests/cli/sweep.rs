//! `sweep`, through the command line: killed, stopped, continued, refused.

use std::{
    fs,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use attnscope::{
    store::sweep::{Cell, SweepDirectory, SweepTable},
    train::sweep::Grid,
};

use super::{Finished, World};
use crate::train::sweep::{assert_same_tables, tiny_induction};

/// Enough runs that there is a middle.
fn many() -> String {
    format!(
        "{}\n  seed: {{values: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n",
        tiny_induction().trim_end()
    )
}

fn world(grid: &str) -> World {
    let world = World::new();
    fs::write(world.path("grid.yaml"), grid).unwrap();
    world
}

fn start(world: &World, out: &str) -> Child {
    let mut command = world.attnscope();
    command.args(["sweep", "grid.yaml", "--jobs=2", "--out", out]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs in the record, as far as it is whole.
fn recorded(world: &World, out: &str) -> usize {
    let record = fs::read_to_string(world.path(out).join("runs.jsonl"));
    record.map_or(0, |text| text.matches('\n').count())
}

#[test]
fn a_killed_sweep_is_continued_and_nothing_runs_twice() {
    let world = world(&many());
    let whole = world
        .run(&["sweep", "grid.yaml", "--out=whole", "--json"])
        .succeeds();
    assert_eq!(whole.json()["trained"], 60);
    let mut kills = 0;
    for more in [3, 9, 17] {
        let mut child = start(&world, "killed");
        let wanted = recorded(&world, "killed") + more;
        while recorded(&world, "killed") < wanted && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(kills > 0);
    let before = recorded(&world, "killed");
    let last = world
        .run(&["sweep", "grid.yaml", "--out=killed", "--json"])
        .succeeds();
    assert_eq!(last.json()["trained"], 60 - before);
    // A line for each run, and no run in two lines.
    assert_eq!(recorded(&world, "killed"), 60);
    assert_same_tables(&world.path("whole"), &world.path("killed"));
    let hidden = super::names(&world.path("killed"));
    assert!(
        !hidden.iter().any(|name| name.ends_with(".tmp")),
        "{hidden:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_stopped_sweep_keeps_what_is_over() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let world = world(&many());
    let mut child = start(&world, "out");
    while recorded(&world, "out") < 3 && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let finished = Finished::from(child.wait_with_output().unwrap());
    if finished.code == Some(0) {
        // It was over before the signal came.
        assert_eq!(recorded(&world, "out"), 60);
        return;
    }
    let finished = finished.ends(75);
    assert!(
        finished.stderr.contains("continue with the same command"),
        "{finished}"
    );
    let kept = recorded(&world, "out");
    assert!((3..60).contains(&kept), "{kept}");
    assert_eq!(SweepTable::read(&world.path("out")).unwrap().rows(), kept);
    let rest = world
        .run(&["sweep", "grid.yaml", "--out=out", "--json"])
        .succeeds();
    assert_eq!(rest.json()["trained"], 60 - kept);
}

#[test]
fn what_is_printed_and_drawn() {
    let world = world(&tiny_induction());
    let flags = ["sweep", "grid.yaml", "--out=out"];
    let finished = world
        .run(&[&flags[..], &["--filter", "lr=1e30, 0.01", "--limit=3"]].concat())
        .succeeds();
    assert!(
        finished
            .stdout
            .starts_with("induction: 3 of 3 runs done, 3 of them now\n"),
        "{finished}"
    );
    assert_eq!(finished.stdout.lines().count(), 4, "{finished}");
    for said in [
        "3 runs",
        "run 0 (attention_type softmax, lr 0.01): accuracy",
        "diverged after step",
        "1 of 3 runs diverged; column state says which",
        "there is no figure of share of sink heads in the last layer: no run counts",
    ] {
        assert!(finished.stderr.contains(said), "{said}: {finished}");
    }
    let told = world
        .run(&[&flags[..], &["--json"]].concat())
        .succeeds()
        .json();
    assert_eq!((&told["runs"], &told["trained"]), (&6.into(), &3.into()));
    assert_eq!(
        (&told["finished"], &told["diverged"], &told["left"]),
        (&4.into(), &2.into(), &0.into())
    );
    let kinds = told["attention_types"].as_array().unwrap();
    assert_eq!(kinds.len(), 2);
    let table = SweepTable::read(&world.path("out")).unwrap();
    let accuracies = table.numbers("accuracy").unwrap();
    let softmax: Vec<f64> = accuracies[..3].iter().flatten().copied().collect();
    let mean = softmax.iter().sum::<f64>() / softmax.len() as f64;
    assert!((kinds[0]["accuracy"].as_f64().unwrap() - mean).abs() < 1e-12);
    for file in told["files"].as_array().unwrap() {
        assert!(
            world.path("out").join(file.as_str().unwrap()).is_file(),
            "{file}"
        );
    }
    assert!(world.path("out/sweep-accuracy.png").is_file());

    let plan = world
        .run(&["sweep", "grid.yaml", "--dry-run", "--out=out"])
        .succeeds();
    assert!(
        plan.stdout
            .ends_with("induction: 6 of 6 runs, 6 done, 0 left\n"),
        "{plan}"
    );
    assert!(
        plan.stdout
            .contains("    2  diverged  attention_type softmax, lr 1e30\n"),
        "{plan}"
    );
    let plan = world
        .run(&["sweep", "classification", "--dry-run", "--json"])
        .succeeds()
        .json();
    assert_eq!(
        (&plan["left"], plan["runs"].as_array().unwrap().len()),
        (&12960.into(), 12960)
    );
    assert_eq!(plan["runs"][1]["configuration"]["lr"], 0.001);
}

#[test]
fn classification_has_its_own_columns_and_figures() {
    let world = world(
        "task: classification
parameters:
  attention_type: {values: [softmax, sigmoid_unnorm]}
  num_heads: {values: [1, 2]}
  num_layers: {values: [1, 2]}
  embed_dim: {value: 8}
  vocab_size: {value: 13}
  num_labels: {value: 2}
  seq_length: {value: 5}
  num_train: {value: 60}
  num_eval: {value: 30}
  num_epochs: {value: 1}
",
    );
    let told = world
        .run(&["sweep", "grid.yaml", "--out=out", "--json"])
        .succeeds()
        .json();
    for figure in [
        "sweep-flip-rate",
        "sweep-sparsity",
        "sweep-accuracy",
        "sweep-flip-rate-by-num_layers-num_heads",
        "sweep-flip-rate-by-num_heads",
        "sweep-sparsity-by-num_layers",
    ] {
        let svg = fs::read_to_string(world.path("out").join(format!("{figure}.svg"))).unwrap();
        assert!(svg.contains("not normalised"), "{figure}");
    }
    let table = SweepTable::read(&world.path("out")).unwrap();
    let rates = table.numbers("max_flip_rate").unwrap();
    let of_softmax = rates[..4].iter().flatten().sum::<f64>() / 4.0;
    let found = told["attention_types"][0]["max_flip_rate"]
        .as_f64()
        .unwrap();
    assert!((found - of_softmax).abs() < 1e-12);
    // One row for each head: 1 + 1·2 + 2·1 + 2·2 … of both functions.
    let heads = SweepTable::read(&world.path("out/heads.parquet")).unwrap();
    assert_eq!(heads.rows(), 2 * (1 + 2 + 2 + 4));
    assert!(
        heads
            .column("task")
            .unwrap()
            .iter()
            .all(|cell| *cell == Cell::Word("classification".into()))
    );
}

/// Tiny models, of one layer and one head where `more` does not say otherwise.
fn classification(more: &str) -> String {
    format!(
        "task: classification
parameters:
  {more}
  num_layers: {{value: 1}}
  num_heads: {{value: 1}}
  embed_dim: {{value: 8}}
  vocab_size: {{value: 13}}
  num_labels: {{value: 2}}
  seq_length: {{value: 5}}
  num_train: {{value: 60}}
  num_eval: {{value: 30}}
  num_epochs: {{value: 1}}
"
    )
}

#[test]
fn figures_of_earlier_calls_do_not_stay() {
    let rates: Vec<String> = (1..=13).map(|rate| format!("{rate}e-4")).collect();
    let rates = format!("lr: {{values: [{}]}}", rates.join(", "));
    let world = world(&classification(&rates));
    let flags = ["sweep", "grid.yaml", "--out=out"];
    let limited = [&flags[..], &["--limit=2"]].concat();
    world.run(&limited).succeeds();
    let by_rate = world.path("out/sweep-flip-rate-by-lr.svg");
    assert!(by_rate.is_file());
    // What the command does not draw is not its own.
    let others = ["sweep-notes.svg", "sweep-sparsity-by-hand.png", "lr.svg"];
    for name in others {
        fs::write(world.path("out").join(name), "").unwrap();
    }
    let all = [&flags[..], &["--json"]].concat();
    let told = world.run(&all).succeeds().json();
    // Thirteen values are too many to be drawn one by one.
    assert!(!by_rate.exists());
    let mut expected: Vec<&str> = told["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .filter(|name| name.ends_with(".svg") || name.ends_with(".png"))
        .chain(others)
        .collect();
    expected.sort_unstable();
    let mut found = super::names(&world.path("out"));
    found.retain(|name| name.ends_with(".svg") || name.ends_with(".png"));
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_is_no_share_is_not_shown_as_one() {
    let kinds = "attention_type: {values: [softmax, raw_dotproduct_unnorm, mlp_norm]}";
    let world = world(&classification(kinds));
    let flags = ["sweep", "grid.yaml", "--out=out"];
    let finished = world.run(&flags).succeeds();
    let row = |name: &str| -> Vec<&str> {
        let mut lines = finished.stdout.lines();
        let line = lines.find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().collect()
    };
    assert_ne!(row("softmax")[5], "–");
    assert_eq!(row("raw_dotproduct_unnorm")[5], "–");
    assert_eq!(row("mlp_norm")[5], "–");
    assert_ne!(row("mlp_norm")[6], "–");
    let told = world
        .run(&[&flags[..], &["--json"]].concat())
        .succeeds()
        .json();
    let shares = [0, 1, 2].map(|at| told["attention_types"][at]["sparsity_score"].is_null());
    assert_eq!(shares, [false, true, true]);
    let svg = |name: &str| fs::read_to_string(world.path("out").join(name)).unwrap();
    let (sparsity, flips) = (svg("sweep-sparsity.svg"), svg("sweep-flip-rate.svg"));
    assert!(sparsity.contains("weights may be negative"));
    assert!(!sparsity.contains("raw dot") && flips.contains("raw dot"));
    assert!(!flips.contains("weights may be negative"));
    // The tables have what the paper's program logs.
    let table = SweepTable::read(&world.path("out")).unwrap();
    let scores = table.numbers("sparsity_score").unwrap();
    assert!(scores.iter().all(Option::is_some), "{scores:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let world = world(&tiny_induction());
    let impossible =
        tiny_induction().replace("num_heads: {value: 2}", "num_heads: {values: [2, 3]}");
    fs::write(world.path("impossible.yaml"), impossible).unwrap();
    fs::write(
        world.path("unknown.yaml"),
        "task: induction\nparameters: {depth: {value: 1}}",
    )
    .unwrap();
    for (arguments, says) in [
        (
            &["grid.yaml", "--out=out", "--filter=depth=1"][..],
            "`depth` is no key of induction",
        ),
        (
            &["grid.yaml", "--out=out", "--filter=lr=2"],
            "which has 0.01, 0.001, 1e30",
        ),
        (
            &["grid.yaml", "--out=out", "--filter", ""],
            "--filter (or ATTNSCOPE_FILTER) is empty and needs the form key=value",
        ),
        (
            &["grid.yaml", "--out=out", "--filter=lr=0.01 num_heads=2"],
            "`0.01 num_heads=2` is no lr of this grid",
        ),
        (&["grid.yaml", "--out=out", "--limit=0"], "no run is left"),
        (&["grid.yaml", "--out=out", "--shard=7/7"], "counted from 0"),
        (
            &["grid.yaml", "--out=out", "--shard=0/0"],
            "nothing can be cut into 0 shards",
        ),
        (
            &["grid.yaml", "--out=out", "--shard=0/7"],
            "6 runs cannot be spread over 7 shards",
        ),
        (&["grid.yaml", "--out=out", "--jobs=0"], "--jobs"),
        (&["grid.yaml"], "--out"),
        (
            &["impossible.yaml", "--out=out"],
            "no run 1 (attention_type softmax, lr 0.01, vocab_size 10, seq_length 7, num_heads 3",
        ),
        (
            &["unknown.yaml", "--out=out"],
            "unknown.yaml: `parameters.depth`: unknown key",
        ),
        (
            &["nothing.yaml", "--out=out"],
            "nothing.yaml: cannot be read",
        ),
    ] {
        let finished = world.run(&[&["sweep"], arguments].concat()).ends(2);
        assert!(finished.stderr.contains(says), "{arguments:?}: {finished}");
        assert_eq!(finished.stdout, "");
        assert!(!world.path("out").exists(), "{arguments:?}");
    }
    // A run is no sweep, not even before it has ended.
    fs::create_dir(world.path("out")).unwrap();
    for name in ["run.json", "unfinished.safetensors"] {
        fs::write(world.path("out").join(name), "{}").unwrap();
        world
            .run(&["sweep", "grid.yaml", "--out=out"])
            .fails(2, &[name, "a run is never overwritten"]);
        fs::remove_file(world.path("out").join(name)).unwrap();
    }
    assert_eq!(super::names(&world.path("out")), [""; 0]);
    // Somebody else is at work.
    let grid = Grid::parse("grid.yaml".as_ref(), &tiny_induction()).unwrap();
    let _busy = SweepDirectory::open(&world.path("out"), &grid, "all", None).unwrap();
    let finished = world.run(&["sweep", "grid.yaml", "--out=out"]).ends(2);
    assert!(
        finished
            .stderr
            .contains("another process is computing this sweep"),
        "{finished}"
    );
}

#[test]
fn every_flag_has_an_environment_twin() {
    let world = world(&tiny_induction());
    let mut command = world.attnscope();
    command.arg("sweep").envs([
        ("ATTNSCOPE_GRID", "grid.yaml"),
        ("ATTNSCOPE_OUT", "out"),
        ("ATTNSCOPE_JOBS", "1"),
        ("ATTNSCOPE_SHARD", "1/2"),
        ("ATTNSCOPE_FILTER", "lr=1e-2,1e-3;attention_type=softmax"),
        ("ATTNSCOPE_LIMIT", "2"),
        ("ATTNSCOPE_JSON", "yes"),
        ("ATTNSCOPE_QUIET", "1"),
    ]);
    let finished = Finished::of(&mut command).succeeds();
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.json()["trained"], 1);
    let table = SweepTable::read(&world.path("out")).unwrap();
    assert_eq!(table.numbers("index").unwrap(), [Some(1.0)]);
    command
        .env("ATTNSCOPE_DRY_RUN", "1")
        .env("ATTNSCOPE_JSON", "0");
    let finished = Finished::of(&mut command).succeeds();
    assert!(
        finished
            .stdout
            .ends_with("induction: 1 of 6 runs, 1 done, 0 left\n"),
        "{finished}"
    );
}
