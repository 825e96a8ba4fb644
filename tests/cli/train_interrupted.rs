//! `train`, interrupted and resumed.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::Value;

use super::{World, names};

/// A second or so.
const LONG: [&str; 11] = [
    "train",
    "classification",
    "--num-layers=1",
    "--num-heads=2",
    "--embed-dim=8",
    "--num-train=200",
    "--num-eval=30",
    "--num-epochs=150",
    "--batch-size=20",
    "--lr=0.01",
    "--track-every=7",
];
const UNFINISHED: &str = "unfinished.safetensors";
const LOCK: &str = ".attnscope-train.lock";

/// [`LONG`] with these flags, in place of its own.
fn long<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    let is_other = |flag: &&str| flags.iter().all(|given| name(given) != name(flag));
    let others = LONG.into_iter().filter(is_other);
    others.chain(flags.iter().copied()).collect()
}

/// Interrupts the run after its first epoch of this process, and says what was on stderr.
fn interrupt(world: &World, flags: &[&str]) -> Vec<String> {
    let mut command = world.attnscope();
    command
        .args(long(flags))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let epoch = lines.find(|line| line.as_ref().unwrap().contains(" INFO epoch"));
    assert!(epoch.is_some());
    signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(75), "{said:?}");
    said
}

#[test]
fn a_run_without_a_directory_is_lost() {
    let said = interrupt(&World::new(), &[]);
    assert!(said.last().unwrap().contains("nothing is kept"), "{said:?}");
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_end() {
    let world = World::new();
    let run = |flags: &[&str]| world.run(&long(flags));
    let whole = run(&["--out=whole", "--json"]).succeeds();
    assert!(!names(&world.path("whole")).contains(&UNFINISHED.to_owned()));

    let said = interrupt(&world, &["--out=d"]);
    assert!(
        said.last().unwrap().contains("continue with --resume"),
        "{said:?}"
    );
    assert_eq!(names(&world.path("d")), [LOCK, UNFINISHED]);
    let kept = fs::read(world.path("d").join(UNFINISHED)).unwrap();

    run(&["--out=d"]).fails(
        2,
        &["d: holds an unfinished run", "--resume", "another --out"],
    );
    run(&["--out=d", "--resume", "--lr=0.02", "--num-epochs=2"]).fails(
        2,
        &[
            "another unfinished run (--num-epochs 150 --lr 0.01)",
            "repeat that run's options",
        ],
    );
    run(&["--resume"]).fails(2, &["--out"]);
    fs::write(world.path("d").join(UNFINISHED), &kept[..kept.len() / 2]).unwrap();
    run(&["--out=d", "--resume"]).fails(3, &[UNFINISHED, "remove it to begin anew"]);
    assert_eq!(names(&world.path("d")), [LOCK, UNFINISHED]);

    // Killed while it wrote its results, too.
    fs::write(world.path("d").join(UNFINISHED), &kept).unwrap();
    fs::write(world.path("d/model.safetensors"), "half of it").unwrap();
    let said = interrupt(&world, &["--out=d", "--resume"]);
    assert!(
        said.last().unwrap().contains("continue with --resume"),
        "{said:?}"
    );
    let resumed = run(&["--out=d", "--resume", "--json"]).succeeds();
    assert!(resumed.stderr.contains("resuming after"), "{resumed}");

    // All files, byte for byte, and what is printed; `run.json` but for times.
    let files = names(&world.path("whole"));
    assert_eq!(names(&world.path("d")), files);
    assert!(files.len() > 10, "{files:?}");
    let mut runs = Vec::new();
    for dir in ["whole", "d"] {
        let json = fs::read(world.path(dir).join("run.json")).unwrap();
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        let object = json.as_object_mut().unwrap();
        let resumed = object.remove("resumed").unwrap();
        assert_eq!(resumed, if dir == "d" { 2 } else { 0 });
        let seconds = object["seconds_training"].as_f64().unwrap();
        assert!(seconds > 0.0);
        object.retain(|key, _| {
            !key.starts_with("seconds") && !key.ends_with("_at") && key != "peak_memory_bytes"
        });
        runs.push(json);
    }
    assert_eq!(runs[0], runs[1]);
    for file in files.iter().filter(|file| *file != "run.json") {
        let of = |dir: &str| fs::read(world.path(dir).join(file)).unwrap();
        assert!(of("whole") == of("d"), "{file}");
    }
    assert_eq!(resumed.json(), whole.json());

    run(&["--out=d", "--resume"]).fails(2, &["is there already"]);
}

#[test]
fn two_processes_do_not_train_in_one_directory() {
    let world = World::new();
    let mut command = world.attnscope();
    command.args(long(&["--out=d", "--num-epochs=100000"]));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" INFO epoch")));
    let refused = |flags: &[&str], says: &str| {
        world.run(&long(flags)).fails(2, &[says]);
    };
    refused(&["--out=d"], "holds an unfinished run");
    refused(&["--out=d", "--resume"], "another process");
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock went with the process.
    let other = "another unfinished run (--num-epochs 100000)";
    refused(&["--out=d", "--resume"], other);
}
