//! Sweeps of tiny models: what is kept of them, however they are cut, stopped or damaged.

use std::{
    fs,
    num::NonZeroUsize,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use attnscope::{
    Result,
    corpus::Shard,
    figures::draw_sweep,
    store::sweep::{Cell, EndState, HeadRecord, RunRecord, SweepDirectory, SweepTable},
    train::{
        metrics::Heads,
        run::{State, run as train},
        sweep::{self, Filter, Grid, Outcome, Plan, Request, Selection, TaskName, Watcher},
    },
};
use candle_core::Device;

use super::run::Follower;

pub fn grid(text: &str) -> Result<Grid> {
    Grid::parse("grid.yaml".as_ref(), text)
}

/// What every tiny run has.
const TINY: &str = "
  embed_dim: {value: 8}
  num_layers: {value: 1}
  num_train: {value: 120}
  num_eval: {value: 40}
  num_epochs: {value: 1}
  batch_size: {value: 30}
";

/// Two shapes of three runs, of which two diverge.
pub fn tiny_induction() -> String {
    format!(
        "task: induction
parameters:
  attention_type: {{values: [softmax, sigmoid_unnorm]}}
  lr: {{values: [1e-2, 1e-3, 1e30]}}
  vocab_size: {{value: 10}}
  seq_length: {{value: 7}}
  num_heads: {{value: 2}}{TINY}"
    )
}

fn tiny_classification() -> String {
    format!(
        "program: exp_classification.py
method: grid
parameters:
  num_heads: {{values: [1, 2]}}
  seed: {{values: [0, 1]}}
  vocab_size: {{value: 13}}
  num_labels: {{value: 2}}
  seq_length: {{value: 5}}{TINY}"
    )
}

/// Counts, and stops after so many runs.
#[derive(Default)]
struct Counter {
    stop_after: Option<usize>,
    ended: AtomicUsize,
    planned: AtomicUsize,
    steps: AtomicUsize,
    spared: AtomicUsize,
}

impl Watcher for Counter {
    fn planned(&self, plan: &Plan) {
        self.planned.store(plan.steps, Ordering::Relaxed);
    }

    fn stepped(&self, steps: usize) {
        self.steps.fetch_add(steps, Ordering::Relaxed);
    }

    fn spared(&self, steps: usize) {
        self.spared.fetch_add(steps, Ordering::Relaxed);
    }

    fn ended(&self, _: &RunRecord) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop_after
            .is_some_and(|most| self.ended.load(Ordering::Relaxed) >= most)
    }
}

fn sweep_with(
    grid: &Grid,
    selection: Selection,
    jobs: usize,
    out: &Path,
    counter: &Counter,
) -> Result<Outcome> {
    let request = Request {
        grid,
        selection,
        jobs: NonZeroUsize::new(jobs).unwrap(),
        out,
        device_name: "cpu",
    };
    sweep::run(&request, &Device::Cpu, counter)
}

/// How many runs were trained.
pub fn sweep(grid: &Grid, selection: Selection, out: &Path) -> Result<usize> {
    let counter = Counter::default();
    let outcome = sweep_with(grid, selection, 2, out, &counter)?;
    assert_eq!(outcome.trained, counter.ended.into_inner());
    assert!(!outcome.is_stopped);
    Ok(outcome.trained)
}

/// A table without the columns that tell what a run took.
pub fn without_times(path: &Path) -> Vec<(String, Vec<Cell>)> {
    let table = SweepTable::read(path).unwrap();
    let names = table
        .names()
        .filter(|name| !["seconds", "side_by_side"].contains(name));
    names
        .map(|name| (name.to_owned(), table.column(name).unwrap().to_vec()))
        .collect()
}

/// Both directories hold the same runs and heads.
#[track_caller]
pub fn assert_same_tables(one: &Path, other: &Path) {
    let heads = |dir: &Path| fs::read(dir.join("heads.parquet")).unwrap();
    assert!(heads(one) == heads(other));
    assert_eq!(
        without_times(&one.join("runs.parquet")),
        without_times(&other.join("runs.parquet"))
    );
}

