//! What lies in the directory of an experiment.

use std::fs;

use super::frame::{Cell, Frame};
use super::{SMALL, World, small};
use crate::cli::names;

/// What an experiment leaves, `flow square` here.
const FILES: [&str; 5] = [
    "flow-square.png",
    "flow-square.svg",
    "run.json",
    "summary.parquet",
    "trajectories.parquet",
];

/// −Σ q ln q of the weights divided by their sum.
fn entropy(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let shares = weights.iter().map(|weight| weight / sum);
    shares
        .map(|q| if q > 0.0 { -q * q.ln() } else { 0.0 })
        .sum()
}

#[test]
fn trajectories_and_summary_hold_what_was_followed() {
    let world = World::new();
    let arguments = [&["flow"], &SMALL[..], &["--replicas", "2", "--out", "d"]].concat();
    world.run(&arguments).succeeds();
    let dir = world.path("d");
    assert_eq!(names(&dir), FILES);
    let listed = world.run_json("d")["files"].clone();
    let mut listed: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    listed.push("run.json");
    listed.sort_unstable();
    assert_eq!(listed, FILES);
    let start = |name: &str| fs::read(dir.join(name)).unwrap()[..5].to_vec();
    assert_eq!(start(FILES[0])[1..4], *b"PNG");
    assert_eq!(start(FILES[1]), b"<svg ");
    let table = Frame::read(&dir.join("trajectories.parquet"));
    assert_eq!(
        table.columns,
        "run INT32 REQUIRED, experiment BYTE_ARRAY REQUIRED, sigma BYTE_ARRAY REQUIRED, dim INT32 REQUIRED, \
         condition_number DOUBLE OPTIONAL, seed INT64 REQUIRED, quantity BYTE_ARRAY REQUIRED, row INT32 OPTIONAL, \
         coordinate INT32 OPTIONAL, step INT64 REQUIRED, time DOUBLE REQUIRED, value DOUBLE OPTIONAL"
    );
    let summary = Frame::read(&dir.join("summary.parquet"));
    let expected = small();
    assert_eq!(summary.len(), 4);
    let mut rows = 0;
    for (number, followed) in expected.iter().enumerate() {
        let trajectory = &followed.trajectory;
        let records = trajectory.times.len();
        let run = ("run", Cell::from(number as f64));
        let of = |quantity: &str, row: Cell, coordinate: Cell| {
            let wanted = [
                run.clone(),
                ("experiment", "square".into()),
                ("sigma", followed.run.sigma().name().into()),
                ("dim", 4.0.into()),
                ("condition_number", Cell::Null),
                ("seed", f64::from(followed.run.seed).into()),
                ("quantity", quantity.into()),
                ("row", row),
                ("coordinate", coordinate),
            ];
            assert_eq!(
                table.numbers("step", &wanted),
                trajectory
                    .updates
                    .iter()
                    .map(|&k| k as f64)
                    .collect::<Vec<_>>(),
                "{quantity}"
            );
            assert_eq!(table.numbers("time", &wanted), trajectory.times);
            table.numbers("value", &wanted)
        };
        assert_eq!(of("loss", Cell::Null, Cell::Null), trajectory.losses);
        assert_eq!(of("strength", Cell::Null, Cell::Null), trajectory.strengths);
        let target = followed.run.problem.model().objective().target();
        for at in 0..4 {
            let place = || Cell::from(at as f64);
            let column = |all: &[f64]| all.iter().skip(at).step_by(4).copied().collect::<Vec<_>>();
            let row = || Cell::from(0.0);
            assert_eq!(of("score", row(), place()), column(&trajectory.scores));
            assert_eq!(of("weight", row(), place()), column(&trajectory.weights));
            let predictions = column(&trajectory.predictions);
            assert_eq!(of("prediction", row(), place()), predictions);
            let projections = of("projection", Cell::Null, place());
            for (values, projection) in trajectory.values.chunks(16).zip(projections) {
                let expected: f64 = (0..4).map(|i| target[i] * values[4 * i + at]).sum();
                assert!((projection - expected).abs() < 1e-14);
            }
        }
        let weights = || trajectory.weights.chunks(4);
        let largest = weights().map(|row| row.iter().fold(f64::MIN, |most, w| most.max(*w)));
        let largest: Vec<f64> = largest.collect();
        assert_eq!(of("max_weight", Cell::from(0.0), Cell::Null), largest);
        let entropies = of("entropy", Cell::from(0.0), Cell::Null);
        for (found, weights) in entropies.iter().zip(weights()) {
            assert!((found - entropy(weights)).abs() < 1e-14);
        }
        // V of the last record only.
        let values = [run.clone(), ("quantity", "value".into())];
        let last = &trajectory.values[16 * (records - 1)..];
        assert_eq!(table.numbers("value", &values), last);
        assert_eq!(table.numbers("step", &values), [60.0; 16]);
        rows += records * (2 + 2 + 4 * 4) + 16;

        let row = summary.filter(&[run])[0];
        for (column, expected) in [
            ("experiment", "square".into()),
            ("sigma", followed.run.sigma().name().into()),
            ("dim", 4.0.into()),
            ("predictions", 4.0.into()),
            ("rows", 1.0.into()),
            ("condition_number", Cell::Null),
            ("seed", f64::from(followed.run.seed).into()),
            ("rate", 0.1.into()),
            ("step", 60.0.into()),
            ("time", trajectory.times[records - 1].into()),
            ("loss", trajectory.losses[records - 1].into()),
            ("strength", trajectory.strengths[records - 1].into()),
            ("largest_weight", largest[records - 1].into()),
            ("records", (records as f64).into()),
            ("accepted", 0.0.into()),
            ("evaluations", 60.0.into()),
            ("failure", Cell::Null),
        ] {
            assert_eq!(row[column], expected, "{column}");
        }
        let at = row["coordinate"].number() as usize;
        assert_eq!(last_row(&trajectory.weights)[at], largest[records - 1]);
    }
    assert_eq!(table.len(), rows);

    // Sorted as the footer says, so that a curve is one piece.
    let key = |row: &std::collections::BTreeMap<String, Cell>| {
        let number = |name: &str| match &row[name] {
            Cell::Number(number) => *number as i64,
            _ => i64::MAX,
        };
        let Cell::Text(quantity) = row["quantity"].clone() else {
            panic!("{row:?}")
        };
        let (run, line, place) = (number("run"), number("row"), number("coordinate"));
        (run, quantity, line, place, number("step"))
    };
    assert!(table.rows().is_sorted_by(|a, b| key(a) < key(b)));
}

