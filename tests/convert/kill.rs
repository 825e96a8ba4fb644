//! The program itself, killed at any moment.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use attnscope::random::PythonRandom;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::{Mesh, Sizes, Source, assert_nothing_looks_finished, contents, tokenizer};
use crate::support::bucket::{BucketServer, Fault};

/// Some megabytes, in many chunks.
fn source() -> Source {
    let sizes = Sizes {
        num_hidden_layers: 8,
        hidden_size: 256,
        intermediate_size: 512,
        num_attention_heads: 4,
        vocab_size: 64,
    };
    let mesh = Mesh {
        fsdp: 16,
        model: 2,
        data: 1,
    };
    Source::of(&sizes, mesh)
}

fn convert(source: &Source, server: &BucketServer, out: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command
        .args([
            "-q",
            "convert",
            "axlearn",
            "gs://bucket/run/checkpoints/step_00250000",
        ])
        .args([
            "--attention-function",
            "softmax",
            "--bucket-endpoint",
            &server.url(),
        ])
        .arg("--tokenizer")
        .arg(tokenizer())
        .arg("--out")
        .arg(source.path(out))
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn sigkill_loses_little() {
    let source = source();
    let server = BucketServer::start(&source.path(""));
    server.set(|manner| manner.delay = Duration::from_millis(2));
    let start = Instant::now();
    assert!(convert(&source, &server, "whole").wait().unwrap().success());
    let undisturbed = start.elapsed();
    let expected = contents(&source.path("whole"));
    let stored = server.sent();
    server.clear_log();

    let mut random = PythonRandom::new(5);
    let mut kills = 0;
    loop {
        let mut child = convert(&source, &server, "out");
        // Longer and longer: each process needs its time to begin.
        let patience = undisturbed.mul_f64(0.02 * f64::from(kills) + 0.2 * random.random());
        let start = Instant::now();
        let mut finished = None;
        while start.elapsed() < patience && finished.is_none() {
            finished = child.try_wait().unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        if let Some(status) = finished {
            assert!(status.success());
            break;
        }
        signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
        let status = child.wait().unwrap();
        // It may have ended in time after all.
        if status.success() {
            break;
        }
        kills += 1;
        if !source.path("out/config.json").exists()
            && !source.path("out/conversion.json").exists()
            && !source.path("out/model.safetensors").exists()
        {
            assert_nothing_looks_finished(&source.path("out"));
        }
        assert!(kills < 60, "it never gets to its end");
    }
    assert!(contents(&source.path("out")) == expected);
    let twice = server.sent().saturating_sub(stored);
    println!("{kills} kills: {twice} bytes fetched twice, of {stored}");
    assert!(kills >= 3, "{kills}");
}

#[test]
fn sigint_ends_it_in_good_order() {
    let source = source();
    let server = BucketServer::start(&source.path(""));
    server.set(|manner| manner.delay = Duration::from_millis(5));
    let child = convert(&source, &server, "out");
    server.wait_for(|log| log.len() > 60);
    signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(
        stderr.contains("continue with the same command"),
        "{stderr}"
    );
    assert_nothing_looks_finished(&source.path("out"));
    assert!(convert(&source, &server, "out").wait().unwrap().success());
}

/// A server that does not send the rest of a chunk keeps nobody who wants to stop.
#[test]
fn sigint_while_the_network_is_silent() {
    let source = source();
    let server = BucketServer::start(&source.path(""));
    let chunk = "transformer/repeat/layer/feed_forward/linear1_0/weight/0.0.0";
    let path = format!("bucket/run/checkpoints/step_00250000/gda/model/decoder/{chunk}");
    server.fault(&path, 1, Fault::HoldAfter(1000));
    let start = Instant::now();
    let child = convert(&source, &server, "out");
    server.wait_for(|log| log.iter().any(|request| request.path == path));
    thread::sleep(Duration::from_millis(200));
    signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    server.release();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(
        stderr.contains("continue with the same command"),
        "{stderr}"
    );
    // The connection would be given up after 20 s.
    assert!(start.elapsed() < Duration::from_secs(15));
    assert!(convert(&source, &server, "out").wait().unwrap().success());
}