pub fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn tables_hold_what_single_runs_give() {
    let dir = tempfile::tempdir().unwrap();
    for text in [tiny_induction(), tiny_classification()] {
        let grid = grid(&text).unwrap();
        let out = dir.path().join(grid.task().name());
        assert_eq!(
            sweep(&grid, Selection::default(), &out).unwrap(),
            grid.runs()
        );
        let runs = SweepTable::read(&out).unwrap();
        let heads = SweepTable::read(&out.join("heads.parquet")).unwrap();
        assert_eq!(runs.rows(), grid.runs());
        let (mut row, mut diverged) = (0, 0);
        for run in 0..grid.runs() {
            let number = |column: &str| runs.numbers(column).unwrap()[run];
            assert_eq!(number("index"), Some(run as f64));
            let configuration = grid.configuration(run);
            assert_eq!(number("lr"), Some(configuration.lr));
            assert_eq!(number("seed"), Some(configuration.seed.into()));
            let kind = configuration.attention_type.name();
            assert_eq!(
                runs.column("attention_type").unwrap()[run],
                Cell::Word(kind.into())
            );
            let alone = train(
                &configuration.settings(),
                &Device::Cpu,
                &Follower::new(usize::MAX),
            )
            .unwrap();
            let evaluation = alone.evaluation.as_ref();
            assert_eq!(number("accuracy"), evaluation.map(|e| e.score.accuracy));
            assert_eq!(number("loss"), evaluation.map(|e| e.score.loss));
            assert_eq!(number("steps"), alone.epochs.last().map(|e| e.steps as f64));
            let state = match alone.state {
                State::Diverged => "diverged",
                _ => "finished",
            };
            assert_eq!(runs.column("state").unwrap()[run], Cell::Word(state.into()));
            assert_eq!(
                runs.column("device").unwrap()[run],
                Cell::Word("cpu".into())
            );
            let of_head = |column: &str, row: usize| heads.numbers(column).unwrap()[row];
            match evaluation.map(|e| &e.heads) {
                None => {
                    diverged += 1;
                    assert_eq!(runs.column("has_learned").unwrap()[run], Cell::Null);
                    assert_eq!(number("sink_share"), None);
                    for head in 0..2 {
                        assert_eq!(of_head("index", row), Some(run as f64));
                        assert_eq!(of_head("head", row), Some(f64::from(head)));
                        assert_eq!(of_head("sink_score", row), None);
                        assert_eq!(heads.column("is_sink").unwrap()[row], Cell::Null);
                        row += 1;
                    }
                }
                Some(Heads::Induction(expected)) => {
                    let sinks = expected
                        .iter()
                        .filter(|head| head.is_sink() == Some(true))
                        .count();
                    assert_eq!(
                        number("sink_share"),
                        Some(sinks as f64 / expected.len() as f64)
                    );
                    for head in expected {
                        assert_eq!(of_head("index", row), Some(run as f64));
                        assert_eq!(of_head("sink_score", row), Some(head.sink_score));
                        assert_eq!(
                            of_head("sink_score_of_means", row),
                            Some(head.sink_score_of_means)
                        );
                        row += 1;
                    }
                }
                Some(Heads::Classification(expected)) => {
                    assert_eq!(number("max_flip_rate"), evaluation.unwrap().max_flip_rate());
                    let scores = expected.iter().map(|head| head.sparsity_score);
                    assert_eq!(
                        number("sparsity_score"),
                        Some(scores.sum::<f64>() / expected.len() as f64)
                    );
                    for head in expected {
                        assert_eq!(of_head("sparsity_score", row), Some(head.sparsity_score));
                        assert_eq!(of_head("flip_rate", row), Some(head.flip_rate));
                        row += 1;
                    }
                }
            }
        }
        assert_eq!(row, heads.rows());
        assert_eq!(
            diverged,
            if grid.task() == TaskName::Induction {
                2
            } else {
                0
            }
        );
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join("sweep.json")).unwrap()).unwrap();
        assert_eq!(manifest["finished"], grid.runs() - diverged);
        assert_eq!(manifest["diverged"], diverged);
        assert_eq!(manifest["left"], 0);
    }
}

