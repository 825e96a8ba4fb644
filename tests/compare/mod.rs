//! Scans held against each other: numbers against SciPy's and NumPy's, and what is refused.

mod comparable;
mod numbers;

use std::path::PathBuf;

use attnscope::compare::Request;

/// A scan that `tests/golden/compare/make.py` made.
fn golden(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compare");
    dir.join(format!("{name}.parquet"))
}

/// A request to compare, quick and without force.
fn request(scans: Vec<PathBuf>) -> Request {
    Request {
        scans,
        force: false,
        seed: 42,
        permutations: 50,
        resamples: 20,
    }
}
