//! What several tests share.

pub mod axlearn;
pub mod browser;
pub mod bucket;

use std::path::PathBuf;

/// The directory of reference results, if there is one: `$ATTNSCOPE_ORACLE`, or `../shared/oracle`.
pub fn oracle() -> Option<PathBuf> {
    let dir = std::env::var_os("ATTNSCOPE_ORACLE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle"),
        PathBuf::from,
    );
    dir.is_dir().then_some(dir)
}

/// `tests/golden/<name>`.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}
