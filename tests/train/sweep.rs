//! Grids, which of their runs are taken, and sweeps of tiny models.

use std::{
    fs,
    num::NonZeroUsize,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use attnscope::{
    Error, Result,
    corpus::Shard,
    store::sweep::{Cell, EndState, RunRecord, SweepDirectory, SweepTable},
    train::{
        metrics::Heads,
        run::{State, run as train},
        sweep::{self, Filter, Grid, Outcome, Plan, Request, Selection, TaskName, Watcher},
    },
};
use candle_core::Device;

use super::run::Follower;

const KINDS: [&str; 12] = [
    "softmax",
    "uniform",
    "sigmoid_norm",
    "sigmoid_unnorm",
    "linear",
    "linear_unnorm",
    "coupled_linear_norm",
    "coupled_linear_unnorm",
    "raw_dotproduct_norm",
    "raw_dotproduct_unnorm",
    "mlp_norm",
    "mlp_unnorm",
];

fn grid(text: &str) -> Result<Grid> {
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
    steps: AtomicUsize,
}

impl Watcher for Counter {
    fn planned(&self, _: &Plan) {}

    fn stepped(&self, steps: usize) {
        self.steps.fetch_add(steps, Ordering::Relaxed);
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
    };
    sweep::run(&request, &Device::Cpu, counter)
}

/// How many runs were trained.
fn sweep(grid: &Grid, selection: Selection, out: &Path) -> Result<usize> {
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

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn the_paper_s_grids_are_nested_loops() {
    let induction = Grid::of_paper(TaskName::Induction).unwrap();
    let mut expected = Vec::new();
    for seed in 0..5 {
        for shift in [true, false] {
            for heads in [1, 2, 4, 8] {
                for kind in KINDS {
                    for positions in ["concat", "add", "no"] {
                        for lr in ["0.01", "0.001", "0.0001"] {
                            for aux in ["0", "0.2"] {
                                expected.push(format!(
                                    "seed {seed}, shift_query_token {shift}, num_heads {heads}, attention_type {kind}, \
                                     positional_type {positions}, lr {lr}, aux_loss_weight {aux}"
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!((induction.runs(), expected.len()), (8640, 8640));
    for (run, expected) in expected.iter().enumerate() {
        assert_eq!(induction.describe(run), *expected);
    }

    let classification = Grid::of_paper(TaskName::Classification).unwrap();
    let mut expected = Vec::new();
    for seed in 0..5 {
        for vocabulary in [41, 81, 161] {
            for layers in [1, 2] {
                for heads in [1, 2, 4] {
                    for mlp in [true, false] {
                        for norm in [true, false] {
                            for kind in KINDS {
                                for lr in ["0.01", "0.001", "0.0001"] {
                                    expected.push(format!(
                                        "seed {seed}, vocab_size {vocabulary}, num_layers {layers}, num_heads {heads}, \
                                         use_mlp {mlp}, use_layernorm {norm}, attention_type {kind}, lr {lr}"
                                    ));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!((classification.runs(), expected.len()), (12960, 12960));
    for (run, expected) in expected.iter().enumerate() {
        assert_eq!(classification.describe(run), *expected);
    }
    // Nothing in them is impossible.
    for grid in [induction, classification] {
        assert_eq!(Selection::default().runs(&grid).unwrap().len(), grid.runs());
    }
}

#[test]
fn a_number_may_be_a_word_and_a_word_a_truth() {
    let text = "
# As W&B has it.
program: experiments/exp_induction.py
method: grid
project: softmax
name: a name
description: what it is for
command: [python, x]
parameters:
  lr: {values: ['1e-2', 1e-3, 1.0e-4, 1]}
  aux_loss_weight: {value: 0}
  positional_type: {values: [no, add]}
  use_mlp: {values: [True, false]}
";
    let grid = grid(text).unwrap();
    assert_eq!((grid.task(), grid.runs()), (TaskName::Induction, 16));
    let configuration = grid.configuration(0);
    assert_eq!(configuration.lr, 0.01);
    assert!(configuration.use_mlp);
    assert_eq!(
        configuration.positional_type,
        attnscope::models::small_transformer::PositionEmbedding::None
    );
    assert_eq!(grid.configuration(12).lr, 1.0);
    // What the file does not say is the paper's default.
    assert_eq!(
        (configuration.num_train, configuration.num_heads),
        (100_000, 4)
    );
}

#[test]
fn what_is_no_grid_is_refused_by_name() {
    let parameters = |text: &str| format!("task: induction\nparameters:\n  {text}\n");
    for (text, says) in [
        (
            "task: induction\nparameter: {}".into(),
            "unknown key `parameter`; known are parameters, program",
        ),
        ("task: induction".into(), "`parameters` is missing"),
        (
            "parameters: {seed: {value: 1}}".into(),
            "needs `task: induction` or",
        ),
        (
            "task: parsing\nparameters: {}".into(),
            "`task` must be one of induction, classification",
        ),
        (
            "program: train.py\nparameters: {}".into(),
            "`program` must be one of exp_induction.py",
        ),
        (
            "task: induction\nprogram: exp_classification.py\nparameters: {}".into(),
            "`task` is induction, and `program` is that of classification",
        ),
        (
            "task: induction\nmethod: bayes\nparameters: {}".into(),
            "`method` is bayes, and only `grid`",
        ),
        (
            parameters("depth: {value: 2}"),
            "`parameters.depth`: unknown key; induction has attention_type, num_layers",
        ),
        (
            parameters("num_labels: {value: 2}"),
            "`parameters.num_labels`: unknown key",
        ),
        (
            parameters("lr: {min: 0, max: 1}"),
            "`parameters.lr`: has `min`, `max`; known is one of `values` and `value`",
        ),
        (parameters("lr: 0.1"), "`parameters.lr`: must be a table"),
        (parameters("lr: {values: 0.1}"), "`values` must be a list"),
        (parameters("lr: {values: []}"), "`values` is empty"),
        (parameters("lr: {values: [fast]}"), "`fast` is no number"),
        (parameters("lr: {values: [.inf]}"), "grid.yaml"),
        (
            parameters("lr: {values: [0.01, 1e-2]}"),
            "0.01 is there twice",
        ),
        (
            parameters("seed: {values: [-1]}"),
            "`-1` is no whole number of 0 or more",
        ),
        (
            parameters("seed: {values: [4294967296]}"),
            "larger than 4294967295",
        ),
        (
            parameters("use_mlp: {values: [1]}"),
            "`1` is neither true nor false",
        ),
        (
            parameters("attention_type: {values: [softmax, sparsemax]}"),
            "`sparsemax` is unknown; known are softmax, uniform, sigmoid_norm, sigmoid_unnorm, linear, linear_unnorm, \
             coupled_linear_norm, coupled_linear_unnorm, raw_dotproduct_norm, raw_dotproduct_unnorm, mlp_norm, \
             mlp_unnorm",
        ),
        (
            parameters("positional_type: {value: rope}"),
            "known are concat, add, no",
        ),
        ("task: [".into(), "is no YAML that can be read"),
        (
            parameters("seed: {value: 1}\n  seed: {value: 2}"),
            "is no YAML that can be read",
        ),
        ("".into(), "grid.yaml"),
    ] {
        let text: String = text;
        let error = grid(&text).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Grid { .. }), "{text}: {error}");
        let message = error.to_string();
        assert!(
            message.starts_with("grid.yaml: ") && message.contains(says),
            "{text}: {message}"
        );
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_run_that_cannot_be_is_found_before_anything_is_trained() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (task, values, says) in [
        (
            "induction",
            "num_heads: {values: [2, 3]}, embed_dim: {value: 8}",
            "no run 1 (num_heads 3, embed_dim 8): model",
        ),
        (
            "induction",
            "embed_dim: {values: [8, 9]}, num_heads: {value: 1}",
            "no run 1 (embed_dim 9, num_heads 1): model: hidden_size: 9 is odd",
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
}

#[test]
fn filters_limits_and_shards_choose() {
    let grid = Grid::of_paper(TaskName::Induction).unwrap();
    let filter = |text: &str| Filter::parse(text, &grid);
    let mut selection = Selection {
        filters: vec![
            filter("lr=1e-3").unwrap(),
            filter("attention_type=softmax,sigmoid_unnorm").unwrap(),
        ],
        ..Selection::default()
    };
    let all = selection.runs(&grid).unwrap();
    let expected: Vec<usize> = (0..grid.runs())
        .filter(|&run| {
            let told = grid.describe(run);
            let is_kind = ["softmax,", "sigmoid_unnorm,"]
                .iter()
                .any(|kind| told.contains(&format!("attention_type {kind}")));
            is_kind && told.contains("lr 0.001,")
        })
        .collect();
    assert_eq!(all.len(), 8640 / 3 / 6);
    assert_eq!(all, expected);

    selection.limit = Some(100);
    assert_eq!(selection.runs(&grid).unwrap(), all[..100]);
    let mut parts = Vec::new();
    for part in 0..7 {
        selection.shard = Some(Shard::new(part, 7).unwrap());
        parts.extend(selection.runs(&grid).unwrap());
    }
    assert_eq!(parts, all[..100]);

    for (text, says) in [
        ("lr", "needs the form key=value"),
        (
            "rate=1",
            "`rate` is no key of induction; there are attention_type, aux_loss_weight, batch_size",
        ),
        (
            "lr=0.5",
            "`0.5` is no lr of this grid, which has 0.01, 0.001, 0.0001",
        ),
        (
            "num_heads=one",
            "`one` is no num_heads of this grid, which has 1, 2, 4, 8",
        ),
        ("embed_dim=64", "this grid, which has 128"),
        ("lr=", "`` is no lr"),
    ] {
        let error = filter(text).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    for (limit, shard, says) in [
        (Some(0), None, "no run is left"),
        (
            Some(2),
            Some(Shard::new(0, 3).unwrap()),
            "2 runs cannot be spread over 3 shards",
        ),
    ] {
        selection.limit = limit;
        selection.shard = shard;
        let error = selection.runs(&grid).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
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
                    let sinks = expected.iter().filter(|head| head.is_sink()).count();
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
    let damaged = text.replacen("\"index\"", "\"indexx\"", 1);
    fs::write(&record, &damaged).unwrap();
    let message = sweep(&grid, Selection::default(), &out)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("runs.jsonl: line 1 is no run"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(&record).unwrap(), damaged);
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
