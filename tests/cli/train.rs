//! `train`, through the command line.

use attnscope::{
    layers::attention::AttentionKind,
    train::{
        Settings,
        metrics::Heads,
        run::{Epoch, Trained, Watcher, run},
        tasks::{Classification, Induction, Task},
    },
};
use candle_core::Device;
use serde_json::{Value, json};

use super::{Finished, World};

struct Silent;

impl Watcher for Silent {
    fn stepped(&self, _: usize, _: usize) {}

    fn epoch(&self, _: usize, _: &Epoch) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

const SMALL: [&str; 9] = [
    "--num-layers=1",
    "--num-heads=2",
    "--embed-dim=8",
    "--num-train=90",
    "--num-eval=30",
    "--num-epochs=2",
    "--batch-size=20",
    "--lr=0.01",
    "--seed=5",
];

/// What [`SMALL`] asks for, from the library.
fn small(task: Task, kind: &str, change: impl FnOnce(&mut Settings)) -> Trained {
    let mut settings = Settings::of_paper(task, AttentionKind::named(kind).unwrap());
    settings.config.num_hidden_layers = 1;
    settings.config.num_attention_heads = 2;
    settings.config.hidden_size = 8;
    settings.config.intermediate_size = 32;
    settings.num_train = 90;
    settings.num_eval = 30;
    settings.num_epochs = 2;
    settings.batch_size = 20;
    settings.learning_rate = 0.01;
    settings.seed = 5;
    change(&mut settings);
    run(&settings, &Device::Cpu, &Silent).unwrap()
}

fn close(found: &Value, expected: f64) -> bool {
    (found.as_f64().unwrap() - expected).abs() < 1e-9
}

#[test]
fn induction_is_that_of_the_library_and_can_be_scanned() {
    let world = World::new();
    let flags = [
        &["train", "induction", "--json", "--out", "model"],
        &SMALL[..],
    ]
    .concat();
    let found = world.run(&flags).succeeds().json();
    let trained = small(Task::Induction(Induction::default()), "softmax", |_| {});
    let evaluation = trained.evaluation.unwrap();
    let Heads::Induction(heads) = &evaluation.heads else {
        panic!("{evaluation:?}")
    };
    assert_eq!(found["task"], "induction");
    assert_eq!(found["attention_type"], "softmax");
    assert_eq!(
        (&found["seed"], &found["state"]),
        (&json!(5), &json!("finished"))
    );
    assert!(close(&found["accuracy"], evaluation.score.accuracy));
    assert_eq!(found["has_learned"], false);
    assert_eq!(found["flip_rate"], Value::Null);
    assert_eq!(found["epochs"].as_array().unwrap().len(), 2);
    let found = found["heads"].as_array().unwrap();
    assert_eq!(found.len(), 2);
    for (found, head) in found.iter().zip(heads) {
        assert_eq!(
            (&found["layer"], &found["head"]),
            (&json!(head.layer), &json!(head.head))
        );
        assert!(close(&found["sink_score"], head.sink_score));
        assert!(close(
            &found["sink_score_of_means"],
            head.sink_score_of_means
        ));
    }
    let (model, texts) = ("model", "model/texts.jsonl");
    let scan = [
        "scan",
        "--model",
        model,
        "--dataset",
        texts,
        "--n-samples=all",
        "--json",
    ];
    let scanned = world.run(&scan).succeeds().json();
    assert_eq!(
        (&scanned["samples"], &scanned["tokens"]),
        (&json!(30), &json!(360))
    );
    // What is there is not written again, and no step is made for it.
    world
        .run(&flags)
        .fails(2, &["model/config.json", "never overwritten"]);
}

#[test]
fn classification_takes_its_flags_from_the_environment_too() {
    let world = World::new();
    let flags = [
        &["train", "classification", "--json"],
        &SMALL[..],
        &[
            "--vocab-size=31",
            "--seq-length=5",
            "--num-labels=3",
            "--attention-type=mlp_norm",
        ],
        &[
            "--use-mlp=false",
            "--use-layernorm=false",
            "--positional-type=add",
        ],
    ]
    .concat();
    let found = world.run(&flags).succeeds().json();
    let mut command = world.attnscope();
    command
        .args(["train", "classification"])
        .env("ATTNSCOPE_JSON", "1");
    for flag in &flags[3..] {
        let (name, value) = flag[2..].split_once('=').unwrap();
        let name = name.to_uppercase().replace('-', "_");
        command.env(format!("ATTNSCOPE_{name}"), value);
    }
    let twins = super::Finished::of(&mut command).succeeds().json();
    assert_eq!(twins, found);
    let task = Task::Classification(Classification {
        vocab_size: 31,
        seq_length: 5,
        num_labels: 3,
    });
    let trained = small(task, "mlp_norm", |settings| {
        use attnscope::models::small_transformer::PositionEmbedding;
        settings.config.intermediate_size = 0;
        settings.config.attention_intermediate_size = 16;
        settings.config.use_layer_norm = false;
        settings.config.position_embedding_type = PositionEmbedding::Add;
        settings.config.max_position_embeddings = 5;
    });
    let evaluation = trained.evaluation.unwrap();
    let Heads::Classification(heads) = &evaluation.heads else {
        panic!("{evaluation:?}")
    };
    assert!(close(&found["accuracy"], evaluation.score.accuracy));
    assert!(close(
        &found["flip_rate"],
        evaluation.max_flip_rate().unwrap()
    ));
    for (found, head) in found["heads"].as_array().unwrap().iter().zip(heads) {
        assert!(close(&found["sparsity_score"], head.sparsity_score));
        assert!(close(&found["flip_rate"], head.flip_rate));
    }
}

#[test]
fn a_run_that_diverges_says_so() {
    let world = World::new();
    let flags = [&["train", "classification"], &SMALL[..7], &["--lr=1e30"]].concat();
    let finished = world.run(&flags).ends(1);
    for (text, says) in [
        (&finished.stdout, "diverged after step"),
        (&finished.stderr, "no longer finite; nothing was written"),
        (&finished.stderr, "take a smaller --lr"),
    ] {
        assert!(text.contains(says), "{finished}");
    }
    let finished = world.run(&[&flags[..], &["--json"]].concat()).ends(1);
    assert_eq!(finished.json()["state"], "diverged");
}

#[test]
fn tables_show_the_heads() {
    let world = World::new();
    let flags = [&["train", "classification"], &SMALL[..]].concat();
    let finished = world.run(&flags).succeeds();
    assert!(
        finished
            .stdout
            .starts_with("classification, softmax, seed 5: accuracy ")
    );
    assert_eq!(finished.stdout.lines().count(), 5, "{finished}");
    let flags = [&["train", "induction"], &SMALL[..]].concat();
    let finished = world.run(&flags).succeeds();
    assert!(
        finished
            .stdout
            .contains("below 0.95: the task was not learned"),
        "{finished}"
    );
}

#[test]
fn impossible_flags_are_refused() {
    let world = World::new();
    for (flag, says) in [
        (
            "--attention-type=sparsemax",
            "take one of softmax, uniform,",
        ),
        (
            "--num-heads=3",
            "num_heads: 3 heads cannot share the embed_dim of 128",
        ),
        ("--num-heads=0", "num_heads: 0 is not between 1"),
        ("--num-layers=0", "num_layers: 0 is not between 1"),
        (
            "--embed-dim=7",
            "num_heads: 4 heads cannot share the embed_dim of 7",
        ),
        (
            "--embed-dim=1048576",
            "embed_dim: intermediate_size, which follows from it: 4194304 is not",
        ),
        ("--seq-length=99", "seq_length: 99 is not between"),
        ("--batch-size=0", "batch_size: 0 is not between"),
        ("--lr=-1", "lr: -1 is not a number above 0"),
    ] {
        let finished = world.run(&["train", "induction", flag]);
        assert_eq!(finished.code, Some(2), "{flag}: {finished}");
        assert!(finished.stderr.contains(says), "{flag}: {finished}");
        assert_eq!(finished.stdout, "");
    }
}

/// Nothing is trained for a disk that has no room; and a model that was written whole stays when nothing else fits there.
/// In both cases the run can be resumed. (A limit on the size of files needs no privilege to be tested.)
#[cfg(unix)]
#[test]
fn what_the_disk_refuses_takes_no_model_with_it() {
    let world = World::new();
    let whole = [&["train", "induction", "--out=d"], &SMALL[..]].concat();
    let limited = |blocks: usize, more: &[&str]| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_attnscope")]);
        command.args(&whole).args(more);
        world.clean(&mut command);
        Finished::of(&mut command)
    };
    // In blocks of 512 bytes: too few for the run, and enough for it but not for a figure.
    limited(16, &[]).fails(1, &["unfinished.safetensors", "File too large"]);
    assert_eq!(super::names(&world.path("d")), [".attnscope-train.lock"]);