#[test]
fn nothing_is_trained_twice_however_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let grid = grid(&tiny_induction()).unwrap();
    let whole = dir.path().join("whole");
    assert_eq!(sweep(&grid, Selection::default(), &whole).unwrap(), 6);
    assert_eq!(sweep(&grid, Selection::default(), &whole).unwrap(), 0);

    // Some of them, more of them, the rest.
    let out = dir.path().join("limits");
    let limited = |limit: Option<usize>| Selection {
        limit,
        ..Selection::default()
    };
    assert_eq!(sweep(&grid, limited(Some(1)), &out).unwrap(), 1);
    assert_eq!(sweep(&grid, limited(Some(4)), &out).unwrap(), 3);
    assert_eq!(SweepTable::read(&out).unwrap().rows(), 4);
    assert_eq!(sweep(&grid, limited(None), &out).unwrap(), 2);
    assert_eq!(lines(&out.join("runs.jsonl")), 6);
    assert_same_tables(&whole, &out);

    // Stopped after each pair of runs, whatever runs beside them.
    let out = dir.path().join("stops");
    let mut trained = 0;
    for _ in 0..6 {
        let counter = Counter {
            stop_after: Some(1),
            ..Counter::default()
        };
        let outcome = sweep_with(&grid, Selection::default(), 2, &out, &counter).unwrap();
        trained += outcome.trained;
        assert_eq!(outcome.is_stopped, trained < 6);
        assert_eq!(SweepTable::read(&out).unwrap().rows(), trained);
    }
    assert_eq!((trained, lines(&out.join("runs.jsonl"))), (6, 6));
    assert_same_tables(&whole, &out);

    // Shards in one directory, and others cut otherwise after them.
    let out = dir.path().join("shards");
    let shard = |index, count| Selection {
        shard: Some(Shard::new(index, count).unwrap()),
        ..Selection::default()
    };
    assert_eq!(sweep(&grid, shard(1, 2), &out).unwrap(), 3);
    assert_eq!(SweepTable::read(&out).unwrap().rows(), 3);
    assert_eq!(sweep(&grid, shard(0, 3), &out).unwrap(), 2);
    assert_eq!(sweep(&grid, shard(0, 2), &out).unwrap(), 1);
    assert_eq!(sweep(&grid, Selection::default(), &out).unwrap(), 0);
    assert_same_tables(&whole, &out);

    // Shards from elsewhere, brought together.
    let together = dir.path().join("together");
    fs::create_dir(&together).unwrap();
    for index in 0..2 {
        let out = dir.path().join(format!("machine-{index}"));
        assert_eq!(sweep(&grid, shard(index, 2), &out).unwrap(), 3);
        for name in [
            "sweep.json".to_owned(),
            format!("runs-0000{index}-of-00002.jsonl"),
        ] {
            fs::copy(out.join(&name), together.join(&name)).unwrap();
        }
    }
    assert_eq!(sweep(&grid, Selection::default(), &together).unwrap(), 0);
    assert_same_tables(&whole, &together);
}

#[test]
fn a_lost_manifest_is_made_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let grid = grid(&tiny_induction()).unwrap();
    assert_eq!(sweep(&grid, Selection::default(), &out).unwrap(), 6);
    let (manifest, kept) = (out.join("sweep.json"), dir.path().join("kept"));
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    fs::rename(&manifest, &kept).unwrap();
    assert_eq!(sweep(&grid, Selection::default(), &out).unwrap(), 0);
    assert_eq!(read(&manifest), read(&kept));
    for damaged in ["", "[]", "{\"grid\": "] {
        fs::write(&manifest, damaged).unwrap();
        let error = sweep(&grid, Selection::default(), &out).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("made anew from the records"), "{message}");
        assert_eq!(fs::read_to_string(&manifest).unwrap(), damaged);
    }
    fs::remove_file(&manifest).unwrap();
    let other = self::grid(&tiny_induction().replace("1e-3", "2e-3")).unwrap();
    let error = sweep(&other, Selection::default(), &out).unwrap_err();
    assert!(
        error.to_string().contains("is not what it is in this grid"),
        "{error}"
    );
    assert!(!manifest.exists());
    assert_eq!(sweep(&grid, Selection::default(), &out).unwrap(), 0);
    assert_eq!(read(&manifest), read(&kept));
}

