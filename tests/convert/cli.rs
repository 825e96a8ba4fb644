//! `attnscope convert`, and what `download` and `scan` make of it.

use std::fs;

use serde_json::Value;

use super::{Source, tokenizer};
use crate::cli::{Finished, World, names, text};
use crate::support::bucket::BucketServer;

/// `attnscope convert axlearn` of the source, with these arguments besides.
fn convert(world: &World, source: &Source, arguments: &[&str]) -> Finished {
    let mut command = world.attnscope();
    command
        .args(["convert", "axlearn", text(&source.step())])
        .args(["--tokenizer", text(&tokenizer())])
        .args(arguments);
    Finished::of(&mut command)
}

/// What was replaced in the texts of the scan, by its record.
fn replaced(world: &World) -> String {
    let run = world.run_json("out");
    let preprocessing = run["preprocessing"].as_str().unwrap();
    let preprocessing: Value = serde_json::from_str(preprocessing).unwrap();
    preprocessing["replace"][0]["from"].as_str().unwrap().into()
}

#[test]
fn a_conversion_and_a_scan_of_it() {
    let (world, source) = (World::new(), Source::chunked());
    let out = world.path("model");
    let arguments = [
        "--attention-function",
        "sigmoid",
        "--out",
        text(&out),
        "--verify",
    ];
    let finished = convert(&world, &source, &arguments).succeeds();
    assert_eq!(finished.stdout, format!("{}\n", out.display()));
    assert!(
        finished
            .stderr
            .contains("read back and equal to the source"),
        "{finished}"
    );
    let again = convert(&world, &source, &arguments).succeeds();
    assert!(again.stderr.contains("nothing to do"), "{again}");
    assert_eq!(
        names(&out),
        [
            "config.json",
            "conversion.json",
            "model.safetensors",
            "text_preprocessing.json",
            "tokenizer.json"
        ]
    );

    let json = world
        .scan(&["--model", text(&out), "--json"])
        .succeeds()
        .json();
    assert_eq!(json["heads"].as_array().unwrap().len(), 3 * 4);
    assert_eq!(replaced(&world), "\n");
}

