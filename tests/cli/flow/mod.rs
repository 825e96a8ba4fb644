//! `flow`, through the command line.

mod all;
mod check;
mod early;
mod environment;
pub mod frame;
mod maps;
mod python;
mod refusals;
mod tables;

use attnscope::flow::experiments::{Experiment, SQUARE};
use attnscope::flow::follow::{Backend, Integrator, Records, Settings, follow};
use attnscope::flow::problem::Dimensions;
use attnscope::flow::sigma::Sigma;
use attnscope::flow::trajectory::Followed;
use candle_core::{Device, Tensor};
use serde_json::Value;

use super::World;
use crate::support;

/// What `flow square --dim 4 --sigma l1,softmax --steps 60 --records 12` with two seeds is to give: the runs under each
/// seed by themselves, in the order of the tables.
const SMALL: [&str; 10] = [
    "square",
    "--dim",
    "4",
    "--sigma",
    "l1,softmax",
    "--steps",
    "60",
    "--records=12",
    "--seed",
    "7",
];

/// The same from the library: each σ under the seeds 7 and 8.
fn small() -> Vec<Followed> {
    let mut runs = Vec::new();
    for sigma in [Sigma::L1, Sigma::SOFTMAX] {
        for seed in [7, 8] {
            let experiment = Experiment {
                seed,
                steps: 60,
                dimensions: &[Dimensions::square(4)],
                sigmas: &[sigma],
                ..SQUARE
            };
            runs.extend(experiment.runs().unwrap());
        }
    }
    let settings = Settings {
        backend: Backend::Fused,
        integrator: Integrator::Descent,
        records: Records::Logarithmic(12),
        keep_values: true,
    };
    follow(runs, &settings, |_| ()).unwrap()
}

/// A list of numbers in JSON.
fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Equal but for the last bits, which JSON's reader may lose.
#[track_caller]
fn assert_close(found: f64, expected: f64) {
    let difference = (found - expected).abs();
    assert!(
        difference <= 4.0 * f64::EPSILON * expected.abs(),
        "{found} is not {expected}"
    );
}

/// The keys of the contract, with what the library gives.
#[test]
fn runs_as_json() {
    let world = World::new();
    let arguments = [&["flow"], &SMALL[..], &["--replicas", "2", "--json"]].concat();
    let json = world.run(&arguments).succeeds().json();
    let runs = json["runs"].as_array().unwrap();
    let expected = small();
    assert_eq!(runs.len(), expected.len());
    for (run, expected) in runs.iter().zip(&expected) {
        assert_eq!(run["experiment"], "square");
        assert_eq!(run["sigma"], expected.run.sigma().name());
        assert_eq!(run["seed"], expected.run.seed);
        assert_eq!(run["steps"], 60);
        assert_eq!(run["dim"], 4);
        assert_eq!(run["rows"], 1);
        assert_eq!(run["condition_number"], Value::Null);
        assert_eq!(run["failure"], Value::Null);
        let trajectory = &expected.trajectory;
        let last = trajectory.losses.len() - 1;
        assert_close(run["loss"].as_f64().unwrap(), trajectory.losses[last]);
        assert_close(run["time"].as_f64().unwrap(), 6.0);
        assert_eq!(run["records"], trajectory.losses.len());
        for (name, all) in [
            ("weights", &trajectory.weights),
            ("scores", &trajectory.scores),
        ] {
            let found = numbers(&run[name]);
            assert_eq!(found.len(), 4);
            for (found, expected) in found.iter().zip(&all[4 * last..]) {
                assert_close(*found, *expected);
            }
        }
        let weights = numbers(&run["weights"]);
        let largest = weights
            .iter()
            .fold(0.0f64, |most, weight| most.max(*weight));
        assert_close(run["largest_weight"].as_f64().unwrap(), largest);
        let at = run["coordinate"].as_u64().unwrap() as usize;
        assert_close(weights[at], largest);
    }
}

