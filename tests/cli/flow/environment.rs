//! Every flag has an environment twin.

use super::World;
use crate::cli::Finished;

const TWINS: [(&str, &str); 19] = [
    ("ATTNSCOPE_INTEGRATOR", "flow"),
    ("ATTNSCOPE_SEED", "9"),
    ("ATTNSCOPE_REPLICAS", "2"),
    ("ATTNSCOPE_DIM", "3,4"),
    ("ATTNSCOPE_PREDICTIONS", "5"),
    ("ATTNSCOPE_SIGMA", "softmax,softplus"),
    ("ATTNSCOPE_CONDITION_NUMBER", "2,3.5"),
    ("ATTNSCOPE_SAMPLES", "6"),
    ("ATTNSCOPE_VALUE_SCALE", "0.25"),
    ("ATTNSCOPE_SCORE_MEAN", "0.5"),
    ("ATTNSCOPE_SCORE_SCALE", "0.125"),
    ("ATTNSCOPE_LR", "0.01"),
    ("ATTNSCOPE_STEPS", "40"),
    ("ATTNSCOPE_RTOL", "1e-7"),
    ("ATTNSCOPE_ATOL", "1e-10"),
    ("ATTNSCOPE_MAX_STEPS", "5000"),
    ("ATTNSCOPE_DEVICE", "cpu"),
    ("ATTNSCOPE_RECORDS", "6"),
    ("ATTNSCOPE_OUT", "d"),
];

#[test]
fn twins_are_flags() {
    let world = World::new();
    let mut command = world.attnscope();
    command.args(["flow", "conditioning"]).envs(TWINS);
    command
        .env("ATTNSCOPE_JSON", "yes")
        .env("ATTNSCOPE_QUIET", "1");
    let finished = Finished::of(&mut command).succeeds();
    assert_eq!(finished.stderr, "");
    let twins = finished.json();
    let run = world.run_json("d");
    let experiment = &run["experiment"];
    assert_eq!(experiment["dims"], serde_json::json!([3, 4]));
    assert_eq!(experiment["samples"], 6);
    assert_eq!(experiment["predictions"], 5);
    assert_eq!(experiment["score_scale"], 0.125);
    assert_eq!(run["records"], 6);
    assert_eq!(run["integrator"]["most_steps"], 5000);
    assert_eq!(twins["runs"].as_array().unwrap().len(), 16);

    let mut flags = vec!["flow".to_owned(), "conditioning".into(), "--json".into()];
    for (name, value) in TWINS {
        let flag = name.trim_start_matches("ATTNSCOPE_").to_lowercase();
        if flag != "out" {
            flags.push(format!("--{}={value}", flag.replace('_', "-")));
        }
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(world.run(&flags).succeeds().json(), twins);

    // Those of other commands: rows, time, and what a map has.
    let mut command = world.attnscope();
    command
        .args([
            "flow",
            "rows",
            "--integrator",
            "flow",
            "--dim",
            "3",
            "--json",
        ])
        .env("ATTNSCOPE_ROWS", "2")
        .env("ATTNSCOPE_TIME", "3.5");
    let json = Finished::of(&mut command).succeeds().json();
    assert_eq!(json["runs"][0]["rows"], 2);
    assert_eq!(json["runs"][0]["time"], 3.5);
    let mut command = world.attnscope();
    command.args(["flow", "map", "--json"]).envs([
        ("ATTNSCOPE_EXPERIMENT", "logistic"),
        ("ATTNSCOPE_X", "dim=2,3"),
        ("ATTNSCOPE_Y", "time=1,2"),
        ("ATTNSCOPE_QUANTITY", "entropy"),
        ("ATTNSCOPE_REPLICAS", "3"),
        ("ATTNSCOPE_SEED", "5"),
    ]);
    let json = Finished::of(&mut command).succeeds().json();
    assert_eq!(json["experiment"], "logistic");
    assert_eq!(json["quantity"], "entropy");
    assert_eq!(
        json["x"],
        serde_json::json!({"name": "dim", "values": [2, 3]})
    );
    assert_eq!(
        json["y"],
        serde_json::json!({"name": "time", "values": [1.0, 2.0]})
    );
    assert_eq!(json["seed"], 5);
    assert_eq!(json["cells"][0]["replicas"], 3);

    // What does not apply is refused from wherever it comes.
    let mut command = world.attnscope();
    command.args(["flow", "kl"]).env("ATTNSCOPE_ROWS", "2");
    Finished::of(&mut command).fails(2, &["rows: does not apply to kl"]);
}
