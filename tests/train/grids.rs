//! Grids, and which of their runs are taken.

use attnscope::{
    Error,
    corpus::Shard,
    models::small_transformer::PositionEmbedding,
    train::sweep::{Filter, Grid, Selection, TaskName, plan},
};

use super::sweep::grid;

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

#[test]
fn the_examples_can_be_run() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sweeps");
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let grid = Grid::named(path.to_str().unwrap()).unwrap();
        plan(&grid, &Selection::default(), None).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        runs.push((name, grid.runs()));
    }
    runs.sort();
    let expected = [("flips", 10), ("sinks", 20), ("small", 6)];
    assert_eq!(runs, expected.map(|(name, runs)| (name.to_owned(), runs)));
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
    assert_eq!(configuration.positional_type, PositionEmbedding::None);
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
            "duplicate mapping key `seed` is not allowed here",
        ),
        (
            format!("{0}---\n{0}", parameters("seed: {value: 1}")),
            "only single YAML document expected but multiple found",
        ),
        (
            parameters("aux_loss_weight: {values: [0, -0.0]}"),
            "-0 is there twice",
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
        // Nothing that only a programmer can do.
        for foreign in ["Options", "Policy", "from_"] {
            assert!(!message.contains(foreign), "{text}: {message}");
        }
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_few_runs_of_a_large_grid_are_taken() {
    let seeds: Vec<String> = (0..3000).map(|seed| seed.to_string()).collect();
    let rates: Vec<String> = (1..=3000).map(|rate| format!("{rate}e-4")).collect();
    let grid = grid(&format!(
        "task: induction\nparameters: {{seed: {{values: [{}]}}, lr: {{values: [{}]}}}}",
        seeds.join(", "),
        rates.join(", ")
    ))
    .unwrap();
    assert_eq!(grid.runs(), 9_000_000);
    let mut selection = Selection {
        limit: Some(2),
        ..Selection::default()
    };
    assert_eq!(selection.runs(&grid).unwrap(), [0, 1]);
    selection.filters = vec![
        Filter::parse("lr=0.2,7e-4", &grid).unwrap(),
        Filter::parse("seed=2999,5", &grid).unwrap(),
    ];
    selection.limit = None;
    let expected = [(5, 6), (5, 1999), (2999, 6), (2999, 1999)].map(|(s, l)| s * 3000 + l);
    assert_eq!(selection.runs(&grid).unwrap(), expected);
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