fn last_row(all: &[f64]) -> &[f64] {
    &all[all.len() - 4..]
}

/// Entropy is not defined where weights are negative: null, not a number made up.
#[test]
fn negative_weights_have_no_entropy() {
    let world = World::new();
    let sum = ["--sigma", "sum", "--dim", "3", "--score-mean", "-0.2"];
    let scores = ["--score-scale", "1", "--steps", "5"];
    let arguments = [&["flow", "square", "--out", "d"], &sum[..], &scores].concat();
    world.run(&arguments).succeeds();
    let dir = world.path("d");
    let table = Frame::read(&dir.join("trajectories.parquet"));
    let weights = table.numbers("value", &[("quantity", "weight".into())]);
    assert!(weights.iter().any(|weight| *weight < 0.0));
    let entropies = table.filter(&[("quantity", "entropy".into())]);
    assert!(!entropies.is_empty() && entropies.iter().all(|row| row["value"] == Cell::Null));
    let summary = Frame::read(&dir.join("summary.parquet"));
    assert_eq!(summary.rows()[0]["entropy"], Cell::Null);
    let json = world
        .run(&[&["flow", "square", "--json"], &sum[..], &scores].concat())
        .succeeds()
        .json();
    assert!(json["runs"][0]["entropy"].is_null());
}

