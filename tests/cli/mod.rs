//! The program as a person meets it: the binary in a process of its own, with its exit code, what it prints
//! and what it leaves on the disk.
//!
//! A child sees a clean environment: no variable of the Hub or of attnscope, an empty cache, and an endpoint
//! where nobody listens, so that no test can reach a network.

mod arguments;
mod checkpoint;
mod comparable;
mod compare;
mod config;
mod demo;
mod disk;
mod figures;
mod flow;
mod hub;
mod listing;
mod measures;
mod memory;
mod merge;
mod network;
mod out;
mod results;
mod streams;
mod sweep;
mod sweep_disk;
mod texts;
mod tokenizer;
mod train;
mod train_files;
#[cfg(unix)]
mod train_interrupted;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::gala;

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

/// Six short texts, one of them with a line break and one without a token.
const TEXTS: [&str; 6] = [
    "The first text is about the sea.",
    "Second: a line,\nand another one.",
    "Third text, which is somewhat longer than the two before it.",
    "",
    "Five.",
    "The sixth and last.",
];
/// Those of them that have tokens.
const SAMPLES: usize = 5;

/// A directory with a checkpoint and texts that can be scanned, and room for results.
pub struct World {
    dir: TempDir,
    /// Softmax, then sigmoid: 4 layers of 6 heads.
    files: gala::Files,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = gala::write_to(&dir.path().join("gala"));
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let world = World { dir, files };
        let lines = TEXTS.map(|text| format!("{}\n", serde_json::json!({ "text": text })));
        fs::write(world.texts(), lines.concat()).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The softmax checkpoint.
    pub fn model(&self) -> &Path {
        &self.files.models[0]
    }

    /// [`TEXTS`] as JSON lines.
    pub fn texts(&self) -> PathBuf {
        self.path("texts.jsonl")
    }

    /// Where [`World::scan`] writes to.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// The Hub's cache.
    pub fn cache(&self) -> PathBuf {
        self.path("hf/hub")
    }

    /// The program in its clean environment, with no argument yet.
    pub fn attnscope(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        self.clean(&mut command);
        command
    }

    /// Gives a process that is, or will start, the program its environment.
    pub fn clean(&self, command: &mut Command) {
        let meant_for_us = |name: &str| {
            let prefixes = ["ATTNSCOPE_", "HF_", "HUGGING", "RUST_", "TRANSFORMERS_"];
            let name = name.to_uppercase();
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with("_PROXY")
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(meant_for_us) {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.dir.path())
            .env("HF_HOME", self.path("hf"))
            .env("HF_ENDPOINT", NOBODY)
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.attnscope().args(arguments))
    }

    /// `attnscope scan` of the softmax checkpoint on all of [`TEXTS`], except where `arguments` say otherwise.
    pub fn scan(&self, arguments: &[&str]) -> Finished {
        Finished::of(&mut self.scan_command(arguments))
    }

    pub fn scan_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.attnscope();
        command.arg("scan").args(arguments);
        let (texts, out) = (self.texts(), self.out());
        for (flag, value) in [
            ("--model", self.model()),
            ("--dataset", &texts),
            ("--out", &out),
            ("--n-samples", Path::new("all")),
            ("--max-seq-len", Path::new("24")),
            ("--device", Path::new("cpu")),
        ] {
            if !arguments.contains(&flag) {
                command.arg(flag).arg(value);
            }
        }
        command
    }

    /// The `run.json` of a scan.
    pub fn run_json(&self, out: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path(out).join("run.json")).unwrap()).unwrap()
    }

    /// A scan that must be refused before it writes anything.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32, says: &[&str]) -> Finished {
        let finished = self.scan(arguments).fails(code, says);
        assert!(!self.out().exists(), "{:?}", names(&self.out()));
        assert_eq!(names(&self.path("tmp")), [""; 0]);
        finished
    }
}

/// What a process left behind.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    #[track_caller]
    pub fn from(output: Output) -> Self {
        let finished = Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!finished.stderr.contains("panicked"), "{finished}");
        finished
    }

    /// Exit code 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends(0)
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// This exit code, nothing on stdout, and one error on stderr that says all of this.
    #[track_caller]
    pub fn fails(self, code: i32, says: &[&str]) -> Self {
        let finished = self.ends(code);
        assert_eq!(finished.stdout, "", "{finished}");
        let is_error = |line: &&str| line.starts_with("error: ");
        let errors: Vec<&str> = finished.stderr.lines().filter(is_error).collect();
        assert_eq!(errors.len(), 1, "{finished}");
        let causes = errors[0].matches("os error").count();
        assert!(causes <= 1, "the cause is said twice:\n{finished}");
        for part in says {
            assert!(
                finished.stderr.contains(part),
                "`{part}` is not said:\n{finished}"
            );
        }
        finished
    }

    /// What stdout holds, if it is one JSON value on one line.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finished {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}"
        )
    }
}

/// Names of the entries of a directory, sorted; none if there is no directory.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What a finished scan leaves.
const RESULTS: [&str; 3] = ["heads.parquet", "run.json", "samples.parquet"];

/// The bytes of a scan's two tables.
pub fn tables(out: &Path) -> [Vec<u8>; 2] {
    ["samples.parquet", "heads.parquet"].map(|name| fs::read(out.join(name)).unwrap())
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
