//! What is refused or said before anything is followed, and what is told though it cannot be written.

use super::World;
use super::frame::Frame;

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// No experiment is run if a later one cannot be.
#[test]
fn all_are_possible_or_none_is_run() {
    let world = World::new();
    let few = "--dim 3 --steps 3 --records 2 --out d";
    for (wrong, says) in [
        ("--condition-number 0.5", "condition number: is 0.5"),
        ("--samples 1", "a design of 1 × 3 has one singular value"),
        ("--rows 0", "rows: 0 rows"),
    ] {
        let line = format!("flow all {few} {wrong}");
        world.run(&words(&line)).fails(2, &[says]);
        assert!(!world.path("d").exists(), "{wrong}");
    }
    let line = format!("flow all {few} --sigma l1,softmax --integrator flow");
    let finished = world.run(&words(&line)).succeeds();
    assert!(
        finished.stderr.contains("tied is left out with l1"),
        "{finished}"
    );
    let tied = Frame::read(&world.path("d/tied/summary.parquet"));
    assert_eq!(tied.len(), 1);
    assert_eq!(tied.rows()[0]["sigma"], "softmax".into());
    let checked = world.run(&words(
        "flow check tied square --sigma l1 --dim 3 --steps 30 --json",
    ));
    assert!(
        checked.stderr.contains("tied is left out with l1"),
        "{checked}"
    );
    let runs = checked.json()["runs"].clone();
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!(runs[0]["experiment"], "square");
}

/// Nothing is followed for a directory that cannot be made: these runs would take hours.
#[test]
fn a_directory_that_cannot_be_made_is_refused_first() {
    let world = World::new();
    std::fs::write(world.path("file"), "mine").unwrap();
    for what in [
        "kl --dim 60 --replicas 200",
        "all --dim 60 --replicas 200",
        "map --dim 60 --replicas 2000 --x samples=60,61,62 --y condition_number=10,20",
    ] {
        let line = format!("flow {what} --out file/sub");
        let finished = world.run(&words(&line)).fails(1, &["file/sub"]);
        assert_eq!(finished.stdout, "");
    }
}

/// What was computed is printed, though no file may have a byte.
#[cfg(unix)]
#[test]
fn results_are_printed_though_they_cannot_be_written() {
    let world = World::new();
    for (line, begins) in [
        ("flow tied --dim 3 --steps 5 --out d", "experiment"),
        ("flow tied --dim 3 --steps 5 --out e --json", "{\"runs\":[{"),
        ("flow all --dim 3 --steps 5 --out f", "experiment"),
        (
            "flow map --x dim=3 --y condition_number=2 --time 1 --replicas 1 --out d",
            "conditioning: largest weight",
        ),
    ] {
        let mut shell = std::process::Command::new("sh");
        let attnscope = world.attnscope();
        let script = format!("ulimit -f 0; trap '' XFSZ; exec \"$0\" {line}");
        shell.args(["-c", &script]).arg(attnscope.get_program());
        world.clean(&mut shell);
        let finished = crate::cli::Finished::of(&mut shell).ends(1);
        assert!(finished.stdout.starts_with(begins), "{finished}");
    }
    assert!(!world.path("d/run.json").exists());
}

/// A flag that none of several experiments has is refused, one that some have is not.
#[test]
fn flags_of_no_named_experiment_are_refused() {
    let world = World::new();
    let refused = world.run(&words("flow check logistic square --samples 3 --rows 5"));
    refused.fails(2, &["--samples applies to none of logistic, square"]);
    let some = "flow check logistic rows --rows 2 --dim 3 --steps 100";
    world.run(&words(some)).succeeds();
}

/// Numbers are read in every way of writing them, and refused by value.
#[test]
fn negative_numbers_with_exponents() {
    let world = World::new();
    for mean in ["-1e-3", "-.5", "-1E+0", "-2"] {
        let line = format!("flow square --dim 3 --steps 2 --sigma softmax --score-mean {mean}");
        world.run(&words(&line)).succeeds();
    }
    for (line, says) in [
        ("flow square --lr -1e-3", "rate: is -0.001"),
        (
            "flow square --lr --json",
            "invalid value '--json' for '--lr",
        ),
    ] {
        world.run(&words(line)).fails(2, &[says]);
    }
}

/// A flow that ends about where its rate begins has its records all the same.
#[test]
fn short_flows_have_their_records() {
    let world = World::new();
    for (time, rate) in [
        ("0.1", "0.1"),
        ("0.11", "0.1"),
        ("0.03", "0.1"),
        ("9", "0.1"),
    ] {
        let out = format!("at-{time}");
        let line = format!(
            "flow square --integrator flow --sigma softmax --time {time} --lr {rate} --out {out} --json"
        );
        let json = world.run(&words(&line)).succeeds().json();
        assert_eq!(json["runs"][0]["records"], 201, "{time}");
        let table = Frame::read(&world.path(&out).join("trajectories.parquet"));
        let losses = table.filter(&[("quantity", "loss".into())]);
        let end: f64 = time.parse().unwrap();
        let (first, last) = (losses[1]["time"].number(), losses[200]["time"].number());
        assert!((first / end - 1e-4).abs() < 1e-12 && (last / end - 1.0).abs() < 1e-12);
    }
}

/// What ended early is not called saved if there was nothing.
#[test]
fn an_early_end_says_where_the_tables_are() {
    let world = World::new();
    let line = "flow square --sigma sum --lr 500 --records 1 --out d";
    let finished = world.run(&words(line)).ends(1);
    assert!(
        finished.stderr.contains("tables and figures are in d"),
        "{finished}"
    );
    assert!(!finished.stderr.contains("what was recorded before"));
}

/// A full stdout is no reason to resume anything.
#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout() {
    let world = World::new();
    let mut command = world.attnscope();
    command.args(words("flow tied --dim 3 --steps 2"));
    let full = std::fs::File::create("/dev/full").unwrap();
    command.stdout(full);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("stdout: ") && !said.contains("--resume"),
        "{said}"
    );
}

/// Large numbers are short.
#[test]
fn a_condition_number_of_many_digits() {
    let world = World::new();
    let line = "flow conditioning --condition-number 1e200 --dim 3 --steps 2";
    let told = world.run(&words(line)).succeeds().stdout;
    assert!(told.contains(" 1e200 "), "{told}");
    let map = "flow map --x condition_number=1e200 --y dim=3 --time 1 --replicas 1";
    let told = world.run(&words(map)).succeeds().stdout;
    assert!(told.contains(" 1e200\n"), "{told}");
}
