//! The program itself, stopped from outside: SIGKILL at any moment loses little, SIGINT and SIGTERM end it in
//! good order, and what `--resume` makes of it is what an undisturbed run makes.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use attnscope::{
    random::PythonRandom,
    store::{SampleReader, read_activations, read_heads, read_lags},
};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::{Fixture, assert_finished, names, random_texts, tables};
use crate::gala::generator::AttentionFunction;

const SAMPLES: usize = 40;
const LAYERS: usize = 6;

/// A second or two of work, in small steps.
fn fixture() -> Fixture {
    let mut random = PythonRandom::new(3);
    let lengths: Vec<usize> = (0..SAMPLES).map(|_| 100 + random.below(157)).collect();
    let texts = random_texts(&lengths, 64);
    let sizes = [LAYERS, 256, 4, 512, 64];
    Fixture::new(AttentionFunction::Sigmoid, sizes, &texts)
}

fn scan(fixture: &Fixture, out: &Path, memory: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command
        .args(["scan", "--n-samples", "all", "--batch-size", "1"])
        .args(["--device", "cpu", "--memory", memory, "--resume"])
        .args(["--metrics", "all"])
        .arg("--model")
        .arg(&fixture.model)
        .arg("--dataset")
        .arg(&fixture.texts)
        .arg("--out")
        .arg(out)
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The tables of an undisturbed run, and how long it took.
fn undisturbed(fixture: &Fixture) -> (Vec<(String, Vec<u8>)>, Duration) {
    let out = fixture.out("undisturbed");
    let start = Instant::now();
    assert!(scan(fixture, &out, "resident").status().unwrap().success());
    (tables(&out), start.elapsed())
}

/// Everything under a final name is complete.
fn assert_nothing_half_written(out: &Path) {
    if !out.exists() {
        return;
    }
    for name in names(out) {
        match name.as_str() {
            "samples.parquet" => {
                let rows = SampleReader::open(&out.join(name)).unwrap();
                assert_eq!(
                    rows.map(|layer| layer.unwrap().len()).sum::<usize>(),
                    SAMPLES * LAYERS * 4
                );
            }
            "heads.parquet" => assert_eq!(read_heads(&out.join(name)).unwrap().len(), LAYERS * 4),
            "lags.parquet" => assert!(!read_lags(&out.join(name)).unwrap().is_empty()),
            "activations.parquet" => assert_eq!(
                read_activations(&out.join(name)).unwrap().len(),
                SAMPLES * LAYERS
            ),
            "run.json" | "parts" => {}
            hidden => assert!(hidden.starts_with(".attnscope-"), "{hidden}"),
        }
    }
}

#[test]
fn sigkill_ten_times() {
    let fixture = fixture();
    let (expected, duration) = undisturbed(&fixture);
    println!("an undisturbed run takes {duration:.2?}");
    let mut random = PythonRandom::new(9);
    for memory in ["resident", "streamed"] {
        let out = fixture.out(memory);
        let (mut kills, mut parts) = (0, Vec::new());
        for _ in 0..10 {
            let mut child = scan(&fixture, &out, memory).spawn().unwrap();
            thread::sleep(duration.mul_f64(random.random() / 5.0));
            child.kill().unwrap();
            // A process that has ended by itself has an exit code.
            kills += usize::from(child.wait().unwrap().code().is_none());
            assert_nothing_half_written(&out);
            parts.push(match out.join("parts").exists() {
                true => names(&out.join("parts")).len(),
                false => 0,
            });
        }
        let last = scan(&fixture, &out, memory).output().unwrap();
        assert!(last.status.success(), "{last:?}");
        println!("{memory}: killed {kills} times, files in parts/ after each attempt: {parts:?}");
        // The first one came long before the end.
        assert!(kills > 0);
        assert_finished(&out);
        assert!(tables(&out) == expected, "{memory}");
    }
}

/// Waits until the run has done something, but not all.
fn wait_for_a_part(child: &mut Child, out: &Path) {
    let parts = out.join("parts");
    let is_begun = || parts.exists() && names(&parts).iter().any(|name| name.starts_with("batch-"));
    while !is_begun() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The results of a run that got the signal in the middle; another one, where it came too late.
fn signalled(fixture: &Fixture, signal: Signal, memory: &str) -> (PathBuf, Output) {
    let mut attempt = 0;
    loop {
        let out = fixture.out(&format!("{signal}-{memory}-{attempt}"));
        let mut child = scan(fixture, &out, memory).spawn().unwrap();
        wait_for_a_part(&mut child, &out);
        signal::kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() || attempt == 5 {
            return (out, output);
        }
        attempt += 1;
    }
}

#[test]
fn sigint_and_sigterm() {
    let fixture = fixture();
    let (expected, _) = undisturbed(&fixture);
    for (signal, memory) in [
        (Signal::SIGINT, "resident"),
        (Signal::SIGINT, "streamed"),
        (Signal::SIGTERM, "resident"),
        (Signal::SIGTERM, "streamed"),
    ] {
        let (out, output) = signalled(&fixture, signal, memory);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(75), "{message}");
        let remedy = format!("{}: continue with --resume", out.display());
        assert!(message.contains(&remedy), "{message}");
        assert_eq!(names(&out), ["parts"]);
        let parts = names(&out.join("parts"));
        println!(
            "{signal}, {memory}: stopped with {} files in parts/",
            parts.len()
        );
        assert!(
            parts.iter().all(|name| !name.ends_with(".tmp")),
            "{parts:?}"
        );

        let resumed = scan(&fixture, &out, memory).output().unwrap();
        assert!(resumed.status.success(), "{resumed:?}");
        let message = String::from_utf8(resumed.stderr).unwrap();
        assert!(message.contains("is done already"), "{message}");
        assert_finished(&out);
        assert!(tables(&out) == expected, "{signal}, {memory}");
    }
}