#[test]
fn a_plan_says_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let grid = grid(&tiny_induction()).unwrap();
    let out = dir.path().join("out");
    let plan = |selection: &Selection| sweep::plan(&grid, selection, Some(&out)).unwrap();
    assert_eq!(
        (plan(&Selection::default()).done(), out.exists()),
        (0, false)
    );
    let selection = Selection {
        filters: vec![Filter::parse("lr=1e30,1e-2", &grid).unwrap()],
        ..Selection::default()
    };
    sweep(&grid, selection, &out).unwrap();
    let plan = plan(&Selection::default());
    let ended = [Some(EndState::Finished), None, Some(EndState::Diverged)];
    let expected: Vec<_> = (0..6).map(|run| (run, ended[run % 3])).collect();
    assert_eq!(plan.runs, expected);
    // 120 samples in batches of 30.
    assert_eq!((plan.done(), plan.left(), plan.steps), (4, 2, 8));
}

#[test]
fn steps_of_runs_that_diverged_beside_others_are_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let grid = grid(&tiny_induction()).unwrap();
    // The three learning rates of each attention function side by side: the last one diverges.
    let counter = Counter::default();
    let outcome = sweep_with(&grid, Selection::default(), 3, dir.path(), &counter).unwrap();
    let records = outcome.published.records.values();
    assert!(records.clone().all(|run| run.side_by_side == 3));
    let made: u64 = records.map(|run| run.steps).sum();
    let (planned, spared) = (counter.planned.into_inner(), counter.spared.into_inner());
    assert_eq!(counter.steps.into_inner() as u64, made);
    assert!(spared > 0);
    // 120 samples in batches of 30.
    assert_eq!((planned, made as usize + spared), (6 * 4, 6 * 4));
}

#[test]
fn a_head_without_a_flip_rate_has_a_null() {
    let dir = tempfile::tempdir().unwrap();
    let grid = grid(&tiny_classification()).unwrap();
    let mut directory = SweepDirectory::open(dir.path(), &grid, "all", None).unwrap();
    for index in 0..grid.runs() {
        let heads = (0..grid.configuration(index).num_heads).map(|head| HeadRecord {
            head,
            sparsity_score: Some(0.5),
            ..HeadRecord::default()
        });
        let run = RunRecord {
            index,
            configuration: grid.identity(index),
            attnscope_version: "0".into(),
            device: "cuda:1".into(),
            state: EndState::Finished,
            steps: 4,
            accuracy: Some(1.0),
            loss: Some(0.0),
            has_learned: Some(true),
            heads: heads.collect(),
            seconds: 1.0,
            side_by_side: 1,
        };
        directory.add(run).unwrap();
    }
    directory.publish().unwrap();
    let heads = SweepTable::read(&dir.path().join("heads.parquet")).unwrap();
    assert_eq!(heads.numbers("flip_rate").unwrap(), [None; 6]);
    let runs = SweepTable::read(dir.path()).unwrap();
    assert_eq!(runs.numbers("max_flip_rate").unwrap(), [None; 4]);
    assert_eq!(runs.numbers("sparsity_score").unwrap(), [Some(0.5); 4]);
    assert_eq!(
        runs.column("device").unwrap()[3],
        Cell::Word("cuda:1".into())
    );
    let drawn = draw_sweep(&runs).unwrap();
    assert_eq!(
        drawn.remarks,
        ["there is no figure of flip rate, the largest of all heads: no run counts"]
    );
    assert_eq!(drawn.figures[0].name, "sweep-sparsity");
}
