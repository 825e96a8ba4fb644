//! All experiments, one after the other.

use std::fs;

use super::World;
use super::frame::Frame;
use crate::cli::names;

const EXPERIMENTS: [&str; 7] = [
    "conditioning",
    "kl",
    "logistic",
    "normalizations",
    "rows",
    "square",
    "tied",
];
const ALL: [&str; 10] = [
    "flow",
    "all",
    "--steps",
    "20",
    "--dim",
    "3",
    "--records",
    "4",
    "--out",
    "d",
];

#[test]
fn every_experiment_has_a_complete_directory() {
    let world = World::new();
    let finished = world.run(&ALL).succeeds();
    assert_eq!(names(&world.path("d")), EXPERIMENTS);
    // logistic, square × 6, normalizations × 6, conditioning × 5, kl, tied, rows
    let lines = |name: &str| {
        finished
            .stdout
            .lines()
            .filter(|line| line.starts_with(name))
            .count()
    };
    assert_eq!(EXPERIMENTS.map(lines), [5, 1, 1, 6, 1, 6, 1], "{finished}");
    for name in EXPERIMENTS {
        let dir = world.path("d").join(name);
        let run = world.run_json(&format!("d/{name}"));
        assert_eq!(run["experiment"]["name"], name);
        let summary = Frame::read(&dir.join("summary.parquet"));
        assert_eq!(summary.len() as u64, run["runs"].as_u64().unwrap());
        assert!(
            summary
                .rows()
                .iter()
                .all(|row| row["step"].number() == 20.0)
        );
        for file in run["files"].as_array().unwrap() {
            assert!(dir.join(file.as_str().unwrap()).is_file(), "{name}: {file}");
        }
    }
    let one = world.run(&[
        "flow",
        "kl",
        "--steps",
        "20",
        "--dim",
        "3",
        "--records",
        "4",
        "--out",
        "alone",
    ]);
    one.succeeds();
    for table in ["trajectories.parquet", "summary.parquet"] {
        let [a, b] = ["d/kl", "alone"].map(|dir| fs::read(world.path(dir).join(table)).unwrap());
        assert!(a == b, "{table}");
    }

    // What an interrupted one has left is named.
    let last = world.path("d/rows/run.json");
    fs::remove_file(last).unwrap();
    fs::remove_dir_all(world.path("d/kl")).unwrap();
    let says = [
        "d: holds experiments already: logistic, square, normalizations, conditioning, tied, rows (unfinished)",
        "never overwritten",
        "choose another --out",
    ];
    world.run(&ALL).fails(2, &says);
    assert!(!world.path("d/kl").exists());
}

#[test]
fn choices_go_to_the_experiments_that_have_them() {
    let world = World::new();
    let arguments = [
        "flow",
        "all",
        "--steps",
        "5",
        "--dim",
        "3",
        "--rows",
        "2",
        "--condition-number",
        "7",
        "--samples",
        "4",
        "--predictions",
        "2",
        "--sigma",
        "softmax",
        "--seed",
        "3",
        "--json",
    ];
    let json = world.run(&arguments).succeeds().json();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 7);
    for run in runs {
        let name = run["experiment"].as_str().unwrap();
        assert_eq!(run["seed"], 3);
        assert_eq!(run["rows"], if name == "rows" { 2 } else { 1 });
        assert_eq!(run["predictions"], if name == "tied" { 3 } else { 2 });
        assert_eq!(
            run["condition_number"].as_f64(),
            (name == "conditioning").then_some(7.0)
        );
    }
}
