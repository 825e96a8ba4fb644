//! Files are complete or not there.

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use attnscope::Error;
use attnscope::store::{AtomicFile, Parts, remove_leftovers, write_atomically, write_json};
use tempfile::tempdir;

use super::*;

#[test]
fn a_file_appears_only_when_committed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("numbers.json");
    write_json(&path, &json!({"a": 1})).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": 1\n}\n");

    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"half of the new").unwrap();
    assert_eq!(names(dir.path()).len(), 2, "old file and temporary file");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": 1\n}\n");
    drop(file);
    assert_eq!(names(dir.path()), ["numbers.json"]);

    write_atomically(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn what_a_killed_process_leaves_is_hidden_and_cleaned_up() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join(".attnscope-notes"), "mine").unwrap();
    let mut file = AtomicFile::create(dir.path().join("samples.parquet")).unwrap();
    file.write_all(b"half").unwrap();
    // The process dies between writing and renaming: nothing is dropped.
    std::mem::forget(file);
    let left = names(dir.path());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|name| name.starts_with(".attnscope-")));

    // It is no run, so a new one may begin, which cleans up.
    drop(Parts::create(dir.path(), &fingerprint()).unwrap());
    assert_eq!(names(dir.path()), [".attnscope-notes", "parts"]);
    assert_eq!(remove_leftovers(dir.path()).unwrap(), 0);
}

#[test]
fn a_failed_rename_leaves_nothing_and_names_the_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("run.json");
    fs::create_dir(&path).unwrap();
    let error = assert_says(write_atomically(&path, b"{}"), &["run.json"]);
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(names(dir.path()), ["run.json"]);

    let nowhere = dir.path().join("nowhere").join("run.json");
    assert_says(
        a_manifest().write(&dir.path().join("nowhere")),
        &["nowhere"],
    );
    assert!(!nowhere.exists());
}

#[cfg(unix)]
#[test]
fn results_are_as_readable_as_the_umask_allows() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().unwrap();
    let mode = |name: &str| {
        let metadata = fs::metadata(dir.path().join(name)).unwrap();
        metadata.permissions().mode()
    };
    fs::write(dir.path().join("plain"), "").unwrap();
    write_atomically(&dir.path().join("atomic"), b"").unwrap();
    assert_eq!(mode("atomic"), mode("plain"));
}

/// The directory that a child process works in.
const CHILD_DIR: &str = "ATTNSCOPE_TEST_STORE_DIR";

/// `None` in a process that is no child.
fn child_dir() -> Option<PathBuf> {
    env::var_os(CHILD_DIR).map(PathBuf::from)
}

/// This test binary again, running nothing but one of the `child_…` below, after the shell has run `prepare`.
#[cfg(unix)]
fn child(prepare: &str, test: &str, dir: &std::path::Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{prepare} exec \"$0\" --exact {test} --nocapture"))
        .arg(env::current_exe().unwrap())
        .env(CHILD_DIR, dir);
    command
}

/// A limit on the size of files stands for the full disk: the write fails in the middle of a file.
#[cfg(unix)]
#[test]
fn a_write_that_fails_halfway_leaves_nothing() {
    let dir = tempdir().unwrap();
    let output = child(
        "trap '' XFSZ; ulimit -f 40;",
        "store::atomicity::child_writes_too_much",
        dir.path(),
    )
    .output()
    .unwrap();
    let log = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("1 passed"), "{log}");

    assert_eq!(names(dir.path()), ["parts"]);
    assert_eq!(
        names(&dir.path().join("parts")),
        [
            ".attnscope-lock",
            "batch-00000-layers-000-000.parquet",
            "plan.json"
        ],
        "the small part is there, the large one is not, and no temporary file"
    );
    let parts = resume(dir.path());
    assert!(parts.is_done(0, 0) && !parts.is_done(1, 0));
}

/// Not a test by itself: it does nothing unless [`a_write_that_fails_halfway_leaves_nothing`] started it.
#[test]
fn child_writes_too_much() {
    let Some(dir) = child_dir() else { return };
    let mut parts = Parts::create(&dir, &fingerprint()).unwrap();
    parts.write(0, 0..1, rows(&[1, 2], 0..1)).unwrap();
    let many: Vec<i64> = (10..20_000).collect();
    let error = assert_says(
        parts.write(1, 0..1, rows(&many, 0..1)),
        &["batch-00001-layers-000-000.parquet"],
    );
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

/// kill -9 in the middle of the work, at a different moment each time; the run that follows ends with the
/// files of an undisturbed one.
#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_files() {
    let undisturbed = tempdir().unwrap();
    run(undisturbed.path(), &some_samples(60, 9), None);
    let killed = tempdir().unwrap();
    let parts_dir = killed.path().join("parts");
    let complete = || {
        let names = fs::read_dir(&parts_dir).into_iter().flatten().flatten();
        names
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("batch-"))
            .count()
    };
    for enough in [2, 5, 9] {
        // More than there was, so that this child has surely resumed: its predecessor may have come further than asked
        // before it was killed.
        let enough = enough.max(complete() + 1);
        let mut process = child("", "store::atomicity::child_scans", killed.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while complete() < enough && process.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // Harmless if it was quick enough to finish the parts.
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(complete() + 1 >= enough);
    }
    let mut parts = resume(killed.path());
    assert_eq!(parts.resumed(), 3);
    scan(&mut parts);
    let provenance = a_manifest().provenance();
    let samples = some_samples(60, 9);
    parts.finish(N_LAYERS, &samples, None, &provenance).unwrap();
    for name in ["samples.parquet", "heads.parquet"] {
        let read = |dir: &std::path::Path| fs::read(dir.join(name)).unwrap();
        assert!(read(undisturbed.path()) == read(killed.path()), "{name}");
    }
}

/// Does what is not done yet, in batches of five, layer by layer.
fn scan(parts: &mut Parts) {
    for layer in 0..N_LAYERS {
        for (batch, chunk) in some_samples(60, 9).chunks(5).enumerate() {
            if !parts.is_done(batch, layer) {
                let rows = rows(chunk, layer..layer + 1);
                parts.write(batch, layer..layer + 1, rows).unwrap();
            }
        }
    }
}

/// Not a test by itself: it does nothing unless [`a_killed_run_resumes_to_the_same_files`] started it.
#[test]
fn child_scans() {
    let Some(dir) = child_dir() else { return };
    scan(&mut resume(&dir));
}