    for more in [&[][..], &["--resume"]] {
        let finished = limited(64, more).ends(1);
        for said in [
            "the model is in d, whole",
            "File too large",
            "train with --resume",
        ] {
            assert!(finished.stderr.contains(said), "{finished}");
        }
        // What was trained is told all the same.
        assert!(finished.stdout.contains("layer  head  sink score"));
        let files = super::names(&world.path("d"));
        assert!(files.contains(&"model.safetensors".to_owned()));
        assert!(files.contains(&"unfinished.safetensors".to_owned()));
        assert!(!files.contains(&"run.json".to_owned()));
    }
    world.run(&[&whole[..], &["--resume"]].concat()).succeeds();
    let files = super::names(&world.path("d"));
    assert!(files.contains(&"run.json".to_owned()));
    assert!(!files.iter().any(|name| name.starts_with('.')), "{files:?}");
}

/// The tables of both have the same names.
#[test]
fn a_sweep_is_not_trained_into() {
    let world = World::new();
    let flags = [&["train", "induction", "--out=d"], &SMALL[..]].concat();
    std::fs::create_dir(world.path("d")).unwrap();
    for name in ["sweep.json", "runs.jsonl", "runs-00001-of-00003.jsonl"] {
        std::fs::write(world.path("d").join(name), "").unwrap();
        world
            .run(&flags)
            .fails(2, &[name, "a sweep is never overwritten"]);
        std::fs::remove_file(world.path("d").join(name)).unwrap();
    }
    assert_eq!(super::names(&world.path("d")), [""; 0]);
}

