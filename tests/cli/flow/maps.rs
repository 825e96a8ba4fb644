//! Phase maps.

use super::frame::{Cell, Frame};
use super::{World, assert_close};
use crate::cli::names;

/// Every cell is the mean, median, smallest and largest of runs that one can make one by one.
#[test]
fn cells_are_runs() {
    let world = World::new();
    let map = [
        "flow",
        "map",
        "--x",
        "condition_number=1,6",
        "--y",
        "dim=3,5,4",
        "--replicas",
        "4",
        "--integrator",
        "gd",
        "--steps",
        "2000",
        "--lr",
        "0.01",
        "--seed",
        "11",
    ];
    let json = world
        .run(&[&map[..], &["--out", "d", "--json"]].concat())
        .succeeds()
        .json();
    let table = Frame::read(&world.path("d/map.parquet"));
    assert_eq!(
        table.columns,
        "x_name BYTE_ARRAY REQUIRED, x DOUBLE REQUIRED, y_name BYTE_ARRAY REQUIRED, y DOUBLE REQUIRED, \
         quantity BYTE_ARRAY REQUIRED, mean DOUBLE OPTIONAL, median DOUBLE OPTIONAL, min DOUBLE OPTIONAL, \
         max DOUBLE OPTIONAL, replicas INT64 REQUIRED, counted INT64 REQUIRED, failed INT64 REQUIRED"
    );
    assert_eq!(table.len(), 6);
    let cells = json["cells"].as_array().unwrap();
    let mut at = 0;
    for dim in [3, 5, 4] {
        for number in [1, 6] {
            let (row, cell) = (&table.rows()[at], &cells[at]);
            at += 1;
            assert_eq!(row["x_name"], "condition_number".into());
            assert_eq!(row["y_name"], "dim".into());
            assert_eq!(
                (row["x"].number(), row["y"].number()),
                (number.into(), dim.into())
            );
            assert_eq!(cell["x"].as_f64(), Some(number.into()));
            assert_eq!(cell["y"], dim);
            let [dim, number] = [dim, number].map(|value| value.to_string());
            let one = [
                "flow",
                "conditioning",
                "--dim",
                &dim,
                "--condition-number",
                &number,
                "--steps",
                "2000",
                "--lr",
                "0.01",
                "--seed",
                "11",
                "--replicas",
                "4",
                "--json",
            ];
            let runs = world.run(&one).succeeds().json()["runs"].clone();
            let mut largest: Vec<f64> = runs
                .as_array()
                .unwrap()
                .iter()
                .map(|run| run["largest_weight"].as_f64().unwrap())
                .collect();
            assert_eq!(largest.len(), 4);
            largest.sort_by(f64::total_cmp);
            for (name, expected) in [
                ("mean", largest.iter().sum::<f64>() / 4.0),
                ("median", (largest[1] + largest[2]) / 2.0),
                ("min", largest[0]),
                ("max", largest[3]),
            ] {
                assert_close(row[name].number(), expected);
                assert_close(cell[name].as_f64().unwrap(), expected);
            }
            assert_eq!(row["replicas"], 4.0.into());
            assert_eq!(row["counted"], 4.0.into());
            assert_eq!(row["failed"], 0.0.into());
        }
    }
    let files = [
        "map.parquet",
        "phase-final-largest-weight.png",
        "phase-final-largest-weight.svg",
        "run.json",
    ];
    assert_eq!(names(&world.path("d")), files);
    let run = world.run_json("d");
    let axes = serde_json::json!(["condition_number=1,6", "dim=3,5,4"]);
    assert_eq!((&run["axes"], &run["runs"]), (&axes, &24.into()));
    for file in run["files"].as_array().unwrap() {
        assert!(world.path("d").join(file.as_str().unwrap()).is_file());
    }
    // The recorded command repeats the map.
    let recorded = run["command"].as_str().unwrap();
    let words: Vec<&str> = recorded.split(' ').skip(1).chain(["--out", "e"]).collect();
    let text = world.run(&words).succeeds().stdout;
    let [a, b] = ["d", "e"].map(|dir| std::fs::read(world.path(dir).join("map.parquet")).unwrap());
    assert!(a == b, "{recorded}");
    assert_eq!(names(&world.path("d")), names(&world.path("e")));

    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1], ["dim", "\\", "condition_number", "1", "6"]);
    for (line, (dim, cells)) in lines[2..]
        .iter()
        .zip(["3", "5", "4"].iter().zip(cells.chunks(2)))
    {
        let mean = |cell: &serde_json::Value| format!("{:.4}", cell["mean"].as_f64().unwrap());
        assert_eq!(*line, [*dim, &mean(&cells[0]), &mean(&cells[1])]);
    }
}

