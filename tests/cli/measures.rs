//! `scan --metrics`: what may be asked for, what is printed, and what a run that is continued must share.

use std::fs;

use super::{World, text};

#[test]
fn bad_parameters_name_the_flag() {
    let world = World::new();
    for (flags, says) in [
        (["--metrics", "sparsity"], ["--metrics", "top_k_share"]),
        (
            ["--sink-epsilon", "1"],
            ["--sink-epsilon 1", "from 0 up to"],
        ),
        (["--sink-epsilon", "NaN"], ["--sink-epsilon NaN", "share"]),
        (["--sink-k", "0"], ["--sink-k", "non-zero"]),
        (["--top-k", "0"], ["--top-k", "non-zero"]),
        (
            ["--lag-min", "128"],
            ["--lag-min 128 --lag-max 128", "three lags"],
        ),
    ] {
        world.refused(&flags, 2, &says);
    }
}

#[test]
fn the_summary_has_what_was_asked_for() {
    let world = World::new();
    let most = usize::MAX.to_string();
    let all = ["--metrics", "all", "--top-k", &most, "--lag-max", &most];
    let found = world.scan(&[&all[..], &["--json", "--sink-k", "2"]].concat());
    let found = found.succeeds().json();
    assert_eq!(found["metrics"]["sink_rate"]["k"], 2);
    for head in found["heads"].as_array().unwrap() {
        // All of a row is more than enough.
        assert!((head["top_k_share"].as_f64().unwrap() - 1.0).abs() < 1e-6);
        for (key, most) in [
            ("sparsity_score", 1.0),
            ("effective_support", 256.0),
            ("diagonal_share", 1.0),
            ("small_weight_share", 1.0),
            ("large_weight_share", 1.0),
            ("lag_r2", 1.0),
        ] {
            let value = head[key].as_f64().unwrap();
            assert!(0.0 <= value && value <= most, "{key}: {value}");
        }
        assert!(head["sink_rate"].as_f64().is_some());
        assert!(head["lag_slope"].as_f64().unwrap() < 0.0);
    }
    let layers = found["activations"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    for layer in layers {
        assert!(layer["largest"].as_f64() >= layer["mean_largest"].as_f64());
        assert!(layer["mean_largest"].as_f64() > layer["mean_median"].as_f64());
    }

    let text = world.scan(&["--metrics", "lags,activations", "--out", "other"]);
    let text = text.succeeds().stdout;
    for line in ["lag_slope (lags 1 to 128)", "lag_r2", "largest / median"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("top_k_share"), "{text}");
}

#[test]
fn another_question_is_another_run() {
    let world = World::new();
    world.scan(&["--metrics", "top_k_share"]).succeeds();
    let other = ["--metrics", "top_k_share", "--top-k", "3", "--resume"];
    world
        .scan(&other)
        .fails(2, &["metrics.top_k_share.k", "holds another run"]);
    world
        .scan(&["--metrics", "top_k_share", "--resume"])
        .succeeds();
}

/// A merge takes the tables of a run, all of them and no others.
#[test]
fn shards_are_merged_with_their_own_tables() {
    let world = World::new();
    let shard = |model: &str, shard: &str, out: &str| {
        let arguments = [
            "--model",
            model,
            "--metrics",
            "all",
            "--shard",
            shard,
            "--out",
            out,
        ];
        world.scan(&arguments).succeeds();
    };
    let [softmax, sigmoid] = [0, 1].map(|at| text(&world.files.models[at]).to_owned());
    shard(&softmax, "0/2", "0");
    shard(&softmax, "1/2", "1");
    shard(&sigmoid, "1/2", "other");
    for table in ["samples", "lags", "activations"] {
        let name = format!("{table}-00001-of-00002.parquet");
        let own = fs::read(world.path("1").join(&name)).unwrap();
        fs::copy(world.path("other").join(&name), world.path("1").join(&name)).unwrap();
        let merge = ["merge", "0", "1", "--out", "merged"];
        world.run(&merge).fails(
            1,
            &[&format!("1/{name}"), "its footer says", "of different runs"],
        );
        fs::remove_file(world.path("1").join(&name)).unwrap();
        if table != "samples" {
            let says = format!("has no {name}, which run.json speaks of");
            world.run(&merge).fails(2, &[&says]);
        }
        fs::write(world.path("1").join(&name), own).unwrap();
        assert!(!world.path("merged").exists());
    }
    world
        .run(&["merge", "0", "1", "--out", "merged"])
        .succeeds();
}

#[test]
fn a_table_of_lags_is_not_compared() {
    let world = World::new();
    world.scan(&["--metrics", "lags,activations"]).succeeds();
    for table in ["out/lags.parquet", "out/activations.parquet"] {
        world
            .run(&["compare", "out", table])
            .fails(1, &[table, "is a table of lags or activations; name"]);
    }
}

/// The same name for other numbers is one thing too many for a chart.
#[test]
fn other_parameters_are_other_metrics() {
    let world = World::new();
    for (k, out) in [("1", "one"), ("2", "two")] {
        world
            .scan(&[
                "--metrics",
                "sink_rate,diagonal_share",
                "--sink-k",
                k,
                "--out",
                out,
            ])
            .succeeds();
    }
    world.scan(&["--out", "none"]).succeeds();
    let compared = world.run(&[
        "compare",
        "one",
        "two",
        "--permutations",
        "9",
        "--resamples",
        "9",
    ]);
    let compared = compared.succeeds().stdout;
    assert!(
        compared.contains("sink_rate is not compared: "),
        "{compared}"
    );
    assert!(
        compared.contains("with other parameters than"),
        "{compared}"
    );
    assert!(compared.contains("\ndiagonal share: "), "{compared}");
    let compared = world.run(&[
        "compare",
        "none",
        "one",
        "--permutations",
        "9",
        "--resamples",
        "9",
    ]);
    let compared = compared.succeeds().stdout;
    assert!(
        compared.contains("sink_rate is not compared: "),
        "{compared}"
    );
    assert!(compared.contains("none) has not measured it"), "{compared}");
    let page = [
        "report",
        "one",
        "two",
        "--permutations",
        "9",
        "--resamples",
        "9",
    ];
    let page = world
        .run(&[&page[..], &["--out", "page.html"]].concat())
        .succeeds();
    assert!(page.stderr.contains("sink_rate is not shown"), "{page}");
}