/// The notebook's own end of a tied model of ten scores: its weights before the last of 10,000 updates.
#[test]
fn the_notebooks_numbers_come_out() {
    let path = support::golden("flow/expected.safetensors");
    let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let expected: &Tensor = &expected["tied/10/alpha_final"];
    let expected: Vec<f64> = expected.flatten_all().unwrap().to_vec1().unwrap();
    let world = World::new();
    let arguments = ["flow", "tied", "--dim", "10", "--steps", "9999", "--json"];
    let json = world.run(&arguments).succeeds().json();
    assert_eq!(json["runs"].as_array().unwrap().len(), 1);
    let found = numbers(&json["runs"][0]["weights"]);
    assert_eq!(found.len(), 10);
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

/// Several rows are told one after the other; each of softmax sums to 1.
#[test]
fn rows_lie_one_after_the_other() {
    let world = World::new();
    let json = world
        .run(&[
            "flow",
            "rows",
            "--rows",
            "3",
            "--dim",
            "5",
            "--predictions",
            "2",
            "--score-scale",
            "1",
            "--steps",
            "20",
            "--json",
        ])
        .succeeds()
        .json();
    let run = &json["runs"][0];
    assert_eq!((&run["rows"], &run["dim"]), (&3.into(), &5.into()));
    assert_eq!(run["predictions"], 2);
    let weights = numbers(&run["weights"]);
    assert_eq!((weights.len(), numbers(&run["scores"]).len()), (15, 15));
    let rows: Vec<&[f64]> = weights.chunks(5).collect();
    assert!(rows[0] != rows[1]);
    let largest = rows.iter().map(|row| {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        row.iter().fold(0.0f64, |most, weight| most.max(*weight))
    });
    let mean = largest.sum::<f64>() / 3.0;
    assert!((run["largest_weight"].as_f64().unwrap() - mean).abs() < 1e-15);
}

/// The flow goes where gradient descent goes, and tells its effort.
#[test]
fn the_flow_itself() {
    let world = World::new();
    let gd = world.run(&[
        "flow", "logistic", "--steps", "1000", "--lr", "0.001", "--json",
    ]);
    let flow = world.run(&[
        "flow",
        "logistic",
        "--integrator",
        "flow",
        "--time",
        "1",
        "--lr",
        "0.001",
        "--rtol",
        "1e-10",
        "--json",
    ]);
    let [gd, flow] = [gd, flow].map(|run| run.succeeds().json()["runs"][0].clone());
    assert_close(flow["time"].as_f64().unwrap(), 1.0);
    let pairs = numbers(&gd["weights"])
        .into_iter()
        .zip(numbers(&flow["weights"]));
    let furthest = pairs.fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(furthest > 0.0 && furthest < 1e-5, "{furthest:e}");
    assert_eq!(gd["accepted"], 0);
    let steps = flow["accepted"].as_u64().unwrap();
    assert!((1..1000).contains(&steps) && flow["steps"].as_u64().unwrap() <= steps);
}

/// A line per run, and how many seeds are distributed; numbers are those of `--json`.
#[test]
fn a_table_for_a_person() {
    let world = World::new();
    let arguments = [
        "flow",
        "conditioning",
        "--condition-number",
        "2,10",
        "--dim",
        "3",
        "--steps",
        "500",
        "--replicas",
        "5",
    ];
    let finished = world.run(&arguments).succeeds();
    assert!(finished.stderr.contains("10 runs in "), "{finished}");
    let json = world
        .run(&[&arguments[..], &["--json"]].concat())
        .succeeds()
        .json();
    let lines: Vec<Vec<&str>> = finished
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 1 + 10 + 1 + 1 + 2 * 5, "{finished}");
    let runs = json["runs"].as_array().unwrap();
    for (line, run) in lines[1..11].iter().zip(runs) {
        let number = |key: &str| run[key].as_f64().unwrap();
        let expected = [
            "conditioning".into(),
            "softmax".into(),
            "3".into(),
            run["condition_number"].as_f64().unwrap().to_string(),
            run["seed"].to_string(),
            "0.5".into(),
            format!("{:.4e}", number("loss")),
            format!("{:.4}", number("largest_weight")),
            run["coordinate"].to_string(),
            format!("{:.4}", number("entropy")),
            format!("{:.4}", number("strength")),
        ];
        assert_eq!(*line, expected);
    }
    let mut losses: Vec<f64> = runs[5..]
        .iter()
        .map(|run| run["loss"].as_f64().unwrap())
        .collect();
    losses.sort_by(f64::total_cmp);
    for (line, (name, at)) in [
        (18, ("smallest", 0)),
        (20, ("median", 2)),
        (22, ("largest", 4)),
    ] {
        let loss = format!("{:.4e}", losses[at]);
        let expected = ["conditioning", "softmax", "3", "10", "5", name, &loss];
        assert_eq!(lines[line][..7], expected, "{finished}");
    }
}
