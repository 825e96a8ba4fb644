//! A tiny gala pair with random weights, softmax and sigmoid, and texts for it: `tests/data`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The two directories in `tests/data`, softmax first.
pub const NAMES: [&str; 2] = ["gala-softmax", "gala-sigmoid"];

/// A copy of the pair, which a test may damage.
pub struct Files {
    /// In the order of [`NAMES`].
    pub models: [PathBuf; 2],
    /// `texts.jsonl`.
    pub corpus: PathBuf,
}

/// `tests/data/<name>`.
pub fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Copies the pair and its texts into `directory`, which is made.
pub fn write_to(directory: &Path) -> Files {
    let copy = |name: &str| {
        let path = directory.join(name);
        fs::copy(data(name), &path).unwrap();
        path
    };
    let models = NAMES.map(|name| {
        fs::create_dir_all(directory.join(name)).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            copy(&format!("{name}/{file}"));
        }
        directory.join(name)
    });
    Files {
        models,
        corpus: copy("texts.jsonl"),
    }
}

/// The texts.
pub fn texts() -> Vec<String> {
    let lines = fs::read_to_string(data("texts.jsonl")).unwrap();
    let rows = lines.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["text"].as_str().unwrap().to_owned()
    });
    rows.collect()
}
