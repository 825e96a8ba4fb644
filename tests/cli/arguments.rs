//! What may be typed: values, names, help, and the environment twins of the flags.

use super::{RESULTS, World, names, text};

#[test]
fn bad_values_name_the_flag_and_what_is_possible() {
    let world = World::new();
    for (flag, value, says) in [
        ("--device", "gpu", "auto, cpu, cuda:N, metal"),
        ("--device", "cuda:x", "auto, cpu, cuda:N, metal"),
        ("--device", "", "auto, cpu, cuda:N, metal"),
        ("--dtype", "int8", "auto, f32, bf16, f16"),
        ("--shard", "2/2", "counted from 0"),
        ("--shard", "1", "I/N"),
        ("--shard", "a/b", "I/N"),
        ("--shard", "0/0", "0 shards"),
        ("--shard", "-1/2", "I/N"),
        ("--batch-size", "0", "a number above 0 or `auto`"),
        ("--batch-size", "many", "a number above 0 or `auto`"),
        ("--n-samples", "0", "`all`"),
        ("--n-samples", "1.5", "`all`"),
        ("--max-seq-len", "0", "non-zero"),
        ("--seed", "-1", "invalid digit"),
        ("--memory", "little", "auto, resident, streamed"),
    ] {
        // `--flag=value` lets a value begin with a dash.
        let argument = format!("{flag}={value}");
        let mut command = world.attnscope();
        command.args([
            "scan",
            "--model",
            text(world.model()),
            "--out",
            text(&world.out()),
        ]);
        if flag != "--n-samples" {
            command.args(["--n-samples", "all"]);
        }
        command.args(["--dataset", text(&world.texts()), &argument]);
        super::Finished::of(&mut command).fails(2, &[flag, says]);
        assert!(!world.out().exists());
    }
}

#[test]
fn a_device_that_this_binary_cannot_use() {
    let world = World::new();
    if !cfg!(feature = "cuda") {
        let says = ["--device cuda:0: ", "use --device cpu", "feature"];
        world.refused(&["--device", "cuda:0"], 2, &says);
    }
    if !cfg!(feature = "metal") {
        let says = ["--device metal: ", "use --device cpu", "feature"];
        world.refused(&["--device", "metal"], 2, &says);
    }
}

#[test]
fn values_beyond_all_measure_are_no_danger() {
    let world = World::new();
    let most = usize::MAX.to_string();
    let plain = world.scan(&["--json", "--max-seq-len", "1000", "--out", "plain"]);
    let huge = world.scan(&["--json", "--max-seq-len", &most, "--batch-size", &most]);
    let (plain, huge) = (plain.succeeds().json(), huge.succeeds().json());
    assert_eq!(plain["tokens"], huge["tokens"]);
    assert_eq!(plain["heads"], huge["heads"]);
}

#[test]
fn more_shards_than_samples() {
    let world = World::new();
    let says = ["6 samples cannot be spread over 7 shards; use at most 6"];
    world.refused(&["--shard", "6/7"], 2, &says);
}

#[test]
fn unknown_names_are_met_with_suggestions() {
    let world = World::new();
    let says = [
        "unknown model `gala-7b-sigmod`",
        "Did you mean gala-7b-sigmoid",
        "Known: gala-7b-sigmoid, gala-7b-softmax",
        "Hub id (owner/name)",
        "checkpoint directory",
    ];
    world.refused(&["--model", "gala-7b-sigmod"], 2, &says);
    let says = [
        "unknown dataset `pile10k`",
        "Did you mean pile-10k?",
        "Known: pile-10k",
        "Hub id (owner/name)",
        ".parquet, .jsonl, .txt file",
    ];
    world.refused(&["--dataset", "pile10k"], 2, &says);
    // `download` takes either.
    for (name, suggestion) in [
        ("gala-7b-sigmod", "gala-7b-sigmoid"),
        ("pile10k", "pile-10k"),
    ] {
        let [model, dataset] = ["model", "dataset"].map(|what| format!("unknown {what} `{name}`"));
        world.run(&["download", name]).fails(
            2,
            &[
                &model,
                &dataset,
                "Did you mean",
                suggestion,
                "Hub id (owner/name)",
            ],
        );
    }
}

#[test]
fn paths_that_are_no_checkpoint() {
    let world = World::new();
    let says = ["./none: there is no such directory"];
    world.refused(&["--model", "./none"], 3, &says);
    let weights = world.model().join("model.safetensors");
    let says = ["model.safetensors: this is a file; give the directory"];
    world.refused(&["--model", text(&weights)], 3, &says);
}

#[test]
fn options_of_the_hub_do_not_go_with_files() {
    let world = World::new();
    world.refused(&["--revision", "v1"], 2, &["--revision", "is a directory"]);
    world.refused(&["--split", "test"], 2, &["--split test", "is a file"]);
}

