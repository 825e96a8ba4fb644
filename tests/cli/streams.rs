//! Data goes to stdout, everything else to stderr.

use std::io::Read;
use std::process::Stdio;

use super::{Finished, RESULTS, World, checkpoint, names};

#[test]
fn stdout_holds_data_and_stderr_the_log() {
    let world = World::new();
    let finished = world.scan(&[]).succeeds();
    assert!(finished.stdout.contains("sparsity score"), "{finished}");
    for line in finished.stderr.lines() {
        assert!(line.starts_with(" INFO "), "{line:?}\n{finished}");
    }
    assert!(finished.stderr.contains("chosen: resident"), "{finished}");
    assert!(finished.stderr.contains("tokens/s"), "{finished}");
}

#[test]
fn quiet_leaves_nothing_but_errors() {
    let world = World::new();
    let loud = world.scan(&["--out", "loud"]).succeeds();
    let quiet = world.scan(&["-q"]).succeeds();
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.stdout, loud.stdout);
    let finished = world.scan(&["-q"]).fails(2, &["holds a finished run"]);
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");

    checkpoint::edit(world.model(), |tensors| {
        let norm = tensors.get_mut("model.layers.3.input_layernorm.weight");
        norm.unwrap().bytes[..2].copy_from_slice(&[0xc0, 0x7f]);
    });
    let finished = world.scan(&["-q", "--out", "nan"]).ends(6);
    assert_eq!(finished.stderr, "");
    let demo = world.run(&["demo", "--quiet"]).succeeds();
    assert_eq!(demo.stderr, "");
}

#[test]
fn verbose_and_rust_log_say_more() {
    let world = World::new();
    let said = "6 texts tokenised";
    let finished = world.scan(&["-v"]).succeeds();
    assert!(finished.stderr.contains(said), "{finished}");
    let mut command = world.scan_command(&["--out", "first"]);
    let finished = Finished::of(command.env("ATTNSCOPE_VERBOSE", "1")).succeeds();
    assert!(finished.stderr.contains(said), "{finished}");
    let mut command = world.scan_command(&["--out", "second"]);
    command.env("RUST_LOG", "attnscope=warn");
    assert_eq!(Finished::of(&mut command).succeeds().stderr, "");
}

/// `attnscope scan … | head -1`
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    let scan = world.scan_command(&["-q"]);
    let mut demo = world.attnscope();
    demo.args(["demo", "-q", "--json"]);
    let mut help = world.attnscope();
    help.args(["scan", "--help"]);
    for mut command in [scan, demo, help] {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        let mut pipe = child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(names(&world.out()), RESULTS);
}

/// What was computed is kept, and the failure is said.
#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_a_failure() {
    let world = World::new();
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let mut command = world.scan_command(&["-q"]);
    let output = command.stdout(full()).stderr(Stdio::piped()).spawn();
    let finished = Finished::from(output.unwrap().wait_with_output().unwrap());
    finished.fails(1, &["stdout: No space left on device"]);
    assert_eq!(names(&world.out()), RESULTS);

    let mut command = world.attnscope();
    let output = command
        .args(["models"])
        .stdout(full())
        .stderr(Stdio::piped())
        .spawn();
    let finished = Finished::from(output.unwrap().wait_with_output().unwrap());
    finished.fails(1, &["stdout: No space left on device"]);
}
