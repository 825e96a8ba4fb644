//! Conversions that were stopped, and directories that hold something already.

use std::{fs, path::PathBuf};

use attnscope::{
    Error,
    convert::{self, OutputType, Plan, Request, Stage, Watcher},
};

use super::{Counter, Source, assert_nothing_looks_finished, contents, run};

#[test]
fn what_was_stopped_goes_on_where_it_was() {
    let source = Source::chunked();
    let whole = run(&source.request("whole")).unwrap();
    assert!(!whole.was_finished && whole.was_verified);
    let expected = contents(&source.path("whole"));
    let total = whole.plan.written_bytes;
    let (mut stopped, mut taken_up) = (0, 0);
    for tenth in 1..10 {
        let out = format!("out-{tenth}");
        let request = source.request(&out);
        let watcher = Counter::new(total * tenth / 10);
        match convert::run(&request, &watcher) {
            Err(error @ Error::Interrupted { .. }) => {
                assert_eq!(error.exit_code(), 75);
                assert!(error.to_string().contains("the same command"), "{error}");
                assert_nothing_looks_finished(&request.out);
                stopped += 1;
            }
            // The last array may be through before anybody asks.
            other => drop(other.unwrap()),
        }
        let watcher = Counter::new(u64::MAX);
        let outcome = convert::run(&request, &watcher).unwrap();
        let before = watcher.done_before.into_inner();
        taken_up += u64::from(before > 0 && !outcome.was_finished);
        assert!(contents(&request.out) == expected, "{out}");
    }
    assert!(stopped >= 5 && taken_up >= 5, "{stopped} {taken_up}");
}

#[test]
fn a_finished_conversion_is_left_alone() {
    let source = Source::chunked();
    let request = source.request("out");
    run(&request).unwrap();
    let before = fs::metadata(request.out.join("model.safetensors")).unwrap();
    let again = run(&request).unwrap();
    assert!(again.was_finished && again.was_verified);
    let after = fs::metadata(request.out.join("model.safetensors")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());

    // Verifying it again finds what has changed since.
    let path = request.out.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = run(&request).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("1 of 41 tensors"), "{error}");

    fs::remove_file(path).unwrap();
    let error = run(&request).unwrap_err();
    assert!(
        error.to_string().contains("model.safetensors is missing"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn another_conversion_is_never_touched() {
    let source = Source::chunked();
    let request = source.request("out");
    let stopped = Counter::new(1000);
    assert!(convert::run(&request, &stopped).is_err());
    let others = |request: &Request| {
        [
            (
                "torch_dtype",
                Request {
                    dtype: OutputType::Bf16,
                    ..request.clone()
                },
            ),
            (
                "attention_function",
                Request {
                    attention_function: "softmax".into(),
                    ..request.clone()
                },
            ),
            (
                "layers",
                Request {
                    layers: Some(1),
                    ..request.clone()
                },
            ),
        ]
    };
    for (field, other) in others(&request) {
        let error = run(&other).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 2, "{message}");
        assert!(
            message.contains("not finished") && message.contains(field),
            "{message}"
        );
    }
    run(&request).unwrap();
    for (field, other) in others(&request) {
        let error = run(&other).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 2, "{message}");
        assert!(
            message.contains("holds another conversion") && message.contains(field),
            "{message}"
        );
    }
}

#[test]
fn a_directory_with_other_files() {
    let source = Source::chunked();
    let request = source.request("out");
    fs::create_dir(&request.out).unwrap();
    // Not in the way.
    fs::write(request.out.join("README.md"), "mine").unwrap();
    run(&request).unwrap();
    assert_eq!(fs::read(request.out.join("README.md")).unwrap(), b"mine");

    let request = source.request("taken");
    fs::create_dir(&request.out).unwrap();
    fs::write(request.out.join("config.json"), "{}").unwrap();
    let error = run(&request).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("holds config.json"), "{error}");
    assert_eq!(fs::read(request.out.join("config.json")).unwrap(), b"{}");
    assert_eq!(crate::cli::names(&request.out), ["config.json"]);
}

#[test]
fn what_was_converted_and_is_lost_is_noticed() {
    let source = Source::chunked();
    let request = source.request("out");
    let stopped = Counter::new(100_000);
    assert!(convert::run(&request, &stopped).is_err());
    let work = request.out.join(".attnscope-convert");
    let progress = fs::read_to_string(work.join("progress.json")).unwrap();
    assert!(
        progress.contains("decoder/"),
        "nothing was finished: {progress}"
    );
    fs::remove_file(work.join("model.safetensors")).unwrap();
    let error = run(&request).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("to begin anew"), "{error}");
    fs::remove_dir_all(&work).unwrap();
    run(&request).unwrap();
}