#[test]
fn weights_that_may_be_negative_are_said() {
    let world = World::new();
    for (kind, is_signed) in [("mlp_norm", true), ("linear_unnorm", false)] {
        let kind = format!("--attention-type={kind}");
        let flags = [&["train", "classification", &kind], &SMALL[..]].concat();
        let finished = world.run(&flags).succeeds();
        assert_eq!(finished.stdout.contains("may be negative"), is_signed);
    }
}

/// candle's own pool would fight with rayon's for the cores: of two threads, none would be left.
#[cfg(target_os = "linux")]
#[test]
fn no_threads_beside_rayons() {
    let world = World::new();
    // Gradients of 256 × 256 are what candle gives to its pool.
    let flags = [
        "--embed-dim=256",
        "--num-train=256",
        "--num-eval=20",
        "--num-epochs=1",
    ];
    let names = |candle: Option<&str>| {
        let mut command = world.attnscope();
        command.args(["train", "induction"]).args(flags);
        command
            .env("RAYON_NUM_THREADS", "3")
            .env_remove("CANDLE_NUM_THREADS")
            .envs(candle.map(|count| ("CANDLE_NUM_THREADS", count)))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let tasks = std::path::PathBuf::from(format!("/proc/{}/task", child.id()));
        let (mut names, mut most) = (std::collections::BTreeSet::new(), 0);
        while child.try_wait().unwrap().is_none() {
            let threads = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
            let name = |thread: std::fs::DirEntry| {
                std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default()
            };
            let now: Vec<String> = threads.map(name).collect();
            most = most.max(now.len());
            names.extend(now);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.wait().unwrap().success());
        assert!(most > 3, "{most} threads at most: {names:?}");
        names
    };
    let of_candle = |name: &String| name.starts_with("candle");
    let found = names(None);
    assert!(!found.iter().any(of_candle), "{found:?}");
    let asked_for = names(Some("3"));
    assert!(asked_for.iter().any(of_candle), "{asked_for:?}");
}
