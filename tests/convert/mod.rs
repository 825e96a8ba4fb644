//! From axlearn's checkpoints to checkpoint directories.

mod bucket;
mod cli;
mod damage;
mod formats;
mod kill;
mod oracle;
mod resume;
#[path = "../../examples/axlearn_checkpoint/writer.rs"]
pub mod writer;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use attnscope::{
    Result,
    convert::{self, Location, Outcome, OutputType, Plan, Request, Stage, Watcher},
    corpus::Preprocessing,
    hub::bucket::BucketSettings,
};
use tempfile::TempDir;
use writer::{Dtype, Mesh, Sizes};

use crate::support;

/// 64 pieces, as many as the small checkpoints of these tests have.
pub fn tokenizer() -> PathBuf {
    support::golden("axlearn").join("tokenizer.model")
}

/// A request for a whole conversion in float32.
pub fn request(checkpoint: &Path, function: &str, out: &Path) -> Request {
    Request {
        checkpoint: Location::Local(checkpoint.to_path_buf()),
        tokenizer: Location::Local(tokenizer()),
        attention_function: function.into(),
        preprocessing: Preprocessing::default(),
        expected: None,
        layers: None,
        dtype: OutputType::F32,
        out: out.to_path_buf(),
        verify: true,
        bucket: BucketSettings::default(),
    }
}

/// Converts the checkpoint of a case of reference results into `out`.
pub fn convert_case(case: &Path, out: &Path) {
    let described: serde_json::Value =
        serde_json::from_slice(&fs::read(case.join("config.json")).unwrap()).unwrap();
    let step = case.join("checkpoints/step_00250000");
    run(&request(&step, described["kind"].as_str().unwrap(), out)).unwrap();
}

/// Counts what it is told, and stops a conversion after so many bytes.
struct Counter {
    stop_after: u64,
    converted: AtomicU64,
    done_before: AtomicU64,
}

impl Counter {
    fn new(stop_after: u64) -> Self {
        Self {
            stop_after,
            converted: AtomicU64::new(0),
            done_before: AtomicU64::new(0),
        }
    }
}

impl Watcher for Counter {
    fn planned(&self, _: &Plan) {}

    fn begin(&self, stage: Stage, _total: u64, done: u64) {
        if stage == Stage::Converting {
            self.done_before.store(done, Ordering::Relaxed);
        }
    }

    fn advance(&self, bytes: u64, _received: u64) {
        self.converted.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.converted.load(Ordering::Relaxed) >= self.stop_after
    }
}

fn run(request: &Request) -> Result<Outcome> {
    convert::run(request, &Counter::new(u64::MAX))
}

const SIZES: Sizes = Sizes {
    num_hidden_layers: 3,
    hidden_size: 32,
    intermediate_size: 64,
    num_attention_heads: 4,
    vocab_size: 64,
};

/// A directory with a small random checkpoint, and room for results.
struct Source {
    dir: TempDir,
}

impl Source {
    fn new(mesh: Mesh) -> Self {
        Self::of(&SIZES, mesh)
    }

    fn of(sizes: &Sizes, mesh: Mesh) -> Self {
        let source = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let value = |array: usize, index: usize| writer::normal(array, index, 1.0);
        let arrays = writer::gala(sizes, mesh);
        writer::write(&source.step(), &arrays, Dtype::Float32, false, &value).unwrap();
        source
    }

    /// Chunks along two axes.
    fn chunked() -> Self {
        Self::new(Mesh {
            fsdp: 4,
            model: 2,
            data: 1,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The step directory.
    fn step(&self) -> PathBuf {
        self.path("bucket/run/checkpoints/step_00250000")
    }

    /// A file below `gda/model/decoder/`.
    fn array_file(&self, name: &str) -> PathBuf {
        self.step().join("gda/model/decoder").join(name)
    }

    fn request(&self, out: &str) -> Request {
        request(&self.step(), "sigmoid", &self.path(out))
    }
}

/// Every file of a finished conversion, the time in its record left out.
fn contents(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap());
    let mut files: BTreeMap<String, Vec<u8>> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    let mut record: serde_json::Value = serde_json::from_slice(&files["conversion.json"]).unwrap();
    record.as_object_mut().unwrap().remove("converted_at");
    files.insert("conversion.json".into(), record.to_string().into_bytes());
    files
}

/// Nothing in `out` can be taken for a checkpoint, or for a part of one.
#[track_caller]
fn assert_nothing_looks_finished(out: &Path) {
    let entries = fs::read_dir(out).into_iter().flatten();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with(".attnscope-"), "{name}");
    }
}