#[test]
fn the_directory_says_how_its_texts_are_prepared() {
    let (world, source) = (World::new(), Source::chunked());
    let out = world.path("model");
    let arguments = ["--attention-function", "sigmoid", "--out", text(&out)];
    convert(&world, &source, &arguments).succeeds();
    let file = out.join("text_preprocessing.json");
    fs::write(&file, r#"{"replace": [{"from": "sea", "to": "t"}]}"#).unwrap();
    world.scan(&["--model", text(&out)]).succeeds();
    assert_eq!(replaced(&world), "sea");
    fs::write(&file, r#"{"lowercase": true}"#).unwrap();
    fs::remove_dir_all(world.out()).unwrap();
    world.refused(
        &["--model", text(&out)],
        3,
        &["text_preprocessing.json", "lowercase"],
    );
}

#[test]
fn a_dry_run_prints_and_does_nothing() {
    let (world, source) = (World::new(), Source::chunked());
    let out = world.path("model");
    let arguments = [
        "--attention-function",
        "softmax",
        "--out",
        text(&out),
        "--dry-run",
    ];
    let finished = convert(&world, &source, &arguments).succeeds();
    for says in [
        "qkv_proj/weight",
        "3×3×32×4×8",
        "layers      3 of 3",
        "float32",
        "read ",
        "write ",
    ] {
        assert!(finished.stdout.contains(says), "{says}: {finished}");
    }
    assert!(!out.exists());
    let json = convert(
        &world,
        &source,
        &[&arguments[..], &["--json", "--dtype", "bf16"]].concat(),
    )
    .succeeds()
    .json();
    let bytes = |value: &Value| value.as_u64().unwrap();
    assert_eq!(json["torch_dtype"], "bfloat16");
    assert_eq!(json["arrays"].as_array().unwrap().len(), 13);
    let parameters = 64 * 32 + 32 + 3 * (4 * 32 * 32 + 3 * 32 * 64 + 4 * 32 + 2 * 8);
    assert_eq!(bytes(&json["parameters"]), parameters);
    let header = bytes(&json["written_bytes"]) - 2 * parameters;
    assert!(header > 0 && header < 10_000, "{header}");
    assert!(bytes(&json["read_bytes"]) > 3 * parameters);
    assert!(!out.exists());
}

#[test]
fn the_first_layers_alone() {
    let (world, source) = (World::new(), Source::chunked());
    let (whole, part) = (world.path("whole"), world.path("part"));
    let sigmoid = ["--attention-function", "sigmoid", "--out"];
    convert(&world, &source, &[&sigmoid[..], &[text(&whole)]].concat()).succeeds();
    convert(
        &world,
        &source,
        &[&sigmoid[..], &[text(&part), "--layers", "0..2"]].concat(),
    )
    .succeeds();
    let heads = |model: &str, more: &[&str]| -> Vec<Value> {
        let arguments = [&["--model", model, "--json"][..], more].concat();
        let json = world.scan(&arguments).succeeds().json();
        fs::remove_dir_all(world.out()).unwrap();
        json["heads"].as_array().unwrap().clone()
    };
    let all = heads(text(&whole), &[]);
    let first = heads(text(&part), &[]);
    assert_eq!((all.len(), first.len()), (12, 8));
    assert_eq!(all[..8], first[..]);

    for (layers, says) in [
        ("1..2", "begin with 0"),
        ("2", "such as 0..4"),
        ("0..0", "such as 0..4"),
        ("0..x", "such as 0..4"),
    ] {
        let finished = convert(
            &world,
            &source,
            &[&sigmoid[..], &[text(&part), "--layers", layers]].concat(),
        );
        assert_eq!(finished.code, Some(2));
        assert!(finished.stderr.contains(says), "{finished}");
    }
}

#[test]
fn what_cannot_be_asked_for() {
    let (world, source) = (World::new(), Source::chunked());
    let out = world.path("model");
    let run = |arguments: &[&str]| {
        let mut command = world.attnscope();
        command
            .args([
                "convert",
                "axlearn",
                text(&source.step()),
                "--out",
                text(&out),
            ])
            .args(arguments);
        let finished = Finished::of(&mut command).ends(2);
        assert!(!out.exists());
        finished.stderr
    };
    assert!(run(&[]).contains("--config"));
    assert!(run(&["--attention-function", "softmax"]).contains("--tokenizer"));
    assert!(run(&["--attention-function", "relu"]).contains("softmax, sigmoid"));
    assert!(
        run(&[
            "--config",
            "gala-7b-softmax",
            "--attention-function",
            "softmax"
        ])
        .contains("cannot be used with")
    );
    let unknown = run(&["--config", "gala-7b"]);
    assert!(
        unknown.contains("gala-7b-sigmoid, gala-7b-softmax"),
        "{unknown}"
    );
    let finished = convert(
        &world,
        &source,
        &["--config", "gala-7b-softmax", "--out", text(&out)],
    );
    finished.fails(
        3,
        &["is not gala-7b-softmax", "hidden_size is 32, not 4096"],
    );
}

#[test]
fn download_goes_to_the_bucket_of_the_manifest() {
    let (world, source) = (World::new(), Source::chunked());
    let place =
        "axlearn-public/experiments/gala-7B-hybridnorm-alibi-sprp-2024-12-02-1445/checkpoints";
    fs::create_dir_all(source.path(place)).unwrap();
    fs::rename(source.step(), source.path(place).join("step_00250000")).unwrap();
    let server = BucketServer::start(&source.path(""));
    let url = server.url();
    let arguments = ["download", "gala-7b-softmax", "--bucket-endpoint", &url];
    // The checkpoint there is a small one, and that is noticed.
    world.run(&arguments).fails(
        3,
        &["is not gala-7b-softmax", "num_hidden_layers is 3, not 32"],
    );
    assert!(
        server
            .log()
            .iter()
            .any(|request| request.path.ends_with("step_00250000/index"))
    );

    // A scan has nobody to ask whether it may download 24 GB.
    let says = [
        "gala-7b-softmax is not on this machine",
        "attnscope download gala-7b-softmax",
    ];
    world.refused(&["--model", "gala-7b-softmax"], 2, &says);
    let says = [
        "the conversion of gala-7b-softmax is not in the cache",
        "--offline",
    ];
    world.refused(&["--model", "gala-7b-softmax", "--offline"], 4, &says);
    let says = ["--revision", "converted"];
    world.refused(
        &["--model", "gala-7b-softmax", "--revision", "main"],
        2,
        &says,
    );
}

/// A conversion in the cache is scanned by the name of its manifest, and listed.
#[test]
fn a_conversion_in_the_cache() {
    let (world, source) = (World::new(), Source::chunked());
    let cached = world.path("hf/assets/attnscope/converted/gala-7b-sigmoid-bfloat16");
    let arguments = [
        "--attention-function",
        "sigmoid",
        "--dtype",
        "bf16",
        "--out",
        text(&cached),
    ];
    convert(&world, &source, &arguments).succeeds();
    let finished = world
        .scan(&["--model", "gala-7b-sigmoid", "--json", "--offline"])
        .succeeds();
    assert_eq!(finished.json()["heads"].as_array().unwrap().len(), 12);
    assert_eq!(world.run_json("out")["model"]["name"], "gala-7b-sigmoid");
    // It is not fetched again, and needs no network.
    let mut download = world.attnscope();
    download
        .args(["download", "gala-7b-sigmoid"])
        .env("HF_HUB_OFFLINE", "1");
    let finished = Finished::of(&mut download).succeeds();
    assert_eq!(finished.stdout, format!("{}\n", cached.display()));
    let mut exact = world.attnscope();
    exact
        .args(["download", "gala-7b-sigmoid", "--dtype", "f32"])
        .env("HF_HUB_OFFLINE", "1");
    let says = [
        "the conversion of gala-7b-sigmoid is not in the cache",
        "offline",
    ];
    Finished::of(&mut exact).fails(4, &says);
    let listed = world.run(&["models", "--json"]).succeeds().json();
    assert_eq!(listed[0]["name"], "gala-7b-sigmoid");
    assert_eq!(listed[0]["cached"], text(&cached));
    assert_eq!(listed[1]["cached"], Value::Null);
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_whose_name_is_no_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let (world, source) = (World::new(), Source::chunked());
    let mut command = world.attnscope();
    command
        .args([
            "convert",
            "axlearn",
            text(&source.step()),
            "--attention-function",
            "sigmoid",
        ])
        .args(["--tokenizer", text(&tokenizer()), "--json", "--out"])
        .arg(world.path("").join(OsStr::from_bytes(b"model\xff")));
    let json = Finished::of(&mut command).succeeds().json();
    assert_eq!(json["was_finished"], false);
}
