//! The corpus: rows, sampling, tokenisation, batches.

mod batches;
mod random;
mod row_errors;
mod rows;
mod sample;
mod sentencepiece;
mod tokenize;

use std::path::{Path, PathBuf};

/// A file of `tests/golden`.
fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

/// A file of the reference data shared between projects, `None` (and a message) where there is none.
fn oracle(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ATTNSCOPE_ORACLE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle"),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Writes `content` to `name` in a fresh directory, which lives as long as the first of the pair.
fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    (dir, path)
}
