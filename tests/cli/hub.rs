//! The Hub end to end: the program against a server that speaks the Hub's routes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::texts::{parquet, strings};
use super::{Finished, NOBODY, RESULTS, TEXTS, World, checkpoint, names, tables, text};
use crate::hub::server::Site;

pub const MODEL: &str = "owner/tiny-gala";
const DATA: &str = "owner/texts";
const MODEL_COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const DATA_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";
const CONVERTED_COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";
const TRAIN: &str = "data/train-00000-of-00001.parquet";

/// A Hub with the softmax checkpoint and [`TEXTS`], and an empty cache.
pub struct HubWorld {
    pub world: World,
    pub site: Site,
}

impl HubWorld {
    pub fn new() -> Self {
        let hub = Self::empty();
        hub.upload(&hub.files_of(hub.world.model()), "main", MODEL_COMMIT);
        hub.site.commit(
            &format!("datasets/{DATA}"),
            "main",
            DATA_COMMIT,
            &[
                ("README.md", b"texts", false),
                (TRAIN, &parquet(vec![("text", strings(&TEXTS))]), true),
            ],
        );
        hub
    }

    pub fn empty() -> Self {
        HubWorld {
            world: World::new(),
            site: Site::start(),
        }
    }

    /// All files of a directory, and two that no scan needs.
    fn files_of(&self, dir: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = names(dir)
            .into_iter()
            .map(|name| {
                let content = std::fs::read(dir.join(&name)).unwrap();
                (name, content)
            })
            .collect();
        files.push(("README.md".into(), b"# tiny".to_vec()));
        files.push(("pytorch_model.bin".into(), vec![7; 1000]));
        files
    }

    fn upload(&self, files: &[(String, Vec<u8>)], branch: &str, commit: &str) {
        let files: Vec<(&str, &[u8], bool)> = files
            .iter()
            .map(|(name, content)| {
                let in_lfs = name.ends_with(".safetensors") || name.ends_with(".bin");
                (name.as_str(), content.as_slice(), in_lfs)
            })
            .collect();
        self.site.commit(MODEL, branch, commit, &files);
    }

    /// A scan of the model on the data, except where `arguments` say otherwise.
    pub fn scan(&self, arguments: &[&str]) -> Finished {
        self.scan_at(&self.site.endpoint(), arguments)
    }

    pub fn scan_at(&self, endpoint: &str, arguments: &[&str]) -> Finished {
        let mut whole = arguments.to_vec();
        for (flag, value) in [("--model", MODEL), ("--dataset", DATA)] {
            if !arguments.contains(&flag) {
                whole.extend([flag, value]);
            }
        }
        let mut command = self.world.scan_command(&whole);
        Finished::of(command.env("HF_ENDPOINT", endpoint))
    }

    /// A scan that is refused before it writes anything.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32, says: &[&str]) {
        self.scan(arguments).fails(code, says);
        assert!(!self.world.out().exists());
    }

    pub fn download(&self, arguments: &[&str]) -> Finished {
        let mut command = self.world.attnscope();
        command.arg("download").args(arguments);
        Finished::of(command.env("HF_ENDPOINT", self.site.endpoint()))
    }

    /// Bytes of files that the site has sent.
    fn sent(&self) -> usize {
        self.site.log().iter().map(|request| request.sent).sum()
    }

    fn snapshot(&self, repo: &str, commit: &str) -> PathBuf {
        self.world.cache().join(repo).join("snapshots").join(commit)
    }

    pub fn model_snapshot(&self) -> PathBuf {
        self.snapshot("models--owner--tiny-gala", MODEL_COMMIT)
    }
}