/// Copies the working directory when everything is converted and nothing is in its place yet.
struct Copier {
    from: PathBuf,
    to: PathBuf,
}

impl Watcher for Copier {
    fn planned(&self, _: &Plan) {}

    fn begin(&self, stage: Stage, _total: u64, _done: u64) {
        if stage == Stage::Hashing {
            fs::create_dir(&self.to).unwrap();
            for name in crate::cli::names(&self.from) {
                fs::copy(self.from.join(&name), self.to.join(&name)).unwrap();
            }
        }
    }

    fn advance(&self, _bytes: u64, _received: u64) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// The last steps one by one, as a crash between any two of them leaves them.
#[test]
fn a_crash_while_the_result_is_put_in_place() {
    let source = Source::chunked();
    let whole = source.request("whole");
    let copier = Copier {
        from: whole.out.join(".attnscope-convert"),
        to: source.path("work"),
    };
    convert::run(&whole, &copier).unwrap();
    let expected = contents(&whole.out);
    let steps = [
        "model.safetensors",
        "tokenizer.json",
        "text_preprocessing.json",
        "conversion.json",
    ];
    for moved in 0..=steps.len() {
        let request = source.request(&format!("out-{moved}"));
        let work = request.out.join(".attnscope-convert");
        fs::create_dir_all(&work).unwrap();
        for name in crate::cli::names(&copier.to) {
            fs::copy(copier.to.join(&name), work.join(&name)).unwrap();
        }
        for name in &steps[..moved] {
            fs::copy(whole.out.join(name), request.out.join(name)).unwrap();
            let _ = fs::remove_file(work.join(name));
        }
        let outcome = run(&request).unwrap();
        assert!(!outcome.was_finished);
        assert!(contents(&request.out) == expected, "{moved} moved");
    }
    // Everything is in its place, and only the working directory is still there.
    let work = whole.out.join(".attnscope-convert");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("progress.json"), "{}").unwrap();
    assert!(run(&whole).unwrap().was_finished);
    assert!(contents(&whole.out) == expected);
}

#[test]
fn two_processes_at_once() {
    let source = Source::chunked();
    let request = source.request("out");
    let work = request.out.join(".attnscope-convert");
    fs::create_dir_all(&work).unwrap();
    let lock = fs::File::create(work.join(".attnscope-lock")).unwrap();
    lock.lock().unwrap();
    let error = run(&request).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("another process"), "{error}");
    drop(lock);
    run(&request).unwrap();
}

#[test]
fn an_array_that_changes_in_between_is_read_again() {
    let source = Source::chunked();
    let request = source.request("out");
    assert!(convert::run(&request, &Counter::new(100_000)).is_err());
    // The same checkpoint in other chunks: every stored size is another.
    let other = Source::new(super::Mesh {
        fsdp: 2,
        model: 1,
        data: 1,
    });
    fs::remove_dir_all(source.step()).unwrap();
    fs::rename(other.step(), source.step()).unwrap();
    let watcher = Counter::new(u64::MAX);
    convert::run(&request, &watcher).unwrap();
    // Arrays that no mesh splits are the same.
    assert!(watcher.done_before.into_inner() < 20_000);
    let whole = Request {
        out: source.path("whole"),
        ..request
    };
    run(&whole).unwrap();
    assert!(contents(&whole.out) == contents(&source.path("out")));

    // A finished conversion of something else is never taken for this one.
    let chunked = Source::chunked();
    fs::remove_dir_all(source.step()).unwrap();
    fs::rename(chunked.step(), source.step()).unwrap();
    let error = run(&whole).unwrap_err();
    assert!(error.to_string().contains("stored_sha256"), "{error}");
}

/// A checkpoint that was replaced by another one of the same sizes is not the one that was converted.
#[test]
fn a_source_that_was_replaced_is_noticed() {
    let source = Source::chunked();
    let request = source.request("out");
    run(&request).unwrap();
    let chunk = source.array_file("output_norm/scale/0");
    let mut bytes = fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&chunk, bytes).unwrap();
    let error = run(&request).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("stored_sha256"), "{error}");
}