/// Names on an axis; entropies that are not defined are not counted.
#[test]
fn sigmas_and_entropies() {
    let world = World::new();
    let map = [
        "flow",
        "map",
        "--experiment",
        "square",
        "--x",
        "sigma=softmax,sum",
        "--y",
        "score_mean=1,-0.1",
        "--score-scale",
        "0.5",
        "--dim",
        "4",
        "--replicas",
        "6",
        "--quantity",
        "entropy",
        "--steps",
        "3",
        "--out",
        "d",
        "--json",
    ];
    let json = world.run(&map).succeeds().json();
    let table = Frame::read(&world.path("d/map.parquet"));
    assert!(
        table
            .columns
            .starts_with("x_name BYTE_ARRAY REQUIRED, x BYTE_ARRAY REQUIRED")
    );
    let of = |sigma: &str, mean: f64| {
        let wanted = [("x", sigma.into()), ("y", mean.into())];
        table.filter(&wanted)[0].clone()
    };
    for mean in [1.0, -0.1] {
        assert_eq!(of("softmax", mean)["counted"], 6.0.into());
    }
    let shifted = of("sum", -0.1);
    assert!(shifted["counted"].number() < 6.0, "{shifted:?}");
    assert_eq!(shifted["failed"], 0.0.into());
    let undefined = shifted["counted"] == 0.0.into();
    assert_eq!(shifted["mean"] == Cell::Null, undefined);
    assert_eq!(
        json["cells"][3]["counted"].as_f64(),
        Some(shifted["counted"].number())
    );
}

/// Runs that diverge are counted and left out; a map of nothing else is a failure.
#[test]
fn failed_runs_are_counted() {
    let world = World::new();
    let map = [
        "flow",
        "map",
        "--experiment",
        "square",
        "--sigma",
        "sum",
        "--x",
        "rate=0.1,500",
        "--y",
        "dim=10",
        "--replicas",
        "3",
        "--seed",
        "42",
        "--integrator",
        "gd",
    ];
    let finished = world
        .run(&[&map[..], &["--json", "--out", "d"]].concat())
        .succeeds();
    for part in [
        "of 6 runs did not come to their end",
        "rate = 500",
        "updates at rate 500",
    ] {
        assert!(finished.stderr.contains(part), "{finished}");
    }
    let cells = finished.json()["cells"].clone();
    assert_eq!(cells[0]["failed"], 0);
    let failed = cells[1]["failed"].as_u64().unwrap();
    assert!(failed > 0);
    assert_eq!(cells[1]["counted"].as_u64().unwrap(), 3 - failed);
    let only = [
        "flow",
        "map",
        "--experiment",
        "square",
        "--sigma",
        "sum",
        "--x",
        "rate=500",
        "--y",
        "dim=10",
        "--replicas",
        "1",
        "--seed",
        "42",
        "--integrator",
        "gd",
        "--out",
        "e",
    ];
    let finished = world.run(&only).ends(1);
    assert!(
        finished.stderr.contains("1 of 1 runs did not"),
        "{finished}"
    );
    assert!(finished.stdout.contains('–'), "{finished}");
    let table = Frame::read(&world.path("e/map.parquet"));
    assert_eq!(table.rows()[0]["mean"], Cell::Null);
}

/// One given axis leaves the other default of the conditioning experiment.
#[test]
fn defaults_fill_what_is_left() {
    let world = World::new();
    for (given, x, y) in [
        ("--x=dim=3", "dim", "condition_number"),
        ("--y=condition_number=2", "dim", "condition_number"),
        ("--y=dim=3", "condition_number", "dim"),
        ("--x=condition_number=2", "condition_number", "dim"),
    ] {
        let arguments = [
            "flow",
            "map",
            given,
            "--replicas",
            "1",
            "--time",
            "0.1",
            "--json",
        ];
        let json = world.run(&arguments).succeeds().json();
        assert_eq!(
            (&json["x"]["name"], &json["y"]["name"]),
            (&x.into(), &y.into())
        );
    }
}

/// A chosen time is where every run ends, also where the rate is varied; the recorded command says it again.
#[test]
fn a_time_at_every_rate() {
    let world = World::new();
    let map =
        "flow map --experiment logistic --x dim=3 --y rate=0.05,0.1,0.3 --time 5 --replicas 2";
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    let arguments = [&words(map)[..], &["--json", "--out", "d"]].concat();
    let json = world.run(&arguments).succeeds().json();
    for (cell, rate) in json["cells"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["0.05", "0.1", "0.3"])
    {
        let one =
            words("flow logistic --dim 3 --integrator flow --time 5 --replicas 2 --json --lr");
        let runs = world.run(&[&one[..], &[rate]].concat()).succeeds().json()["runs"].clone();
        let largest = |run: usize| runs[run]["largest_weight"].as_f64().unwrap();
        assert_close(runs[0]["time"].as_f64().unwrap(), 5.0);
        let mean = (largest(0) + largest(1)) / 2.0;
        // The flow ends at the same place, whichever its rate; other records are other steps.
        assert!(
            (cell["mean"].as_f64().unwrap() - mean).abs() < 1e-8,
            "{rate}"
        );
    }
    let run = world.run_json("d");
    assert_eq!(run["time"].as_f64(), Some(5.0));
    let recorded = run["command"].as_str().unwrap();
    let again: Vec<&str> = recorded.split(' ').skip(1).chain(["--json"]).collect();
    assert!(recorded.contains("--time 5") && !recorded.contains("--steps"));
    assert_eq!(world.run(&again).succeeds().json(), json);

    let gd = [&words(map)[..], &["--integrator", "gd"]].concat();
    world.run(&gd).fails(2, &["--time is of --integrator flow"]);
}
