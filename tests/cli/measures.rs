//! `scan --metrics`: what may be asked for, what is printed, and what a run that is continued must share.

use super::World;

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
            ["--lag-min 128 --lag-max 128", "several lags"],
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