/// The command in `run.json` gives the same bytes, whatever was left to defaults.
#[test]
fn the_recorded_command_repeats_the_run() {
    let world = World::new();
    for (at, arguments) in [
        &[
            "conditioning",
            "--dim",
            "4",
            "--steps",
            "30",
            "--records",
            "5",
        ][..],
        &[
            "rows",
            "--rows=2",
            "--dim=3",
            "--integrator=flow",
            "--time=1.23",
            "--lr=0.1",
        ],
    ]
    .into_iter()
    .enumerate()
    {
        let (first, second) = (format!("a{at}"), format!("b{at}"));
        let command = [&["flow"], arguments, &["--out", &first]].concat();
        world.run(&command).succeeds();
        let run = world.run_json(&first);
        let recorded = run["command"].as_str().unwrap();
        let mut words: Vec<&str> = recorded.split(' ').skip(1).collect();
        words.extend(["--out", &second]);
        world.run(&words).succeeds();
        for name in ["trajectories.parquet", "summary.parquet"] {
            let [one, two] = [&first, &second].map(|dir| fs::read(world.path(dir).join(name)));
            assert!(one.unwrap() == two.unwrap(), "{recorded}: {name}");
        }
        assert_eq!(run["attnscope_version"], env!("CARGO_PKG_VERSION"));
        let footer = Frame::read(&world.path(&first).join("summary.parquet")).footer;
        assert_eq!(footer["attnscope.command"], recorded);
    }
    let run = world.run_json("a0");
    assert_eq!(run["experiment"]["name"], "conditioning");
    assert_eq!(run["experiment"]["seed"], 123);
    assert_eq!(run["experiment"]["value_scale"], 1e-5);
    let numbers = serde_json::json!([1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(run["experiment"]["condition_numbers"], numbers);
    assert_eq!(run["integrator"], serde_json::json!({"method": "gd"}));
    assert_eq!(run["runs"], 5);
    assert_eq!(run["failed"], serde_json::json!([]));
    let run = world.run_json("a1");
    assert_eq!(run["integrator"]["method"], "flow");
    assert_eq!(run["integrator"]["relative_tolerance"], 1e-9);
}

/// A run that diverges is saved up to there, and said to be.
#[test]
fn divergence_saves_what_was_recorded() {
    let world = World::new();
    let arguments = ["flow", "square", "--sigma", "softmax,sum", "--lr", "500"];
    let finished = world
        .run(&[&arguments[..], &["--out", "d"]].concat())
        .ends(1);
    let error = finished
        .stderr
        .lines()
        .find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("{finished}"));
    for part in [
        "square (sum, dim 10, seed 42)",
        "ended early",
        "updates at rate 500",
        "smaller rate",
        "tables and figures are in d",
    ] {
        assert!(
            finished.stderr.contains(part),
            "`{part}` is not said:\n{finished}"
        );
    }
    assert!(finished.stdout.contains("ended early"), "{finished}");
    println!("{error}");
    let dir = world.path("d");
    let summary = Frame::read(&dir.join("summary.parquet"));
    let failed: Vec<_> = summary
        .rows()
        .iter()
        .filter(|row| row["failure"] != Cell::Null)
        .collect();
    assert!(!failed.is_empty());
    let table = Frame::read(&dir.join("trajectories.parquet"));
    for row in failed {
        let loss = [("run", row["run"].clone()), ("quantity", "loss".into())];
        let steps = table.numbers("step", &loss);
        assert_eq!(steps.len() as f64, row["records"].number());
        assert!(row["step"].number() < 5000.0 && steps.len() > 10);
        assert_eq!(steps.last(), Some(&row["step"].number()));
        assert!(
            table
                .numbers("value", &loss)
                .iter()
                .all(|loss| loss.is_finite())
        );
    }
    let run = world.run_json("d");
    assert_eq!(
        run["failed"].as_array().unwrap().len(),
        run["runs"].as_u64().unwrap() as usize
    );

    // Without a directory nothing is saved, which is said; JSON tells the failure.
    let alone = ["flow", "square", "--sigma", "sum", "--lr", "500", "--json"];
    let finished = world.run(&alone).ends(1);
    assert!(finished.stderr.contains("no --out"), "{finished}");
    let failure = finished.json()["runs"][0]["failure"].clone();
    assert!(
        failure.as_str().unwrap().contains("ended early"),
        "{failure}"
    );
}
