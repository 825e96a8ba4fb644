//! The paper's statements, held against runs.

use std::collections::BTreeMap;

use super::World;
use serde_json::Value;

/// What was found of each statement, by verdict, in all runs of an experiment.
fn verdicts<'a>(json: &'a Value, experiment: &str) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut verdicts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let runs = json["runs"].as_array().unwrap().iter();
    for run in runs.filter(|run| run["experiment"] == experiment) {
        for finding in run["findings"].as_array().unwrap() {
            let of = |key: &str| finding[key].as_str().unwrap();
            verdicts
                .entry(of("statement"))
                .or_default()
                .push(of("verdict"));
        }
    }
    verdicts
}

/// The notebook's logistic experiment meets Assumption 3.1, its square one does not meet 3.4; square-from-zero does.
#[test]
fn statements_hold_where_their_assumptions_do() {
    let world = World::new();
    let arguments = ["flow", "check", "logistic", "square-from-zero", "square"];
    let json = world
        .run(&[&arguments[..], &["--json"]].concat())
        .succeeds()
        .json();
    assert_eq!(json["violated"], 0);
    assert_eq!(json["failed"], 0);
    let statements = json["statements"].as_array().unwrap();
    let names = |list: &[Value]| -> Vec<String> {
        let names = list
            .iter()
            .map(|statement| statement["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    let all = names(statements);
    for experiment in ["logistic", "square-from-zero", "square"] {
        let found = verdicts(&json, experiment);
        assert!(
            all.iter().all(|name| found.contains_key(&name[..])),
            "{found:?}"
        );
    }
    let logistic = verdicts(&json, "logistic");
    for name in [
        "3.2 order",
        "3.3 one-hot",
        "3.3 strength",
        "D.1 scores",
        "D.2 rate",
    ] {
        assert!(
            logistic[name].iter().all(|verdict| *verdict == "holds"),
            "{name}"
        );
    }
    let applies = |of: &BTreeMap<&str, Vec<&str>>, name: &str| {
        of[name].iter().any(|verdict| *verdict != "not_applicable")
    };
    assert!(!applies(&logistic, "3.5 rank one"));
    let from_zero = verdicts(&json, "square-from-zero");
    assert!(
        from_zero["3.5 rank one"]
            .iter()
            .all(|verdict| *verdict == "holds")
    );
    let square = verdicts(&json, "square");
    assert!(
        square["3.5 rank one"]
            .iter()
            .all(|verdict| *verdict == "not_applicable")
    );
    let counts = ["holds", "violated", "not_applicable"].map(|verdict| {
        let runs = json["runs"].as_array().unwrap().iter();
        let findings = runs.flat_map(|run| run["findings"].as_array().unwrap());
        findings
            .filter(|finding| finding["verdict"] == verdict)
            .count()
    });
    let told = ["holds", "violated", "not_applicable"]
        .map(|verdict| json[verdict].as_u64().unwrap() as usize);
    assert_eq!(counts, told);

    let text = world.run(&arguments).succeeds();
    let order = text
        .stdout
        .lines()
        .find(|line| line.starts_with("  3.2 order"))
        .unwrap();
    assert!(order.ends_with("holds"), "{order}");
    let last = text.stdout.lines().last().unwrap();
    assert_eq!(
        last,
        format!(
            "{} hold, 0 violated, {} do not apply; 8 runs",
            counts[0], counts[2]
        )
    );
    assert!(
        text.stdout
            .contains("does not apply: Assumption 3.4 asks for V(0) = 0"),
        "{text}"
    );
}

/// Steps that are too long: the loss grows, which is said with place and size.
#[test]
fn what_is_violated_is_a_failure() {
    let world = World::new();
    let arguments = [
        "flow",
        "check",
        "square",
        "--sigma",
        "softmax,l2,sigmoid",
        "--integrator",
        "gd",
        "--lr",
        "5",
        "--steps",
        "2000",
    ];
    let finished = world.run(&arguments).ends(1);
    assert!(finished.stdout.contains("VIOLATED at t = "), "{finished}");
    assert!(
        finished.stderr.contains("error: ") && finished.stderr.contains(" violated"),
        "{finished}"
    );
    let json = world
        .run(&[&arguments[..], &["--json"]].concat())
        .ends(1)
        .json();
    assert!(json["violated"].as_u64() > Some(0));
    let runs = json["runs"].as_array().unwrap().iter();
    let violated: Vec<&Value> = runs
        .flat_map(|run| run["findings"].as_array().unwrap())
        .filter(|finding| finding["verdict"] == "violated")
        .collect();
    assert!(
        violated
            .iter()
            .any(|finding| finding["statement"] == "D.2 decrease")
    );
    for finding in violated {
        assert!(
            finding["violation"]["size"].as_f64() > Some(0.0),
            "{finding}"
        );
        assert!(finding["violation"]["step"].as_u64() > Some(0), "{finding}");
    }

    let diverged = [
        "flow",
        "check",
        "square",
        "--sigma",
        "sum",
        "--integrator",
        "gd",
        "--lr",
        "500",
    ];
    let finished = world.run(&diverged).ends(1);
    assert!(
        finished
            .stdout
            .contains("not checked: flow: the run ended early"),
        "{finished}"
    );
    assert!(
        finished
            .stderr
            .contains("1 run ended early and could not be checked"),
        "{finished}"
    );
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let world = World::new();
    for (arguments, says) in [
        (&["sideways"][..], "square-from-zero"),
        (&["kl", "kl"], "kl is there twice"),
        (&["kl", "--rows", "2"], "rows: does not apply to kl"),
        (
            &["kl", "--integrator", "gd", "--atol", "1"],
            "--atol is of --integrator flow",
        ),
    ] {
        world
            .run(&[&["flow", "check"], arguments].concat())
            .fails(2, &[says]);
    }
    let large = ["flow", "check", "kl", "--dim", "100000000"];
    world.run(&large).fails(5, &["smaller --dim"]);
}