#[test]
fn the_command_line_itself() {
    let world = World::new();
    world
        .run(&["scann"])
        .fails(2, &["unrecognized subcommand", "scan"]);
    world
        .run(&["scan", "--modle", "x"])
        .fails(2, &["--modle", "--model"]);
    world.run(&["scan"]).fails(2, &["--model <MODEL>"]);
    world.run(&["merge", "a"]).fails(2, &["--out <OUT>"]);
    world.run(&["compare"]).fails(2, &["<SCAN>..."]);
    let finished = world.run(&[]).ends(2);
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.contains("Usage: attnscope"), "{finished}");
    let version = world.run(&["--version"]).succeeds();
    let expected = format!("attnscope {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
}

#[test]
fn help_mentions_every_flag_and_its_variable() {
    let world = World::new();
    let general = world.run(&["--help"]).succeeds();
    for (command, flags) in [
        ("demo", "out json"),
        (
            "scan",
            "model revision dataset text-column split n-samples seed max-seq-len batch-size device dtype memory out \
             resume shard offline json",
        ),
        ("merge", "out json"),
        ("compare", "out force seed permutations resamples json"),
        ("download", "revision split"),
        ("models", "json"),
        ("datasets", "json"),
    ] {
        assert!(
            general.stdout.contains(&format!("  {command} ")),
            "{general}"
        );
        let help = world.run(&[command, "--help"]).succeeds();
        assert_eq!(help.stderr, "");
        let words: Vec<&str> = help.stdout.split_whitespace().collect();
        let unwrapped = words.join(" ");
        for flag in flags.split(' ').chain(["quiet", "verbose"]) {
            let variable = flag.replace('-', "_").to_uppercase();
            for text in [format!("--{flag}"), format!("[env: ATTNSCOPE_{variable}=")] {
                assert!(unwrapped.contains(&text), "{command}: {text}\n{help}");
            }
        }
    }
}

#[test]
fn every_flag_of_a_scan_has_an_environment_twin() {
    let world = World::new();
    let mut command = world.attnscope();
    command.arg("scan").envs([
        ("ATTNSCOPE_MODEL", text(world.model())),
        ("ATTNSCOPE_DATASET", text(&world.texts())),
        ("ATTNSCOPE_TEXT_COLUMN", "text"),
        ("ATTNSCOPE_SPLIT", "train"),
        ("ATTNSCOPE_N_SAMPLES", "4"),
        ("ATTNSCOPE_SEED", "7"),
        ("ATTNSCOPE_MAX_SEQ_LEN", "9"),
        ("ATTNSCOPE_BATCH_SIZE", "2"),
        ("ATTNSCOPE_DEVICE", "cpu"),
        ("ATTNSCOPE_DTYPE", "f32"),
        ("ATTNSCOPE_MEMORY", "streamed"),
        ("ATTNSCOPE_OUT", text(&world.out())),
        ("ATTNSCOPE_RESUME", "true"),
        ("ATTNSCOPE_OFFLINE", "1"),
        ("ATTNSCOPE_JSON", "yes"),
        ("ATTNSCOPE_QUIET", "1"),
    ]);
    let finished = super::Finished::of(&mut command).succeeds();
    assert_eq!(finished.stderr, "");
    finished.json();
    assert_eq!(names(&world.out()), RESULTS);
    let run = world.run_json("out");
    assert_eq!(run["model"]["name"], text(world.model()));
    assert_eq!(run["dataset"]["name"], text(&world.texts()));
    assert_eq!(run["dataset"]["text_column"], "text");
    assert_eq!(run["sampling"]["n_samples"], 4);
    assert_eq!(run["sampling"]["seed"], 7);
    assert_eq!(run["max_seq_len"], 9);
    assert_eq!(run["batch_plan"]["samples"], 2);
    assert_eq!(run["device"], "cpu");
    assert_eq!(run["dtype"], "f32");
    assert_eq!(run["executor"], "streamed");

    // A flag wins over its twin, a twin that says no is no, and a bad value is as bad as on the command line.
    let mut command = world.scan_command(&["--seed", "8", "--out", "second"]);
    command
        .env("ATTNSCOPE_SEED", "7")
        .env("ATTNSCOPE_JSON", "false");
    let finished = super::Finished::of(&mut command).succeeds();
    assert!(!finished.stdout.starts_with('{'), "{finished}");
    let mut command = world.scan_command(&["--out", "third"]);
    command.env("ATTNSCOPE_DTYPE", "int8");
    super::Finished::of(&mut command).fails(2, &["auto, f32, bf16, f16"]);
    assert!(!world.path("third").exists());
}

#[test]
fn the_twins_that_refuse() {
    let world = World::new();
    for (name, value, says) in [
        ("ATTNSCOPE_REVISION", "v1", "--revision"),
        ("ATTNSCOPE_SHARD", "2/2", "counted from 0"),
    ] {
        let mut command = world.scan_command(&[]);
        command.env(name, value);
        super::Finished::of(&mut command).fails(2, &[says]);
        assert!(!world.out().exists());
    }
}