#[test]
fn a_scan_fetches_what_it_needs_and_a_second_one_needs_no_network() {
    let hub = HubWorld::new();
    let local = hub
        .world
        .scan(&["--json", "--out", "local"])
        .succeeds()
        .json();
    let first = hub.scan(&["--json"]).succeeds().json();
    assert_eq!(first["heads"], local["heads"]);
    assert_eq!(first["model"], MODEL);
    assert_eq!(first["dataset"], DATA);
    assert_eq!(names(&hub.world.out()), RESULTS);
    let expected = ["config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names(&hub.model_snapshot()), expected);

    let run = hub.world.run_json("out");
    assert_eq!(run["model"]["name"], MODEL);
    assert_eq!(run["model"]["repo"], MODEL);
    assert_eq!(run["model"]["revision"], MODEL_COMMIT);
    assert_eq!(run["model"]["path"], Value::Null);
    assert_eq!(run["dataset"]["repo"], DATA);
    assert_eq!(run["dataset"]["revision"], DATA_COMMIT);
    assert_eq!(run["dataset"]["split"], "train");
    assert_eq!(run["dataset"]["files"], json!([TRAIN]));
    assert_eq!(run["dataset"]["text_column"], "text");
    assert_eq!(run["dataset"]["rows"], 6);

    // Online again: the Hub is asked for the commits, and for no byte of a file.
    hub.site.clear_log();
    hub.scan(&["--out", "again"]).succeeds();
    assert_eq!(hub.sent(), 0);
    assert!(!hub.site.log().is_empty());

    let offline = hub
        .scan_at(NOBODY, &["--offline", "--out", "offline"])
        .succeeds();
    assert!(!offline.stderr.contains("WARN"), "{offline}");
    let mut command =
        hub.world
            .scan_command(&["--model", MODEL, "--dataset", DATA, "--out", "variable"]);
    Finished::of(command.env("HF_HUB_OFFLINE", "1")).succeeds();
    for out in ["again", "offline", "variable"] {
        let found = tables(&hub.world.path(out));
        assert_eq!(found, tables(&hub.world.out()), "{out}");
        assert_eq!(hub.world.run_json(out)["model"]["revision"], MODEL_COMMIT);
    }
}

#[test]
fn shards_and_their_index_are_fetched() {
    let hub = HubWorld::new();
    let local = hub
        .world
        .scan(&["--json", "--out", "local"])
        .succeeds()
        .json();
    let shards = checkpoint::write_shards(hub.world.model(), 3);
    hub.upload(&hub.files_of(hub.world.model()), "main", MODEL_COMMIT);
    let sharded = hub.scan(&["--json"]).succeeds().json();
    assert_eq!(sharded["heads"], local["heads"]);
    let mut expected = vec!["config.json".to_owned()];
    expected.extend(shards);
    expected.extend(["model.safetensors.index.json", "tokenizer.json"].map(str::to_owned));
    assert_eq!(names(&hub.model_snapshot()), expected);
}

#[test]
fn a_dataset_that_the_hub_has_converted() {
    let hub = HubWorld::new();
    let repo = format!("datasets/{DATA}");
    hub.site.commit(
        &repo,
        "main",
        DATA_COMMIT,
        &[("texts.csv", b"text\nx\n", false)],
    );
    let converted = parquet(vec![("text", strings(&TEXTS))]);
    hub.site.commit(
        &repo,
        "refs/convert/parquet",
        CONVERTED_COMMIT,
        &[
            ("default/train/0000.parquet", &converted, true),
            ("default/test/0000.parquet", b"another split", true),
        ],
    );
    hub.scan(&[]).succeeds();
    let run = hub.world.run_json("out");
    assert_eq!(run["dataset"]["revision"], CONVERTED_COMMIT);
    assert_eq!(
        run["dataset"]["files"],
        json!(["default/train/0000.parquet"])
    );
    hub.scan_at(NOBODY, &["--offline", "--out", "offline"])
        .succeeds();
    assert_eq!(tables(&hub.world.path("offline")), tables(&hub.world.out()));

    let says = [
        "owner/texts: has no split `validation`; splits: test, train",
        "--split",
    ];
    hub.scan(&["--split", "validation", "--out", "none"])
        .fails(3, &says);
}

#[test]
fn a_dataset_without_parquet() {
    let hub = HubWorld::new();
    let repo = format!("datasets/{DATA}");
    hub.site.commit(
        &repo,
        "main",
        DATA_COMMIT,
        &[("texts.csv", b"text\nx\n", false)],
    );
    let says = [
        "owner/texts: ",
        "has no parquet file of the split `train`",
        "download it and give a .parquet, .jsonl or .txt file",
    ];
    hub.refused(&[], 3, &says);
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let hub = HubWorld::new();
    let later = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    checkpoint::edit(hub.world.model(), |tensors| {
        tensors
            .get_mut("model.layers.0.self_attn.q_proj.weight")
            .unwrap()
            .bytes
            .fill(0);
    });
    hub.upload(&hub.files_of(hub.world.model()), "v2", later);
    hub.scan(&[]).succeeds();
    for (revision, out) in [("v2", "tag"), (later, "commit")] {
        hub.scan(&["--revision", revision, "--out", out]).succeeds();
        assert_eq!(hub.world.run_json(out)["model"]["revision"], later);
    }
    let [main, tag, commit] = ["out", "tag", "commit"].map(|out| tables(&hub.world.path(out)));
    assert_eq!(tag, commit);
    assert_ne!(main, tag);

    // Another commit is another run.
    let says = ["holds another run", MODEL_COMMIT, later];
    hub.scan(&["--revision", "v2", "--resume"]).fails(2, &says);
    let says = [
        "owner/tiny-gala (revision v3)",
        "there is no such revision",
        "branches and tags",
    ];
    hub.scan(&["--revision", "v3", "--out", "none"])
        .fails(3, &says);
}

#[test]
fn what_the_hub_does_not_have() {
    let hub = HubWorld::new();
    let says = [
        "model owner/none (revision main)",
        "no such repository",
        "check the spelling (owner/name)",
    ];
    hub.refused(&["--model", "owner/none"], 3, &says);
    let says = [
        "dataset owner/none (revision main)",
        "no such repository",
        "check the spelling (owner/name)",
    ];
    hub.refused(&["--dataset", "owner/none"], 3, &says);
    hub.site.close(MODEL, 401, "RepoNotFound");
    let says = [
        "owner/tiny-gala",
        "no such repository",
        "it is private: set HF_TOKEN",
    ];
    hub.refused(&[], 3, &says);
}

#[test]
fn a_repository_that_is_no_checkpoint() {
    let hub = HubWorld::new();
    let files = hub.files_of(hub.world.model());
    let without = |unwanted: &[&str]| -> Vec<(String, Vec<u8>)> {
        let files = files
            .iter()
            .filter(|(name, _)| !unwanted.contains(&name.as_str()));
        files.cloned().collect()
    };
    for (unwanted, says) in [
        (&["config.json"][..], "has no config.json"),
        (
            &["tokenizer.json"],
            "tokenizer.json: the tokenizer cannot be read",
        ),
        (
            &["model.safetensors"],
            "has neither model.safetensors nor model.safetensors.index.json",
        ),
        (
            &["config.json", "tokenizer.json", "model.safetensors"],
            "none of its files is of use here; it holds: README.md, pytorch_model.bin",
        ),
    ] {
        hub.upload(&without(unwanted), "main", MODEL_COMMIT);
        let hub = HubWorld {
            world: World::new(),
            site: hub.site.clone(),
        };
        hub.refused(&[], 3, &[says]);
    }
}

#[test]
fn download_fetches_models_and_datasets() {
    let hub = HubWorld::new();
    let model = hub.download(&[MODEL]).succeeds();
    assert_eq!(model.stdout, format!("{}\n", text(&hub.model_snapshot())));
    let data = hub.download(&[DATA]).succeeds();
    let snapshot = hub.snapshot("datasets--owner--texts", DATA_COMMIT);
    assert_eq!(data.stdout, format!("{}\n", text(&snapshot.join(TRAIN))));

    hub.site.clear_log();
    hub.download(&[MODEL]).succeeds();
    hub.download(&[DATA, "--split", "train"]).succeeds();
    assert_eq!(hub.sent(), 0);
    // What was downloaded serves a scan, by name or as a directory.
    hub.scan_at(NOBODY, &["--offline"]).succeeds();
    let directory = model.stdout.trim_end();
    let out = ["--model", directory, "--offline", "--out", "directory"];
    hub.scan_at(NOBODY, &out).succeeds();

    let says = [
        "model owner/none (revision main): there is no such repository",
        "dataset owner/none: there is no such repository",
        "check the spelling",
    ];
    hub.download(&["owner/none"]).fails(3, &says);
    let says = [
        "model owner/tiny-gala (revision v9)",
        "there is no such revision",
    ];
    hub.download(&[MODEL, "--revision", "v9"]).fails(3, &says);
    let says = ["--revision belongs to a model, and pile-10k is a dataset"];
    hub.download(&["pile-10k", "--revision", "v9"])
        .fails(2, &says);
}

#[test]
fn a_dataset_that_a_manifest_names() {
    let hub = HubWorld::new();
    let pile = attnscope::manifest::datasets().unwrap().remove(0);
    let commit = pile.revision.unwrap();
    let file = &pile.files.unwrap()[0];
    hub.site.commit(
        "datasets/NeelNanda/pile-10k",
        "main",
        &commit,
        &[(
            file.as_str(),
            &parquet(vec![("text", strings(&TEXTS))]),
            true,
        )],
    );
    let path = hub.download(&["pile-10k"]).succeeds();
    let snapshot = hub.snapshot("datasets--NeelNanda--pile-10k", &commit);
    assert_eq!(path.stdout, format!("{}\n", text(&snapshot.join(file))));
    let list = hub.world.run(&["datasets", "--json"]).succeeds().json();
    assert_eq!(list[0]["cached"], text(&snapshot));
    // It is the default.
    let mut command = hub.world.attnscope();
    command.args([
        "scan",
        "--offline",
        "--n-samples",
        "all",
        "--out",
        "out",
        "--model",
    ]);
    Finished::of(command.arg(hub.world.model())).succeeds();
    let run = hub.world.run_json("out");
    assert_eq!(run["dataset"]["name"], "pile-10k");
    assert_eq!(run["dataset"]["revision"], commit);
}
